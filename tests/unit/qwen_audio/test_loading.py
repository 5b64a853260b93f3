import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from qwen_audio import loading
from qwen_audio.engine import Engine
from qwen_audio.errors import (
    CheckpointNotFound,
    InvalidCheckpoint,
    MissingTensor,
    PickleCheckpoint,
    UnknownTensor,
    UnpinnedRevision,
    WrongShape,
)
from qwen_audio.modeling import QwenAudioForConditionalGeneration
from qwen_audio.tiny import write_tiny

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def _load(folder):
    return QwenAudioForConditionalGeneration.from_pretrained(folder, dtype="float32")


def _change(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_missing_tensor_is_an_error_that_names_it(tiny_copy):
    _change(tiny_copy, lambda tensors: tensors.pop("transformer.h.1.attn.c_attn.bias"))
    with pytest.raises(MissingTensor, match=r"transformer\.h\.1\.attn\.c_attn\.bias"):
        _load(tiny_copy)


def test_a_wrong_shape_is_an_error_that_names_both_shapes(tiny_copy):
    _change(tiny_copy, lambda tensors: tensors.update({"transformer.ln_f.weight": torch.ones(3)}))
    with pytest.raises(WrongShape, match=r"transformer\.ln_f\.weight has shape \[3\].*\[64\]"):
        _load(tiny_copy)


def test_an_unknown_tensor_is_an_error_that_names_it(tiny_copy):
    _change(tiny_copy, lambda tensors: tensors.update({"transformer.h.7.ln_1.weight": torch.ones(64)}))
    with pytest.raises(UnknownTensor, match=r"transformer\.h\.7\.ln_1\.weight"):
        _load(tiny_copy)


def test_the_names_of_the_composed_model_are_unknown_on_disk(tiny_copy):
    name = "transformer.h.0.self_attn.qkv_proj.bias"
    _change(tiny_copy, lambda tensors: tensors.update({name: torch.zeros(192)}))
    with pytest.raises(UnknownTensor, match="qkv_proj"):
        _load(tiny_copy)


def test_the_constants_of_old_checkpoints_are_passed_over(tiny_copy, tiny_model):
    old = {"transformer.rotary_emb.inv_freq": torch.ones(8)}
    for layer in range(2):
        old[f"transformer.h.{layer}.attn.rotary_emb.inv_freq"] = torch.ones(8)
        old[f"transformer.h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
        old[f"transformer.h.{layer}.attn.logn_tensor"] = torch.ones(4)
    _change(tiny_copy, lambda tensors: tensors.update(old))
    ids = torch.tensor([[65, 66, 67]])
    assert torch.equal(_load(tiny_copy)(input_ids=ids).logits, tiny_model(input_ids=ids).logits)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "model.pt"])
def test_a_pickle_file_is_refused_and_never_opened(tiny_copy, name):
    (tiny_copy / "model.safetensors").rename(tiny_copy / name)
    with pytest.raises(PickleCheckpoint, match=name):
        _load(tiny_copy)


def test_a_folder_without_weights_is_refused(tiny_copy):
    (tiny_copy / "model.safetensors").unlink()
    with pytest.raises(CheckpointNotFound, match=r"model\.safetensors"):
        _load(tiny_copy)


@pytest.mark.parametrize("content", [b"", b"\xff" * 9, b"\x02\0\0\0\0\0\0\0{}"[:9], b"\x02\0\0\0\0\0\0\0[]"])
def test_a_damaged_weights_file_is_refused(tiny_copy, content):
    (tiny_copy / "model.safetensors").write_bytes(content)
    with pytest.raises(InvalidCheckpoint, match=r"model\.safetensors"):
        _load(tiny_copy)


def test_a_truncated_weights_file_is_refused(tiny_copy):
    file = tiny_copy / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(InvalidCheckpoint, match="truncated"):
        _load(tiny_copy)


def _shard(folder):
    """Split the weights into two files with an index, as the official checkpoint is."""
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    weight_map = {}
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        file = f"model-0000{number}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").unlink()


