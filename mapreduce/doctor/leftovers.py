"""What dead jobs have left on the broker, and how it goes.

AMQP has no list of queues and streams. What can be looked into:

    work queues that nobody takes from    dispatches of jobs that are gone: nobody would ever take them off
    mr.1.aside                            messages that nobody could read
    mr.1.jobs, if there is no worker      jobs that wait: they have an owner, and are no leftovers
    jobs by their ids                     those that stand in such dispatches, and those that the user names

A job is dead if it has streams, and no lease: then no worker coordinates it, and none will. If its log is there, it
gets a new lease, and whoever takes that ends it, or goes on with it, as ever. If not, its other streams are of no use.
To look at a message of a queue marks it as redelivered; a worker that gets such a dispatch has it sent out once more.
"""

from __future__ import annotations

import random
import secrets
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import Any, NamedTuple, Optional

from mapreduce import errand, wire
from mapreduce import events as ev
from mapreduce.brokers import base
from mapreduce.census import Census
from mapreduce.display import texts
from mapreduce.doctor.finding import FAILED, NOTE, OK, WARNING, Finding
from mapreduce.errand import TAG, TOKEN, Script, Wait
from mapreduce.state import JobState

ASK_SECS = 10.0
#: for the next message of those that a queue says it has
NEXT_SECS = 1.0
#: what is dispatched for such a job is of no use to anybody
_OVER = ("done", "cancelled", "abandoned")
#: of one queue; what lies behind them is only counted
LOOKED_INTO = 1000
#: tags that a queue may be there for, although no worker of today has it
TAGS = (*(f"cp3{minor}" for minor in range(9, 16)), "pp39", "pp310", "pp311")
_SHOWN = 10


class Waiting(NamedTuple):
    """What waits in a queue that nobody takes from."""

    queue: str
    ready: int
    dead: Counter[str]  #: dispatches by job, where that is over or gone
    alive: Counter[str]  #: the same, where it is not


class Remains(NamedTuple):
    """What is left of a job that nobody coordinates."""

    job: str
    log: bool
    streams: tuple[str, ...]  #: besides the log


def check_leftovers(
    url: str,
    census: Census,
    tag: str,
    jobs: tuple[str, ...],
    clean: bool,
    owned: Collection[str],
    others: Iterable[str] = (),
) -> list[Finding]:
    """``tag``: our own Python's; ``jobs``: whole ids that the user names; ``owned``: as `find_owned` says.
    ``others``: ids that are known from elsewhere; nothing of theirs is cleaned.

    Raises `BrokerError`.
    """
    findings: list[Finding] = []
    suspects = dict.fromkeys(jobs)
    over = {report.job for report in census.jobs if report.phase in _OVER}
    for waiting in errand.run(url, lambda: _look_into_all(_queues(census, tag), over, clean)):
        findings += _tell_waiting(waiting, clean)
        suspects.update(dict.fromkeys(waiting.alive))
    findings += _check_aside(url, clean)
    unknown = [job for job in dict.fromkeys((*suspects, *others)) if job not in owned]
    findings += [
        Finding("leftovers", OK, f"job {job} is coordinated, or waits for a worker")
        for job in jobs
        if job in owned
    ]
    if unknown and is_unsure(census):
        text = f"whether {', '.join(unknown[:_SHOWN])} belong to anybody cannot be told while workers do not answer"
        return [*findings, Finding("leftovers", NOTE, text, "again, when all do")]
    for job in unknown:
        findings += _check_job(url, job, job in jobs, clean and job in suspects)
    if not any(finding.check == "leftovers" for finding in findings):
        findings.append(Finding("leftovers", OK, "none that can be seen"))
    findings.append(
        Finding(
            "unseen",
            NOTE,
            "AMQP lists no streams: those of a job that no lease names are found by its id alone (mr doctor JOB)",
            "rabbitmqctl list_queues name, on the broker's host, shows all: mr.1.job.<id>.…",
        )
    )
    return findings


def is_unsure(census: Census) -> bool:
    """There may be jobs with an owner of which we do not know."""
    return bool(census.silent or (census.workers and census.waiting_leases))


def alive(url: str, owned: set[str], jobs: Iterable[str]) -> set[str]:
    """Those that have an owner, or a log, so that they may get one. Raises `BrokerError`."""
    wanted = set(jobs)
    return (wanted & owned) | errand.run(url, lambda: _logged(wanted - owned))


def _logged(jobs: Iterable[str]) -> Script[set[str]]:
    """Those of which there is a log."""
    found = set()
    for job in jobs:
        if (yield from _exists(ev.log_stream(job))):
            found.add(job)
    return found


def find_owned(url: str, census: Census) -> set[str]:
    """Jobs that are coordinated, or whose leases wait. Raises `BrokerError`."""
    owned = {report.job for report in census.jobs}
    if not census.workers and not census.silent:
        owned |= errand.run(url, _leased)
    return owned


# ---------------------------------------------------------------- work queues


