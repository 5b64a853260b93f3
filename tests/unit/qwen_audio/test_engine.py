"""What every engine promises; the fast one and the plain one take the same tests."""

import math
import threading
import time
from concurrent.futures import CancelledError, wait

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from qwen_audio.answers import FinishReason
from qwen_audio.branch import Branch
from qwen_audio.errors import (
    AnswerNotFinite,
    AudioNotFinite,
    AudioTooLong,
    AudioTooShort,
    EngineClosed,
    EngineFull,
    InvalidPrompt,
    InvalidVocabulary,
    MissingTensor,
    PrefixClosed,
)
from qwen_audio.modeling import QwenAudioForConditionalGeneration
from qwen_audio.tags import Prompt, Tag, TimeTag
from qwen_audio.tokenizer import QwenAudioTokenizer

TRANSCRIBE = Prompt(
    (Tag.START_OF_TRANSCRIPT, Tag.EN, Tag.TRANSCRIBE, Tag.EN, Tag.NO_TIMESTAMPS, Tag.WITHOUT_ITN)
)
CAPTION = Prompt(
    (Tag.START_OF_ANALYSIS, Tag.UNKNOWN, Tag.CAPTION, Tag.EN, Tag.NO_TIMESTAMPS, Tag.CAPTION_CLOTHO)
)
QUESTION = Prompt((Tag.START_OF_ANALYSIS, Tag.EN, Tag.QUESTION, "Who is <|im_end|> it?", Tag.ANSWER))
SECONDS = 60  # the longest that any answer here may take


@pytest.fixture
def gate():
    """Holds every batch of a model before its first token until the gate is opened."""
    opened, hooks = threading.Event(), []
    opened.entered = threading.Event()

    def hold(_module, _inputs):
        opened.entered.set()
        assert opened.wait(SECONDS)

    def at(model):
        hooks.append(model.lm_head.register_forward_pre_hook(hold))
        return opened

    yield at
    opened.set()
    for hook in hooks:
        hook.remove()


def _endless(folder):
    """A tiny model that ends no answer by itself."""
    model = QwenAudioForConditionalGeneration.from_pretrained(folder, dtype="float32")
    with torch.no_grad():
        end = QwenAudioTokenizer.from_pretrained(folder).id_of(Tag.END_OF_TEXT)
        model.lm_head.weight[end] = 0
    return model


def test_an_answer_has_text_ids_and_logprobs_in_step(engine, clip, tiny_tokenizer):
    with engine.open(clip("syn_8s.wav")) as prefix:
        answer = prefix.branch(TRANSCRIBE, limit=12).result(SECONDS)
    assert 1 <= len(answer.ids) <= 12
    assert len(answer.ids) == len(answer.logprobs)
    assert all(logprob <= 0 for logprob in answer.logprobs)
    ended = answer.finish_reason is FinishReason.STOP
    assert answer.text == tiny_tokenizer.decode(answer.ids[:-1] if ended else answer.ids)


def test_the_engine_gives_what_generate_gives(engine_class, golden_model, golden_tokenizer, case, clip):
    with engine_class(golden_model, golden_tokenizer) as engine, engine.open(clip("syn_3s217.wav")) as prefix:
        answer = prefix.branch(TRANSCRIBE, limit=16).result(SECONDS)
    assert list(answer.ids) == case("short").figures["greedy_new_ids"][0].tolist()
    inputs = case("short").inputs
    steps = golden_model.generate(
        **inputs, max_new_tokens=16, do_sample=False, output_logits=True, return_dict_in_generate=True
    )
    expected = [step[0, :155_165].log_softmax(-1).max().item() for step in steps.logits]
    assert answer.logprobs == pytest.approx(expected, abs=1e-4)


def test_what_a_branch_yields_depends_neither_on_its_company_nor_on_the_order(
    engine_class, tiny_folder, clip
):
    names = ("tiny_480.wav", "syn_30s.wav", "syn_1s005.wav", "syn_3s217.wav", "tiny_640.wav", "syn_8s.wav")
    asks = [(name, prompt) for name in names for prompt in (TRANSCRIBE, CAPTION, QUESTION)]
    with engine_class.load(tiny_folder, device="cpu") as engine:
        alone = {}
        for name, prompt in asks:
            with engine.open(clip(name)) as prefix:
                alone[name, prompt] = prefix.branch(prompt, limit=24).result(SECONDS)
        for order in (asks[::-1], asks[::3] + asks[1::3]):
            prefixes = {name: engine.open(clip(name)) for name in names}
            futures = {(name, prompt): prefixes[name].branch(prompt, limit=24) for name, prompt in order}
            for ask, future in futures.items():
                answer = future.result(SECONDS)
                assert answer.ids == alone[ask].ids
                assert answer.finish_reason is alone[ask].finish_reason
                assert answer.logprobs == pytest.approx(alone[ask].logprobs, abs=1e-4)
            for prefix in prefixes.values():
                prefix.close()
    assert len({answer.ids for answer in alone.values()}) > len(asks) / 2  # the audio and the prompt matter


