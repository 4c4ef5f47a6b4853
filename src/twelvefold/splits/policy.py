"""Cleaning policies: no task may learn from an image on which any task is tested. Paper: section 2.2.

A :class:`Policy` states which splits are protected and which evidence links two keys of the same image. Images of a
protected split are removed from the splits after it, in the order test, val, train, of every task. A test set is never
changed.

Differs: the original code compares ids within one source and cleans validation sets of one task only. Here an image
counts under every key, and validation sets of all tasks are cleaned, as the paper says.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

import msgspec

from twelvefold.duplicates.evidence import DEFAULT_EVIDENCE
from twelvefold.duplicates.image_groups import ImageGroups
from twelvefold.schema import SIMILARITY, Evidence, ImageKey, Split, TwelvefoldError, did_you_mean

SPLIT_ORDER: tuple[Split, ...] = ("test", "val", "train")
"""A protected split only cleans the splits after it, so no two splits can take examples from each other."""

NO_CLEANING = "none"
"""Name of full data, without any cleaning (the paper's rows 1 and 8)."""


class Policy(msgspec.Struct, frozen=True):
    """``protects``: splits whose images no later split may contain. ``evidence``: what links keys of the same image.
    ``max_similar``: the largest fraction of a split that may be removed by similarity alone; if it would be more,
    cleaning stops."""

    name: str
    protects: tuple[Split, ...]
    evidence: tuple[Evidence, ...]
    max_similar: float = 0.05


POLICIES = {
    policy.name: policy
    for policy in (
        Policy("paper", ("test",), DEFAULT_EVIDENCE),
        Policy("strict", ("test", "val"), DEFAULT_EVIDENCE),  # also: no task trains on another task's val images
        Policy("ids", ("test",), ("ids",)),  # the paper's evidence: publishers' id maps
        Policy("lists", (), ()),  # only user-supplied id lists, by their exact ids: what the original code did
        Policy("exact", ("test",), tuple(name for name in DEFAULT_EVIDENCE if name not in SIMILARITY)),
    )
}


def get_policy(name: str, *, max_similar: float | None = None) -> Policy:
    """Return the policy of that name, if requested with another limit of similarity.

    Raises:
        TwelvefoldError: there is no such policy; the message names the closest.
    """
    if name == NO_CLEANING:
        raise TwelvefoldError(
            f"the policy {name!r} keeps full data, so there is nothing to decide; there are {', '.join(POLICIES)}"
        )
    if name not in POLICIES:
        raise TwelvefoldError(
            f"no cleaning policy {name!r}{did_you_mean(name, [*POLICIES, NO_CLEANING])}; "
            f"there are {', '.join(POLICIES)}"
        )
    policy = POLICIES[name]
    return policy if max_similar is None else msgspec.structs.replace(policy, max_similar=max_similar)


_EVIDENCE_WORDS: Mapping[Evidence, str] = {
    "ids": "publishers' ids",
    "bytes": "equal files",
    "pixels": "equal pixels",
    "looks": "similarity",
    "features": "similar features",
}


def describe_cleaning(name: str) -> str:
    """Return in sentences what cleaning by the policy of that name removed; an empty name: that is not known."""
    if name == NO_CLEANING:
        return (
            "Full data (policy none): nothing was removed, so test images of one task may be training images "
            "of another."
        )
    policy = POLICIES.get(name)
    if policy is None:
        return f"Cleaned by the policy {name}." if name else "Cleaned by a policy that was not recorded."
    if "test" not in policy.protects:
        return (
            f"Cleaned by the policy {name}: the images of id lists were removed. Other test images of one task may be "
            "training images of another."
        )
    words = [_EVIDENCE_WORDS[evidence] for evidence in policy.evidence]
    evidence = " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
    sentence = (
        f"Cleaned by the policy {name}: no image of any task's test set is in a training or validation set, as far as "
        f"{evidence} show."
    )
    return f"{sentence} No image of a validation set is in a training set." if "val" in policy.protects else sentence


OwnerKind = Literal["test", "val", "list"]
Owner = tuple[str, OwnerKind]
"""The name of a task with its test or val set, or the name of an id list."""


class LinkStep(NamedTuple):
    """One link on the path from a removed image to the protected one."""

    first: str
    second: str
    evidence: Evidence
    reason: str


class Reason(msgspec.Struct, frozen=True):
    """Why an image was removed: the task (or id list) ``owner`` protects it under ``key``. ``steps``: the links from
    the removed image to ``key``; empty where the keys are equal."""

    owner: str
    owner_kind: OwnerKind = msgspec.field(name="kind")
    key: str
    steps: list[LinkStep] = []

    @property
    def is_similar(self) -> bool:
        """Whether the image is only similar to the protected one."""
        return any(step.evidence in SIMILARITY for step in self.steps)

    def __str__(self) -> str:
        is_list = self.owner_kind == "list"
        text = f"in the list {self.owner}" if is_list else f"in the {self.owner_kind} set of {self.owner}"
        return f"{text} as {self.key} ({', '.join(step.reason for step in self.steps)})" if self.steps else text


class ProtectedImages:
    """Images that may not be learned from, under all their keys, and who protects them."""

    def __init__(self, images: Mapping[Owner, Iterable[ImageKey]], groups: ImageGroups) -> None:
        """``images``: the keys of every protected split and id list."""
        self._groups = groups
        self._keys: defaultdict[ImageKey, dict[Owner, list[ImageKey]]] = defaultdict(dict)
        for owner in sorted(images):
            for key in sorted(set(images[owner])):
                self._keys[groups.group_of(key)].setdefault(owner, []).append(key)

    def __len__(self) -> int:
        """Return the number of distinct protected images."""
        return len(self._keys)

    def all_keys(self) -> frozenset[ImageKey]:
        """Return every key of a protected image, whether a protected split uses that key or not, and of every image
        that is similar to one."""
        return self._exact_keys() | frozenset(key for key in self._groups.linked_keys() if self._matches(key))

    def similar_keys(self) -> frozenset[ImageKey]:
        """Return the keys of :meth:`all_keys` that are protected by similarity alone."""
        return self.all_keys() - self._exact_keys()

    def owners_of(self, key: ImageKey) -> list[Owner]:
        """Return who protects the image; empty where it is not protected."""
        return list(self._matches(key))

    def reasons(self, key: ImageKey) -> list[Reason]:
        """Return a reason for each owner of the image, under ``key`` itself if the owner uses that key. A reason by
        similarity is given only where there is no other."""
        reasons = []
        for owner, keys in self._matches(key).items():
            owner_key = key if key in keys else keys[0]
            path = self._groups.shortest_path(key, owner_key)
            steps = [LinkStep(str(link.first), str(link.second), link.evidence, link.reason) for link in path]
            reasons.append(Reason(*owner, str(owner_key), steps))
        return reasons

    def _matches(self, key: ImageKey) -> dict[Owner, list[ImageKey]]:
        """Return who protects the image, sorted, and under which keys; those of the image itself come first."""
        matches: dict[Owner, list[ImageKey]] = {}
        for group in self._groups.matching_groups(key):
            for owner, keys in self._keys.get(group, {}).items():
                matches.setdefault(owner, []).extend(keys)
        return dict(sorted(matches.items()))

    def _exact_keys(self) -> frozenset[ImageKey]:
        listed = (key for owners in self._keys.values() for keys in owners.values() for key in keys)
        linked = (key for key in self._groups.linked_keys() if self._groups.group_of(key) in self._keys)
        return frozenset(listed) | frozenset(linked)
