"""Entries that a broker has confirmed and lost are logged again; those that came back are not."""

from __future__ import annotations

from mapreduce import events as ev
from mapreduce import wire
from mapreduce.coordination.journal import AGAIN_SECS, Journal

LOST = ev.Lost(1, 0, 0)


def test_what_does_not_come_back_is_logged_again_until_it_does() -> None:
    journal = Journal("log", "me/")
    first = journal.write(LOST)
    assert (first.to, wire.decode(first.head)[0]) == ("log", LOST)
    assert not journal.overdue(10 * AGAIN_SECS)  # the broker has not even taken it
    journal.confirmed(first.token, 0.0)
    assert not journal.overdue(AGAIN_SECS)
    [second] = journal.overdue(AGAIN_SECS + 1)
    assert second.head == first.head and not journal.overdue(2 * AGAIN_SECS)
    journal.confirmed(second.token, 100.0)
    journal.read(LOST)
    assert not journal.overdue(1000.0)


def test_what_came_back_before_its_confirm_is_not_waited_for() -> None:
    journal = Journal("log", "me/")
    publication = journal.write(LOST)
    journal.read(LOST)
    journal.confirmed(publication.token, 0.0)
    assert not journal.overdue(1000.0)


def test_what_was_returned_or_only_mentioned_is_not_waited_for() -> None:
    journal = Journal("log", "me/")
    journal.returned(journal.write(LOST).token)
    journal.confirmed(journal.mention(ev.Passed(1.0)).token, 0.0)
    assert not journal.overdue(1000.0)


def test_others_entries_are_none_of_its_business() -> None:
    journal = Journal("log", "me/")
    journal.write(LOST)
    journal.read(ev.Done(1, 0, 0, 0, 1, "w", {0: 1}))  # holds what cannot be hashed
    journal.read(ev.Present())
