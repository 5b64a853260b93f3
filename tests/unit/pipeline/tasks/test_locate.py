"""Places of a phrase: by the words of the settled transcript, whatever its case, marks and script."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from pydantic import ValidationError
from support.hearings import Scripted, answer, hear

from pipeline.stitching import stitch
from pipeline.tasks.findings import Annotation, Findings, Part
from pipeline.tasks.grounding import read_places
from pipeline.tasks.locate import spoken_form
from pipeline.tasks.questions import HeardChunk
from pipeline.tasks.requests import validate_request

SECOND = 16_000


def find(
    phrase: str, *chunks: str, overlap: int = 0, language: str = "en", channels: Sequence[int] = ()
) -> Findings:
    """Look for a phrase in chunks that own ten seconds each and hear ``overlap`` seconds more on both sides."""
    parts = []
    for index, text in enumerate(chunks):
        owned = index * 10 * SECOND, (index + 1) * 10 * SECOND
        heard = max(0, owned[0] - overlap * SECOND), owned[1] + overlap * SECOND
        channel = channels[index] if channels else 0
        parsed = hear("locate", text, HeardChunk(heard[1] - heard[0]), phrase=phrase, language=language)
        parts.append(Part(channel, index, *owned, *heard, parsed=parsed))
    return stitch("locate", {"phrase": phrase, "language": language}, parts)


def places(findings: Findings) -> list[tuple[float, float]]:
    return [(one.start_sample / SECOND, one.end_sample / SECOND) for one in findings.annotations]


def only(findings: Findings) -> Annotation:
    (one,) = findings.annotations
    return one


def test_the_official_phrase_is_found_where_the_words_have_their_times() -> None:
    said = "the<|2.20|>middle<|2.70|>classes<|3.26|>and<|3.40|>"
    found = find("middle classes", said)
    assert places(found) == [(2.2, 3.26)]
    assert (only(found).label, only(found).text) == ("middle classes", "the middle classes and")
    assert found.summary is not None
    assert found.summary.data == {"count": 1}


def test_case_and_marks_do_not_matter() -> None:
    said = "Thank<|0.50|>you,<|1.00|>Shelley’s<|2.00|>'Fragment'!<|3.00|>"
    assert places(find("THANK, you", said)) == [(0.0, 1.0)]
    assert places(find("shelley's fragment", said)) == [(1.0, 3.0)]


def test_a_part_of_a_word_is_not_the_word() -> None:
    assert places(find("class", "classes<|1.00|>first-class<|2.00|>")) == [(1.0, 2.0)]


def test_every_place_is_found() -> None:
    said = "no<|0.50|>well<|1.00|>no<|1.50|>no<|2.00|>"
    assert places(find("no", said)) == [(0.0, 0.5), (1.0, 1.5), (1.5, 2.0)]
    assert find("yes", said).annotations == ()
    assert find("yes", said).summary is not None


def test_a_phrase_is_found_in_chinese_which_is_timed_by_character() -> None:
    said = "<|sil|><|0.54|>面<|0.86|>条<|1.17|>机<|1.46|>"
    assert places(find("面条机", said, language="zh")) == [(0.54, 1.46)]
    assert places(find("条 机", said, language="zh")) == [(0.86, 1.46)]


def test_words_of_both_scripts_stand_beside_each_other() -> None:
    assert spoken_form("AI技术 OK") == ("ai", "技", "术", "ok")
    said = "用<|0.50|>AI<|1.00|>技<|1.50|>术<|2.00|>"
    assert places(find("AI技术", said, language="zh")) == [(0.5, 2.0)]


def test_a_phrase_across_a_seam_is_found_once() -> None:
    left = "<|sil|><|9.00|>thank<|9.80|>you<|10.40|>"
    right = "<|sil|><|0.20|>thank<|0.80|>you<|1.40|>so<|2.00|>"  # heard from 9.0 on
    assert places(find("thank you", left, right, overlap=1)) == [(9.0, 10.4)]


def test_a_phrase_that_only_two_chunks_together_say_is_found() -> None:
    assert places(find("thank you", "<|sil|><|9.50|>thank<|10.00|>", "you<|0.40|>")) == [(9.5, 10.4)]


def test_words_far_apart_are_no_phrase() -> None:
    assert places(find("thank you", "thank<|1.00|><|sil|><|3.00|>you<|3.50|>")) == [(0.0, 3.5)]
    assert places(find("thank you", "thank<|1.00|><|sil|><|3.10|>you<|3.50|>")) == []
    assert places(find("thank you", "thank<|1.00|>", "", "", "you<|0.40|>")) == []


def test_channels_say_phrases_apart() -> None:
    said = find("thank you", "thank<|1.00|>", "you<|1.00|>", channels=(0, 1))
    assert said.annotations == ()


def test_a_place_is_as_sure_as_the_least_sure_of_its_words() -> None:
    text = "thank<|0.50|>you<|1.00|>"
    starts = (0, 5, 13, 16)
    said = answer(text, logprobs=(-0.1, -0.1, -2.0, -0.1), starts=starts)
    parsed = hear("locate", said, HeardChunk(32_000), phrase="thank you", language="en")
    sure = [word["confidence"] for word in parsed["words"]]
    part = Part(0, 0, 0, 32_000, 0, 32_000, parsed=parsed)
    assert sure[1] < sure[0]
    assert only(stitch("locate", {"phrase": "thank you"}, [part])).data["confidence"] == sure[1]


def test_in_a_language_without_word_times_the_utterance_is_found_and_says_why() -> None:
    chunk = HeardChunk(10 * SECOND, ((SECOND, 2 * SECOND), (4 * SECOND, 6 * SECOND)))
    model = Scripted(["Bis morgen!", "Ja, guten Tag Frau Meier"], {"<|de|>": 0.9})
    parsed = hear("locate", model, chunk, phrase="guten tag")
    assert (parsed["words"], parsed["flags"]) == ([], ["timestamps_unavailable"])
    part = Part(0, 0, 0, 10 * SECOND, 0, 10 * SECOND, parsed=parsed)
    found = only(stitch("locate", {"phrase": "guten tag"}, [part]))
    assert (found.start_sample, found.end_sample) == (4 * SECOND - 1_600, 6 * SECOND + 1_600)
    assert (found.text, found.flags) == ("Ja, guten Tag Frau Meier", ("timestamps_unavailable",))
    assert stitch("locate", {"phrase": "tag frau lehmann"}, [part]).annotations == ()


def test_a_phrase_is_found_in_japanese_which_has_no_spaces() -> None:
    chunk = HeardChunk(10 * SECOND, ((SECOND, 2 * SECOND), (4 * SECOND, 6 * SECOND)))
    said = ["こんにちは。", "本日はコーヒー・紅茶をありがとうございます"]
    parsed = hear("locate", Scripted(said, {"<|ja|>": 0.9}), chunk, phrase="ありがとう")
    part = Part(0, 0, 0, 10 * SECOND, 0, 10 * SECOND, parsed=parsed)

    def found(phrase: str) -> list[str]:
        return [one.text for one in stitch("locate", {"phrase": phrase}, [part]).annotations]

    assert found("ありがとう") == found("コーヒー 紅茶") == found("紅茶を") == [said[1]]
    assert found("ありがたい") == found("ヒコ") == []


def test_a_phrase_is_taken_for_a_transcripts_questions() -> None:
    """So that both together ask the model once."""
    located, transcribed = Scripted(["so<|0.50|>"]), Scripted(["so<|0.50|>"])
    assert hear("locate", located, phrase="so") == hear("transcribe", transcribed)
    assert located.asked == transcribed.asked


def test_what_chat_names_a_place_by_can_be_stored() -> None:
    said = answer(
        'The word "middle\x00 <|en|>classes" starts at <|2.33|> seconds and ends at <|3.26|> seconds.'
    )
    (place,) = read_places(said, 480_000)
    assert (place["text"], place["start_sample"], place["end_sample"]) == ("middle classes", 37_280, 52_160)


def test_a_phrase_is_read_as_questions_are() -> None:
    assert validate_request("locate", {"phrase": " thank\x00 \u200byou\n"})["phrase"] == "thank you"


@pytest.mark.parametrize("phrase", ["", "...", "'", "_", "\u200b", "a" * 201, "\ufb2c" * 100])
def test_a_phrase_without_a_word_or_too_long_is_refused(phrase: str) -> None:
    with pytest.raises(ValidationError) as caught:
        validate_request("locate", {"phrase": phrase})
    assert caught.value.errors()[0]["loc"] == ("phrase",)
