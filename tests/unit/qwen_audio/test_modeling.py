import json
import threading

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM
from transformers.cache_utils import DynamicCache

from qwen_audio.configuration import QwenAudioConfig
from qwen_audio.errors import AudioMismatch
from qwen_audio.modeling import QwenAudioForConditionalGeneration
from qwen_audio.names import official_shapes
from qwen_audio.tags import Tag


def test_the_full_size_model_has_the_749_official_names_and_shapes(golden):
    official = json.loads((golden / "official_state_dict_shapes.json").read_text())
    shapes = official_shapes(QwenAudioForConditionalGeneration, QwenAudioConfig())
    assert len(shapes) == 749
    assert shapes == {name: tuple(shape) for name, shape in official.items()}


def test_a_saved_model_has_the_official_names_and_the_bytes_it_was_loaded_from(tiny_folder, tmp_path):
    model = QwenAudioForConditionalGeneration.from_pretrained(tiny_folder)
    model.save_pretrained(tmp_path)
    before, after = (load_file(folder / "model.safetensors") for folder in (tiny_folder, tmp_path))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    again = QwenAudioForConditionalGeneration.from_pretrained(tmp_path)
    assert "auto_map" not in again.config.to_dict()


def test_a_model_that_was_made_in_memory_is_saved_under_the_official_names_too(tiny_model, tmp_path):
    fresh = QwenAudioForConditionalGeneration(tiny_model.config)
    fresh.save_pretrained(tmp_path)
    shapes = {name: tuple(value.shape) for name, value in load_file(tmp_path / "model.safetensors").items()}
    assert shapes == official_shapes(QwenAudioForConditionalGeneration, tiny_model.config)


def test_the_auto_class_loads_the_official_model_type_without_remote_code(golden_folder):
    model = AutoModelForCausalLM.from_pretrained(golden_folder)
    assert type(model) is QwenAudioForConditionalGeneration


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_every_tensor_and_the_positions_take_the_asked_dtype(tiny_folder, dtype):
    model = QwenAudioForConditionalGeneration.from_pretrained(tiny_folder, dtype=dtype)
    state = model.state_dict()
    assert {tensor.dtype for tensor in state.values()} == {dtype}
    stored = load_file(tiny_folder / "model.safetensors")["transformer.audio.positional_embedding"]
    assert torch.equal(state["transformer.audio.positional_embedding"], stored.to(dtype))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_generates_finite_logits(tiny_folder, dtype):
    model = QwenAudioForConditionalGeneration.from_pretrained(tiny_folder, dtype=dtype)
    ids = torch.randint(0, 400, (2, 9), generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[0] * 4 + [1] * 5, [1] * 9])
    with torch.inference_mode():
        assert model(input_ids=ids, attention_mask=mask).logits.isfinite().all()


def _batch_of(cases, pad):
    """Left-pad single prompts into one batch."""
    longest = max(case.inputs["input_ids"].shape[1] for case in cases)
    frames = max(case.inputs["input_features"].shape[-1] for case in cases)
    left = [longest - case.inputs["input_ids"].shape[1] for case in cases]
    right = [frames - case.inputs["input_features"].shape[-1] for case in cases]

    def stack(key, padding, value=0):
        rows = zip(cases, padding, strict=True)
        return torch.cat(
            [torch.nn.functional.pad(case.inputs[key], pads, value=value) for case, pads in rows]
        )

    return {
        "input_ids": stack("input_ids", [(width, 0) for width in left], pad),
        "attention_mask": stack("attention_mask", [(width, 0) for width in left]),
        "input_features": stack("input_features", [(0, width) for width in right]),
        "feature_lengths": torch.cat([case.inputs["feature_lengths"] for case in cases]),
    }


def test_a_left_padded_batch_generates_what_each_prompt_generates_alone(case, golden_model, golden_tokenizer):
    cases = [case(name) for name in ("short", "odd", "exact30", "batch4_single0", "three30_ntk")]
    batch = _batch_of(cases, golden_tokenizer.id_of(Tag.END_OF_TEXT))
    generated = golden_model.generate(**batch, max_new_tokens=16, do_sample=False, eos_token_id=None)
    new = generated[:, batch["input_ids"].shape[1] :]
    assert new.tolist() == [case.figures["greedy_new_ids"][0].tolist() for case in cases]


def test_each_row_of_a_batch_gets_the_logits_that_it_gets_alone_beyond_2048_positions_too(tiny_model):
    generator = torch.Generator().manual_seed(3)
    prompts = [torch.randint(0, 400, (1, length), generator=generator) for length in (7, 2100, 900)]
    ids = torch.cat([torch.nn.functional.pad(prompt, (2100 - prompt.shape[1], 0)) for prompt in prompts])
    mask = torch.cat(
        [torch.nn.functional.pad(torch.ones_like(prompt), (2100 - prompt.shape[1], 0)) for prompt in prompts]
    )
    with torch.inference_mode():
        together = tiny_model(input_ids=ids, attention_mask=mask, logits_to_keep=1).logits
        alone = [tiny_model(input_ids=prompt, logits_to_keep=1).logits for prompt in prompts]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-4, rtol=0)


def test_the_ntk_factor_of_one_call_does_not_reach_another_that_runs_beside_it(tiny_model):
    generator = torch.Generator().manual_seed(5)
    prompts = [torch.randint(0, 400, (1, length), generator=generator) for length in (2100, 20)]
    step = torch.tensor([[7]])

    @torch.inference_mode()
    def continued(cache):
        return tiny_model(input_ids=step, past_key_values=cache).logits

    @torch.inference_mode()
    def filled(prompt):
        cache = DynamicCache()
        tiny_model(input_ids=prompt, past_key_values=cache, logits_to_keep=1)
        return cache

    alone = [continued(filled(prompt)) for prompt in prompts]
    caches = [filled(prompt) for prompt in prompts]  # the second prefill lies between the first's two calls
    interleaved = [continued(cache) for cache in caches]
    for one, other in zip(alone, interleaved, strict=True):
        assert torch.equal(one, other)


