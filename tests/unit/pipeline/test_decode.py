"""Decode what people record, in every accepted format, and say what was odd about it."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest
from support.audio_makers import encode, film, noise, pcm, several_streams, tone, wav_bytes

from pipeline.decode import BLOCK_SAMPLES, DecodeOptions, decode
from pipeline.errors import UnsupportedChannelLayout
from pipeline.timeline import Channels


def loudest_hz(samples) -> float:
    spectrum = np.abs(np.fft.rfft(samples.astype(np.float64) * np.hanning(len(samples))))
    return float(np.argmax(spectrum)) * 16_000 / len(samples)


def codes(decoding) -> list[str]:
    return [warning.code for warning in decoding.warnings]


GOOD = [
    (".wav", "pcm_s16le", 8_000, 1),
    (".wav", "pcm_s16le", 48_000, 2),
    (".wav", "pcm_s24le", 44_100, 1),
    (".wav", "pcm_f32le", 44_100, 2),
    (".wav", "pcm_u8", 11_025, 1),
    (".wav", "pcm_mulaw", 8_000, 1),
    (".wav", "pcm_alaw", 8_000, 1),
    (".wav", "adpcm_ms", 22_050, 1),
    (".aiff", "pcm_s16be", 44_100, 2),
    (".caf", "alac", 44_100, 2),
    (".flac", "flac", 16_000, 1),
    (".flac", "flac", 48_000, 2),
    (".mp3", "libmp3lame", 8_000, 1),
    (".mp3", "libmp3lame", 44_100, 2),
    (".ogg", "libopus", 48_000, 1),
    (".webm", "libopus", 48_000, 2),
    (".mkv", "aac", 48_000, 2),
    (".m4a", "aac", 22_050, 1),
    (".m4a", "aac", 44_100, 2),
    (".aac", "aac", 32_000, 1),
    (".wma", "wmav2", 44_100, 1),
]


@pytest.mark.parametrize(("suffix", "codec", "rate", "channels"), GOOD)
def test_a_recording_keeps_its_length_and_its_pitch(decode_here, tmp_path, suffix, codec, rate, channels):
    path = encode(tmp_path / f"a{suffix}", tone(3.0, rate, 1_000, channels), rate, codec)
    decoding, samples = decode_here(path)
    assert samples.shape[1] == 1
    assert abs(len(samples) / 16_000 - 3.0) < 0.1
    assert abs(loudest_hz(samples[8_000:40_000, 0]) - 1_000) < 2
    assert 0.2 < np.abs(samples[8_000:40_000]).max() / 32_768 < 0.4
    assert (decoding.media.sampling_rate, decoding.media.channels) == (rate, channels)
    assert decoding.samples == len(samples)
    assert decoding.warnings == ()
    assert not decoding.truncated


GAPPED = [(".webm", "libopus"), (".mkv", "flac"), (".m4a", "aac")]


@pytest.mark.parametrize(("suffix", "codec"), GAPPED)
@pytest.mark.parametrize("channels", [Channels.MIX, Channels.SPLIT])
def test_where_a_file_says_that_nothing_was_recorded_there_is_silence(
    decode_here, tmp_path, suffix, codec, channels
):
    def paused(sample: int) -> int:
        return sample + (0 if sample < 48_000 else 4 * 48_000)

    path = encode(tmp_path / f"a{suffix}", tone(3.0, 48_000, channels=2), 48_000, codec, moved=paused)
    decoding, samples = decode_here(path, channels)
    assert codes(decoding) == ["gaps"]
    assert not decoding.truncated
    assert abs(len(samples) / 16_000 - 7.0) < 0.1
    assert abs(decoding.media.declared_seconds - 7.0) < 0.1
    seconds = [np.abs(samples[at * 16_000 + 3_200 : at * 16_000 + 12_800]).max() for at in range(7)]
    assert [loudest > 1_000 for loudest in seconds] == [True, False, False, False, False, True, True]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_sound_that_begins_behind_its_film_keeps_its_place(decode_here, tmp_path, suffix):
    path = film(tmp_path / f"a{suffix}", tone(2.0), moved=lambda sample: sample + 3 * 16_000)
    decoding, samples = decode_here(path)
    assert codes(decoding) == ["gaps"]
    assert abs(len(samples) / 16_000 - 5.0) < 0.2
    assert abs(np.flatnonzero(np.abs(samples[:, 0]) > 1_000)[0] / 16_000 - 3.0) < 0.1


@pytest.mark.parametrize(("suffix", "codec"), GAPPED)
def test_a_recording_whose_clock_does_not_start_at_0_begins_with_its_sound(
    decode_here, tmp_path, suffix, codec
):
    path = encode(
        tmp_path / f"a{suffix}", tone(3.0, 48_000), 48_000, codec, moved=lambda sample: sample + 60 * 48_000
    )
    decoding, samples = decode_here(path)
    assert codes(decoding) == []
    assert abs(len(samples) / 16_000 - 3.0) < 0.1


def test_packets_that_do_not_decode_leave_silence_in_their_place(decode_here, tmp_path):
    path = encode(tmp_path / "a.mkv", tone(4.0, 48_000), 48_000, "aac")
    whole = bytearray(path.read_bytes())
    third = len(whole) // 3
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux() if packet.size]
    for position, size in packets:
        if third < position < 2 * third:
            start = whole.index(b"\x81", position)
            whole[start + 4 : position + size] = b"\xff" * (position + size - start - 4)
    path.write_bytes(whole)
    decoding, samples = decode_here(path)
    assert "decode_errors" in codes(decoding)
    assert "gaps" not in codes(decoding)
    assert decoding.truncated
    assert abs(len(samples) / 16_000 - 4.0) < 0.1


def test_a_gap_beyond_what_the_file_declares_is_not_believed(decode_here, tmp_path, monkeypatch):
    path = encode(
        tmp_path / "a.mkv",
        tone(3.0),
        16_000,
        "flac",
        moved=lambda sample: sample * (1 if sample < 16_000 else 9),
    )
    monkeypatch.setattr("pipeline.media._declared_seconds", lambda *_: 3.0)
    _, samples = decode_here(path)
    assert abs(len(samples) / 16_000 - 3.0) < 0.1


def test_samples_at_16_khz_come_through_untouched(decode_file, tmp_path):
    wave = pcm(noise(1.0))
    (tmp_path / "a.wav").write_bytes(wav_bytes(wave))
    assert decode_file(tmp_path / "a.wav")[1].tobytes() == wave


def test_the_extension_does_not_matter(decode_here, tmp_path):
    path = encode(tmp_path / "a.mp3", tone(1.0, 44_100), 44_100, "libmp3lame").rename(tmp_path / "a.wav")
    assert decode_here(path)[0].media.container == "mp3"


def test_mix_is_the_average_of_the_channels(decode_here, tmp_path):
    wave = np.hstack([tone(1.0, level=0.5), np.zeros((16_000, 1), np.float32)])
    (tmp_path / "a.wav").write_bytes(wav_bytes(pcm(wave), channels=2))
    _, samples = decode_here(tmp_path / "a.wav")
    assert np.abs(samples[:, 0] / 32_767 - wave[:, 0] / 2).max() < 1e-4


def test_split_keeps_two_channels_apart(decode_file, tmp_path):
    wave = np.hstack([tone(1.0, hz=300), tone(1.0, hz=2_000)])
    path = encode(tmp_path / "a.flac", np.repeat(wave, 1, axis=0), 16_000, "flac")
    decoding, samples = decode_file(path, Channels.SPLIT)
    assert decoding.channel_count == 2
    assert [round(loudest_hz(samples[:, channel])) for channel in (0, 1)] == [300, 2_000]


def test_split_of_a_mono_recording_is_one_channel(decode_here, tmp_path):
    (tmp_path / "a.wav").write_bytes(wav_bytes(pcm(tone(1.0))))
    assert decode_here(tmp_path / "a.wav", Channels.SPLIT)[0].channel_count == 1


@pytest.mark.parametrize(("first", "then", "kept"), [(2, 1, [440, 1_000]), (1, 2, [440])])
def test_a_split_recording_keeps_its_channels_when_their_number_changes(
    decode_here, tmp_path, first, then, kept
):
    """What is mono for a while is on all channels, and what becomes stereo too late is mixed."""
    before = np.hstack([tone(2.0, hz=hz) for hz in (440, 1_000)[:first]])
    parts = [before, tone(2.0, hz=700, channels=then)]
    whole = [encode(tmp_path / f"{i}.mp3", part, 16_000, "libmp3lame") for i, part in enumerate(parts)]
    (tmp_path / "a.mp3").write_bytes(b"".join(path.read_bytes() for path in whole))
    _, samples = decode_here(tmp_path / "a.mp3", Channels.SPLIT)
    assert [round(loudest_hz(channel[8_000:24_000])) for channel in samples.T] == kept
    assert [round(loudest_hz(channel[-24_000:-8_000])) for channel in samples.T] == [700] * first


@pytest.mark.parametrize("channels", [3, 5, 8])
def test_more_than_two_channels_are_mixed_and_not_split(decode_here, tmp_path, channels):
    (tmp_path / "a.wav").write_bytes(wav_bytes(pcm(tone(1.0, channels=channels)), channels=channels))
    _, samples = decode_here(tmp_path / "a.wav")
    assert abs(loudest_hz(samples[:, 0]) - 440) < 2
    with pytest.raises(UnsupportedChannelLayout, match="only one or two can be split"):
        decode_here(tmp_path / "a.wav", Channels.SPLIT)


def test_a_phase_inverted_recording_is_warned_about(decode_here, tmp_path):
    wave = np.hstack([tone(1.0), -tone(1.0)])
    (tmp_path / "a.wav").write_bytes(wav_bytes(pcm(wave), channels=2))
    assert codes(decode_here(tmp_path / "a.wav")[0]) == ["phase_inverted"]
    assert codes(decode_here(tmp_path / "a.wav", Channels.SPLIT)[0]) == []


def test_silence_is_not_phase_inverted(decode_here, tmp_path):
    (tmp_path / "a.wav").write_bytes(wav_bytes(bytes(64_000), channels=2))
    assert codes(decode_here(tmp_path / "a.wav")[0]) == []


@pytest.mark.parametrize("declared_bytes", [0, 0xFFFFFFFF, 0x7FFFFFFF])
def test_a_wav_that_was_streamed_declares_nothing(decode_here, tmp_path, declared_bytes):
    (tmp_path / "a.wav").write_bytes(wav_bytes(pcm(tone(3.0)), declared_bytes=declared_bytes))
    decoding, samples = decode_here(tmp_path / "a.wav")
    assert len(samples) == 48_000
    assert codes(decoding) == []


def test_a_length_that_is_only_estimated_is_not_held_against_the_recording(decode_here, tmp_path):
    loud_first = np.concatenate([noise(4.0), np.zeros((60 * 16_000, 1), np.float32)])
    decoding, samples = decode_here(encode(tmp_path / "a.aac", loud_first, 16_000, "aac"))
    assert decoding.media.declared_seconds is None
    assert abs(len(samples) / 16_000 - 64) < 0.2
    assert codes(decoding) == []


@pytest.mark.parametrize("seconds", [3.0, 600.0], ids=["short", "beyond the probe"])
def test_a_cut_off_wav_is_partial(decode_here, tmp_path, seconds):
    whole = wav_bytes(pcm(tone(seconds)))
    (tmp_path / "a.wav").write_bytes(whole[: 44 + (len(whole) - 44) * 5 // 12 // 2 * 2])
    decoding, samples = decode_here(tmp_path / "a.wav")
    assert abs(len(samples) / 16_000 - seconds * 5 / 12) < 0.01
    assert codes(decoding) == ["truncated"]
    assert decoding.truncated
    assert f"declared {seconds:.2f} s" in str(decoding.warnings[0])


@pytest.mark.parametrize(
    ("suffix", "codec", "options"),
    [(".mp3", "libmp3lame", {}), (".flac", "flac", {}), (".mkv", "flac", {})],
)
def test_a_cut_off_file_with_a_declared_length_is_partial(decode_here, tmp_path, suffix, codec, options):
    path = encode(tmp_path / f"a{suffix}", noise(3.0, 44_100), 44_100, codec, **options)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 48 // 100])
    decoding, samples = decode_here(path)
    assert 1.0 < len(samples) / 16_000 < 1.6
    assert "truncated" in codes(decoding)
    assert decoding.truncated


def test_garbage_in_the_middle_is_counted_and_the_rest_is_kept(decode_here, tmp_path):
    path = encode(tmp_path / "a.mp3", noise(10.0, 44_100), 44_100, "libmp3lame")
    whole = bytearray(path.read_bytes())
    middle = len(whole) // 2
    whole[middle : middle + 3_000] = np.random.default_rng(0).bytes(3_000)
    path.write_bytes(whole)
    decoding, samples = decode_here(path)
    assert 9.5 < len(samples) / 16_000 < 10.1
    assert "decode_errors" in codes(decoding)
    assert not decoding.truncated


def test_values_that_are_no_numbers_become_zero_before_resampling(decode_here, tmp_path):
    wave = tone(2.0, 44_100)[:, 0]
    wave[20_000:24_000] = np.nan
    wave[30_000], wave[30_001], wave[30_002] = np.inf, -np.inf, 1e30
    (tmp_path / "a.wav").write_bytes(wav_bytes(wave.astype("<f4").tobytes(), 44_100, bits=32, is_float=True))
    decoding, samples = decode_here(tmp_path / "a.wav")
    assert codes(decoding) == ["non_finite_samples"]
    assert "4.5%" in str(decoding.warnings[0])
    assert not samples[7_400:8_600].any()
    assert abs(loudest_hz(samples[16_000:, 0]) - 440) < 2


def test_a_single_value_that_is_no_number_is_not_worth_a_warning(decode_here, tmp_path):
    wave = tone(1.0)[:, 0].astype("<f8")
    wave[100] = np.nan
    (tmp_path / "a.wav").write_bytes(wav_bytes(wave.tobytes(), bits=64, is_float=True))
    assert codes(decode_here(tmp_path / "a.wav")[0]) == []


def test_the_sound_of_a_film_is_heard(decode_file, tmp_path):
    decoding, samples = decode_file(film(tmp_path / "a.mp4", tone(1.0)))
    assert abs(len(samples) - 16_000) < 2_100
    assert codes(decoding) == []


def test_of_several_audio_streams_one_is_taken_and_named(decode_here, tmp_path):
    path = several_streams(tmp_path / "a.mkv", [tone(1.0, hz=300), tone(1.0, hz=2_000)])
    decoding, samples = decode_here(path)
    assert codes(decoding) == ["several_audio_streams"]
    assert "stream 0 of 2" in str(decoding.warnings[0])
    assert abs(loudest_hz(samples[:, 0]) - 300) < 2


def test_blocks_have_one_size_but_the_last(tmp_path):
    (tmp_path / "a.wav").write_bytes(wav_bytes(pcm(noise(20.0, channels=2)), channels=2))
    with (
        open(tmp_path / "a.wav", "rb") as file,
        decode(file, DecodeOptions(Channels.SPLIT)) as decoding,
    ):
        sizes = [len(block) for block in decoding.blocks()]
    assert sizes == [BLOCK_SAMPLES * 4, BLOCK_SAMPLES * 4, (320_000 - 2 * BLOCK_SAMPLES) * 4]


def test_a_file_whose_position_is_elsewhere_is_decoded_from_its_start(tmp_path):
    (tmp_path / "a.wav").write_bytes(wav_bytes(pcm(tone(1.0))))
    with open(tmp_path / "a.wav", "rb") as file:
        file.seek(0, io.SEEK_END)
        with decode(file, DecodeOptions()) as decoding:
            assert sum(len(block) for block in decoding.blocks()) == 32_000


@pytest.mark.parametrize("limits", [{"max_seconds": 0}, {"max_seconds": float("nan")}, {"memory_bytes": 1}])
def test_nonsense_limits_are_refused(limits):
    with pytest.raises(ValueError, match=r"has to be|too little"):
        DecodeOptions(**limits)
