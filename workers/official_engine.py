"""Answer as the official evaluation decodes, with the engine that the service runs. Reaches torch."""

from __future__ import annotations

import threading
from typing import Any

import torch

from qwen_audio.answers import FinishReason
from qwen_audio.engine import Engine
from qwen_audio.features import Samples, audio_tokens, log_mel, mel_frames
from qwen_audio.tags import Prompt, Tag
from settings import Settings
from workers.checkpoints import find_source, load_options


class OfficialEngine(Engine):
    """An engine that says at least one token, and lets a loop run to the limit."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._alone = threading.Lock()  # two rows outside the batch would only slow each other down

    def answer(self, samples: Samples, prompt: Prompt, limit: int) -> str:
        """Return the answer about a clip, tags and all; raises the exceptions under ``QwenAudioError``.

        The engine ends an answer that says nothing or goes round in circles, for the service's sake. Such a clip is
        asked once more, by itself and by the official rules; all others are decoded in the engine's batches.
        """
        with self.open(samples) as prefix:
            answer = prefix.branch(prompt, limit).result()
        is_empty = answer.finish_reason is FinishReason.STOP and len(answer.ids) == 1
        if is_empty or answer.finish_reason is FinishReason.LOOP:
            with self._alone:
                return self._generate(samples, prompt, limit).strip()
        return answer.text.strip()

    @torch.inference_mode()
    def _generate(self, samples: Samples, prompt: Prompt, limit: int) -> str:
        frames = mel_frames(len(samples))
        ids = self.tokenizer.encode_template(f"{Tag.AUDIO_START}{Tag.AUDIO_END}", [audio_tokens(frames)])
        ids += self.tokenizer.encode_prompt(prompt)
        inputs = torch.tensor([ids], device=self._model.device)
        end = self.tokenizer.id_of(Tag.END_OF_TEXT)
        generated = self._model.generate(
            input_ids=inputs,
            attention_mask=torch.ones_like(inputs),
            input_features=log_mel(samples)[None].to(self._model.device),
            feature_lengths=torch.tensor([frames]),
            do_sample=False,
            top_k=None,  # the checkpoint's own are for sampling
            top_p=None,
            max_new_tokens=limit,
            min_new_tokens=1,
            eos_token_id=end,
            pad_token_id=end,
        )
        new = generated[0, len(ids) :].tolist()
        return self.tokenizer.decode(new[: new.index(end)] if end in new else new)


def load_engine(settings: Settings) -> OfficialEngine:
    """Load the model that the settings name, as the GPU worker does."""
    return OfficialEngine.load(
        find_source(settings, settings.model), places=settings.places, **load_options(settings)
    )
