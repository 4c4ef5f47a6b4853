"""Read the labels of a batch for a family, and find the outputs that they name."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TypeVar

from torch import Tensor

from twelvefold.batch import Batch
from twelvefold.schema import Example, HeadSpec, Label, TwelvefoldError

L = TypeVar("L", bound=Label)


def read_labels(examples: Sequence[Example], types: type[L] | tuple[type[L], ...], head: HeadSpec) -> list[L] | None:
    """Return every example's label, or None if all are withheld.

    Raises:
        TwelvefoldError: a label is of another type, or only some are withheld.
    """
    if all(example.label is None for example in examples):
        return None
    labels: list[L] = []
    for example in examples:
        if not isinstance(example.label, types):
            expected = " or ".join(t.__name__ for t in (types if isinstance(types, tuple) else (types,)))
            got = "a withheld label among others" if example.label is None else type(example.label).__name__
            raise TwelvefoldError(
                f"example {example.id!r}: head {head.name!r} ({head.family}) needs a label {expected}, got {got}"
            )
        labels.append(example.label)
    return labels


def require_target(batch: Batch) -> Tensor:
    """Return the batch's target.

    Raises:
        TwelvefoldError: the labels of this batch are withheld.
    """
    if batch.target is None:
        raise TwelvefoldError(f"task {batch.task!r}: the labels are withheld, so there is no loss and no score")
    return batch.target


@lru_cache(maxsize=16)
def output_index(outputs: tuple[str, ...]) -> dict[str, int]:
    """Return the index of each output by its name; cached, because answer lists are long."""
    return {name: index for index, name in enumerate(outputs)}