def test_an_answer_is_cut_at_its_limit(engine_class, tiny_folder, tiny_tokenizer, clip):
    with (
        engine_class(_endless(tiny_folder), tiny_tokenizer) as engine,
        engine.open(clip("syn_1s005.wav")) as prefix,
    ):
        answer = prefix.branch(CAPTION, limit=5).result(SECONDS)
    assert answer.finish_reason is FinishReason.LENGTH
    assert len(answer.ids) == 5
    assert answer.text == tiny_tokenizer.decode(answer.ids)


def _with_eager_tag(folder, id_):
    """A tiny model that says the tag within a few tokens, and nothing but "B" before."""
    model = _endless(folder)
    with torch.no_grad():
        direction = 9 * model.lm_head.weight[65]
        model.lm_head.weight[id_] = direction
        model.lm_head.weight[66] = -direction
    return model


def test_a_stop_tag_ends_the_answer_and_stays_out_of_its_text(
    engine_class, tiny_folder, tiny_tokenizer, clip
):
    id_ = tiny_tokenizer.id_of(Tag.IM_END)
    model = _with_eager_tag(tiny_folder, id_)
    with engine_class(model, tiny_tokenizer) as engine, engine.open(clip("syn_1s005.wav")) as prefix:
        stopped = prefix.branch(CAPTION, 9, stop=[Tag.IM_END]).result(SECONDS)
        going = prefix.branch(CAPTION, 9).result(SECONDS)
    assert stopped.finish_reason is FinishReason.STOP
    assert stopped.ids.index(id_) == len(stopped.ids) - 1
    assert "<|im_end|>" not in stopped.text
    assert going.finish_reason is FinishReason.LENGTH
    assert "<|im_end|>" in going.text
    assert stopped.starts == (*range(len(stopped.text)), len(stopped.text))
    assert len(going.starts) == len(going.ids)


def test_the_end_of_text_ends_every_answer(engine_class, tiny_folder, tiny_tokenizer, clip):
    id_ = tiny_tokenizer.id_of(Tag.END_OF_TEXT)
    model = _with_eager_tag(tiny_folder, id_)
    with engine_class(model, tiny_tokenizer) as engine, engine.open(clip("syn_1s005.wav")) as prefix:
        answer = prefix.branch(CAPTION, 9).result(SECONDS)
    assert answer.finish_reason is FinishReason.STOP
    assert answer.ids[-1] == id_
    assert answer.text == "B" * (len(answer.ids) - 1)


def test_an_answer_that_goes_in_circles_is_cut_and_flagged(engine_class, tiny_folder, tiny_tokenizer, clip):
    model = _endless(tiny_folder)
    with torch.no_grad():
        model.lm_head.weight[:] = 0
    with engine_class(model, tiny_tokenizer) as engine, engine.open(clip("syn_1s005.wav")) as prefix:
        answer = prefix.branch(CAPTION, limit=200).result(SECONDS)
    assert answer.finish_reason is FinishReason.LOOP
    assert len(answer.ids) < 200


def test_ids_beyond_the_vocabulary_are_never_answered(engine_class, tiny_folder, tiny_tokenizer, clip):
    model = QwenAudioForConditionalGeneration.from_pretrained(tiny_folder, dtype="float32")
    size = tiny_tokenizer.vocabulary_size
    with torch.no_grad():
        model.lm_head.weight[size] = 100 * model.lm_head.weight[65]
        model.lm_head.weight[size + 1] = -100 * model.lm_head.weight[65]
    with engine_class(model, tiny_tokenizer) as engine, engine.open(clip("syn_1s005.wav")) as prefix:
        answer = prefix.branch(CAPTION, limit=20).result(SECONDS)
        scores = prefix.branch(CAPTION, 1, score=[Tag.EN, "a"]).result(SECONDS).scores
    assert max(answer.ids) < size
    assert all(-100 < score < 0 for score in scores.values())  # the shouting rows take no probability either


