"""The fast engine gives what the plain one gives, whoever shares the prefix, the batch and the room."""

import random
import threading
import time
from dataclasses import replace

import pytest
import torch
from support.recompute import recompute

from qwen_audio.engine import Engine
from qwen_audio.features import audio_tokens, mel_frames
from qwen_audio.modeling import QwenAudioForConditionalGeneration
from qwen_audio.plain_engine import PlainEngine
from qwen_audio.tags import Prompt, Tag, TimeTag
from qwen_audio.tuning import CPU, GPU, Tuning

TRANSCRIBE = Prompt(
    (Tag.START_OF_TRANSCRIPT, Tag.EN, Tag.TRANSCRIBE, Tag.EN, Tag.NO_TIMESTAMPS, Tag.WITHOUT_ITN)
)
WORDS = Prompt((Tag.START_OF_TRANSCRIPT, Tag.EN, Tag.TRANSCRIBE, Tag.EN, Tag.TIMESTAMPS, TimeTag(0)))
CAPTION = Prompt(
    (Tag.START_OF_ANALYSIS, Tag.UNKNOWN, Tag.CAPTION, Tag.EN, Tag.NO_TIMESTAMPS, Tag.CAPTION_CLOTHO)
)
SCENE = Prompt((Tag.START_OF_ANALYSIS, Tag.UNKNOWN, Tag.KEYWORD, Tag.EN, Tag.NO_TIMESTAMPS, Tag.SCENE))
QUESTION = Prompt((Tag.START_OF_ANALYSIS, Tag.EN, Tag.QUESTION, "Who is <|im_end|> it?", Tag.ANSWER))
PROMPTS = (TRANSCRIBE, WORDS, CAPTION, SCENE, QUESTION)
LABELS = [Tag.EN, Tag.ZH, TimeTag(33), "happy", "sad", "sad and long", "sad and short"]
NAMES = ("tiny_480.wav", "syn_30s.wav", "syn_1s005.wav", "syn_3s217.wav", "syn_8s.wav")
SECONDS = 60
SMALL_STEPS = Tuning(step_positions=1, call_positions=1, call_frames=1)
FULL_ROOMS = Tuning(cells=790, long_rooms=2)  # a clip of 30 s leaves 38 cells, fewer than five branches want
STATIC = Tuning(decode="static", device_features=True)
LARGE_CALLS = replace(GPU, call_positions=1_600, call_frames=9_000)  # so that some prefixes go alone


@pytest.fixture(scope="module", params=["tiny", "golden", "mini"])
def checkpoint(request):
    """A model, its tokenizer, and what the plain engine answers to every prompt about every clip."""
    model = request.getfixturevalue(f"{request.param}_model")
    tokenizer = request.getfixturevalue(f"{request.param}_tokenizer")
    clip = request.getfixturevalue("clip")
    names, prompts = (NAMES[1:3], PROMPTS[1:4]) if request.param == "golden" else (NAMES, PROMPTS)
    asks = [(name, prompt) for name in names for prompt in prompts]
    limits = dict(zip(asks, (3, 30, 7, 1, 18, 30, 12) * 4, strict=False))  # mixed lengths
    expected = {}
    with PlainEngine(model, tokenizer) as plain:
        prefixes = {name: plain.open(clip(name)) for name in names}
        futures = {ask: prefixes[ask[0]].branch(ask[1], limits[ask]) for ask in asks}
        scored = {name: prefix.branch(TRANSCRIBE, 1, score=LABELS) for name, prefix in prefixes.items()}
        expected = {ask: future.result(SECONDS) for ask, future in futures.items()}
        scores = {name: future.result(SECONDS).scores for name, future in scored.items()}
    return model, tokenizer, limits, expected, scores


def _same(answer, expected):
    assert answer.ids == expected.ids
    assert answer.finish_reason is expected.finish_reason
    assert answer.logprobs == pytest.approx(expected.logprobs, abs=2e-4)


