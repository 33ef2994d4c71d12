"""What the workers' answers tell: who is missing, whose clock is wrong, whose versions differ."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

from mapreduce import events as ev
from mapreduce.census import Census, Skew
from mapreduce.display import texts
from mapreduce.doctor.finding import NOTE, OK, WARNING, Finding

#: times of two hosts that differ by more would puzzle people
SKEW_SECS = 1.0
_NAMED = 5
_ABSENT = "-"
#: what a difference may do harm to
_NEEDED = {
    "cloudpickle": "functions without a file (of notebooks) travel as its pickles",
    "zstandard": "it reads .zst input",
}


def check_workers(census: Census) -> Iterator[Finding]:
    """Who is there."""
    if census.silent:
        text = f"{texts.count(census.silent, 'worker')} did not answer, {len(census.workers)} did"
        advice = "they may hang, be suspended, or have lost the network: look for their processes"
        yield Finding("workers", WARNING, text, advice)
    if census.workers:
        slots = sum(report.slots for report in census.workers)
        busy = sum(len(report.running) for report in census.workers)
        text = f"{texts.count(len(census.workers), 'worker')} with {texts.count(slots, 'executor')}, {busy} at work"
        leaving = sum(report.draining for report in census.workers)
        yield Finding("workers", OK, f"{text}, {leaving} about to leave" if leaving else text)
    elif not census.silent:
        yield Finding("workers", WARNING, "there is none", "mr worker, on as many hosts as you like")
    if census.waiting_leases:
        yield Finding("jobs", WARNING, texts.waiting(census.waiting_leases), "mr worker")


def check_clocks(census: Census) -> Iterator[Finding]:
    """Hosts, not workers: those of one host have one clock."""
    worst: dict[str, Skew] = {}
    for report in census.workers:
        skew = census.skews[report.worker]
        if report.host not in worst or abs(skew.secs) > abs(worst[report.host].secs):
            worst[report.host] = skew
    wrong = {host: skew for host, skew in worst.items() if abs(skew.secs) - skew.within_secs > SKEW_SECS}
    for host, skew in sorted(wrong.items()):
        way = "ahead of" if skew.secs > 0 else "behind"
        text = f"that of {host} is {texts.secs(abs(skew.secs))} {way} ours"
        yield Finding(
            "clocks", WARNING, text, "times of jobs are wrong by as much, nothing else; NTP mends it"
        )
    if worst and not wrong:
        most = max(abs(skew.secs) + skew.within_secs for skew in worst.values())
        yield Finding("clocks", OK, f"{texts.count(len(worst), 'host')}, within {most:.2f} s of ours")


def check_versions(census: Census, version: str, tag: str, libraries: Mapping[str, str]) -> Iterator[Finding]:
    """Against ours: ``version`` of mapreduce, ``tag`` of the Python, ``libraries``."""
    if not census.workers:
        return
    others = _by(census, lambda report: "" if report.version == version else report.version)
    for other, names in others.items():
        text = f"{_who(names)} mapreduce {other}, and we {version}"
        yield Finding("versions", WARNING, text, "one version everywhere, unless you are just upgrading")
    pools = Counter((report.pool, report.tag) for report in census.workers)
    there = ", ".join(f"{pool} {its} ({number})" for (pool, its), number in sorted(pools.items()))
    if any(its == tag for _, its in pools):
        yield Finding("python", OK, f"pools and executors: {there}")
    else:
        text = f"no worker has executors of {tag}, our own Python: {there}"
        advice = "jobs from here wait, unless run with --interpreter any or a tag that is there"
        yield Finding("python", WARNING, text, advice)
    differs = False
    for library, ours in sorted(libraries.items()):
        theirs = _by(census, lambda report, name=library: _other(report, name, libraries[name]))
        for other, names in theirs.items():
            differs = True
            what = f"no {library}" if other == _ABSENT else f"{library} {other}"
            level = WARNING if library == "cloudpickle" or other == _ABSENT else NOTE
            yield Finding(
                "libraries", level, f"{_who(names)} {what}, and we {ours}", _NEEDED.get(library, "")
            )
    if not others and not differs:
        count = texts.count(len(libraries), "library", "libraries")
        yield Finding("versions", OK, f"mapreduce {version} and {count} are the same everywhere")


def _other(report: ev.WorkerReport, library: str, ours: str) -> str:
    theirs = report.libraries.get(library, _ABSENT)
    return "" if theirs == ours else theirs


def _by(census: Census, key: object) -> dict[str, list[str]]:
    """Names of workers by what is said of them; "" is left out."""
    assert callable(key)
    found: dict[str, list[str]] = defaultdict(list)
    for report in census.workers:
        if key(report):
            found[key(report)].append(report.worker)
    return dict(sorted(found.items()))


def _who(names: list[str]) -> str:
    shown = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
    return f"{shown} {'has' if len(names) == 1 else 'have'}"