def test_threads_share_a_model_without_disturbing_each_other(tiny_model):
    ids = [torch.full((1, length), 65) for length in (2100, 30, 2100, 30)]
    expected = [tiny_model.generate(input_ids=row, max_new_tokens=4, do_sample=False) for row in ids]
    results = [None] * len(ids)

    def work(place):
        results[place] = tiny_model.generate(input_ids=ids[place], max_new_tokens=4, do_sample=False)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(len(ids))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(one, other) for one, other in zip(expected, results, strict=True))


def test_a_cache_that_was_filled_elsewhere_is_refused_without_its_factor(tiny_model):
    cache = DynamicCache()
    state = torch.zeros(1, 4, 3, 16)
    for layer in range(2):
        cache.update(state, state, layer)
    with pytest.raises(ValueError, match="ntk_alpha"):
        tiny_model(input_ids=torch.tensor([[1]]), past_key_values=cache)


def test_training_uses_neither_ntk_nor_logn(tiny_model):
    ids = torch.randint(0, 400, (1, 2100), generator=torch.Generator().manual_seed(1))
    plain = QwenAudioForConditionalGeneration(
        QwenAudioConfig(**{**tiny_model.config.to_dict(), "use_dynamic_ntk": False, "use_logn_attn": False})
    )
    plain.load_state_dict(tiny_model.state_dict())
    with torch.inference_mode():
        expected = plain.eval()(input_ids=ids, logits_to_keep=1).logits
        evaluated = tiny_model(input_ids=ids, logits_to_keep=1).logits
        trained = tiny_model.train()(input_ids=ids, logits_to_keep=1).logits
        tiny_model.eval()
    torch.testing.assert_close(trained, expected)
    assert not torch.allclose(evaluated, expected, atol=1e-3)


def test_gradients_reach_the_encoder_and_the_language_model(tiny_model):
    model = QwenAudioForConditionalGeneration(tiny_model.config).train()
    start = model.config.audio_start_id
    ids = torch.tensor([[start, 5, start + 1, 65, 66]])
    logits = model(
        input_ids=ids,
        input_features=torch.randn(1, 80, 4),
        feature_lengths=torch.tensor([3]),
    ).logits
    logits.sum().backward()
    assert model.transformer.audio.conv1.weight.grad.abs().sum() > 0
    assert model.transformer.wte.weight.grad[65].abs().sum() > 0


def test_eager_attention_gives_the_same_logits(case, golden_model):
    case = case("odd")
    with torch.inference_mode():
        expected = golden_model(**case.inputs).logits
        golden_model.set_attn_implementation("eager")
        try:
            eager = golden_model(**case.inputs).logits
        finally:
            golden_model.set_attn_implementation("sdpa")
    torch.testing.assert_close(eager, expected, atol=1e-4, rtol=0)


def test_ids_beyond_the_vocabulary_are_never_generated(tiny_folder):
    model = QwenAudioForConditionalGeneration.from_pretrained(tiny_folder, dtype="float32")
    size = model.config.vocabulary_size
    assert size < model.config.vocab_size
    with torch.no_grad():
        model.lm_head.weight[size:] = 100 * model.lm_head.weight[65]  # they shout down everything else
    ids = torch.randint(0, 400, (4, 12), generator=torch.Generator().manual_seed(0))
    loudest = model(input_ids=ids, logits_to_keep=1).logits.argmax(-1)
    assert (loudest >= size).any()
    generated = model.generate(input_ids=ids, max_new_tokens=12, do_sample=False)
    assert (generated < size).all()
    sampled = model.generate(input_ids=ids, max_new_tokens=12, do_sample=True, top_k=0)
    assert (sampled < size).all()


def test_the_official_generation_settings_are_read(tiny_copy):
    official = {"chat_format": "chatml", "eos_token_id": 493, "pad_token_id": 493, "max_window_size": 6144}
    official |= {"max_new_tokens": 7, "do_sample": True, "top_k": 0, "top_p": 0.5, "stop_words_ids": [[493]]}
    (tiny_copy / "generation_config.json").write_text(json.dumps(official))
    model = QwenAudioForConditionalGeneration.from_pretrained(tiny_copy)
    settings = model.generation_config
    assert (settings.do_sample, settings.top_p, settings.eos_token_id) == (True, 0.5, 493)
    torch.manual_seed(0)
    assert model.generate(input_ids=torch.tensor([[65, 66]])).shape[1] <= 2 + 7


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([1, 2, 3], "0 audio places"),
        ([-2, 5, -1, -2, 5, -1], "2 audio places"),
        ([-2, 5, 5, -1], "does not hold 3 ids"),
        ([5, -2, 5], "does not hold 3 ids"),
    ],
)
def test_audio_places_that_do_not_fit_the_clips_are_refused(tiny_model, ids, message):
    start = tiny_model.config.audio_start_id
    ids = [start + id_ + 2 if id_ < 0 else id_ for id_ in ids]  # -2 is <audio>, -1 is </audio>
    with pytest.raises(AudioMismatch, match=message):
        tiny_model(
            input_ids=torch.tensor([ids]),
            input_features=torch.zeros(1, 80, 4),
            feature_lengths=torch.tensor([3]),
        )


def test_ids_and_embeddings_together_are_refused(tiny_model):
    with pytest.raises(ValueError, match="either"):
        tiny_model(input_ids=torch.tensor([[1]]), inputs_embeds=torch.zeros(1, 1, 64))
