"""Decode and score a batch of branches with the plain cached model, each on a prefix of its own.

Rows are left-padded and masked, so that no row's answer depends on the others; ids beyond the vocabulary are cut
off before anything is chosen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from transformers.cache_utils import DynamicCache

from qwen_audio.answers import FinishReason
from qwen_audio.branch import Branch
from qwen_audio.encoding import embed_ids
from qwen_audio.errors import AnswerNotFinite
from qwen_audio.modeling import QwenAudioForConditionalGeneration
from qwen_audio.rotary import ntk_alpha

Finish = Callable[[Branch, FinishReason], None]


def decode(model: QwenAudioForConditionalGeneration, branches: list[Branch], finish: Finish) -> None:
    """Decode branches greedily until each has ended; ``finish`` is called as soon as one does.

    A branch whose scores are not finite fails alone, with ``AnswerNotFinite``.
    """
    embeds, mask = _pad([_embed(model, branch, branch.ask.prompt) for branch in branches])
    alpha = ntk_alpha(mask.sum(-1), model.config)
    cache = DynamicCache()
    outputs = model(
        inputs_embeds=embeds, attention_mask=mask, past_key_values=cache, ntk_alpha=alpha, logits_to_keep=1
    )
    while True:
        logprobs = vocabulary_logprobs(model, outputs.logits[:, -1])  # (rows, vocabulary)
        best, ids = logprobs.max(dim=-1)
        kept = _grow(branches, ids.tolist(), best.tolist(), finish)
        if not kept:
            return
        if len(kept) < len(branches):
            rows = torch.tensor(kept, device=mask.device)
            branches = [branches[row] for row in kept]
            mask, alpha, ids = mask[rows], alpha[rows], ids[rows]
            cache.batch_select_indices(rows)
        mask = torch.cat((mask, mask.new_ones(len(branches), 1)), dim=1)
        outputs = model(input_ids=ids[:, None], attention_mask=mask, past_key_values=cache, ntk_alpha=alpha)


def _grow(branches: list[Branch], ids: list[int], logprobs: list[float], finish: Finish) -> list[int]:
    """Give each branch its token and return the rows of those that go on."""
    rows = enumerate(zip(branches, ids, logprobs, strict=True))
    return [row for row, (branch, id_, logprob) in rows if go_on(branch, id_, logprob, finish)]


def go_on(branch: Branch, id_: int, logprob: float, finish: Finish) -> bool:
    """Give a branch its token and say whether it wants another; when not, it has been resolved."""
    if branch.is_gone():
        return False
    if math.isnan(logprob):  # one such score spoils the whole row and says nothing about the others
        branch.fail(AnswerNotFinite(f"the scores of token {len(branch.ids) + 1} are not finite"))
        return False
    reason = branch.interruption() or branch.grow(id_, logprob)
    if reason is not None:
        finish(branch, reason)
    return reason is None


def score(model: QwenAudioForConditionalGeneration, branch: Branch) -> dict[str, float]:
    """Give the log-probability of each candidate's ids right after the prompt, by its text.

    Candidates that differ only in their last id share a row. Raises ``AnswerNotFinite``.
    """
    candidates = branch.ask.candidates or {}
    heads = sorted({ids[:-1] for ids in candidates.values()})
    logprobs = {head: _head_logprobs(model, branch, head) for head in heads}
    scores = {}
    for text, ids in candidates.items():
        steps = torch.tensor(ids, device=model.device)[:, None]
        scores[text] = float(logprobs[ids[:-1]].gather(1, steps).sum())
    if any(math.isnan(value) for value in scores.values()):
        raise AnswerNotFinite("the scores of the candidates are not finite")
    return scores


def _head_logprobs(
    model: QwenAudioForConditionalGeneration, branch: Branch, head: tuple[int, ...]
) -> torch.Tensor:
    """Compute what may follow the prompt and each further id of ``head``: (len(head) + 1, vocabulary)."""
    embeds = _embed(model, branch, (*branch.ask.prompt, *head))[None]
    # The prompt alone decides the factor, as if the head were decoded after it.
    prompt = torch.tensor([embeds.shape[1] - len(head)], device=embeds.device)
    outputs = model(
        inputs_embeds=embeds,
        ntk_alpha=ntk_alpha(prompt, model.config),
        use_cache=False,
        logits_to_keep=len(head) + 1,
    )
    return vocabulary_logprobs(model, outputs.logits[0])


def vocabulary_logprobs(model: QwenAudioForConditionalGeneration, logits: torch.Tensor) -> torch.Tensor:
    """Turn logits into float32 log-probabilities of the ids that exist: (..., vocab_size) to (..., vocabulary)."""
    return logits[..., : model.config.vocabulary_size].float().log_softmax(dim=-1)


def _embed(model: QwenAudioForConditionalGeneration, branch: Branch, ids: Sequence[int]) -> torch.Tensor:
    """Lay the prefix's span before the embedded ids: (span + ids, hidden)."""
    span = branch.prefix.span
    assert span is not None, "a prefix is encoded before its branches are decoded"
    return torch.cat((span, embed_ids(model, ids)))


def _pad(rows: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Left-pad rows of (length, hidden) to a batch and its mask of ones and zeros, (rows, longest)."""
    longest = max(len(row) for row in rows)
    batch = rows[0].new_zeros(len(rows), longest, rows[0].shape[-1])
    mask = torch.zeros(len(rows), longest, dtype=torch.long, device=batch.device)
    for place, row in enumerate(rows):
        batch[place, longest - len(row) :] = row
        mask[place, longest - len(row) :] = 1
    return batch, mask
