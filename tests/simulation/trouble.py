"""What goes wrong: a few incidents per schedule, at moments that the seed chooses."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any, Callable, Optional

from mapreduce import effects, wire
from mapreduce import events as ev
from mapreduce.brokers import base
from mapreduce.refs import Failure
from tests.simulation.actor import Actor, Fuse
from tests.simulation.node import ONLY_ONCE, Queue, Stream

if TYPE_CHECKING:
    from tests.simulation.play import Play


class Trouble:
    """Incidents against one play."""

    def __init__(self, play: Play) -> None:
        self.play = play
        self.world = play.world
        self.rng = play.world.rng
        self.left = play.scenario.trouble
        scenario = play.scenario
        play.node.forgets, play.node.forgets_only = scenario.forgets, scenario.forgets_only
        play.node.stores_late = scenario.stores_late
        self._kinds: list[tuple[float, Callable[[], bool]]] = [
            (3.0, self.kill_worker),
            (3.0, self.kill_worker_at),
            (2.0, self.drop_worker),
            (3.0, self.drop_worker_at),
            (2.0, self.drop_client),
            (2.0, self.drop_client_at),
            (1.0, self.freeze),
            (1.0, self.restart_broker),
            (0.7, self.alarm),
            (1.0, self.shut_down_worker),
            (1.0, self.repeat),
            (0.7, self.add_worker),
        ]
        if scenario.stores_late:
            weight = sum(w for w, _ in self._kinds) * 0.5
            self._kinds += [(weight, self.restart_broker), (weight, self.restart_broker_at)]
        if scenario.lossy:
            self._kinds = [(sum(w for w, _ in self._kinds) * 1.5, self.lose), *self._kinds]
        if scenario.vanishing:
            self._kinds.append((sum(w for w, _ in self._kinds) * 1.5, self.harm_file))
        if scenario.late_words:
            weight = sum(w for w, _ in self._kinds) * 0.3
            self._kinds += [(weight, self.say_late), (weight * 0.5, self.contradict_client)]
        if scenario.echoes:
            self._kinds.append((sum(w for w, _ in self._kinds) * 0.5, self.echo))
        if scenario.client_dies:
            self._kinds.append((8.0, self.kill_client))
        if scenario.destructive:
            self._kinds.append((10.0, self.destroy))
        self._weights = [weight for weight, _ in self._kinds]
        if self.left:
            self._schedule()

    def _schedule(self) -> None:
        self.world.after(self.rng.expovariate(1.0) * self.play.scenario.trouble_every, self._strike)

    def _strike(self) -> None:
        (_, incident), = self.rng.choices(self._kinds, self._weights)  # fmt: skip
        if incident():
            self.left -= 1
        if self.left > 0:
            self._schedule()

    def _say(self, what: str, counted: str) -> bool:
        self.world.note("trouble", what)
        self.world.tally(counted)
        return True

    # ------------------------------------------------------------ workers

    def _worker(self) -> Optional[Actor]:
        workers = [actor for actor in self.play.workers if not actor.dead]
        return self.rng.choice(workers) if workers else None

    def _client(self) -> Optional[Actor]:
        clients = [job.front for job in self.play.jobs if job.front is not None and not job.front.dead]
        return self.rng.choice(clients) if clients else None

    def kill_worker(self) -> bool:
        victim = self._worker()
        if victim is None:
            return False
        self._say(f"kill {victim.name}", "crashes")
        victim.crash()
        return True

    def _crash(self, victim: Actor) -> None:
        self._say(f"kill {victim.name} between two commands", "crashes between two commands")
        victim.crash()

    def _drop(self, victim: Actor) -> None:
        self._say(f"drop the connection of {victim.name} between two commands", "drops between two commands")
        if victim.session is not None:
            victim.session.cut("simulated")

    def _light(self, victim: Optional[Actor], act: Callable[[Actor], None]) -> bool:
        """A fuse at some command of some kind."""
        if victim is None or victim.fuse is not None:
            return False
        kind: Any = self.rng.choice(
            (None, base.Publish, base.Publish, base.Ack, base.Delete, effects.Execute)
        )
        events: tuple[bytes, ...] = (
            b"Done",
            b"Started",
            b"Dispatched",
            b"Seal",
            b"Lease",
            b"BlockHead",
            b"StageSealed",
        )
        if self.play.scenario.echoes:
            events = (*events, b"Retried", b"Expired", b"Failed", b"StopJob")
        about = self.rng.choice(events) if kind is base.Publish and self.rng.random() < 0.6 else b""

        def fits(command: Any) -> bool:
            if kind is None:
                return True
            return type(command) is kind and (not about or about in command.head[5:24])

        victim.fuse = Fuse(self.rng.choice((0, 0, 0, 1, 2, 5)), fits, lambda: act(victim))
        return True

    def kill_worker_at(self) -> bool:
        return self._light(self._worker(), self._crash)

    def drop_worker_at(self) -> bool:
        return self._light(self._worker(), self._drop)

    def drop_client_at(self) -> bool:
        return self._light(self._client(), self._drop)

    def drop_worker(self) -> bool:
        return self._cut(self._worker())

    def drop_client(self) -> bool:
        return self._cut(self._client())

    def _cut(self, victim: Optional[Actor]) -> bool:
        if victim is None or victim.session is None:
            return False
        victim.session.cut("simulated")
        return self._say(f"drop the connection of {victim.name}", "dropped connections")

    def freeze(self) -> bool:
        victim = self._worker() if self.rng.random() < 0.7 else self._client()
        if victim is None or victim.frozen:
            return False
        secs = self.rng.choice((1.0, 6.0, 30.0, 200.0))
        victim.freeze(secs)
        if secs > 20.0 and victim.session is not None and self.rng.random() < 0.8:
            victim.session.cut("no heartbeats")
        return self._say(f"freeze {victim.name} for {secs:.0f} s", "freezes")

    def shut_down_worker(self) -> bool:
        victim = self._worker()
        if victim is None:
            return False
        victim.shut_down()
        return self._say(f"{victim.name} is told to leave", "workers told to leave")

    def add_worker(self) -> bool:
        if len(self.play.workers) > 4:
            return False
        self.play.add_worker()
        return self._say("one more worker", "late workers")

    def kill_client(self) -> bool:
        alive = [job for job in self.play.jobs if job.front is not None and not job.front.dead]
        if not alive:
            return False
        job = self.rng.choice(alive)
        self._say(f"kill the client of {job.plan.name}", "client crashes")
        job.client_died()
        return True

    # ------------------------------------------------------------ last words

    def say_late(self) -> bool:
        return self._miss(self.rng.choice(self.play.jobs).plan.name)

    def _miss(self, job: str) -> bool:
        """A reader that is dead by now said that blocks are missing: of the seal that counts, or of one before."""
        log = self.play.node.places.get(ev.log_stream(job))
        known = self.play.node.monitor.conduct.known(job)
        if log is None or known is None or known.terminal is not None:
            return False
        sealed = [
            stage for stage, sealed in enumerate(known.sealed) if sealed and 0 < stage < len(known.sealed) - 1
        ]
        if not sealed:
            return False
        stage = self.rng.choice(sealed)
        readers = sorted(index for number, index in known.tasks if number == stage)
        wins = sorted(done.attempt for (number, _), done in known.winners.items() if number == stage - 1)
        if not readers or not wins:
            return False
        generation = known.generations[stage] - self.rng.choice((0, 0, 1))
        attempts = tuple(self.rng.sample(wins, self.rng.randint(1, len(wins))))
        missing = ev.Missing(self.rng.getrandbits(63), stage, self.rng.choice(readers), generation, attempts)
        body = wire.encode(missing)
        self.play.node.monitor.comes(log.name, body)
        log.append(body)
        return self._say(f"{job}: late words of a reader: {missing}", "late words of readers")

    def contradict_client(self) -> bool:
        """The same at the moment at which a client says that it has the output."""
        jobs = [
            job
            for job in self.play.jobs
            if job.front is not None and not job.front.dead and not job.front.fuse
        ]
        if not jobs:
            return False
        job = self.rng.choice(jobs)
        assert job.front is not None

        def contradict() -> None:
            self._miss(job.plan.name)

        def says_so(command: Any) -> bool:
            return type(command) is base.Publish and b"Delivered" in command.head[5:24]

        job.front.fuse = Fuse(0, says_so, contradict)
        return True

    # ------------------------------------------------------------ the broker

    def restart_broker(self) -> bool:
        self.play.node.restart(self.rng.choice((0.0, 1.0, 10.0)))
        return self._say("the broker restarts", "broker restarts")

    def restart_broker_at(self) -> bool:
        def restart(_: Actor) -> None:
            self.restart_broker()

        return self._light(self._worker(), restart)

    def alarm(self) -> bool:
        secs = self.rng.choice((1.0, 10.0, 60.0))
        for session in self.play.node.sessions:
            session.hampered = True
        self.play.node.block(secs)
        return self._say(f"alarm: publications wait for {secs:.0f} s", "alarms")

    def repeat(self) -> bool:
        """A message arrives once more, as after a lost confirm."""

        def holds_something(place: Any) -> bool:
            return bool(place.bodies if isinstance(place, Stream) else place.ready)

        place = self._any_place(lambda place: holds_something(place) and _is_data(place.name))
        if place is None or self.rng.random() < 0.5:
            place = self._any_place(holds_something)
        if place is None:
            return False
        if isinstance(place, Stream):
            body = self.rng.choice(place.bodies[-8:])
            if body is None:
                return False
        else:
            body = self.rng.choice(sorted(place.ready)).body
            self.play.node.monitor.comes(place.name, body)
        place.append(body)
        return self._say(f"a message on {place.name} arrives twice: {_kind(body)}", "repeated messages")

    def echo(self) -> bool:
        """Something of a log is heard once more, however long ago it was said; or a dead coordinator's verdict."""
        job = self.rng.choice(self.play.jobs).plan.name
        log = self.play.node.places.get(ev.log_stream(job))
        if not isinstance(log, Stream):
            return False
        bodies = [
            body
            for body in log.bodies
            if body is not None and all(isinstance(each, _ECHOES) for each, _ in wire.decode_all(body))
        ]
        known = self.play.node.monitor.conduct.known(job)
        if known is not None and known.retries:
            before = len(known.retries) - 1
            failed = ev.Failed(Failure("raised", "bad record, long ago"), 0, 0, 1, before)
            said: list[ev.Event] = [ev.Expired(before), failed]
            for each in self.play.node.monitor.dispatches.values():
                if each.job == job and each.revision <= before and not known.knows_end_of(each.dispatch):
                    items = (ev.DispatchRef(each.dispatch, each.stage, each.index),)
                    said.append(ev.Dispatched(items, each.revision))
            bodies += [wire.encode(event) for event in said for _ in range(len(bodies) // 4)]
        if not bodies:
            return False
        body = self.rng.choice(bodies)
        self.play.node.monitor.comes(log.name, body)
        log.append(body)
        return self._say(f"{log.name} says once more: {_kind(body)}", "repeated messages")

    def _any_place(self, fits: Callable[[Any], bool]) -> Optional[Any]:
        places = [place for _, place in sorted(self.play.node.places.items()) if fits(place)]
        return self.rng.choice(places) if places else None

    def lose(self) -> bool:
        """What was confirmed is lost all the same."""

        def holds_something(place: Any) -> bool:
            return (
                bool(place.bodies)
                if isinstance(place, Stream)
                else "tasks" in place.name and bool(place.ready)
            )

        place = self._any_place(lambda place: holds_something(place) and place.name[-1].isdigit())
        if place is None or self.rng.random() < 0.4:
            place = self._any_place(holds_something)
        if place is None:
            return False
        if isinstance(place, Queue):
            message = heapq.heappop(place.ready)
            return self._say(f"lose {_kind(message.body)} of {place.name}", "lost dispatches")
        is_log = place.name.endswith(".log")
        # A log's entry that somebody has read is part of what is known: to take it back would part the folds for good.
        first = place.read if is_log else 0
        candidates = range(first, len(place.bodies))
        if not candidates:
            return False
        index = self.rng.choice(candidates)
        body = place.bodies[index]
        if body is None or any(isinstance(message, ONLY_ONCE) for message, _ in wire.decode_all(body)):
            return False
        place.bodies[index] = None
        return self._say(f"lose entry {index} of {place.name}: {_kind(body)}", "lost stream entries")

    def harm_file(self) -> bool:
        """Somebody removes a file of the shared folder, or it is not what it was."""
        what = self.play.folder.harm(self.rng)
        return bool(what) and self._say(what, "harmed files")

    def destroy(self) -> bool:
        """Somebody deletes or empties a queue or a stream of a job."""
        place = self._any_place(lambda place: place.name != ev.JOBS)
        if place is None or not self.play.node.sessions:
            return False
        if isinstance(place, Queue) and self.rng.random() < 0.5:
            place.ready.clear()
            return self._say(f"purge {place.name}", "purged queues")
        self.play.node.sessions[0].node_delete(place.name)
        if isinstance(place, Stream):
            self.play.deleted(place.name)
        return self._say(f"delete {place.name}", "deleted places")


_ECHOES = (
    ev.Dispatched, ev.Started, ev.Done, ev.AttemptFailed, ev.Lost, ev.StageSealed, ev.Failed, ev.Expired, ev.Retried,
    ev.CancelRequested, ev.Delivered,
)  # fmt: skip


def _is_data(name: str) -> bool:
    """A stream of a job, but not its log."""
    return name.startswith("mr.1.job.") and not name.endswith(".log")


def _kind(body: bytes) -> str:
    return " & ".join(type(message).__name__ for message, _ in wire.decode_all(body))
