"""Define the small world that the mini model knows: its English words, sentences, voices, and what is held out.

Sentences are templates over word classes. Whether a filled sentence is for training or for evaluation follows from
its text alone, so no run can mix the two up; some templates and some voices are never trained on at all.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from training.synthesis.espeak import Prosody

CLASSES: dict[str, str] = {
    "digit": "zero one two three four five six seven eight nine",
    "ten": "ten twenty thirty fifty",
    "day": "monday wednesday friday sunday today tomorrow",
    "name": "anna martin",
    "thing": "light music alarm",
    "opening": "door window",
    "place": "station library",
    "part": "morning evening",
    "state": "ready late broken",
    "thank": "hello goodbye sorry",
}
"""Words that a template's ``<class>`` stands for."""

HOMOPHONES = ("for", "to")
"""Words that sound like another of this world (four, two): sentences tell them apart, random strings cannot."""

TEMPLATES = (
    "hello this is <name>",
    "my name is <name>",
    "please call me back <day>",
    "please call me back in the <part>",
    "my number is <digit> <digit> <digit>",
    "the number is <digit> <digit> <digit> <digit>",
    "your order number is <digit> <digit> <digit>",
    "turn the <thing> on please",
    "turn the <thing> off",
    "please open the <opening>",
    "close the <opening> now",
    "the train is <state> today",
    "your book is <state>",
    "the <opening> is <state>",
    "i want to go to the <place>",
    "thank you and goodbye",
    "thank you <name>",
    "yes please <name>",
    "can you help me with my order",
    "can you help me with the <thing>",
    "we can come at <ten> in the <part>",
    "we come back <day>",
    "it is <ten> <digit> now",
    "stop the <thing> please",
    "no it is not <state>",
    "<thank> <name>",
    "wait for me at the <place>",
    "it is for <name>",
    "the rain will stop <day>",
    "i will call you <day>",
)
HELD_OUT_TEMPLATES = (
    "hello <name> your order is <state>",
    "i will wait at the <opening>",
    "the train to the <place> is <state>",
    "please turn the <thing> on in the <part>",
    "can i call you back <day>",
    "no thank you",
    "sorry i can not come <day>",
    "is my book at the <place>",
)
"""Sentences of which not one filling is trained on."""

PARTS: dict[str, tuple[str, ...]] = {
    "opener": (
        "hello", "hello <name>", "sorry", "sorry <name>", "thank you", "yes", "no", "please", "<name>", "goodbye",
    ),
    "who": ("i", "we", "you"),
    "may": ("can", "will", "can not", "will not", "want to"),
    "do": (
        "come", "come back", "go", "go back", "wait", "call you", "call me", "call you back", "call me back",
        "help you", "help me", "stop", "open the <opening>", "close the <opening>", "turn the <thing> on",
        "turn the <thing> off", "stop the <thing>", "open my book", "call <name>",
    ),
    "it": (
        "the train", "the book", "my book", "your book", "my order", "your order", "the <opening>", "the <thing>",
        "this", "it", "the rain", "the <place>", "my name", "your number", "the order", "this book", "this train",
    ),
    "where": ("at the <place>", "to the <place>", "at the <opening>", "in the <place>", "at this <opening>"),
    "when": ("<day>", "now", "in the <part>", "at <ten>", "at <digit>", "this <part>", "for <ten> <day>"),
    "core": (
        "<who> <may> <do>", "<who> <may> <do> <where>", "can <who> <do>", "will <who> <do> <where>",
        "can <who> not <do>", "<it> is <state>", "<it> is not <state>", "is <it> <state>", "<it> is <where>",
        "is <it> <where>", "<it> <where> is not <state>", "<it> <where> and <it>", "<do> <where>", "<do> with <who>",
        "<who> <do> <where>", "<it> and <it>", "wait for <it>", "<it> to <name>", "<it> <where> will <do>",
        "<it> is <digit> <digit> <digit>", "<digit> <digit> <digit> <digit>", "<ten> <digit> <digit>",
        "<it> is <ten> <digit>",
    ),
}  # fmt: skip
"""Parts that training sentences are put together from, beside the templates, so that each word is heard in many
neighbourhoods: a voice runs short words into what stands around them."""

COMBINED_SHARE = 0.6  # of the training sentences
MOST_WORDS = 9

HELD_OUT_SHARE = 8  # one filled sentence in so many is for evaluation

VARIANTS: dict[str, str] = {
    "f1": "woman",
    "f3": "woman",
    "f5": "woman",
    "linda": "woman",
    "steph": "woman",
    "m2": "man",
    "m4": "man",
    "m5": "man",
    "adam": "man",
    "john": "man",
}
"""espeak-ng's voice variants that training hears, and how a caption calls the speaker."""

NEW_VARIANTS: dict[str, str] = {"f4": "woman", "m3": "man"}
"""Variants that are only for evaluation; f2, m1 and m7, too, stay unheard: the bundled samples use them."""

