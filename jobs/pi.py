"""Estimates pi by throwing darts: little data, much work.

    for seed in $(seq 100); do echo $seed 1000000; done > darts.txt
    mr run jobs/pi.py darts.txt --split-size 100

Each line is a seed and a number of darts. The input is tiny, so it has to be cut into smaller pieces than
usual to keep all cores busy: with 100 bytes a split, about ten lines are a task. The seeds make the answer
the same each time, wherever it is computed.
"""

import random

from mapreduce import Job


def throw(line):
    seed, darts = map(int, line.split())
    uniform = random.Random(seed).random
    inside = 0
    for _ in range(darts):
        x, y = uniform(), uniform()
        if x * x + y * y <= 1.0:
            inside += 1
    yield "pi", (inside, darts)


def estimate(name, parts):
    inside = darts = 0
    for part_inside, part_darts in parts:
        inside += part_inside
        darts += part_darts
    yield name, 4 * inside / darts


job = Job(throw, reduce=estimate)
