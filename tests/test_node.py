"""The private node: serves one user of one machine, keeps its data, and leaves no process behind."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from mapreduce import config, node
from mapreduce.brokers import base, open_broker
from mapreduce.brokers.base import Kind
from mapreduce.errors import BrokerError
from mapreduce.node import PrivateNode
from tests.contract.harness import Session


def begin(private: PrivateNode) -> Session:
    session = Session(open_broker(private.url))
    session.broker.connect()
    return session


def wait_until_all_processes_have_ended(directory: Path) -> None:
    """Each holds the lock until it ends."""
    with open(directory / "lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)


def refuses(host: str, port: int) -> bool:
    with contextlib.suppress(ConnectionRefusedError), socket.create_connection((host, port), 2.0):
        return False
    return True


def test_a_node_serves_keeps_its_data_and_ends(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    private = PrivateNode(tmp_path / "broker", port)
    private.start()
    url = private.url
    assert private.port == port and f":{port}/" in url, "as it was asked for"
    session = begin(private)
    session.declare("kept", Kind.STREAM)
    session.publish("kept", b"1", b"2")
    session.broker.close(5.0)
    private.stop()
    assert not private.running
    wait_until_all_processes_have_ended(private.directory)
    assert refuses("127.0.0.1", private.port)

    with PrivateNode(tmp_path / "broker") as again:
        assert again.url == url, "clients find it where it was"
        session = begin(again)
        session.do(base.Consume("c", "kept", 10, "first"))
        session.wait_for(2, base.Delivered)
        session.broker.close(1.0)


def test_what_rabbitmqctl_says_need_not_be_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private = PrivateNode(tmp_path / "broker")
    (private.directory / "etc").mkdir(parents=True)
    (private.directory / "etc" / "epmd_port").write_text("1")
    script = tmp_path / "rabbitmqctl"
    script.write_text("#!/bin/sh\nprintf 'file f\\377 is odd'\n")
    script.chmod(0o700)
    monkeypatch.setattr(node, "_server_script", lambda: str(script.with_name("rabbitmq-server")))
    assert private.control("status") == "file f\ufffd is odd"


def test_only_this_user_on_this_machine_gets_in(shared_node: PrivateNode) -> None:
    for name in ("password", "port", "etc/rabbitmq.conf"):
        assert stat.S_IMODE((shared_node.directory / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(shared_node.directory.stat().st_mode) == 0o700
    outside = _address_of_this_machine()
    ports = [shared_node.port, int((shared_node.directory / "etc" / "epmd_port").read_text())]
    for port in ports:
        assert not refuses("127.0.0.1", port)
        assert outside is None or refuses(outside, port)


def _address_of_this_machine() -> str | None:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing
        address: str = probe.getsockname()[0]
        return None if address.startswith("127.") else address
    return None


def test_two_nodes_cannot_share_a_folder(shared_node: PrivateNode) -> None:
    with pytest.raises(BrokerError, match="a broker runs already in"):
        PrivateNode(shared_node.directory).start()
    assert shared_node.running


def test_the_port_asked_for_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(BrokerError, match=f"cannot serve on port {port}: Address already in use"):
            PrivateNode(tmp_path / "broker", port).start()


def test_a_failed_start_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    private = PrivateNode(tmp_path / "broker")
    (private.directory / "etc").mkdir(parents=True)
    (private.directory / "etc" / "advanced.config").write_text("nonsense")
    with pytest.raises(BrokerError, match=r"the private broker did not start: .*see "):
        private.start()
    assert not private.running
    wait_until_all_processes_have_ended(private.directory)


def test_without_rabbitmq_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(node, "_SERVER_PLACES", ())
    with pytest.raises(BrokerError, match="apt install rabbitmq-server"):
        PrivateNode(tmp_path / "broker").start()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BrokerError, match="cannot keep a broker in"):
        PrivateNode(tmp_path / "file" / "broker").start()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])  # with and without a chance to stop it
def test_the_node_dies_with_its_owner(tmp_path: Path, how: signal.Signals) -> None:
    program = (
        "import sys, pathlib; from mapreduce.node import PrivateNode\n"
        "with PrivateNode(pathlib.Path(sys.argv[1])) as node: print(node.port, flush=True); node.wait()"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "broker")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=config.child_environment({"PYTHONPATH": os.getcwd()}),
    )
    assert owner.stdout
    with owner, owner.stdout:
        port = int(owner.stdout.readline())
        assert not refuses("127.0.0.1", port)
        owner.send_signal(how)
        owner.wait()
    wait_until_all_processes_have_ended(tmp_path / "broker")
    assert refuses("127.0.0.1", port)


# ---------------------------------------------------------------- settings


def test_settings_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MR_BROKER", "MR_DATA_DIR", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert config.broker_url() is None
    monkeypatch.setenv("HOME", "/home/somebody")
    assert config.data_dir() == Path("/home/somebody/.local/share/mapreduce")
    monkeypatch.setenv("XDG_DATA_HOME", "/shared")
    assert config.data_dir() == Path("/shared/mapreduce")
    monkeypatch.setenv("MR_DATA_DIR", str(tmp_path))
    assert config.data_dir() == tmp_path
    monkeypatch.setenv("MR_BROKER", "amqp://host")
    assert config.broker_url() == "amqp://host"


def test_a_child_gets_our_environment_with_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RABBITMQ_NODENAME", "other")
    monkeypatch.setenv("KEPT", "1")
    environment = config.child_environment({"NEW": "2"}, without=("RABBITMQ_",))
    assert "RABBITMQ_NODENAME" not in environment
    assert (environment["KEPT"], environment["NEW"]) == ("1", "2")
