"""Check the cleaning that a recipe pins, by a manifest or by a digest, against the data."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from twelvefold.config.recipe import DataConfig
from twelvefold.schema import TwelvefoldError
from twelvefold.splits.manifest import CleaningManifest, read_manifest
from twelvefold.splits.policy import NO_CLEANING, get_policy


def policy_name(config: DataConfig) -> str:
    """Return the name of the configured cleaning policy.

    Raises:
        TwelvefoldError: there is no such policy, or it contradicts the pinned manifest or digest.
    """
    name = str(config.clean)
    pinned = config.manifest or config.clean_digest
    if name != NO_CLEANING:
        protects = get_policy(name).protects
        if not protects and not config.manifest:
            raise TwelvefoldError(
                f"the policy {name!r} protects id lists only, and those are stored in a manifest: make one with "
                f"`twelvefold clean --policy {name} --protect FILE`, and set it as [data] manifest"
            )
    elif pinned:
        raise TwelvefoldError(f"a cleaning is pinned ({pinned}), but the policy {name!r} keeps full data: remove one")
    return name


def read_pinned_manifest(config: DataConfig, policy: str, tasks: Iterable[str]) -> CleaningManifest | None:
    """Return the pinned manifest; None if the recipe pins no manifest.

    Raises:
        TwelvefoldError: the manifest has another policy or digest or lacks one of ``tasks``, or the file is not a
            manifest.
    """
    if not config.manifest:
        return None
    path = Path(config.manifest)
    manifest = read_manifest(path)
    if manifest.policy.name != policy:
        raise TwelvefoldError(
            f"{path} was made with the policy {manifest.policy.name!r}, but the policy {policy!r} is requested: "
            f"request the former ([data] clean, or --clean), or make a manifest with `twelvefold clean "
            f"--policy {policy}`"
        )
    check_digest(manifest, config.clean_digest, path)
    for task in tasks:
        manifest.split(task, "train")
    return manifest


def check_digest(manifest: CleaningManifest, digest: str, path: Path) -> None:
    """Check that a manifest has the pinned digest; an empty one accepts any.

    Raises:
        TwelvefoldError: the manifest has another digest.
    """
    if digest and manifest.digest != digest:
        raise TwelvefoldError(
            f"the cleaning digest {digest} is pinned, but {path} (policy {manifest.policy.name!r}, evidence "
            f"{', '.join(manifest.policy.evidence)}) has {manifest.digest}: source files, reader options, images, "
            "policy or evidence have changed since it was pinned. Restore them, compare the file with the manifest of "
            "that time, or pin the new digest ([data] clean_digest)"
        )
