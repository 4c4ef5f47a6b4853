"""The manifest of a cleaning: what it decided, in one file that can be kept, shared and pinned. Paper: section 2.2.

The file is JSON with a line for each picture: small (an example costs little more than its id), quick to read, and
two of them can be compared line by line. It says nothing of the folder or the machine that it was made in: the same
data give the same bytes. ``digest`` stands for everything that decides what may be learned from.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from twelvefold.schema import Evidence, Example, Split, TwelvefoldError
from twelvefold.splits.policy import Kind, Place, Policy
from twelvefold.store import atomic_files

FORMAT, VERSION = "twelvefold clean", 1

LINES = 5
"""Objects nested so deep, down to the pictures of a split, have a line for each item."""


class Source(msgspec.Struct, frozen=True):
    """What a split held before cleaning: how many examples, and a digest each of their ids and of their ids with their
    pictures, whatever their order."""

    examples: int
    ids: str
    pictures: str


class Fingerprint:
    """Takes a split's examples one by one. A digest is the sum of the examples' own, so their order can't matter."""

    def __init__(self) -> None:
        self._count = self._ids = self._pictures = 0

    def add(self, example: Example) -> None:
        names = example.id
        for pair in example.pairs:
            names = f"{names}\n{pair.image.source}/{pair.image.id}"
        self._count += 1
        self._ids += atomic_files.digest_number(example.id.encode())
        self._pictures += atomic_files.digest_number(names.encode())

    def source(self) -> Source:
        """What has been taken so far."""
        return Source(self._count, *(f"{total % (1 << 128):032x}" for total in (self._ids, self._pictures)))


class Step(NamedTuple):
    """One join on the way from a removed picture to the protected one."""

    one: str
    other: str
    evidence: Evidence
    why: str


class Reason(msgspec.Struct, frozen=True):
    """A place where a removed picture's photograph is protected: the task (or id list) ``owner``, its split, the key
    there, and what shows that the two are one photograph; no steps where the key is the same."""

    owner: str
    kind: Kind
    key: str
    steps: list[Step] = []

    @classmethod
    def of(cls, place: Place) -> Reason:
        steps = [Step(str(join.first), str(join.second), join.evidence, join.reason) for join in place.chain]
        return cls(*place.owner, str(place.key), steps)

    def __str__(self) -> str:
        where = f"in the list {self.owner}" if self.kind == "list" else f"in the {self.kind} set of {self.owner}"
        return f"{where} as {self.key} ({', '.join(step.why for step in self.steps)})" if self.steps else where


class Cleaned(msgspec.Struct):
    """One split: what it held, how many examples stay, and the ids of the others by the picture that they went for."""

    source: Source
    kept: int
    removed: dict[str, list[str]] = {}

    def ids(self) -> frozenset[str]:
        """The ids of all removed examples."""
        return frozenset(id_ for ids in self.removed.values() for id_ in ids)


class Listed(msgspec.Struct, frozen=True):
    """A given id list: file name, whose pictures it names, how many, and their digest."""

    file: str
    source: str
    pictures: int
    digest: str


