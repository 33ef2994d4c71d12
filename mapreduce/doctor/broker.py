"""The broker: who it is, how we reach it, and whether we may do there all that the engine does.

Each thing is tried with a queue and a stream of our own, which are deleted again; nobody else sees them.
"""

from __future__ import annotations

import contextlib
import ipaddress
import secrets
import time
from collections.abc import Iterator
from typing import Any, Callable, Optional

from mapreduce import errand, units, wire
from mapreduce import events as ev
from mapreduce.brokers import base
from mapreduce.brokers.url import parse
from mapreduce.display import texts
from mapreduce.doctor.finding import FAILED, NOTE, OK, WARNING, Finding
from mapreduce.errand import TAG, TOKEN, Script, Wait
from mapreduce.errors import BrokerError, BrokerRefused

#: for one step; a broker that takes longer is in trouble
STEP_SECS = 10.0
#: for one broadcast to come back: whether we listen already nobody says
ECHO_SECS = 0.3
ECHOES = 20
#: each job that a worker coordinates, and each input that it reads, has a channel
FEW_CHANNELS = 256
#: before a certificate ends
SOON_SECS = 14 * 86400.0
RIGHTS = r"it needs to configure and read ^mr\..* and to write ^(mr\..*|amq\.default)$ (rabbitmqctl set_permissions)"


def check_broker(url: str) -> tuple[list[Finding], Optional[BrokerError]]:
    """And why it cannot be used, if it cannot. Raises `BrokerUrlWrong`."""
    began = time.monotonic()
    name = f"{ev.PREFIX}.doctor.{secrets.token_hex(8)}"
    queue, stream = f"{name}.queue", f"{name}.stream"
    steps = _Steps()
    trial = errand.Errand(lambda: steps.all(queue, stream))
    findings: list[Finding] = []
    try:
        with errand.session(url, trial) as (broker, host):
            connected = time.monotonic()
            about = broker.about
            if about is not None:
                findings += _describe(url, about, connected - began)
            host.run(lambda: trial.finished or bool(trial.blocked))
    except BrokerError as error:
        _clean_up(url, queue, stream)
        check = "rights" if isinstance(error, BrokerRefused) and steps.at else "broker"
        text = f"cannot {steps.at}: {error}" if steps.at else str(error)
        return [*findings, Finding(check, FAILED, text, RIGHTS if check == "rights" else "")], error
    if trial.blocked or trial.result:
        _clean_up(url, queue, stream)
    if trial.blocked:
        advice = "free memory or disk space there; jobs wait meanwhile"
        alarm = Finding("alarm", FAILED, f"it takes no messages: {trial.blocked}", advice)
        return [*findings, alarm], BrokerError(f"the broker takes no messages ({trial.blocked})")
    if trial.result:
        text = f"cannot {trial.result}: no answer within {STEP_SECS:.0f} s"
        return [*findings, Finding("broker", FAILED, text)], BrokerError(text)
    took = texts.secs(time.monotonic() - connected)
    findings += [
        Finding("streams", OK, f"declared, written, read and deleted one, and a queue, in {took}"),
        Finding("rights", OK, f"all that is needed on names that begin with {ev.PREFIX}."),
        Finding("alarm", OK, "it takes messages"),
    ]
    return findings, None


class _Steps:
    """All that the engine does on a broker; `at` is what is being tried."""

    def __init__(self) -> None:
        self.at = ""

    def all(self, queue: str, stream: str) -> Script[str]:
        """ "" if all has gone well, else the step that was not answered."""
        declares = {queue: base.Kind.REPLIES, stream: base.Kind.STREAM}
        for name in (ev.JOBS, ev.ASIDE):
            depth = yield from errand.depth(name, STEP_SECS)
            if depth is not None and depth.ready >= 0:
                declares[name] = base.Kind.QUEUE  # that it is what it should be
        for name, kind in declares.items():
            self.at = f"declare {name}"
            if not (yield Wait([base.Declare(name, kind)], _named(base.Declared, name), STEP_SECS)):
                return self.at
        before: list[base.Command] = []
        for name, first in ((queue, None), (stream, "first")):
            self.at = f"write to {name}"
            if not (yield Wait([*before, base.Publish(name, b"?", TOKEN)], _is_answer, STEP_SECS)):
                return self.at
            self.at = f"read from {name}"
            delivery = yield Wait([base.Consume(TAG, name, 1, first)], _is_delivery, STEP_SECS)
            if not delivery:
                return self.at
            before = [base.Ack(delivery.receipt), base.Cancel(TAG)]
        self.at = f"broadcast on {ev.CONTROL} and listen there"
        if not (yield from _echo()):
            return self.at
        self.at = f"delete {stream}"
        return "" if (yield from _remove(queue, stream)) else self.at


