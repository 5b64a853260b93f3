"""Segments: what was said, cut so that a reader takes it in at once, with its scores and flags."""

from __future__ import annotations

from hypothesis import given, settings
from support.parts import SECOND, part, recordings, said, texts

from pipeline.stitching import stitch
from pipeline.tasks.findings import Part, Segment, Summary
from pipeline.tasks.guards import compression_ratio
from pipeline.tasks.utterances import MAX_SEGMENT_CHARACTERS, MAX_SEGMENT_SAMPLES

WORDS = {"timestamps": "word"}


def test_text_is_one_segment_over_the_owned_speech_of_its_chunk() -> None:
    speech = ((0, 8_000), (20_000, 30_000), (40_000, 90_000))
    found = stitch("transcribe", {}, [part(1, 5, said("so it goes"), overlap=1, speech=speech)])
    assert found.segments == (Segment(0, 0, 20_000, 80_000, "so it goes", "en", (), -0.25, 0.9, 0.01),)


def test_text_without_a_speech_map_spans_the_chunk() -> None:
    (segment,) = stitch("transcribe", {}, [part(1, 5, said("yes"))]).segments
    assert (segment.start_sample, segment.end_sample) == (SECOND, 5 * SECOND)


def test_utterances_end_before_they_grow_too_long() -> None:
    slow = [("word", float(i), i + 0.9) for i in range(20)]
    found = stitch("transcribe", WORDS, [part(0, 20, said("", slow))]).segments
    assert [len(segment.words) for segment in found] == [15, 5]
    long = [("w" * 49, i * 0.1, i * 0.1 + 0.1) for i in range(8)]
    found = stitch("transcribe", WORDS, [part(0, 20, said("", long))]).segments
    assert [len(segment.text) for segment in found] == [199, 199]


def test_utterances_end_at_pauses_and_sentence_ends() -> None:
    words = [("so", 0.0, 0.5), ("it", 0.5, 1.0), ("goes.", 1.0, 1.5), ("well", 1.5, 2.0), ("then", 2.6, 3.0)]
    assert texts(stitch("transcribe", WORDS, [part(0, 10, said("", words))]).segments) == [
        "so it goes.",
        "well",
        "then",
    ]


def test_chinese_utterances_have_no_spaces() -> None:
    words = [("面", 0.0, 0.2), ("条", 0.2, 0.4)]
    (segment,) = stitch(
        "transcribe", {"language": "zh", **WORDS}, [part(0, 1, said("", words, language="zh"))]
    ).segments
    assert (segment.text, segment.language) == ("面条", "zh")


def test_flags_and_confidence_of_a_chunk_reach_its_segments() -> None:
    words = [("well", 0.0, 0.5), ("then", 2.0, 2.5)]
    segments = stitch("transcribe", WORDS, [part(0, 9, said("", words, ["cut_by_limit"]))]).segments
    assert [(s.flags, s.avg_logprob) for s in segments] == [(("cut_by_limit",), -0.25)] * 2


def test_text_whose_times_are_missing_stays_in_the_transcript() -> None:
    left, right = (
        part(0, 10, said("no times", flags=["missing_times"])),
        part(10, 20, said("", [("times", 1.0, 2.0)])),
    )
    assert texts(stitch("transcribe", WORDS, [left, right]).segments) == ["no times", "times"]


def test_chunks_that_were_skipped_or_silent_say_nothing() -> None:
    parts = [part(0, 10, None), part(10, 20, said("", flags=["empty"])), part(20, 30, said("here"))]
    assert texts(stitch("transcribe", {}, parts).segments) == ["here"]


def utterance(text: str, start: float, end: float, flags: tuple[str, ...] = ()) -> dict[str, object]:
    return {
        "start_sample": int(start * SECOND),
        "end_sample": int(end * SECOND),
        "text": text,
        "avg_logprob": -0.5,
        "compression_ratio": 0.8,
        "no_speech_prob": 0.02,
        "flags": list(flags),
    }


