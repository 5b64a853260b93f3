"""A GPU that is named and is not there is said with its variable."""

from __future__ import annotations

import pytest

from settings import InvalidSettings
from settings.devices import check_gpu


@pytest.mark.parametrize(("device", "there"), [("cuda", 0), ("cuda:0", 0), ("cuda:1", 1), ("cuda:12", 8)])
def test_a_gpu_that_is_not_there_is_said(device: str, there: int) -> None:
    with pytest.raises(InvalidSettings, match=f"EARWITNESS_DEVICE: there is no {device} here.*auto or cpu"):
        check_gpu(device, there)


@pytest.mark.parametrize(
    ("device", "there"), [("auto", 0), ("cpu", 0), ("cuda", 1), ("cuda:0", 1), ("cuda:7", 8)]
)
def test_what_is_there_and_what_needs_no_gpu_is_let_be(device: str, there: int) -> None:
    check_gpu(device, there)
