"""A discrete-event simulation in a page: processes are generators, what they wait for are servers and tokens.

    def process(simulation, disk):
        yield disk.use(0.5)             waits for the disk, then has it for half a second
    simulation = Simulation()
    simulation.start(process(simulation, Server(simulation, 1)))
    simulation.run()

The idea of generators as processes is that of SIMULA, and in Python of SimPy; all that is needed of it here are queues
in order of arrival. Nothing is random: what happens at the same moment happens in the order in which it was asked for.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Generator
from typing import Callable

Resume = Callable[[], None]
#: what a process yields: told how to go on, it does so when the time has come
Wait = Callable[[Resume], None]
Process = Generator[Wait, None, None]


class Simulation:
    """The clock and what is to come."""

    def __init__(self) -> None:
        self.now = 0.0  #: seconds
        self._coming: list[tuple[float, int, Resume]] = []
        self._count = 0

    def at(self, moment: float, action: Resume) -> None:
        self._count += 1  # ties are broken by age
        heapq.heappush(self._coming, (moment, self._count, action))

    def start(self, process: Process) -> None:
        """Run a process up to its first wait."""
        running = called = False

        def go_on() -> None:
            nonlocal running, called
            called = True
            if running:
                return  # what it waits for is there already: the loop below goes on, not a deeper call
            running = True
            while called:
                called = False
                wait = next(process, None)
                if wait is None:
                    return
                wait(go_on)
            running = False

        go_on()

    def sleep(self, seconds: float) -> Wait:
        return lambda resume: self.at(self.now + seconds, resume)

    def run(self) -> float:
        """Until nothing more can happen; the time."""
        while self._coming:
            self.now, _, action = heapq.heappop(self._coming)
            action()
        return self.now


class Server:
    """Serves ``capacity`` users at a time, others wait in order: cores, a process, a network card."""

    def __init__(self, simulation: Simulation, capacity: int) -> None:
        self._simulation = simulation
        self._free = self.capacity = capacity
        self._queue: deque[tuple[float, Resume]] = deque()
        self.busy = 0.0  #: seconds of service given, of all users together

    def use(self, seconds: float) -> Wait:
        def wait(resume: Resume) -> None:
            if self._free:
                self._free -= 1
                self._serve(seconds, resume)
            else:
                self._queue.append((seconds, resume))

        return wait

    def _serve(self, seconds: float, resume: Resume) -> None:
        self.busy += seconds

        def end() -> None:
            if self._queue:
                self._serve(*self._queue.popleft())
            else:
                self._free += 1
            resume()

        self._simulation.at(self._simulation.now + seconds, end)


class Tokens:
    """So many may be out at a time: messages in flight, slots of a worker. Also a latch, if it begins with none."""

    def __init__(self, count: int) -> None:
        self._left = count
        self._waiting: deque[Resume] = deque()

    def take(self) -> Wait:
        def wait(resume: Resume) -> None:
            if self._left:
                self._left -= 1
                resume()
            else:
                self._waiting.append(resume)

        return wait

    def give(self, count: int = 1) -> None:
        for _ in range(count):
            if self._waiting:
                self._waiting.popleft()()
            else:
                self._left += 1
