"""What goes wrong inside a step of the fast engine reaches only who causes it."""

import math
import threading
import time

import pytest
import torch

from qwen_audio.answers import FinishReason
from qwen_audio.engine import Engine
from qwen_audio.errors import AnswerNotFinite, EngineClosed, EngineOutOfMemory, InvalidPrompt
from qwen_audio.forward import Forward
from qwen_audio.modeling import QwenAudioForConditionalGeneration
from qwen_audio.tags import Prompt, Tag, TimeTag
from qwen_audio.tuning import Tuning

TRANSCRIBE = Prompt(
    (Tag.START_OF_TRANSCRIPT, Tag.EN, Tag.TRANSCRIBE, Tag.EN, Tag.NO_TIMESTAMPS, Tag.WITHOUT_ITN)
)
CAPTION = Prompt(
    (Tag.START_OF_ANALYSIS, Tag.UNKNOWN, Tag.CAPTION, Tag.EN, Tag.NO_TIMESTAMPS, Tag.CAPTION_CLOTHO)
)
SONIC = Prompt((Tag.START_OF_ANALYSIS, Tag.SONIC))
SECONDS = 60


@pytest.fixture
def engine(tiny_model, tiny_tokenizer):
    with Engine(tiny_model, tiny_tokenizer) as engine:
        yield engine


@pytest.fixture
def expected(engine, clip):
    """What healthy branches answer."""
    answers = {}
    for name in ("syn_1s005.wav", "syn_3s217.wav"):
        with engine.open(clip(name)) as prefix:
            for prompt in (TRANSCRIBE, CAPTION):
                answers[name, prompt] = prefix.branch(prompt, 12).result(SECONDS).ids
    return answers


def _ask_all(engine, clip, names):
    prefixes = {name: engine.open(clip(name)) for name in names}
    return {
        (name, prompt): prefix.branch(prompt, 12)
        for name, prefix in prefixes.items()
        for prompt in (TRANSCRIBE, CAPTION)
    }


NAMES = ("syn_1s005.wav", "syn_3s217.wav")


@pytest.mark.parametrize("tuning", [Tuning(), Tuning(together=True), Tuning(decode="static")])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_branch_that_is_not_finite_fails_alone_among_those_of_its_chunk(
    tiny_folder, tiny_tokenizer, clip, expected, tuning, value
):
    model = QwenAudioForConditionalGeneration.from_pretrained(tiny_folder, dtype="float32")
    with torch.no_grad():
        model.transformer.wte.weight[tiny_tokenizer.id_of(Tag.SONIC)] = value
    with Engine(model, tiny_tokenizer, tuning=tuning) as engine:
        prefix = engine.open(clip(NAMES[0]))
        good = [prefix.branch(prompt, 12) for prompt in (TRANSCRIBE, CAPTION)]
        bad = [prefix.branch(SONIC, 12), prefix.branch(SONIC, 1, score=[Tag.EN])]
        late = prefix.branch(TRANSCRIBE, 12)
        for future in bad:
            with pytest.raises(AnswerNotFinite):
                future.result(SECONDS)
        again = prefix.branch(CAPTION, 12)  # in the cells of the sick
        ids = [future.result(SECONDS).ids for future in (*good, late, again)]
    healthy = [expected[NAMES[0], prompt] for prompt in (TRANSCRIBE, CAPTION)]
    assert ids == [*healthy, *healthy]


@pytest.mark.parametrize("together", [False, True])
def test_a_sick_chunk_leaves_nothing_behind_in_its_room(
    tiny_model, tiny_tokenizer, clip, expected, monkeypatch, together
):
    encode = tiny_model.encode_audio
    with Engine(tiny_model, tiny_tokenizer, places=1, tuning=Tuning(together=together)) as engine:
        with monkeypatch.context() as patch, engine.open(clip("syn_8s.wav")) as sick:
            patch.setattr(
                tiny_model, "encode_audio", lambda *args: [span * math.nan for span in encode(*args)]
            )
            with pytest.raises(AnswerNotFinite):
                sick.branch(TRANSCRIBE, 12).result(SECONDS)
        with engine.open(clip(NAMES[0])) as prefix:
            futures = {prompt: prefix.branch(prompt, 12) for prompt in (TRANSCRIBE, CAPTION)}
            for prompt, future in futures.items():
                assert future.result(SECONDS).ids == expected[NAMES[0], prompt]


def test_short_memory_makes_the_batch_smaller_and_changes_no_answer(engine, clip, expected, monkeypatch):
    feed, sizes = Forward.feed, []

    def feed_few(self, groups):
        rows = sum(len(group.rows) for group in groups)
        if rows > 6:  # one prompt fits
            raise torch.OutOfMemoryError("CUDA out of memory")
        sizes.append(rows)
        return feed(self, groups)

    monkeypatch.setattr(Forward, "feed", feed_few)
    for ask, future in _ask_all(engine, clip, NAMES).items():
        assert future.result(SECONDS).ids == expected[ask]
    assert sizes
    assert engine.metrics().halvings > 0


def test_memory_that_stays_short_ends_the_engine_and_asks_for_a_new_process(engine, clip, monkeypatch):
    def feed_nothing(self, groups):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Forward, "feed", feed_nothing)
    prefix = engine.open(clip(NAMES[0]))
    futures = [prefix.branch(prompt, 12) for prompt in (TRANSCRIBE, CAPTION)]
    for future in futures:
        with pytest.raises(EngineOutOfMemory) as ended:
            future.result(SECONDS)
        assert (ended.value.code, ended.value.retryable) == ("engine_out_of_memory", True)
    with pytest.raises(EngineOutOfMemory):
        prefix.branch(CAPTION, 12)
    with pytest.raises(EngineOutOfMemory):
        engine.open(clip(NAMES[0]))


