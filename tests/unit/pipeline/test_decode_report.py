"""Judge recordings by the decoder's report: what is refused, what is warned about, and where the borders lie."""

from __future__ import annotations

import json

import pytest

from pipeline.decode_report import Media, Tally, is_cut_off, judge, parse_report
from pipeline.errors import AudioError


def verdict(decoded_seconds, declared_seconds=None, *, container="mp3", max_seconds=3_600, **tally):
    """The codes of the warnings, or the code of the refusal, and whether the recording counts as cut off."""
    media = Media(container, "mp3", 44_100, 1, declared_seconds, 1, 0)
    found = Tally(samples=round(decoded_seconds * 16_000), **{"packets": 1_000, **tally})
    try:
        return [warning.code for warning in judge(media, found, max_seconds * 16_000)], is_cut_off(
            media, found
        )
    except AudioError as error:
        return error.code


def test_a_whole_recording_is_as_long_as_it_says():
    for decoded, declared in (
        (10, 10),
        (10, None),
        (9.9, 10),
        (10.9, 10),
        (3_570, 3_600),
        (0.9, 1.0),
        (0.12, 0.3),
    ):
        assert verdict(decoded, declared) == ([], False)


def test_what_is_missing_is_said_and_from_a_twentieth_on_it_is_partial():
    assert verdict(97, 100) == (["truncated"], False)
    assert verdict(94, 100) == (["truncated"], True)
    assert verdict(1.25, 3.0) == (["truncated"], True)
    assert verdict(1.44, 3.0, decode_errors=1) == (["truncated", "decode_errors"], True)
    assert verdict(0.2, 100) == (["truncated"], True)


def test_what_is_too_much_is_said():
    assert verdict(102, 100) == (["longer_than_declared"], False)


def test_damage_is_counted_and_with_less_than_half_left_refused():
    assert verdict(98, 100, decode_errors=30) == (["truncated", "decode_errors"], False)
    assert verdict(60, 100, decode_errors=300) == (["truncated", "decode_errors"], True)
    assert verdict(49, 100, decode_errors=300) == "corrupt_audio"
    assert verdict(49, 100, decode_errors=5) == (["truncated", "decode_errors"], True)


def test_silence_in_place_of_lost_packets_is_no_sound_and_that_of_a_pause_is_said():
    lost = {"decode_errors": 300, "lost_samples": 40 * 16_000}
    assert verdict(100, 100, **lost) == (["truncated", "decode_errors"], True)
    assert verdict(100, 100, decode_errors=300, lost_samples=51 * 16_000) == "corrupt_audio"
    assert verdict(100, 100, gap_samples=60 * 16_000) == (["gaps"], False)


@pytest.mark.parametrize(
    ("container", "code"), [("mp3", "unsupported_or_corrupt"), ("mov,mp4,m4a,3gp,3g2,mj2", "corrupt_audio")]
)
def test_nothing_but_errors_is_no_audio(container, code):
    assert verdict(0, container=container, decode_errors=7) == code
    assert verdict(0, container=container) == "no_audio_samples"


def test_length_has_a_least_and_a_most():
    assert verdict(0.0999) == "too_short"
    assert verdict(0.1) == ([], False)
    assert verdict(3_600) == ([], False)
    assert verdict(3_600.1) == "duration_limit_exceeded"


def test_values_that_are_no_numbers():
    assert verdict(1, source_values=1_000, non_finite_values=1_000) == "invalid_samples"
    assert verdict(1, source_values=1_000, non_finite_values=11) == (["non_finite_samples"], False)
    assert verdict(1, source_values=1_000, non_finite_values=10) == ([], False)


def test_a_mix_that_is_far_quieter_than_its_channels():
    assert verdict(1, channel_energy=100.0, mix_energy=0.9) == (["phase_inverted"], False)
    assert verdict(1, channel_energy=100.0, mix_energy=1.0) == ([], False)
    assert verdict(1, channel_energy=0.0, mix_energy=0.0) == ([], False)


@pytest.mark.parametrize("channel_count", [0, 3, "2", None])
def test_a_timeline_has_one_channel_or_two(channel_count):
    media = vars(Media("wav", "pcm", 16_000, 1, None, 1, 0))
    report = {"media": media, "confined": {}, "timeline_channels": 2}
    parsed = parse_report(json.dumps(report).encode())
    assert parsed == {**report, "media": Media(**media)}
    with pytest.raises(ValueError, match="one channel or two"):
        parse_report(json.dumps({**report, "timeline_channels": channel_count}).encode())