class Manifest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What a cleaning decided. ``splits``: by task, then split; ``reasons``: by removed picture. ``hidden``: what
    could not be known; ``unreadable``: pictures that could not be compared, with the reason.

    ``digest`` covers the policy, the id lists, what every split held and which examples were removed. It leaves out
    the words of the reasons: two versions of a library may tell the same story differently.
    """

    format: str = FORMAT
    version: int = VERSION
    digest: str = ""
    policy: Policy
    lists: list[Listed] = []
    splits: dict[str, dict[Split, Cleaned]]
    reasons: dict[str, list[Reason]] = {}
    hidden: list[str] = []
    unreadable: dict[str, str] = {}

    def __post_init__(self) -> None:
        self.digest = self.digest or self.made_digest()

    def made_digest(self) -> str:
        """The digest of what the manifest says now; another than ``digest`` once it was changed by hand."""
        outcome = {
            task: {split: [msgspec.to_builtins(one.source), one.kept, sorted(one.ids())] for split, one in own.items()}
            for task, own in self.splits.items()
        }
        chosen = [self.policy.protects, self.policy.evidence, [msgspec.to_builtins(one) for one in self.lists]]
        return atomic_files.digest_value([VERSION, chosen, outcome])

    def split(self, task: str, split: Split) -> Cleaned:
        """What was decided for one split.

        Raises:
            TwelvefoldError: the manifest doesn't know the task or split.
        """
        found = self.splits.get(task, {}).get(split)
        if found is None:
            raise TwelvefoldError(
                f"the cleaning manifest says nothing of {task}, {split}; it knows {', '.join(self.splits)}. "
                "Make one of these tasks with `twelvefold clean`"
            )
        return found

    def why(self, picture: str) -> str:
        """Why a removed picture may not be learned from: ``coco/9 is in the test set of refcoco``."""
        return f"{picture} is {', and '.join(map(str, self.reasons[picture]))}"


def write(path: Path, manifest: Manifest) -> None:
    """Put the manifest at ``path``, atomically."""
    atomic_files.write_text(path, text(manifest))


def text(manifest: Manifest) -> str:
    """What :func:`write` writes."""
    return _lines(msgspec.to_builtins(manifest), LINES) + "\n"


def read(path: Path) -> Manifest:
    """The manifest at ``path``.

    Raises:
        TwelvefoldError: there is none, it is another kind of file or version, or it was changed after it was written.
    """
    raw = atomic_files.read_manifest(path, FORMAT, VERSION, again="make one with `twelvefold clean` or `prepare`")
    try:
        manifest = msgspec.convert(raw, Manifest)
    except msgspec.ValidationError as error:
        raise TwelvefoldError(f"{path} was changed after it was written: {error}; make it anew") from error
    if manifest.digest != (made := manifest.made_digest()):
        raise TwelvefoldError(
            f"{path} was changed after it was written: it states the digest {manifest.digest}, what it holds has "
            f"{made}. Bring the file back or make it anew"
        )
    return manifest


def matching(examples: Iterable[Example], expected: Cleaned, what: str) -> Iterator[Example]:
    """The examples as they come; at the end an error unless they are those of which the manifest was made.

    Raises:
        TwelvefoldError: names the split (``what``) and what differs.
    """
    found, went = Fingerprint(), {id_: picture for picture, ids in expected.removed.items() for id_ in ids}
    moved = []
    for example in examples:
        found.add(example)
        picture = went.pop(example.id, "")
        if picture and all(str(pair.image) != picture for pair in example.pairs):
            moved.append(f"{example.id!r} (no longer {picture})")
        yield example
    if found.source() != expected.source:
        raise TwelvefoldError(
            f"{what}: the data are not those of the cleaning manifest: "
            f"{_difference(expected.source, found.source(), sorted(went), moved)}. "
            "Bring back the data that it was made of, or make a manifest of these with `twelvefold clean`"
        )


def _difference(expected: Source, got: Source, gone: list[str], moved: list[str]) -> str:
    """How two sources differ, in a sentence; ``gone``: removed ids not met, ``moved``: with another picture."""
    more = got.examples - expected.examples
    if more:
        said = f"{abs(more):,} {'more' if more > 0 else 'fewer'}; expected {expected.examples:,}, got {got.examples:,}"
    elif got.ids != expected.ids:
        said = f"as many, {got.examples:,}, but some are others"
    else:
        said = f"the same {got.examples:,}, but some show another picture"
    parts = [f"examples: {said}"]
    for what, named in (("removed ones that are missing", gone), ("with another picture", moved)):
        if named:
            parts.append(f"{what}: {', '.join(named[:3])}{f' and {len(named) - 3:,} more' if len(named) > 3 else ''}")
    return "; ".join(parts)


def _lines(value: Any, depth: int) -> str:
    """JSON with a line for each item of an object, ``depth`` objects deep."""
    if not depth or not isinstance(value, dict) or not value:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    items = (f"{json.dumps(name, ensure_ascii=False)}: {_lines(inner, depth - 1)}" for name, inner in value.items())
    return "{\n" + ",\n".join(items) + "\n}"
