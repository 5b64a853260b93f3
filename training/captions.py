"""Say in a sentence what a clip holds, and ask what has a closed answer: the texts that examples teach."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from training.clips import Clip
from training.synthesis import sounds
from training.synthesis.music import INSTRUMENTS

SILENCE = "it is quiet"
NOISE = "there is only noise"
SPEECH_EVENT, MUSIC_EVENT, NOISE_EVENT, SILENCE_EVENT = "Speech", "Music", "Noise", "Silence"
EVENT_SEPARATOR = ", "
LANGUAGE_NAMES = {
    "en": "",
    "de": " german",
    "fr": " french",
    "es": " spanish",
    "it": " italian",
    "zh": " chinese",
}
CLOSED_QUESTIONS: dict[str, Callable[[Clip], bool]] = {
    "is somebody speaking": lambda clip: bool(clip.speakers),
    "is there a human voice": lambda clip: bool(clip.speakers or clip.vocal),
    "is somebody laughing": lambda clip: clip.vocal == "laughter",
    "is somebody coughing": lambda clip: clip.vocal == "cough",
    "is there music": lambda clip: bool(clip.note),
    "is a woman speaking": lambda clip: "woman" in clip.speakers,
    "is a man speaking": lambda clip: "man" in clip.speakers,
    "is there rain": lambda clip: clip.ground == "rain",
    "is there a bell": lambda clip: "bell" in clip.events,
    "is there an alarm": lambda clip: "alarm" in clip.events,
    "is there a telephone": lambda clip: "telephone" in clip.events,
}
"""Questions that are answered by yes or no, and what makes the answer yes."""


def caption(clip: Clip) -> str:
    """Return the caption of a clip: surroundings, then who speaks, then what else sounds, in order."""
    parts = []
    if clip.speakers:
        parts.append(_speaking(clip))
    if clip.note:
        parts.append(f"{_article(clip.note['instrument'])} plays")
    if clip.vocal:
        parts.append(sounds.VOCALS[clip.vocal])
    parts += [sounds.EVENTS[event] for event in clip.events]
    happening = " and ".join(parts)
    if clip.ground:
        around = sounds.GROUNDS[clip.ground][0]
        return f"{around} while {happening}" if happening else around
    return happening or (NOISE if clip.is_noisy else SILENCE)


def _speaking(clip: Clip) -> str:
    people = sorted(set(clip.speakers))
    language = LANGUAGE_NAMES[clip.language or "en"]
    if len(people) == 2:
        return f"a man and a woman speak{language}"
    return f"a {people[0]} speaks{language}"


def _article(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def scene(clip: Clip) -> str:
    """Return the scene that the surroundings mean."""
    return sounds.GROUNDS[clip.ground][1] if clip.ground else sounds.NO_SCENE


def events(clip: Clip) -> str:
    """Name what sounds in AudioSet's terms: speech or music first, surroundings last."""
    names = []
    if clip.speakers:
        names.append(SPEECH_EVENT)
    if clip.note:
        names.append(MUSIC_EVENT)
    heard = (clip.vocal, *clip.events, clip.ground)
    names += [sounds.AUDIOSET[sound] for sound in heard if sound]
    return EVENT_SEPARATOR.join(names) or (NOISE_EVENT if clip.is_noisy else SILENCE_EVENT)


def answer(question: str, clip: Clip) -> str:
    """Answer a closed question truly."""
    return "yes" if CLOSED_QUESTIONS[question.rstrip("?")](clip) else "no"


def every_part() -> Sequence[str]:
    """List the texts that captions and scenes are put together from."""
    people = ["a man speaks", "a woman speaks", "a man and a woman speak"]
    parts = [
        SILENCE,
        NOISE,
        "while",
        sounds.NO_SCENE,
        *people,
        *sounds.VOCALS.values(),
        *sounds.EVENTS.values(),
    ]
    parts += [f"{_article(instrument)} plays" for instrument in INSTRUMENTS]
    parts += [name.strip() for name in LANGUAGE_NAMES.values() if name]
    return [*parts, *(text for text, _ in sounds.GROUNDS.values())]


def every_event() -> Sequence[str]:
    """List the sound events."""
    return [SPEECH_EVENT, MUSIC_EVENT, NOISE_EVENT, SILENCE_EVENT, *sounds.AUDIOSET.values()]


def every_question() -> Sequence[str]:
    """List the closed questions."""
    return list(CLOSED_QUESTIONS)
