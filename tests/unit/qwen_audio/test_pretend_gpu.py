"""The engine keeps a GPU's rules: no call mixes what lies there with what does not, and a step waits for it once."""

from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
import torch
from support.pretend_gpu import MixedDevices, PretendGpu, is_on_gpu, place, take_back

from qwen_audio.engine import Engine
from qwen_audio.features import spectrogram, to_float
from qwen_audio.forward import Forward
from qwen_audio.static_step import StaticStep
from qwen_audio.tags import Prompt, Tag, TimeTag
from qwen_audio.tuning import CPU, GPU

WORDS = Prompt((Tag.START_OF_TRANSCRIPT, Tag.EN, Tag.TRANSCRIBE, Tag.EN, Tag.TIMESTAMPS, TimeTag(0)))
CAPTION = Prompt(
    (Tag.START_OF_ANALYSIS, Tag.UNKNOWN, Tag.CAPTION, Tag.EN, Tag.NO_TIMESTAMPS, Tag.CAPTION_CLOTHO)
)
NAMES = ("syn_30s.wav", "syn_1s005.wav", "syn_3s217.wav")
LABELS = [Tag.EN, TimeTag(33), "happy", "sad and long"]
SECONDS = 60


@pytest.fixture
def gpu_model(tiny_model):
    place(tiny_model)
    yield tiny_model
    take_back(tiny_model)


def _ask(model, tokenizer, clip, tuning=None, *, tokens=12, labels=LABELS):
    with Engine(model, tokenizer, tuning=tuning) as engine:
        prefixes = [engine.open(clip(name)) for name in NAMES]
        with engine._changed:  # all of them begin in one step
            futures = [prefix.branch(prompt, tokens) for prefix in prefixes for prompt in (WORDS, CAPTION)]
            futures += [prefix.branch(WORDS, 1, score=labels) for prefix in prefixes if labels]
        return [future.result(SECONDS) for future in futures], engine.metrics()


@pytest.fixture
def expected(tiny_model, tiny_tokenizer, clip):
    return _ask(tiny_model, tiny_tokenizer, clip)[0]


@pytest.mark.parametrize("tuning", [None, CPU, replace(GPU, decode="plain")])
def test_nothing_mixes_devices_and_answers_are_those_of_the_cpu(
    expected, gpu_model, tiny_tokenizer, clip, tuning
):
    gpu = PretendGpu()
    with gpu.runs(Engine, "_run"):
        assert gpu_model.device.type == "cuda"
        answers, _ = _ask(gpu_model, tiny_tokenizer, clip, tuning)
    for answer, other in zip(answers, expected, strict=True):
        assert answer.ids == other.ids
        assert answer.logprobs == pytest.approx(other.logprobs, abs=2e-4)
        assert answer.scores == pytest.approx(other.scores, abs=1e-3)


@pytest.mark.parametrize(("decode", "uploads"), [("plain", 7), ("static", 2)])
def test_a_step_waits_for_the_gpu_once_and_sends_little_there(
    gpu_model, tiny_tokenizer, clip, decode, uploads
):
    gpu = PretendGpu()
    counted = []
    for tokens in (12, 20):
        gpu.waits.clear()
        gpu.uploads.clear()
        with gpu.runs(Engine, "_run"):
            _, metrics = _ask(
                gpu_model, tiny_tokenizer, clip, replace(GPU, decode=decode), tokens=tokens, labels=None
            )
        counted.append((metrics.steps, gpu.waits.total(), gpu.uploads.total()))
    (steps, waits, sent), (more_steps, more_waits, more_sent) = counted
    assert more_steps - steps == 8
    assert more_waits - waits == 8
    assert more_sent - sent == 8 * uploads


def test_what_a_graph_records_neither_waits_nor_sends(gpu_model, tiny_tokenizer, clip, monkeypatch):
    gpu, compute, found = PretendGpu(), StaticStep.compute, []

    def counted(step):
        before = gpu.waits.total(), gpu.uploads.total()
        result = compute(step)
        found.append((gpu.waits.total() - before[0], gpu.uploads.total() - before[1]))
        return result

    monkeypatch.setattr(StaticStep, "compute", counted)
    with gpu.runs(Engine, "_run"):
        _ask(gpu_model, tiny_tokenizer, clip, replace(GPU, decode="static"), labels=None)
    assert len(found) >= 11
    assert set(found) == {(0, 0)}


def test_cudnn_neither_attends_nor_rounds_while_an_engine_runs_on_a_gpu(gpu_model, tiny_tokenizer, clip):
    allowed, feed = [], Forward.feed

    def look(forward, groups):
        allowed.append((torch.backends.cuda.cudnn_sdp_enabled(), torch.backends.cudnn.allow_tf32))
        return feed(forward, groups)

    for tuning in (GPU, replace(GPU, cudnn_attention=True)):
        with PretendGpu().runs(Engine, "_run"), patch.object(Forward, "feed", look):
            _ask(gpu_model, tiny_tokenizer, clip, tuning, tokens=1, labels=None)
    assert allowed == [(False, False), (True, False)]
    assert torch.backends.cuda.cudnn_sdp_enabled()
    assert torch.backends.cudnn.allow_tf32


def test_taking_prefixes_in_waits_a_few_times_however_many_there_are(gpu_model, tiny_tokenizer, clip):
    gpu = PretendGpu()
    with gpu.runs(Engine, "_run"), Engine(gpu_model, tiny_tokenizer) as engine:
        prefixes = [engine.open(clip("syn_8s.wav")) for _ in range(4)]
        with engine._changed:
            futures = [prefix.branch(CAPTION, 1) for prefix in prefixes]
        for future in futures:
            future.result(SECONDS)
        assert (engine.metrics().prefills, engine.metrics().steps) == (4, 1)
    # After encoding, after computing, to see whether it is finite, and to read the tokens.
    assert gpu.waits == {"synchronize": 2, "tolist": 2}


def test_features_of_a_gpu_need_no_kernel_that_is_compiled_first(clip):
    gpu = PretendGpu()
    with gpu.on_this_thread():
        torch.ones(2, dtype=torch.complex64, device="cuda").abs()
        assert gpu.compiles == {"abs": 1}
        spectrogram(to_float(clip("syn_1s005.wav")).to("cuda"))
    assert gpu.launches["stft"] == 1
    assert gpu.compiles == {"abs": 1}


def test_the_pretended_gpu_refuses_what_a_gpu_would():
    gpu = PretendGpu()
    with gpu.on_this_thread():
        there, here = torch.ones(2, 3, device="cuda"), torch.ones(2, 3)
        assert (there.device.type, here.device.type) == ("cuda", "cpu")
        assert is_on_gpu(there.T @ there)
        assert is_on_gpu(there[0])
        for mixed in (lambda: there + here, lambda: torch.cat((there, here)), lambda: here.matmul(there.T)):
            with pytest.raises(MixedDevices):
                mixed()
        with pytest.raises(MixedDevices, match="numpy"):
            np.asarray(there)
        assert not is_on_gpu(there.cpu() + here)
        there += here.to("cuda")
        there[torch.tensor([0])] = 0.0
        assert there.sum().item() == 6.0
    assert gpu.waits == {"cpu": 1, "item": 1}
    assert gpu.uploads == {"to": 1, "index": 1}
