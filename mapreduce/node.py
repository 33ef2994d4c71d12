"""A private RabbitMQ for one user: starts with us, serves this machine only, dies with us, keeps its data.

    this process ──┬── epmd       Erlang's name service, on a port of its own: the machine's one is left alone
                   ├── beam       the node itself (rabbitmq-server ends in an exec)
                   └── sh         the guard: reads a pipe from us; at its end it stops the other two

The guard is there for the day when we are killed with no chance to stop anything. A lock on a file of the
data folder is held by every one of them, so a second node can never open the data of a living one.

    DIR/password, DIR/port      what `url` is made of; only its owner may read them
    DIR/url                     for `MR_BROKER=$(cat DIR/url)`
    DIR/lock                    held while the node lives
    DIR/etc, DIR/log, DIR/data  RabbitMQ's own
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

from mapreduce import config
from mapreduce.brokers import open_broker
from mapreduce.brokers.base import Declare, Delete, Kind
from mapreduce.errors import BrokerError, BrokerUnsuitable

USER = "mapreduce"
NODE_NAME = "mapreduce@localhost"

#: A node that has to read much data back in needs its time.
START_SECS = 60.0
STOP_SECS = 30.0
#: There is no event to wait for: the port answers when the node serves.
START_POLL_SECS = 0.05

_FIRST_STREAM = "mr.1.first"

_INSTALL = (
    "rabbitmq-server is not installed; install it (Debian, Ubuntu: apt install rabbitmq-server; "
    "macOS: brew install rabbitmq) or use a broker that runs elsewhere"
)

#: Where packages put the real script; the one on the PATH may insist on being root.
_SERVER_PLACES = (
    "/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server",
    "/opt/rabbitmq/sbin/rabbitmq-server",
    "/opt/homebrew/opt/rabbitmq/sbin/rabbitmq-server",
    "/usr/local/opt/rabbitmq/sbin/rabbitmq-server",
)
_EPMD_PLACES = (
    "/usr/lib/erlang/bin/epmd",
    "/usr/local/lib/erlang/bin/epmd",
    "/opt/erlang/lib/erlang/bin/epmd",
)

#: $1 is the node, $2 epmd. They are our siblings: whoever started all three is gone, so nobody else waits.
_GUARD = f"""
trap '' HUP INT TERM
read _
kill -TERM $1
tries={int(STOP_SECS * 5)}
while kill -0 $1 && [ $tries -gt 0 ]; do sleep 0.2; tries=$((tries - 1)); done
kill -KILL $1 $2
"""


class PrivateNode:
    """One node in one folder. Use it as a context manager, or pair `start` with `stop`.

    ``port`` is for AMQP, on 127.0.0.1; None takes the port of the last time if that is free, else any.
    """

    def __init__(self, directory: Path, port: Optional[int] = None) -> None:
        self.directory = directory.absolute()
        self._wanted_port = port
        self.port = 0  #: known once started
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._lock: Optional[int] = None

    def __enter__(self) -> PrivateNode:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """For `open_broker`. Holds the password."""
        return f"amqp://{USER}:{self._password()}@127.0.0.1:{self.port}/"

    def start(self) -> None:
        """Start the node and wait until it serves. Raises `BrokerError` (and leaves nothing running)."""
        if self.running:
            return
        server, epmd = _server_script(), _epmd()
        self.stop()  # what a killed node has left
        self._make_folders()
        try:
            self._take_lock()
            self.port, distribution_port, epmd_port = self._choose_ports()
            self._write_settings()
            environment = self._environment(distribution_port, epmd_port)
            self._spawn("epmd", [epmd, "-address", "127.0.0.1", "-port", str(epmd_port)], environment)
            self._spawn("node", [server], environment)
            self._spawn_guard()
            self._wait_until_it_serves()
            self._make_streams_last()
        except BaseException:  # Ctrl-C too: nothing may be left running
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the node in order, or kill it if it takes too long. Harmless if it does not run."""
        self._end("node", STOP_SECS)
        self._end("epmd", 1.0)
        self._end("guard", 0.0)  # last: until here it would do the same, should we be killed
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def kill9(self) -> None:
        """Kill the node as a crash would. `start` brings it back with its data."""
        self._end("node", 0.0)

    @property
    def running(self) -> bool:
        node = self._processes.get("node")
        return node is not None and node.poll() is None

    def wait(self) -> None:
        """Block until the node has ended, by itself or by another's hand."""
        if "node" in self._processes:
            self._processes["node"].wait()

    def control(self, *arguments: str) -> str:
        """Run ``rabbitmqctl`` for this node; what it prints. Takes seconds. Raises `BrokerError`."""
        script = Path(_server_script()).with_name("rabbitmqctl")
        done = subprocess.run(
            [str(script), "--node", NODE_NAME, *arguments],
            env=self._control_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",  # it names files as they are called
            check=False,  # its own words say more
        )
        if done.returncode != 0:
            raise BrokerError(f"rabbitmqctl {' '.join(arguments)}: {(done.stderr or done.stdout).strip()}")
        return done.stdout

    # -------------------------------------------------------- starting

    def _make_folders(self) -> None:
        try:
            for folder in (self.directory, *(self.directory / name for name in ("etc", "log", "data"))):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise BrokerError(f"cannot keep a broker in {self.directory}: {error.strerror}") from error

    def _take_lock(self) -> None:
        self._lock = os.open(self.directory / "lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BrokerError(f"a broker runs already in {self.directory}") from error

    def _choose_ports(self) -> tuple[int, int, int]:
        """For AMQP, for Erlang's distribution, for epmd."""
        with contextlib.ExitStack() as held:  # all at once, so that they differ
            if self._wanted_port:
                amqp = held.enter_context(_bound(self._wanted_port))
            else:
                amqp = held.enter_context(_bound_or_any(self._last_port()))
            others = [held.enter_context(_bound(0)) for _ in range(2)]
            ports = [bound.getsockname()[1] for bound in (amqp, *others)]
        return ports[0], ports[1], ports[2]

    def _last_port(self) -> int:
        try:
            return int((self.directory / "port").read_text())
        except (OSError, ValueError):
            return 0

    def _password(self) -> str:
        """Made once; RabbitMQ takes it when it makes its database."""
        file = self.directory / "password"
        if not file.exists():
            _write_private(file, secrets.token_urlsafe(18))
        return file.read_text().strip()

    def _write_settings(self) -> None:
        _write_private(self.directory / "port", f"{self.port}\n")
        _write_private(self.directory / "url", f"{self.url}\n")
        _write_private(self.directory / "etc" / "enabled_plugins", "[].\n")
        _write_private(
            self.directory / "etc" / "rabbitmq.conf",
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\n"
            f"default_user = {USER}\n"
            f"default_pass = {self._password()}\n"
            "default_user_tags.administrator = true\n"
            "log.console = false\n",
        )

    def _environment(self, distribution_port: int, epmd_port: int) -> dict[str, str]:
        """For the node and epmd. The system's settings for RabbitMQ and Erlang are kept away."""
        _write_private(self.directory / "etc" / "epmd_port", f"{epmd_port}\n")
        etc, data = self.directory / "etc", self.directory / "data"
        return {
            **self._control_environment(),
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_DIST_PORT": str(distribution_port),
            "RABBITMQ_MNESIA_BASE": str(data),
            "RABBITMQ_LOG_BASE": str(self.directory / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(etc / "enabled_plugins"),
            "RABBITMQ_PID_FILE": str(data / "pid"),
            "RABBITMQ_CONFIG_FILE": str(etc / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(etc / "advanced.config"),  # is not there
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            # Makes the script end in an exec, so that the process we started is the node itself.
            "RUNNING_UNDER_SYSTEMD": "true",
        }

    def _control_environment(self) -> dict[str, str]:
        """For rabbitmqctl: how to find the node and to be let in."""
        try:
            epmd_port = (self.directory / "etc" / "epmd_port").read_text().strip()
        except OSError as error:
            raise BrokerError(f"no broker has ever run in {self.directory}") from error
        return config.child_environment(
            {
                "HOME": str(self.directory),  # Erlang keeps its cookie there
                "LC_ALL": "C.UTF-8",
                "RABBITMQ_CONF_ENV_FILE": str(self.directory / "etc" / "rabbitmq-env.conf"),  # is not there
                "RABBITMQ_NODENAME": NODE_NAME,
                "ERL_EPMD_PORT": epmd_port,
                "ERL_EPMD_ADDRESS": "127.0.0.1",
            },
            without=("RABBITMQ_", "ERL_", "NOTIFY_SOCKET"),
        )

    def _spawn(self, name: str, command: list[str], environment: dict[str, str]) -> None:
        assert self._lock is not None
        with open(self.directory / "log" / f"{name}.out", "wb") as output:
            self._processes[name] = subprocess.Popen(
                command,
                env=environment,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(self._lock,),
                start_new_session=True,  # a terminal's Ctrl-C is for us; we stop the node in order
            )

    def _spawn_guard(self) -> None:
        pids = [str(self._processes[name].pid) for name in ("node", "epmd")]
        self._processes["guard"] = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "mapreduce-guard", *pids],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _wait_until_it_serves(self) -> None:
        """Serving means: our own user can log in. A stranger's broker on our port would not do."""
        deadline = time.monotonic() + START_SECS
        while True:
            if not self.running:
                raise BrokerError(f"the private broker did not start: {self._last_words()}")
            broker = open_broker(self.url)
            try:
                broker.connect()
            except BrokerUnsuitable:
                raise
            except BrokerError as error:
                if time.monotonic() > deadline:
                    raise BrokerError(
                        f"the private broker does not serve after {START_SECS:.0f} seconds ({error}); "
                        f"see {self.directory / 'log'}"
                    ) from error
                time.sleep(START_POLL_SECS)
            else:
                broker.close(1.0)
                return

    def _make_streams_last(self) -> None:
        """Have RabbitMQ write down that it has a coordinator of streams, once.

        It does so half a second after the first stream was made. Killed before that, it would come back
        with every stream unavailable for ever.
        """
        done = self.directory / "etc" / "streams"
        if done.exists():
            return
        broker = open_broker(self.url)
        broker.connect()
        broker.perform(Declare(_FIRST_STREAM, Kind.STREAM))
        broker.close(STOP_SECS)
        self.control("eval", "[dets:sync(Table) || Table <- dets:all()].")
        broker.connect()
        broker.perform(Delete(_FIRST_STREAM))
        broker.close(STOP_SECS)
        _write_private(done, "")

    def _last_words(self) -> str:
        """The line of the node's own output that says most, and where to read on."""
        lines = (self.directory / "log" / "node.out").read_text(errors="replace").splitlines()
        telling = [line.strip() for line in lines if "error" in line.lower()] or lines[-1:]
        return f"{telling[0] if telling else 'it said nothing'} (see {self.directory / 'log'})"

    # -------------------------------------------------------- ending

    def _end(self, name: str, patience_secs: float) -> None:
        """End one of our own processes and reap it; kill it if it takes longer than ``patience_secs``."""
        process = self._processes.pop(name, None)
        if process is None:
            return
        if patience_secs:
            process.send_signal(signal.SIGTERM)  # does nothing to one that has ended
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience_secs)
        process.kill()
        process.wait()
        if process.stdin:
            process.stdin.close()


# ---------------------------------------------------------------- details


def _server_script() -> str:
    """The real rabbitmq-server: the one beside its settings. Raises `BrokerError` if there is none."""
    for candidate in _server_candidates():
        real = candidate.resolve()
        # Debian's wrapper stands there too, and called by its own name it calls itself for ever.
        if real.name == "rabbitmq-server" and real.with_name("rabbitmq-env").is_file():
            return str(real)
    raise BrokerError(_INSTALL)


def _server_candidates() -> Iterator[Path]:
    found = shutil.which("rabbitmq-server")
    if found:
        yield Path(found)
        yield Path(found).resolve().with_name("rabbitmq-server")
    for pattern in _SERVER_PLACES:
        yield from sorted(Path("/").glob(pattern.lstrip("/")), reverse=True)


def _epmd() -> str:
    found = shutil.which("epmd") or next((place for place in _EPMD_PLACES if os.access(place, os.X_OK)), None)
    if found is None:
        raise BrokerError("Erlang's epmd is not installed; " + _INSTALL)
    return found


def _bound(port: int) -> socket.socket:
    """A socket that holds a port of 127.0.0.1. Raises `BrokerError` if it is taken."""
    held = socket.socket()
    try:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the node will do
        held.bind(("127.0.0.1", port))
    except OSError as error:
        held.close()
        raise BrokerError(f"cannot serve on port {port}: {error.strerror}") from error
    return held


def _bound_or_any(port: int) -> socket.socket:
    try:
        return _bound(port)
    except BrokerError:
        return _bound(0)


def _write_private(path: Path, text: str) -> None:
    """Replace a file by one that only its owner can read."""
    temporary = path.with_suffix(".new")
    with open(os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    temporary.replace(path)
