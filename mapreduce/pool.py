"""The parent's side of the executors: child processes, one per slot at work, and what they report.

    submit ─▶ the first child to be there that has this job, or a blank one ─ Load, Run, … ─▶ child
    poll   ◀─ blocks, then done or failed; a child that dies is a failed attempt ◀──────── child
           ◀─ what user code prints (`capture`), the last of it before done or failed ◀───

One child serves one job, so that modules of two jobs never meet; children that wait for more of their job are
kept, within bounds. Blank children are started ahead, so that nobody waits for one to come up. Where all are busy or
still on their way, an attempt waits for whichever is free first: what takes milliseconds is over before a child is up,
so none is started for that unless it has waited for a while.

A child may be sent attempts ahead of need. It runs them one after the other, and answers for each before it begins the
next, so of all that it has not answered only the first can be what killed it. The others go to another child: nothing
of what they may have begun was heard of.

All calls come from one thread, which waits for starting
a process, for `close`, and in `poll` for a child that has hung up to be dead: a moment, `DEATH_SECS` if it does not
die, up to `CLOSE_SECS` where the kernel is slow to end it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import selectors
import signal
import subprocess
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, Callable, NamedTuple, Optional, Union

from mapreduce import interpreters, limits, mark, pipe, spawn, units
from mapreduce.capture import Capture, Captures
from mapreduce.effects import ExecutorBlock, ExecutorDone, ExecutorFailed, ExecutorPrinted, ExecutorProfiled
from mapreduce.errors import UsageError
from mapreduce.interpreters import Interpreter
from mapreduce.refs import Failure, TaskSpec, trouble_of
from mapreduce.shown import escaped
from mapreduce.spec import JobSpec

SlotEvent = Union[ExecutorBlock, ExecutorPrinted, ExecutorProfiled, ExecutorDone, ExecutorFailed]

CLOSE_SECS = 5.0
#: macOS and PyPy cannot look at a process without reaping it
CAN_TELL = hasattr(os, "waitid")
#: a process closes its files a moment before it is dead
DEATH_SECS = 0.2
#: between two looks at running times and memory
LOOK_SECS = 0.25
#: no pause between two looks is so long unless this process itself was stopped, or the machine slept
STOPPED_SECS = 5.0
#: what part of the time measuring memory may take: looks are further apart where there are many processes
MEASURING_SHARE = 0.04
#: a child takes longer to start than so short an attempt: the next waits so long for one that is at work
SHORT_SECS = 0.02
#: a child that is not ready after so long never will be: what it is read from does not answer, or it goes in circles
READY_SECS = 60.0
_RECEIVE_BYTES = 1 << 18
_REMEMBERED_JOBS = 16
#: of what an executor that cannot start says
_LAST_LINES = 5


class _Order(NamedTuple):
    """An attempt that is to be run."""

    job: str
    spec: JobSpec
    task: TaskSpec
    since: float


class ExecutorPool:
    """``count`` slots, each of which runs its attempts one at a time."""

    def __init__(
        self,
        count: int,
        interpreter: Optional[Interpreter] = None,
        warn: Optional[Callable[[str], None]] = None,
        ahead: Optional[int] = None,
    ) -> None:
        """Starts ``ahead`` children, without waiting for them, others when they are needed; None: all, of this Python.
        Raises `UsageError` if there is no such program. ``warn`` is told why children could not start: who submits
        jobs cannot mend it.
        """
        self._warn = warn
        self._ahead = count if ahead is None else ahead
        self.count = count
        self._interpreter = interpreter or interpreters.this()
        self._selector = selectors.DefaultSelector()
        self._captures = Captures(self._selector)
        self._waiting: dict[int, _Order] = {}  #: by slot, longest first: what waits for a child
        #: by slot, what is next there: behind what waits for a child, or was with a child that has ended
        self._next: dict[int, list[_Order]] = {}
        self._running: dict[int, _Child] = {}
        self._idle: list[_Child] = []  #: longest idle first
        self._dying: list[_Child] = []
        self._unsent: dict[_Child, None] = {}  #: children for which there is something since the last `poll`
        self._events: list[SlotEvent] = []
        self._loads: dict[str, bytes] = {}
        self._short = False  #: the last attempt was
        self._looked_at = time.monotonic()
        self._next_look = self._next_measuring = 0.0
        self._closed = False
        try:
            self._top_up()
        except OSError as error:
            self.close()
            raise UsageError(f"cannot start {self._interpreter.path}: {error.strerror or error}") from error

    def submit(self, slot: int, job: str, spec: JobSpec, task: TaskSpec) -> None:
        """Run an attempt in a slot, after those that it has, which must be of the same ``job`` (code) and not careful.
        Whatever becomes of it, `poll` tells."""
        order = _Order(job, spec, task, time.monotonic())
        child = self._running.get(slot)
        ahead = [child.order] if child is not None else [*self._next.get(slot, ())]
        ahead += [self._waiting[slot]] if slot in self._waiting else []
        if any(each.job != job or each.task.careful or task.careful for each in ahead):
            raise ValueError(f"slot {slot} is busy")
        if child is not None:
            child.behind.append(order)
            child.outgoing += pipe.encode(pipe.Run(task, behind=True))
            self._unsent[child] = None  # together with what is submitted before the next `poll`
        elif ahead:
            self._next.setdefault(slot, []).append(order)
        else:
            self._seek(slot, order)

    def _seek(self, slot: int, order: _Order) -> None:
        """A child for the first of a slot."""
        child = self._take(order.job)
        if child is not None:
            self._begin(child, slot, order)
        else:
            self._waiting[slot] = order
            self._start_for_waiting(order.since)

    def _go_on(self) -> None:
        """In slots where nothing runs, or waits to, what is next there."""
        for slot in [each for each in self._next if each not in self._waiting]:
            for order in self._next.pop(slot):
                self.submit(slot, order.job, order.spec, order.task)

    def _begin(self, child: _Child, slot: int, order: _Order) -> None:
        task = order.task
        try:
            marked = mark.prepare(task.directory) if task.careful else -1
        except OSError as error:
            self._idle.append(child)
            self._cannot_run(slot, task, error, f"write to {task.directory}")
            return
        if child.job is None:
            child.job = order.job
            child.outgoing += self._load_frame(order.job, order.spec)
        child.begin(slot, order, marked)
        self._captures.begin(child.capture, slot, order.job, task.attempt, time.monotonic())
        child.outgoing += pipe.encode(pipe.Run(task))
        self._running[slot] = child
        self._flush(child)

    def _begin_waiting(self) -> None:
        """A child has come free."""
        for slot, order in list(self._waiting.items()):
            child = self._take(order.job)
            if child is not None:
                del self._waiting[slot]
                self._begin(child, slot, order)
        self._go_on()

    def _cannot_run(self, slot: int, task: TaskSpec, error: OSError, what: str) -> None:
        failure = Failure(trouble_of(error), f"cannot {what}: {error.strerror or error}")
        self._events.append(ExecutorFailed(slot, task.attempt, failure))

    def kill(self, slot: int, attempt: int) -> None:
        """End an attempt, and all processes that it started, or see to it that it is not begun. No event will tell of
        it, unless it is over."""
        child, order = self._running.get(slot), self._waiting.get(slot)
        if order is not None and order.task.attempt == attempt:
            del self._waiting[slot]
        elif child is not None and child.attempt == attempt:
            self._strand(child)
        elif child is not None and any(each.task.attempt == attempt for each in child.behind):
            child.unwanted.add(attempt)  # it has it: when it begins is soon enough
        else:
            left = [each for each in self._next.pop(slot, ()) if each.task.attempt != attempt]
            if left:
                self._next[slot] = left

    def _strand(self, child: _Child) -> None:
        """End a running child; others get what it has not begun."""
        self._leave_slot(child)
        self._discard(child)
        self._replace()

    def _leave_slot(self, child: _Child) -> None:
        del self._running[child.slot]
        left = [each for each in child.behind if each.task.attempt not in child.unwanted]
        child.behind.clear()
        if left:
            self._next[child.slot] = left  # begun with the next `poll`: they may be killed before

    def forget(self, job: str) -> None:
        """Let the idle children of a job go; blank ones take their place, as far as there are too few."""
        self._loads.pop(job, None)
        self._captures.forget(job)
        ended = [child for child in self._idle if child.job == job]
        for child in ended:
            self._idle.remove(child)
            self._discard(child)
        if ended:
            self._replace()

    def poll(self) -> list[SlotEvent]:
        """What has happened since the last time. Does not wait for anything to happen."""
        now = time.monotonic()
        self._go_on()
        while self._unsent:
            child, _ = self._unsent.popitem()
            if not child.closed:
                self._flush(child)
        for key, mask in self._selector.select(0):
            if isinstance(key.data, Capture):
                self._captures.hear(key.data, now)
                continue
            child = key.data
            if mask & selectors.EVENT_WRITE:
                self._flush(child)
            if mask & selectors.EVENT_READ and not child.closed:
                self._receive(child)
        self._dying = [child for child in self._dying if child.process.poll() is None]
        self._look_after()
        if self._waiting:
            self._start_for_waiting(now)
        self._events += [ExecutorPrinted(*each) for each in self._captures.poll(now)]
        events, self._events = self._events, []
        return events

    def filenos(self) -> list[int]:
        """File descriptors that are readable when `poll` has something to do."""
        fileno = getattr(self._selector, "fileno", None)
        if fileno is not None:
            return [fileno()]  # a selector of the kernel's can itself be waited for
        return [key.fd for key in self._selector.get_map().values()]

    def wait_secs(self) -> Optional[float]:
        """How long `poll` can wait at most, whatever `filenos` say; None: for ever."""
        now = time.monotonic()
        secs = self._captures.wait_secs(now)
        if self._lacking() <= 0:
            return secs
        start_secs = max(0.0, next(iter(self._waiting.values())).since + SHORT_SECS - now)
        return start_secs if secs is None else min(secs, start_secs)

    def used_memory(self) -> int:
        """Bytes that all children use, with all that they started; 0: that cannot be told on this system."""
        groups = [child.process.pid for child in self._children()]
        return sum(limits.used_memory(groups).values()) if limits.MEASURABLE else 0

    def close(self) -> None:
        """End all children, with all that they started."""
        if self._closed:
            return
        self._closed = True
        for child in list(self._children()):
            self._discard(child)
        self._waiting.clear()
        self._next.clear()
        self._running.clear()
        self._idle.clear()
        for child in self._dying:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(CLOSE_SECS)
        self._selector.close()

    def __enter__(self) -> ExecutorPool:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    # ------------------------------------------------------------ children come and go

    def _children(self) -> Iterator[_Child]:
        yield from self._running.values()
        yield from self._idle

    def _take(self, job: str) -> Optional[_Child]:
        """A child that is up: one that has ``job``, else a blank one."""
        for wanted in (job, None):
            for child in reversed(self._idle):
                if child.ready and child.job == wanted:
                    self._idle.remove(child)
                    return child
        return None

    def _lacking(self) -> int:
        """How many attempts wait for which no child is on its way."""
        return len(self._waiting) - sum(not child.ready for child in self._idle) if self._waiting else 0

    def _start_for_waiting(self, now: float) -> None:
        """Start what is lacking, unless a child that is at work is sure to be there first."""
        while self._lacking() > 0:
            slot, order = next(iter(self._waiting.items()))
            at_work = self._short and any(child.job == order.job for child in self._running.values())
            if at_work and now < order.since + SHORT_SECS:
                return
            # each slot may keep one idle child of another job
            others = [child for child in self._idle if child.ready]
            while others and len(self._idle) + len(self._running) >= 2 * self.count:
                self._idle.remove(others[0])
                self._discard(others.pop(0))
            try:
                self._idle.append(self._spawn())
            except OSError as error:
                del self._waiting[slot]
                self._cannot_run(slot, order.task, error, "start an executor")
            self._ahead = min(self.count, len(self._idle) + len(self._running))

    def _spawn(self) -> _Child:
        child = _Child(self._interpreter)
        self._selector.register(child.socket, selectors.EVENT_READ, child)
        self._captures.add(child.capture)
        return child

    def _top_up(self) -> None:
        while len(self._idle) + len(self._running) < self._ahead:
            self._idle.append(self._spawn())

    def _replace(self) -> None:
        """Start a blank child ahead of need. If that fails now, `submit` will say so then."""
        with contextlib.suppress(OSError):
            self._top_up()

    def _discard(self, child: _Child) -> None:
        """Out of our sight, and dead in a moment."""
        self._selector.unregister(child.socket)
        self._captures.remove(child.capture)
        child.end()
        self._dying.append(child)

    def _load_frame(self, job: str, spec: JobSpec) -> bytes:
        frame = self._loads.pop(job, None) or pipe.encode(pipe.Load(spec))
        self._loads[job] = frame
        while len(self._loads) > _REMEMBERED_JOBS:
            del self._loads[next(iter(self._loads))]
        return frame

    # ------------------------------------------------------------ the pipes

    def _flush(self, child: _Child) -> None:
        """Send what the pipe takes; the selector says when it takes more."""
        child.send()
        mask = selectors.EVENT_READ | (selectors.EVENT_WRITE if child.outgoing else 0)
        if mask != self._selector.get_key(child.socket).events:
            self._selector.modify(child.socket, mask, child)

    def _receive(self, child: _Child) -> None:
        try:
            data = child.socket.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        child.capture.current = False  # what is heard now may have been preceded by output
        if not data:
            self._lost(child)
            return
        try:
            for message in child.frames.feed(data):
                self._handle(child, message)
                if child.closed:
                    return
        except Exception:  # noqa: BLE001  # user code has written to the pipe: whatever comes out of that
            child.nonsense = True
            self._lost(child)
            return
        if child.attempt in child.unwanted:
            self._strand(child)

    def _handle(self, child: _Child, message: Any) -> None:
        if isinstance(message, pipe.Hello):
            child.ready, child.capture.mark = True, message.mark
            self._begin_waiting()
        elif message.attempt != child.attempt:
            raise ValueError("a message of an attempt that does not run here")
        elif isinstance(message, pipe.Wrote):
            self._events.append(
                ExecutorBlock(child.slot, message.attempt, message.partition, message.seq, message.block)
            )
        elif isinstance(message, pipe.Profiled):
            self._events.append(
                ExecutorProfiled(child.slot, message.attempt, message.part, message.samples, message.lines)
            )
        elif isinstance(message, pipe.Done):
            self._short = message.stats.get("seconds", 0.0) < SHORT_SECS
            self._hear_out(child)
            its = (message.counters, message.stats, message.skipped, message.blocks)
            self._events.append(ExecutorDone(child.slot, message.attempt, *its))
            self._release(child, message.fit)
        elif isinstance(message, pipe.Failed):
            self._hear_out(child, failed=True)
            self._events.append(ExecutorFailed(child.slot, message.attempt, message.failure))
            self._release(child, message.fit)

    def _release(self, child: _Child, fit: bool) -> None:
        """It has answered."""
        child.rest()
        if not fit:  # with the threads and processes that user code has left behind
            self._strand(child)
        elif child.behind:
            order = child.behind.popleft()
            child.begin(child.slot, order, -1)
            capture, attempt = child.capture, order.task.attempt
            self._captures.begin(capture, child.slot, order.job, attempt, time.monotonic(), behind=True)
        else:
            del self._running[child.slot]
            self._idle.append(child)
            self._begin_waiting()

    def _hear_out(self, child: _Child, failed: bool = False) -> None:
        """All that its attempt has printed is told of before its end is."""
        said = self._captures.end(child.capture, time.monotonic(), failed)
        self._events += [ExecutorPrinted(*each) for each in said]

    def _lost(self, child: _Child) -> None:
        """The child is gone, or of no use any more."""
        if child.closed:
            return  # it was ended as soon as it had answered
        if child in self._idle:
            if CAN_TELL and not child.ready and not child.late:
                child.wait_for_death()
            words = child.capture.last_words(time.monotonic())
            self._idle.remove(child)
            failed = self._waiting_for(child) if not child.ready and self._lacking() > 0 else None
            self._discard(child)
            self._tell_if_broken(child, words)
            if failed is not None:
                self._events.append(ExecutorFailed(*failed, Failure("died", child.epitaph())))
            return  # no need to hurry; and one that cannot even start must not be started in a loop
        self._end(child, None)

    def _waiting_for(self, child: _Child) -> tuple[int, int]:
        """Slot and attempt of whoever has waited for a child that never came up, and is told what that has said."""
        slot = next(iter(self._waiting))
        order = self._waiting.pop(slot)
        self._captures.begin(child.capture, slot, order.job, order.task.attempt, time.monotonic())
        self._hear_out(child, failed=True)
        return slot, order.task.attempt

    def _end(self, child: _Child, failure: Optional[Failure]) -> None:
        """A running child is over; without a ``failure`` the way in which it died is the failure."""
        self._leave_slot(child)
        place = child.place()
        if failure is None and CAN_TELL and not child.nonsense:
            child.wait_for_death()
        words = child.capture.last_words(time.monotonic())
        self._hear_out(child, failed=True)
        self._discard(child)
        if failure is None:
            self._tell_if_broken(child, words)
        failure = failure or Failure("died", child.epitaph())
        if place is not None:
            failure = dataclasses.replace(
                failure,
                position=place.position,
                source=place.source,
                offset=place.offset,
                record=place.record,
            )
        self._events.append(ExecutorFailed(child.slot, child.attempt, failure))
        if child.ready:
            self._replace()

    def _tell_if_broken(self, child: _Child, words: str) -> None:
        """Why one that is dead has never been ready. ``words``: what it has said."""
        if not child.ready and self._warn is not None:
            last = " | ".join(escaped(line.strip()) for line in words.strip().splitlines()[-_LAST_LINES:])
            self._warn(f"{child.epitaph()}; {f'its last words: {last}' if last else 'it has said nothing'}")

    # ------------------------------------------------------------ limits

    def _look_after(self) -> None:
        """End what is over its limits, or does not come up; notice deaths of which the pipe does not tell, for a
        process that user code has forked holds it open.
        """
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + LOOK_SECS
        stopped_secs, self._looked_at = now - self._looked_at, now
        for child in list(self._running.values()):
            if stopped_secs > STOPPED_SECS:  # so was the child, as a rule
                child.deadline += stopped_secs
            self._receive(child)  # it may have answered since `poll` has looked
            if self._running.get(child.slot) is not child:
                continue
            if now >= child.deadline:
                text = f"the attempt ran for more than {child.timeout_secs:g} s, the limit that --task-timeout sets"
                self._end(child, Failure("timeout", text))
            elif CAN_TELL and child.has_died():
                self._end(child, None)
        for child in [each for each in self._idle if not each.ready]:
            if stopped_secs > STOPPED_SECS:
                child.deadline += stopped_secs
            self._receive(child)
            if not child.ready and now >= child.deadline:
                child.late = True
                self._lost(child)
        if now >= self._next_measuring:
            self._measure()

    def _measure(self) -> None:
        """End what uses more memory than it may."""
        limited = [child for child in self._running.values() if child.max_memory]
        if not limited or not limits.MEASURABLE:
            return
        began = time.monotonic()
        used = limits.used_memory([child.process.pid for child in limited])
        ended = time.monotonic()
        self._next_measuring = ended + (ended - began) / MEASURING_SHARE
        for child in limited:
            has = used.get(child.process.pid, 0)
            if has > child.max_memory:
                self._end(child, Failure("memory", _too_much(has, child.max_memory)))


class _Child:
    """One executor process."""

    def __init__(self, interpreter: Interpreter) -> None:
        self.job: Optional[str] = None
        self.ready = False
        self.slot = -1
        self.attempt = 0
        self.timeout_secs, self.max_memory = 0.0, 0
        self.deadline = time.monotonic() + READY_SECS  #: of becoming ready; then of its attempt
        self.late = False  #: for the former
        self._marked = -1  #: of the attempt's mark, see `mark`
        self.order: _Order  #: at work
        self.behind: deque[_Order] = deque()  #: it was sent these, too, and has not been heard to begin them
        self.unwanted: set[int] = set()  #: attempts among these, or at work
        self.frames = pipe.Frames(pipe.MAX_ANSWER_BYTES)
        self.outgoing = bytearray()
        self.nonsense = False
        self.hung_up = False
        self._reaped = False  #: by the system, without us: SIGCHLD is ignored in this process
        self._spawned = spawn.take(interpreter)
        self.process, self.socket = self._spawned.process, self._spawned.socket
        self.capture = Capture(self._spawned.output)

    @property
    def closed(self) -> bool:
        """Our ends of its pipes are; in a copy of this process, too, which must not touch our children."""
        return self._spawned.closed

    def begin(self, slot: int, order: _Order, marked: int) -> None:
        """An attempt is its own now."""
        spec = order.spec
        self.order, self.slot, self.attempt, self._marked = order, slot, order.task.attempt, marked
        self.timeout_secs, self.max_memory = spec.task_timeout_secs, spec.max_memory
        self.deadline = time.monotonic() + spec.task_timeout_secs if spec.task_timeout_secs else math.inf

    def rest(self) -> None:
        """The attempt is over."""
        self.unwanted.discard(self.attempt)
        self.attempt = 0
        if self._marked >= 0:
            os.close(self._marked)
            self._marked = -1

    def place(self) -> Optional[mark.Place]:
        """Which record user code has, if the attempt is a careful one."""
        return mark.read(self._marked) if self._marked >= 0 else None

    def has_died(self) -> bool:
        """Does not reap it: until `end` its group needs its number. Only where the system can tell."""
        try:
            status = os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            self._reaped = True
        return self._reaped or status is not None

    def wait_for_death(self) -> None:
        """Its pipe is closed: it is dying, or user code has closed it."""
        deadline = time.monotonic() + DEATH_SECS
        while not self.has_died():
            if time.monotonic() > deadline:
                self.hung_up = True
                return
            time.sleep(0.001)

    def send(self) -> None:
        """As much as the pipe takes."""
        try:
            while self.outgoing:
                sent = self.socket.send(self.outgoing)
                del self.outgoing[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self.outgoing.clear()  # it is dead; reading the pipe will tell

    def end(self) -> None:
        """Kill it and all of its process group; close the pipe."""
        if self.closed:
            return
        # before it is reaped: until then nobody else can get the group's number
        if CAN_TELL:
            self.has_died()
        if self.process.returncode is None and not self._reaped:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.hang_up()

    def hang_up(self) -> None:
        """Close our ends of its pipes."""
        if self._marked >= 0:
            os.close(self._marked)
            self._marked = -1
        self._spawned.hang_up()

    def epitaph(self) -> str:
        """What to say of a child that ended in the middle of a task. A signal to a dying process changes
        nothing.
        """
        if self.nonsense:
            return "user code wrote into the executor's pipe: it must leave open file descriptors alone"
        if self.late:
            return f"the executor was not ready within {READY_SECS:g} s"
        if self._reaped:
            return "the executor died; how, the system does not tell a process that ignores SIGCHLD"
        try:
            status = self.process.wait(CLOSE_SECS)
        except subprocess.TimeoutExpired:
            return "the executor hung up and cannot be killed"
        if status == pipe.PIPE_CLOSED or self.hung_up:
            return "user code closed the executor's pipe: it must leave open file descriptors alone"
        when = "in the middle of the task" if self.ready else "before it was ready"
        if status >= 0:
            return f"the executor exited with status {status} {when}"
        try:
            name = signal.Signals(-status).name
        except ValueError:
            name = f"signal {-status}"
        hint = "; was there too little memory?" if name == "SIGKILL" else ""
        return f"the executor was killed by {name} {when}{hint}"


def _too_much(used: int, limit: int) -> str:
    sizes = f"{units.shown_size(used)}, more than the {units.shown_size(limit)}"
    return f"the executor, with all that it started, used {sizes} that --max-memory sets"
