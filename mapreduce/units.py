"""Sizes and times as people write them: 300M, 2G; 90, 90s, 5m."""

from __future__ import annotations

import re
from typing import Any, Union

_SIZES = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_TIMES = {"": 1.0, "S": 1.0, "M": 60.0, "H": 3600.0, "D": 86400.0}
_SIZE = re.compile(r"(\d+)([KMGT]?)(?:I?B)?", re.ASCII | re.IGNORECASE)
_TIME = re.compile(r"(\d+(?:\.\d+)?)([SMHD]?)", re.ASCII | re.IGNORECASE)


def size(value: Union[int, str]) -> int:
    """A number of bytes, at least 1: 1048576, "512K", "8M", "2G". Raises ValueError with a line for people."""
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    number: Any = int(match[1]) * _SIZES[match[2].upper()] if match else value
    if type(number) is not int or not 0 < number < 2**63:
        raise ValueError(f"{value!r} is not a size such as 65536, 8M or 2G")
    return int(number)


def shown_size(number: float) -> str:
    """For messages: "300 MiB", "1.5 GiB"."""
    for unit in ("bytes", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.4g} {unit}"
        number /= 1024
    return f"{number:.4g} GiB"


def seconds(value: Union[float, str]) -> float:
    """A number of seconds above 0: 90, "90s", "5m", "2h", "1d". Raises ValueError with a line for people."""
    match = _TIME.fullmatch(value.strip()) if isinstance(value, str) else None
    number: Any = float(match[1]) * _TIMES[match[2].upper()] if match else value
    if type(number) not in (int, float) or not 0 < number < 1e9:  # nan is not less than anything
        raise ValueError(f"{value!r} is not a time such as 90, 90s or 5m")
    return float(number)
