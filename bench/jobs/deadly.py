"""Every record takes the same time, by waiting; and one of them, if asked, kills the executor when it is first met.

    mr run bench/jobs/deadly.py numbers-3000.txt --split-size 250 -p fatal=1499 -p marker=/tmp/it-has

It is the last record of its task, so all that the task has done is lost: 24 records. The file ``marker`` says that it
has happened; it must not be there before.
"""

import os
import signal
import time
from collections.abc import Iterator

from mapreduce import Job

WAIT_SECS = 0.01
RECORDS_PER_TASK = 25


def wait(record: str, fatal: int = -1, marker: str = "") -> Iterator[tuple[int, int]]:
    time.sleep(WAIT_SECS)
    number = int(record)
    if number == fatal and not os.path.exists(marker):
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
        os.kill(os.getpid(), signal.SIGKILL)
    yield number % 100, 1


job = Job(wait, fold=sum)
