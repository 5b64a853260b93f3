"""Normalise and compare texts as the official evaluation does.

Sources: ``eval_audio/evaluate_asr.py``, ``evaluate_st.py`` and ``evaluate_tokenizer.py`` of Qwen-Audio. Close to what
``pipeline.tasks.text`` makes for readers, and kept apart from it: a published figure must not move with the product.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from importlib.util import find_spec

from pipeline.official.errors import MissingPackages

Pair = tuple[str, str]
"""A prediction and the truth."""

_TAG = re.compile(r"<\|.*?\|>")
_SPACE = re.compile(r"\s+")
_SPACE_BEFORE_MARK = re.compile(r" ?([!,.?;:])")
_TOKENIZERS = {"zh": "zh", "ja": "ja-mecab"}  # for BLEU


def normalise(text: str, language: str) -> str:
    """Return the text without tags, with settled spaces; Chinese has none. Case and marks stay."""
    text = _SPACE.sub(" ", _TAG.sub(" ", text))
    text = _SPACE_BEFORE_MARK.sub(r"\1", text).lstrip(" ")
    return _SPACE.sub("", text) if language == "zh" else text


def units(text: str, language: str) -> list[str]:
    """Return what errors are counted in: lower-case words, marks among them; characters in Chinese."""
    words = text.lower().split()
    return list("".join(words)) if language == "zh" else words


def word_error_rate(pairs: Iterable[Pair], language: str) -> float | None:
    """Return the edits of all normalised predictions per unit of all truths; None where no truth has a unit."""
    from rapidfuzz.distance import Levenshtein

    edits = total = 0
    for prediction, truth in pairs:
        said, meant = (units(normalise(text, language), language) for text in (prediction, truth))
        edits += Levenshtein.distance(said, meant)
        total += len(meant)
    return edits / total if total else None


def bleu(pairs: Sequence[Pair], target: str) -> float:
    """Return the corpus BLEU, 0 to 100, of predictions as they came, tags and all."""
    import sacrebleu

    hypotheses, references = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    score = sacrebleu.corpus_bleu(hypotheses, [references], tokenize=_TOKENIZERS.get(target, "13a"))
    return float(score.score)


def check_bleu(target: str) -> None:
    """Raise ``MissingPackages`` when BLEU cannot be computed in this language."""
    if target == "ja" and not (find_spec("MeCab") and find_spec("ipadic")):
        raise MissingPackages("BLEU in ja is counted in the words of MeCab: pip install 'sacrebleu[ja]'")


def accuracy(pairs: Sequence[Pair]) -> float | None:
    """Return the share of predictions that equal the truth to the letter; None of nothing."""
    return sum(prediction == truth for prediction, truth in pairs) / len(pairs) if pairs else None
