"""Consistency: how often related questions or statements are all answered rightly (GQA, NLVR2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from twelvefold.schema import Example


def consistency(examples: Sequence[Example], scores: Sequence[float | None]) -> dict[str, float]:
    """Return ``{"consistency": ...}``, the mean in 0..1, if the examples are linked or grouped, else ``{}``."""
    by_id = {e.id: score for e, score in zip(examples, scores, strict=True) if score is not None}
    entailed = entailment_consistency(by_id, {e.id: e.linked for e in examples})
    grouped = group_consistency(by_id, {e.id: e.group for e in examples if e.group})
    values = list((grouped or entailed).values())
    return {"consistency": float(np.mean(values))} if values else {}


def entailment_consistency(scores: Mapping[str, float], linked: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Return, for each rightly answered question, the mean score of the questions that its answer entails (GQA).

    ``linked``: the ids of the entailed questions. Questions that entail nothing are left out; an id that entails itself
    is ignored, as in the official script.

    Differs: the official script fails at the first entailed question that has no answer (most are only in the ``all``
    files); here such questions are skipped.
    """
    result: dict[str, float] = {}
    for id_, score in scores.items():
        entailed = [scores[other] for other in linked.get(id_, ()) if other != id_ and other in scores]
        if score > 0 and entailed:
            result[id_] = sum(entailed) / len(entailed)
    return result


def group_consistency(scores: Mapping[str, float], group: Mapping[str, str]) -> dict[str, float]:
    """Return, for each group of examples (NLVR2: one sentence), 1 if all are right, else 0."""
    members: dict[str, list[float]] = {}
    for id_, name in group.items():
        if id_ in scores:
            members.setdefault(name, []).append(scores[id_])
    return {name: min(values) for name, values in members.items()}
