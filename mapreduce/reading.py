"""An attempt's input until all of it is here: the pieces of its split, or its partition up to the seal.

What does not travel is looked for: in a shared folder. What is not there and will not come ends the attempt.
"""

from __future__ import annotations

from mapreduce import wire
from mapreduce.attempt import Attempt, Phase
from mapreduce.attempts import Attempts
from mapreduce.brokers import base
from mapreduce.collector import together
from mapreduce.effects import CheckBlocks, Command, Report
from mapreduce.refs import Failure
from mapreduce.spec import JobSpec


class Reading:
    """``by_reference``: as for `Collector.take`."""

    def __init__(self, attempts: Attempts, by_reference: bool) -> None:
        self._attempts = attempts
        self._by_reference = by_reference

    def begin(self, attempt: Attempt, spec: JobSpec, now: float) -> list[Command]:
        """Its job is known."""
        attempt.spec, attempt.heard_at = spec, now
        place = attempt.expect_input()
        if place is None:
            return self._is_here(attempt)
        name, offset = place
        return [base.Consume(attempt.input_tag, name, attempt.PREFETCH, offset)]

    def take(self, attempt: Attempt, event: base.Delivered, now: float) -> list[Command]:
        """The next message of it."""
        attempt.heard_at = now
        commands: list[Command] = []
        for msg, body in wire.decode_all(event.body):
            if isinstance(msg, wire.BadMessage):
                text = f"job {attempt.job}: a message of its input is unreadable: {msg}"
                d = attempt.dispatch
                commands.append(Report("warning", text, "unreadable", d.job, d.stage, d.index))
            elif not attempt.input_complete:
                commands += attempt.take_input(msg, body, self._by_reference)
        commands = together(commands)
        if not attempt.input_complete:
            return commands
        commands.append(base.Cancel(attempt.input_tag))
        if attempt.stale:  # voided meanwhile; then the fold takes this for nobody's failure
            text = "its partition holds a seal of a later generation than it was dispatched for"
            return commands + self._attempts.fail(attempt, Failure("lost", text))
        missing = attempt.missing()
        if missing is not None:
            again = self._look_again(attempt, now)
            return commands + (again or self._attempts.report_missing(attempt, missing))
        return commands + self._is_here(attempt)

    def nothing_comes(self, attempt: Attempt, now: float) -> list[Command]:
        """The last messages of its input are lost, so that no later one gives it away."""
        again = self._look_again(attempt, now)
        if again:
            return [base.Cancel(attempt.input_tag), *again]
        if attempt.dispatch.stage == 0:
            return self._attempts.report_missing(attempt, ())
        text = f"the seal of its partition did not come in {attempt.patience_secs:.0f} seconds"
        return self._attempts.fail(attempt, Failure("lost", text))

    def _look_again(self, attempt: Attempt, now: float) -> list[Command]:
        place = attempt.look_again()
        if place is None:
            return []
        attempt.heard_at = now
        return [base.Consume(attempt.input_tag, place[0], attempt.PREFETCH, place[1])]

    def _is_here(self, attempt: Attempt) -> list[Command]:
        """All that travels. What does not is looked for: of a shared folder at least that it is one."""
        if not attempt.shared_folder:
            return self._attempts.ready(attempt)
        attempt.phase = Phase.CHECKING
        return [CheckBlocks(attempt.token("check"), attempt.shared_folder, attempt.shared_blocks())]
