"""Cut a chunk's timed words into segments that a reader takes in at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline.tasks.findings import SAMPLES_PER_SECOND, Word
from pipeline.tasks.windows import PAUSE_SAMPLES

MAX_SEGMENT_SAMPLES = 15 * SAMPLES_PER_SECOND
MAX_SEGMENT_CHARACTERS = 200
SENTENCE_ENDS = tuple(".?!。？！…")


def utterances(words: Sequence[Word]) -> Iterator[list[Word]]:
    """Yield runs of words, cut at pauses, behind sentence ends and before a segment grows too long.

    Every word comes out once and in order; a single word longer than the limits is a run of its own.
    """
    run: list[Word] = []
    for word in words:
        if run and _ends_before(run, word):
            yield run
            run = []
        run.append(word)
    if run:
        yield run


def _ends_before(run: Sequence[Word], word: Word) -> bool:
    characters = sum(len(said.text) + 1 for said in run) + len(word.text)
    return (
        word.start_sample - run[-1].end_sample >= PAUSE_SAMPLES
        or run[-1].text.endswith(SENTENCE_ENDS)
        or word.end_sample - run[0].start_sample > MAX_SEGMENT_SAMPLES
        or characters > MAX_SEGMENT_CHARACTERS
    )