ACCENTS = ("en-us", "en-gb-x-rp")

EMOTIONS = ("neutral", "happy", "sad", "angry")

_CLASS = re.compile(r"<(\w+)>")


@dataclass(frozen=True)
class Line:
    """Something to say: lower-case words, how, and by whom."""

    text: str
    language: str
    voice: str
    speaker: str  # man or woman
    emotion: str
    prosody: Prosody
    kind: str  # sentence, words or foreign


@cache
def words() -> tuple[str, ...]:
    """List every English word of the world, sorted."""
    spoken = " ".join((*CLASSES.values(), *TEMPLATES, *HELD_OUT_TEMPLATES))
    return tuple(sorted(set(_CLASS.sub("", spoken).split())))


@cache
def distinct_words() -> tuple[str, ...]:
    """List the words that can be told by their sound alone; random strings are made of these."""
    return tuple(word for word in words() if word not in HOMOPHONES)


def fill(template: str, chance: np.random.Generator) -> str:
    """Put a random word of its class, or a random part, filled in turn, into each place of a template."""

    def choose(match: re.Match[str]) -> str:
        name = match[1]
        return str(chance.choice(CLASSES[name].split())) if name in CLASSES else fill_any(PARTS[name], chance)

    return _CLASS.sub(choose, template)


def fill_any(templates: Sequence[str], chance: np.random.Generator) -> str:
    """Choose a template and fill it."""
    return fill(templates[int(chance.integers(len(templates)))], chance)


def combine(chance: np.random.Generator) -> str:
    """Put parts together into a sentence of training; none has a held-out sentence in it."""
    while True:
        parts = [fill_any(PARTS["core"], chance)]
        if chance.random() < 0.3:
            parts.insert(0, fill_any(PARTS["opener"], chance))
        if chance.random() < 0.4:
            parts.append(fill_any(PARTS["when"], chance))
        sentence = " ".join(parts)
        if len(sentence.split()) <= MOST_WORDS and not holds_held_out(sentence):
            return sentence


def holds_held_out(sentence: str) -> bool:
    """Say whether a sentence is for evaluation or has a filling of a held-out template, or a sample's words, in it."""
    padded = f" {sentence} "
    return (
        is_held_out(sentence)
        or _held_out_pattern().search(padded) is not None
        or any(f" {said} " in padded for said in sample_sentences())
    )


@cache
def _held_out_pattern() -> re.Pattern[str]:
    """Match the fillings of the held-out templates."""
    fillings = (
        _CLASS.sub(lambda match: f"(?:{CLASSES[match[1]].replace(' ', '|')})", template)
        for template in HELD_OUT_TEMPLATES
    )
    return re.compile(f" (?:{'|'.join(fillings)}) ")


def is_held_out(sentence: str) -> bool:
    """Say whether a filled sentence is only for evaluation: every eighth, and those of the bundled samples."""
    return zlib.crc32(sentence.encode()) % HELD_OUT_SHARE == 0 or sentence in sample_sentences()


@cache
def sample_sentences() -> frozenset[str]:
    """Return the sentences of the bundled samples, lower case and without marks: they are never trained on."""
    path = Path(__file__).resolve().parent.parent / "samples" / "samples.json"
    if not path.is_file():
        return frozenset()
    entries = json.loads(path.read_text(encoding="utf-8"))
    said = [line["text"] for entry in entries for line in entry["utterances"]]
    return frozenset(plain(part) for text in said for part in re.split(r"[.!?。]", text) if plain(part))


def plain(text: str) -> str:
    """Write a sentence as the model does: lower case, words only, one space between."""
    return " ".join(re.findall(r"[\w']+", text.lower()))


def draw_sentence(chance: np.random.Generator, *, held_out: bool) -> str:
    """Draw a sentence of training, or of evaluation: half of those from templates that were never trained on."""
    if not held_out and chance.random() < COMBINED_SHARE:
        return combine(chance)
    while True:
        unseen = held_out and chance.random() < 0.5
        sentence = fill(str(chance.choice(HELD_OUT_TEMPLATES if unseen else TEMPLATES)), chance)
        if unseen or is_held_out(sentence) == held_out:
            return sentence


def draw_words(chance: np.random.Generator, most: int = 5) -> str:
    """Draw a string of random words, which no language model can guess."""
    count = int(chance.integers(1, most + 1))
    return " ".join(chance.choice(distinct_words(), count))


def draw_prosody(emotion: str, chance: np.random.Generator) -> Prosody:
    """Draw how a voice says something in an emotion: speed, height and melody."""
    speed, pitch, melody = {
        "neutral": ((145, 178), (42, 58), (40, 60)),
        "happy": ((172, 200), (70, 88), (85, 100)),
        "sad": ((105, 128), (20, 34), (5, 22)),
        "angry": ((196, 225), (40, 58), (60, 90)),
    }[emotion]
    return Prosody(int(chance.integers(*speed)), int(chance.integers(*pitch)), int(chance.integers(*melody)))