@pytest.mark.parametrize("tuning", [CPU, GPU, LARGE_CALLS, SMALL_STEPS, FULL_ROOMS, STATIC])
def test_every_branch_gets_what_the_plain_engine_gives_in_any_batch_and_order(checkpoint, clip, tuning):
    model, tokenizer, limits, expected, scores = checkpoint
    with Engine(model, tokenizer, tuning=tuning) as engine:
        for seed in range(2):
            asks = list(expected)
            random.Random(seed).shuffle(asks)
            prefixes = {name: engine.open(clip(name)) for name in dict(asks)}
            scored = {name: prefix.branch(TRANSCRIBE, 1, score=LABELS) for name, prefix in prefixes.items()}
            futures = {ask: prefixes[ask[0]].branch(ask[1], limits[ask]) for ask in asks}
            for ask, future in futures.items():
                _same(future.result(SECONDS), expected[ask])
            for name, future in scored.items():
                assert future.result(SECONDS).scores == pytest.approx(scores[name], abs=1e-3)
            for prefix in prefixes.values():
                prefix.close()


def test_a_branch_alone_gets_what_it_gets_in_company(checkpoint, clip):
    model, tokenizer, limits, expected, _ = checkpoint
    with Engine(model, tokenizer, places=1) as engine:
        for (name, prompt), answer in expected.items():
            with engine.open(clip(name)) as prefix:
                _same(prefix.branch(prompt, limits[name, prompt]).result(SECONDS), answer)


def test_late_branches_fork_from_the_kept_prefix_without_encoding_or_computing_it_again(checkpoint, clip):
    model, tokenizer, limits, expected, scores = checkpoint
    with Engine(model, tokenizer) as engine:
        prefixes = {name: engine.open(clip(name)) for name in dict(expected.keys())}
        for prompt in dict.fromkeys(prompt for _, prompt in expected):
            futures = {name: prefix.branch(prompt, limits[name, prompt]) for name, prefix in prefixes.items()}
            for name, future in futures.items():
                _same(future.result(SECONDS), expected[name, prompt])
        late = prefixes["syn_30s.wav"].branch(TRANSCRIBE, 1, score=LABELS).result(SECONDS)
        assert late.scores == pytest.approx(scores["syn_30s.wav"], abs=1e-3)
        metrics = engine.metrics()
    positions = sum(prefix.positions for prefix in prefixes.values())
    assert (metrics.encodes, metrics.prefills, metrics.refills) == (len(prefixes), len(prefixes), 0)
    assert metrics.prefilled_positions == positions
    rounds = len(expected) // len(prefixes)
    assert metrics.reused_positions == positions * (rounds - 1) + prefixes["syn_30s.wav"].positions


def test_the_bundled_checkpoint_answers_as_without_any_cache(mini_model, mini_tokenizer, clip):
    stop = [mini_tokenizer.id_of(Tag.END_OF_TEXT)]
    with Engine(mini_model, mini_tokenizer) as engine:
        prefixes = {name: engine.open(clip(name)) for name in NAMES}
        asks = [(name, prompt) for name in NAMES for prompt in (WORDS, CAPTION, SCENE)]
        futures = [(name, prompt, prefixes[name].branch(prompt, 10)) for name, prompt in asks]
        for name, prompt, future in futures:
            samples = clip(name)
            ids = mini_tokenizer.encode_template("<audio>p</audio>", [audio_tokens(mel_frames(len(samples)))])
            ids += mini_tokenizer.encode_prompt(prompt)
            assert list(future.result(SECONDS).ids) == recompute(mini_model, ids, [samples], 10, stop)


@pytest.mark.parametrize("tuning", [CPU, GPU, STATIC])
def test_a_prompt_beyond_the_trained_length_gets_a_prefix_of_its_own_factor(
    tiny_model, tiny_tokenizer, clip, tuning
):
    long = Prompt(("bab el dib " * 400,))
    with (
        PlainEngine(tiny_model, tiny_tokenizer) as plain,
        Engine(tiny_model, tiny_tokenizer, tuning=tuning) as engine,
    ):
        answers = {}
        for one in (plain, engine):
            prefix = one.open(clip("syn_30s.wav"))
            futures = [prefix.branch(prompt, 8) for prompt in (CAPTION, long, TRANSCRIBE, long)]
            answers[one] = [future.result(SECONDS) for future in futures]
        assert 2048 < 752 + answers[plain][1].numbers.prompt_tokens < 4096
        for fast, slow in zip(answers[engine], answers[plain], strict=True):
            _same(fast, slow)
        metrics = engine.metrics()
    assert (metrics.encodes, metrics.prefills, metrics.refills) == (1, 2, 1)


