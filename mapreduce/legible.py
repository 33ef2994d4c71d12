"""Can a job be read here at all? Others of its log may be of another build of this package, and write what nobody here
knows: a newer client the job itself, a newer worker what has become of a task.

What cannot be read is left out as a rule, whoever wrote it. But without `Submitted`, which stands before all else that
is said of the job, nothing has a meaning; and a client that cannot read how a task ended, or the job, would wait for it
for ever.
"""

from __future__ import annotations

from typing import Any, Optional

from mapreduce import __version__, versions, wire
from mapreduce import events as ev
from mapreduce.state import JobState

#: they are said only of a job that was submitted, and confirmed
_LATER = (ev.Splits, ev.InputComplete, ev.Present, ev.Dispatched, ev.Started, ev.StageSealed)
_ENDS = tuple(each.__name__ for each in (ev.Failed, ev.Cancelled, ev.Abandoned, ev.Delivered))
_VERSION = 2  #: position of `Submitted.version`

ADVICE = "use the same version of mapreduce on both sides"


def build() -> str:
    """What this process is: "mapreduce 0.1.0, CPython 3.11.2"."""
    return f"mapreduce {__version__}, {versions.python()}"


class Legibility:
    """Of one job, as far as its log was read."""

    def __init__(self) -> None:
        self._known = False
        self._submitted = False  #: by what others say
        self._unreadable: Optional[wire.BadMessage] = (
            None  #: what may be the job: the first, unless one says it is
        )
        self._any_unreadable = False
        #: the job is known, and all of its log could be read: there is no `why_unknown` and no `why_astray`
        self.clear = False

    def note(self, entry: Any) -> None:
        """The next entry: an event, or in its place the `wire.BadMessage`."""
        self._known = self._known or isinstance(entry, ev.Submitted)
        self._submitted = self._submitted or isinstance(entry, _LATER)
        self.clear = self._known and not (self._any_unreadable or isinstance(entry, wire.BadMessage))
        if isinstance(entry, wire.BadMessage):
            self._any_unreadable = True
            if self._known:
                return
            if entry.tag == ev.Submitted.__name__ and not self._submitted:
                self._submitted, self._unreadable = True, entry
            self._unreadable = self._unreadable or entry

    @property
    def lost(self) -> bool:
        """The job was submitted, and is not there: the broker has lost what it had confirmed."""
        return self._submitted and not self._known and self._unreadable is None

    def why_unknown(self, submitted: bool = False) -> str:
        """Why nobody here can know the job, as the end of a sentence; "": it is known, or may still come.

        ``submitted``: it was, for sure.
        """
        if self._known or not (self._submitted or (submitted and self._unreadable is not None)):
            return ""
        error = self._unreadable
        if error is None:
            return "the broker has lost the job itself, which it had confirmed; submit it anew"
        version = _version_of(error)
        if version in ("", __version__):
            by = "another build of mapreduce submitted it, or the broker has damaged it"
        else:
            by = f"it was submitted by mapreduce {version}"
        return f"{by} ({error}); {ADVICE}"

    def why_astray(self, entry: Any, state: JobState) -> str:
        """Why one who follows the job cannot know how it goes on; "": nothing keeps him from it.

        ``entry``: the last one; ``state``: the fold with it.
        """
        if isinstance(entry, wire.BadMessage):
            over = entry.tag in _ENDS and state.terminal is None
            return f"the job has ended, but how cannot be read ({entry}); {ADVICE}" if over else ""
        if not (self._any_unreadable and isinstance(entry, ev.StageSealed)):
            return ""
        if state.terminal is not None or not 0 < entry.stage < len(state.stages):
            return ""
        stage = state.stages[entry.stage]
        if stage.sealed or entry.generation < stage.generation:
            return ""
        return f"what its workers say cannot be read, they are of another version; {ADVICE}"


def _version_of(error: wire.BadMessage) -> str:
    """Of the client, by what can be read of its `Submitted`."""
    fields = error.fields
    known = error.tag == ev.Submitted.__name__ and type(fields) is list and len(fields) > _VERSION
    version = fields[_VERSION] if known else ""
    return version[:40] if type(version) is str else ""
