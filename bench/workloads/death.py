"""What the death of an executor costs."""

from __future__ import annotations

from bench import answers, data
from bench.jobs import deadly
from bench.model import Contender, Goal, Workload

TASKS = 120
RECORDS = TASKS * deadly.RECORDS_PER_TASK
#: what the killed task had done: all but its last record
LOST_SECS = (deadly.RECORDS_PER_TASK - 1) * deadly.WAIT_SECS
SPLIT = deadly.RECORDS_PER_TASK * data.NUMBER_BYTES

_JOB = f"{{mr}} run bench/jobs/deadly.py {{input}} -o {{output}} --broker {{broker}} --split-size {SPLIT}"


def _fatal(records: int) -> int:
    """The last record of the task in the middle."""
    tasks = records // deadly.RECORDS_PER_TASK
    return tasks // 2 * deadly.RECORDS_PER_TASK - 1


DEATH = Workload(
    "death",
    "One of four executors killed half-way through",
    f"{TASKS} tasks of a quarter of a second each, which wait and do not compute, so that four executors are four "
    "whatever the number of cores; over RabbitMQ. One executor is killed with SIGKILL at the end of a task in the "
    f"middle: {LOST_SECS:g} s of work are lost.",
    (
        Contender("whole", "nobody is killed", _JOB),
        Contender(
            "killed", "one is killed", f"{_JOB} -p fatal={_fatal(RECORDS)} -p marker={{scratch}}/killed"
        ),
    ),
    (
        Goal(
            "{killed}, less the lost work ≤ 1.1 × {whole}",
            1.1,
            lambda one: (one["killed"]["seconds"] - LOST_SECS) / one["whole"]["seconds"],
            contender="killed",
            allowed_secs=lambda one: one["whole"]["seconds"] * 1.1 + LOST_SECS,
        ),
    ),
    answers.in_any_order,
    {"input": lambda small: data.numbers(RECORDS)},
    rounds=5,
    workers=("-c 4",),
)
