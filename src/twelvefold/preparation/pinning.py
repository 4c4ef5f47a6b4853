"""Pins: what a recipe says of the cleaning it wants, and what happens where the data give another."""

from __future__ import annotations

from pathlib import Path

from twelvefold.schema import TwelvefoldError
from twelvefold.splits import manifest
from twelvefold.splits.policy import NO_CLEANING, get_policy


def policy_name(clean: str | bool, pinned: Path | None, digest: str) -> str:
    """The cleaning policy that is asked for by name; True and False stand for the paper's and for none.

    Raises:
        TwelvefoldError: there is no such policy, or it doesn't go together with what is pinned.
    """
    name = {True: "paper", False: NO_CLEANING}[clean] if isinstance(clean, bool) else clean
    if name != NO_CLEANING:
        protects = get_policy(name).protects
        if not protects and not pinned:
            raise TwelvefoldError(
                f"the policy {name!r} protects nothing but given id lists, which a manifest holds: make one with "
                f"`twelvefold clean --policy {name} --protect FILE`, and pin it"
            )
    elif pinned or digest:
        raise TwelvefoldError(f"a cleaning is pinned ({pinned or digest}), but {name!r} asks for full data: drop one")
    return name


def pinned_manifest(path: Path, policy: str, digest: str) -> manifest.CleaningManifest:
    """The manifest that is to be applied, if it is of this policy and (where one is pinned) of this digest.

    Raises:
        TwelvefoldError: it is not, or the file is no manifest.
    """
    found = manifest.read_manifest(path)
    if found.policy.name != policy:
        raise TwelvefoldError(
            f"{path} was made with the policy {found.policy.name!r}, asked for is {policy!r}. Ask for that policy "
            f"([data] clean, or --clean), or make a manifest with `twelvefold clean --policy {policy}`"
        )
    check_pin(found, digest, path)
    return found


def check_pin(found: manifest.CleaningManifest, digest: str, path: Path) -> None:
    """See that a manifest has the digest that is pinned; an empty one is no pin.

    Raises:
        TwelvefoldError: it has another.
    """
    if digest and found.digest != digest:
        raise TwelvefoldError(
            f"the cleaning digest {digest} is pinned, but {path} (policy {found.policy.name!r}, evidence "
            f"{', '.join(found.policy.evidence)}) has {found.digest}: source files, reader options, pictures, "
            "policy or evidence are others than when it was pinned. Bring those back, compare the file with the "
            "manifest of that time, or pin the new digest ([data] clean_digest)"
        )
