"""Everything that can go wrong, as one tree, with the exit code of each branch.

    MapReduceError             1
    ├── UsageError             2   an option or setting that makes no sense
    ├── JobError               3   the job file: does not import, holds no job, two jobs, a bad parameter
    ├── InputError             4   the input: is not there, is not what the format says
    ├── OutputError            5   the output: exists already, cannot be written, cannot be encoded
    │   └── ReaderGone       141   whoever read standard output went away, as `| head` does: nothing to complain of
    ├── BrokerError            6   the broker: is not there, or went away for good
    │   ├── BrokerUrlWrong     2   what is to name it is no URL of a broker
    │   ├── BrokerRefused      7   it refused the login or denies a right
    │   └── BrokerUnsuitable   8   it is too old, or lacks what we need (streams)
    ├── JobFailed              1   user code failed after its tries
    ├── JobLost                9   the job was lost: data gone from the broker, abandoned, parked
    └── Cancelled            130   somebody cancelled the job (Ctrl-C, `mr cancel`)

Each message is one line that says what is wrong, where, and what to do. Libraries' errors are translated
once, at the border of the module that calls the library, with ``raise … from``.
"""

from __future__ import annotations


class MapReduceError(Exception):
    """Root of the tree. ``str(error)`` is the line that a user reads; ``exit_code`` what `mr` exits with."""

    exit_code = 1
    #: whoever runs the command has been told already
    told = False


class UsageError(MapReduceError):
    """An option, setting or call that makes no sense; nothing was started."""

    exit_code = 2


class JobError(MapReduceError):
    """The job file or job object cannot be used; nothing was started."""

    exit_code = 3


class InputError(MapReduceError):
    """The input is not there, cannot be read, or is not what its format says."""

    exit_code = 4


class OutputError(MapReduceError):
    """The output cannot be written: the folder exists, the disk is full, a value cannot be encoded."""

    exit_code = 5


class ReaderGone(OutputError):
    """Whoever read standard output has gone away; what `sort | head` gets as SIGPIPE."""

    exit_code = 141


class BrokerError(MapReduceError):
    """The broker cannot be reached, or went away and did not come back."""

    exit_code = 6


class BrokerUrlWrong(BrokerError):
    """What is to name the broker is no URL of one: a wrong setting."""

    exit_code = 2


class BrokerRefused(BrokerError):
    """The broker refused the login or denies a right that the engine needs."""

    exit_code = 7


class BrokerUnsuitable(BrokerError):
    """The broker cannot do what the engine needs (too old for streams, feature switched off)."""

    exit_code = 8


class JobFailed(MapReduceError):
    """User code failed, after its tries. ``details`` holds the user's own traceback, ready to print."""

    exit_code = 1

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message)
        self.details = details


class JobLost(MapReduceError):
    """The job cannot go on: its data is gone from the broker, it was abandoned, or it was parked."""

    exit_code = 9


class Cancelled(MapReduceError):
    """Somebody cancelled the job."""

    exit_code = 130
