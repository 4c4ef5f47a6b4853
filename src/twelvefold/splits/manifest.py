"""Write and read the manifest of a cleaning: its decisions in one file that can be kept, shared and pinned.
Paper: section 2.2.

The file is JSON with a line for each image, so that it is small and two manifests can be compared with diff. It does
not depend on the folder or the machine: the same data give the same bytes. ``digest`` covers everything that decides
what may be learned from.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from twelvefold.schema import ImageKey, Split, TwelvefoldError
from twelvefold.splits.policy import Policy, Reason
from twelvefold.splits.split_source import IdAndImages
from twelvefold.store import atomic_files

FORMAT, VERSION = "twelvefold clean", 1

LINE_DEPTH = 5
"""Objects down to this depth, which includes the images of a split, have a line for each item."""


class SplitDigest(msgspec.Struct, frozen=True):
    """Identifies the content of a split before cleaning: the number of examples, a digest of their ids, and a digest of
    ids with image keys. The order of the examples does not matter."""

    examples: int
    ids: str
    images: str = msgspec.field(name="pictures")


class SplitDigester:
    """Computes a :class:`SplitDigest` example by example, as sums of the examples' own digests."""

    def __init__(self) -> None:
        self._count = self._ids = self._images = 0

    def add(self, id_: str, images: Iterable[ImageKey]) -> None:
        """Add one example by its id and the images of its pairs."""
        id_and_images = id_
        for image in images:
            id_and_images = f"{id_and_images}\n{image.source}/{image.id}"
        self._count += 1
        self._ids += atomic_files.digest_int(id_.encode())
        self._images += atomic_files.digest_int(id_and_images.encode())

    def digest(self) -> SplitDigest:
        """Return the digest of the examples added so far."""
        return SplitDigest(self._count, *(f"{total % (1 << 128):032x}" for total in (self._ids, self._images)))


class CleanedSplit(msgspec.Struct):
    """The decision for one split. ``source``: its content before cleaning. ``kept``: the number of examples that stay.
    ``removed``: by image, the ids of the examples that were removed because of it."""

    source: SplitDigest
    kept: int
    removed: dict[str, list[str]] = {}

    def removed_ids(self) -> frozenset[str]:
        """Return the ids of all removed examples."""
        return frozenset(id_ for ids in self.removed.values() for id_ in ids)


class IdListInfo(msgspec.Struct, frozen=True):
    """A user-supplied id list: its file name, the source of its ids, the number of images, and their digest."""

    file: str
    source: str
    num_images: int = msgspec.field(name="pictures")
    digest: str


class CleaningManifest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """All decisions of a cleaning.

    ``splits``: by task, then split. ``reasons``: by removed image. ``limitations``: what could not be found out.
    ``unreadable``: images that could not be compared, with the reason.

    ``digest`` covers the policy, the id lists, the content of every split and the removed examples. It does not cover
    the words of the reasons, which may differ between versions of a library.
    """

    format: str = FORMAT
    version: int = VERSION
    digest: str = ""
    policy: Policy
    lists: list[IdListInfo] = []
    splits: dict[str, dict[Split, CleanedSplit]]
    reasons: dict[str, list[Reason]] = {}
    limitations: list[str] = msgspec.field(name="hidden", default_factory=list)
    unreadable: dict[str, str] = {}

    def __post_init__(self) -> None:
        self.digest = self.digest or self.compute_digest()

    def compute_digest(self) -> str:
        """Return the digest of the current content. It differs from ``digest`` if the manifest was edited by hand."""
        outcome = {
            task: {
                split: [msgspec.to_builtins(each.source), each.kept, sorted(each.removed_ids())]
                for split, each in splits.items()
            }
            for task, splits in self.splits.items()
        }
        chosen = [self.policy.protects, self.policy.evidence, [msgspec.to_builtins(info) for info in self.lists]]
        return atomic_files.digest_value([VERSION, chosen, outcome])

    def split(self, task: str, split: Split) -> CleanedSplit:
        """Return the decision for one split.

        Raises:
            TwelvefoldError: the manifest does not contain the task or the split.
        """
        cleaned = self.splits.get(task, {}).get(split)
        if cleaned is None:
            raise TwelvefoldError(
                f"the cleaning manifest does not contain {task}, {split}; it contains {', '.join(self.splits)}. "
                "Make a manifest of these tasks with `twelvefold clean`"
            )
        return cleaned

    def why(self, image: str) -> str:
        """Return why a removed image may not be learned from: ``coco/9 is in the test set of refcoco``."""
        return f"{image} is {', and '.join(map(str, self.reasons[image]))}"


