"""Loading tensor by tensor gives what transformers loads, and takes no more memory than the weights."""

import gc

import pytest
import torch
from safetensors.torch import load_file, save_file

from qwen_audio import streaming
from qwen_audio.errors import InvalidCheckpoint, MissingTensor
from qwen_audio.loading import read_tensors
from qwen_audio.modeling import QwenAudioForConditionalGeneration
from qwen_audio.streaming import load_model, read_tensor

LOOK_EVERY = 7  # tensors


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("checkpoint", ["tiny_folder", "mini_folder", "golden_folder"])
def test_the_model_is_the_one_that_transformers_loads(request, checkpoint, dtype):
    folder = request.getfixturevalue(checkpoint)
    ours = load_model(folder, "cpu", dtype)
    theirs = QwenAudioForConditionalGeneration.from_pretrained(folder, dtype=dtype)
    state, expected = ours.state_dict(), theirs.state_dict()
    assert list(state) == list(expected)
    for name, tensor in expected.items():
        assert state[name].dtype == tensor.dtype, name
        assert torch.equal(state[name], tensor), name
    if (folder / "generation_config.json").is_file():
        assert ours.generation_config.to_dict() == theirs.generation_config.to_dict()
    assert ours.config._attn_implementation == theirs.config._attn_implementation
    assert not any(module.training for module in ours.modules())


def test_a_checkpoint_without_generation_config_loads(tiny_copy):
    (tiny_copy / "generation_config.json").unlink()
    model = load_model(tiny_copy, "cpu", torch.float32)
    assert model.generation_config is not None


def test_what_is_wrong_with_a_checkpoint_is_said_as_before(tiny_copy):
    tensors = load_file(tiny_copy / "model.safetensors")
    del tensors["lm_head.weight"]
    save_file(tensors, tiny_copy / "model.safetensors")
    with pytest.raises(MissingTensor, match=r"lm_head\.weight"):
        load_model(tiny_copy, "cpu", torch.float32)


def test_weights_that_are_no_floating_numbers_are_refused(tiny_copy):
    tensors = load_file(tiny_copy / "model.safetensors")
    tensors["transformer.ln_f.weight"] = tensors["transformer.ln_f.weight"].to(torch.int32)
    save_file(tensors, tiny_copy / "model.safetensors")
    with pytest.raises(InvalidCheckpoint, match=r"transformer\.ln_f\.weight is stored as I32"):
        load_model(tiny_copy, "cpu", torch.float32)


def test_a_file_that_becomes_shorter_meanwhile_is_an_error(tiny_copy):
    name, stored = next(reversed(read_tensors(tiny_copy).items()))
    stored.file.write_bytes(stored.file.read_bytes()[:-8])
    with pytest.raises(InvalidCheckpoint, match="truncated"):
        read_tensor(stored, name)


def test_loaded_weights_do_not_hang_on_the_file(tiny_copy):
    model = load_model(tiny_copy, "cpu", torch.bfloat16)
    before = model.lm_head.weight.clone()
    with (tiny_copy / "model.safetensors").open("r+b") as stream:
        size = stream.seek(0, 2)
        stream.seek(0)
        stream.write(b"\x01" * size)
    assert torch.equal(model.lm_head.weight, before)


def _live_bytes():
    """What all tensors of this process take that are not empty."""
    storages = {}
    for one in gc.get_objects():
        if type(one) in (torch.Tensor, torch.nn.Parameter) and not one.is_meta:
            storages[one.untyped_storage().data_ptr()] = one.untyped_storage().nbytes()
    return sum(storages.values())


@pytest.mark.parametrize(("dtype", "int8"), [(torch.float32, False), (torch.bfloat16, True)])
def test_one_tensor_is_held_beside_the_weights_and_not_another_copy(tiny_folder, monkeypatch, dtype, int8):
    read, held, loaded = streaming.read_tensor, {}, [0]

    def watched(stored, name):
        if len(loaded) % LOOK_EVERY == 0:  # a look at all that lives takes a while
            held[len(loaded) - 1] = _live_bytes() - before
        tensor = read(stored, name)
        loaded.append(loaded[-1] + tensor.numel() * dtype.itemsize)
        return tensor

    monkeypatch.setattr(streaming, "read_tensor", watched)
    gc.collect()
    before = _live_bytes()
    model = load_model(tiny_folder, "cpu", dtype, int8=int8)
    gc.collect()
    weights = sum(tensor.nbytes for tensor in model.state_dict().values())
    assert len(loaded) - 1 == len(read_tensors(tiny_folder))
    assert len(held) >= 5
    for count, bytes_held in held.items():  # when the next one is read
        assert bytes_held <= loaded[count] + 100_000
    assert weights <= _live_bytes() - before < 1.1 * weights
