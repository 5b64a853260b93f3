"""Speech without a pause is heard in pieces that overlap, and each word is said once."""

from __future__ import annotations

from itertools import pairwise

import pytest
from support.hearings import answer, hear

from pipeline.tasks.findings import Word
from pipeline.tasks.overlaps import OVERLAP_SAMPLES, pieces, settle_windows
from pipeline.tasks.questions import HeardChunk, Question
from qwen_audio.answers import Answer

SECOND = 16_000


@pytest.mark.parametrize("seconds", [0.5, 9.0, 9.1, 11.0, 11.1, 29.9])
def test_pieces_cover_a_window_overlap_by_a_second_and_are_no_longer_than_the_model_follows(seconds) -> None:
    start, end = 3 * SECOND, 3 * SECOND + round(seconds * SECOND)
    found = pieces([(start, end)], 6 * SECOND)
    assert (found[0][0], found[-1][1]) == (start, end)
    assert all(last - first <= (9 if len(found) == 1 else 6) * SECOND + 1 for first, last in found)
    overlaps = [left[1] - right[0] for left, right in pairwise(found)]
    assert all(abs(overlap - OVERLAP_SAMPLES) <= 1 for overlap in overlaps)
    assert len(found) == (1 if seconds <= 9 else 2 if seconds <= 11 else 3 if seconds < 12 else 6)


def test_windows_that_do_not_overlap_keep_all_their_words() -> None:
    words = [[Word("a", 0, 10), Word("b", 80, 100)], [Word("c", 100, 120)]]
    assert settle_windows([(0, 100), (100, 200)], words) == [tuple(own) for own in words]


def said_by(words: list[tuple[str, float, float]]):
    """A model that says the words that lie in a window, whole ones only, with their times from its start."""

    def model(question: Question) -> Answer:
        if question.candidates:
            return Answer("", (), (), answer("").finish_reason, {"<|en|>": -0.01})
        start, end = question.window or (0, 30 * SECOND)
        inside = [
            (text, first * SECOND - start, last * SECOND - start)
            for text, first, last in words
            if first * SECOND >= start and last * SECOND <= end
        ]
        clock, text = 0.0, ""
        for word, first, last in inside:
            text += f"<|sil|><|{first / SECOND:.2f}|>" if first / SECOND > clock + 0.01 else ""
            text += f"{word}<|{last / SECOND:.2f}|>"
            clock = last / SECOND
        return answer(text or "<|sil|><|0.04|>")

    return model


def test_a_long_speech_is_heard_in_pieces_and_no_word_is_lost_or_doubled() -> None:
    words = [(f"w{number}", 0.4 * number, 0.4 * number + 0.36) for number in range(70)]
    chunk = HeardChunk(28 * SECOND, ((0, 28 * SECOND),), clip_samples=6 * SECOND)
    parsed = hear("transcribe", said_by(words), chunk, language="en")
    assert [word["text"] for word in parsed["words"]] == [word for word, _, _ in words]
    assert parsed["text"] == " ".join(word for word, _, _ in words)
    for word, (_, start, end) in zip(parsed["words"], words, strict=True):
        assert abs(word["start_sample"] - start * SECOND) <= 640
        assert abs(word["end_sample"] - end * SECOND) <= 640