def _queues(census: Census, tag: str) -> list[str]:
    """All that there may be, of the pools that are known."""
    pools = {
        "default",
        *(each.pool for each in census.workers),
        *(each.pool for each in census.jobs if each.pool),
    }
    tags = {tag, "any", *TAGS, *(each.tag for each in census.workers)}
    return [ev.tasks_queue(pool, each) for pool in sorted(pools) for each in sorted(tags)]


def _look_into_all(queues: Iterable[str], over: Collection[str], clean: bool) -> Script[list[Waiting]]:
    """Those that nobody takes from, and in which something waits."""
    found = []
    for queue in queues:
        waiting = yield from _look_into(queue, over, clean)
        if waiting is not None:
            found.append(waiting)
    return found


def _look_into(queue: str, over: Collection[str], clean: bool) -> Script[Optional[Waiting]]:
    """None: somebody takes from it, or nothing waits there. ``over``: jobs that have ended, but are kept."""
    depth = yield from errand.depth(queue, ASK_SECS)
    if depth is None or depth.consumers or depth.ready <= 0:
        return None
    deliveries = yield from _peek(queue, depth.ready)
    jobs: dict[str, list[base.Receipt]] = {}
    for delivery in deliveries:
        job = _job_of(delivery, ev.Dispatch)
        if job is not None:
            jobs.setdefault(job, []).append(delivery.receipt)
    dead, alive = Counter[str](), Counter[str]()
    acks: list[base.Command] = []
    for job, receipts in jobs.items():
        gone = job in over or not (yield from _exists(ev.log_stream(job)))
        (dead if gone else alive)[job] = len(receipts)
        acks += map(base.Ack, receipts) if gone and clean else []
    if acks:  # the answer tells that they have been sent
        yield Wait([*acks, base.Inspect(queue)], _is_depth, ASK_SECS)
    return Waiting(queue, depth.ready, dead, alive)


def _peek(queue: str, ready: int) -> Script[list[base.Delivered]]:
    """The first messages of a queue; they return to it when the session ends."""
    seen: list[base.Delivered] = []
    commands: list[base.Command] = [base.Consume(TAG, queue, LOOKED_INTO)]
    while len(seen) < min(ready, LOOKED_INTO):
        delivery = yield Wait(commands, lambda e: isinstance(e, base.Delivered) and e.tag == TAG, NEXT_SECS)
        if delivery is None:
            break
        seen.append(delivery)
        commands = []
    return seen


def _job_of(delivery: base.Delivered, kind: type) -> Optional[str]:
    """What the message is of, the first where several came together: all of these are of one job."""
    message = next((each for each, _ in wire.decode_all(delivery.body) if isinstance(each, kind)), None)
    job = getattr(message, "job", None)
    return job if job is not None and ev.is_name(job) else None


def _is_depth(event: Any) -> bool:
    return isinstance(event, base.Depth)


def _tell_waiting(waiting: Waiting, clean: bool) -> Iterator[Finding]:
    if waiting.dead:
        what = (
            f"{_dispatches(waiting.dead)} of jobs that are over, in {waiting.queue}: {_names(waiting.dead)}"
        )
        if clean:
            yield Finding("leftovers", OK, f"removed {what}")
        else:
            yield Finding("leftovers", WARNING, what, "--clean removes them")
    rest = waiting.ready - sum(waiting.dead.values())
    if rest > 0:
        jobs = f" (jobs {_names(waiting.alive)})" if waiting.alive else ""
        text = f"{texts.count(rest, 'task')} in {waiting.queue}, from which no worker takes{jobs}"
        yield Finding("queues", WARNING, text, "start workers of that pool and Python, or cancel the jobs")


def _dispatches(jobs: Counter[str]) -> str:
    return texts.count(sum(jobs.values()), "task")


def _names(jobs: Iterable[str]) -> str:
    names = list(jobs)
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


# ---------------------------------------------------------------- messages aside, leases


def _check_aside(url: str, clean: bool) -> Iterator[Finding]:
    lines, more = errand.run(url, lambda: _look_aside(clean))
    if not lines:
        return
    text = f"{texts.count(len(lines) + more, 'message')} on {ev.ASIDE} that nobody could read"
    if clean:
        yield Finding("leftovers", OK, f"removed {texts.count(len(lines), 'message')} from {ev.ASIDE}")
    else:
        yield Finding("leftovers", WARNING, text, "another version at work? --clean removes them")
    shown = lines if clean else lines[:_SHOWN]
    yield from (Finding("aside", NOTE, line) for line in shown)


def _look_aside(clean: bool) -> Script[tuple[list[str], int]]:
    """Lines on the first of them, and how many there are besides."""
    depth = yield from errand.depth(ev.ASIDE, ASK_SECS)
    if depth is None or depth.ready <= 0:
        return [], 0
    deliveries = yield from _peek(ev.ASIDE, depth.ready)
    if clean and deliveries:
        acks = [base.Ack(delivery.receipt) for delivery in deliveries]
        yield Wait([*acks, base.Inspect(ev.ASIDE)], _is_depth, ASK_SECS)
    return [_describe_aside(delivery) for delivery in deliveries], depth.ready - len(deliveries)


