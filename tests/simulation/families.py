"""Families of scenarios that are about one thing: `seeds` says which seeds those are.

What comes up once in a thousand of the ordinary schedules comes up in each of these.
"""

from __future__ import annotations

import random
from dataclasses import replace

from mapreduce.spec import JobSpec
from tests.simulation.folder import DIRECTORY
from tests.simulation.scenario import DIES, KILLS_HOST, RAISES, JobPlan, Retry, Scenario
from tests.simulation.seeds import (
    CROWDS,
    FORGETFUL_LOG,
    KILLING_RECORDS,
    LONG_TASKS,
    LOSSES_AT_DEPTH,
    LOST_LEASES,
    RANGES,
    RETRIES,
    SHARED,
    SHORT_TASKS,
    SIZE,
)


def focus(scenario: Scenario) -> Scenario:
    """The scenario, bent towards what its seed's family is about."""
    rng = random.Random(f"family {scenario.seed}")
    family = scenario.seed // SIZE * SIZE
    if family == LOSSES_AT_DEPTH:
        return _losses_at_depth(scenario, rng)
    if family == LONG_TASKS:
        return _long_tasks(scenario, rng)
    if family == KILLING_RECORDS:
        return _killing_records(scenario, rng)
    if family == FORGETFUL_LOG:
        return _forgetful_log(scenario, rng)
    if family == RETRIES:
        return _retries(scenario, rng)
    if family == SHORT_TASKS:
        return _short_tasks(scenario, rng)
    if family == SHARED:
        return _shared(scenario, rng)
    if family == RANGES:
        return _ranges(scenario, rng)
    if family == CROWDS:
        return _crowds(scenario, rng)
    return _lost_leases(scenario, rng) if family == LOST_LEASES else scenario


def _plain(scenario: Scenario) -> Scenario:
    """Without what other families are about."""
    return replace(
        scenario, jobs=scenario.jobs[:1], slow=0.0, bad_luck=0.0, lossy=False, client_dies=False, destructive=False,
        full_disk=0.0, forgets=0.0, ack_timeout=1800.0, renew_secs=480.0,
    )  # fmt: skip


def _job(
    scenario: Scenario, spec: JobSpec, records: tuple[int, ...], bad: dict[tuple[int, int], str]
) -> list[JobPlan]:
    spec = replace(spec, client_timeout_secs=600.0, detached=False)
    return [replace(scenario.jobs[0], spec=spec, records=records, bad=bad)]


def _losses_at_depth(scenario: Scenario, rng: random.Random) -> Scenario:
    """Blocks and seals of early stages are lost when later ones run; a reader's last words come late."""
    spec = replace(
        scenario.jobs[0].spec,
        stages=rng.choice((2, 3)),
        partitions=rng.choice((2, 3)),
        tries=1000,
        skip_bad=0,
    )
    records = tuple(rng.choice((1, 2)) for _ in range(rng.choice((1, 2, 3))))
    return replace(
        _plain(scenario), jobs=_job(scenario, spec, records, {}), workers=rng.choice((2, 3)), lossy=True,
        late_words=True, trouble=rng.choice((6, 10, 14)), trouble_every=rng.choice((0.1, 0.3, 1.0)),
    )  # fmt: skip


def _long_tasks(scenario: Scenario, rng: random.Random) -> Scenario:
    """Many attempts run for a thousand seconds."""
    return replace(_plain(scenario), slow=0.5, trouble=rng.choice((0, 1, 3)), trouble_every=200.0)


def _killing_records(scenario: Scenario, rng: random.Random) -> Scenario:
    """Records that end their process, and may be left out."""
    records = tuple(rng.choice((1, 2, 3)) for _ in range(rng.choice((1, 2, 3))))
    where = [(task, record) for task, count in enumerate(records) for record in range(count)]
    bad = {
        place: rng.choice((DIES, DIES, RAISES))
        for place in rng.sample(where, min(len(where), rng.choice((1, 2, 3))))
    }
    spec = replace(
        scenario.jobs[0].spec, tries=rng.choice((1, 2, 3)), skip_bad=len(bad) - rng.choice((0, 0, 0, 1))
    )
    return replace(_plain(scenario), jobs=_job(scenario, spec, records, bad), trouble=rng.choice((0, 1, 3)))


