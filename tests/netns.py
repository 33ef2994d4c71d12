"""Hosts of their own on one machine: network namespaces, and cables between them that can be cut, slow or lossy.

    Host "broker"  10.77.1.1 ══ Cable ══ 10.77.1.2  Host
                   10.77.2.1 ══ Cable ══ 10.77.2.2  Host

A namespace is held by one child process and has no name: it goes with its processes, also when we are killed. A cable
is a pair of TUN devices and a thread that carries packets between them, so it can do to them what lines do, on any
kernel (not every one has `netem`). All of it needs root.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import heapq
import os
import random
import select
import shutil
import struct
import subprocess
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Optional

_CLONE_NEWNET = 0x40000000
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_MAX_PACKET_BYTES = 65535
#: a line's buffer: what would wait longer is dropped
_MAX_QUEUE_SECS = 0.5


def why_not() -> str:
    """What this machine lacks for namespaces, cables and firewalls; "" if nothing."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for tool in ("ip", "nft", "unshare"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed (.ci/packages)"
    if not os.path.exists("/dev/net/tun"):
        return "the kernel has no TUN devices (/dev/net/tun)"
    try:
        with Host() as host:
            host.firewall()
            host.run("nft", "add chain inet mr nat { type nat hook prerouting priority -100; }")
    except OSError as error:
        return f"network namespaces cannot be made here: {error}"
    except subprocess.CalledProcessError as error:
        return f"{' '.join(error.cmd)}: {error.stderr.strip()}"
    return ""


class Host:
    """A network namespace. Within `with host.inside():` what this thread opens and starts belongs to it."""

    def __init__(self) -> None:
        self._holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "echo ready; exec cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._holder.stdout is not None
        if not self._holder.stdout.readline():
            self._let_go()
            raise OSError("unshare --net is refused")
        self._namespace = os.open(f"/proc/{self._holder.pid}/ns/net", os.O_RDONLY)
        self.run("ip", "link set lo up")

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._namespace)
        self._let_go()

    def inside(self) -> _Inside:
        return _Inside(self._namespace)

    def run(self, command: str, arguments: str) -> str:
        """Run a tool on this host; what it prints. Raises `CalledProcessError`."""
        with self.inside():
            done = subprocess.run(
                [command, *arguments.split()], check=True, capture_output=True, text=True, timeout=20
            )
        return done.stdout

    def firewall(self) -> None:
        """Nothing comes in but answers to what this host has asked for."""
        self.run("nft", "add table inet mr")
        self.run("nft", "add chain inet mr input { type filter hook input priority 0; policy drop; }")
        self.run("nft", "add rule inet mr input ct state established,related accept")
        self.run("nft", "add rule inet mr input iif lo accept")
        self.run("nft", "add rule inet mr input counter drop")

    def dropped(self) -> int:
        """Packets that the firewall has stopped."""
        words = self.run("nft", "list chain inet mr input").split()
        return int(words[words.index("packets") + 1])

    def forward_to_loopback(self, port: int) -> None:
        """Whoever reaches this host through a cable reaches what listens on its 127.0.0.1."""
        with self.inside():
            Path("/proc/sys/net/ipv4/conf/all/route_localnet").write_text("1")
        self.run("nft", "add table inet mr")
        self.run("nft", "add chain inet mr nat { type nat hook prerouting priority -100; }")
        self.run("nft", f"add rule inet mr nat iifname mr* tcp dport {port} dnat ip to 127.0.0.1:{port}")

    def processes(self) -> list[int]:
        """The processes that live on it, but for the one that holds it."""
        mine = os.stat(self._namespace).st_ino
        found = []
        for name in os.listdir("/proc"):
            with contextlib.suppress(OSError):  # it has ended meanwhile
                if name.isdecimal() and os.stat(f"/proc/{name}/ns/net").st_ino == mine:
                    found.append(int(name))
        return [pid for pid in found if pid != self._holder.pid]

    def listens(self) -> bool:
        """Whether anything on it waits for TCP connections."""
        with self.inside():
            tables = [Path(f"/proc/thread-self/net/{name}").read_text() for name in ("tcp", "tcp6")]
        return any(line.split()[3] == "0A" for table in tables for line in table.splitlines()[1:])

    def _let_go(self) -> None:
        assert self._holder.stdin is not None and self._holder.stdout is not None
        self._holder.stdin.close()
        self._holder.stdout.close()
        self._holder.wait()


class _Inside:
    """This thread, moved to a namespace for a while."""

    def __init__(self, namespace: int) -> None:
        self._namespace = namespace
        self._home = -1

    def __enter__(self) -> None:
        self._home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        _set_namespace(self._namespace)

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        _set_namespace(self._home)
        os.close(self._home)


def _set_namespace(descriptor: int) -> None:
    if _LIBC.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


_LIBC = ctypes.CDLL(None, use_errno=True)


class Cable:
    """A line between two hosts: ``near`` gets 10.77.N.1, ``far`` 10.77.N.2. Settings may change at any time."""

    def __init__(self, near: Host, far: Host, number: int) -> None:
        self.near_address, self.far_address = f"10.77.{number}.1", f"10.77.{number}.2"
        self.to_near = self.to_far = True  #: whether packets pass in that direction
        self.delay_secs = 0.0
        self.loss = 0.0  #: the share of packets that is dropped
        self.bytes_per_sec = float("inf")
        self._ends = [
            _tun(near, f"mr{number}", self.near_address, self.far_address),
            _tun(far, f"mr{number}", self.far_address, self.near_address),
        ]
        self._stop_read, self._stop_write = os.pipe()
        self._thread = threading.Thread(target=self._carry, name=f"cable {number}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Cable:
        return self

    def __exit__(self, *_: object) -> None:
        os.write(self._stop_write, b"!")
        self._thread.join()
        for descriptor in (self._stop_read, self._stop_write, *self._ends):
            os.close(descriptor)

    def cut(self) -> None:
        self.to_near = self.to_far = False

    def heal(self) -> None:
        self.to_near = self.to_far = True

    def _carry(self) -> None:
        rng = random.Random(7)
        due: list[tuple[float, int, int, bytes]] = []  # when, a number against ties, to which end, what
        free_at = [0.0, 0.0]  # when all that waits for an end will have been sent
        count = 0
        while True:
            now = time.monotonic()
            while due and due[0][0] <= now:
                _, _, end, packet = heapq.heappop(due)
                with contextlib.suppress(OSError):  # the device's queue is full: lines drop, too
                    os.write(self._ends[end], packet)
            wait = max(due[0][0] - now, 0.0) if due else None
            readable, _, _ = select.select([self._stop_read, *self._ends], [], [], wait)
            if self._stop_read in readable:
                return
            for source in readable:
                packet = os.read(source, _MAX_PACKET_BYTES)
                end = 1 - self._ends.index(source)
                now = time.monotonic()
                passes = self.to_far if end else self.to_near
                sent_at = max(free_at[end], now) + len(packet) / self.bytes_per_sec
                if not passes or rng.random() < self.loss or sent_at - now > _MAX_QUEUE_SECS:
                    continue
                free_at[end] = sent_at
                count += 1
                heapq.heappush(due, (sent_at + self.delay_secs, count, end, packet))


def _tun(host: Host, name: str, address: str, peer: str) -> int:
    """A descriptor: what the host sends through the device can be read, what is written reaches the host."""
    with host.inside():
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
    host.run("ip", f"addr add {address} peer {peer} dev {name}")
    host.run("ip", f"link set {name} up")
    return descriptor