def _describe_aside(delivery: base.Delivered) -> str:
    try:
        message, body = wire.decode(delivery.body)
    except wire.BadMessage as error:
        return f"{texts.count(len(delivery.body), 'byte')} that are themselves unreadable: {error}"
    if not isinstance(message, ev.Aside):
        return f"a {type(message).__name__}, which has no business there"
    return f"{texts.count(len(body), 'byte')} from {message.queue}: {message.reason}"


def _leased() -> Script[set[str]]:
    """The jobs whose leases wait, where there is no worker to take them."""
    depth = yield from errand.depth(ev.JOBS, ASK_SECS)
    if depth is None or depth.ready <= 0 or depth.consumers:
        return set()
    deliveries = yield from _peek(ev.JOBS, depth.ready)
    jobs = {_job_of(delivery, ev.Lease) for delivery in deliveries}
    return {job for job in jobs if job is not None}


# ---------------------------------------------------------------- jobs by their ids


def _check_job(url: str, job: str, named: bool, clean: bool) -> Iterator[Finding]:
    """``named``: by the user, who wants to hear of it in any case."""
    remains = errand.run(url, lambda: _remains(job))
    if remains.log:
        text = f"job {job} has streams, and nobody coordinates it"
        if not clean:
            advice = f"mr doctor --clean {job} gives it a new lease: a worker ends it, or goes on"
            yield Finding("leftovers", WARNING, text, advice)
            return
        trouble = errand.run(url, lambda: _give_lease(job))
        if trouble:
            yield Finding("leftovers", FAILED, f"{text}: {trouble}")
        else:
            text = f"job {job} has a new lease: the worker that takes it goes on with it, or ends it"
            yield Finding("leftovers", OK, text)
    elif remains.streams:
        what = f"{texts.count(len(remains.streams), 'stream')} of job {job}, whose log is gone"
        if clean:
            errand.run(url, lambda: _delete(remains.streams))
            yield Finding("leftovers", OK, f"removed {what}")
        else:
            yield Finding("leftovers", WARNING, what, f"mr doctor --clean {job} removes them")
    elif named:
        yield Finding("leftovers", OK, f"there is nothing of a job {job}")


def _remains(job: str) -> Script[Remains]:
    log = yield from _exists(ev.log_stream(job))
    streams = []
    for name in (ev.input_stream(job), ev.output_stream(job)):
        if (yield from _exists(name)):
            streams.append(name)
    stage, partition = 1, 0
    while True:  # numbered without gaps, unless somebody has begun to delete them
        name = ev.partition_stream(job, stage, partition)
        if (yield from _exists(name)):
            streams.append(name)
            partition += 1
        elif partition:
            stage, partition = stage + 1, 0
        else:
            break
    return Remains(job, log, tuple(streams))


def _exists(name: str) -> Script[bool]:
    """What the broker is still bringing up is there, too."""
    depth = yield from errand.depth(name, ASK_SECS)
    return depth is None or depth.ready >= 0


def _delete(names: Iterable[str]) -> Script[None]:
    for name in names:
        yield Wait([base.Delete(name)], lambda e: isinstance(e, base.Deleted), ASK_SECS)


def _give_lease(job: str) -> Script[str]:
    """Reads the log, and sends a lease above all that were taken. Why not, or ""."""
    mark = ev.Marked(secrets.randbits(63))
    log = ev.log_stream(job)
    commands: list[base.Command] = [
        base.Publish(log, wire.encode(mark), TOKEN),
        base.Consume(TAG, log, 500, "first"),
    ]
    state = JobState()
    while True:
        event = yield Wait(commands, lambda e: isinstance(e, (base.Delivered, base.Gone)), ASK_SECS)
        if not isinstance(event, base.Delivered):
            return "its log cannot be read"
        entries = [entry for entry, _ in wire.decode_all(event.body)]
        for entry in entries:
            state.apply(entry)
        commands = [base.Ack(event.receipt)]
        if mark in entries:
            break
    if state.spec is None:
        return "its log does not begin with a job; delete its streams by name (rabbitmqctl delete_queue)"
    rank = ev.Rank((state.lease.renewals if state.lease else 0) + 1, random.SystemRandom().getrandbits(63))
    spec = state.spec
    lease = ev.Lease(job, rank, 0, spec.stages, spec.partitions, shared_dir=spec.shared_dir)
    token = f"{TOKEN}/lease"
    commands += [base.Declare(ev.JOBS, base.Kind.QUEUE), base.Publish(ev.JOBS, wire.encode(lease), token)]
    answer = yield Wait(commands, lambda e: getattr(e, "token", "") == token, ASK_SECS)
    return "" if isinstance(answer, base.Confirmed) else "the broker did not take its lease"