def test_an_utterance_is_a_segment_with_its_own_scores_and_flags_and_those_that_hold_for_all() -> None:
    spoken = [utterance("guten Tag", 0.5, 1.5, ("loop",)), utterance("ja", 3, 4)]
    flags = ["timestamps_unavailable", "loop"]
    parsed = said("guten Tag ja", flags=flags, language="de", utterances=spoken)
    assert stitch("transcribe", {}, [part(30, 40, parsed)]).segments == (
        Segment(
            0, 0, 488_000, 504_000, "guten Tag", "de", (), -0.5, 0.8, 0.02, ("timestamps_unavailable", "loop")
        ),
        Segment(0, 1, 528_000, 544_000, "ja", "de", (), -0.5, 0.8, 0.02, ("timestamps_unavailable",)),
    )


def test_an_utterance_lies_on_what_its_chunk_owns_of_it() -> None:
    spoken = [utterance("before", 0, 1), utterance("into", 0.5, 2), utterance("out", 10, 12)]
    parsed = said("before into out", utterances=spoken)
    segments = stitch("transcribe", {"timestamps": "segment"}, [part(10, 20, parsed, overlap=1)]).segments
    assert [(one.text, one.start_sample, one.end_sample) for one in segments] == [
        ("into", 160_000, 176_000),
        ("out", 304_000, 320_000),
    ]


def test_an_utterance_beside_words_with_times_stays_in_the_transcript() -> None:
    parsed = said("so well then", [("so", 0.0, 1.0)], utterances=[utterance("well then", 5, 10)])
    assert texts(stitch("transcribe", {}, [part(0, 10, parsed)]).segments) == ["so", "well then"]


def test_each_segment_of_words_has_its_own_compression_ratio() -> None:
    words = [("well", 0.0, 0.5), ("then", 2.0, 2.5)]
    segments = stitch("transcribe", {}, [part(0, 9, said("", words))]).segments
    assert [one.compression_ratio for one in segments] == [
        compression_ratio("well"),
        compression_ratio("then"),
    ]


def test_the_summary_counts_what_was_said_and_names_the_language_that_was_spoken_longest() -> None:
    english = part(0, 10, said("", [("so", 0.0, 1.0), ("well", 1.0, 2.0)]))
    german = part(10, 20, said("guten Tag zusammen", language="de"))
    assert stitch("transcribe", {}, [english, german]).summary == Summary(
        label="de",
        confidence=0.8333,
        data={
            "segments": 2,
            "words": 5,
            "spoken_ms": 12_000,
            "spoken_ms_by_language": {"de": 10_000, "en": 2_000},
        },
    )


def test_what_is_written_without_spaces_is_counted_by_character_with_times_or_without() -> None:
    timed = part(0, 10, said("", [("面", 0.0, 1.0), ("条", 1.0, 2.0)], language="zh"))
    plain = part(10, 20, said("用AI技术，好。", language="zh"))
    kana = part(20, 30, said("コーヒー・紅茶を、どうぞ。", language="ja"))
    spaced = part(30, 40, said("안녕 하세요", language="ko"))
    found = [stitch("transcribe", {}, [one]).summary.data["words"] for one in (timed, plain, kana, spaced)]
    assert found == [2, 5, 10, 2]


def test_a_recording_in_which_nobody_speaks_counts_nothing() -> None:
    summary = stitch("transcribe", {}, [part(0, 10, None)]).summary
    assert summary is not None
    assert (summary.label, summary.confidence, summary.data["words"]) == (None, None, 0)


@settings(deadline=None)  # a busy machine is not a defect
@given(recordings(jitter=0))
def test_segments_hold_their_words_and_stay_short(recording: tuple[list[Part], list[str]]) -> None:
    for segment in stitch("transcribe", WORDS, recording[0]).segments:
        assert segment.text.split() == [word.text for word in segment.words]
        assert segment.start_sample == segment.words[0].start_sample
        assert segment.end_sample == segment.words[-1].end_sample
        if len(segment.words) > 1:
            assert segment.end_sample - segment.start_sample <= MAX_SEGMENT_SAMPLES
            assert len(segment.text) <= MAX_SEGMENT_CHARACTERS
