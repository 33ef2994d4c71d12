"""Lines over a logarithmic axis, as SVG that reads in light and in dark."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 800, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 590, 50, 360

_STYLE = """
  text { font: 13px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1f2328 }
  .head { font-size: 15px; font-weight: 600 } .quiet { fill: #656d76; font-size: 12px }
  .paper { fill: #ffffff; stroke: #d0d7de } .grid { stroke: #d0d7de }
  path { fill: none; stroke-width: 2.2 } .dashed { stroke-dasharray: 6 5 }
  .c0 { stroke: #1f6feb } .c1 { stroke: #bf3989 } .c2 { stroke: #2da44e } .c3 { stroke: #9a6700 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .quiet { fill: #8d96a0 }
    .paper { fill: #0d1117; stroke: #30363d } .grid { stroke: #30363d }
    .c0 { stroke: #4493f8 } .c1 { stroke: #f778ba } .c2 { stroke: #3fb950 } .c3 { stroke: #d29922 }
  }
"""

Points = Sequence[tuple[float, float]]


def lines(title: str, across: str, up: str, series: Mapping[str, Points], dashed: Mapping[str, str]) -> str:
    """Both axes logarithmic. ``dashed`` names series that are another's counterpart, and have its colour."""
    points = [point for each in series.values() for point in each]
    horizontal = _Axis([x for x, _ in points], LEFT, RIGHT, 2)
    vertical = _Axis([y for _, y in points], BOTTOM, TOP, 10)
    parts = [
        _text(LEFT, 28, title, "head"),
        _text(LEFT, HEIGHT - 18, across, "quiet"),
        _text(12, TOP - 8, up, "quiet"),
    ]
    for x in horizontal.ticks():
        at = horizontal.place(x)
        parts += [_line(at, TOP, at, BOTTOM), _text(at, BOTTOM + 18, f"{x:,.0f}", "quiet", "middle")]
    for y in vertical.ticks():
        at = vertical.place(y)
        parts += [_line(LEFT, at, RIGHT, at), _text(LEFT - 8, at + 4, f"{y:g}", "quiet", "end")]
    colours = {name: number for number, name in enumerate(name for name in series if name not in dashed)}
    labels = _apart([vertical.place(each[-1][1]) for each in series.values()])
    for (name, each), label in zip(series.items(), labels):
        colour = colours[dashed.get(name, name)]
        way = " L".join(f"{horizontal.place(x):.1f} {vertical.place(y):.1f}" for x, y in each)
        parts.append(f'<path class="c{colour}{" dashed" if name in dashed else ""}" d="M{way}"/>')
        parts.append(_text(RIGHT + 8, label + 4, name))
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'role="img" aria-label="{escape(title)}">\n<style>{_STYLE}</style>\n'
        f'<rect class="paper" x="0.5" y="0.5" width="{WIDTH - 1}" height="{HEIGHT - 1}" rx="6"/>\n{body}\n</svg>\n'
    )


class _Axis:
    """Logarithmic, from ``start`` to ``end`` on the page, with a line at each power of ``base``."""

    def __init__(self, values: Sequence[float], start: float, end: float, base: int) -> None:
        self._base = base
        self._low = math.floor(math.log(min(values), base) + 1e-9)
        self._high = max(math.ceil(math.log(max(values), base) - 1e-9), self._low + 1)
        self._start, self._end = start, end

    def place(self, value: float) -> float:
        share = (math.log(value, self._base) - self._low) / (self._high - self._low)
        return self._start + share * (self._end - self._start)

    def ticks(self) -> list[float]:
        return [float(self._base) ** power for power in range(self._low, self._high + 1)]


def _apart(wanted: Sequence[float], room: float = 17.0) -> list[float]:
    """Places near the wanted ones, none too close to the next, in the same order."""
    places = list(wanted)
    order = sorted(range(len(places)), key=lambda number: places[number])
    for before, after in zip(order, order[1:]):
        places[after] = max(places[after], places[before] + room)
    return places


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="grid" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'
