"""What may be shown of texts that others have written: nothing that steers a terminal, no secret of a URL."""

from __future__ import annotations

import re
from typing import Any

#: what would do something to a terminal: controls but tab and newline, what turns the direction of writing, and what
#: cannot be seen
CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060\u2066-\u2069\ufeff]"
)
#: of JSON: a whole pair, half of one, anything else
_ESCAPE = re.compile(r"\\ud[89ab]..\\ud[c-f]..|(\\ud[89a-f]..)|\\.")
_USER = re.compile(r"(://)[^/\s@]*(?:@[^/\s@]*)*@")
#: only of the web: elsewhere a question mark is part of a pattern. A colon at the end is that of a message
_QUERY = re.compile(r"(https?://[^\s?#'\"]*\?)[^\s'\")]*?(?=:?(?:[\s'\")]|$))")


def escaped(text: str) -> str:
    """Control characters of users' texts as Python writes them in a string; newlines and tabs stay."""
    return CONTROLS.sub(lambda found: ascii(found[0])[1:-1].replace("\\r", "\\x0d"), text)


def as_json(data: Any, **options: Any) -> str:
    """Plain data as JSON in ASCII. Halves of surrogate pairs, which strict readers refuse, are replaced.

    ``options``: of `json.dumps`.
    """
    import json  # late, since `mr --help` shows no data

    text = json.dumps(data, **options)
    if "\\ud" not in text:
        return text
    return _ESCAPE.sub(lambda found: "\\ufffd" if found[1] else found[0], text)


def without_secrets(text: str) -> str:
    """URLs in it without user and password, and those of the web without what stands behind their question mark:
    that may be a signature, which opens the file to everybody who has it.
    """
    return _QUERY.sub(r"\1…", _USER.sub(r"\1", text))


def input_name(name: str) -> str:
    """A file, or a URL, as messages may name it."""
    return escaped(without_secrets(name))
