"""Answer as a model without faults would: an engine that knows every word of a recording and when it is said."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future

import numpy as np

from bench.longform_recordings import Recording
from pipeline.tasks.findings import Span
from pipeline.tasks.gates import VOICE_QUESTION, YES
from pipeline.tasks.targets import transcript, word_times
from pipeline.timeline import SAMPLE_BYTES, SAMPLING_RATE, Samples
from qwen_audio.answers import Answer, FinishReason
from qwen_audio.tags import Prompt, Tag, TimeTag

SURE, HARDLY = -0.01, -9.0  # log-probabilities
MISHEARD = "something"
NO_WORDS = (Tag.SILENCE, Tag.END_OF_TEXT)

TimedWord = tuple[str, float, float]  # text, start and end in seconds from the start of what is heard


class Oracle:
    """An engine for one recording; the clips that it opens are views of the recording's samples.

    With ``jitter_ms`` every hearing of a clip puts each word up to so much earlier or later, by the seed. With
    ``mishears_parts`` a word that the clip's edge cuts is heard as another one.
    """

    revision = "oracle"
    clip_samples = None

    def __init__(
        self, recording: Recording, jitter_ms: float = 0.0, seed: int = 0, *, mishears_parts: bool = False
    ) -> None:
        self._recording = recording
        self._jitter_seconds = jitter_ms / 1_000
        self._seed = seed
        self._mishears_parts = mishears_parts

    def open(self, samples: Samples) -> OraclePrefix:
        """Find where a clip lies; raises ``ValueError`` for samples that are not the recording's own."""
        whole = self._recording.samples
        start = (samples.ctypes.data - whole.ctypes.data) // SAMPLE_BYTES
        if not (0 <= start <= len(whole) - len(samples) and np.shares_memory(samples, whole)):
            raise ValueError("the oracle knows only views of its own recording's samples")
        span = start, start + len(samples)
        return OraclePrefix(self.words_in(span), len(samples) / SAMPLING_RATE)

    def open_parts(self, parts: Sequence[Prompt | Samples]) -> OraclePrefix:
        """Refuse: the oracle hears one clip and holds no conversations."""
        raise ValueError("the oracle hears one clip at a time")

    def words_in(self, span: Span) -> list[TimedWord]:
        """Return the words of which at least half lies in a span, cut off at its edges."""
        heard = []
        chance = np.random.default_rng([self._seed, *span])
        seconds = (span[1] - span[0]) / SAMPLING_RATE
        for word in self._recording.words:
            begin, end = max(word.start_sample, span[0]), min(word.end_sample, span[1])
            if 2 * (end - begin) < word.end_sample - word.start_sample or begin >= end:
                continue
            moved = chance.uniform(-self._jitter_seconds, self._jitter_seconds)
            times = (place / SAMPLING_RATE + moved for place in (begin - span[0], end - span[0]))
            first, last = (min(max(time, 0.0), seconds) for time in times)
            is_cut = end - begin < word.end_sample - word.start_sample
            heard.append((MISHEARD if is_cut and self._mishears_parts else word.text, first, last))
        return heard


class OraclePrefix:
    """What the oracle knows of one clip."""

    def __init__(self, words: Sequence[TimedWord], seconds: float) -> None:
        self._words = words
        self._seconds = seconds

    def branch(
        self,
        prompt: Prompt,
        limit: int,
        stop: Sequence[Tag] = (),
        deadline: float | None = None,
        score: Sequence[Tag | TimeTag | str] | None = None,
    ) -> Future[Answer]:
        """Answer at once."""
        future: Future[Answer] = Future()
        if score is None:
            future.set_result(Answer(self._text(prompt), (), (), FinishReason.STOP))
        else:
            scores = {str(one): SURE if self._is_true(prompt, one) else HARDLY for one in score}
            future.set_result(Answer("", (), (), FinishReason.SCORED, scores))
        return future

    def close(self) -> None:
        """Do nothing: there is no place to free."""

    def _text(self, prompt: Prompt) -> str:
        """Transcribe; of everything else the oracle knows nothing."""
        if Tag.TRANSCRIBE not in prompt.parts:
            return ""
        if Tag.TIMESTAMPS in prompt.parts:
            return word_times(self._words, self._seconds)
        return transcript(" ".join(text for text, _, _ in self._words))

    def _is_true(self, prompt: Prompt, candidate: Tag | TimeTag | str) -> bool:
        """Say whether a closed answer holds: all speech is English, and of sounds only the voice is known."""
        if candidate in NO_WORDS:
            return not self._words
        if isinstance(candidate, str):
            return (candidate == YES) == (VOICE_QUESTION in prompt.parts and bool(self._words))
        return candidate is Tag.EN
