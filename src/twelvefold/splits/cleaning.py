"""Cleaning: no task may learn from a photograph on which any task is tested.

Every task's test photographs leave every task's train and val; a test set is never touched. Paper: section 2.2.

Differs: the original code compared ids within one source and cleaned validation sets of one task only; here a
photograph counts whatever its name, and validation sets of all tasks are cleaned, as the paper says.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from twelvefold.schema import Example, ImageKey
from twelvefold.splits.identity import Identity


class Protected:
    """The photographs of all test sets, and whose test sets they are in."""

    def __init__(self, tests: Mapping[str, Iterable[ImageKey]], identity: Identity) -> None:
        """``tests``: the pictures of every task's test set, by task."""
        self._identity = identity
        owners: defaultdict[ImageKey, dict[str, ImageKey]] = defaultdict(dict)
        for task in sorted(tests):
            for key in sorted(set(tests[task])):
                owners[identity.photograph(key)].setdefault(task, key)
        self._owners = dict(owners)

    def __len__(self) -> int:
        """How many photographs are protected."""
        return len(self._owners)

    def owners(self, key: ImageKey) -> Mapping[str, ImageKey]:
        """The tasks that test on this photograph, each with the name that it has there; empty where none does."""
        return self._owners.get(self._identity.photograph(key), {})

    def why(self, example: Example) -> str:
        """Why an example may not be learned from, or an empty string.

        For instance ``coco/9 is in the test set of refcoco, and as vg/4 in that of visual7w``.
        """
        for pair in example.pairs:
            if owners := self.owners(pair.image):
                places = [
                    f"in the test set of {task}" if key == pair.image else f"as {key} in the test set of {task}"
                    for task, key in owners.items()
                ]
                return f"{pair.image} is {', and '.join(places)}"
        return ""
