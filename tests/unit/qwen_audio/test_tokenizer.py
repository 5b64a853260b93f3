import json
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_audio.errors import InvalidPrompt, InvalidVocabulary
from qwen_audio.tags import Prompt, Tag, TimeTag, UnknownTag
from qwen_audio.tokenizer import QwenAudioTokenizer, control_tokens, read_ranks

BYTES = {bytes([byte]): byte for byte in range(256)}
SPELLINGS = st.sampled_from(
    [*map(str, Tag), "<|0.00|>", "<|30.00|>", "<|30.01|>", "<|startoftranscription|>", "[[[AUDIO:modality]]]"]
)
VARIANTS = st.sampled_from(
    [
        str.upper,
        str.title,
        lambda text: text.replace("<", "＜").replace("|", "｜"),
        lambda text: unicodedata.normalize("NFD", text),
        lambda text: text.replace("|", "|\u200b"),
        lambda text: text[:-1] + "\u0338" + text[-1],
        lambda text: " ".join(text),
        lambda text: text * 2,
    ]
)
PIECES = st.one_of(st.text(), SPELLINGS, st.builds(lambda change, text: change(text), VARIANTS, SPELLINGS))
HOSTILE_TEXT = st.lists(PIECES, max_size=6).map("".join)


def test_the_control_tokens_are_the_official_ones_with_the_official_ids(golden, golden_tokenizer):
    official = json.loads((golden / "special_tokens.json").read_text())
    first = golden_tokenizer.control_ids.start
    assert {text: first + place for place, text in enumerate(control_tokens())} == official
    assert len(official) == 3522
    assert golden_tokenizer.vocabulary_size == 155_165


def test_every_tag_has_the_id_of_its_spelling(golden, golden_tokenizer):
    official = json.loads((golden / "special_tokens.json").read_text())
    tags = [*Tag, TimeTag(0), TimeTag(233), TimeTag(3000)]
    assert [golden_tokenizer.id_of(tag) for tag in tags] == [official[str(tag)] for tag in tags]


def test_control_tokens_follow_the_ranks_of_a_vocabulary_of_any_size():
    tokenizer = QwenAudioTokenizer(BYTES)
    assert tokenizer.id_of(Tag.END_OF_TEXT) == 256
    assert tokenizer.id_of(Tag.AUDIO_END) == 256 + 3522 - 1
    assert tokenizer.control_ids == range(256, 256 + 3522)


def test_recorded_texts_get_the_recorded_ids(golden, golden_tokenizer):
    cases = json.loads((golden / "tokenizer_cases.json").read_text())
    known = [case for case in cases if not _unknown(case["text"])]
    for case in known:
        assert golden_tokenizer.encode_template(case["text"]) == case["ids"], case["text"]
        assert golden_tokenizer.decode(case["ids"]) == case["decoded"]
        assert golden_tokenizer.decode(case["ids"], skip_special=True) == case["decoded_skip"]
    assert len(known) == len(cases) - 3


def test_a_recorded_text_without_tags_gets_the_same_ids_as_plain_text(golden, golden_tokenizer):
    cases = json.loads((golden / "tokenizer_cases.json").read_text())
    for case in cases:
        if all(id_ < golden_tokenizer.control_ids.start for id_ in case["ids"]):
            assert golden_tokenizer.encode(case["text"]) == case["ids"], case["text"]


def _unknown(text):
    return [tag for tag in re.findall(r"<\|.*?\|>", text) if tag not in control_tokens()]


@given(HOSTILE_TEXT)
def test_plain_text_never_yields_a_control_id(golden_tokenizer, text):
    assert all(id_ < golden_tokenizer.control_ids.start for id_ in golden_tokenizer.encode(text))


@given(HOSTILE_TEXT)
def test_a_prompt_holds_the_control_ids_of_its_tags_and_no_others(golden_tokenizer, text):
    prompt = Prompt((Tag.START_OF_ANALYSIS, Tag.QUESTION, text, TimeTag(54), Tag.ANSWER))
    control = [id_ for id_ in golden_tokenizer.encode_prompt(prompt) if id_ in golden_tokenizer.control_ids]
    assert control == [golden_tokenizer.id_of(part) for part in prompt.parts if not isinstance(part, str)]


@given(st.text())
def test_text_comes_back_from_its_ids_in_nfc(golden_tokenizer, text):
    assert golden_tokenizer.decode(golden_tokenizer.encode(text)) == unicodedata.normalize("NFC", text)


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb"])
def test_half_a_surrogate_pair_is_encoded_as_plain_text(golden_tokenizer, text):
    assert all(id_ < golden_tokenizer.control_ids.start for id_ in golden_tokenizer.encode(text))


@given(st.lists(st.integers(-5, 160_000)))
def test_decoding_never_raises_whatever_the_ids(golden_tokenizer, ids):
    assert isinstance(golden_tokenizer.decode(ids), str)