def _forgetful_log(scenario: Scenario, rng: random.Random) -> Scenario:
    """The broker confirms entries of the log, one of ten, and does not keep them."""
    spec = replace(scenario.jobs[0].spec, tries=1000, skip_bad=0)
    records = tuple(rng.choice((1, 2)) for _ in range(rng.choice((1, 2))))
    return replace(
        _plain(scenario), jobs=_job(scenario, spec, records, {}), lossy=True, forgets=0.1, forgets_only="log",
        trouble=rng.choice((0, 1)),
    )  # fmt: skip


def _short_tasks(scenario: Scenario, rng: random.Random) -> Scenario:
    """Workers work ahead from the start; in half of the schedules a record ends its host, each time.

    Then nothing else goes wrong, and a worker has one slot: no other task is to blame.
    """
    kills = rng.random() < 0.5
    spec = replace(scenario.jobs[0].spec, partitions=rng.choice((2, 6)), tries=1000, skip_bad=0)
    records = tuple(rng.choice((1, 2)) for _ in range(rng.choice((4, 8, 16))))
    bad = {(rng.randrange(len(records)), 0): KILLS_HOST} if kills else {}
    return replace(
        _plain(scenario), jobs=_job(scenario, spec, records, bad), task_secs=0.01, hasty=True,
        slots=(1,) if kills else (1, 2), trouble=0 if kills else rng.choice((1, 3, 8)), trouble_every=0.15,
    )  # fmt: skip


def _retries(scenario: Scenario, rng: random.Random) -> Scenario:
    """Jobs that fail, are kept, and go on: with and without corrected code, one user or two, too late or in time."""
    records = tuple(rng.choice((0, 1, 1, 2)) for _ in range(rng.choice((1, 2, 3, 4))))
    where = [(task, record) for task, count in enumerate(records) for record in range(count)]
    hows = (RAISES, RAISES, DIES, KILLS_HOST) if rng.random() < 0.2 else (RAISES, RAISES, DIES)
    bad = {
        place: rng.choice(hows) for place in rng.sample(where, min(len(where), rng.choice((0, 1, 1, 2, 3))))
    }
    spec = replace(
        scenario.jobs[0].spec,
        tries=rng.choice((1, 2)),
        skip_bad=rng.choice((0, 0, 1)) if KILLS_HOST not in bad.values() else 0,
        keep_secs=rng.choice((5.0, 40.0, 300.0, 300.0)),
        retain_secs=rng.choice((0.0, 30.0)),
        client_timeout_secs=600.0,
        detached=rng.random() < 0.2,
    )
    retries = tuple(
        Retry(
            rng.choice((0.0, 0.3, 3.0, 5.0, 41.0)), rng.random() < 0.6, rng.random() < 0.3, rng.random() < 0.1
        )
        for _ in range(rng.choice((1, 2, 2, 3)))
    )
    jobs = [replace(scenario.jobs[0], spec=spec, records=records, bad=bad, retries=retries)]
    forgets = rng.choice((0.0, 0.0, 0.0, 0.05))
    return replace(
        _plain(scenario), jobs=jobs, bad_luck=rng.choice((0.0, 0.2)), forgets=forgets, forgets_only="log",
        lossy=forgets > 0.0 or rng.random() < 0.2, echoes=True, client_dies=rng.random() < 0.2,
        trouble=rng.choice((0, 2, 5, 8)), trouble_every=rng.choice((0.3, 1.5, 4.0)),
        renew_secs=rng.choice((480.0, 10.0)) if not forgets else 480.0, task_secs=rng.choice((0.01, 0.3)),
    )  # fmt: skip


def _crowds(scenario: Scenario, rng: random.Random) -> Scenario:
    """One worker for some jobs, whose tasks take some seconds: whoever has had more of it waits for the others."""
    spec = replace(scenario.jobs[0].spec, tries=1000, skip_bad=0, client_timeout_secs=600.0, detached=False)
    jobs = [
        JobPlan(
            f"job{number}", replace(spec, name=f"model{number}", partitions=rng.choice((1, 2))),
            tuple(rng.choice((1, 2)) for _ in range(rng.choice((3, 6, 12)))), at=rng.uniform(0, 30.0),
        )
        for number in range(rng.choice((2, 3, 3)))
    ]  # fmt: skip
    return replace(
        _plain(scenario), jobs=jobs, workers=1, late_workers=[], slots=(1,), task_secs=rng.choice((2.0, 8.0)),
        trouble=rng.choice((0, 0, 1, 3)), trouble_every=20.0,
    )  # fmt: skip


