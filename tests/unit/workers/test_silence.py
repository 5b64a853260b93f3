"""A server that is away is logged once, now and then, and when it is back; not at every try."""

import logging

import pytest

from workers.silence import REMINDER_SECONDS, Silence


@pytest.fixture
def silence(clock):
    return Silence("the database", clock)


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.WARNING)
    return lambda: [record.getMessage() for record in caplog.records]


def test_many_tries_without_an_answer_are_said_once_and_then_now_and_then(silence, clock, said):
    for _ in range(50):
        silence.met("no work could be claimed", OSError("refused"))
    assert said() == ["no work could be claimed: the database does not answer (refused)"]
    clock.now += REMINDER_SECONDS
    for fact in ("no suspect could be looked for", "no work could be claimed"):
        silence.met(fact, OSError("refused"))
    assert said()[1:] == ["no suspect could be looked for: the database has not answered for 30 s (refused)"]


def test_the_end_is_said_once_and_another_silence_anew(silence, clock, said):
    silence.ended()
    assert said() == []
    silence.met("nothing", OSError("refused"))
    clock.now += 7
    silence.ended()
    silence.ended()
    assert said()[1:] == ["the database answers again, after 7 s"]
    silence.met("nothing", OSError("refused"))
    assert len(said()) == 3
