import torch
from transformers import AutoModelForCausalLM

from qwen_audio.tags import Tag
from qwen_audio.tiny import main, syllable_ranks, write_tiny
from qwen_audio.tokenizer import QwenAudioTokenizer


def _bytes(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_the_same_seed_writes_the_same_bytes_and_another_seed_does_not(tiny_folder, tmp_path):
    write_tiny(tmp_path / "same", seed=0)
    write_tiny(tmp_path / "other", seed=1)
    assert _bytes(tmp_path / "same") == _bytes(tiny_folder)
    assert _bytes(tmp_path / "other")["model.safetensors"] != _bytes(tiny_folder)["model.safetensors"]


def test_it_is_small_and_has_the_official_files(tiny_folder):
    files = _bytes(tiny_folder)
    assert files.keys() == {"config.json", "generation_config.json", "model.safetensors", "qwen.tiktoken"}
    assert sum(map(len, files.values())) < 4_000_000


def test_every_merge_of_its_vocabulary_can_be_reached(tiny_tokenizer):
    for token, rank in syllable_ranks().items():
        if token.isascii():
            assert tiny_tokenizer.encode(token.decode()) == [rank]


def test_its_embedding_has_rows_that_no_token_owns(tiny_model, tiny_tokenizer):
    assert tiny_model.config.vocab_size > tiny_tokenizer.vocabulary_size
    assert tiny_model.config.audio_start_id == tiny_tokenizer.id_of(Tag.AUDIO_START)


def test_it_says_printable_nonsense_that_differs_with_the_prompt(tiny_model, tiny_tokenizer):
    prompts = torch.tensor(
        [tiny_tokenizer.encode(text)[:4] for text in ("hello there", "music box", "what is it")]
    )
    new = tiny_model.generate(input_ids=prompts, max_new_tokens=20)[:, prompts.shape[1] :]
    texts = [tiny_tokenizer.decode(row, skip_special=True) for row in new.tolist()]
    assert len(set(texts)) == len(texts)
    assert all(text.isprintable() and text for text in texts)


def test_the_command_writes_a_checkpoint_that_loads(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["tiny", str(tmp_path / "out"), "--seed", "3"])
    main()
    assert "untrained" in capsys.readouterr().out
    AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    QwenAudioTokenizer.from_pretrained(tmp_path / "out")
