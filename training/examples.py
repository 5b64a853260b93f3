"""Turn a clip into an example: its mel and several branches, each a prompt and its true answer.

Prompts come from ``pipeline.tasks``, as the product asks them; answers from ``pipeline.tasks.targets``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.tasks import prompts, targets
from pipeline.tasks.caption import Caption, CaptionOptions
from pipeline.tasks.emotion import Emotion, EmotionOptions
from pipeline.tasks.transcribe import LANGUAGES_WITH_WORD_TIMES, Transcribe, TranscribeOptions
from qwen_audio.features import audio_tokens
from qwen_audio.prefix import SPAN_ENDS
from qwen_audio.tags import Prompt, Tag, language_tag
from qwen_audio.tokenizer import QwenAudioTokenizer
from training import captions
from training.clips import FRAME_SECONDS, Clip
from training.tracks import IGNORED, track_labels

_TAG = re.compile(r"(<\|.*?\|>)")
STYLES: tuple[Literal["clotho", "audiocaps", "plain"], ...] = ("clotho", "clotho", "audiocaps", "plain")


@dataclass(frozen=True)
class Branch:
    """One prompt and its true answer, in the official notation; ``language`` is what should follow the first tag."""

    task: str
    prompt: Prompt
    answer: str
    language: Tag | None = None


@dataclass(frozen=True)
class Shares:
    """How often an example asks for each task; a transcript is always asked for, in at least one of two forms."""

    word_times: float = 0.8
    transcript: float = 0.5
    emotion: float = 0.45
    caption: float = 0.4
    scene: float = 0.3
    question: float = 0.25
    events: float = 0.25
    speaker: float = 0.2


@dataclass
class Example:
    """What a batch is made of.

    ``mel`` (frames, 80); ``ids``, ``segments`` and ``targets`` (branch tokens,), where a segment is the number of the
    branch from 1, and ``offsets`` the places behind the audio; ``phonemes`` per 20 ms and ``tracks``
    (tracks, tokens) per 40 ms hold labels or ``IGNORED``.
    """

    mel: NDArray[np.float32] = field(repr=False)
    ids: NDArray[np.int64]
    targets: NDArray[np.int64]
    segments: NDArray[np.int64]
    offsets: NDArray[np.int64]
    phonemes: NDArray[np.int64]
    tracks: NDArray[np.int64]

    @property
    def span(self) -> int:
        """How many rows the audio takes, its ends included."""
        return audio_tokens(len(self.mel)) + SPAN_ENDS


def draw_branches(clip: Clip, shares: Shares, chance: np.random.Generator) -> list[Branch]:
    """Draw what a clip is asked."""
    branches = _transcripts(clip, shares, chance)
    language = clip.language or "en"
    is_sound = not clip.speakers
    if clip.emotion and chance.random() < shares.emotion:
        branches.append(emotion_branch(clip))
    if chance.random() < (0.9 if is_sound else shares.caption):
        branches.append(caption_branch(clip, STYLES[int(chance.integers(len(STYLES)))]))
    if chance.random() < (0.7 if is_sound else shares.scene):
        branches.append(Branch("scene", prompts.scene_prompt(), captions.scene(clip)))
    if chance.random() < (0.5 if is_sound else shares.events):
        branches.append(events_branch(clip))
    if len(set(clip.speakers)) == 1 and chance.random() < shares.speaker:
        branches.append(speaker_branch(clip))
    if chance.random() < shares.question:
        question = _draw_question(clip, chance)
        branches.append(
            Branch("question", prompts.question_prompt(question, language), captions.answer(question, clip))
        )
    if clip.vocal:
        branches.append(Branch("vocal", prompts.vocal_prompt(), clip.vocal))
    if clip.note:
        branches.append(note_branch(clip))
    return branches


def _transcripts(clip: Clip, shares: Shares, chance: np.random.Generator) -> list[Branch]:
    language = clip.language or "en"
    timed = chance.random() < shares.word_times and language in LANGUAGES_WITH_WORD_TIMES
    branches = [word_times_branch(clip)] if timed else []
    if not timed or chance.random() < shares.transcript:
        branches.append(transcript_branch(clip))
    return branches


def word_times_branch(clip: Clip) -> Branch:
    """Ask for words with times; in a language that the mini world lacks, as for silence, there are none."""
    answer = targets.word_times(clip.timed_words, clip.frames * FRAME_SECONDS)
    return Branch("word_times", _transcribe_prompt(clip.language or "en", "word"), answer, _language(clip))


def transcript_branch(clip: Clip) -> Branch:
    """Ask for the text alone."""
    prompt = _transcribe_prompt(clip.language or "en", "none")
    return Branch("transcript", prompt, targets.transcript(clip.text), _language(clip))


@cache
def _transcribe_prompt(language: str, timestamps: str) -> Prompt:
    options = TranscribeOptions.model_validate({"language": language, "timestamps": timestamps})
    return Transcribe().prompt(options)


def _language(clip: Clip) -> Tag:
    return language_tag(clip.language) if clip.language else Tag.UNKNOWN


def emotion_branch(clip: Clip) -> Branch:
    """Ask for the emotion of the voice."""
    options = EmotionOptions.model_validate({"language": clip.language or "en"})
    return Branch("emotion", Emotion().prompt(options), clip.emotion or "neutral")


def caption_branch(clip: Clip, style: Literal["clotho", "audiocaps", "plain"] = "clotho") -> Branch:
    """Ask for a caption; the mini world says the same in every style."""
    return Branch("caption", Caption().prompt(CaptionOptions(style=style)), captions.caption(clip))


def events_branch(clip: Clip) -> Branch:
    """Ask for sound events."""
    return Branch("events", prompts.events_prompt(), captions.events(clip))


def speaker_branch(clip: Clip) -> Branch:
    """Ask whether a woman or a man speaks."""
    return Branch("speaker", prompts.speaker_prompt(clip.language or "en"), clip.speakers[0])


def note_branch(clip: Clip) -> Branch:
    """Ask what note sounds."""
    note = clip.note or {}
    answer = targets.note(note["instrument"], note["pitch"], note["velocity"], note["qualities"])
    return Branch("note", prompts.note_prompt(), answer)


def _draw_question(clip: Clip, chance: np.random.Generator) -> str:
    """Draw a question so that yes and no come about equally often, with its mark half of the time."""
    wanted = "yes" if chance.random() < 0.5 else "no"
    questions = [
        question for question in captions.every_question() if captions.answer(question, clip) == wanted
    ]
    question = str(chance.choice(questions or list(captions.every_question())))
    return question + "?" if chance.random() < 0.5 else question


@dataclass(frozen=True)
class Pair:
    """A prompt and its answer in ids; ``language`` is the id that should follow the prompt's first."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]
    language: int | None = None


