"""Cleaning: no task may learn from a photograph on which any task is tested. Paper: section 2.2.

A :class:`Policy` says which splits are protected and what shows that two keys name one photograph. A protected split's
photographs leave the splits after it, in the order test, val, train, of every task; a test set is never touched.

Differs: the original code compared ids within one source and cleaned validation sets of one task only; here a
photograph counts whatever its name, and validation sets of all tasks are cleaned, as the paper says.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

import msgspec

from twelvefold.duplicates.evidence import KINDS
from twelvefold.duplicates.image_groups import Identity
from twelvefold.schema import Evidence, ImageKey, SameImageLink, Split, TwelvefoldError, did_you_mean

ORDER: tuple[Split, ...] = ("test", "val", "train")
"""A protected split cleans those after it, so no two splits can take examples from each other."""

OFF = "none"
"""The name for no cleaning at all: full data (the paper's rows 1 and 8)."""


class Policy(msgspec.Struct, frozen=True):
    """``protects``: the splits whose photographs no later split may hold; ``evidence``: what joins keys."""

    name: str
    protects: tuple[Split, ...]
    evidence: tuple[Evidence, ...]


POLICIES = {
    policy.name: policy
    for policy in (
        Policy("paper", ("test",), KINDS),
        Policy("strict", ("test", "val"), KINDS),  # also: no task trains on what any task validates on
        Policy("ids", ("test",), ("ids",)),  # what the paper could know: its joins are publishers' id maps
        Policy("lists", (), ()),  # given id lists and nothing else, as they stand: what the original code did
    )
}


def policy(name: str) -> Policy:
    """The policy of that name.

    Raises:
        TwelvefoldError: there is none; names the closest.
    """
    if name not in POLICIES:
        raise TwelvefoldError(
            f"no cleaning policy {name!r}{did_you_mean(name, [*POLICIES, OFF])}; there are {', '.join(POLICIES)}"
        )
    return POLICIES[name]


Kind = Literal["test", "val", "list"]
Owner = tuple[str, Kind]
"""A task's test set, its val set, or an id list, by name."""


class Place(NamedTuple):
    """Where a protected photograph is and under which key; ``chain``: what shows that it is the photograph asked
    about, empty where the key is the same."""

    owner: Owner
    key: ImageKey
    chain: list[SameImageLink]


class Protected:
    """Photographs that may not be learned from, under all their names, and where they are."""

    def __init__(self, pictures: Mapping[Owner, Iterable[ImageKey]], identity: Identity) -> None:
        """``pictures``: those of every protected split and list."""
        self._identity = identity
        self._keys: defaultdict[ImageKey, dict[Owner, list[ImageKey]]] = defaultdict(dict)
        for owner in sorted(pictures):
            for key in sorted(set(pictures[owner])):
                self._keys[identity.photograph(key)].setdefault(owner, []).append(key)

    def __len__(self) -> int:
        """How many photographs are protected."""
        return len(self._keys)

    def names(self) -> frozenset[ImageKey]:
        """Every key of a protected photograph, whether a protected split uses it or not."""
        own = (key for owners in self._keys.values() for keys in owners.values() for key in keys)
        joined = (key for key in self._identity.joined() if self._identity.photograph(key) in self._keys)
        return frozenset(own) | frozenset(joined)

    def owners(self, key: ImageKey) -> list[Owner]:
        """Whose the photograph is; none where it is not protected."""
        return list(self._keys.get(self._identity.photograph(key), ()))

    def places(self, key: ImageKey) -> list[Place]:
        """Where the photograph is protected: one place of each owner, under ``key`` itself if it is there; none
        where it is not protected."""
        found = []
        for owner, keys in self._keys.get(self._identity.photograph(key), {}).items():
            there = key if key in keys else keys[0]
            found.append(Place(owner, there, self._identity.why(key, there)))
        return found
