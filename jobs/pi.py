"""Estimates pi by throwing darts: little data, much work.

    for seed in $(seq 100); do echo $seed 1000000; done > darts.txt
    mr run jobs/pi.py darts.txt --split-size 100
    mr run jobs/pi.py darts.txt --split-size 100 --python pypy3        the same bytes, many times faster

Each line is a seed and a number of darts. The input is tiny, so it has to be cut into smaller pieces than
usual to keep all cores busy: with 100 bytes a split, about ten lines are a task. The seeds make the answer
the same each time, wherever it is computed.

Only the first dart is thrown at random. The others follow it in steps that spread them evenly over the square
(the R2 sequence: M. Roberts, "The Unreasonable Effectiveness of Quasirandom Sequences", 2018), so that the error
shrinks almost with the number of darts and not with its root.
"""

import random

from mapreduce import Job

PLASTIC = 1.324717957244746  # the only real solution of x³ = x + 1
RIGHT, UP = 1 / PLASTIC, 1 / (PLASTIC * PLASTIC)


def throw(line):
    seed, darts = map(int, line.split())
    rng = random.Random(seed)
    x, y = rng.random(), rng.random()
    inside = 0
    for _ in range(darts):
        if x * x + y * y <= 1.0:
            inside += 1
        x += RIGHT
        if x >= 1.0:
            x -= 1.0
        y += UP
        if y >= 1.0:
            y -= 1.0
    yield "pi", (inside, darts)


def estimate(name, parts):
    inside = darts = 0
    for part_inside, part_darts in parts:
        inside += part_inside
        darts += part_darts
    yield name, 4 * inside / darts


job = Job(throw, reduce=estimate)