@pytest.mark.parametrize("method", ["feed", "fill"])
def test_an_error_in_a_step_reaches_only_the_chunk_that_causes_it(
    engine, clip, expected, monkeypatch, method
):
    original = getattr(Forward, method)
    poisoned = engine.open(clip("syn_8s.wav"))

    def failing(self, things, *args):
        prefixes = [getattr(thing, "kept", thing).prefix for thing in things]
        if poisoned in prefixes:
            raise RuntimeError("kernel failure")
        return original(self, things, *args)

    monkeypatch.setattr(Forward, method, failing)
    bad = [poisoned.branch(prompt, 12) for prompt in (TRANSCRIBE, CAPTION)]
    good = _ask_all(engine, clip, NAMES)
    for future in bad:
        with pytest.raises(RuntimeError, match="kernel failure"):
            future.result(SECONDS)
    for ask, future in good.items():
        assert future.result(SECONDS).ids == expected[ask]
    monkeypatch.setattr(Forward, method, original)
    assert poisoned.branch(CAPTION, 12).result(SECONDS).ids  # the chunk may be asked again


def test_a_branch_is_not_grown_twice_when_its_step_is_done_again(engine, clip, expected, monkeypatch):
    feed, fails = Forward.feed, iter([True] * 3)

    def failing_late(self, groups):
        logprobs = feed(self, groups)
        if len(groups) > 1 and next(fails, False):
            raise RuntimeError("kernel failure")
        return logprobs

    monkeypatch.setattr(Forward, "feed", failing_late)
    for ask, future in _ask_all(engine, clip, NAMES).items():
        assert future.result(SECONDS).ids == expected[ask]
    assert not next(fails, False)


def test_a_branch_that_waits_for_cells_can_be_cancelled_or_run_out_of_time(
    tiny_model, tiny_tokenizer, clip, monkeypatch
):
    feed, opened, entered = Forward.feed, threading.Event(), threading.Event()

    def gated(self, groups):
        entered.set()
        assert opened.wait(SECONDS)
        return feed(self, groups)

    monkeypatch.setattr(Forward, "feed", gated)
    with Engine(tiny_model, tiny_tokenizer, tuning=Tuning(cells=60)) as engine:
        prefix = engine.open(clip(NAMES[0]))  # 27 positions
        running = prefix.branch(TRANSCRIBE, 20)
        assert entered.wait(SECONDS)
        late = prefix.branch(CAPTION, 20, deadline=time.monotonic() + 0.05)
        cancelled, waiting = prefix.branch(CAPTION, 20), prefix.branch(CAPTION, 20)
        ended = []
        for future in (late, running, waiting):
            future.add_done_callback(ended.append)
        assert cancelled.cancel()
        time.sleep(0.05)
        opened.set()
        answer = late.result(SECONDS)
        assert (answer.finish_reason, answer.ids) == (FinishReason.DEADLINE, ())
        assert running.result(SECONDS).ids
        assert waiting.result(SECONDS).ids
        assert ended[0] is late  # it did not wait for its cells


def test_a_deadline_is_kept_while_a_branch_decodes(tiny_folder, tiny_tokenizer, clip, monkeypatch):
    monkeypatch.setattr("qwen_audio.branch.ends_in_a_loop", lambda ids: False)
    model = QwenAudioForConditionalGeneration.from_pretrained(tiny_folder, dtype="float32")
    with torch.no_grad():
        model.lm_head.weight[tiny_tokenizer.id_of(Tag.END_OF_TEXT)] = 0
    with Engine(model, tiny_tokenizer) as engine, engine.open(clip(NAMES[0])) as prefix:
        prefix.branch(CAPTION, 1).result(SECONDS)
        slow = prefix.branch(Prompt((TimeTag(1),)), 5000, deadline=time.monotonic() + 2)
        answer = slow.result(SECONDS)
    assert answer.finish_reason is FinishReason.DEADLINE
    assert 0 < len(answer.ids) < 5000


def test_a_defect_of_the_engine_itself_leaves_nobody_waiting(engine, clip, monkeypatch):
    monkeypatch.setattr(threading, "excepthook", lambda args: None)

    def broken(*args):
        raise LookupError("a defect")

    monkeypatch.setattr(engine._schedule, "end", broken)
    prefix = engine.open(clip(NAMES[0]))
    short, long = prefix.branch(CAPTION, 1), prefix.branch(TRANSCRIBE, 400)
    assert short.result(SECONDS).ids
    with pytest.raises(EngineClosed, match="a defect"):
        long.result(SECONDS)


def test_more_candidates_than_any_room_holds_are_refused(engine, clip):
    labels = [f"{number:04d}x" for number in range(9000)]
    with engine.open(clip(NAMES[0])) as prefix, pytest.raises(InvalidPrompt, match="fewer"):
        prefix.branch(CAPTION, 1, score=labels)


@pytest.mark.parametrize("together", [False, True])
def test_more_candidates_than_a_common_room_holds_are_scored(
    tiny_model, tiny_tokenizer, clip, expected, together
):
    labels = [f"{number:04d}" for number in range(0, 9000, 9)]
    with Engine(tiny_model, tiny_tokenizer, tuning=Tuning(together=together)) as engine:
        prefix = engine.open(clip(NAMES[0]))
        many, few = prefix.branch(CAPTION, 1, score=labels), prefix.branch(CAPTION, 1, score=labels[:9])
        few_scores = few.result(SECONDS).scores
        scores = many.result(SECONDS).scores
    assert len(scores) == 1000
    assert {label: scores[label] for label in labels[:9]} == pytest.approx(few_scores, abs=1e-3)
