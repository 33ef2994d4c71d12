"""`mr doctor`: is all as it should be?

finding     what was found out
broker      the broker itself: who it is, what we may do there
workers     what the workers' answers tell: clocks, versions, who is missing
leftovers   what dead jobs have left behind on the broker, and how it goes
folders     what jobs have left in a folder that they shared
"""
