"""Compare the tensors of a file with those that a network expects."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence

from torch import Tensor

MAX_HINTS = 40
"""Suggest a closest name for at most 40 differences of each kind, because the search for it is slow."""


def state_dict_differences(
    actual: Mapping[str, Tensor], expected: Mapping[str, Tensor], *, optional: Collection[str] = ()
) -> list[str]:
    """Return a line for every tensor that is missing, unknown (both with the closest name) or of another shape.

    ``optional`` tensors may be missing.
    """
    missing = {name: tensor for name, tensor in expected.items() if name not in actual and name not in optional}
    unknown = {name: tensor for name, tensor in actual.items() if name not in expected}
    lines = []
    for problem, tensors, others in (("missing", missing, unknown), ("unknown", unknown, missing)):
        for i, (name, tensor) in enumerate(tensors.items()):
            close = difflib.get_close_matches(name, others, n=1) if i < MAX_HINTS else []
            lines.append(f"{problem}: {name} {list(tensor.shape)}" + (f"; is it {close[0]}?" if close else ""))
    for name, tensor in expected.items():
        if name in actual and actual[name].shape != tensor.shape:
            lines.append(f"shape: {name} is {list(actual[name].shape)}, expected {list(tensor.shape)}")
    return lines


def summarize_differences(differences: Sequence[str], limit: int = 8) -> str:
    """Return the first few differences and the number of the others, one per line, for an error message."""
    more = [f"and {len(differences) - limit} more"] if len(differences) > limit else []
    return "".join(f"\n  {line}" for line in [*differences[:limit], *more])
