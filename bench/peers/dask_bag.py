"""Dask's bag, on its own default for bags: a pool of processes.

`frequencies` counts each block of the file by itself, then adds up eight results at a time. A bag cannot sort.
"""

from __future__ import annotations

import dask
import dask.bag

from bench.peers.common import arguments

#: Some blocks per process, so that none waits long for the last one; larger ones take more memory at once.
BLOCK_BYTES = 16 * 1024 * 1024


def main() -> None:
    given = arguments("wordcount")
    with dask.config.set(scheduler="processes", num_workers=given.processes):
        words = dask.bag.read_text(str(given.input), blocksize=BLOCK_BYTES).map(str.split).flatten()
        counts = words.frequencies()
        counts.map("{0[0]}\t{0[1]}".format).to_textfiles(f"{given.output}/part-*.txt")


if __name__ == "__main__":
    main()
