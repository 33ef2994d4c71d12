"""Brokers for tests: `rabbit_url` is shared by the whole run, `own_node` may be killed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from mapreduce.node import PrivateNode

# Under nohup, or in the background of a script, signals are ignored by us and by all that we start: tests send them.
for _number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.SIG_DFL)


@pytest.fixture(scope="session")
def rabbit_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A RabbitMQ for tests that leave it as it was: MR_TEST_BROKER, or one private node for the run."""
    given = os.environ.get("MR_TEST_BROKER")
    if given:
        yield given
        return
    with _shared_node(_shared_folder(tmp_path_factory)) as url:
        yield url


@pytest.fixture
def own_node(tmp_path: Path) -> Iterator[PrivateNode]:
    """A node for one test alone: to kill, to starve, to stop."""
    with PrivateNode(tmp_path / "broker") as node:
        yield node


def _shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all processes of the run (pytest-xdist gives each a folder below it)."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "rabbitmq"
    folder.mkdir(exist_ok=True)
    return folder


@contextlib.contextmanager
def _shared_node(folder: Path) -> Iterator[str]:
    """Whoever comes first starts the node, and stops it when the others have gone."""
    with open(folder / "users", "w") as users, open(folder / "starting", "w") as starting:
        fcntl.flock(starting, fcntl.LOCK_EX)
        address = folder / "url"
        node = None if address.exists() else PrivateNode(folder / "broker")
        try:
            if node:
                node.start()
                address.write_text(node.url)
            fcntl.flock(users, fcntl.LOCK_SH)
            fcntl.flock(starting, fcntl.LOCK_UN)
            yield address.read_text()
        finally:
            fcntl.flock(users, fcntl.LOCK_UN)
            if node:
                fcntl.flock(users, fcntl.LOCK_EX)
                node.stop()
