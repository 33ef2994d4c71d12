"""The URL of a RabbitMQ: ``amqp[s]://[user[:password]@]host[:port][/vhost][?heartbeat=SECS]``.

User, password and virtual host are percent-decoded; no path, or ``/``, is the virtual host ``/``. With
``amqps`` the server's certificate must be valid and name the host; ``cacertfile=FILE`` names the authorities to
trust instead of the system's, ``verify=none`` trusts anybody. A peer that is silent for two ``heartbeat``s (30 s
unless given; the broker may ask for less) is taken for dead. Nothing here ever prints a password.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from mapreduce.errors import BrokerUrlWrong

_SHAPE = "a broker URL looks like amqp://user:password@host:5672/vhost"
_OPTIONS = ("heartbeat", "cacertfile", "verify")
_TLS_OPTIONS = ("cacertfile", "verify")

HEARTBEAT_SECS = 30
MAX_HEARTBEAT_SECS = 3600


@dataclass(frozen=True)
class Address:
    """Where a RabbitMQ is, and as whom to log in there."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    vhost: str
    tls: bool
    cacertfile: str = ""  #: "" trusts the system's authorities
    verify: bool = True
    heartbeat_secs: int = HEARTBEAT_SECS

    @property
    def endpoint(self) -> str:
        """``host:port``, as messages name it (and py-amqp wants it)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse(url: str) -> Address:
    """Raises `BrokerUrlWrong` for what is no broker URL."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        # Without the cause's words: they may quote a password that was not percent-encoded.
        raise BrokerUrlWrong(
            f"{_SHAPE}; this one cannot be read (percent-encode a / ? # @ : in names)"
        ) from error
    scheme = parts.scheme.lower()
    if scheme not in ("amqp", "amqps"):
        raise BrokerUrlWrong(f"{_SHAPE}; or amqps:// for TLS")
    if not parts.hostname:
        raise BrokerUrlWrong(f"{_SHAPE}; this one names no host")
    if parts.fragment:
        raise BrokerUrlWrong(f"{_SHAPE}; percent-encode a # in names (%23)")
    options = _options(parts)
    return Address(
        host=parts.hostname,
        port=port or (5671 if scheme == "amqps" else 5672),
        user=unquote(parts.username or "guest"),
        password=unquote(parts.password if parts.password is not None else "guest"),
        vhost=_vhost(parts.path),
        tls=scheme == "amqps",
        cacertfile=options.get("cacertfile", ""),
        verify=_verify(options.get("verify", "peer")),
        heartbeat_secs=_heartbeat(options.get("heartbeat", str(HEARTBEAT_SECS))),
    )


def _options(parts: SplitResult) -> dict[str, str]:
    options = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
    unknown = sorted(set(options).difference(_OPTIONS))
    if unknown:
        raise BrokerUrlWrong(
            f"unknown option {unknown[0]!r} in the broker URL; there are {', '.join(_OPTIONS)}"
        )
    if any(name in options for name in _TLS_OPTIONS) and parts.scheme.lower() != "amqps":
        raise BrokerUrlWrong("cacertfile and verify are for amqps:// URLs")
    return options


def _vhost(path: str) -> str:
    name = path[1:]
    if "/" in name:
        raise BrokerUrlWrong("a / in the virtual host of a broker URL is written %2F")
    return unquote(name) or "/"


def _verify(value: str) -> bool:
    if value not in ("peer", "none"):
        raise BrokerUrlWrong("verify in the broker URL is peer or none")
    return value == "peer"


def _heartbeat(value: str) -> int:
    if not (value.isascii() and value.isdecimal() and 1 <= int(value) <= MAX_HEARTBEAT_SECS):
        raise BrokerUrlWrong(f"heartbeat in the broker URL is a number of seconds, 1 to {MAX_HEARTBEAT_SECS}")
    return int(value)
