"""Labels of a batch, checked to be of the kind that the family learns from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from torch import Tensor

from twelvefold.batch import Batch
from twelvefold.schema import Example, HeadSpec, Label, TwelvefoldError

L = TypeVar("L", bound=Label)


def labels(examples: Sequence[Example], kind: type[L] | tuple[type[L], ...], head: HeadSpec) -> list[L] | None:
    """Every example's label, or None when all are withheld.

    Raises:
        TwelvefoldError: a label is of another kind, or some are withheld and some are not.
    """
    if all(e.label is None for e in examples):
        return None
    names = " or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
    found: list[L] = []
    for example in examples:
        if not isinstance(example.label, kind):
            got = "a withheld label among given ones" if example.label is None else type(example.label).__name__
            raise TwelvefoldError(
                f"example {example.id!r}: head {head.name!r} ({head.family}) learns from {names}, got {got}"
            )
        found.append(example.label)
    return found


def known(batch: Batch) -> Tensor:
    """The batch's target.

    Raises:
        TwelvefoldError: the labels of this batch are withheld.
    """
    if batch.target is None:
        raise TwelvefoldError(f"task {batch.task!r}: these labels are withheld, so there is no loss and no score")
    return batch.target
