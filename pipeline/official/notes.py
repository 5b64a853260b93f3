"""Read and score music notes (MNA) as the official evaluation does.

Sources: ``eval_audio/evaluate_note_analysis.py`` and ``heareval_score.py`` of Qwen-Audio, and the definitions of
scikit-learn that they call.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from statistics import fmean

from pipeline.official.text import Pair

MISSING = 128  # what a pitch or a velocity that cannot be read counts as; MIDI's own end at 127
OCTAVE = 12  # semitones
QUALITIES = frozenset(
    (
        *("dark", "distortion", "nonlinear_env", "bright", "fast_decay"),
        *("long_release", "tempo-synced", "reverb", "multiphonic", "percussive"),
    )
)

_PITCH = re.compile(r"<\|pitch\|><\|midi_pitch_(.*?)\|>")
_VELOCITY = re.compile(r"<\|velocity\|><\|midi_velocity_(.*?)\|>")
_INSTRUMENT = re.compile(r"<\|instrument\|>([^<\n]*)")
_SONIC = re.compile(r"<\|sonic\|>([^<\n]*)")


@dataclass(frozen=True)
class Note:
    """What an answer says about a note; a missing number is ``MISSING``, a missing text is empty."""

    pitch: int
    velocity: int
    instrument: str
    qualities: tuple[str, ...]


def read_note(text: str) -> Note:
    """Return the note in an answer; a quality that is none of the ten does not count."""
    sonic = _SONIC.search(text)
    instrument = _INSTRUMENT.search(text)
    return Note(
        _number(_PITCH.search(text)),
        _number(_VELOCITY.search(text)),
        instrument[1] if instrument else "",
        tuple(one for one in (sonic[1] if sonic else "").split(", ") if one in QUALITIES),
    )


def _number(match: re.Match[str] | None) -> int:
    try:
        return int(match[1]) if match else MISSING
    except ValueError:
        return MISSING


def score_notes(pairs: Sequence[Pair]) -> dict[str, float | None]:
    """Return the figures of predictions and truths, at least one pair.

    ``chroma_accuracy`` is the official one, which numbers the pitches that occur, missing ones too, and compares these
    numbers modulo 12: it is the share of notes that are right but for the octave only while the pitches that occur
    have no gap. ``chroma_accuracy_of_pitches`` compares the pitches themselves and takes a missing one for wrong.
    """
    notes = [(read_note(prediction), read_note(truth)) for prediction, truth in pairs]
    numbers = {
        pitch: number
        for number, pitch in enumerate(sorted({side.pitch for sides in notes for side in sides}))
    }
    return {
        "instrument_accuracy": fmean(said.instrument == meant.instrument for said, meant in notes),
        "velocity_accuracy": fmean(said.velocity == meant.velocity for said, meant in notes),
        "pitch_top1_accuracy": fmean(said.pitch == meant.pitch for said, meant in notes),
        "chroma_accuracy": fmean(
            numbers[said.pitch] % OCTAVE == numbers[meant.pitch] % OCTAVE for said, meant in notes
        ),
        "chroma_accuracy_of_pitches": fmean(
            MISSING not in (said.pitch, meant.pitch) and said.pitch % OCTAVE == meant.pitch % OCTAVE
            for said, meant in notes
        ),
        "qualities_map": macro_average_precision(
            [meant.qualities for _, meant in notes], [said.qualities for said, _ in notes]
        ),
    }


def macro_average_precision(
    truths: Sequence[Collection[str]], found: Sequence[Collection[str]]
) -> float | None:
    """Average over labels the average precision of saying them, yes or no; None where there is no label.

    The labels are those that occur in a truth or an answer, as scikit-learn's ``MultiLabelBinarizer`` finds them.
    """
    labels = sorted(set().union(*truths, *found))
    precisions = [
        _average_precision([label in truth for truth in truths], [label in one for one in found])
        for label in labels
    ]
    return fmean(precisions) if precisions else None


def _average_precision(truth: Sequence[bool], found: Sequence[bool]) -> float:
    """Sum precision over the steps of recall. Scores of 0 and 1 have two: what was found, then everything.

    Where nothing is true it is 0, as in scikit-learn since 1.1; before that it was not a number.
    """
    positives, named = sum(truth), sum(found)
    if not positives:
        return 0.0
    hits = sum(one and other for one, other in zip(truth, found, strict=True))
    recall = hits / positives
    precision = hits / named if named else 0.0
    return recall * precision + (1 - recall) * positives / len(truth)
