"""The input on its way in: numbers pieces, lists splits in the log, reads no further ahead than the broker confirms.

Pieces and splits are numbered, and the same input is cut in the same way each time. So a second client can begin
anywhere behind what is logged: what it says again is a repeat, whoever said it first.
"""

from __future__ import annotations

from collections.abc import Mapping

from mapreduce import events as ev
from mapreduce import wire
from mapreduce.brokers import base
from mapreduce.client.sent import Sent
from mapreduce.effects import Command, InputSplit, InputSplits, ReadInput
from mapreduce.spec import MIB

#: pieces that may be read ahead of their confirms, of about 1 MiB
READ_AHEAD = 8
#: splits in one log event, at most, and their bytes
SPLITS_PER_EVENT = 500
SPLIT_BYTES_PER_EVENT = MIB
#: splits that may wait to be logged before no more is read: one full event
SPLITS_AHEAD = SPLITS_PER_EVENT


class Feeding:
    """What the input has come to."""

    def __init__(self, job: str, sent: Sent) -> None:
        self._job = job
        self._sent = sent
        self._open = False
        self._ended = False
        self._reads = 0  #: asked for, and not there yet
        self._piece = 0
        self._first_piece_of_split = 0
        self._splits: list[ev.SplitInput] = []  #: not logged yet
        #: how many splits are logged, or about to be
        self.logged = 0

    def start(self) -> list[Command]:
        """Begin to read."""
        self._open = True
        return self.read_ahead()

    def skip(self, logged: Mapping[int, ev.SplitInput]) -> None:
        """Begin behind the splits that are in the log, as far as there is no gap in them."""
        while self.logged in logged:
            split = logged[self.logged]
            self._piece = max(self._piece, split.first_piece + split.pieces)
            self.logged += 1
        self._first_piece_of_split = self._piece

    def read_ahead(self) -> list[Command]:
        """Ask for as much as may be on its way."""
        if not self._open or self._ended or len(self._splits) >= SPLITS_AHEAD:
            return []
        more = READ_AHEAD - self._reads - self._sent.outstanding("piece")
        self._reads += max(0, more)
        return [ReadInput() for _ in range(more)]

    def piece(self, data: bytes) -> list[Command]:
        self._reads -= 1
        head = wire.encode(ev.Piece(self._piece), data)
        self._piece += 1
        return [self._to_input(head), *self.read_ahead()]

    def split(self, event: InputSplit) -> list[Command]:
        self._reads -= 1
        pieces = self._piece - self._first_piece_of_split
        self._splits.append(ev.SplitInput(event.split, self._first_piece_of_split, pieces))
        self._first_piece_of_split = self._piece
        return [*self.log_splits(), *self.read_ahead()]

    def splits(self, event: InputSplits) -> list[Command]:
        self._reads -= not event.goes_on
        self._splits += event.splits
        return [*self.log_splits(), *self.read_ahead()]

    def end(self) -> list[Command]:
        self._reads -= 1
        self._ended = True
        # first, for they are sent again in this order: no split may follow their number
        splits = self.log_splits()
        return [*splits, *self._last_words("input")]

    def end_again(self) -> list[Command]:
        """That it is all in, once more: the broker may have lost either word of it, and readers wait for both."""
        return [*self._last_words("event")]

    def _last_words(self, kind: str) -> tuple[Command, Command]:
        end = self._to_input(wire.encode(ev.EndOfInput(self._piece)))
        return end, self._sent.log(ev.InputComplete(self.logged), kind)

    def stop(self) -> None:
        """No more of it can be read."""
        self._reads -= 1
        self._ended = True

    def log_splits(self) -> list[Command]:
        """One event for all that came up while the last one was on its way."""
        outstanding = self._sent.outstanding("splits")
        commands: list[Command] = []
        while self._splits and (self._ended or not (outstanding or commands)):
            count, head = self._next_batch()
            commands.append(self._sent.publish(ev.log_stream(self._job), head, "splits"))
            self.logged += count
            del self._splits[:count]
        return commands

    def _next_batch(self) -> tuple[int, bytes]:
        """The event for as many splits as one may list, at least one, and their number."""
        count = SPLITS_PER_EVENT
        while True:
            batch = tuple(self._splits[:count])
            head = wire.encode(ev.Splits(self.logged, batch))
            if len(batch) == 1 or len(head) <= SPLIT_BYTES_PER_EVENT:
                return len(batch), head
            # they are about alike, and a tenth less fits for sure if they are
            count = max(1, min(len(batch) - 1, 9 * len(batch) * SPLIT_BYTES_PER_EVENT // (10 * len(head))))

    def _to_input(self, head: bytes) -> base.Publish:
        return self._sent.publish(ev.input_stream(self._job), head, "piece")
