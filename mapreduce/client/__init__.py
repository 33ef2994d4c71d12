"""The client of one job: submits it, feeds its input, follows its log, collects its output.

role        `Client`: sessions, phases, the log, time; what all clients do
reading     the log: from its start, again after a lost connection and when nothing happens
declaring   the job's streams, when it is submitted
silence     whether anybody coordinates the job
feeding     the input: pieces, splits, and how far to read ahead
output      the blocks of `out`, and their seals
sent        what was published and is not confirmed
outcome     the end of a job as its user reads it
resume      `ResumingClient`: goes on where one that died left off
retry       `RetryingClient`: lets a failed job go on
cancel      `CancelClient`: `mr cancel`
watch       `WatchingClient`: `mr attach`
"""

from __future__ import annotations

from mapreduce.client.cancel import CancelClient
from mapreduce.client.output import Collected
from mapreduce.client.resume import ResumingClient
from mapreduce.client.retry import RetryingClient
from mapreduce.client.role import Client, Phase
from mapreduce.client.watch import WatchingClient

__all__ = [
    "CancelClient",
    "Client",
    "Collected",
    "Phase",
    "ResumingClient",
    "RetryingClient",
    "WatchingClient",
]