def test_scores_are_the_log_probabilities_of_the_texts_without_decoding(engine, clip, tiny_tokenizer):
    labels = [Tag.EN, Tag.ZH, TimeTag(33), "happy", "sad and long"]
    with engine.open(clip("syn_3s217.wav")) as prefix:
        answer = prefix.branch(TRANSCRIBE, limit=1, score=labels).result(SECONDS)
    assert answer.finish_reason is FinishReason.SCORED
    assert (answer.text, answer.ids, answer.logprobs) == ("", (), ())
    assert list(answer.scores) == ["<|en|>", "<|zh|>", "<|0.33|>", "happy", "sad and long"]
    span = prefix.span
    model = engine._model
    for label in labels:
        prompt = torch.tensor(tiny_tokenizer.encode_prompt(TRANSCRIBE))
        ids = torch.tensor(tiny_tokenizer.encode_prompt(Prompt((label,))))
        embeds = torch.cat((span, model.transformer.wte(torch.cat((prompt, ids)))))[None]
        with torch.inference_mode():
            logits = model(inputs_embeds=embeds).logits[0, :, : tiny_tokenizer.vocabulary_size]
        steps = logits.log_softmax(-1)[-len(ids) - 1 : -1]
        expected = sum(steps[place, id_].item() for place, id_ in enumerate(ids))
        assert answer.scores[str(label)] == pytest.approx(expected, abs=1e-3)


def test_the_numbers_say_what_a_branch_cost(engine, clip, tiny_tokenizer):
    with engine.open(clip("syn_8s.wav")) as prefix:
        assert prefix.audio_tokens == 200
        answer = prefix.branch(TRANSCRIBE, limit=4).result(SECONDS)
    numbers = answer.numbers
    assert (numbers.audio_tokens, numbers.prompt_tokens) == (200, 6)
    assert numbers.new_tokens == len(answer.ids)
    assert 0 < numbers.encode_seconds < SECONDS
    assert 0 < numbers.decode_seconds < SECONDS


def test_open_prefixes_take_places_and_closing_gives_them_back(
    engine_class, tiny_model, tiny_tokenizer, clip
):
    with engine_class(tiny_model, tiny_tokenizer, places=2) as engine:
        assert engine.free_places == 2
        first, second = engine.open(clip("syn_1s005.wav")), engine.open(clip("syn_1s005.wav"))
        assert engine.free_places == 0
        with pytest.raises(EngineFull) as full:
            engine.open(clip("syn_1s005.wav"))
        assert full.value.retryable
        first.close()
        first.close()
        assert engine.free_places == 1
        engine.open(clip("syn_1s005.wav")).close()
        second.close()
        assert engine.free_places == 2


@pytest.mark.parametrize(
    ("samples", "error"),
    [
        (np.zeros(479, np.int16), AudioTooShort),
        (np.zeros(480_001, np.int16), AudioTooLong),
        (np.full(16_000, np.nan, np.float32), AudioNotFinite),
    ],
)
def test_audio_that_cannot_be_heard_is_refused_and_takes_no_place(engine, samples, error):
    with pytest.raises(error):
        engine.open(samples)
    assert engine.free_places == engine.places


@pytest.mark.parametrize(
    ("prompt", "options"),
    [
        (Prompt(()), {}),
        (TRANSCRIBE, {"limit": 0}),
        (TRANSCRIBE, {"limit": 9000}),
        (Prompt(("word " * 9000,)), {}),
        (TRANSCRIBE, {"score": []}),
        (TRANSCRIBE, {"score": [""]}),
    ],
)
def test_a_prompt_that_cannot_be_answered_is_refused_at_once(engine, clip, prompt, options):
    with engine.open(clip("syn_1s005.wav")) as prefix, pytest.raises(InvalidPrompt):
        prefix.branch(prompt, **{"limit": 8, **options})


def test_a_branch_may_fill_every_position_of_the_model(engine, clip):
    with engine.open(clip("tiny_480.wav")) as prefix:
        positions = prefix.audio_tokens + 2 + 6
        prefix.branch(TRANSCRIBE, limit=8192 - positions).cancel()
        with pytest.raises(InvalidPrompt, match="8193 positions"):
            prefix.branch(TRANSCRIBE, limit=8193 - positions)


