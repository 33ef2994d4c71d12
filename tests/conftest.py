"""Brokers for tests. To start one takes some seconds of a core, so they are few:

rabbit_url     shared by all processes of the run, at the same time
shared_node    one for each process: its tests use it in turn, and may set it as they like while they run
own_node       the same, empty: to kill, to starve, to stop
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from mapreduce.node import PrivateNode
from tests.support import background

# Under nohup, or in the background of a script, signals are ignored by us and by all that we start: tests send them.
for _number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.SIG_DFL)


#: fixture → the folder of its node
_FOLDERS: dict[str, Path] = {}


@pytest.fixture(scope="session")
def rabbit_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A RabbitMQ for tests that leave it as it was: MR_TEST_BROKER, or one private node for the run."""
    given = os.environ.get("MR_TEST_BROKER")
    if given:
        yield given
        return
    folder = _shared_folder(tmp_path_factory)
    _FOLDERS["rabbit_url"] = folder / "broker"
    with _shared_node(folder) as url:
        yield url


@pytest.fixture(scope="session")
def _nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateNode]:
    node = PrivateNode(tmp_path_factory.mktemp("node") / "broker")
    _FOLDERS["_nodes"] = node.directory
    yield node
    node.stop()


@pytest.fixture
def shared_node(_nodes: PrivateNode) -> PrivateNode:
    """A node of which only one test at a time makes use: it runs, with the usual settings, and may hold queues of
    earlier tests. Whoever changes its settings puts them back.
    """
    _nodes.start()
    return _nodes


@pytest.fixture
def own_node(_nodes: PrivateNode) -> PrivateNode:
    """The same with no queues at all. It may be killed, starved, stopped: whoever comes next starts it again."""
    used = _nodes.directory.exists()
    _nodes.start()
    if used:
        delete_all_queues(_nodes)
    return _nodes


def delete_all_queues(node: PrivateNode) -> None:
    """And streams, with all that they hold."""
    delete = '[rabbit_amqqueue:delete(Q, false, false, <<"test">>) || Q <- rabbit_amqqueue:list()]'
    left = node.control("eval", f"{delete}, length(rabbit_amqqueue:list()).")
    assert left.strip() == "0", left


# ---------------------------------------------------------------- what is said of a test that fails


def pytest_runtest_setup() -> None:
    background[:] = [process for process in background if not process.over]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Function, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What its processes have said, and the end of its node's log: what hangs once in a hundred runs must tell why."""
    report = yield
    if report.failed:
        for process in background:
            report.sections.append((f"what {process.title} said", "\n".join(process.errors[-200:])))
        for name in _FOLDERS.keys() & set(item.fixturenames):
            for path in (_FOLDERS[name] / "log").glob("*.log"):
                lines = path.read_text(errors="replace").splitlines()
                report.sections.append((f"the end of {path}", "\n".join(lines[-60:])))
    return report


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
