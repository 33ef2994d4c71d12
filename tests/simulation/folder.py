"""The folder that client and workers all see: what is written there, by whom, and what somebody does to it."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable
from typing import Optional

from mapreduce import shared
from mapreduce.refs import Block

DIRECTORY = "/shared"


class SharedFolder:
    """Files of blocks, in folders of jobs: without its job's folder nobody can write one."""

    def __init__(self) -> None:
        self.folders: set[str] = set()
        self.files: dict[str, bytearray] = {}

    def make(self, folder: str) -> None:
        self.folders.add(folder)

    def remove(self, folder: str) -> None:
        """With all it holds; of a job, or of an attempt."""
        self.folders.discard(folder)
        for path in [path for path in self.files if path.startswith(folder + "/")]:
            del self.files[path]

    def open(self, folder: str) -> Optional[str]:
        """The path of a file in the folder of an attempt; None: that of its job is not there."""
        return f"{folder}/tmp.blocks" if os.path.dirname(folder) in self.folders else None

    def read(self, block: Block) -> Optional[bytes]:
        """None: it is not there as it was written."""
        data = bytes(self.files.get(block.path, b"")[block.offset : block.offset + block.length])
        return data if shared.checksum(data) == block.crc else None

    def lost(self, blocks: Iterable[Block]) -> tuple[int, ...]:
        """Attempts whose blocks are not there."""
        return tuple(sorted({shared.writer_of(block) for block in blocks if self.read(block) is None}))

    def harm(self, rng: random.Random) -> str:
        """Remove, cut or change a file; says what. "" if there is none."""
        paths = sorted(path for path, data in self.files.items() if data)
        if not paths:
            return ""
        path, how = rng.choice(paths), rng.choice(("remove", "cut", "change"))
        if how == "remove":
            del self.files[path]
        elif how == "cut":
            del self.files[path][-1:]
        else:
            self.files[path][rng.randrange(len(self.files[path]))] ^= 1
        return f"{how} {path}"
