"""The attempts of a worker: how each is started and run, and how it ends.

Every step is confirmed by the broker before the next is taken (rule 1). `Worker` hears of these confirms and calls what
follows; which attempt has an executor next (`line`), and whether more is asked for (`demand`), is decided here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Optional

from mapreduce import events as ev
from mapreduce.attempt import Attempt, Delivery, Phase
from mapreduce.brokers import base
from mapreduce.demand import Demand
from mapreduce.effects import Command, Execute, ForgetJob, KillExecutor
from mapreduce.folders import Folders
from mapreduce.foresight import Foresight
from mapreduce.haste import Haste
from mapreduce.intake import Intake
from mapreduce.known import KnownJobs
from mapreduce.line import Line
from mapreduce.refs import Failure
from mapreduce.slots import Slots
from mapreduce.spec import LONG_SECS
from mapreduce.together import Together, publish

#: between two times that what is done is told at once because nothing else is here; for a busy log that is dear
HURRY_SECS = 0.2


class Attempts(Mapping[int, Attempt]):
    """By number, in the order in which their dispatches came. ``by_reference``: as for `Folders`."""

    def __init__(
        self, worker: str, slots: Slots, intake: Intake, folders: Folders, by_reference: bool
    ) -> None:
        self._worker = worker
        self._intake = intake
        self._folders = folders
        self._by_reference = by_reference
        self._attempts: dict[int, Attempt] = {}
        self.jobs = KnownJobs()
        self.haste = Haste()
        self.foresight = Foresight()
        self.line = Line(slots, self.haste, self._attempts)
        self.demand = Demand(slots, self.foresight)
        self.hold_secs = LONG_SECS  #: how long a dispatch is held unacked
        self.now = 0.0  #: of the event that is handled
        self.unsettled = False  #: something has happened since slots were filled
        self.together = Together()
        self._done: dict[int, Attempt] = {}  #: to be logged as such, with others that are by then
        self._hurries_at = 0.0  #: not before that again

    def __getitem__(self, number: int) -> Attempt:
        return self._attempts[number]

    def __iter__(self) -> Iterator[int]:
        return iter(self._attempts)

    def __len__(self) -> int:
        return len(self._attempts)

    def running(self, number: int) -> Optional[Attempt]:
        """The attempt of this number, if an executor is at it."""
        attempt = self._attempts.get(number)
        return attempt if attempt is not None and attempt.phase == Phase.RUNNING else None

    def log(self, attempt: Attempt, event: Any, kind: str) -> Command:
        """``kind``: of the token, see `Attempt.token`."""
        return publish(attempt.job, event, attempt.token(kind))

    # ------------------------------------------------------------ beginnings

    def begin(self, number: int, dispatch: ev.Dispatch, delivery: Delivery) -> Attempt:
        """A dispatch is here."""
        folder = self._folders.of_attempt(dispatch.job, number)
        attempt = self._attempts[number] = Attempt(number, dispatch, delivery, folder, self.now)
        self.line.came(attempt)
        return attempt

    def ready(self, attempt: Attempt) -> list[Command]:
        """Its input is here."""
        self.foresight.has_read(attempt, self.now - attempt.delivered_at)
        self.line.ready(attempt)
        self.unsettled = True
        if not attempt.promised:
            return []
        commands = self.fill_slots()
        if attempt.phase == Phase.READY:
            # another took the slot; its dispatch, acked, would wait for us
            commands += self.hand_back(attempt)
        return commands

    def started(self, attempt: Attempt) -> None:
        """The log has its `Started`."""
        self.foresight.has_heard(self.now - attempt.started_at)
        self.line.started(attempt)
        self.unsettled = True

    def fill_slots(self) -> list[Command]:
        """Log what is done, run what is started, start what is ready: as many as there are slots, in haste more."""
        self.unsettled = False
        commands = self._report_done()
        while (attempt := self.line.next_to_run(self.now)) is not None:
            commands += self._execute(attempt)
        starting: list[Attempt] = []
        while (attempt := self.line.next_to_start(self.now)) is not None:
            starting.append(attempt)
        commands += self.together.tell("start", starting, lambda each: each.started(self._worker))
        return commands + self.ask_for_more()

    def _execute(self, attempt: Attempt) -> list[Command]:
        assert attempt.spec is not None
        return [Execute(attempt.slot, attempt.code, attempt.spec, attempt.task_spec(self._by_reference))]

    def ask_for_more(self) -> list[Command]:
        """Ack what is over, as far as another dispatch is wanted in its place."""
        if self.haste.short or not self._intake.open:
            return self.demand.all_over()
        waiting = sum(each.phase < Phase.STARTING for each in self._attempts.values())
        return self.demand.ask(self.line.free, waiting, self.hold_secs, self.now)

    # ------------------------------------------------------------ outcomes

    def ran(self, attempt: Attempt) -> None:
        """Its executor is done with it, and has said what the attempt has counted."""
        attempt.phase = Phase.PUBLISHING
        self.line.leave(attempt, self.now)
        took = self.now - attempt.began
        self.haste.took(took)
        self.foresight.has_run(attempt, self.now)
        self.demand.left(attempt, self.now)
        # as its executor has it: we may hear of the ends of several at once, and so of all their beginnings but one
        attempt.secs = attempt.stats.get("seconds", took)
        self.unsettled = True
        self.may_be_done(attempt)

    def may_be_done(self, attempt: Attempt) -> None:
        """`Done` goes out only after the broker has every block."""
        if attempt.phase == Phase.PUBLISHING and not attempt.unconfirmed:
            self._done[attempt.number] = attempt
            self.unsettled = True

    def _report_done(self) -> list[Command]:
        over, self._done = self._done, {}
        # else it was stopped meanwhile
        done = [each for n, each in over.items() if n in self._attempts and each.phase == Phase.PUBLISHING]
        for attempt in done:
            attempt.phase = Phase.CLOSING
            attempt.may_win = True
        return self.together.tell("close", done, lambda each: each.done(self._worker), self._is_last())

    def _is_last(self) -> bool:
        """What ends now may be all that somebody waits for; one who soon has more to do does not say so again soon."""
        is_last = self.line.is_empty and self.now >= self._hurries_at
        if is_last:
            self._hurries_at = self.now + HURRY_SECS
        return is_last

    def tell_apart(self, attempts: Iterable[Attempt]) -> list[Command]:
        """That they are done, each by itself: together it is more than the broker takes as one message."""
        return [self.log(attempt, attempt.done(self._worker), "close") for attempt in attempts]

    def report_missing(self, attempt: Attempt, missing: tuple[int, ...]) -> list[Command]:
        """What was confirmed of its input is not there any more: what these attempts have written."""
        d = attempt.dispatch
        if d.stage == 0:
            text = "the broker lost a part of the input that it had confirmed"
            return self.fail(attempt, Failure("lost", text))
        attempt.phase = Phase.CLOSING
        event = ev.Missing(d.dispatch, d.stage, d.index, d.generation, missing)
        return [self.log(attempt, event, "close")]

    def fail(self, attempt: Attempt, failure: Failure) -> list[Command]:
        """Stop it where it is, and log that it has failed: one of its task's tries."""
        d = attempt.dispatch
        attempt.failure_logged = True
        if attempt.phase == Phase.RUNNING:
            attempt.secs = self.now - attempt.began
        event = ev.AttemptFailed(
            d.dispatch, d.stage, d.index, d.generation, attempt.number, self._worker, failure, not d.careful,
            round(attempt.secs, 6), attempt.slot, d.revision,
        )  # fmt: skip
        return self._end(attempt, event)

    def hand_back(self, attempt: Attempt) -> list[Command]:
        """Stop it where it is, and log that it was returned, which uses up no try: its task is dispatched again."""
        d = attempt.dispatch
        return self._end(attempt, ev.Returned(d.dispatch, d.stage, d.index))

    def hand_back_all(self, before: Phase, but: Optional[Attempt] = None) -> list[Command]:
        """All attempts that have not come so far; those that wait for a slot before those that would free one."""
        commands = self._report_done()  # which is no reason to run them again
        early = [each for each in self._attempts.values() if each.phase < before and each is not but]
        early.sort(key=lambda attempt: attempt.phase)
        return commands + [command for attempt in early for command in self.hand_back(attempt)]

    def _end(self, attempt: Attempt, outcome: Any) -> list[Command]:
        """Stop the attempt where it is and log its outcome; what is left to do waits for the confirm (`close`)."""
        commands = self._halt(attempt)
        attempt.phase = Phase.CLOSING
        commands.append(self.log(attempt, outcome, "close"))
        self.unsettled = True
        return commands

    def _halt(self, attempt: Attempt) -> list[Command]:
        """Whatever goes on for the attempt here goes on no longer."""
        commands: list[Command] = []
        if attempt.phase in (Phase.GIVEN, Phase.RUNNING):
            commands.append(KillExecutor(attempt.slot, attempt.number))  # nothing, if it is over there
        if attempt.phase == Phase.INPUT:
            commands.append(base.Cancel(attempt.input_tag))
        known = self.jobs.get(attempt.code)
        if known is not None and attempt in known.waiting:
            known.waiting.remove(attempt)
        self.line.leave(attempt, self.now)
        return commands

    # ------------------------------------------------------------ endings

    def close(self, attempt: Attempt) -> list[Command]:
        """The log has the outcome: the dispatch may be acked, once another is wanted."""
        self.demand.is_over(attempt)
        self._drop(attempt)
        self.unsettled = True
        return self._folders.when_over(attempt)

    def abort(self, attempt: Attempt) -> list[Command]:
        """Nobody wants its result any more."""
        self.unsettled = True
        return attempt.acknowledge() + self._forget(attempt)

    def disconnected(self) -> list[Command]:
        """An attempt dies with the session that it began on, and so does what was held of it."""
        commands: list[Command] = []
        for attempt in list(self._attempts.values()):
            commands += self._forget(attempt)
        self.demand.disconnected()
        self.jobs.disconnected()
        self.together.clear()
        self._done.clear()
        return commands

    def _forget(self, attempt: Attempt) -> list[Command]:
        """Let go of everything but the ack."""
        commands = self._halt(attempt)
        self._drop(attempt)
        return commands + self._folders.when_forgotten(attempt)

    def _drop(self, attempt: Attempt) -> None:
        self.line.drop(attempt, self.now)
        self._attempts.pop(attempt.number, None)

    # ------------------------------------------------------------ jobs

    def stop_job(self, job: str, revision: int) -> list[Command]:
        """It has ended; attempts of a later revision belong to a retry of which the sender did not know."""
        commands: list[Command] = []
        its = [attempt for attempt in self._attempts.values() if attempt.job == job]
        for attempt in sorted(its, key=lambda each: each.phase):  # first what would begin when others leave
            if attempt.dispatch.revision <= revision:
                commands += self.abort(attempt)
        if any(attempt.dispatch.revision > revision for attempt in its):
            return commands
        for code in self.jobs.codes_of(job):
            commands += self._forget_code(code)
        return commands + self._folders.when_job_is_over(job)

    def forget_old_jobs(self) -> list[Command]:
        """Those with nothing to do here, but for the latest."""
        commands: list[Command] = []
        for code in self.jobs.needless({attempt.job for attempt in self._attempts.values()}):
            job = self.jobs[code].job
            commands += self._forget_code(code) + self._folders.when_job_is_over(job)
        return commands

    def _forget_code(self, code: str) -> list[Command]:
        known = self.jobs.forget(code)
        self.foresight.forget(code)
        fetching = [base.Cancel(f"worker/job:{code}")] if known is not None and known.spec is None else []
        return [*fetching, ForgetJob(code)]