def test_shards_with_an_index_load_like_one_file(tiny_copy, tiny_model):
    _shard(tiny_copy)
    ids = torch.tensor([[65, 66, 67]])
    assert torch.equal(_load(tiny_copy)(input_ids=ids).logits, tiny_model(input_ids=ids).logits)


def test_a_shard_that_is_not_there_is_named(tiny_copy):
    _shard(tiny_copy)
    (tiny_copy / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointNotFound, match="model-00002-of-00002"):
        _load(tiny_copy)


def test_a_tensor_that_the_index_promises_and_no_shard_holds_is_missing(tiny_copy):
    _shard(tiny_copy)
    shard = tiny_copy / "model-00001-of-00002.safetensors"
    tensors = load_file(shard)
    name = next(iter(tensors))
    del tensors[name]
    save_file(tensors, shard, metadata={"format": "pt"})
    with pytest.raises(MissingTensor, match=name):
        _load(tiny_copy)


def test_the_fingerprint_does_not_depend_on_sharding(tiny_folder, tiny_copy):
    assert loading.fingerprint(tiny_copy) == loading.fingerprint(tiny_folder)
    _shard(tiny_copy)
    assert loading.fingerprint(tiny_copy) == loading.fingerprint(tiny_folder)


@pytest.mark.parametrize("file", ["config.json", "qwen.tiktoken", "weights"])
def test_the_fingerprint_changes_with_every_part_of_the_checkpoint(tiny_folder, tiny_copy, file):
    if file == "weights":
        _change(tiny_copy, lambda tensors: tensors["transformer.ln_f.weight"].mul_(2))
    else:
        (tiny_copy / file).write_bytes((tiny_copy / file).read_bytes() + b"\n")
    assert loading.fingerprint(tiny_copy) != loading.fingerprint(tiny_folder)


@pytest.mark.parametrize("source", ["nowhere", "./no/such/folder", "a/b/c"])
def test_a_place_without_a_checkpoint_is_refused(source):
    with pytest.raises(CheckpointNotFound, match="owner/name@commit"):
        loading.find_checkpoint(source)


@pytest.mark.parametrize("source", ["Qwen/Qwen-Audio", "Qwen/Qwen-Audio@main", "Qwen/Qwen-Audio@0123456"])
def test_a_hub_name_needs_a_full_commit_hash(source):
    with pytest.raises(UnpinnedRevision, match="40 hex"):
        loading.find_checkpoint(source)


@pytest.mark.parametrize(
    ("source", "revision"), [(f"Qwen/Qwen-Audio@{COMMIT}", None), ("Qwen/Qwen-Audio", COMMIT)]
)
def test_only_json_safetensors_and_the_vocabulary_are_fetched_from_the_hub(
    monkeypatch, tiny_folder, source, revision
):
    calls = []

    def snapshot_download(name, **options):
        calls.append((name, options))
        return str(tiny_folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    QwenAudioForConditionalGeneration.from_pretrained(source, revision=revision)
    patterns = ["*.json", "*.safetensors", "*.tiktoken"]
    assert calls == [("Qwen/Qwen-Audio", {"revision": COMMIT, "allow_patterns": patterns})]


def test_python_files_beside_the_weights_are_not_run(tiny_copy, tmp_path):
    config = json.loads((tiny_copy / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "modeling_qwen.QWenLMHeadModel"}
    (tiny_copy / "config.json").write_text(json.dumps(config))
    (tiny_copy / "modeling_qwen.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    _load(tiny_copy)
    assert not (tmp_path / "ran").exists()
    shutil.rmtree(tiny_copy)


def test_a_checkpoint_may_say_how_long_a_clip_it_follows(tmp_path):
    write_tiny(tmp_path)
    with Engine.load(tmp_path, device="cpu") as engine:
        assert engine.clip_samples is None
    path = tmp_path / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "clip_seconds": 6.5}))
    with Engine.load(tmp_path, device="cpu") as engine:
        assert engine.clip_samples == 104_000