def _echo() -> Script[bool]:
    # of no interest to whoever else hears it
    body = wire.encode(ev.Ask("", "", secrets.randbits(63)))
    commands: list[Any] = [base.Listen(f"{TAG}/control")]
    for _ in range(ECHOES):
        commands.append(base.Broadcast(body))
        heard = yield Wait(commands, lambda e: isinstance(e, base.Delivered) and e.body == body, ECHO_SECS)
        if heard:
            return True
        commands = []
    return False


def _clean_up(url: str, queue: str, stream: str) -> None:
    """As far as that is possible with a broker that is in trouble; to delete is, while it takes no messages."""
    with contextlib.suppress(BrokerError):
        errand.run(url, lambda: _remove(queue, stream))


def _remove(queue: str, stream: str) -> Script[bool]:
    gone = True
    for name in (queue, stream):
        gone = bool((yield Wait([base.Delete(name)], _named(base.Deleted, name), STEP_SECS))) and gone
    return gone


def _named(kind: type, name: str) -> Callable[[Any], bool]:
    return lambda event: isinstance(event, kind) and getattr(event, "name", "") == name


def _is_answer(event: Any) -> bool:
    return isinstance(event, (base.Confirmed, base.Unroutable))


def _is_delivery(event: Any) -> bool:
    return isinstance(event, base.Delivered) and event.tag == TAG


# ---------------------------------------------------------------- what it is


def _describe(url: str, about: base.About, took_secs: float) -> Iterator[Finding]:
    where = f", cluster {about.cluster}" if about.cluster else ""
    on = f", {about.platform}" if about.platform else ""
    text = f"{about.product} {about.version}{where}{on}; connected in {texts.secs(took_secs)}"
    yield Finding("broker", OK, text)
    few = 0 < about.channels < FEW_CHANNELS
    yield _describe_tls(url, about.tls, time.time())
    yield Finding(
        "limits",
        WARNING if few else OK,
        f"frames of {units.shown_size(about.frame_bytes)}, {about.channels or 'any number of'} channels on a "
        f"connection, a heartbeat each {about.heartbeat_secs} s, messages of {units.shown_size(about.message_bytes)} "
        "unless it is set to less, which AMQP does not show",
        "channel_max is 2047 by default: a worker needs one for each job that it coordinates" if few else "",
    )


def _describe_tls(url: str, tls: Optional[base.Tls], now: float) -> Finding:
    if tls is None:
        if _is_here(parse(url).host):
            return Finding("tls", OK, "not encrypted, and does not leave this machine")
        text = "not encrypted: the password and all data can be read on the way"
        return Finding("tls", WARNING, text, "amqps://, unless the network is your own")
    text = f"{tls.version}, {tls.cipher}"
    if not tls.verified:
        advice = "without verify=none, and with cacertfile= if need be"
        return Finding("tls", WARNING, f"{text}; but whoever answers is trusted", advice)
    if tls.ends_at is None:
        return Finding("tls", OK, text)
    ends = time.strftime("%Y-%m-%d", time.gmtime(tls.ends_at))
    soon = tls.ends_at - now < SOON_SECS
    level, advice = (WARNING, "renew it") if soon else (OK, "")
    return Finding("tls", level, f"{text}; its certificate ends on {ends}", advice)


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def describe_ack_timeout(taught: list[float]) -> Finding:
    """``taught``: what the broker has taught workers, in seconds; AMQP shows it only by ending a session over it."""
    if not taught:
        text = "not shown by AMQP; RabbitMQ's default is 30 minutes, and nothing is held for ten"
        return Finding("ack timeout", NOTE, text)
    least = min(taught)
    text = f"{least:.0f} s, as {texts.count(len(taught), 'worker')} had to learn; held for a third of that at most"
    if least >= 60:
        return Finding("ack timeout", OK, text)
    return Finding("ack timeout", WARNING, text, "consumer_timeout of RabbitMQ: a few minutes at least")
