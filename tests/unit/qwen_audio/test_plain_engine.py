"""What only the plain engine does: it batches branches, each with a prefix of its own."""

from concurrent.futures import wait

import pytest

from qwen_audio import decoding
from qwen_audio.plain_engine import PlainEngine
from qwen_audio.tags import Prompt, Tag

TRANSCRIBE = Prompt(
    (Tag.START_OF_TRANSCRIPT, Tag.EN, Tag.TRANSCRIBE, Tag.EN, Tag.NO_TIMESTAMPS, Tag.WITHOUT_ITN)
)
CAPTION = Prompt(
    (Tag.START_OF_ANALYSIS, Tag.UNKNOWN, Tag.CAPTION, Tag.EN, Tag.NO_TIMESTAMPS, Tag.CAPTION_CLOTHO)
)
QUESTION = Prompt((Tag.START_OF_ANALYSIS, Tag.EN, Tag.QUESTION, "Who is <|im_end|> it?", Tag.ANSWER))
SECONDS = 60  # the longest that any answer here may take


@pytest.fixture
def engine(tiny_model, tiny_tokenizer):
    with PlainEngine(tiny_model, tiny_tokenizer) as engine:
        yield engine


def test_branches_of_several_prefixes_share_a_batch_and_a_clip_is_encoded_once(
    engine, clip, monkeypatch, tiny_model
):
    sizes, encoded = [], []
    decode, encode = decoding.decode, tiny_model.encode_audio
    monkeypatch.setattr(decoding, "decode", lambda m, b, f: (sizes.append(len(b)), decode(m, b, f)))
    monkeypatch.setattr(
        tiny_model, "encode_audio", lambda mel, lengths: (encoded.append(len(mel)), encode(mel, lengths))[1]
    )
    monkeypatch.setattr("qwen_audio.plain_engine.GATHER_SECONDS", 0.5)
    prefixes = [engine.open(clip(name)) for name in ("syn_1s005.wav", "syn_3s217.wav")]
    wait([prefix.branch(prompt, 3) for prefix in prefixes for prompt in (TRANSCRIBE, CAPTION)], SECONDS)
    prefixes[0].branch(QUESTION, 3).result(SECONDS)
    assert sizes == [4, 1]
    assert encoded == [2]


def test_an_error_reaches_only_the_branch_that_causes_it(engine, clip, monkeypatch):
    monkeypatch.setattr("qwen_audio.plain_engine.GATHER_SECONDS", 0.5)
    decode = decoding.decode
    poisoned = engine.open(clip("syn_1s005.wav"))

    def failing(model, branches, finish):
        if any(branch.prefix is poisoned for branch in branches):
            raise RuntimeError("out of memory")
        decode(model, branches, finish)

    monkeypatch.setattr(decoding, "decode", failing)
    healthy = engine.open(clip("syn_3s217.wav"))
    good, bad = healthy.branch(TRANSCRIBE, 4), poisoned.branch(TRANSCRIBE, 4)
    with pytest.raises(RuntimeError, match="out of memory"):
        bad.result(SECONDS)
    assert good.result(SECONDS).ids
    assert healthy.branch(CAPTION, 4).result(SECONDS).ids  # the engine goes on


def test_a_branch_that_is_tried_again_after_half_an_answer_starts_anew(engine, clip, monkeypatch):
    monkeypatch.setattr("qwen_audio.plain_engine.GATHER_SECONDS", 0.5)
    prefix = engine.open(clip("syn_1s005.wav"))
    expected = prefix.branch(TRANSCRIBE, 8).result(SECONDS)
    decode = decoding.decode

    def failing_at_the_end(model, branches, finish):
        if len(branches) == 1:
            return decode(model, branches, finish)
        for branch in branches:
            branch.grow(65, -1.0)
        raise RuntimeError("out of memory")

    monkeypatch.setattr(decoding, "decode", failing_at_the_end)
    futures = [prefix.branch(prompt, 8) for prompt in (TRANSCRIBE, CAPTION)]
    assert futures[0].result(SECONDS).ids == expected.ids
    assert futures[0].result(SECONDS).logprobs == pytest.approx(expected.logprobs, abs=1e-4)
    assert futures[1].result(SECONDS).ids
