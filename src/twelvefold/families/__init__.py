"""The four task groups of section 2.1, once: target, loss, score and decode for training, evaluation and serving.

A family is a module of four functions (:class:`Family` says their signatures); ``of("grounding")`` gives it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from numpy.typing import NDArray
from torch import Tensor

from twelvefold.batch import Batch
from twelvefold.families import answers, grounding, retrieval, verification
from twelvefold.schema import Example, HeadSpec, Prediction, TwelvefoldError, did_you_mean


class Family(Protocol):
    """What each of the four modules offers. B, K, P, R and A are the letters of ``schema``.

    Logits are (B, A) for answers and verification, (B, K) for retrieval and (P, R) for grounding.
    """

    def target(
        self, examples: Sequence[Example], boxes_px: NDArray[Any], candidate_mask: NDArray[Any], head: HeadSpec
    ) -> NDArray[Any] | None:
        """What :meth:`loss` and :meth:`score` measure against; None where labels are withheld."""

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """A scalar, before the task's loss scaling."""

    def score(self, logits: Tensor, batch: Batch) -> Tensor:
        """(B,) float32 in 0..1, one per example, nothing averaged."""

    def decode(
        self, logits: Tensor, batch: Batch, head: HeadSpec, top: int = 5, temperature: float = 1.0
    ) -> list[Prediction]:
        """One Prediction per example, its ``top`` likeliest outputs first. ``temperature``: see ``chances``."""


FAMILIES: dict[str, Family] = {
    "answers": answers,
    "retrieval": retrieval,
    "grounding": grounding,
    "verification": verification,
}


def of(name: str) -> Family:
    """The module of a family by its name.

    Raises:
        TwelvefoldError: there is no such family.
    """
    try:
        return FAMILIES[name]
    except KeyError:
        known = f"there are {', '.join(FAMILIES)}{did_you_mean(name, FAMILIES)}"
        raise TwelvefoldError(f"no task family {name!r}; {known}") from None
