"""Watches the broker for whoever breaks the order of the protocol, also where no harm comes of it this time.

What it knows is what the broker has taken charge of, in that order, whatever is lost or deleted later. So it holds for
any process, dead or alive: *before this message is there, that one was*.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from mapreduce import coordinator, wire
from mapreduce import events as ev
from mapreduce.effects import Execute
from mapreduce.state import JobState
from tests.simulation.conduct import Conduct
from tests.simulation.world import World

#: a log so young is perhaps still being declared
DECLARING_SECS = 1.0
_OUTCOMES = (ev.Done, ev.AttemptFailed, ev.Lost, ev.Returned, ev.Missing, ev.Long)


class Monitor:
    """Told of every message that comes to a place, and of every ack."""

    def __init__(self, world: World) -> None:
        self._world = world
        #: rules that somebody broke, in words
        self.breaches: list[str] = []
        self.conduct = Conduct(world, self._blame)
        self._blocks: set[tuple[str, int, int]] = set()  #: stream, attempt, seq
        self._parts: dict[tuple[str, int, int], set[int]] = {}
        self._seals: set[tuple[str, int]] = set()  #: stream, generation
        self._dispatches: dict[int, float] = {}  #: when the queue had it first
        self.dispatches: dict[int, ev.Dispatch] = {}  #: these
        self._codes: dict[str, Any] = {}  #: the same, as executors have it
        self._outcomes: set[int] = set()
        self._ended: set[int] = set()
        self._started: dict[int, int] = {}  #: attempts, and of which revision they are
        self._sealed: set[tuple[str, int, int]] = set()  #: job, stage, generation
        self._states: dict[str, JobState] = {}  #: of the log that each job has now
        self._leases: dict[str, list[ev.Rank]] = {}
        self._took: dict[tuple[str, ev.Rank], str] = {}
        self._declared: dict[str, float] = {}
        self._given_back: set[tuple[str, ev.Rank]] = set()  #: leases that were acked
        self._issued: dict[str, float] = {}  #: when a job's first lease came

    def _blame(self, text: str) -> None:
        self.breaches.append(text)

    # ------------------------------------------------------------ what comes

    def declared(self, place: str) -> None:
        """It exists from now on."""
        self._declared[place] = self._world.now
        if place.endswith(".log"):
            self._states[_job_of(place)] = JobState()
            self.conduct.declared(_job_of(place))

    def consumed(self, place: str, serial: int) -> None:
        """A consumer of it begins."""
        if place.endswith(".log"):
            self.conduct.consumed(_job_of(place), serial)

    def comes(self, place: str, body: bytes) -> None:
        """A message is in its place now."""
        for message, _ in wire.decode_all(body):
            self._comes(place, message)

    def _comes(self, place: str, message: Any) -> None:
        if isinstance(message, ev.BlockHead):
            self._block(place, message)
        elif isinstance(message, ev.Seal):
            self._seals.add((place, message.generation))
        elif isinstance(message, ev.Lease):
            self._leases.setdefault(message.job, []).append(message.rank)
            self._issued.setdefault(message.job, self._world.now)
        elif isinstance(message, ev.Dispatch):
            self._dispatch(message)
        elif place.endswith(".log"):
            self._event(_job_of(place), message)

    def goes(self, body: bytes) -> None:
        """A message of a queue is lost."""
        for message, _ in wire.decode_all(body):
            if isinstance(message, ev.Lease):
                self._leases[message.job].remove(message.rank)

    def _block(self, place: str, head: ev.BlockHead) -> None:
        key = (place, head.attempt, head.seq)
        parts = self._parts.setdefault(key, set())
        parts.add(head.part)
        if len(parts) == head.parts:
            self._blocks.add(key)

    def _dispatch(self, message: ev.Dispatch) -> None:
        self._dispatches.setdefault(message.dispatch, self._world.now)
        self.dispatches[message.dispatch] = message
        if message.stage > 0 and (message.job, message.stage, message.generation) not in self._sealed:
            self._blame(f"a task of stage {message.stage} is dispatched before that is sealed")

    def _event(self, job: str, event: Any) -> None:
        state = self._states[job]
        state.apply(event)
        self.conduct.comes(event)
        if isinstance(event, ev.Dispatched):
            if any(item.dispatch not in self._dispatches for item in event.items):
                self._blame("`Dispatched` is logged before the queue has the dispatch")
            known = [self.dispatches.get(item.dispatch) for item in event.items]
            if any(dispatch is not None and dispatch.revision != event.revision for dispatch in known):
                self._blame("`Dispatched` is logged of another revision than its dispatch")
        elif isinstance(event, ev.Took):
            self._lease_taken(job, event)
        elif isinstance(event, ev.Started):
            self._started[event.attempt] = event.revision
        elif isinstance(event, ev.StageSealed):
            self._stage_sealed(job, event)
        elif isinstance(event, ev.Done):
            self._done(job, event)
        if isinstance(event, _OUTCOMES):
            self._outcomes.add(event.dispatch)
        if isinstance(event, (ev.Lost, ev.Returned, ev.AttemptFailed, ev.Done)):
            self._ended.add(event.dispatch)
        elif isinstance(event, (ev.Dispatched, ev.Started)):
            said = [event.dispatch] if isinstance(event, ev.Started) else [i.dispatch for i in event.items]
            live = {*state.unstarted, *state.running} if state.terminal is None else ()
            if any(d in self._ended and d in live for d in said):
                self._blame("a dispatch is live again whose end is in the log")

    def _lease_taken(self, job: str, event: ev.Took) -> None:
        first = self._took.setdefault((job, event.rank), event.worker)
        proper = (
            event.rank.renewals > 0
        )  # provisional ones that come back get the same rank from whoever has them
        if proper and first != event.worker and not self._world.counts.get("repeated messages"):
            self._blame("two workers took a lease of one rank")
        age = self._world.now - self._declared[ev.log_stream(job)]
        if event.rank.renewals == 0 and age < DECLARING_SECS and not self._declared_late(job):
            self._blame("a provisional lease is acted on while the streams are being declared")

    def _declared_late(self, job: str) -> bool:
        """Its client was frozen, or the broker slow to confirm: the lease waits so long and no longer.

        What it costs then is a session, which comes back.
        """
        since = self._issued[job]
        return self._declared[ev.log_stream(job)] - since > coordinator.PROVISIONAL_SECS - DECLARING_SECS

    def _stage_sealed(self, job: str, event: ev.StageSealed) -> None:
        """Whoever logs it knows what the log says so far: each partition that a valid winner wrote to has its seal."""
        self._sealed.add((job, event.stage, event.generation))
        state = self._states[job]
        if event.stage < len(state.stages) and state.stages[event.stage].sealed:
            stages = len(state.stages) - 1
            partitions = [0] if event.stage == stages else sorted(state.seal_entries(event.stage))
            for partition in partitions:
                place = ev.reads_from(job, event.stage, partition, stages)
                if (place, state.stages[event.stage].generation) not in self._seals:
                    self._blame("`StageSealed` is logged before the seals are there")

    def _is_past(self, job: str, dispatch: int) -> bool:
        """It is of a log that the job had before."""
        return self._dispatches[dispatch] < self._declared[ev.log_stream(job)]

    def _done(self, job: str, event: ev.Done) -> None:
        if self._is_past(job, event.dispatch):
            return
        for partition, blocks in event.blocks.items():
            place = ev.reads_from(job, event.stage + 1, partition, len(self._states[job].stages) - 1)
            carried = {each.seq for each in event.output} if place == ev.output_stream(job) else set()
            if any(
                (place, event.attempt, seq) not in self._blocks and seq not in carried
                for seq in range(blocks)
            ):
                self._blame("`Done` is logged before the broker has the blocks")

    # ------------------------------------------------------------ what is done

    def executes(self, command: Execute, before: Collection[Execute]) -> None:
        """User code is about to run, in an executor that has ``before`` to run first."""
        attempt, bundle = command.task.attempt, command.spec.bundle
        known = self.conduct.known(command.task.job)
        if attempt not in self._started:
            self._blame("an attempt runs whose `Started` is not in the log")
        elif known is not None and bundle not in known.bundles[self._started[attempt] :][:1]:
            self._blame("an attempt runs the code of another revision")
        if self._codes.setdefault(command.code, bundle) != bundle:
            self._blame("one executor runs the code of two revisions")
        if any(each.code != command.code for each in before):
            self._blame("one executor is given the code of two jobs")
        if before and any(each.task.careful for each in (*before, command)):
            self._blame("a careful attempt shares an executor")

    def deletes(self, place: str) -> None:
        """A process of the job's deletes a stream."""
        job = place.split(".")[3] if place.startswith("mr.1.job.") else ""
        known = self.conduct.known(job)
        if known is not None and known.kept() and ev.log_stream(job) in self._declared:
            self._blame("what is kept of a failed job is deleted before `Expired` is read")

    def starts(self, started: ev.Started, redelivered: set[int]) -> None:
        """A worker says so; ``redelivered``: dispatches that came to it a second time."""
        if started.dispatch in redelivered and not self._world.counts.get("repeated messages"):
            self._blame("a redelivered dispatch is run")

    def acks(self, body: bytes, places: Collection[str]) -> None:
        """Somebody acks a message of a queue; ``places``: the names of all that there are."""
        for message, _ in wire.decode_all(body):
            self._acks(message, places)

    def _acks(self, message: Any, places: Collection[str]) -> None:
        if isinstance(message, ev.Dispatch):
            over = (
                ev.log_stream(message.job) not in places
                or self._states[message.job].terminal is not None
                or self._states[message.job].revision > message.revision
                or self._is_past(message.job, message.dispatch)
            )
            if message.dispatch not in self._outcomes and not over:
                self._blame("a dispatch is acked of which the log knows no end")
        elif isinstance(message, ev.Lease):
            self._given_back.add((message.job, message.rank))
            # a client that was given up and submits again brings a provisional one, whose holder finds no log and
            # deletes
            known = self._states.get(message.job)  # none before its log is there
            over = known is not None and known.terminal is not None
            held = any(
                rank > message.rank
                or (over and rank.renewals == 0 and (message.job, rank) not in self._given_back)
                for rank in self._leases[message.job]
            )
            prefix = f"mr.1.job.{message.job}."
            log = ev.log_stream(message.job)
            # a client that declares so late has sent another lease, or comes back and does
            late = message.rank.renewals == 0 and log in self._declared and self._declared_late(message.job)
            if not held and not late and any(name.startswith(prefix) for name in places):
                self._blame("a lease is acked while its job has streams and no higher lease")


def _job_of(log: str) -> str:
    return log[len("mr.1.job.") : -len(".log")]