def _ranges(scenario: Scenario, rng: random.Random) -> Scenario:
    """Several dispatches in a message. Some of their tasks take long, fail, end their process, or, in a quarter of the
    schedules, their host: then nothing else goes wrong, and a worker has one slot.
    """
    kind = rng.random()
    kills, fails, loses = kind < 0.25, 0.25 <= kind < 0.5, 0.5 <= kind < 0.65
    records = tuple(rng.choice((0, 1, 1, 2)) for _ in range(rng.choice((6, 12, 24))))
    where = [(task, record) for task, count in enumerate(records) for record in range(count)]
    chosen = (
        rng.sample(where, min(len(where), 1 if kills else rng.choice((1, 2, 4)))) if kills or fails else []
    )
    bad = {place: KILLS_HOST if kills else rng.choice((RAISES, DIES)) for place in chosen}
    spec = replace(
        scenario.jobs[0].spec, stages=rng.choice((1, 2)), partitions=rng.choice((2, 6)),
        tries=rng.choice((2, 3)) if fails else 1000, skip_bad=len(bad) - rng.choice((0, 0, 1)) if fails else 0,
    )  # fmt: skip
    return replace(
        _plain(scenario), jobs=_job(scenario, spec, records, bad), lossy=loses,
        task_secs=rng.choice((0.005, 0.01, 0.04)), slow=0.0 if kills else rng.choice((0.0, 0.0, 0.1)),
        hasty=rng.random() < 0.5, ranges=rng.choice((2, 5, 20)), carried=rng.choice((0, 100, 4096)),
        by_reference=rng.random() < 0.2, slots=(1,) if kills else (1, 2, 4),
        trouble=0 if kills or fails else rng.choice((1, 3, 8)), trouble_every=rng.choice((0.05, 0.15, 1.0)),
    )  # fmt: skip


def _shared(scenario: Scenario, rng: random.Random) -> Scenario:
    """Blocks lie in a folder that all see, most of the time; files in it vanish, or change. In a third of the schedules
    jobs fail, are kept, and are retried.
    """
    if rng.random() < 0.33:
        scenario = replace(_retries(scenario, rng), lossy=False, forgets=0.0)
        spec, jobs = scenario.jobs[0].spec, scenario.jobs
    else:
        spec = replace(
            scenario.jobs[0].spec,
            stages=rng.choice((1, 2, 3)),
            tries=1000,
            skip_bad=0,
            detached=rng.random() < 0.2,
        )
        records = tuple(rng.choice((1, 2)) for _ in range(rng.choice((1, 2, 3))))
        dies = not spec.detached and rng.random() < 0.1
        scenario = replace(
            _plain(scenario), client_dies=dies, destructive=not dies and rng.random() < 0.05,
            renew_secs=rng.choice((480.0, 480.0, 10.0)),
        )  # fmt: skip
        spec = replace(spec, client_timeout_secs=600.0)
        jobs = [replace(scenario.jobs[0], records=records, bad={})]
    spec = replace(spec, shared_dir=DIRECTORY)
    return replace(
        scenario, jobs=[replace(jobs[0], spec=spec)], by_reference=False, carried=rng.choice((0, 0, 20)),
        vanishing=rng.random() < 0.8, blind=rng.choice((0.0, 0.0, 0.1)), workers=rng.choice((1, 2, 3)),
        trouble=rng.choice((0, 2, 5, 8)), trouble_every=rng.choice((0.1, 0.3, 1.0)),
    )  # fmt: skip


def _lost_leases(scenario: Scenario, rng: random.Random) -> Scenario:
    """Leases are renewed all the time, and taken long before they are confirmed; half of what goes wrong is that the
    broker restarts, and has lost some of these.
    """
    spec = replace(
        scenario.jobs[0].spec, stages=rng.choice((1, 2)), partitions=rng.choice((1, 2)), tries=1000
    )
    records = tuple(rng.choice((0, 1, 2)) for _ in range(rng.choice((2, 4, 8))))
    jobs = [
        replace(job, spec=replace(job.spec, client_timeout_secs=60.0, retain_secs=rng.choice((0.0, 30.0))))
        for job in _job(scenario, spec, records, {})
    ]
    return replace(
        _plain(scenario), jobs=jobs, workers=rng.choice((2, 3)), slots=(1,),
        latency=0.02, task_secs=rng.choice((0.1, 1.0, 3.0)), stores_late=rng.choice((1.0, 4.0)), renew_secs=2.0,
        client_dies=rng.random() < 0.2, trouble=rng.choice((2, 5, 8)), trouble_every=rng.choice((1.5, 4.0)),
    )  # fmt: skip
