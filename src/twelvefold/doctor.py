"""``twelvefold doctor``: what of the twelve datasets is there, what is missing or malformed, and what to do next.

Everything is read as training would read it, by the datasets' own readers, passing over bad records and listing them.
What is found is compared with the number of examples that the publishers' files hold (or a world's own, in a world).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from twelvefold.datasets import NAMES, Dataset, load
from twelvefold.datasets.reading import same_image_links
from twelvefold.datasets.reading.cards import PICTURES, PUBLISHED, agrees
from twelvefold.datasets.reading.image_files import FOLDERS, image_files
from twelvefold.datasets.reading.options import reader_options
from twelvefold.datasets.reading.records import BadRecords
from twelvefold.progress import track
from twelvefold.schema import ImageKey, Split, TwelvefoldError
from twelvefold.store import relaxed_gc

State = Literal["whole", "incomplete", "missing"]
SHOWN = 3
"""So many malformed records and missing pictures are shown of each split."""


@dataclass(frozen=True, slots=True)
class SplitHealth:
    """One split of a task. files: that it is read from. examples: that could be read. expected: None if nobody knows.

    missing: why it can't be read at all, or nothing. malformed: records left out, ``bad`` the first of them.
    pictures: that its examples want; pictures_missing of those, ``lost`` the first.
    """

    files: tuple[str, ...]
    examples: int
    expected: int | None
    missing: str
    malformed: int
    bad: tuple[str, ...]
    pictures: int
    pictures_missing: int
    lost: tuple[str, ...]
    count_is_right: bool


@dataclass(frozen=True, slots=True)
class TaskHealth:
    """One task. next: what to do, in order; empty where all is well."""

    state: State
    splits: Mapping[Split, SplitHealth]
    next: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Health:
    """What a data folder is good for. hidden: what stays hidden for want of a map or of pictures."""

    data: Path
    tasks: Mapping[str, TaskHealth]
    hidden: tuple[str, ...]

    @property
    def well(self) -> bool:
        """Whether every task that was asked about is whole and no map is missing."""
        return not self.hidden and all(task.state == "whole" for task in self.tasks.values())


def doctor(data: Path, *, tasks: Sequence[str] = ()) -> Health:
    """Read every split of ``tasks`` (all twelve if none) in the data folder, and say what is there.

    Raises:
        TwelvefoldError: there is no such folder or task.
    """
    data = Path(data)
    if not data.is_dir():
        raise TwelvefoldError(f"there is no data folder {data}; docs/design.md shows how one is laid out")
    datasets = {name: load(name) for name in tasks or NAMES}
    pictures, hidden = _pictures(data)
    options = reader_options(data, datasets)
    expected = _expected(data)
    health = {
        name: _task(data, name, dataset, options[name], expected, pictures)
        for name, dataset in track(list(datasets.items()), description="datasets read")
    }
    wanted = {source for name in datasets if name in PUBLISHED for source in PUBLISHED[name].pictures}
    return Health(data, health, (*(_maps(data) if "vg" in wanted else ()), *hidden))


def _expected(data: Path) -> Mapping[str, Mapping[str, int]] | None:
    """A world's own counts, or None for the publishers'."""
    about = data / "world.json"
    return json.loads(about.read_text(encoding="utf-8"))["examples"] if about.exists() else None


def _pictures(data: Path) -> tuple[set[ImageKey] | None, list[str]]:
    """Every picture that is there, or None and what that hides."""
    try:
        return set(image_files(data)), []
    except TwelvefoldError as error:
        return None, [
            f"{error}; without pictures nothing can be extracted (features can be imported instead: "
            "twelvefold features import), and cleaning can't compare pictures"
        ]


def _maps(data: Path) -> list[str]:
    """What is missing or malformed of the id maps, and what that hides."""
    bad = BadRecords(skip=True)
    try:
        for _ in same_image_links.joins(data, bad=bad):
            pass
    except TwelvefoldError as error:
        return [f"{error}; without this map cleaning takes a photograph in two datasets for two"]
    count = len(bad.listed)
    some = [f"{count:,} malformed record{'s' * (count > 1)} in an id map, such as {bad.listed[0]}"] if count else []
    return [*same_image_links.hidden(data), *some]


def _task(
    data: Path,
    name: str,
    dataset: Dataset,
    options: Mapping[str, Any],
    expected: Mapping[str, Mapping[str, int]] | None,
    pictures: set[ImageKey] | None,
) -> TaskHealth:
    splits = {}
    for split in get_args(Split):
        known = expected.get(name, {}).get(split) if expected is not None else None
        if expected is None and name in PUBLISHED:
            known = PUBLISHED[name].examples[split]
        splits[split] = _split(data, name, dataset, split, options, known, expected is None, pictures)
    unread = [health for health in splits.values() if health.missing]
    steps = tuple(dict.fromkeys(_steps(name, splits)))
    if len(unread) == len(splits) and not any(health.files for health in unread):
        return TaskHealth("missing", splits, steps)
    return TaskHealth("incomplete" if steps else "whole", splits, steps)


@relaxed_gc.seldom()
def _split(
    data: Path,
    name: str,
    dataset: Dataset,
    split: Split,
    options: Mapping[str, Any],
    expected: int | None,
    official: bool,
    pictures: set[ImageKey] | None,
) -> SplitHealth:
    """Read one split to its end, or as far as its files allow."""
    bad, wanted = BadRecords(skip=True), set[ImageKey]()
    found: list[Path] = []
    examples, missing = 0, ""
    try:
        found = dataset.files(data, split, **options)
        for example in dataset.read(data, split, bad=bad, **options):
            examples += 1
            wanted.update(pair.image for pair in example.pairs)
    except (TwelvefoldError, OSError) as error:
        missing = str(error)
    lost = sorted(wanted - pictures) if pictures is not None else []
    right = expected is None or (agrees(name, split, examples) if official else examples == expected)
    return SplitHealth(
        files=tuple(path.relative_to(data).as_posix() for path in found),
        examples=examples,
        expected=expected,
        missing=missing,
        malformed=len(bad.listed),
        bad=tuple(str(refusal) for refusal in bad.listed[:SHOWN]),
        pictures=len(wanted),
        pictures_missing=len(lost),
        lost=tuple(str(key) for key in lost[:SHOWN]),
        count_is_right=right,
    )


def _steps(name: str, splits: Mapping[Split, SplitHealth]) -> Iterable[str]:
    """What to do, the first thing first."""
    home = PUBLISHED[name].home if name in PUBLISHED else "its publisher"
    for split, health in splits.items():
        if health.missing and health.files:
            yield f"{split} can't be read: {health.missing}; a damaged file comes again from {home}"
        elif health.missing:
            yield f"{split}: {health.missing}; it comes from {home} (twelvefold datasets {name})"
        if health.malformed:
            yield (
                f"{split}: {health.malformed:,} malformed record{'s' * (health.malformed > 1)}, such as "
                f"{health.bad[0]}; mend them, or prepare with --skip-bad"
            )
        if not health.missing and not health.count_is_right:
            yield (
                f"{split}: {health.examples:,} examples, where the full files give {health.expected:,}: a sample, "
                "another release, or cut short"
            )
        if health.pictures_missing:
            where = {PICTURES[_folder(key)].folder for key in health.lost if _folder(key) in PICTURES}
            yield (
                f"{split}: {health.pictures_missing:,} of {health.pictures:,} pictures are not under images/, such as "
                f"{', '.join(health.lost)}; they belong into {' or '.join(sorted(where)) or 'images/<source>'}"
            )


def _folder(key: str) -> str:
    source = ImageKey.parse(key).source
    return source if source in FOLDERS else ""
