import json
import runpy

import pytest
from transformers import AutoConfig

from qwen_audio.configuration import QwenAudioConfig
from qwen_audio.errors import UnsupportedConfiguration


@pytest.fixture(scope="session")
def official(golden):
    return runpy.run_path(str(golden / "checkpoint.py"))["CONFIG"]


def test_the_official_file_is_read_as_it_is_through_auto_config(official, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(official))
    config = AutoConfig.from_pretrained(tmp_path)
    assert type(config) is QwenAudioConfig
    assert {
        key: getattr(config, key) for key in official if key not in ("auto_map", "transformers_version")
    } == {key: value for key, value in official.items() if key not in ("auto_map", "transformers_version")}


def test_a_saved_configuration_is_the_one_that_was_read_without_its_remote_code(official, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(official))
    config = QwenAudioConfig.from_pretrained(tmp_path)
    config.save_pretrained(tmp_path / "again")
    saved = json.loads((tmp_path / "again" / "config.json").read_text())
    assert "auto_map" not in saved
    assert saved["audio"] == official["audio"]
    assert saved["model_type"] == "qwen"
    again = QwenAudioConfig.from_pretrained(tmp_path / "again")
    assert again.to_dict() == config.to_dict()


def test_the_vocabulary_ends_with_the_closing_audio_tag():
    assert QwenAudioConfig().vocabulary_size == 155_165


NO_POOL = {**QwenAudioConfig().audio, "avg_pool": False}


@pytest.mark.parametrize(
    "change", [{"rotary_pct": 0.5}, {"no_bias": False}, {"hidden_size": 2048}, {"audio": NO_POOL}]
)
def test_a_variant_that_was_never_published_is_refused(change):
    with pytest.raises(UnsupportedConfiguration, match=r"config\.json"):
        QwenAudioConfig(**change)


def test_an_audio_section_that_lacks_a_size_is_refused_by_name():
    audio = QwenAudioConfig().audio
    del audio["n_ctx"]
    with pytest.raises(UnsupportedConfiguration, match="n_ctx"):
        QwenAudioConfig(audio=audio)
