"""A configuration with a name that does not exist, or without what it needs, is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.errors import InvalidTrainingConfig
from training.settings import read_config

CONFIGS = Path(__file__).resolve().parents[3] / "training" / "configs"


def read(folder: Path, text: str):
    path = folder / "run.toml"
    path.write_text(text)
    return read_config(path)


@pytest.mark.parametrize("name", sorted(path.name for path in CONFIGS.glob("*.toml")))
def test_the_configurations_that_come_along_can_be_read(name: str) -> None:
    assert read_config(CONFIGS / name).schedule.minutes > 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("takes = 'a'", "out is missing"),
        ("out = 'a'", "either takes"),
        ("out = 'a'\ntakes = 'b'\ndata = 'c'", "either takes"),
        ("out = 'a'\ndata = 'c'", "needs a base"),
        ("out = 'a'\ntakes = 'b'\nspeed = 1", "unknown speed"),
        ("out = 'a'\ntakes = 'b'\n[schedule]\nepochs = 1", "unknown epochs"),
        ("out = 'a'\ntakes = 'b'\n[schedule]\nrate = 0.0", "rate"),
        ("out = 'a'\ntakes = 'b'\nprecision = 'int8'", "precision"),
        ("out = 'a'\ntakes = 'b'\nfreeze = 'all'", "freeze"),
        ("out = ", "run.toml"),
    ],
)
def test_a_wrong_configuration_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(InvalidTrainingConfig, match=reason):
        read(tmp_path, text)
