"""Consistency: how often related questions or statements are all answered rightly (GQA, NLVR2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from twelvefold.schema import Example

MAX_LISTED = 5
"""Ids of unanswered questions that a limitation names."""


def consistency(examples: Sequence[Example], scores: Sequence[float | None]) -> dict[str, float]:
    """Return ``{"consistency": ...}``, the mean in 0..1, if the examples are linked or grouped, else ``{}``.

    It is 0 if none of the questions that entail others is answered rightly, as in GQA's official script.
    """
    by_id, linked = _scores_by_id(examples, scores), {e.id: e.linked for e in examples}
    grouped = group_consistency(by_id, {e.id: e.group for e in examples if e.group})
    if not grouped and not any(other in by_id for others in linked.values() for other in others):
        return {}
    values = list((grouped or entailment_consistency(by_id, linked)).values())
    return {"consistency": float(np.mean(values)) if values else 0.0}


def entailment_consistency(scores: Mapping[str, float], linked: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Return, for each rightly answered question, the mean score of the questions that its answer entails (GQA).

    ``linked``: the ids of the entailed questions. As in the official script, an id that is listed twice counts twice,
    an id that entails itself is ignored, and questions that entail nothing are left out.

    Differs: the official script fails at the first entailed question that has no answer (most are only in the ``all``
    files); here such questions are left out, and :func:`unanswered` lists them.
    """
    result: dict[str, float] = {}
    for id_, score in scores.items():
        entailed = [scores[other] for other in linked.get(id_, ()) if other != id_ and other in scores]
        if score > 0 and entailed:
            result[id_] = sum(entailed) / len(entailed)
    return result


def unanswered(scores: Mapping[str, float], linked: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the ids of the entailed questions of answered ones that have no answer, each once, in order."""
    others = (other for id_ in scores for other in linked.get(id_, ()) if other != id_)
    return list(dict.fromkeys(other for other in others if other not in scores))


def consistency_limitations(examples: Sequence[Example], scores: Sequence[float | None]) -> list[str]:
    """Return a sentence that counts and names the entailed questions that consistency leaves out, if there are any."""
    missing = unanswered(_scores_by_id(examples, scores), {e.id: e.linked for e in examples})
    if not missing:
        return []
    more = ", ..." if len(missing) > MAX_LISTED else ""
    return [
        f"consistency leaves out {len(missing):,} entailed question{'s' if len(missing) > 1 else ''} that "
        f"{'were' if len(missing) > 1 else 'was'} not asked ({', '.join(missing[:MAX_LISTED])}{more}); reader option "
        "consistency = true adds those of the file of all questions"
    ]


def group_consistency(scores: Mapping[str, float], group: Mapping[str, str]) -> dict[str, float]:
    """Return, for each group of examples (NLVR2: one sentence), 1 if all are right, else 0."""
    members: dict[str, list[float]] = {}
    for id_, name in group.items():
        if id_ in scores:
            members.setdefault(name, []).append(scores[id_])
    return {name: min(values) for name, values in members.items()}


def _scores_by_id(examples: Sequence[Example], scores: Sequence[float | None]) -> dict[str, float]:
    return {e.id: score for e, score in zip(examples, scores, strict=True) if score is not None}
