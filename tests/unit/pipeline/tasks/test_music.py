"""Music: the published notation of a note is read with any field missing, and asked for only where music sounds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.hearings import Scripted, answer, hear, recording

from pipeline.tasks import targets
from pipeline.tasks.music import QUALITIES, pitch_name, read_note
from pipeline.tasks.parsed import Parsed

PIANO = (
    "<|pitch|><|midi_pitch_60|><|velocity|><|midi_velocity_100|><|instrument|>keyboard<|sonic|>bright, reverb"
)


def read(text: str) -> Parsed:
    return read_note(answer(text), 64_000)


def test_the_official_notation_is_read() -> None:
    note = read(PIANO)
    assert note["data"] == {
        "pitch": 60,
        "velocity": 100,
        "instrument": "keyboard",
        "qualities": ["bright", "reverb"],
    }
    assert (note["label"], note["flags"]) == ("keyboard", [])
    assert note["text"] == "keyboard, C4 (MIDI 60), velocity 100, bright, reverb"


@pytest.mark.parametrize(
    ("text", "data", "says"),
    [
        ("<|pitch|><|midi_pitch_0|>", {"pitch": 0}, "a note, C-1 (MIDI 0)"),
        ("<|velocity|><|midi_velocity_127|>", {"velocity": 127}, "a note, velocity 127"),
        ("<|instrument|>guitar", {"instrument": "guitar"}, "guitar"),
        ("<|instrument|> Bass .<|sonic|>", {"instrument": "bass"}, "bass"),
        (
            "<|midi_pitch_69|><|sonic|>dark,, tempo-synced ,",
            {"pitch": 69, "qualities": ["dark", "tempo-synced"]},
            "a note, A4 (MIDI 69), dark, tempo-synced",
        ),
        ("<|midi_pitch_128|><|instrument|>organ", {"instrument": "organ"}, "organ"),  # no such pitch
        ("<|instrument|>gui\x00tar", {"instrument": "gui tar"}, "gui tar"),  # databases refuse NUL
        ("<|midi_pitch_12", {}, None),
        ("<|sonic|>dark", {"qualities": ["dark"]}, None),
        ("<|instrument|>—", {}, None),
    ],
)
def test_a_missing_field_is_none_and_what_is_left_is_read(
    text: str, data: dict[str, Any], says: str | None
) -> None:
    note = read(text)
    assert note["data"] == {"pitch": None, "velocity": None, "instrument": None, "qualities": []} | data
    if says is None:
        assert (note["label"], "unparsed" in note["flags"]) == (None, True)
    else:
        assert (note["text"], note["label"], note["flags"]) == (says, note["data"]["instrument"], [])


def test_an_answer_that_is_no_note_is_kept_as_text_and_flagged() -> None:
    note = read("The instrument is the piano.")
    assert (note["text"], note["label"], note["flags"]) == (
        "The instrument is the piano.",
        None,
        ["unparsed"],
    )
    assert read("")["flags"] == ["empty"]
    assert read("...")["flags"] == ["unparsed"]
    assert read("<|pitch|>")["flags"] == ["stray_tags", "unparsed"]


@settings(deadline=None, max_examples=50)  # a busy machine is not a defect
@given(
    st.sampled_from(["bass", "synth lead"]),
    st.integers(0, 127),
    st.integers(0, 127),
    st.lists(st.sampled_from(QUALITIES), unique=True),
)
def test_a_note_as_it_is_taught_comes_back_exactly(
    instrument: str, pitch: int, velocity: int, qualities: list[str]
) -> None:
    assert read(targets.note(instrument, pitch, velocity, qualities))["data"] == {
        "pitch": pitch,
        "velocity": velocity,
        "instrument": instrument,
        "qualities": qualities,
    }


def test_middle_c_is_c4() -> None:
    assert [pitch_name(pitch) for pitch in (0, 59, 60, 61, 127)] == ["C-1", "B3", "C4", "C#4", "G9"]


def test_where_the_model_hears_no_music_nothing_is_asked() -> None:
    model = Scripted([PIANO], {"yes": 0.4, "no": 0.6})
    assert hear("music", model) == {"items": [], "music_prob": 0.4, "flags": []}
    assert model.decoded == []


def test_where_it_hears_music_it_is_asked_for_the_note() -> None:
    model = Scripted([PIANO], {"yes": 0.6, "no": 0.4})
    parsed = hear("music", model)
    assert (parsed["items"], parsed["music_prob"]) == ([read_note(answer(PIANO), 480_000)], 0.6)
    assert len(model.decoded) == 1


def test_always_asks_behind_a_closed_gate_too() -> None:
    parsed = hear("music", Scripted([PIANO], {"no": 1.0}), always=True)
    assert (parsed["items"][0]["label"], parsed["music_prob"]) == ("keyboard", 0.0)


def test_a_description_is_a_finding_of_its_own() -> None:
    parsed = hear("music", Scripted([PIANO, "A slow piano piece."]), description=True)
    note, description = parsed["items"]
    assert note["label"] == "keyboard"
    assert (description["text"], description["label"], description["data"]) == (
        "A slow piano piece.",
        None,
        {"description": True},
    )


def test_a_note_that_lasts_is_one_finding_and_the_recording_names_its_instrument() -> None:
    findings = recording("music", PIANO, PIANO, "<|instrument|>bass")
    assert [(one.label, one.start_sample, one.end_sample) for one in findings.annotations] == [
        ("keyboard", 0, 320_000),
        ("bass", 320_000, 480_000),
    ]
    assert findings.annotations[0].data["pitch"] == 60
    assert findings.summary is not None
    assert findings.summary.label == "keyboard"
