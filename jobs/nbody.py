"""How well is it known where the outer planets will be? Many solar systems, each begun a little differently.

    for seed in $(seq 100); do echo $seed 100; done > systems.txt
    mr run jobs/nbody.py systems.txt --split-size 100 --counters
    mr run jobs/nbody.py systems.txt --split-size 100 --python pypy3        the same bytes, many times faster

Each line is a seed and a number of years. It moves the planets by up to `blur` astronomical units along each axis, and
lets sun and planets pull at each other for those years. The result: for each planet the mean of where it is at the end,
and how far from there it is in the root of the mean of squares (AU).

All is plain arithmetic on floats (and square roots, which IEEE 754 wants exact), so that the answer is the same
wherever it is computed. Masses, places and velocities are those that the n-body program of The Computer Language
Benchmarks Game has from NASA's JPL; so is the way to integrate, which keeps the energy nearly constant.
"""

import math
import random
from itertools import combinations

from mapreduce import Job, count

DAYS = 365.24  # in a year
SOLAR_MASS = 4 * math.pi * math.pi  # in units in which the constant of gravity is 1
STEP = 0.01  # years
#: the energy of a run that can be trusted changes by less than this part of it
MAX_DRIFT = 1e-3

#: name, mass (suns), place (AU), velocity (AU a day)
PLANETS = [
    ("Jupiter", 9.54791938424326609e-04, (4.84143144246472090e00, -1.16032004402742839e00, -1.03622044471123109e-01),
     (1.66007664274403694e-03, 7.69901118419740425e-03, -6.90460016972063023e-05)),
    ("Saturn", 2.85885980666130812e-04, (8.34336671824457987e00, 4.12479856412430479e00, -4.03523417114321381e-01),
     (-2.76742510726411810e-03, 4.99852801234917238e-03, 2.30417297573763929e-05)),
    ("Uranus", 4.36624404335156298e-05, (1.28943695621391310e01, -1.51111514016986312e01, -2.23307578892655734e-01),
     (2.96460137564761618e-03, 2.37847173959480950e-03, -2.96589568540237556e-05)),
    ("Neptune", 5.15138902046611451e-05, (1.53796971148509165e01, -2.59193146099879641e01, 1.79258772950371181e-01),
     (2.68067772490389322e-03, 1.62824170038242295e-03, -9.51592254519715870e-05)),
]  # fmt: skip


class Body:
    __slots__ = ("mass", "vx", "vy", "vz", "x", "y", "z")

    def __init__(self, mass, place, velocity):
        self.mass = mass * SOLAR_MASS
        self.x, self.y, self.z = place
        self.vx, self.vy, self.vz = (speed * DAYS for speed in velocity)


def solar_system(rng, blur):
    """The sun and its outer planets; together they rest."""
    planets = [
        Body(mass, [at + rng.uniform(-blur, blur) for at in place], velocity)
        for _, mass, place, velocity in PLANETS
    ]
    sun = Body(1.0, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    sun.vx = -math.fsum(body.vx * body.mass for body in planets) / sun.mass
    sun.vy = -math.fsum(body.vy * body.mass for body in planets) / sun.mass
    sun.vz = -math.fsum(body.vz * body.mass for body in planets) / sun.mass
    return [sun, *planets]


def advance(bodies, steps):
    """Let ``steps`` times `STEP` years pass."""
    pairs = list(combinations(bodies, 2))
    for _ in range(steps):
        for a, b in pairs:
            dx, dy, dz = a.x - b.x, a.y - b.y, a.z - b.z
            square = dx * dx + dy * dy + dz * dz
            pull = STEP / (square * math.sqrt(square))
            to_a, to_b = b.mass * pull, a.mass * pull
            a.vx -= dx * to_a
            a.vy -= dy * to_a
            a.vz -= dz * to_a
            b.vx += dx * to_b
            b.vy += dy * to_b
            b.vz += dz * to_b
        for body in bodies:
            body.x += STEP * body.vx
            body.y += STEP * body.vy
            body.z += STEP * body.vz


def energy(bodies):
    moving = [b.mass * (b.vx * b.vx + b.vy * b.vy + b.vz * b.vz) / 2 for b in bodies]
    apart = [
        a.mass * b.mass / math.dist((a.x, a.y, a.z), (b.x, b.y, b.z)) for a, b in combinations(bodies, 2)
    ]
    return math.fsum(moving) - math.fsum(apart)


def simulate(line, blur=0.001):
    seed, years = line.split()
    bodies = solar_system(random.Random(int(seed)), blur)
    before = energy(bodies)
    advance(bodies, round(float(years) / STEP))
    count("solar systems")
    if abs(energy(bodies) / before - 1) > MAX_DRIFT:
        count("solar systems not to be trusted")
    for (name, *_), body in zip(PLANETS, bodies[1:]):
        yield name, (body.x, body.y, body.z)


def where(planet, places):
    columns = list(zip(*places))
    mean = [math.fsum(column) / len(column) for column in columns]
    away = [at - middle for column, middle in zip(columns, mean) for at in column]
    squares = math.fsum(distance * distance for distance in away)
    yield planet, {"place": mean, "spread": math.sqrt(squares / len(columns[0]))}


job = Job(simulate, reduce=where)