def write_manifest(path: Path, manifest: CleaningManifest) -> None:
    """Write the manifest to ``path``, atomically."""
    atomic_files.write_text(path, manifest_text(manifest))


def manifest_text(manifest: CleaningManifest) -> str:
    """Return the manifest as the JSON text that :func:`write_manifest` writes."""
    return _json_lines(msgspec.to_builtins(manifest), LINE_DEPTH) + "\n"


def read_manifest(path: Path) -> CleaningManifest:
    """Read and verify the manifest at ``path``.

    Raises:
        TwelvefoldError: there is none, it is another kind of file or version, or it was changed after it was written.
    """
    raw = atomic_files.read_manifest(path, FORMAT, VERSION, remedy="make one with `twelvefold clean` or `prepare`")
    manifest = atomic_files.convert_json(path, raw, CleaningManifest, remedy="make it again")
    if manifest.digest != (computed := manifest.compute_digest()):
        raise TwelvefoldError(
            f"{path} was changed after it was written: it states the digest {manifest.digest}, but its content has "
            f"{computed}. Restore the file or make it again"
        )
    return manifest


def check_split(rows: Iterable[IdAndImages], expected: CleanedSplit, split_name: str) -> None:
    """Check that these are the examples that the manifest was made from.

    Raises:
        TwelvefoldError: names the split and the difference.
    """
    digester = SplitDigester()
    image_of_removed = {id_: image for image, ids in expected.removed.items() for id_ in ids}
    changed = []
    for id_, images in rows:
        digester.add(id_, images)
        image = image_of_removed.pop(id_, "")
        if image and image not in map(str, images):
            changed.append(f"{id_!r} (no longer {image})")
    if digester.digest() != expected.source:
        difference = _describe_difference(expected.source, digester.digest(), sorted(image_of_removed), changed)
        raise TwelvefoldError(
            f"{split_name}: the data are not those of the cleaning manifest: {difference}. "
            "Restore the data that it was made from, or make a manifest of these with `twelvefold clean`"
        )


def _describe_difference(expected: SplitDigest, got: SplitDigest, missing: list[str], changed: list[str]) -> str:
    """Return a sentence about two contents of a split. ``missing``: ids of removed examples that are not there;
    ``changed``: removed examples that have another image."""
    more = got.examples - expected.examples
    if more:
        summary = (
            f"{abs(more):,} {'more' if more > 0 else 'fewer'}; expected {expected.examples:,}, got {got.examples:,}"
        )
    elif got.ids != expected.ids:
        summary = f"the same number, {got.examples:,}, but some have other ids"
    else:
        summary = f"the same {got.examples:,}, but some have another image"
    parts = [f"examples: {summary}"]
    for title, names in (("removed examples that are missing", missing), ("with another image", changed)):
        if names:
            parts.append(f"{title}: {', '.join(names[:3])}{f' and {len(names) - 3:,} more' if len(names) > 3 else ''}")
    return "; ".join(parts)


def _json_lines(value: Any, depth: int) -> str:
    """Return JSON with a line for each item of an object, down to ``depth`` nested objects."""
    if not depth or not isinstance(value, dict) or not value:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    items = (
        f"{json.dumps(name, ensure_ascii=False)}: {_json_lines(inner, depth - 1)}" for name, inner in value.items()
    )
    return "{\n" + ",\n".join(items) + "\n}"
