"""Recognize word embeddings that were trained with another vocabulary than the one that texts are split with."""

from __future__ import annotations

from twelvefold.config.model import ModelConfig
from twelvefold.schema import TwelvefoldError

SIZE = ModelConfig.__struct_defaults__[ModelConfig.__struct_fields__.index("vocab_size")]
"""Word pieces of ``bert-base-uncased``, which the original project and this package use."""

KNOWN = {
    21_128: "BERT's Chinese vocabulary (bert-base-chinese)",
    28_996: "BERT's cased vocabulary (bert-base-cased)",
    29_794: "BERT's Portuguese vocabulary",
    30_000: "ALBERT's vocabulary",
    31_090: "SciBERT's vocabulary",
    49_408: "CLIP's vocabulary",
    50_257: "GPT-2's vocabulary",
    50_265: "RoBERTa's vocabulary",
    105_879: "BERT's multilingual uncased vocabulary (bert-base-multilingual-uncased)",
    119_547: "BERT's multilingual cased vocabulary (bert-base-multilingual-cased)",
    250_002: "XLM-RoBERTa's vocabulary",
}
"""Published vocabularies by size."""


def check_vocabulary(size: int, name: str) -> None:
    """Check that a model has an embedding for every word piece that texts can be split into.

    Raises:
        TwelvefoldError: it has fewer. ``name``: of the model, for errors.
    """
    if size < SIZE:
        raise TwelvefoldError(f"{name} can't read texts: {describe_other_vocabulary(size)}")


def describe_other_vocabulary(size: int) -> str:
    """Return what word embeddings of another size look like, with both sizes; an empty string if the size is ours."""
    if size == SIZE:
        return ""
    if size in KNOWN:
        kind = f"they look like those of {KNOWN[size]}"
    elif SIZE < size <= SIZE + 1024:
        kind = "they may be the same vocabulary with rows added at its end, for new tokens or to a multiple of 8"
    else:
        kind = "no published vocabulary that we know has this size"
    return f"word embeddings of {size:,} word pieces, expected the {SIZE:,} of bert-base-uncased; {kind}"
