"""The seed of `random`: its task's, so that each try of it, wherever, draws the same.

To seed takes a sixth of what a task of one line takes, and few jobs have any use for it. So an executor's generator is
not seeded until somebody asks the module for anything: then for the task at work, as if it had been from its start.
From then on each task finds it seeded.
"""

from __future__ import annotations

import os
import random
import types
from typing import Any, Optional

_seed_now = random.seed
_wanted: Optional[str] = None  #: the seed of the task at work; None: no task has begun


class _Unasked(types.ModuleType):
    """The type of the module `random` until somebody asks it for anything."""

    def __getattribute__(self, name: str) -> Any:
        if _wanted is not None:
            _seed_now(_wanted)
        _end_watch()
        return getattr(self, name)


def watch() -> None:
    """Seed no task of this process before `random` is asked for anything."""
    os.register_at_fork(after_in_child=_end_watch)  # which `random` itself seeds, from the system's entropy
    random.__class__ = _Unasked


def seed(text: str) -> None:
    """A task begins."""
    global _wanted
    _wanted = text
    if type(random) is not _Unasked:
        _seed_now(text)


def _end_watch() -> None:
    random.__class__ = types.ModuleType
