"""What a task costs when there is nothing to do in it."""

from __future__ import annotations

from bench import answers, data
from bench.model import PEER, Contender, Goal, Round, Workload, faster, stated


def _mr(count: str, name: str, title: str, rounds: int | None = None, group: str | None = "") -> Contender:
    command = (
        f"{{mr}} run bench/jobs/lengths.py {{{count}}} --split-size {data.NUMBER_BYTES} --broker {{broker}}"
    )
    return Contender(name, title, command, rounds=rounds, group=group, prints_answer=True)


def tasks(one: Round, name: str) -> int:
    """How many a contender has run: one for each line of its input."""
    return int(one[name]["input_bytes"]) // data.NUMBER_BYTES


RATE = Workload(
    "tasks",
    "10,000 one-record tasks over RabbitMQ",
    "A task computes the length of one line; all lengths are written, in order. Both use the same broker; Celery's "
    "time counts from when its worker is up (*warm*), ours is that of the whole `mr run`.",
    (
        _mr("input", "broker", "mr run over RabbitMQ"),
        Contender(
            "celery_tasks",
            "Celery",
            "{peers} bench/peers/celery_tasks.py tasks {input} {output} --processes 2 --broker {broker}",
            PEER,
        ),
    ),
    (
        faster(5, "broker", than="celery_tasks", warm=True),
        stated("{broker}: tasks a second", "/s", lambda one: tasks(one, "broker") / one["broker"]["seconds"]),
        stated(
            "{celery_tasks}: tasks a second (warm)",
            "/s",
            lambda one: tasks(one, "celery_tasks") / one["celery_tasks"]["warm"],
        ),
    ),
    answers.values_in_order,
    {"input": lambda small: data.numbers(1000 if small else 10_000)},
    rounds=3,
    workers=("-c 2",),
)

SIZES = ("t1000", "t10000", "t100000")


def cost(one: Round, name: str) -> float:
    """Milliseconds for a task more."""
    return (one[name]["seconds"] - one["t1"]["seconds"]) / (tasks(one, name) - 1) * 1e3


def spread(one: Round) -> float:
    """The dearest task in multiples of the cheapest."""
    costs = [cost(one, name) for name in SIZES]
    return max(costs) / min(costs)


def memory(one: Round, role: str) -> float:
    """Bytes that a process needs for a task more."""
    fewest, most = "t1000", "t100000"
    return (one[most][role] - one[fewest][role]) * 1e6 / (tasks(one, most) - tasks(one, fewest))


GROWTH = Workload(
    "tasks-growth",
    "1,000, 10,000 and 100,000 tasks over RabbitMQ",
    "The cost of a task is what the job takes longer than a job of one task, divided by the number of tasks. Memory "
    "per task is by how much the peak of a process is higher with 100,000 tasks than with 1,000. The worker is the "
    "coordinator, too.",
    (
        _mr("one", "t1", "1 task", group=None),
        _mr("thousand", "t1000", "1,000 tasks", group=None),
        _mr("ten_thousand", "t10000", "10,000 tasks", group=None),
        _mr("hundred_thousand", "t100000", "100,000 tasks", group=None),
    ),
    (
        Goal("cost of a task, the dearest size to the cheapest ≤ 1.2", 1.2, spread),
        *(
            stated(f"a task of {{{name}}}", "ms", lambda one, name=name: cost(one, name))  # type: ignore[misc]
            for name in SIZES
        ),
        stated("memory of the coordinator, per task", "bytes", lambda one: memory(one, "worker_mb")),
        stated("memory of the client, per task", "bytes", lambda one: memory(one, "client_mb")),
    ),
    answers.none,
    {
        "one": lambda small: data.numbers(1),
        "thousand": lambda small: data.numbers(100 if small else 1_000),
        "ten_thousand": lambda small: data.numbers(200 if small else 10_000),
        "hundred_thousand": lambda small: data.numbers(400 if small else 100_000),
    },
    rounds=3,
    workers=("-c 2",),
    memory=True,
)
