"""Is all of the output here? What the seal lists and is not here is reported as missing, and made again.

Output in a shared folder does not travel: it is looked for there, all of it, before the job may forget it. Who does not
see the folder looks again for a minute, and then leaves the job as it is, for one that sees it.
"""

from __future__ import annotations

from typing import Any, Optional

from mapreduce import events as ev
from mapreduce.client.output import Collected, OutputReader, shared_folder
from mapreduce.client.sent import Sent
from mapreduce.effects import BlocksChecked, CheckBlocks, Command
from mapreduce.state import JobState

#: key of a `CheckBlocks`, before the number of the log's reading and the generation
CHECK = "client/check:"
#: how often a client looks for a folder that it does not see, and for how long: a server may come back
LOOK_EVERY_SECS = 2.0
UNSEEN_SECS = 60.0


class Collecting:
    """What has come of the output, and what was done about the rest. ``state`` is the fold as it is now, ``reading``
    the number of the log's reading that it is of.
    """

    def __init__(self, directory: str, sent: Sent) -> None:
        """``directory``: where blocks are stored."""
        self._output = OutputReader(directory)
        self._sent = sent
        #: the output, as soon as it is complete and verified
        self.collected: Optional[Collected] = None
        #: the last report, to be said again as long as it may have been lost
        self.missing: Optional[ev.Missing] = None
        #: why nobody on this host will see the output, if it is given up
        self.unseen = ""
        #: key of the last look for output in a shared folder, and generation of what was found there
        self._looked_for, self._found = "", -1
        #: that folder is not seen since then, and is looked for again then
        self._unseen_since: Optional[float] = None
        self._look_at: Optional[float] = None

    def take(self, msg: Any, body: memoryview, by_reference: bool) -> list[Command]:
        """The next message of `out`; ``by_reference``: as for `Collector.take`."""
        return self._output.take(msg, body, by_reference)

    def take_carried(self, done: ev.Done) -> list[Command]:
        """What came with it, as if it had come by `out`."""
        return self._output.take_carried(done)

    def check(self, state: JobState, reading: int) -> list[Command]:
        """The output is ready, for all that is known: is it here?"""
        generation = state.out.generation
        collector = self._output.of(generation)
        if not collector.complete:
            return []
        folder = shared_folder(state)
        missing = collector.missing(folder)
        if missing:
            return self._report_missing(state, missing)
        if not folder or self._found == generation:
            self.collected = Collected.of(collector, state)
        elif self._looked_for != _key(state, reading):
            self._looked_for = _key(state, reading)
            blocks = (block for block in collector.blocks(folder) if block.crc is not None)
            return [CheckBlocks(self._looked_for, folder, tuple(blocks))]
        return []

    def _report_missing(self, state: JobState, attempts: tuple[int, ...]) -> list[Command]:
        generation = state.out.generation
        if self.missing is not None and self.missing.generation >= generation:
            return []
        self.missing = ev.Missing(0, state.last + 1, 0, generation, attempts)
        return [self._sent.log(self.missing)]

    def checked(self, event: BlocksChecked, state: JobState, reading: int, now: float) -> list[Command]:
        """Whether the output, which is ready, is where it should be."""
        if event.key != _key(state, reading):
            return []
        if event.trouble:
            self._look_later(event.trouble, state, now)
            return []
        self._unseen_since = None
        if event.attempts:
            return self._report_missing(state, event.attempts)
        self._found = state.out.generation
        return self.check(state, reading)

    def _look_later(self, trouble: str, state: JobState, now: float) -> None:
        """And give it up in the end: the job is done, and others may see its output."""
        if self._unseen_since is None:
            self._unseen_since = now
        if now - self._unseen_since < UNSEEN_SECS:
            self._look_at = now + LOOK_EVERY_SECS
            return
        self.unseen = (
            f"the output of job {state.job} lies in {shared_folder(state)}, which {trouble} on this host; on one that "
            f"sees it: mr results {state.job}"
        )

    def is_to_look(self, now: float) -> bool:
        """It is time to `check` once more; said once."""
        if self._look_at is None or now < self._look_at:
            return False
        self._look_at, self._looked_for = None, ""
        return True


def _key(state: JobState, reading: int) -> str:
    """Of a look for what is ready: once for each reading of the log, so that no answer is for another fold."""
    return f"{CHECK}{reading}:{state.out.generation}"
