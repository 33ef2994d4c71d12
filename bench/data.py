"""Data to measure with: the same bytes on every machine, made once and kept in bench/data/.

    python -m bench.data        makes all of it, about 300 MB, in a minute or two

`text(200)` is 200 MB of lines of words: Zipf's law over made-up words, the frequent ones short, 1.3 million
different ones, so that a word count has work to do after the map as well. Shorter texts are its beginnings.
`lines()` is a million lines of 99 bytes with random keys, to sort.
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

LINES = 1_000_000


def text(megabytes: int = 200) -> Path:
    """A file of about so many MB, up to 200, cut at the end of a line."""
    if megabytes == 200:
        return _made("text-200.txt", _write_text)
    whole = text(200)
    return _made(f"text-{megabytes}.txt", lambda out: _copy_lines(whole, megabytes * MB, out))


def lines() -> Path:
    """A file of a million lines of 99 bytes: a random key of ten digits, a tab, a filler."""
    return _made("lines-100.tsv", _write_lines)


def _made(name: str, write: Callable[[BinaryIO], None]) -> Path:
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


def _write_lines(out: BinaryIO) -> None:
    rng = random.Random(2004)
    for start in range(0, LINES, 10_000):
        rows = (
            f"{rng.randrange(10**10):010d}\t{number:010d} {'x' * 77}\n"
            for number in range(start, start + 10_000)
        )
        out.write("".join(rows).encode("ascii"))


if __name__ == "__main__":
    for made in (text(50), text(100), text(200), lines()):
        print(made, made.stat().st_size)