def test_an_answer_that_grows_beyond_the_trained_length_keeps_its_factor(tiny_model, tiny_tokenizer, clip):
    prompt = Prompt(("bab el dib " * 215,))
    with PlainEngine(tiny_model, tiny_tokenizer) as plain, Engine(tiny_model, tiny_tokenizer) as engine:
        fast, slow = (
            one.open(clip("syn_30s.wav")).branch(prompt, 60).result(SECONDS) for one in (engine, plain)
        )
        _same(fast, slow)
        assert 752 + fast.numbers.prompt_tokens < 2048 < 752 + fast.numbers.prompt_tokens + len(fast.ids)


def test_a_prefix_that_lost_its_long_room_is_computed_again_and_answers_the_same(
    tiny_model, tiny_tokenizer, clip
):
    names = ("syn_8s.wav", "syn_3s217.wav")
    with Engine(tiny_model, tiny_tokenizer, tuning=Tuning(cells=50)) as engine:
        prefixes = [engine.open(clip(name)) for name in names]
        rounds = [[prefix.branch(CAPTION, 8).result(SECONDS).ids for prefix in prefixes] for _ in range(2)]
        metrics = engine.metrics()
    with PlainEngine(tiny_model, tiny_tokenizer) as plain:
        expected = [plain.open(clip(name)).branch(CAPTION, 8).result(SECONDS).ids for name in names]
    assert rounds == [expected, expected]
    assert (metrics.encodes, metrics.prefills, metrics.refills) == (2, 4, 2)


def test_rooms_are_used_again_by_chunk_after_chunk(tiny_model, tiny_tokenizer, clip):
    with Engine(tiny_model, tiny_tokenizer, places=1) as engine:
        for name in ("syn_30s.wav", "syn_1s005.wav", "syn_8s.wav", "syn_1s005.wav"):
            with engine.open(clip(name)) as prefix:
                for future in [prefix.branch(prompt, 20) for prompt in PROMPTS]:
                    future.result(SECONDS)
        again = engine.open(clip("syn_1s005.wav"))
        answers = [future.result(SECONDS) for future in [again.branch(prompt, 20) for prompt in PROMPTS]]
        assert engine.metrics().cache_positions == 2048
    with Engine(tiny_model, tiny_tokenizer) as fresh:
        prefix = fresh.open(clip("syn_1s005.wav"))
        for prompt, answer in zip(PROMPTS, answers, strict=True):
            _same(answer, prefix.branch(prompt, 20).result(SECONDS))


@pytest.mark.parametrize("together", [False, True])
def test_branches_share_a_prefix_in_half_precision_too(tiny_folder, tiny_tokenizer, clip, together):
    """Not more is promised than that the first token, which needs no rounded neighbour, is the same."""
    model = QwenAudioForConditionalGeneration.from_pretrained(tiny_folder, dtype="bfloat16")
    with (
        PlainEngine(model, tiny_tokenizer) as plain,
        Engine(model, tiny_tokenizer, tuning=Tuning(together=together)) as engine,
    ):
        fast, slow = (
            [prefix.branch(prompt, 1) for prefix in [one.open(clip("syn_3s217.wav"))] for prompt in PROMPTS]
            for one in (engine, plain)
        )
        for one, other in zip(fast, slow, strict=True):
            assert one.result(SECONDS).logprobs == pytest.approx(other.result(SECONDS).logprobs, abs=0.3)


def test_positions_are_read_once_a_step_however_many_branches_see_them(engine_for_numbers, clip):
    engine = engine_for_numbers
    with engine.open(clip("syn_8s.wav")) as prefix:
        with engine._changed:  # both begin in one step
            futures = [prefix.branch(WORDS, 3) for _ in range(2)]
        assert [len(future.result(SECONDS).ids) for future in futures] == [3, 3]
        _settled(engine)
    # The prefix, two prompts of six tokens, and then two tokens more in each step.
    assert engine.metrics().read_positions == 3 * (202 + 12) + 2 + 4


