"""What people and programs see of a job: folds of its log with times."""

from mapreduce.views.job import JobView
from mapreduce.views.output import OutputView
from mapreduce.views.plain import summary_to_plain, to_plain
from mapreduce.views.shown import (
    AttemptView,
    Notice,
    PrintedText,
    Skew,
    StageView,
    Summary,
    describe_tasks,
    stage_name,
    task_name,
)

__all__ = [
    "AttemptView",
    "JobView",
    "Notice",
    "OutputView",
    "PrintedText",
    "Skew",
    "StageView",
    "Summary",
    "describe_tasks",
    "stage_name",
    "summary_to_plain",
    "task_name",
    "to_plain",
]