def encode(clip: Clip, branches: list[Branch], tokenizer: QwenAudioTokenizer) -> Example:
    """Turn a clip and its branches into arrays."""
    assert clip.mel is not None
    pairs = [
        Pair(
            tuple(tokenizer.encode_prompt(branch.prompt)),
            tuple(encode_answer(branch.answer, tokenizer)),
            None if branch.language is None else tokenizer.id_of(branch.language),
        )
        for branch in branches
    ]
    return pack(clip.mel, pairs, tokenizer, _phoneme_labels(clip), track_labels(clip))


def pack(
    mel: NDArray[np.float32],
    pairs: list[Pair],
    tokenizer: QwenAudioTokenizer,
    phonemes: NDArray[np.int64],
    tracks: NDArray[np.int64],
) -> Example:
    """Lay branches behind each other; each answer is followed by the end of text, which is learned too."""
    ids: list[int] = []
    goals: list[int] = []
    segments: list[int] = []
    offsets: list[int] = []
    end = tokenizer.id_of(Tag.END_OF_TEXT)
    for number, pair in enumerate(pairs, start=1):
        places = len(pair.prompt) + len(pair.answer)
        first = [IGNORED] * (len(pair.prompt) - 1)
        if pair.language is not None:
            first = [pair.language, *first[1:]]
        ids += [*pair.prompt, *pair.answer]
        goals += [*first, *pair.answer, end]
        segments += [number] * places
        offsets += range(places)
    return Example(
        mel, np.array(ids), np.array(goals), np.array(segments), np.array(offsets), phonemes, tracks
    )


def encode_answer(answer: str, tokenizer: QwenAudioTokenizer) -> list[int]:
    """Encode an answer in the official notation; the pieces between control tokens come again and again."""
    return [id_ for piece in _TAG.split(answer) if piece for id_ in _encode_piece(piece, tokenizer)]


@lru_cache(maxsize=20_000)
def _encode_piece(piece: str, tokenizer: QwenAudioTokenizer) -> tuple[int, ...]:
    return tuple(tokenizer.encode_template(piece))


def _phoneme_labels(clip: Clip) -> NDArray[np.int64]:
    labels = np.zeros(clip.frames // 2, np.int64)
    if clip.language not in (None, "en"):
        labels[:] = IGNORED
    elif len(clip.phonemes):
        labels[:] = clip.phonemes[: 2 * len(labels) : 2]
    return labels
