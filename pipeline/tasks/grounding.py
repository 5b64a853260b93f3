"""Ask the Chat checkpoint where something is said, and check its answer against the word times of a transcript."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipeline.tasks.findings import SAMPLES_PER_SECOND, Word
from pipeline.tasks.parsed import Parsed
from pipeline.tasks.text import readable
from qwen_audio.answers import Answer

MAX_PLACES = 16
_PLACE = re.compile(
    r"(?:\"(?P<text>[^\"]{1,200})\"[^\"]{0,40}?)?starts? at <\|(?P<start>\d{1,2}\.\d\d)\|>"
    r".{0,40}?ends? at <\|(?P<end>\d{1,2}\.\d\d)\|>",
    re.DOTALL,
)


def grounding_question(what: str, *, is_kind: bool) -> str:
    """Return the official question: of a word or phrase, or of a kind of name such as "person name"."""
    wanted = what if is_kind else f'word "{what}"'
    return f"Find the start time and end time of the {wanted}"


def read_places(answer: Answer, heard_samples: int) -> list[Parsed]:
    """Return every place that an answer names, in samples from the heard start; those outside the clip are left out.

    The published form is: The word "middle classes" starts at <|2.33|> seconds and ends at <|3.26|> seconds.
    """
    places = []
    for match in _PLACE.finditer(answer.text):
        start, end = (round(float(match[name]) * SAMPLES_PER_SECOND) for name in ("start", "end"))
        if start < end and start < heard_samples:
            places.append(
                {
                    "text": readable(match["text"] or "") or None,
                    "start_sample": start,
                    "end_sample": min(end, heard_samples),
                }
            )
    return places[:MAX_PLACES]


def words_inside(words: Sequence[Word], start: int, end: int) -> list[Word]:
    """Return the words whose middles lie in a span."""
    return [word for word in words if start <= (word.start_sample + word.end_sample) // 2 < end]
