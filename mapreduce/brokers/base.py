"""The contract between roles and a broker: commands go in, events come out, nothing blocks.

A role (client, coordinator, worker) never calls a broker. It returns commands; the host loop hands them
to `Broker.perform` and feeds what `Broker.poll` gives back to the role that asked for it: a consumer's
``tag`` and a publication's ``token`` begin with the role's own prefix.

There are two sorts of places (`Kind`): a *queue* gives each message to one consumer and forgets it after
its ack; a *stream* is append-only, keeps everything until it is deleted, and can be read by many, from any
offset. ``mr.1.control`` is the one exchange, a fanout; every session may bind one private queue to it.

What every implementation promises, and `tests/contract` checks for each:

* `Confirmed` comes only after the broker has taken charge of the message, `Unroutable` when no such queue
  exists; each publication gets exactly one of the two unless the session ends first.
* Messages published by one session to one place arrive in the order of their `Publish` commands; a queue with
  priorities gives them out in that order within each.
* A queue's unacked deliveries return to it, marked ``redelivered``, when their session ends.
* A delivery says when its message was sent, however often and to whomever it is delivered.
* After `Disconnected` the session is dead: commands are ignored, no event of the old session follows, and
  `connect` begins a new one with no consumers.
"""

from __future__ import annotations

import errno
import select
from abc import ABC, abstractmethod
from enum import Enum
from typing import NamedTuple, Optional, Union

from mapreduce.frozen import frozen


class Kind(Enum):
    """What a name stands for on the broker."""

    QUEUE = "queue"  #: durable work queue: each message to one consumer, gone after its ack
    #: the same, but of what waits the highest priority goes first, and of that the oldest
    PRIORITY = "priority queue"
    STREAM = "stream"  #: append-only log: kept until deleted, read by many from any offset
    #: a queue of one who asks: where the broker outlives its sessions, it goes by itself a minute after its consumer
    REPLIES = "replies"


#: of messages; the lowest is 0
MAX_PRIORITY = 5


class FileSlice(NamedTuple):
    """Bytes that lie in a file; read only when they are about to be sent."""

    path: str
    offset: int  #: in bytes
    length: int  #: in bytes

    def read_into(self, room: memoryview) -> None:
        """Fill ``room``, of ``length`` bytes. Raises OSError."""
        with open(self.path, "rb", buffering=0) as file:
            file.seek(self.offset)
            while room:
                count: Optional[int] = file.readinto(room)
                if not count:
                    raise OSError(errno.EIO, "the file is shorter than what was written to it", self.path)
                room = room[count:]


# ---------------------------------------------------------------- commands


@frozen
class Declare:
    """Make a queue or stream; answered by `Declared`. Declaring what exists already does nothing."""

    name: str
    kind: Kind


@frozen
class Publish:
    """Append one message, mandatory and confirmed; answered by `Confirmed` or `Unroutable`.

    ``head`` is sent in front of the bytes of ``body`` (a `FileSlice` is read at the moment of sending).
    """

    to: str
    head: bytes
    token: str
    body: Optional[FileSlice] = None
    #: it may travel in one message with others for the same stream, see `wire.join`
    joins: bool = False
    #: 0 … `MAX_PRIORITY`; other places than those of `Kind.PRIORITY` take no notice of it
    priority: int = 0
    #: how many would go there if they were not told at once, see `wire.encode_all`: a busy place is known by that
    messages: int = 1
    #: somebody has nothing to do until it is there: it waits for no others, and takes those along that wait
    hurries: bool = False

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.head) + (self.body.length if self.body is not None else 0)

    def whole(self) -> Union[bytes, bytearray]:
        """Head and body in one piece. Raises OSError."""
        if self.body is None:
            return self.head
        whole = bytearray(len(self.head) + self.body.length)
        whole[: len(self.head)] = self.head
        self.body.read_into(memoryview(whole)[len(self.head) :])
        return whole


@frozen
class Broadcast:
    """Send advice to every session that listens on ``mr.1.control``; unanswered, may be lost."""

    body: bytes


@frozen
class Consume:
    """Start a consumer. At most ``prefetch`` deliveries are unacked at any time.

    For a stream ``offset`` is where to begin: ``"first"``, ``"next"`` or a number (of the first message
    wanted; deliveries never start below it). For a queue it is None. `Gone` answers when there is no such
    place, and comes later when it is deleted under the consumer. A tag that is in use gets the new consumer.
    """

    tag: str
    name: str
    prefetch: int
    offset: Union[None, int, str] = None


@frozen
class Listen:
    """Bind this session's private queue to ``mr.1.control``; broadcasts are `Delivered` on ``tag``, no acks."""

    tag: str


@frozen
class Cancel:
    """Stop a consumer. What was polled can still be acked; what was not goes back to its queue."""

    tag: str


@frozen
class Ack:
    """Acknowledge one delivery by its receipt."""

    receipt: Receipt


@frozen
class Delete:
    """Delete a queue or stream with all it holds; answered by `Deleted`, also if it was not there."""

    name: str


@frozen
class Inspect:
    """Ask how many messages wait in a queue; answered by `Depth`, or `Depth(ready=-1)` if there is none."""

    name: str


