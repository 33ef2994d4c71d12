"""The broker of a chaos run: a private node that is killed and restarted in several ways."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path
from typing import Callable, Optional

from mapreduce.errors import BrokerError
from mapreduce.node import PrivateNode
from tests.chaos_history import History


class ChaosBroker:
    """Disturb it with `disturb`, which returns at once; one disturbance at a time."""

    def __init__(self, folder: Path, history: History) -> None:
        self.problems: list[str] = []
        self._node = PrivateNode(folder)
        self._history = history
        self._lock = threading.Lock()  #: of the node: nobody asks it anything while it is away
        self._thread: Optional[threading.Thread] = None
        self._ways: dict[str, Callable[[float], None]] = {
            "kill -9": self._kill,
            "stop_app": self._stop_app,
            "restart": self._restart,
        }
        self.ways = sorted(self._ways)

    def __enter__(self) -> ChaosBroker:
        self._node.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.settle()
        self._node.stop()

    @property
    def url(self) -> str:
        return self._node.url

    @property
    def disturbed(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def disturb(self, way: str, away_secs: float) -> None:
        """Let it be away for about so long, and the time that it needs to start."""
        self._history.kill(f"broker: {way}", f"for {away_secs:.1f} s")
        self._history.broker_leaves()
        self._thread = threading.Thread(target=self._disturb, args=(way, away_secs))
        self._thread.start()

    def settle(self) -> None:
        """Wait until it is back."""
        if self._thread is not None:
            self._thread.join()

    def queues(self) -> dict[str, int]:
        """Every queue and stream of ours: how many messages it holds, unacked ones included. Takes seconds."""
        with self._lock:
            listed = self._node.control("-q", "list_queues", "name", "messages", "--no-table-headers")
        rows = (line.split("\t") for line in listed.splitlines() if line.startswith("mr."))
        return {name: int(messages or 0) for name, messages in rows}

    # ------------------------------------------------------------ the ways

    def _disturb(self, way: str, away_secs: float) -> None:
        try:
            with self._lock:
                self._ways[way](away_secs)
        except BrokerError as error:
            self.problems.append(f"the broker did not come back after {way}: {error}")
        finally:
            self._history.broker_is_back()
            self._history.note("the broker is back")

    def _kill(self, away_secs: float) -> None:
        self._node.kill9()
        time.sleep(away_secs)
        self._node.start()

    def _restart(self, away_secs: float) -> None:
        self._node.stop()
        time.sleep(away_secs)
        self._node.start()

    def _stop_app(self, away_secs: float) -> None:
        self._node.control("stop_app")
        time.sleep(away_secs)
        with contextlib.suppress(BrokerError):  # the next one says whether that has worked
            self._node.control("start_app")
        self._node.control("await_startup")
