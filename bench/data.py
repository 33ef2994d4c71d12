"""Data to measure with: the same bytes on every machine, made once and kept in bench/data/.

    python -m bench.data        makes all of it, about 1.4 GB, in two or three minutes

`text(200)` is 200 MB of lines of words: Zipf's law over made-up words, the frequent ones short, 1.46 million
different ones, so that a word count has work to do after the map as well. Shorter texts are its beginnings.
`lines(1000)` is ten million lines of 99 bytes (and a newline) with random keys, to sort; shorter files of lines are
its beginnings.
`numbers(1000)` is a thousand lines of ten bytes: what tasks of one record each read.
`seeds(100, 10**6)` is input of jobs/pi.py and jobs/nbody.py.
"""

from __future__ import annotations

import itertools
import math
import os
import random
import sys
from pathlib import Path
from typing import BinaryIO, Callable

DATA = Path(__file__).parent / "data"
MB = 1_000_000

VOCABULARY = 1_700_000
WORDS_PER_LINE = 12
WORDS_AT_ONCE = 12_000 * WORDS_PER_LINE
ONSETS = ("", *"bcdfghjklmnprstvwz", "br", "ch", "cl", "cr", "dr", "gr", "pl", "pr", "sh", "st", "th", "tr")
VOWELS = ("a", "e", "i", "o", "u", "ai", "ea", "ou", "y")
CODAS = ("", "", "", *"lmnrst", "ck", "ng", "nd", "st")

LINE_BYTES = 100
LINES_AT_ONCE = 10_000
#: a line of `numbers`, its newline included
NUMBER_BYTES = 10


def text(megabytes: int = 200) -> Path:
    """A file of about so many MB, up to 200, cut at the end of a line."""
    if megabytes == 200:
        return _made("text-200.txt", _write_text)
    whole = text(200)
    return _made(f"text-{megabytes}.txt", lambda out: _copy_lines(whole, megabytes * MB, out))


def lines(megabytes: int = 100) -> Path:
    """A file of so many MB, lines of 99 bytes and a newline: a random key of ten digits, a tab, a number, a filler.

    The number grows from line to line, so lines in order of key that are otherwise left in order are sorted as a whole.
    """
    return _made(f"lines-{megabytes}.tsv", lambda out: _write_lines(megabytes * MB // LINE_BYTES, out))


def numbers(count: int) -> Path:
    """A file of so many lines, the numbers from 0 on, all of the same length."""
    return _made(f"numbers-{count}.txt", lambda out: _write_numbers(count, out))


def seeds(lines: int, number: int) -> Path:
    """So many lines with a seed and the number: of darts for jobs/pi.py, of years for jobs/nbody.py."""
    text = "".join(f"{seed:04d} {number}\n" for seed in range(1, lines + 1))
    return _made(f"seeds-{lines}-{number}.txt", lambda out: out.write(text.encode("ascii")))


def one_line() -> Path:
    """The first line of the text."""
    source = text(1)
    with open(source, "rb") as file:
        line = file.readline()
    return _made("line.txt", lambda out: out.write(line))


def _made(name: str, write: Callable[[BinaryIO], object]) -> Path:
    """The file, made if it is not there; never half of it."""
    path = DATA / name
    if not path.exists():
        print(f"making {path} …", file=sys.stderr)
        DATA.mkdir(exist_ok=True)
        unfinished = path.with_suffix(".unfinished")
        with open(unfinished, "wb") as out:
            write(out)
        os.replace(unfinished, path)
    return path


def _write_text(out: BinaryIO) -> None:
    rng = random.Random(2004)
    words = _vocabulary(rng)
    # Zipf's law, as Mandelbrot has it: the first few words are not quite as frequent as 1/rank.
    cumulated = list(itertools.accumulate(1 / (rank + 2.7) for rank in range(1, len(words) + 1)))
    written = 0
    while written < 200 * MB:
        drawn = iter(rng.choices(words, cum_weights=cumulated, k=WORDS_AT_ONCE))
        rows = zip(*[drawn] * WORDS_PER_LINE)
        written += out.write(("\n".join(map(" ".join, rows)) + "\n").encode("ascii"))


def _vocabulary(rng: random.Random) -> list[str]:
    """Different words, roughly ever longer."""
    syllables = ["".join(parts) for parts in itertools.product(ONSETS, VOWELS, CODAS)]
    words: dict[str, None] = {}
    while len(words) < VOCABULARY:
        length = 1 + int(math.log10(len(words) + 1) / 2.2)
        words["".join(rng.choices(syllables, k=length))] = None
    return list(words)


def _copy_lines(whole: Path, size: int, out: BinaryIO) -> None:
    with open(whole, "rb") as source:
        out.write(source.read(size))
        out.write(source.readline())


def _write_lines(count: int, out: BinaryIO) -> None:
    rng = random.Random(2004)
    for start in range(0, count, LINES_AT_ONCE):
        rows = (
            f"{rng.randrange(10**10):010d}\t{number:010d} {'x' * 77}\n"
            for number in range(start, min(start + LINES_AT_ONCE, count))
        )
        out.write("".join(rows).encode("ascii"))


def _write_numbers(count: int, out: BinaryIO) -> None:
    for start in range(0, count, LINES_AT_ONCE):
        numbers = range(start, min(start + LINES_AT_ONCE, count))
        out.write("".join(f"{number:0{NUMBER_BYTES - 1}d}\n" for number in numbers).encode("ascii"))


if __name__ == "__main__":
    for made in (text(50), text(100), text(200), lines(100), lines(1000)):
        print(made, made.stat().st_size)
