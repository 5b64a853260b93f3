"""Compose Qwen-Audio from its encoder and decoder layers, under transformers' interface.

What differs from transformers' models: audio spans replace embeddings, the dynamic NTK factor is fixed when the
prompt is computed and lives on the cache, and tensors keep their official names on disk (``qwen_audio.names``).
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, LogitsProcessor, LogitsProcessorList
from transformers.cache_utils import Cache, DynamicCache
from transformers.generation import GenerationMixin
from transformers.masking_utils import create_causal_mask
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.modeling_utils import PreTrainedModel

from qwen_audio.configuration import QwenAudioConfig
from qwen_audio.decoder import QwenAudioDecoderLayer
from qwen_audio.encoder import QwenAudioEncoder
from qwen_audio.errors import AudioMismatch
from qwen_audio.loading import check_tensors, find_checkpoint
from qwen_audio.names import IGNORED_TENSORS, official_shapes, register_names
from qwen_audio.rotary import ntk_alpha, query_scale, rotary_table


class QwenAudioPreTrainedModel(PreTrainedModel):  # type: ignore[misc]  # transformers is untyped
    """What transformers needs to know about every class of this model."""

    config_class = QwenAudioConfig
    base_model_prefix = "transformer"
    supports_gradient_checkpointing = True
    _no_split_modules = ("QwenAudioDecoderLayer", "Qwen2AudioEncoderLayer")
    _skip_keys_device_placement = ("past_key_values",)
    _supports_sdpa = True
    _supports_flash_attn = False  # its padded rows are untested against the parity figures
    _keys_to_ignore_on_load_unexpected = IGNORED_TENSORS


class QwenAudioModel(QwenAudioPreTrainedModel):
    """The audio encoder and the language model without its head."""

    def __init__(self, config: QwenAudioConfig) -> None:
        super().__init__(config)
        self.wte = nn.Embedding(config.vocab_size, config.hidden_size)
        self.audio = QwenAudioEncoder(config)
        self.h = nn.ModuleList(
            QwenAudioDecoderLayer(config, layer_idx) for layer_idx in range(config.num_hidden_layers)
        )
        self.ln_f = nn.RMSNorm(config.hidden_size, eps=config.layer_norm_epsilon)
        self.gradient_checkpointing = False
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        """Return the token embedding."""
        return self.wte

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Replace the token embedding."""
        self.wte = value

    def embed(self, input_ids: torch.Tensor, spans: Sequence[torch.Tensor]) -> torch.Tensor:
        """Embed ids (rows, length) and lay the audio spans over their places, in row-major order.

        A span's place starts at ``<audio>`` and ends at ``</audio>``. Raises ``AudioMismatch`` when the places and
        the spans differ in number or length.
        """
        embeds: torch.Tensor = self.wte(input_ids)
        places = (input_ids == self.config.audio_start_id).nonzero().tolist() if spans else []
        if len(places) != len(spans):
            raise AudioMismatch(f"{len(places)} audio places in the input ids for {len(spans)} clips")
        embeds = embeds.clone() if spans else embeds  # never write into what autograd may still need
        for (row, start), span in zip(places, spans, strict=True):
            end = start + len(span)
            if end > input_ids.shape[1] or input_ids[row, end - 1] != self.config.audio_end_id:
                raise AudioMismatch(f"row {row}: the audio place at {start} does not hold {len(span)} ids")
            embeds[row, start:end] = span.to(embeds.dtype)
        return embeds

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        input_features: torch.Tensor | None = None,
        feature_lengths: torch.Tensor | None = None,
        ntk_alpha: torch.Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """Compute hidden states, (rows, length, hidden); see ``QwenAudioForConditionalGeneration.forward``."""
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give either input_ids or inputs_embeds")
        if inputs_embeds is None:
            assert input_ids is not None
            spans = self.audio(input_features, feature_lengths) if input_features is not None else []
            inputs_embeds = self.embed(input_ids, spans)
        use_cache = self.config.use_cache if use_cache is None else use_cache
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache()
        positions = _positions(inputs_embeds, attention_mask, position_ids, past_key_values)
        alpha = (
            self._alpha(inputs_embeds, attention_mask, past_key_values) if ntk_alpha is None else ntk_alpha
        )
        mask = create_causal_mask(
            config=self.config,
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
        )
        scale = torch.ones_like(positions, dtype=torch.float32)
        if not self.training:
            scale = query_scale(positions, self.config)
        hidden = inputs_embeds
        table = rotary_table(positions, alpha, scale, self.config)
        for layer in self.h:
            hidden = layer(
                hidden,
                attention_mask=mask,
                past_key_values=past_key_values,
                position_embeddings=table,
                **kwargs,
            )
        return BaseModelOutputWithPast(last_hidden_state=self.ln_f(hidden), past_key_values=past_key_values)

    def _alpha(
        self, embeds: torch.Tensor, attention_mask: torch.Tensor | None, cache: Cache | None
    ) -> torch.Tensor:
        """Compute the NTK factors of new prompts, or read those that the cache was filled with.

        They live on the cache: calls that run side by side never see each other's.
        """
        if cache is not None and cache.get_seq_length() > 0:
            kept: torch.Tensor | None = getattr(cache, "ntk_alpha", None)
            if kept is None:
                raise ValueError("the cache was not filled by this model: pass ntk_alpha beside it")
            return kept
        rows, length = embeds.shape[:2]
        lengths = torch.full((rows,), length, device=embeds.device)
        if attention_mask is not None and attention_mask.dim() == 2:
            lengths = attention_mask.sum(-1)
        alpha = torch.ones_like(lengths, dtype=torch.float32)
        if not self.training:
            alpha = ntk_alpha(lengths, self.config)
        if cache is not None:
            cache.ntk_alpha = alpha
        return alpha


