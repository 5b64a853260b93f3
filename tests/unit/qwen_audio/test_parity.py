"""Every recorded case of the official code, in float32: figures within 1e-4, ids exact."""

import hashlib
import json

import pytest
import torch
from safetensors.torch import load_file

CASES = ("short", "odd", "exact30", "over30", "batch4_single0", "three30_ntk", "cross_2048")


def _close(ours, official):
    torch.testing.assert_close(ours, torch.from_numpy(official), atol=1e-4, rtol=0)


def test_the_golden_checkpoint_has_the_recorded_bytes(golden, golden_folder):
    manifest = json.loads((golden / "tensor_manifest.json").read_text())
    tensors = load_file(golden_folder / "model.safetensors")
    hashes = {
        name: hashlib.sha256(tensor.view(torch.int16).numpy().tobytes()).hexdigest()
        for name, tensor in tensors.items()
    }
    assert hashes == {name: entry["sha256"] for name, entry in manifest.items()}


@pytest.mark.parametrize("name", CASES)
def test_the_template_gives_the_official_input_ids(case, name):
    case = case(name)
    assert case.inputs["input_ids"].tolist() == case.figures["input_ids"].tolist()


@pytest.mark.parametrize("name", CASES)
@torch.inference_mode()
def test_encoder_hidden_states_and_logits_equal_the_official_figures(case, golden_model, name):
    case = case(name)
    figures = case.figures
    spans = golden_model.encode_audio(case.inputs["input_features"], case.inputs["feature_lengths"])
    assert [len(span) for span in spans] == figures["audio_span_tokens"].tolist()
    recorded = figures["encoder_out"]  # long cases: the last clip only
    _close(torch.cat(spans)[-len(recorded) :], recorded)

    second_layer_inputs = []
    hook = golden_model.transformer.h[1].register_forward_pre_hook(
        lambda _module, inputs: second_layer_inputs.append(inputs[0])
    )
    hidden = golden_model.transformer(**case.inputs).last_hidden_state  # (1, length, hidden)
    hook.remove()
    _close(second_layer_inputs[0][:, -8:], figures["hidden_layer1_in"])
    _close(hidden[:, -figures["hidden_ln_f"].shape[1] :], figures["hidden_ln_f"])

    logits = golden_model.lm_head(hidden[:, -1])
    _close(logits[:, ::37], figures["logits_last_stride37"])
    if "logits_last" in figures:
        _close(logits, figures["logits_last"])
    # 155,947 differences of 1e-6 add up in a sum.
    assert logits.double().sum().item() == pytest.approx(figures["logits_last_sum"][0], abs=0.01)
    # In slices: all logits of a long case would take 1.4 GB.
    argmax = torch.cat([golden_model.lm_head(part).argmax(-1) for part in hidden[0].split(256)])
    assert argmax.tolist() == figures["argmax_all"][0].tolist()


@pytest.mark.parametrize("name", CASES)
def test_greedy_generation_gives_the_official_ids_and_top_logits(case, golden_model, name):
    case = case(name)
    official = case.figures["greedy_new_ids"]
    prompt = case.inputs["input_ids"].shape[1]
    generated = golden_model.generate(
        **case.inputs,
        max_new_tokens=official.shape[1],
        do_sample=False,
        eos_token_id=None,  # the figures were recorded without an end
        output_logits=True,
        return_dict_in_generate=True,
    )
    assert generated.sequences[:, prompt:].tolist() == official.tolist()
    top = torch.stack([step.topk(2).values for step in generated.logits], dim=1)  # (1, steps, 2)
    _close(top, case.figures["greedy_top2_logit"])
