"""Say what note sounds, how strong, and on which instrument."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pydantic import Field

from pipeline.tasks.findings import Findings, Part
from pipeline.tasks.gates import MUSIC_QUESTION, gate, is_open, probability_of_yes
from pipeline.tasks.items import annotate, as_label, item, join_equal, parsed_items, read_text, vote
from pipeline.tasks.parsed import Flag, Parsed, ending_flags
from pipeline.tasks.prompts import music_description_prompt, note_prompt
from pipeline.tasks.questions import HeardChunk, Hearing, Question, ask_patiently
from pipeline.tasks.task import Task, TaskOptions
from pipeline.tasks.text import readable
from qwen_audio.answers import Answer
from qwen_audio.tags import Prompt

MAX_NOTE_TOKENS = 40  # the official evaluation stops at 30
MAX_DESCRIPTION_TOKENS = 96
NO_NUMBER = 128  # what the official evaluation takes a missing pitch or velocity for
PITCH_NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
QUALITIES = (
    "dark", "distortion", "nonlinear_env", "bright", "fast_decay", "long_release", "tempo-synced", "reverb",
    "multiphonic", "percussive",
)  # fmt: skip
"""NSynth's qualities, in the official order."""

_PITCH = re.compile(r"<\|midi_pitch_(\d{1,3})\|>")
_VELOCITY = re.compile(r"<\|midi_velocity_(\d{1,3})\|>")
_INSTRUMENT = re.compile(r"<\|instrument\|>([^<]*)")
_SONIC = re.compile(r"<\|sonic\|>([^<]*)")


class MusicOptions(TaskOptions):
    """When to ask about music, and what."""

    always: bool = Field(False, description="Ask about every chunk, also where the model hears no music.")
    description: bool = Field(
        False, description="Ask for a sentence about the music too. Experimental: no prompt was published."
    )


class Music(Task[MusicOptions]):
    """A note per chunk with music.

    Parsed: ``items`` with ``data`` (``pitch``, ``velocity``, ``instrument``, ``qualities``), ``music_prob``, ``flags``.
    """

    name = "music"
    title = "Music"
    description = (
        "The instrument, MIDI pitch, velocity and qualities of a note, where the model hears music. It was trained on "
        "single notes of four seconds: this is no transcription of a score."
    )
    prompt_version = 1
    cost = "one step, and about 12 tokens a chunk with music"
    heard = "chunks with music"
    view = "notes"
    limits = {"answer_tokens": MAX_NOTE_TOKENS, "description_tokens": MAX_DESCRIPTION_TOKENS}  # noqa: RUF012  # never changed
    Options = MusicOptions

    def prompt(self, options: MusicOptions) -> Prompt:
        """Return the official MNA prompt."""
        return note_prompt()

    def applies(self, speech_samples: int, options: MusicOptions) -> bool:
        """Ask always."""
        return True

    def hear(self, chunk: HeardChunk, options: MusicOptions) -> Hearing:
        """Ask whether there is music, then what; the official MNA prompt."""
        (heard,) = yield [gate(MUSIC_QUESTION)]
        doubt = {"music_prob": probability_of_yes(heard)}
        if not options.always and not is_open(heard):
            return parsed_items([], **doubt)
        questions = [Question(note_prompt(), MAX_NOTE_TOKENS)]
        if options.description:
            questions.append(Question(music_description_prompt(), MAX_DESCRIPTION_TOKENS))
        answers = yield from ask_patiently(questions)
        window = (0, chunk.samples)
        items = [read_note(answers[0], chunk.samples)]
        for answer in answers[1:]:
            text, flags = read_text(answer)
            items.append(item(window, text, answer=answer, flags=flags, data={"description": True}))
        return parsed_items(items, **doubt)

    def merge(self, parts: Sequence[Part], options: MusicOptions) -> Findings:
        """Join equal neighbours; the recording's instrument is the one that lasted longest."""
        found = join_equal(annotate(self.name, parts))
        return Findings(annotations=tuple(found), summary=vote(found))


def read_note(answer: Answer, heard_samples: int) -> Parsed:
    """Return the item of a note in the official notation; a missing pitch or velocity is None."""
    data: dict[str, Any] = {
        "pitch": _number(_PITCH, answer.text),
        "velocity": _number(_VELOCITY, answer.text),
        "instrument": as_label(_text(_INSTRUMENT, answer.text)),
        "qualities": [one for one in map(as_label, _text(_SONIC, answer.text).split(",")) if one],
    }
    if data["pitch"] is None and data["velocity"] is None and data["instrument"] is None:
        text, flags = read_text(answer)
        if Flag.EMPTY not in flags:
            flags = list(dict.fromkeys([*flags, Flag.UNPARSED]))
        return item((0, heard_samples), text, answer=answer, flags=flags, data=data)
    label = data["instrument"]
    return item((0, heard_samples), _spell(data), label, answer=answer, flags=ending_flags(answer), data=data)


def pitch_name(pitch: int) -> str:
    """Return a MIDI pitch's name: 60 is C4."""
    return f"{PITCH_NAMES[pitch % 12]}{pitch // 12 - 1}"


def _number(pattern: re.Pattern[str], text: str) -> int | None:
    match = pattern.search(text)
    value = int(match[1]) if match else NO_NUMBER
    return value if value < NO_NUMBER else None


def _text(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    return readable(match[1]) if match else ""


def _spell(data: dict[str, Any]) -> str:
    parts = [data["instrument"] or "a note"]
    if data["pitch"] is not None:
        parts.append(f"{pitch_name(data['pitch'])} (MIDI {data['pitch']})")
    if data["velocity"] is not None:
        parts.append(f"velocity {data['velocity']}")
    return ", ".join([*parts, *data["qualities"]])