def test_the_metrics_say_what_the_engine_holds_and_has_done(engine_for_numbers, clip):
    engine = engine_for_numbers
    with engine.open(clip("syn_8s.wav")) as prefix:
        futures = [prefix.branch(prompt, 5) for prompt in (WORDS, CAPTION, SCENE)]
        answers = [future.result(SECONDS) for future in futures]
        prefix.branch(WORDS, 1, score=[Tag.EN, Tag.ZH]).result(SECONDS)
        metrics = _settled(engine)
        assert (metrics.places, metrics.places_taken) == (2, 1)
        assert (metrics.live_branches, metrics.live_chunks, metrics.waiting_branches) == (0, 0, 0)
        assert (metrics.cache_positions, metrics.cache_positions_used) == (4096, 202)
    assert (metrics.encodes, metrics.prefills, metrics.prefilled_positions) == (1, 1, 202)
    assert metrics.audio_seconds == pytest.approx(8, abs=0.02)
    assert (metrics.branches, metrics.reused_positions) == (4, 3 * 202)
    tokens = sum(len(answer.ids) for answer in answers)
    assert metrics.tokens == tokens
    assert metrics.fed_positions == 4 * 6 + tokens - 3  # the last token of an answer is not fed
    assert 0 < metrics.encode_seconds + metrics.prefill_seconds < metrics.busy_seconds < SECONDS
    assert metrics.busy_seconds <= metrics.chunk_seconds < metrics.branch_seconds
    assert engine.metrics().places_taken == 0


def test_a_closed_prefix_leaves_the_cache(engine_for_numbers, clip):
    with engine_for_numbers.open(clip("syn_8s.wav")) as prefix:
        prefix.branch(CAPTION, 2).result(SECONDS)
    with engine_for_numbers.open(clip("syn_1s005.wav")) as prefix:
        prefix.branch(CAPTION, 2).result(SECONDS)
        assert _settled(engine_for_numbers).cache_positions_used == prefix.positions


def test_the_numbers_of_a_request_tell_its_share_and_what_its_prefix_cost(engine_for_numbers, clip):
    with engine_for_numbers.open(clip("syn_8s.wav")) as prefix:
        alone = prefix.branch(CAPTION, 4).result(SECONDS).numbers
        company = [prefix.branch(prompt, 1) for prompt in PROMPTS]
        shares = [future.result(SECONDS).numbers.batch_share for future in company]
    assert alone.batch_share == 1
    assert 0 < alone.prefill_seconds < SECONDS
    assert all(1 / len(PROMPTS) <= share <= 1 for share in shares)
    assert sum(shares) < len(PROMPTS)  # not every one was alone


def test_all_branches_of_all_chunks_grow_in_the_same_steps(engine_for_numbers, clip):
    engine, opened = engine_for_numbers, threading.Event()
    hook = engine._model.lm_head.register_forward_pre_hook(lambda *_: opened.wait(SECONDS) and None)
    prefixes = [engine.open(clip(name)) for name in ("syn_1s005.wav", "syn_3s217.wav")]
    futures = [prefix.branch(prompt, 9) for prefix in prefixes for prompt in (WORDS, CAPTION, SCENE)]
    opened.set()
    tokens = sum(len(future.result(SECONDS).ids) for future in futures)
    hook.remove()
    assert tokens == 6 * 9
    assert engine.metrics().steps <= 9 + 1  # the first one may have begun before all had come


def test_a_chunk_takes_the_place_of_one_that_has_ended_while_others_go_on(
    engine_for_numbers, clip, monkeypatch
):
    monkeypatch.setattr("qwen_audio.branch.ends_in_a_loop", lambda ids: False)
    engine = engine_for_numbers
    first, long = engine.open(clip("syn_1s005.wav")), engine.open(clip("syn_3s217.wav"))
    endless = long.branch(WORDS, 1900)
    first.branch(CAPTION, 3).result(SECONDS)
    for _ in range(3):
        first.close()
        first = engine.open(clip("syn_8s.wav"))
        assert len(first.branch(CAPTION, 3).result(SECONDS).ids) == 3
    assert not endless.done()
    long.close()
    assert 3 < len(endless.result(SECONDS).ids) < 1900


@pytest.fixture
def engine_for_numbers(tiny_folder, tiny_tokenizer):
    model = QwenAudioForConditionalGeneration.from_pretrained(tiny_folder, dtype="float32")
    with torch.no_grad():
        model.lm_head.weight[tiny_tokenizer.id_of(Tag.END_OF_TEXT)] = 0
    with Engine(model, tiny_tokenizer, places=2) as engine:
        yield engine


def _settled(engine):
    """The last branch's answer is there a moment before it is counted out."""
    until = time.monotonic() + SECONDS
    while engine.metrics().live_branches and time.monotonic() < until:
        time.sleep(0.001)
    return engine.metrics()
