"""Run the language model over rows of many prefixes and branches at once, without padding.

The layers are the model's own; what differs from its ``forward`` is that rows of all rooms lie behind each other and
that keys and values live in the store.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from qwen_audio.attending import Attend, BatchAttend, BranchAttend, Group, PrefixAttend
from qwen_audio.decoding import vocabulary_logprobs
from qwen_audio.modeling import QwenAudioForConditionalGeneration
from qwen_audio.rotary import query_scale, rotary_table
from qwen_audio.scheduling import Kept
from qwen_audio.store import Store


class Forward:
    """The model with a store; ``together`` attends to all rooms of a shelf in one call."""

    def __init__(self, model: QwenAudioForConditionalGeneration, store: Store, *, together: bool) -> None:
        self._model = model
        self._store = store
        self._together = together

    def fill(self, kept: Sequence[Kept], spans: Sequence[torch.Tensor]) -> list[bool]:
        """Compute prefixes, (positions, hidden) each, into their rooms, and say of each whether it is finite."""
        attend = PrefixAttend(self._store, [one.room for one in kept])
        positions = torch.cat([torch.arange(len(span)) for span in spans])
        factors = torch.cat(
            [torch.full((len(span),), float(one.factor)) for one, span in zip(kept, spans, strict=True)]
        )
        hidden = self._run(torch.cat(list(spans)), positions, factors, attend, is_fill=True)
        finite = hidden.isfinite().all(dim=-1)  # (rows,)
        found: list[bool] = torch.stack([finite[rows].all() for rows in attend.slices()]).tolist()
        return found

    def feed(self, groups: Sequence[Group]) -> torch.Tensor:
        """Feed the rows of groups, shelf by shelf; return log-probabilities, (asked rows, vocabulary)."""
        model = self._model
        rows = [(group, row) for group in groups for row in group.rows]
        ids = torch.tensor([row.id for _, row in rows], device=model.device)
        positions = torch.tensor([row.position for _, row in rows])
        factors = torch.tensor([float(group.kept.factor) for group, _ in rows])
        kind = BatchAttend if self._together else BranchAttend
        attend = kind(self._store, groups, model.dtype, model.device)
        hidden = self._run(model.transformer.wte(ids), positions, factors, attend)
        asked = torch.tensor(
            [place for place, (_, row) in enumerate(rows) if row.is_asked], device=model.device
        )
        return vocabulary_logprobs(model, model.lm_head(model.transformer.ln_f(hidden[asked])))

    def next_ids(
        self, ids: torch.Tensor, positions: torch.Tensor, factors: torch.Tensor, attend: Attend
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Feed rows that all want what follows, from tensors on the device, (rows,) each.

        Returns the best log-probability and its id, (rows,) each. Never waits for the device.
        """
        model = self._model
        hidden = self._run(model.transformer.wte(ids), positions, factors, attend)
        logprobs = vocabulary_logprobs(model, model.lm_head(model.transformer.ln_f(hidden)))
        best, found = logprobs.max(dim=-1)
        return best, found

    def _run(
        self,
        hidden: torch.Tensor,
        positions: torch.Tensor,
        factors: torch.Tensor,
        attend: Attend,
        *,
        is_fill: bool = False,
    ) -> torch.Tensor:
        """Run the layers over (rows, hidden). Nobody reads a prefix's own output: a fill ends at its last keys."""
        model = self._model
        positions = positions.to(hidden.device)
        factors = factors.to(hidden.device)
        scale = query_scale(positions[:, None], model.config)
        cos, sin = rotary_table(positions[:, None], factors, scale, model.config)  # (rows, 1, 2, 1, head)
        table = cos.transpose(0, 1), sin.transpose(0, 1)
        layers: Sequence[Any] = list(model.transformer.h)
        for number, layer in enumerate(layers):
            states = layer.input_layernorm(hidden)[None]
            query, key, value = layer.self_attn.project(states, table)
            attend.keep(number, key, value)
            if is_fill and layer is layers[-1]:
                break
            attended = attend.attend(number, query, key, value)  # (rows, heads, head)
            hidden = hidden + layer.self_attn.o_proj(attended.reshape(len(hidden), -1))
            hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
        return hidden