def test_a_passed_deadline_gives_an_answer_with_what_there_is(engine, clip):
    with engine.open(clip("syn_1s005.wav")) as prefix:
        answer = prefix.branch(TRANSCRIBE, 8, deadline=time.monotonic() - 1).result(SECONDS)
        scored = prefix.branch(TRANSCRIBE, 1, deadline=time.monotonic() - 1, score=[Tag.EN]).result(SECONDS)
    assert answer.finish_reason is scored.finish_reason is FinishReason.DEADLINE
    assert (answer.ids, scored.scores) == ((), {})


def test_a_deadline_interrupts_a_running_branch_alone(engine_class, tiny_folder, tiny_tokenizer, clip, gate):
    model = _endless(tiny_folder)
    held = gate(model)
    with engine_class(model, tiny_tokenizer) as engine, engine.open(clip("syn_1s005.wav")) as prefix:
        late = prefix.branch(TRANSCRIBE, 8, deadline=time.monotonic() + 0.3)
        other = prefix.branch(TRANSCRIBE, 8)
        assert held.entered.wait(SECONDS)
        time.sleep(0.3)
        held.set()
        assert late.result(SECONDS).finish_reason is FinishReason.DEADLINE
        assert other.result(SECONDS).finish_reason is not FinishReason.DEADLINE


def test_a_waiting_branch_can_be_cancelled(engine, clip, gate):
    held = gate(engine._model)
    prefix = engine.open(clip("syn_1s005.wav"))
    running = prefix.branch(TRANSCRIBE, 4)
    assert held.entered.wait(SECONDS)
    waiting = prefix.branch(CAPTION, 4)
    assert waiting.cancel()
    held.set()
    with pytest.raises(CancelledError):
        waiting.result(SECONDS)
    assert wait([running, waiting], SECONDS).not_done == set()


def test_a_running_branch_can_be_cancelled_and_its_company_goes_on(engine, clip, gate, monkeypatch):
    held = gate(engine._model)
    grown = []
    grow = Branch.grow
    monkeypatch.setattr(
        Branch, "grow", lambda self, *token: (grown.append(self.future), grow(self, *token))[1]
    )
    prefix = engine.open(clip("syn_1s005.wav"))
    cancelled, other = prefix.branch(TRANSCRIBE, 400), prefix.branch(CAPTION, 4)
    assert held.entered.wait(SECONDS)
    assert cancelled.cancel()
    held.set()
    assert other.result(SECONDS).ids
    assert wait([cancelled, other], SECONDS).not_done == set()
    assert cancelled.cancelled()
    assert other in grown
    assert cancelled not in grown  # it costs nothing more


def test_closing_a_prefix_ends_its_waiting_and_running_branches_and_no_others(engine, clip, gate):
    held = gate(engine._model)
    closed, kept = engine.open(clip("syn_1s005.wav")), engine.open(clip("syn_3s217.wav"))
    running, other = closed.branch(TRANSCRIBE, 400), kept.branch(TRANSCRIBE, 4)
    assert held.entered.wait(SECONDS)
    waiting = closed.branch(CAPTION, 4)
    closed.close()
    assert waiting.result(SECONDS).finish_reason is FinishReason.CANCELLED
    held.set()
    assert running.result(SECONDS).finish_reason is FinishReason.CANCELLED
    assert other.result(SECONDS).finish_reason is not FinishReason.CANCELLED
    with pytest.raises(PrefixClosed):
        closed.branch(TRANSCRIBE, 4)


def test_closing_the_engine_fails_what_waits_and_what_runs(
    engine_class, tiny_model, tiny_tokenizer, clip, gate
):
    held = gate(tiny_model)
    engine = engine_class(tiny_model, tiny_tokenizer)
    prefix = engine.open(clip("syn_1s005.wav"))
    running = prefix.branch(TRANSCRIBE, 400)
    assert held.entered.wait(SECONDS)
    waiting = prefix.branch(CAPTION, 4)
    closing = threading.Thread(target=engine.close)
    closing.start()
    for future in (running, waiting):
        with pytest.raises(EngineClosed) as closed:
            future.result(SECONDS)
        assert closed.value.retryable
    held.set()
    closing.join(SECONDS)
    assert not closing.is_alive()
    engine.close()
    with pytest.raises(EngineClosed):
        prefix.branch(TRANSCRIBE, 4)
    with pytest.raises(EngineClosed):
        engine.open(clip("syn_1s005.wav"))


