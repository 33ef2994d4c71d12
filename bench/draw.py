"""Results as pictures: SVG, written by hand, light or dark as the reader's system is."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from html import escape

from bench.model import Verdict
from bench.results import Result, Standing
from bench.tables import number

WIDTH = 800
_MARGIN = 20
_ROW = 30
_BAR = 16
_NAMES = 250  #: where bars begin
_VALUES = 90  #: room for the figure behind the longest bar
#: a bar that is so many times as long as the next one is broken
_BROKEN = 2.5
#: on either side of the line of goals
_DOUBLINGS = 3

_STYLE = """
  text { font: 13px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1f2328 }
  .head { font-size: 15px; font-weight: 600 } .quiet { fill: #656d76; font-size: 12px }
  .paper { fill: #ffffff; stroke: #d0d7de } .line { stroke: #d0d7de } .span { stroke: #1f2328; stroke-width: 1.5 }
  .ours { fill: #1f6feb } .peer { fill: #afb8c1 } .limit { fill: #2da44e }
  .starting { opacity: 0.5 }
  .goal { stroke: #cf222e; stroke-width: 2.5 } .met { fill: #2da44e } .missed { fill: #cf222e }
  .gap { stroke: #ffffff; stroke-width: 4 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .quiet { fill: #8d96a0 }
    .paper { fill: #0d1117; stroke: #30363d } .line { stroke: #30363d } .span { stroke: #e6edf3 }
    .ours { fill: #4493f8 } .peer { fill: #565e68 } .limit { fill: #3fb950 }
    .goal { stroke: #f85149 } .met { fill: #3fb950 } .missed { fill: #f85149 }
    .gap { stroke: #0d1117 }
  }
"""


def bars(result: Result) -> str:
    """The contenders' medians, the quickest first; whiskers from the quickest round to the slowest.

    A red mark says what time the strictest goal leaves to a contender. The part of a bar in which an engine starts its
    servers is paler.
    """
    standings = sorted((one for one in result.standings if one.samples), key=_median)
    goals = _strictest(result.verdicts)
    scale = _Scale([_median(one) for one in standings], [goals[name] for name in goals])
    parts: list[str] = []
    for row, standing in enumerate(standings):
        parts += _bar(standing, goals.get(standing.name), scale, 50 + row * _ROW)
    height = 50 + len(standings) * _ROW + 34
    y = height - 16
    parts += _legend(standings, bool(goals), y)
    return _picture(result.title, "seconds, medians", parts, height)


def overview(results: Sequence[Result]) -> str:
    """A row for each goal: how far what was measured is from it, on a logarithmic scale."""
    left, right = 480, WIDTH - _MARGIN - 62
    middle, half = (left + right) / 2, (right - left) / 2
    parts: list[str] = []
    y = 62
    for result in results:
        judged = [verdict for verdict in result.verdicts if verdict.short_of_goal is not None]
        if not judged:
            continue
        parts.append(_text(_MARGIN, y, result.title, "quiet"))
        y += 20
        for verdict in judged:
            doublings = math.log2(verdict.short_of_goal or 1.0)
            x = middle + max(-1.0, min(1.0, doublings / _DOUBLINGS)) * half
            state = "met" if verdict.met else "missed"
            parts += [
                _text(_MARGIN + 12, y, verdict.text),
                f'<line class="line" x1="{left}" x2="{right}" y1="{y - 4}" y2="{y - 4}"/>',
                f'<circle class="{state}" cx="{x:.1f}" cy="{y - 4}" r="5.5"/>',
                _text(right + 12, y, f"{number(verdict.value or 0.0)} {verdict.unit}"),
            ]
            y += 21
        y += 8
    parts.insert(0, f'<line class="span" x1="{middle}" x2="{middle}" y1="48" y2="{y - 18}"/>')
    for doublings, label in ((-3, "8 × better"), (-1, "2 ×"), (0, "goal"), (1, "2 ×"), (3, "8 × worse")):
        x = middle + doublings / _DOUBLINGS * half
        parts.append(_text(x, y + 2, label, "quiet", "middle"))
    about = "left of the line a goal is met; how far from it, on a logarithmic scale"
    return _picture("Goals", about, parts, y + 18)


class _Scale:
    """From values to x; the longest bar may be broken."""

    def __init__(self, medians: Sequence[float], goals: Sequence[float]) -> None:
        longest, *others = sorted(medians, reverse=True)
        self.end = longest
        self.broken = bool(others) and longest > _BROKEN * others[0]
        if self.broken:
            self.end = others[0] * 1.2
        # a goal may lie behind the bars; one that is far off is not worth shrinking them for
        self.end = max([self.end, *(goal for goal in goals if goal <= 1.5 * self.end)])

    def __call__(self, value: float) -> float:
        return _NAMES + min(value / self.end, 1.0) * (WIDTH - _MARGIN - _VALUES - _NAMES)

    def breaks(self, value: float) -> bool:
        return value > self.end


def _bar(standing: Standing, goal: float | None, scale: _Scale, y: int) -> Iterable[str]:
    value, seconds = _median(standing), standing.values("seconds")
    end = scale(value)
    yield _text(_NAMES - 10, y + 13, standing.title, anchor="end")
    warm = standing.values("warm")
    at_work = min(end, scale(statistics.median(warm))) if warm else end
    for left, right, style in ((_NAMES, at_work, ""), (at_work, end, " starting")):
        if right > left:
            yield (
                f'<rect class="{standing.kind}{style}" x="{left:.1f}" y="{y}" width="{right - left:.1f}" '
                f'height="{_BAR}" rx="2"/>'
            )
    if scale.breaks(value):
        x = end - 30
        yield f'<line class="gap" x1="{x}" y1="{y + _BAR + 3}" x2="{x + 8}" y2="{y - 3}"/>'
    elif len(seconds) > 1:
        low, high = scale(min(seconds)), scale(max(seconds))
        middle = y + _BAR / 2
        yield f'<line class="span" x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}"/>'
        end = max(end, high)
    if goal is not None and not scale.breaks(goal):
        x = scale(goal)
        yield f'<line class="goal" x1="{x:.1f}" x2="{x:.1f}" y1="{y - 4}" y2="{y + _BAR + 4}"/>'
        end = max(end, x) if abs(x - end) < 60 else end
    yield _text(end + 8, y + 13, f"{number(value)} s")


def _legend(standings: Sequence[Standing], goals: bool, y: int) -> Iterable[str]:
    x = _NAMES
    kinds = {standing.kind for standing in standings}
    if any(standing.values("warm") for standing in standings):
        kinds.add("peer starting")
    for kind, label in (
        ("ours", "mr"),
        ("peer", "others"),
        ("peer starting", "starting"),
        ("limit", "the limit"),
    ):
        if kind in kinds:
            yield f'<rect class="{kind}" x="{x}" y="{y - 10}" width="11" height="11" rx="2"/>'
            yield _text(x + 17, y, label, "quiet")
            x += 90
    if goals:
        yield f'<line class="goal" x1="{x + 3}" x2="{x + 3}" y1="{y - 12}" y2="{y + 2}"/>'
        yield _text(x + 12, y, "goal", "quiet")


def _strictest(verdicts: Iterable[Verdict]) -> dict[str, float]:
    """By contender: the least time that a goal leaves it."""
    found: dict[str, float] = {}
    for verdict in verdicts:
        if verdict.contender is not None and verdict.allowed_secs is not None:
            found[verdict.contender] = min(verdict.allowed_secs, found.get(verdict.contender, math.inf))
    return found


def _median(standing: Standing) -> float:
    return statistics.median(standing.values("seconds"))


def _text(x: float, y: float, text: str, style: str = "", anchor: str = "start") -> str:
    kind = f' class="{style}"' if style else ""
    return f'<text{kind} x="{x:.1f}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'


def _picture(title: str, about: str, parts: Iterable[str], height: int) -> str:
    body = "\n".join(parts)
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
<rect class="paper" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="6"/>
{_text(_MARGIN, 26, title, "head")}
{_text(WIDTH - _MARGIN, 26, about, "quiet", "end")}
{body}
</svg>
"""
