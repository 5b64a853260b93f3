"""Long recordings lose no word at their seams; the bench that says so counts right. Words are bursts of noise here."""

from __future__ import annotations

import string
from itertools import pairwise

import numpy as np
import pytest

from bench.long_hearing import cut_at_gaps, hear, said
from bench.longform import GOALS, table
from bench.longform_figures import WITH_TIMES, WORDS, cuts_in_speech, words_at_seams
from bench.longform_recordings import Recording, repeat
from bench.oracle import MISHEARD, Oracle
from bench.word_errors import Alignment, align, near_cuts
from pipeline.chunking import plan_chunks
from pipeline.speech_spans import WINDOW_SAMPLES, Probabilities, window_count
from pipeline.tasks.findings import Word
from pipeline.timeline import SAMPLING_RATE

LETTERS = list(string.ascii_letters)
SAID_AGAIN = 0.3  # how often a word is the one before it: such neighbours are hard to tell apart


def babble(seconds: float, seed: int, pause_share: float = 0.0) -> tuple[Recording, Probabilities]:
    """Words of 0.1 to 0.6 s, one behind the other, now and then a pause, and a speech map that knows them all."""
    chance = np.random.default_rng(seed)
    total = round(seconds * SAMPLING_RATE)
    samples = np.zeros(total, np.int16)
    likely = chance.uniform(0.0, 0.1, window_count(total))
    words, clock = [], 0
    while True:
        clock += int(chance.integers(8_000, 16_000)) if chance.random() < pause_share else 0
        end = clock + int(chance.integers(1_600, 9_600))
        if end > total:
            return Recording("babble", samples, tuple(words)), likely.astype(np.float32)
        is_again = bool(words) and chance.random() < SAID_AGAIN
        # Any letters, because too small a vocabulary is taken for a loop.
        text = words[-1].text if is_again else "".join(chance.choice(LETTERS, 5))
        words.append(Word(text, clock, end))
        samples[clock:end] = chance.integers(-3_000, 3_000, end - clock)
        spoken = slice(clock // WINDOW_SAMPLES, -(-end // WINDOW_SAMPLES))
        likely[spoken] = chance.uniform(0.5, 1.0, spoken.stop - spoken.start)
        clock = end + int(chance.integers(0, 640))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("pause_share", [0.0, 0.1])
def test_no_word_is_lost_or_doubled_where_a_cut_runs_through_speech(seed, pause_share):
    recording, likely = babble(90, seed, pause_share)
    chunks = plan_chunks(len(recording.samples), likely)
    assert len(cuts_in_speech(chunks)) == (0 if pause_share else len(chunks) - 1)
    figures = words_at_seams([(recording, chunks)])
    assert (figures["oracle_wrong"], figures["cut_wrong"], figures["jitter_wrong"]) == (0, 0, 0)
    assert (figures["bare_wrong"] > 0) == (pause_share == 0)
    assert figures["stitch_shift_ms"] <= GOALS["stitch_shift_ms"][2]


def test_the_oracle_says_what_it_hears_at_least_half_of():
    samples = np.zeros(SAMPLING_RATE, np.int16)
    recording = Recording(
        "three", samples, (Word("a", 0, 4_000), Word("b", 4_000, 8_000), Word("c", 8_000, 12_000))
    )
    assert Oracle(recording).words_in((2_000, 9_999)) == [("a", 0.0, 0.125), ("b", 0.125, 0.375)]
    heard = Oracle(recording, mishears_parts=True).words_in((2_000, 10_000))
    assert [text for text, _, _ in heard] == [MISHEARD, "b", MISHEARD]


def test_an_oracle_that_jitters_is_the_same_every_time_and_off_by_no_more_than_it_says():
    recording, _ = babble(20, seed=1)
    span = 0, len(recording.samples)
    heard = Oracle(recording, jitter_ms=60, seed=3).words_in(span)
    assert heard == Oracle(recording, jitter_ms=60, seed=3).words_in(span)
    assert heard != Oracle(recording, jitter_ms=60, seed=4).words_in(span)
    off = [
        abs(start - word.start_sample / SAMPLING_RATE)
        for word, (_, start, _) in zip(recording.words, heard, strict=True)
    ]
    assert 0.04 < max(off) <= 0.06


def test_the_oracle_refuses_samples_that_are_not_its_own():
    recording, _ = babble(2, seed=1)
    with pytest.raises(ValueError, match="its own recording's"):
        Oracle(recording).open(recording.samples.copy())


def test_cuts_at_gaps_run_through_no_word_and_still_tile():
    recording, likely = babble(120, seed=5)
    chunks = plan_chunks(len(recording.samples), likely)
    moved = cut_at_gaps(chunks, recording.words)
    assert (moved[0].owned_start, moved[-1].owned_end) == (0, len(recording.samples))
    for before, after in pairwise(moved):
        assert before.owned_end == after.owned_start == before.heard_end == after.heard_start
        assert not any(word.start_sample < before.owned_end < word.end_sample for word in recording.words)
    heard = hear(Oracle(recording), recording, moved, WITH_TIMES)
    assert said(heard.findings[WORDS].segments) == [word.text for word in recording.words]


def test_words_are_laid_beside_the_true_ones_with_the_fewest_errors():
    true = ["my", "number", "is", "seven", "seven", "two"]
    assert align(true, true) == Alignment((), tuple((k, k) for k in range(6)))
    assert len(align(true, ["my", "number", "is", "seven", "two"]).errors) == 1  # lost
    assert len(align(true, ["my", "number", "is", "seven", "seven", "seven", "two"]).errors) == 1  # doubled
    assert align(true, ["my", "number", "was", "seven", "seven", "two"]).errors == (2,)  # wrong
    assert align(true, []).errors == tuple(range(6))
    assert align(true, [*true, "two", "two"]).errors == (5, 5)


def test_errors_are_the_seams_when_their_word_is_near_a_cut():
    words = [Word("a", second * SAMPLING_RATE, second * SAMPLING_RATE + 8_000) for second in range(10)]
    assert near_cuts(words, [5 * SAMPLING_RATE]) == {4, 5, 6}


def test_a_repeated_recording_has_its_words_where_they_sound():
    recording, _ = babble(10, seed=2)
    long = repeat({"babble": recording}, 25)
    assert len(long.samples) == 25 * SAMPLING_RATE
    assert all(np.any(long.samples[word.start_sample : word.end_sample]) for word in long.words)
    assert len(long.words) > 2 * len(recording.words)


def test_a_figure_that_was_not_measured_is_not_in_the_table():
    lines = table({"oracle_wrong": 1, "words": 7}).splitlines()
    assert len(lines) == 2
    assert lines[0].endswith("short")
