"""The client of one job: submits it, feeds its input, follows its log, collects its output.

role        `Client`: sessions, the log, time; what all clients do
phase       how far it has come
submitting  what is there of a job before others work on it
declaring   its streams
lease       the job's lease as its client publishes it
claim       whose job it is, of several clients
reading     the log: from its start, again after a lost connection and when nothing happens
silence     whether anybody coordinates the job
feeding     the input: pieces, splits, and how far to read ahead
output      the blocks of `out`, and their seals
collecting  whether all of the output is here, and where it should be
sent        what was published and is not confirmed
alarm       whether the broker takes messages
outcome     the end of a job as its user reads it
resume      `ResumingClient`: goes on where one that died left off
retry       `RetryingClient`: lets a failed job go on
cancel      `CancelClient`: `mr cancel`
watch       `WatchingClient`: `mr attach`
"""

from __future__ import annotations

from mapreduce.client.cancel import CancelClient
from mapreduce.client.output import Collected
from mapreduce.client.phase import Phase
from mapreduce.client.resume import ResumingClient
from mapreduce.client.retry import RetryingClient
from mapreduce.client.role import Client
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
