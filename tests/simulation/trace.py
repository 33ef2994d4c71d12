"""What happened, in the design's words. Long ids are cut to four hexadecimal digits."""

from __future__ import annotations

import dataclasses
from typing import Any

from mapreduce import effects, wire
from mapreduce.brokers import base

_SILENT = ("spec", "stats", "code", "worker")


def describe(event: Any) -> str:
    """One line for an event or a command."""
    if isinstance(event, base.Publish):
        return f"publish {_message(event.head)} to {_place(event.to)}"
    if isinstance(event, base.Broadcast):
        return f"broadcast {_message(event.body)}"
    if isinstance(event, base.Delivered):
        where = f" at {event.offset}" if event.offset is not None else ""
        again = ", redelivered" if event.redelivered else ""
        return f"{_message(event.body)}{where} on {event.tag}{again}"
    if isinstance(event, base.Ack):
        return f"ack {event.receipt.number & 0xFFFF} of {event.receipt.tag}"
    if isinstance(event, (base.Confirmed, base.Unroutable)):
        return f"{type(event).__name__} {_token(event.token)}"
    if isinstance(event, effects.Execute):
        return f"execute {_fields(event.task)}"
    if isinstance(event, effects.Append):
        return f"append {len(event.body)} bytes to {event.path[-30:]}"
    return f"{type(event).__name__}{_fields(event)}"


def _place(name: str) -> str:
    return name.replace("mr.1.job.", "").replace("mr.1.", "")


def _token(token: str) -> str:
    return ":".join(f"{int(p) & 0xFFFF:04x}" if p.isdigit() and len(p) > 9 else p for p in token.split(":"))


def _message(body: bytes) -> str:
    return " & ".join(_one_message(message, rest) for message, rest in wire.decode_all(body))


def _one_message(message: Any, rest: memoryview) -> str:
    if isinstance(message, wire.BadMessage):
        return f"unreadable ({message})"
    return f"{type(message).__name__}{_fields(message)}" + (f"+{len(rest)} bytes" if len(rest) else "")


def _fields(value: Any) -> str:
    names = [field.name for field in dataclasses.fields(value)]
    shown = [f"{n}={_value(n, getattr(value, n))}" for n in names if n not in _SILENT]
    return f"({', '.join(shown)})"


def _value(name: str, value: Any) -> str:
    if isinstance(value, int) and value > 1 << 32:
        return f"{value & 0xFFFF:04x}"
    if isinstance(value, tuple):
        inner = [
            f"{n}={_value(n, v)}" for n, v in zip(getattr(value, "_fields", [""] * len(value)), value)
        ] if hasattr(value, "_fields") else [_value(name, v) for v in value]  # fmt: skip
        return f"({' '.join(inner)})"
    text = repr(value)
    return text if len(text) < 90 else text[:87] + "…"


def text(lines: list[tuple[float, str, str]]) -> str:
    """The whole trace."""
    return "\n".join(f"{at:10.3f}  {who:12s} {what}" for at, who, what in lines)
