"""Entry point of `mr`, as small as can be: a Ctrl-C that comes while the rest is imported must find its handler."""

from __future__ import annotations

from mapreduce import signals


def main() -> None:
    """Never returns: ends the process with its exit code."""
    signals.end_at_once()
    from mapreduce.commands.main import run  # late: takes a tenth of a second

    run()


if __name__ == "__main__":
    main()
