"""Read and write the official ``config.json`` of Qwen-Audio.

The fields keep their official names; the properties answer to the names that transformers' layers ask for.
"""

from __future__ import annotations

from dataclasses import field
from typing import Any

from transformers import AutoConfig, PreTrainedConfig

from qwen_audio.errors import UnsupportedConfiguration

_OFFICIAL_AUDIO = {
    "n_mels": 80,
    "n_ctx": 1500,
    "n_state": 1280,
    "n_head": 20,
    "n_layer": 32,
    "output_dim": 4096,
    "avg_pool": True,
    "add_audio_bos_eos_token": True,
    "audio_start_id": 155163,
}


class QwenAudioConfig(PreTrainedConfig):  # type: ignore[misc]  # transformers is untyped
    """The sizes of one checkpoint; defaults are the official ones.

    ``intermediate_size`` is twice the width of the feed-forward layers, as in the official file. ``audio`` describes
    the encoder: ``n_mels``, ``n_ctx`` (most frames after the convolutions), ``n_state``, ``n_head``, ``n_layer``,
    ``output_dim`` and ``audio_start_id``. Raises ``UnsupportedConfiguration`` for variants that no published
    checkpoint has.
    """

    model_type = "qwen"
    keys_to_ignore_at_inference = ["past_key_values"]  # noqa: RUF012  # transformers' own convention

    vocab_size: int = 155_947
    hidden_size: int = 4096
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    kv_channels: int = 128
    intermediate_size: int = 22_016
    layer_norm_epsilon: float = 1e-5
    initializer_range: float = 0.02
    max_position_embeddings: int = 8192
    seq_length: int = 2048
    rotary_emb_base: float = 10_000
    rotary_pct: float = 1.0
    use_dynamic_ntk: bool = True
    use_logn_attn: bool = True
    no_bias: bool = True
    use_cache: bool = True
    tie_word_embeddings: bool = False
    audio: dict[str, Any] = field(default_factory=lambda: dict(_OFFICIAL_AUDIO))

    def __post_init__(self, **kwargs: Any) -> None:
        kwargs.pop("auto_map", None)  # it names remote code, which this port replaces
        super().__post_init__(**kwargs)
        self._refuse_unpublished_variants()

    def _refuse_unpublished_variants(self) -> None:
        fixed = {
            "rotary_pct": (self.rotary_pct, 1.0),
            "no_bias": (self.no_bias, True),
            "audio.avg_pool": (self.audio.get("avg_pool"), True),
            "audio.add_audio_bos_eos_token": (self.audio.get("add_audio_bos_eos_token"), True),
            "audio.output_dim": (self.audio.get("output_dim"), self.hidden_size),
        }
        for name, (value, needed) in fixed.items():
            if value != needed:
                raise UnsupportedConfiguration(
                    f"config.json: {name} is {value!r}, only {needed!r} is supported"
                )
        missing = sorted(_OFFICIAL_AUDIO.keys() - self.audio.keys())
        if missing:
            raise UnsupportedConfiguration(f"config.json: audio lacks {', '.join(missing)}")

    @property
    def audio_start_id(self) -> int:
        """The id of ``<audio>``; the first row of a clip's span takes its place."""
        return int(self.audio["audio_start_id"])

    @property
    def audio_end_id(self) -> int:
        """The id of ``</audio>``, the last one that exists."""
        return self.audio_start_id + 1

    @property
    def vocabulary_size(self) -> int:
        """How many ids mean something; the embedding's rows beyond are never generated."""
        return self.audio_end_id + 1

    # What transformers' Whisper-style encoder layer asks of its configuration.

    @property
    def d_model(self) -> int:
        """The encoder's width."""
        return int(self.audio["n_state"])

    @property
    def encoder_attention_heads(self) -> int:
        """The encoder's heads."""
        return int(self.audio["n_head"])

    @property
    def encoder_ffn_dim(self) -> int:
        """The width of the encoder's feed-forward layers."""
        return 4 * self.d_model

    @property
    def activation_function(self) -> str:
        """The encoder's activation, exact."""
        return "gelu"

    @property
    def dropout(self) -> float:
        """No dropout anywhere, as in the official file."""
        return 0.0

    attention_dropout = dropout
    activation_dropout = dropout

    # What transformers' Qwen2-style MLP asks of its configuration, by way of ``feed_forward``.

    @property
    def feed_forward(self) -> FeedForwardSizes:
        """The sizes of one feed-forward layer of the language model."""
        return FeedForwardSizes(self)


class FeedForwardSizes:
    """The official feed-forward sizes under the names of Qwen2; ``intermediate_size`` is the real width."""

    hidden_act = "silu"

    def __init__(self, config: QwenAudioConfig) -> None:
        self.hidden_size = config.hidden_size
        self.intermediate_size = config.intermediate_size // 2


AutoConfig.register(QwenAudioConfig.model_type, QwenAudioConfig, exist_ok=True)
