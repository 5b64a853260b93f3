"""A body that is all wrong is refused after a part of it: making its errors would hold everybody up."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from api.inputs import STEP_ITEMS
from api.submissions import Submission
from pipeline.tasks.requests import MOST_UNKNOWN
from storage.client_notes import InvalidNotes, check_metadata

ASKED = {"sources": ["s3://archive/tape.flac"], "tasks": ["caption"]}
_MANY = {f"k{i}": 1 for i in range(50_000)}


@pytest.mark.parametrize(
    ("change", "most_errors"),
    [
        ({"sources": [{"a": 1, "b": 1, "c": 1}] * 10_000}, 3 * STEP_ITEMS),
        ({"sources": [{"uri": "s3://archive/1", **_MANY}]}, MOST_UNKNOWN),
        ({"tasks": [{"task": "ask", "options": _MANY}] * 100}, 100 * (MOST_UNKNOWN + 1)),
        (_MANY, MOST_UNKNOWN),
    ],
    ids=["sources", "one source", "tasks", "fields"],
)
def test_errors_are_few(change, most_errors):
    with pytest.raises(ValidationError) as caught:
        Submission.model_validate({**ASKED, **change})

    assert 0 < caught.value.error_count() <= most_errors


def test_right_items_in_all_steps_are_taken_in_their_order():
    uris = [f"s3://archive/{i}" for i in range(10 * STEP_ITEMS + 1)]

    found = Submission.model_validate({**ASKED, "sources": uris})

    assert [source.uri for source in found.sources] == uris


def test_metadata_that_is_far_too_large_is_not_read_to_its_end():
    class Counted(list):
        read = 0

        def __iter__(self):
            for one in super().__iter__():
                self.read += 1
                yield one

    rows = [Counted([1] * 1_000) for _ in range(1_000)]
    with pytest.raises(InvalidNotes) as caught:
        check_metadata({"a": rows})

    assert caught.value.code == "metadata_too_large"
    assert sum(row.read for row in rows) < 20_000
