"""Decode files to arrays, through the child as the service does, or here, which is ten times faster."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.decode import DecodeOptions, decode
from pipeline.decode_child import run
from pipeline.decode_report import is_cut_off, judge, parse_report
from pipeline.timeline import Channels


@pytest.fixture
def decode_file():
    """(path, channels, limits) -> the finished ``Decoding`` and its samples, (samples, channels) int16."""

    def through_the_child(path, channels=Channels.MIX, **limits):
        with open(path, "rb") as file, decode(file, DecodeOptions(channels, **limits)) as decoding:
            pcm = b"".join(decoding.blocks())
        return decoding, np.frombuffer(pcm, "<i2").reshape(-1, decoding.channel_count)

    return through_the_child


@pytest.fixture
def decode_here():
    """The same, without a process: what the child runs, and what its parent makes of the report."""

    def in_this_process(path, channels=Channels.MIX, **limits):
        options = DecodeOptions(channels, **limits)
        blocks, reports = [], []
        with open(path, "rb", buffering=0) as file:
            run(
                file,
                channels,
                options.max_samples,
                write=lambda block: blocks.append(block.copy()),
                tell=lambda line: reports.append(parse_report(line)),
                confined={},
            )
        media, tally = reports[0]["media"], reports[1]["end"]
        samples = np.concatenate(blocks) if blocks else np.zeros((0, 1), np.int16)
        found = SimpleNamespace(
            media=media,
            channel_count=reports[0]["timeline_channels"],
            samples=tally.samples,
            warnings=judge(media, tally, options.max_samples),
            truncated=is_cut_off(media, tally),
        )
        return found, samples

    return in_this_process