def _positions(
    embeds: torch.Tensor,
    attention_mask: torch.Tensor | None,
    position_ids: torch.Tensor | None,
    cache: Cache | None,
) -> torch.Tensor:
    """Count each row's real tokens, (rows, length); what stands before its first one gets 0."""
    rows, length = embeds.shape[:2]
    if position_ids is not None:
        return position_ids.expand(rows, -1)
    if attention_mask is not None and attention_mask.dim() == 2:
        return torch.clamp(attention_mask.long().cumsum(-1) - 1, min=0)[:, -length:]
    past = 0 if cache is None else cache.get_seq_length()
    return torch.arange(past, past + length, device=embeds.device).expand(rows, -1)


class QwenAudioForConditionalGeneration(QwenAudioPreTrainedModel, GenerationMixin):  # type: ignore[misc]  # transformers is untyped
    """Qwen-Audio, base or Chat, under transformers' interface."""

    def __init__(self, config: QwenAudioConfig) -> None:
        super().__init__(config)
        self.transformer = QwenAudioModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    @classmethod
    def from_pretrained(
        cls, source: str | PathLike[str], *args: Any, config: QwenAudioConfig | None = None, **kwargs: Any
    ) -> Any:
        """Load a checkpoint in the official layout; ``dtype`` and the rest as in transformers.

        ``source`` is a folder, or a hub name with ``revision=`` a full commit hash. Every tensor is checked against
        ``config.json`` first: raises the exceptions under ``InvalidCheckpoint``. Reads safetensors only.
        """
        folder = find_checkpoint(source, kwargs.pop("revision", None))
        config = QwenAudioConfig.from_pretrained(folder) if config is None else config
        check_tensors(folder, official_shapes(cls, config))
        return super().from_pretrained(folder, *args, config=config, use_safetensors=True, **kwargs)

    def encode_audio(self, input_features: torch.Tensor, feature_lengths: torch.Tensor) -> list[torch.Tensor]:
        """Encode clips to spans, (audio tokens + 2, hidden) each; see ``QwenAudioEncoder.forward``."""
        spans: list[torch.Tensor] = self.transformer.audio(input_features, feature_lengths)
        return spans

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        input_features: torch.Tensor | None = None,
        feature_lengths: torch.Tensor | None = None,
        ntk_alpha: torch.Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Compute logits, (rows, length or ``logits_to_keep``, vocab_size).

        ``input_ids`` (rows, length), left-padded under ``attention_mask`` (rows, past + length), hold the audio
        places; ``input_features`` (clips, 80, frames) and ``feature_lengths`` (clips,), in mel frames, the clips in
        row-major order. ``ntk_alpha`` (rows,) overrides the factors that else follow from the prompts' lengths.
        """
        outputs = self.transformer(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            input_features=input_features,
            feature_lengths=feature_lengths,
            ntk_alpha=ntk_alpha,
            use_cache=use_cache,
            **kwargs,
        )
        hidden = outputs.last_hidden_state
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(hidden[:, kept])
        return CausalLMOutputWithPast(logits=logits, past_key_values=outputs.past_key_values)

    def generate(
        self, *args: Any, logits_processor: list[LogitsProcessor] | None = None, **kwargs: Any
    ) -> Any:
        """Generate as in transformers; ids beyond the vocabulary never come out."""
        limit = VocabularyLimit(self.config.vocabulary_size)
        processors = LogitsProcessorList([limit, *(logits_processor or [])])
        return super().generate(*args, logits_processor=processors, **kwargs)


class VocabularyLimit(LogitsProcessor):  # type: ignore[misc]  # transformers is untyped
    """Keeps generation away from embedding rows that no token owns."""

    def __init__(self, vocabulary_size: int) -> None:
        self.vocabulary_size = vocabulary_size

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Silence the rows beyond: scores (rows, vocab_size) to the same shape."""
        scores = scores.clone()
        scores[:, self.vocabulary_size :] = -torch.inf
        return scores


register_names(QwenAudioConfig.model_type)
AutoModelForCausalLM.register(QwenAudioConfig, QwenAudioForConditionalGeneration, exist_ok=True)