def test_ids_beyond_the_vocabulary_decode_to_nothing(golden_tokenizer):
    assert golden_tokenizer.decode([155_165, 155_946, -1, 10**9]) == ""


def test_a_template_expands_each_audio_place_to_its_span(golden_tokenizer):
    ids = golden_tokenizer.encode_template("<audio>a.wav</audio>\n<audio>b.wav</audio><|en|>", [2, 1])
    start, end, en = (golden_tokenizer.id_of(tag) for tag in (Tag.AUDIO_START, Tag.AUDIO_END, Tag.EN))
    placeholder = ids[1]
    line_end = golden_tokenizer.encode("\n")
    expected = [start, placeholder, placeholder, end, *line_end, start, placeholder, end, en]
    assert ids == expected
    assert golden_tokenizer.decode([placeholder]) == "[[[AUDIO:modality]]]"


@pytest.mark.parametrize("text", ["<|startoftranscription|><|en|>", "<|30.01|>", "<|extra_205|>", "<|EN|>"])
def test_a_template_with_an_unknown_tag_is_refused(golden_tokenizer, text):
    with pytest.raises(UnknownTag, match=re.escape(text.split(">")[0])):
        golden_tokenizer.encode_template(text)


@pytest.mark.parametrize("text", ["<audio>a.wav", "a.wav</audio>", "<audio>a.wav</audio>", "</audio><audio>"])
def test_a_template_whose_audio_places_do_not_match_the_clips_is_refused(golden_tokenizer, text):
    with pytest.raises(InvalidPrompt):
        golden_tokenizer.encode_template(text)


def test_a_vocabulary_without_every_byte_is_refused():
    with pytest.raises(InvalidVocabulary, match="0xff"):
        QwenAudioTokenizer({bytes([byte]): byte for byte in range(255)})


def test_a_vocabulary_with_a_gap_is_refused():
    with pytest.raises(InvalidVocabulary, match="gap"):
        QwenAudioTokenizer(BYTES | {b"ab": 257})


@pytest.mark.parametrize("line", ["YQ==", "YQ== one", "!!! 3", "YQ== 1 2"])
def test_a_damaged_vocabulary_file_is_refused_with_its_line(tmp_path, line):
    file = tmp_path / "qwen.tiktoken"
    file.write_text(f"Yg== 0\n{line}\n")
    with pytest.raises(InvalidVocabulary, match="line 2"):
        read_ranks(file)


def test_a_missing_vocabulary_file_is_named(tmp_path):
    with pytest.raises(InvalidVocabulary, match=r"qwen\.tiktoken"):
        QwenAudioTokenizer.from_pretrained(tmp_path)


def test_the_starts_of_ids_point_into_the_text(golden_tokenizer):
    ids = golden_tokenizer.encode_template("<|0.00|>hello world<|0.86|>, 你好")
    text, starts = golden_tokenizer.decode_in_step(ids)
    pieces = [text[start:end] for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]
    assert pieces == [golden_tokenizer.decode([id_]) for id_ in ids]
    assert pieces[:3] == ["<|0.00|>", "hello", " world"]


def test_a_character_that_is_cut_over_ids_belongs_to_each_of_them():
    tokenizer = QwenAudioTokenizer(BYTES)
    text, starts = tokenizer.decode_in_step("aé水𝄞b".encode())
    assert text == "aé水𝄞b"
    assert starts == (0, 1, 1, 2, 2, 2, 3, 3, 3, 3, 4)


def test_broken_bytes_are_counted_as_the_characters_that_they_become():
    tokenizer = QwenAudioTokenizer(BYTES)
    text, starts = tokenizer.decode_in_step(b"\xe6\xb0a\xff\xe6\xb0")
    assert text == "\ufffda\ufffd\ufffd"
    assert starts == (0, 0, 1, 2, 3, 3)


def test_ids_that_do_not_exist_point_at_what_follows(golden_tokenizer):
    (a,) = golden_tokenizer.encode("a")
    assert golden_tokenizer.decode_in_step([-1, a, 155_946, a]) == ("aa", (0, 0, 1, 1))


CUT = [b"\xe6\xb0", b"\xb4a", b"\xf0\x9d", b"\x84\x9eb", b"\xb4\xe6", b"ab"]


@pytest.fixture(scope="module")
def cutting_tokenizer():
    """Tokens that begin and end inside of characters."""
    return QwenAudioTokenizer({piece: rank for rank, piece in enumerate([*BYTES, *CUT])})


@given(ids=st.lists(st.one_of(st.integers(250, 263), st.sampled_from([0x61, 0xC3, 0xA9, 0xE6, 0xB0, 0xB4]))))
def test_decoding_in_step_gives_the_same_text_and_starts_that_never_go_back(cutting_tokenizer, ids):
    text, starts = cutting_tokenizer.decode_in_step(ids)
    assert text == cutting_tokenizer.decode(ids)
    assert list(starts) == sorted(starts)
    assert len(starts) == len(ids)
    assert all(0 <= start < len(text) for start in starts)
