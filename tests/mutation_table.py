"""The mutations of `tests/mutations.py`: which rule of docs/architecture.md, where, and how it is broken."""

from __future__ import annotations

from typing import NamedTuple

from tests.simulation import seeds


class Mutation(NamedTuple):
    """Replace ``old``, which stands once in ``file``, by ``new``."""

    name: str  #: what the engine does wrong then
    rule: str
    file: str
    old: str
    new: str
    #: of the seeds that are about it
    first: int = seeds.ORDINARY


WORKER = "mapreduce/worker.py"
ATTEMPTS = "mapreduce/attempts.py"
LINE = "mapreduce/line.py"
KNOWN = "mapreduce/known.py"
READING = "mapreduce/reading.py"
FOLDERS = "mapreduce/folders.py"
SLOTS = "mapreduce/slots.py"
DEMAND = "mapreduce/demand.py"
STATE = "mapreduce/state.py"
COLLECTOR = "mapreduce/collector.py"
COORDINATOR = "mapreduce/coordinator.py"
DISPATCHER = "mapreduce/coordination/dispatcher.py"
SEALER = "mapreduce/coordination/sealer.py"
WATCH = "mapreduce/coordination/watch.py"
STANDING = "mapreduce/coordination/standing.py"
ENDING = "mapreduce/coordination/ending.py"
JOURNAL = "mapreduce/coordination/journal.py"
VERDICT = "mapreduce/coordination/verdict.py"
LEASES = "mapreduce/leases.py"
SENT = "mapreduce/client/sent.py"
ATTEMPT = "mapreduce/attempt.py"
CLIENT = "mapreduce/client/role.py"
COLLECTING = "mapreduce/client/collecting.py"
RETRY = "mapreduce/client/retry.py"

