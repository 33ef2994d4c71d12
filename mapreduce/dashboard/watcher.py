"""The thread that watches: one session with the broker, and what it learns as news for the feed."""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import random
import secrets
import threading
import time
from typing import Callable

from mapreduce.brokers import base, open_broker
from mapreduce.brokers.url import parse
from mapreduce.dashboard import snapshot
from mapreduce.dashboard.feed import OVERVIEW, Feed
from mapreduce.dashboard.watching import CancelJob, Followed, Look, Watching
from mapreduce.effects import Report
from mapreduce.errors import JobLost
from mapreduce.host import Host
from mapreduce.shown import escaped

#: between two snapshots of a job in which something happens, and of one in which only time goes by
NEWS_SECS = 0.5
QUIET_SECS = 2.0
#: what part of the time making snapshots of one job may take: they are further apart for large ones
SHARE = 0.1
#: a job whose log takes long to read is shown as far as it is read
FIRST_SECS = 2.0
CLOSE_SECS = 1.0


class Watcher:
    """Runs `Watching` until `close`; its methods may be called from any thread."""

    def __init__(self, url: str, report: Callable[[Report], None]) -> None:
        self.feed = Feed()
        #: called from the thread when it ends by itself: the broker is gone for good (it refuses us now, say)
        self.on_error: Callable[[BaseException], None] = lambda error: None
        self._shown_url = parse(url).endpoint
        self._broker: base.Broker = open_broker(url)
        self._role = Watching(random.Random(secrets.randbits(64)), time.time)
        self._host = Host(self._broker, [self._role], report, reconnect_secs=float("inf"))
        self._thread = threading.Thread(target=self._run, name="mr-watch", daemon=True)
        self._closing = False
        self._numbers = itertools.count(1)
        self._cancels: dict[int, concurrent.futures.Future[str]] = {}
        self._next: dict[str, float] = {}  #: job -> when its next snapshot may be made
        self._shown: dict[str, float] = {}  #: job -> when the last one was
        self._broken: set[str] = set()  #: jobs that cannot be shown, which has been told
        self._report = report

    def start(self) -> None:
        """Raises `BrokerError` if there is no broker now."""
        self._host.connect()
        self.feed.on_topics = lambda topics: self._host.post(Look(topics - {OVERVIEW}, bool(topics)))
        self._thread.start()

    def close(self) -> None:
        """End the thread and the session."""
        self.feed.on_topics = lambda topics: None
        self._closing = True
        if self._thread.ident is not None:
            self._host.post(None)
            self._thread.join()
        self._host.close()
        self._broker.close(CLOSE_SECS)

    async def cancel(self, job: str) -> None:
        """Returns when the job's log has the request. Raises `JobLost` if it will not."""
        number = next(self._numbers)
        future = self._cancels[number] = concurrent.futures.Future()
        self._host.post(CancelJob(job, number))
        try:
            problem = await asyncio.wrap_future(future)
        finally:
            self._cancels.pop(number, None)
        if problem:
            raise JobLost(problem)

    # ------------------------------------------------------------ in the thread

    def _run(self) -> None:
        try:
            self._host.run(self._tell_news)
        except BaseException as error:  # noqa: BLE001  # whoever serves has to end, whatever it is
            self.on_error(error)

    def _tell_news(self) -> bool:
        """Called between two events; whether the thread is to end."""
        role = self._role
        for number in list(role.answers):
            problem, future = role.answers.pop(number), self._cancels.get(number)
            if future is not None and future.set_running_or_notify_cancel():
                future.set_result(problem)
        now = time.monotonic()
        if role.changed:
            role.changed = False
            overview = role.overview()
            overview["broker"]["url"] = self._shown_url
            self.feed.put(OVERVIEW, snapshot.to_json(overview))
        for job, followed in role.followed.items():
            if now >= self._next.get(job, 0.0):
                self._show(job, followed, now)
        for job in [job for job in self._shown if job not in role.followed]:
            del self._next[job], self._shown[job]
            self._broken.discard(job)
            self.feed.drop(job)
        return self._closing

    def _show(self, job: str, followed: Followed, now: float) -> None:
        observer, view = followed.observer, followed.view
        if not (observer.caught_up or observer.gone or now - followed.began_at > FIRST_SECS):
            return
        runs = view.ended_at is None and bool(view.state.stages)
        if not followed.changed and not (runs and now >= self._shown.get(job, 0.0) + QUIET_SECS):
            return
        followed.changed = False
        began = time.perf_counter()
        try:
            news = snapshot.to_json(self._news(job, followed))
        except Exception as error:  # noqa: BLE001  # what one odd log holds must not end all that is shown
            text = f"cannot show job {job}: {type(error).__name__}: {error}"
            if job not in self._broken:
                self._report(Report("warning", escaped(text)))
            self._broken.add(job)
            news = snapshot.to_json({"id": job, "broken": text})
        self.feed.put(job, news)
        self._shown[job] = now
        self._next[job] = now + max(NEWS_SECS, (time.perf_counter() - began) / SHARE)

    @staticmethod
    def _news(job: str, followed: Followed) -> dict[str, object]:
        if followed.nothing_there:
            return {"id": job, "missing": True}
        data = snapshot.of_job(job, followed.view, time.time())
        if followed.observer.gone:
            return {**data, "gone": True, "can_cancel": False}
        return data
