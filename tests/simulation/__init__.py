"""Whole jobs with the real roles, on a virtual clock, over a simulated broker: a seed decides all that happens.

world     the clock, and chance
node      the broker: RabbitMQ at its worst, within what AMQP promises
scenario  what is played: drawn from the seed
families  scenarios about one thing: seeds from a million on
model     user code: what it writes, where it fails, what the right output is
actor     a process: its session, its roles, its executors
trouble   what goes wrong
monitor   whoever breaks the order of the protocol at the broker
conduct   whoever does not do what it knows to be its turn
reference what a log says, folded a second time
play      one schedule from start to end, and whether all is right then
trace     what happened, in words
"""