MUTATIONS = [
    # ------------------------------------------------------------ 1 order
    Mutation(
        "the dispatch is acked when the attempt starts", "1 order", ATTEMPTS,
"""\
        return [Execute(attempt.slot, attempt.code, attempt.spec, attempt.task_spec(self._by_reference))]
""",
"""\
        task = attempt.task_spec(self._by_reference)
        return [*attempt.acknowledge(), Execute(attempt.slot, attempt.code, attempt.spec, task)]
""",
    ),
    Mutation(
        "`Done` is published before its blocks are confirmed", "1 order", ATTEMPTS,
"""\
        if attempt.phase == Phase.PUBLISHING and not attempt.unconfirmed:
""",
"""\
        if attempt.phase == Phase.PUBLISHING:
""",
    ),
    Mutation(
        "the dispatch is acked before `Done` is confirmed", "1 order", ATTEMPTS,
"""\
        return self.together.tell("close", done, lambda each: each.done(self._worker), self._is_last())
""",
"""\
        acks = [ack for each in done for ack in each.acknowledge()]
        return [*self.together.tell("close", done, lambda each: each.done(self._worker)), *acks]
""",
    ),
    Mutation(
        "an attempt lives on in the next session", "1 order", ATTEMPTS,
"""\
        for attempt in list(self._attempts.values()):
            commands += self._forget(attempt)
        self.demand.disconnected()
""",
"""\
        self.demand.disconnected()
""",
    ),
    Mutation(
        "an attempt runs before `Started` is confirmed", "1 order", ATTEMPTS,
"""\
            starting.append(attempt)
""",
"""\
            starting.append(attempt)
            self.line._slots.enter(attempt, 0, self.now)
            commands += self._execute(attempt)
""",
    ),
    # ------------------------------------------------------------ 2 winners
    Mutation(
        "a later `Done` replaces the first", "2 winners", STATE,
"""\
        if task is None or task.winner is not None:
            self._end_dispatch(event.stage, event.index, event.dispatch)
            return
        stage = self.stages[event.stage]
""",
"""\
        if task is None:
            self._end_dispatch(event.stage, event.index, event.dispatch)
            return
        stage = self.stages[event.stage]
""",
    ),
    Mutation(
        "a `Done` of a void generation wins", "2 winners", STATE,
"""\
        task = self._current(event)
        if task is None or task.winner is not None:
            self._end_dispatch(event.stage, event.index, event.dispatch)
""",
"""\
        task = self.task(event.stage, event.index)
        if task is None or task.winner is not None:
            self._end_dispatch(event.stage, event.index, event.dispatch)
""",
        seeds.LOSSES_AT_DEPTH,
    ),
    Mutation(
        "the counters of a voided winner stay", "2 winners", STATE,
"""\
        self._account(stage, task, task.winner, -1)
        task.winner = None
        stage.done -= 1
""",
"""\
        task.winner = None
        stage.done -= 1
""",
    ),
    Mutation(
        "readers take the blocks of any attempt", "2 winners", COLLECTOR,
"""\
        return [self._blocks[entry.attempt, seq] for seq in range(entry.blocks)]
""",
"""\
        return [b for (a, s), b in self._blocks.items() if s < entry.blocks]
""",
    ),
    # ------------------------------------------------------------ 3 seals
    Mutation(
        "a gap in a partition is not looked for", "3 seals", COLLECTOR,
"""\
                for seq in range(entry.blocks)
            )
""",
"""\
                for seq in range(min(1, entry.blocks))
            )
""",
    ),
    Mutation(
        "a missing block is left out", "3 seals", COLLECTOR,
"""\
        return [self._blocks[entry.attempt, seq] for seq in range(entry.blocks)]
""",
"""\
        return [b for b in (self._blocks.get((entry.attempt, s)) for s in range(entry.blocks)) if b]

    def missing(self) -> tuple[int, ...]:  # type: ignore[no-redef]
        return ()
""",
    ),
    Mutation(
        "any seal will do, whatever its generation", "3 seals", COLLECTOR,
"""\
        if seal.generation > self.generation:
            self.stale = True
        elif seal.generation == self.generation:
""",
"""\
        if True:
""",
    ),
    Mutation(
        "a seal of a later generation is not heeded", "3 seals", COLLECTOR,
"""\
            self.stale = True
        elif""",
"""\
            pass
        elif""",
        seeds.LOSSES_AT_DEPTH,
    ),
    Mutation(
        "`Missing` is ignored", "3 seals", STATE,
"""\
        if voided:
            self._reopen(event.stage)
""",
"""\
        if False:
            self._reopen(event.stage)
""",
    ),
    Mutation(
        "`Missing` voids nothing but the seal", "3 seals", STATE,
"""\
            self._void(event.stage - 1, index, event.index)
""",
"""\
            pass
""",
    ),
    Mutation(
        "`Missing` does not raise the generation", "3 seals", STATE,
"""\
        stage.generation += 1
        if not stage.sealed:
""",
"""\
        if not stage.sealed:
""",
    ),
    Mutation(
        "`Missing` leaves the stages after the next as they are", "3 seals", STATE,
"""\
        if number + 1 < len(self.stages):
            self._reopen(number + 1)
""",
"",
        seeds.LOSSES_AT_DEPTH,
    ),
    Mutation(
        "a `Missing` of a void generation counts", "3 seals", STATE,
"""\
        if not 0 < event.stage < len(self.stages) or self.stages[event.stage].generation != event.generation:
            return  # that seal is void already
""",
"""\
        if not 0 < event.stage < len(self.stages):
            return
""",
        seeds.LOSSES_AT_DEPTH,
    ),
    Mutation(
        "`StageSealed` is logged before the seals", "3 seals", SEALER,
"""\
        self._open[stage] = (generation, tokens)
        if not tokens:  # nothing was written for this stage, so there is nothing to read
            commands.append(self._journal.write(ev.StageSealed(stage, generation)))
""",
"""\
        self._open[stage] = (generation, set())
        commands.insert(0, self._journal.write(ev.StageSealed(stage, generation)))
""",
    ),
    Mutation(
        "`StageSealed` is logged when the first seal is confirmed", "3 seals", SEALER,
"""\
        if missing or self._state.stages[stage].sealed:
""",
"""\
        if self._state.stages[stage].sealed:
""",
        seeds.LOSSES_AT_DEPTH,
    ),
    Mutation(
        "seals are not repeated", "3 seals", SEALER,
"""\
                if due > self._repeated.get(number, 0) and waited_for:
""",
"""\
                if False and waited_for:
""",
    ),
    Mutation(
        "a stage is sealed only once, whatever is voided", "3 seals", SEALER,
"""\
self._generation(number) != stage.generation:
""",
"""\
self._generation(number) < 0:
""",
        seeds.LOSSES_AT_DEPTH,
    ),
    # ------------------------------------------------------------ 4 fold
    Mutation(
        "a terminal event does not freeze the outcome", "4 fold", STATE,
"""\
        if self.terminal is not None and kind not in _AFTER_THE_END:
            return
""",
"",
    ),
    Mutation(
        "repeated splits make their tasks anew", "4 fold", STATE,
"""\
            if index not in self.splits:
                self.splits[index] = split
                self._add_task(self.stages[0], index)
""",
"""\
            self.splits[index] = split
            self._add_task(self.stages[0], index)
""",
    ),
    Mutation(
        "of entries that came joined only the first is read", "4 fold", COORDINATOR,
"""\
        for entry, _ in wire.decode_all(event.body):
""",
"""\
        for entry, _ in [next(wire.decode_all(event.body))]:
""",
    ),
    # ------------------------------------------------------------ 5 dispatch
    Mutation(
        "a dispatch is logged before the queue has confirmed it", "5 dispatch", DISPATCHER,
"""\
        self._in_flight.update((each.dispatch, (each.stage, each.index)) for each in messages)
""",
"""\
        self._in_flight.update((each.dispatch, (each.stage, each.index)) for each in messages)
        self._confirmed += self._ranges[first]
""",
    ),
    Mutation(
        "more and more of a job that is passed over goes first", "5 dispatch", STANDING,
"""\
        return not self._first
""",
"""\
        return True
""",
        seeds.CROWDS,
    ),
    Mutation(
        "a job goes first while its tasks run", "5 dispatch", STANDING,
"""\
        if self._served_at is None or state.running or not state.unstarted:
""",
"""\
        if self._served_at is None or not state.unstarted:
""",
        seeds.CROWDS,
    ),
    Mutation(
        "`Dispatched` is never logged", "5 dispatch", DISPATCHER,
"""\
        items, self._confirmed = tuple(self._confirmed), []
        return [self._journal.write(ev.Dispatched(items, self._state.revision))]
""",
"""\
        self._confirmed = []
        return []
""",
    ),
    Mutation(
        "an ended dispatch is revived by a late event", "5 dispatch", STATE,
"""\
        if dispatch in self._ended:
            return
        task =""",
"        task =",
    ),
    Mutation(
        "a task whose dispatch ended is not dispatched again", "5 dispatch", STATE,
"""\
            if task.winner is None:
                self.stages[stage].pending[index] = None
""",
"""\
            pass
""",
    ),
    Mutation(
        "a dispatch that nobody has started is waited for for ever", "5 dispatch", WATCH,
"""\
            if now - self._waiting.get(dispatch, (now,))[0] <= UNSTARTED_SECS:
                break
""",
"""\
            break
""",
    ),
    Mutation(
        "a worker with an idle executor asks for no dispatch", "5 dispatch", DEMAND,
"""\
        if not self._over:
            return []
        wanted""",
"""\
        if not self._over or free > 0:
            return []
        wanted""",
    ),
    # ------------------------------------------------------------ 6 duplicates
    Mutation(
        "a repeated block is taken for the next one", "6 duplicates", COLLECTOR,
"""\
        if key in self._blocks:
            return []
        if head.ref""",
"""\
        while key in self._blocks:
            key = (head.attempt, key[1] + 1)
        if head.ref""",
    ),
    Mutation(
        "a repeated piece of input is appended again", "6 duplicates", ATTEMPT,
"""\
        if source is None or piece.number < self._next_piece:
            return []  # before our range, or a repeat
""",
"""\
        if source is None or piece.number < source.first_piece:
            return []
        if piece.number < self._next_piece:
            return [self._spool.append(body)[1]]
""",
    ),
    Mutation(
        "a repeated part of a large block is appended again", "6 duplicates", COLLECTOR,
"""\
        if growing is None or (head.part, head.parts) != (growing.here, growing.parts):
            return []
""",
"""\
        if growing is None:
            return []
""",
    ),
    Mutation(
        "pieces before a split's own are taken for it", "6 duplicates", ATTEMPT,
"""\
        if piece.number > self._next_piece:
            self._gap = self.input_complete = True  # pieces lie in order: the one we wait for is lost
            return []
""",
"",
    ),
    # ------------------------------------------------------------ 7 takeover
    Mutation(
        "a lease is never renewed", "7 takeover", COORDINATOR,
"""\
        if not (survived or self._leaving or now - self._taken_at > self._held_at_most):
            return []
""",
"""\
        if not (survived or self._leaving):
            return []
""",
    ),
    Mutation(
        "a lease is dropped on any other `Took`", "7 takeover", COORDINATOR,
"""\
        if self._highest > self.lease.rank:
            return self._step_down(mine, now)
""",
"""\
        if not mine:
            return self._finish([base.Cancel(self._log_tag)])
""",
    ),
    Mutation(
        "a reissued lease relies on a higher `Took`", "7 takeover", COORDINATOR,
"""\
        if self._receipt is None or not (self.lease.takeovers or self._renewing):
""",
"""\
        if self._receipt is None or not self._renewing:
""",
        seeds.LOST_LEASES,
    ),
    Mutation(
        "a coordinator that renews its lease relies on a higher `Took`", "7 takeover", COORDINATOR,
"""\
        if self._receipt is None or not (self.lease.takeovers or self._renewing):
""",
"""\
        if self._receipt is None or not self.lease.takeovers:
""",
        seeds.LOST_LEASES,
    ),
    Mutation(
        "a client leaves before its lease is confirmed", "7 takeover", CLIENT,
"""\
        if self._sent.outstanding("delivered") or self._lease.on_its_way:
""",
"""\
        if self._sent.outstanding("delivered"):
""",
        seeds.LOST_LEASES,
    ),
    Mutation(
        "a lease is acked before its renewal is confirmed", "7 takeover", COORDINATOR,
"""\
        return [*commands, base.Publish(ev.JOBS, wire.encode(lease), f"{self.prefix}renewed:")]
""",
"""\
        return [*commands, *self._let_go(), base.Publish(ev.JOBS, wire.encode(lease), f"{self.prefix}renewed:")]

    def _let_go(self) -> list[Command]:
        receipt, self._receipt = self._receipt, None
        return [base.Ack(receipt)] if receipt is not None else []
""",
    ),
    Mutation(
        "a coordinator acts before it has read the log", "7 takeover", COORDINATOR,
"""\
        self.caught_up = False
""",
"""\
        self.caught_up = True
""",
    ),
    Mutation(
        "a redelivered lease is acked before it is published anew", "7 takeover", LEASES,
"""\
        self._reissued[publication.token] = (receipt, publication)
        return [publication]
""",
"""\
        return [base.Ack(receipt), publication]
""",
    ),
    Mutation(
        "a redelivered lease is dropped", "7 takeover", LEASES,
"""\
            return self._reissue(lease, event.receipt)
""",
"""\
            return [base.Ack(event.receipt)]
""",
    ),
    Mutation(
        "a redelivered lease is run as it is", "7 takeover", LEASES,
"""\
        if event.redelivered:
""",
"""\
        if False:
""",
    ),
    Mutation(
        "a provisional lease is acted on at once", "7 takeover", COORDINATOR,
"""\
        if is_provisional(self.lease):
""",
"""\
        if False:
""",
    ),
    Mutation(
        "a renewed lease keeps its rank", "7 takeover", COORDINATOR,
"""\
        lease = renewed(last, stuck, self._rng, proper=read)
""",
"""\
        lease = self.lease
""",
    ),
    Mutation(
        "a coordinator's lost log entries are not repeated", "7 takeover", JOURNAL,
"        return [self.write(event) for event in lost]",
"        return []",
        seeds.FORGETFUL_LOG,
    ),
    # ------------------------------------------------------------ 8 losses
    Mutation(
        "a redelivered dispatch is acked without a word", "8 losses", WORKER,
"""\
                commands += self._report_loss(dispatch, event.redelivered, delivery)
""",
"""\
                commands += delivery.let_go()
""",
    ),
    Mutation(
        "a redelivered dispatch is run at once", "8 losses", WORKER,
"""\
            if event.redelivered or not self._intake.open:
""",
"""\
            if not self._intake.open:
""",
    ),
    Mutation(
        "`Lost` does not end its dispatch", "8 losses", STATE,
"""\
            self._waiting_for_pardon.setdefault(running.worker, set()).add((event.stage, event.index))
        self._end_dispatch(event.stage, event.index, event.dispatch)
""",
"""\
            self._waiting_for_pardon.setdefault(running.worker, set()).add((event.stage, event.index))
""",
    ),
    Mutation(
        "`Lost` is acked before it is confirmed", "8 losses", WORKER,
"""\
        return [publish(dispatch.job, make(dispatch.dispatch, dispatch.stage, dispatch.index), token)]
""",
"""\
        lost = make(dispatch.dispatch, dispatch.stage, dispatch.index)
        return [*delivery.let_go(), publish(dispatch.job, lost, token)]
""",
    ),
    Mutation(
        "one loss fails the job", "8 losses", VERDICT,
"""\
            elif len(task.losses) >= tries.MAX_LOSSES and at - since > GRACE_SECS:
""",
"""\
            elif task.losses:
""",
    ),
    Mutation(
        "the dispatch of a task that has lost a worker does not say so", "8 losses", DISPATCHER,
"alone=bool(task.losses) or task.careful",
"alone=False",
        seeds.SHORT_TASKS,
    ),
    Mutation(
        "an attempt of a task that has lost a worker is started ahead", "8 losses", LINE,
"""\
        if attempt.dispatch.alone:
            return sum""",
"""\
        if False:
            return sum""",
        seeds.SHORT_TASKS,
    ),
    Mutation(
        "attempts are started ahead behind one of a task that has lost a worker", "8 losses", LINE,
"""\
        return in_line and not any(each.phase >= Phase.STARTING for each in self._alone.values())
""",
"""\
        return in_line
""",
        seeds.SHORT_TASKS,
    ),
    # ------------------------------------------------------------ ranges of short tasks
    Mutation(
        "what an executor was given waits behind a task that takes long", "5 ranges", WORKER,
"""\
        for attempt in self._slots.stuck(now, LONG_TASK_SECS):
            commands += self._attempts.hand_back(attempt)
""",
"""\
""",
        seeds.RANGES,
    ),
    Mutation(
        "a range is acked with the first of its ends", "5 ranges", ATTEMPT,
"""\
        return [] if self._needed_by else [base.Ack(self._receipt)]
""",
"""\
        return [base.Ack(self._receipt)]
""",
        seeds.RANGES,
    ),
    Mutation(
        "of a range only the first is run", "5 ranges", WORKER,
"""\
        for dispatch in dispatches:
""",
"""\
        for dispatch in dispatches[:1]:
""",
        seeds.RANGES,
    ),
    Mutation(
        "of a range only the first is logged as dispatched", "5 ranges", DISPATCHER,
"""\
            if each.dispatch in self._in_flight:
""",
"""\
            if each.dispatch == first:
""",
        seeds.RANGES,
    ),
    Mutation(
        "what may end its host is dispatched in company", "8 losses", DISPATCHER,
"""\
    return not message.alone and message.input is not None and not message.input.pieces
""",
"""\
    return message.input is not None and not message.input.pieces
""",
        seeds.RANGES,
    ),
    Mutation(
        "what waits in a range behind a long task is kept", "5 ranges", WORKER,
"""\
            if attempt.delivery.is_range or now <= self._calming_until:
""",
"""\
            if now <= self._calming_until:
""",
        seeds.RANGES,
    ),
    # ------------------------------------------------------------ 9 time
    Mutation(
        "a started attempt may be silent for ever", "9 time", WATCH,
"""\
            elif now > deadline:
""",
"""\
            elif False:
""",
        seeds.LONG_TASKS,
    ),
    Mutation(
        "a long attempt does not let go of its dispatch", "9 time", WORKER,
"""\
                return attempt.acknowledge()
        return []
""",
"""\
                return []
        return []
""",
        seeds.LONG_TASKS,
    ),
    Mutation(
        "a long attempt does not say that it is alive", "9 time", WORKER,
"""\
                commands.append(self._attempts.log(attempt, attempt.alive(self.name), "alive"))
""",
"""\
                pass
""",
        seeds.LONG_TASKS,
    ),
    Mutation(
        "a dispatch that is over is held for as long as executors are busy", "9 time", DEMAND,
"""\
            if len(commands) < wanted or now - attempt.delivered_at > hold_secs:
""",
"""\
            if len(commands) < wanted:
""",
        seeds.LONG_TASKS,
    ),
    # ------------------------------------------------------------ tries
    Mutation(
        "a failed attempt costs no try", "tries", STATE,
"""\
            task.failures += 1
""",
"",
    ),
    Mutation(
        "records that are left out are not counted", "tries", VERDICT,
"""\
        if state.left_out <= spec.skip_bad:
            return None
""",
"""\
        if True:
            return None
""",
        seeds.KILLING_RECORDS,
    ),
    Mutation(
        "a record that kills is not left out of the next attempt", "tries", DISPATCHER,
"skip=tuple(sorted(task.skips)), skip_limit=left)",
"skip=(), skip_limit=left)",
        seeds.KILLING_RECORDS,
    ),
    # ------------------------------------------------------------ 14 clean-up
    Mutation(
        "the lease is acked while streams are still there", "14 clean-up", COORDINATOR,
"""\
        return commands if stays else commands + self._renew(now)
""",
"""\
        return self._finish(commands)
""",
    ),
    Mutation(
        "the output's stream is not deleted", "14 clean-up", ENDING,
"""\
        return [*self._remove_shared(revision), *(base.Delete(name) for name in names)]
""",
"""\
        return [*self._remove_shared(revision), *(base.Delete(name) for name in names[:-1])]
""",
    ),
    Mutation(
        "the log is deleted before the data", "14 clean-up", ENDING,
"""\
        if self._to_delete is None and now >= self._stop_at and not state.kept:
            commands += self._delete_data(state.revision)
        if not self.log_is_gone and self._to_delete is not None and log_may_go:
            self.log_is_gone = True
""",
"""\
        if not self.log_is_gone and log_may_go:
            self.log_is_gone = True
            self._to_delete = set()
""",
    ),
    Mutation(
        "the lease is acked before deletion is confirmed", "14 clean-up", ENDING,
"""\
        return self.log_is_gone and self._to_delete is not None and not self._to_delete
""",
"""\
        return self.log_is_gone
""",
    ),
    Mutation(
        "`Delivered` does not end the job", "14 clean-up", STATE,
"""\
            self.terminal, self.delivered = event, True
""",
"""\
            self.delivered = True
""",
    ),
    Mutation(
        "`Delivered` counts for any generation", "14 clean-up", STATE,
"""\
        elif self.ready and self.out.generation == event.generation:
""",
"""\
        elif self.stages:
""",
        seeds.LOSSES_AT_DEPTH,
    ),
    Mutation(
        "a job whose client is gone is never given up", "14 clean-up", VERDICT,
"""\
        elif idle > spec.client_timeout_secs + self._not_heard_yet(at):
""",
"""\
        elif False:
""",
    ),
    # ------------------------------------------------------------ 15 failed jobs
    Mutation(
        "`Retried` is valid after `Expired`", "15 failed", STATE,
"""\
        if failed is None or self.spec is None or self.expired:
            return False
""",
"""\
        if failed is None or self.spec is None:
            return False
""",
        seeds.RETRIES,
    ),
    Mutation(
        "a `Retried` that comes again counts again", "15 failed", STATE,
"""\
        if not (is_new and self.can_go_on):
""",
"""\
        if not self.can_go_on:
""",
        seeds.RETRIES,
    ),
    Mutation(
        "`Retried` voids what was won", "15 failed", STATE,
"""\
                if task.winner is None:
                    self._begin_anew(stage, index, task)
""",
"""\
                self._begin_anew(stage, index, task)
""",
        seeds.RETRIES,
    ),
    Mutation(
        "what failed attempts left out stays left out", "15 failed", STATE,
"""\
        self.left_out -= len(task.skips)
        self._add_task(stage, index)
""",
"""\
        skips = task.skips
        self._add_task(stage, index)
        stage.tasks[index].skips = skips
""",
        seeds.RETRIES,
    ),
    Mutation(
        "a job goes on without all of its input", "15 failed", STATE,
"""\
        return self.kept and self.stages[0].total is not None
""",
"""\
        return self.kept
""",
        seeds.RETRIES,
    ),
    Mutation(
        "a `Done` of before the retry wins", "15 failed", STATE,
"""\
        if not 0 <= event.stage < len(self.stages) or event.revision != self.revision:
            return None
""",
"""\
        if not 0 <= event.stage < len(self.stages):
            return None
""",
        seeds.RETRIES,
    ),
    Mutation(
        "a `Failed` of before the retry ends the job", "15 failed", STATE,
"""\
        if event.revision == self.revision:
            self._end(event)
""",
"""\
        self._end(event)
""",
        seeds.RETRIES,
    ),
    Mutation(
        "an `Expired` of before the retry counts", "15 failed", STATE,
"""\
        if self.kept and event.revision == self.revision:
            self.expired = True
""",
"""\
        if self.kept:
            self.expired = True
""",
        seeds.RETRIES,
    ),
    Mutation(
        "a dispatch of before the retry is live again", "15 failed", STATE,
"""\
        for item in event.items if event.revision == self.revision else ():
""",
"""\
        for item in event.items:
""",
        seeds.RETRIES,
    ),
    Mutation(
        "what is kept is deleted before `Expired` is read", "15 failed", COORDINATOR,
"""\
            commands.append(self._journal.write(ev.Expired(self.state.revision)))
""",
"""\
            commands.append(self._journal.write(ev.Expired(self.state.revision)))
            self.state.expired = True
""",
        seeds.RETRIES,
    ),
    Mutation(
        "what is kept is deleted when the job has failed", "15 failed", ENDING,
"""\
        if self._to_delete is None and now >= self._stop_at and not state.kept:
""",
"""\
        if self._to_delete is None and now >= self._stop_at:
""",
        seeds.RETRIES,
    ),
    Mutation(
        "what is kept is kept for ever", "15 failed", COORDINATOR,
"""\
        return unwanted or self._judge.ended(self._clock.read(now)) >= state.spec.keep_secs
""",
"""\
        return unwanted
""",
        seeds.RETRIES,
    ),
    Mutation(
        "a coordinator stays concluded when the job goes on", "15 failed", COORDINATOR,
"""\
        self._concluded = self._expiring = self._crowded_out = False
""",
"""\
        self._expiring = self._crowded_out = False
""",
        seeds.RETRIES,
    ),
    Mutation(
        "what was on its way to the queue counts when the job goes on", "15 failed", DISPATCHER,
"""\
        self._in_flight.clear()
        self._ranges.clear()
        self._confirmed.clear()
        self._not_before.clear()
""",
"""\
        self._not_before.clear()
""",
        seeds.RETRIES,
    ),
    Mutation(
        "dispatches do not name the corrected code", "15 failed", DISPATCHER,
"""\
        self._code = corrected or self._code
""",
"""\
""",
        seeds.RETRIES,
    ),
    Mutation(
        "a worker runs the code that was submitted", "15 failed", KNOWN,
"""\
            bundle = self._submitted.bundle if entry.bundle is None else entry.bundle
""",
"""\
            bundle = self._submitted.bundle
""",
        seeds.RETRIES,
    ),
    Mutation(
        "old and new code share executors", "15 failed", ATTEMPTS,
"""\
        return [Execute(attempt.slot, attempt.code, attempt.spec, attempt.task_spec(self._by_reference))]
""",
"""\
        return [Execute(attempt.slot, attempt.job, attempt.spec, attempt.task_spec(self._by_reference))]
""",
        seeds.RETRIES,
    ),
    Mutation(
        "a client takes an old failure for the last word", "15 failed", CLIENT,
"""\
            return self._take_outcome() if marked or not self.state.kept else self._look_further()
""",
"""\
            return self._take_outcome()
""",
        seeds.RETRIES,
    ),
    Mutation(
        "a lost `Retried` is not said again", "15 failed", RETRY,
"""\
            commands.append(self._publish_event(self._retried or ev.Marked(self._mark)))
""",
"""\
            pass
""",
        seeds.RETRIES,
    ),
    # ------------------------------------------------------------ shared folders
    Mutation(
        "a reader does not look for files", "3 seals", READING,
"""\
        if not attempt.shared_folder:
            return self._attempts.ready(attempt)
""",
"""\
        if True:
            return self._attempts.ready(attempt)
""",
        seeds.SHARED,
    ),
    Mutation(
        "a client does not look for files", "3 seals", COLLECTING,
"""\
        if not folder or self._found == generation:
""",
"""\
        if True:
""",
        seeds.SHARED,
    ),
    Mutation(
        "who does not see the folder takes its files for lost", "3 seals", WORKER,
"""\
        if event.trouble:
            host""",
"""\
        if event.trouble and attempt.dispatch.stage > 0:
            return self._report_missing(attempt, tuple(map(shared.writer_of, attempt.shared_blocks())))
        if event.trouble:
            host""",
        seeds.SHARED,
    ),
    Mutation(
        "the files of a winner are removed", "6 duplicates", FOLDERS,
"""\
        if attempt.slot >= 0 and not attempt.may_win and attempt.output_folder:
""",
"""\
        if attempt.slot >= 0 and attempt.output_folder:
""",
        seeds.SHARED,
    ),
    Mutation(
        "the shared folder stays", "14 clean-up", ENDING,
"""\
        return [RemoveShared(shared.folder_of(shared_dir, job)), base.Broadcast(wire.encode(advice))]
""",
"""\
        return []
""",
        seeds.SHARED,
    ),
    # ------------------------------------------------------------ client
    Mutation(
        "what a client sent is not sent again", "client", SENT,
"""\
        for publication in list(self._unconfirmed.values()):
            yield self.put_back(publication)
""",
"""\
        yield from ()
""",
    ),
]  # fmt: skip
