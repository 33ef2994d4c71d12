"""What `mr run` and its like show of a job while it runs, and at its end.

base        `Display`: when displays are told of what; what tasks print, the summary
choice      which one there is to be
live        redrawn in place, on a terminal; with `frame`, what it looks like, and `region`, where it is drawn
plain       lines at intervals
jsonlines   an object for each event
notebook    in a notebook
quiet       nothing
summary     a job from a distance
printed     what user code prints, as lines
texts       numbers and times as people read them

Whoever needs one of them imports its module: each is needed late, and most not at all.
"""
