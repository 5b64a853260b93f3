"""Take new prefixes in: encode their clips, each once, and compute them into their rooms."""

from __future__ import annotations

import time
from collections.abc import Sequence

from qwen_audio.encoding import embed_prefix, encode_clips, wait_for_device
from qwen_audio.errors import AnswerNotFinite
from qwen_audio.faults import Halver
from qwen_audio.forward import Forward
from qwen_audio.metrics import Tally
from qwen_audio.modeling import QwenAudioForConditionalGeneration
from qwen_audio.packing import pack, similar
from qwen_audio.prefix import Clip, Prefix
from qwen_audio.scheduling import Kept
from qwen_audio.tuning import Tuning


class Intake:
    """Fills rooms with prefixes; an error reaches only the prefix that causes it."""

    def __init__(
        self,
        model: QwenAudioForConditionalGeneration,
        forward: Forward,
        tuning: Tuning,
        tally: Tally,
    ) -> None:
        self._model = model
        self._forward = forward
        self._tuning = tuning
        self._tally = tally
        self._encoding, self._filling = Halver(), Halver()

    @property
    def halvings(self) -> int:
        """How often memory was short."""
        return self._encoding.halvings + self._filling.halvings

    def fill(self, new: Sequence[Kept]) -> dict[Kept, Exception]:
        """Encode and compute prefixes; return those that failed, with the reason.

        Raises ``EngineOutOfMemory``.
        """
        reasons = self._encode({_prefix(kept) for kept in new})
        failed = {kept: reasons[_prefix(kept)] for kept in new if _prefix(kept) in reasons}
        ready = [kept for kept in new if kept not in failed]
        for places in pack([kept.prefix.positions for kept in ready], self._tuning.call_positions):
            self._filling.run([ready[place] for place in places], self._compute, failed.__setitem__)
        return failed

    def _encode(self, prefixes: set[Prefix]) -> dict[Prefix, Exception]:
        """Encode the clips that have not been; return the reasons of the prefixes that failed."""
        owners = {clip: prefix for prefix in prefixes for clip in prefix.clips if clip.span is None}
        clips = list(owners)
        reasons: dict[Prefix, Exception] = {}

        def fail(clip: Clip, error: Exception) -> None:
            reasons[owners[clip]] = error

        for places in similar([clip.frames for clip in clips], self._tuning.call_frames):
            self._encoding.run([clips[place] for place in places], self._encode_together, fail)
        return reasons

    def _encode_together(self, clips: Sequence[Clip]) -> None:
        encode_clips(self._model, clips)
        self._tally.add(
            encodes=len(clips),
            audio_seconds=sum(clip.frames for clip in clips) / 100,
            encode_seconds=sum(clip.encode_seconds for clip in clips),
        )

    def _compute(self, new: Sequence[Kept]) -> None:
        """Compute prefixes together; an answer about one that is not finite could not be either."""
        began = time.monotonic()
        prefixes = [_prefix(kept) for kept in new]
        spans = [embed_prefix(self._model, prefix) for prefix in prefixes]
        finite = self._forward.fill(new, spans)
        wait_for_device(self._model)
        seconds = time.monotonic() - began
        if not all(finite):
            raise AnswerNotFinite("the prefix is not finite")  # each is tried alone then
        positions, again = sum(map(len, spans)), 0
        for prefix, span in zip(prefixes, spans, strict=True):
            again += prefix.prefills > 0  # it may stand there twice, for two factors
            prefix.prefills += 1
            prefix.prefill_seconds += seconds * len(span) / positions
        self._tally.add(
            prefills=len(new), refills=again, prefilled_positions=positions, prefill_seconds=seconds
        )


def _prefix(kept: Kept) -> Prefix:
    assert isinstance(kept.prefix, Prefix), "the schedule knows it as what it needs of it"
    return kept.prefix
