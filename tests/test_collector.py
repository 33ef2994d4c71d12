"""One partition as its readers put it together: interleaved writers, repeats, parts, gaps."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mapreduce import attempt as attempts
from mapreduce import events as ev
from mapreduce import wire
from mapreduce.attempt import Attempt, Delivery
from mapreduce.brokers import base
from mapreduce.collector import LITTLE_BYTES, Collector, Spool, together
from mapreduce.effects import Append, Command
from mapreduce.refs import Block
from mapreduce.runs import BLOCK_BYTES, CHUNK_BYTES
from mapreduce.spec import MIB, JobSpec
from tests import strategies  # noqa: F401  # its profile

SPEC = JobSpec("j", {}, {}, 2, 1)
#: what a writer's block file holds; parts of it tell their places
BYTES = bytes(random.Random(1).randrange(256) for _ in range(2000))
PART = 100


def write(number: int, index: int, lengths: list[int], part_bytes: int) -> list[tuple[ev.BlockHead, bytes]]:
    """What an attempt publishes for one partition, in order."""
    attempt = Attempt(
        number, ev.Dispatch("job", number, 0, index, 0, None), Delivery(base.Receipt("t", 1), 1), "/d", 0.0
    )
    attempt.spec = SPEC
    published = []
    for seq, length in enumerate(lengths):
        block = Block("/blocks", number + seq, length, length, seq // 2, "")
        before, attempts.PART_BYTES = attempts.PART_BYTES, part_bytes
        try:
            commands = attempt.publish_block(0, seq, block, by_reference=False)
        finally:
            attempts.PART_BYTES = before
        for command in commands:
            assert command.body is not None
            head, _ = wire.decode(command.head)
            start = command.body.offset
            published.append((head, BYTES[start : start + command.body.length]))
    assert len(attempt.unconfirmed) == len(published), "all must be confirmed before `Done`"
    return published


class Disk:
    """Files that the reader asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytearray] = {}

    def perform(self, commands: Any) -> None:
        for command in commands:
            self.files.setdefault(command.path, bytearray()).extend(command.body)

    def read(self, block: Block) -> bytes:
        return bytes(self.files[block.path][block.offset : block.offset + block.length])


@st.composite
def partitions(draw: st.DrawFn) -> Any:
    """(lengths per writer, messages of all writers in an order that keeps each writer's own, with repeats)."""
    lengths = draw(st.lists(st.lists(st.integers(0, 5 * PART), max_size=4), min_size=1, max_size=4))
    queues = [write(n, n, blocks, PART) for n, blocks in enumerate(lengths)]
    messages, at = [], [0] * len(queues)
    while any(at[n] < len(queue) for n, queue in enumerate(queues)):
        n = draw(st.sampled_from([n for n, queue in enumerate(queues) if at[n] < len(queue)]))
        messages.append(queues[n][at[n]])
        # a writer may begin again a little further back
        at[n] = max(0, at[n] + 1 - draw(st.sampled_from([0, 0, 0, 0, 2, 3])))
    return lengths, messages


def read(messages: Any, entries: Any) -> tuple[Collector, Disk]:
    collector, disk, spool = Collector(0), Disk(), Spool("/in", "key")
    for head, body in messages:
        disk.perform(collector.take(head, memoryview(body), spool))
    collector.seal(ev.Seal(0, 0, 1, tuple(entries)))
    assert collector.complete
    return collector, disk


def seal(lengths: list[list[int]]) -> list[ev.SealEntry]:
    return [ev.SealEntry(n, n, len(blocks)) for n, blocks in enumerate(lengths)]


@given(partitions())
def test_blocks_come_out_as_they_were_written(partition: Any) -> None:
    lengths, messages = partition
    collector, disk = read(messages, seal(lengths))
    assert collector.missing() == ()
    wanted = [
        BYTES[n + seq : n + seq + size] for n, blocks in enumerate(lengths) for seq, size in enumerate(blocks)
    ]
    blocks = collector.blocks()
    assert [disk.read(block) for block in blocks] == wanted
    assert [block.records for block in blocks] == [len(body) for body in wanted]


@given(partitions(), st.data())
def test_a_lost_message_is_a_gap_and_never_a_wrong_byte(partition: Any, data: st.DataObject) -> None:
    lengths, messages = partition
    if not messages:
        return
    head = data.draw(st.sampled_from(messages))[0]
    kept = [message for message in messages if message[0] != head]
    collector, _ = read(kept, seal(lengths))
    assert collector.missing() == (head.attempt,)