def test_an_error_while_encoding_reaches_only_the_clip_that_causes_it(engine, clip, monkeypatch, tiny_model):
    encode = tiny_model.encode_audio

    def failing(mel, lengths):
        if 100 in lengths:
            raise RuntimeError("kernel failure")
        return encode(mel, lengths)

    monkeypatch.setattr(tiny_model, "encode_audio", failing)
    good = engine.open(clip("syn_3s217.wav")).branch(TRANSCRIBE, 4)
    bad = engine.open(clip("syn_1s005.wav")).branch(TRANSCRIBE, 4)
    with pytest.raises(RuntimeError, match="kernel failure"):
        bad.result(SECONDS)
    assert good.result(SECONDS).ids


def test_scores_that_are_not_finite_fail_their_own_chunk_alone(engine, clip, monkeypatch):
    encode = engine._model.encode_audio

    def encode_badly(mel, lengths):
        spans = encode(mel, lengths)
        return [
            torch.full_like(span, math.nan) if length == 100 else span
            for span, length in zip(spans, lengths, strict=True)
        ]

    monkeypatch.setattr(engine._model, "encode_audio", encode_badly)
    sick, healthy = engine.open(clip("syn_1s005.wav")), engine.open(clip("syn_30s.wav"))
    bad, bad_score = sick.branch(TRANSCRIBE, 4), sick.branch(TRANSCRIBE, 1, score=[Tag.EN])
    good = healthy.branch(TRANSCRIBE, 4)
    for future in (bad, bad_score):
        with pytest.raises(AnswerNotFinite):
            future.result(SECONDS)
    assert good.result(SECONDS).ids


def test_many_threads_ask_one_engine(engine, clip):
    expected = {}
    for prompt in (TRANSCRIBE, CAPTION):
        with engine.open(clip("syn_1s005.wav")) as prefix:
            expected[prompt] = prefix.branch(prompt, 8).result(SECONDS).ids
    failures = []

    def work():
        for prompt in (TRANSCRIBE, CAPTION):
            with engine.open(clip("syn_1s005.wav")) as prefix:
                if prefix.branch(prompt, 8).result(SECONDS).ids != expected[prompt]:
                    failures.append(prompt)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert not failures
    assert engine.free_places == engine.places


def test_a_loaded_engine_is_named_after_its_folder_and_identified_by_its_content(
    engine_class, tiny_folder, tiny_copy
):
    with (
        engine_class.load(tiny_folder, device="cpu") as engine,
        engine_class.load(str(tiny_copy), device="cpu") as copy,
    ):
        assert engine.name == tiny_folder.name
        assert copy.name == "tiny"
        assert engine.revision == copy.revision
        assert len(engine.revision) == 16
        assert engine._model.dtype == torch.float32


def test_the_asked_dtype_is_used(engine_class, tiny_folder, clip):
    with engine_class.load(tiny_folder, device="cpu", dtype="bfloat16") as engine:
        assert engine._model.dtype == torch.bfloat16
        with engine.open(clip("syn_1s005.wav")) as prefix:
            assert prefix.branch(TRANSCRIBE, 4).result(SECONDS).ids


def test_a_broken_checkpoint_does_not_load(engine_class, tiny_copy):
    tensors = load_file(tiny_copy / "model.safetensors")
    del tensors["lm_head.weight"]
    save_file(tensors, tiny_copy / "model.safetensors")
    with pytest.raises(MissingTensor, match=r"lm_head\.weight"):
        engine_class.load(tiny_copy)


def test_a_model_that_was_being_trained_answers_as_a_finished_one(engine_class, tiny_folder, tiny_tokenizer):
    model = QwenAudioForConditionalGeneration.from_pretrained(tiny_folder).train()
    with engine_class(model, tiny_tokenizer):
        assert not any(module.training for module in model.modules())


def test_a_vocabulary_of_another_checkpoint_is_refused(engine_class, tiny_model, golden_tokenizer):
    with pytest.raises(InvalidVocabulary, match="155165"):
        engine_class(tiny_model, golden_tokenizer)


def test_an_engine_without_places_is_refused(engine_class, tiny_model, tiny_tokenizer):
    with pytest.raises(ValueError, match="places"):
        engine_class(tiny_model, tiny_tokenizer, places=0)


def test_a_thirty_second_clip_with_three_tasks_costs_little_time(engine, clip):
    began = time.process_time()
    with engine.open(clip("syn_30s.wav")) as prefix:
        futures = [
            prefix.branch(prompt, limit)
            for prompt, limit in ((TRANSCRIBE, 256), (CAPTION, 30), (QUESTION, 4))
        ]
        wait(futures, SECONDS)
    assert time.process_time() - began < 5  # about 0.2 s on one idle core
