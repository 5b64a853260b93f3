"""Whatever can be wrong with a recording has its advice."""

from __future__ import annotations

import pytest

import pipeline.errors
import storage.errors
import storage.manifests
from api.failure_advice import ADVICE, Retry, advise
from db.expanding import NO_OBJECTS, TooManyObjects
from workers.trouble import ERRNOS, DiskTooSmall


def leaves(module) -> list[type[Exception]]:
    return [
        one
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, Exception) and hasattr(one, "code")
    ]


@pytest.mark.parametrize("error", leaves(pipeline.errors) + leaves(storage.errors), ids=lambda one: one.code)
def test_every_code_of_a_recording_has_an_advice(error):
    assert error.code in ADVICE


@pytest.mark.parametrize(
    "code",
    [NO_OBJECTS, TooManyObjects.code, *(error.code for error in leaves(storage.manifests))],
)
def test_every_code_of_a_source_has_an_advice(code):
    assert code in ADVICE


@pytest.mark.parametrize("code", [DiskTooSmall.code, *sorted({*ERRNOS.values(), "no_permission"})])
def test_every_trouble_of_a_machine_has_an_advice(code):
    assert ADVICE[code].retry is Retry.HELPS


@pytest.mark.parametrize("code", ADVICE)
def test_who_is_told_to_try_again_is_not_told_that_it_is_of_no_use(code):
    advice = ADVICE[code]
    if "try again" in advice.action:
        assert advice.retry is not Retry.NO
    if advice.retry is Retry.AFTER_CHANGE:
        assert "try again" in advice.action


def test_an_unknown_code_gets_a_general_advice():
    assert advise("never_heard_of").action
    assert advise(None).action