@given(partitions(), st.randoms(use_true_random=False))
def test_out_of_order_a_block_is_missing_or_right(partition: Any, rng: random.Random) -> None:
    lengths, messages = partition
    rng.shuffle(messages)
    collector, disk = read(messages, seal(lengths))
    missing = collector.missing()
    for entry in collector.entries():
        if entry.attempt not in missing:
            got = [disk.read(block) for block in collector.of(entry)]
            assert got == [
                BYTES[entry.task + s : entry.task + s + n] for s, n in enumerate(lengths[entry.task])
            ]


def test_a_block_is_cut_only_where_it_must_be() -> None:
    count = 2 * attempts.PART_BYTES // MIB
    for length, parts in ((0, 1), (MIB, 1), (2 * MIB, 1), (2 * MIB + 1, 2), (count * MIB, 2)):
        heads = [head for head, _ in write(0, 0, [length], attempts.PART_BYTES)]
        assert [(head.part, head.parts) for head in heads] == [(n, parts) for n in range(parts)]


def test_what_may_be_on_its_way_to_one_reader_is_bounded() -> None:
    assert attempts.Attempt.PREFETCH * attempts.PART_BYTES <= 16 * MIB
    assert attempts.PART_BYTES > BLOCK_BYTES + CHUNK_BYTES  # blocks of many records are in one piece


def test_a_part_that_contradicts_the_others_is_left_out() -> None:
    collector, spool = Collector(0), Spool("/in", "key")
    heads = [
        ev.BlockHead(0, 1, 0, 1, 0, "", None, part, parts)
        for part, parts in ((0, 3), (1, 2), (-1, 3), (1, 3))
    ]
    took = [bool(collector.take(head, memoryview(b"x"), spool)) for head in heads]
    assert took == [True, False, False, True]
    for parts in (0, -1):
        assert collector.take(ev.BlockHead(0, 2, 0, 1, 0, "", None, 0, parts), memoryview(b"x"), spool) == []


@given(st.lists(st.tuples(st.sampled_from(["/a", "/b", ""]), st.binary(max_size=3)), max_size=12))
def test_what_is_appended_together_is_what_was_to_be_appended_in_order(
    parts: list[tuple[str, bytes]],
) -> None:
    commands: list[Command] = [
        Append("k", path, memoryview(body)) if path else base.Cancel("t") for path, body in parts
    ]
    files: dict[str, bytes] = {}
    found = together(commands)
    for command in found:
        if isinstance(command, Append):
            files[command.path] = files.get(command.path, b"") + command.body
    for name, content in files.items():
        assert content == b"".join(body for path, body in parts if path == name)
    assert len([each for each in found if isinstance(each, base.Cancel)]) == [
        path for path, _ in parts
    ].count("")
    places = [each.path if isinstance(each, Append) else "" for each in found]
    assert all(one != other or not one for one, other in zip(places, places[1:]))


def test_large_appends_are_not_copied() -> None:
    large = [Append("k", "/a", memoryview(bytes(LITTLE_BYTES + 1))) for _ in range(2)]
    assert together(large) == large


def test_a_message_from_elsewhere_names_no_file_of_this_machine() -> None:
    spool, entry = Spool("/in", "key"), ev.SealEntry(0, 7, 1)
    for ref, by_reference, folder, here in (
        (Block("/etc/passwd", 0, 9, 1, 0, ""), False, "", False),
        (Block("/etc/passwd", 0, 9, 1, 0, ""), False, "/shared/mr-job", False),
        (Block("/scratch/tmp.blocks", 0, 9, 1, 0, ""), True, "", True),
        (Block("tmp.blocks", 0, 9, 1, 0, "", crc=1), False, "", False),
        (Block("tmp.blocks", 0, 9, 1, 0, "", crc=1), False, "/shared/mr-job", True),
    ):
        collector = Collector(0)
        head = ev.BlockHead(0, 7, 0, 1, 0, "", ref)
        assert collector.take(head, memoryview(b""), spool, by_reference) == []
        collector.seal(ev.Seal(0, 0, 1, (entry,)))
        assert collector.missing(folder) == (() if here else (7,))
        if here:
            (block,) = collector.of(entry, folder)
            assert block.path == ref.path if by_reference else block.path.startswith(f"{folder}/")
