"""The receiver that the documentation shows tells genuine messages from others."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from webhooks.signing import new_secret, signed_headers

NOW = 1_700_000_000
BODY = b'{"type":"job.succeeded"}'


@pytest.fixture(scope="module")
def is_genuine():
    path = Path(__file__).resolve().parents[3] / "docs" / "webhook_receiver.py"
    spec = importlib.util.spec_from_file_location("webhook_receiver", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.is_genuine


def test_what_we_sign_it_takes(is_genuine):
    old, new = new_secret(), new_secret()
    headers = signed_headers([new, old], "m1", NOW, BODY)
    for secret in (old, new):
        assert is_genuine(secret, headers, BODY, NOW)
    assert not is_genuine(new_secret(), headers, BODY, NOW)


@pytest.mark.parametrize(("late", "taken"), [(299, True), (-299, True), (301, False), (-301, False)])
def test_a_replay_is_refused(is_genuine, late, taken):
    secret = new_secret()
    assert is_genuine(secret, signed_headers([secret], "m1", NOW, BODY), BODY, NOW + late) is taken


def test_one_bit_makes_it_another_message(is_genuine):
    secret = new_secret()
    headers = dict(signed_headers([secret], "m1", NOW, BODY))
    for bit in range(len(BODY) * 8):
        changed = bytearray(BODY)
        changed[bit // 8] ^= 1 << bit % 8
        assert not is_genuine(secret, headers, bytes(changed), NOW)
    assert not is_genuine(secret, {**headers, "webhook-id": "m2"}, BODY, NOW)
    assert not is_genuine(secret, {**headers, "webhook-timestamp": str(NOW + 1)}, BODY, NOW)
    assert not is_genuine(secret, {**headers, "webhook-signature": "v1,é"}, BODY, NOW)
    assert not is_genuine(secret, {}, BODY, NOW)