Command = Union[Declare, Publish, Broadcast, Consume, Listen, Cancel, Ack, Delete, Inspect]

# ---------------------------------------------------------------- events


class Receipt(NamedTuple):
    """Names one delivery of one consumer of one session, to ack it."""

    tag: str
    number: int


@frozen
class Declared:
    name: str


@frozen
class Confirmed:
    token: str


@frozen
class Unroutable:
    """The message was not sent: there is no such place (any more), or ``reason`` says what else was wrong with it.

    ``unreadable``: nothing is wrong with the message but that its `FileSlice` could not be read from this
    machine's disk; else the ``reason`` is one of the broker's, and would be the same anywhere.
    """

    token: str
    reason: str = ""
    unreadable: bool = False


@frozen
class Delivered:
    """A message; of a stream perhaps several that were joined: ``body`` is for `wire.decode_all`."""

    tag: str
    receipt: Receipt
    body: bytes
    offset: Optional[int]  #: in a stream, None in a queue
    redelivered: bool
    #: when it was sent, by the clock of the host that sent it: seconds since the epoch, 0.0 if it does not say. For
    #: people: hosts' clocks differ
    at: float = 0.0
    priority: int = 0  #: of a message of a queue, as it was published


@frozen
class Gone:
    """The consumer has ended: its queue or stream does not exist (any more)."""

    tag: str


@frozen
class Deleted:
    name: str


@frozen
class Depth:
    name: str
    ready: int  #: messages that wait for a consumer; -1: no such queue
    consumers: int


@frozen
class Blocked:
    """The broker takes no messages for now (memory or disk alarm); publications wait."""

    reason: str


@frozen
class Unblocked:
    pass


@frozen
class Unavailable:
    """A work queue could not be declared for a minute: the node that has it is down, say. What goes there waits."""

    name: str


@frozen
class Disconnected:
    """The session has ended. ``denied`` tells a refused right (trying again will not help).

    ``ack_timeout_secs``: it was ended because a delivery was not acked for so long; 0: for another reason. Whoever
    holds deliveries should hold them for less from now on. ``unsuitable``: a queue, stream or exchange of ours is
    there already as something else (trying again will not help, either).
    """

    reason: str
    denied: bool = False
    ack_timeout_secs: float = 0.0
    unsuitable: bool = False


BrokerEvent = Union[
    Declared,
    Confirmed,
    Unroutable,
    Delivered,
    Gone,
    Deleted,
    Depth,
    Blocked,
    Unblocked,
    Unavailable,
    Disconnected,
]


class Tls(NamedTuple):
    """How a connection is encrypted."""

    version: str  #: "TLSv1.3"
    cipher: str
    verified: bool  #: the peer has shown a certificate for the host, by an authority that we trust
    #: of its certificate: in seconds since the epoch; None: it was not asked for one
    ends_at: Optional[float]


@frozen
class About:
    """What a server says of itself, and what was agreed on with it. For people."""

    product: str
    version: str
    cluster: str
    platform: str  #: what it runs on
    frame_bytes: int  #: of the largest frame
    channels: int  #: at most, on one connection
    heartbeat_secs: int
    message_bytes: int  #: of the largest message, as far as is known: it says so only when one is too large
    tls: Optional[Tls]


def cannot_read(command: Publish, error: OSError) -> Unroutable:
    """The answer to a publication whose file could not be read: it vanishes when its attempt is stopped, say."""
    path = command.body.path if command.body else ""
    text = f"cannot read {path}: {error.strerror or error}"
    return Unroutable(command.token, text, unreadable=True)


class Broker(ABC):
    """One session with a broker. Its methods are called from one thread at a time.

    That is the host's; but while there is no session, `connect` may run in another, and nothing else then.
    """

    #: True: blocks and input travel as references to this machine's files, not through the broker.
    by_reference: bool = False

    @abstractmethod
    def connect(self) -> None:
        """Begin a (new) session. Blocks, with a limit. Raises `BrokerError` or one of its children."""

    @property
    def about(self) -> Optional[About]:
        """Who is at the other end of the session; None: there is none, or it is this process."""
        return None

    @abstractmethod
    def perform(self, command: Command) -> None:
        """Take a command; never blocks, never raises for what the broker thinks of it.

        It may wait for the next `poll` before it goes anywhere: what is performed together travels together.
        """

    @abstractmethod
    def poll(self) -> list[BrokerEvent]:
        """Everything that has happened since the last call; never blocks."""

    @abstractmethod
    def fileno(self) -> int:
        """A descriptor that is readable whenever `poll` has something to do; -1 if poll is never behind."""

    def wait_secs(self) -> Optional[float]:
        """How long the next `poll` can wait, whatever `fileno` says; None: for ever. Nothing is lost if it comes late,
        but it may be seconds until somebody else does what is due."""
        return None

    def wait(self, secs: float) -> None:
        """Until `poll` may have something to do, so long at most; for whoever waits for nothing else."""
        due = self.wait_secs()
        select.select(
            [self.fileno()] if self.fileno() >= 0 else [], [], [], secs if due is None else min(secs, due)
        )

    @abstractmethod
    def close(self, drain_secs: float) -> None:
        """End the session; give commands already taken ``drain_secs`` seconds to reach the broker."""
