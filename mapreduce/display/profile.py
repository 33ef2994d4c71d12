"""The hottest lines of a job's stages, as a table."""

from __future__ import annotations

import linecache
import os
from collections.abc import Iterator, Sequence
from typing import Optional

from mapreduce.blame import ENGINE
from mapreduce.display import texts
from mapreduce.profiling import ENGINE_NAME
from mapreduce.views.profile import HotLine, StageProfile
from mapreduce.views.shown import stage_name

#: of a stage's lines, where people have not asked for all that are kept
MOST_LINES = 10
#: of a line's text
MAX_CHARS = 72


def hottest_lines(
    profile: Sequence[StageProfile], stages: int, most: Optional[int] = MOST_LINES
) -> Iterator[str]:
    """Lines of text. ``stages``: how many the job has; ``most``: of each the first ones, None: all."""
    for stage in profile:
        shown = stage.lines[:most]
        name = stage_name(stage.stage, stages)
        tries = texts.count(stage.attempts, "try", "tries")
        yield f"hottest lines of {name}: {texts.secs(stage.secs)} of CPU time in {tries}"
        places = [f"{texts.clean(line.file)}:{line.line}" for line in shown]
        functions = [texts.clean(line.function) for line in shown]
        wide, long = (max(map(len, column), default=0) for column in (places, functions))
        for line, place, function in zip(shown, places, functions):
            text = texts.clean(line.text or _at_hand(line))
            cut = f"{text[: MAX_CHARS - 1]}…" if len(text) > MAX_CHARS else text
            figures = f"{line.share:6.1%} {texts.secs(line.secs):>8}"
            yield f"  {figures}  {place:{wide}}  {function:{long}}  {cut}".rstrip()


def _at_hand(line: HotLine) -> str:
    """The text of a line that did not travel with the job, if its file is here, too."""
    path = line.file
    if path.startswith(ENGINE_NAME):
        path = os.path.join(ENGINE, *path[len(ENGINE_NAME) :].split("/"))
    if path not in linecache.cache and not os.path.isfile(
        path
    ):  # cells of notebooks have no file, devices no lines
        return ""
    return linecache.getline(path, line.line).strip()
