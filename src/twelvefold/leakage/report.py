"""Compose the report of an audit, for programs (JSON, CSV) and for people (a table, sentences). Paper: Table 1."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import chain, zip_longest

import msgspec
from rich import box
from rich.table import Table

from twelvefold.duplicates.image_groups import ImageGroups
from twelvefold.image_folder import SkippedFile
from twelvefold.leakage.overlap import TRAINED_SPLITS, Collection, CollectionKind, Overlap, OverlapCell
from twelvefold.leakage.text_overlap import TextOverlapCell
from twelvefold.reporting.percent import EVIDENCE, format_evidence, format_percent
from twelvefold.schema import Evidence, SameImageLink, Split

NUM_EXAMPLES = 3
"""Shared images named with each finding."""

MAX_NEAR_DUPLICATES = 36
"""Most image pairs that are shown: a page of about 2 MB."""


VISIBLE_EVIDENCE: tuple[Evidence, ...] = ("pixels", "looks", "features")
"""Evidence that a person can check by eye: files that differ and show the same."""


class CollectionSummary(msgspec.Struct, frozen=True, rename={"num_images": "photographs", "num_texts": "texts"}):
    """A collection with the numbers of distinct images and of texts in each of its splits."""

    name: str
    kind: CollectionKind
    num_images: dict[Split, int]
    num_texts: dict[Split, int]


@dataclass(frozen=True, slots=True)
class SharedExample:
    """An image in two collections: its key in the row, its key in the column, and the most certain evidence."""

    key: str
    other: str
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Finding(OverlapCell):
    """A cell that is not empty, with a sentence about it. ``is_leak``: it is above the threshold, and of a test set (or
    of a val set, if those count)."""

    is_leak: bool
    sentence: str
    examples: list[SharedExample]


class NearDuplicatePair(msgspec.Struct, frozen=True, rename={"reason": "why"}):
    """Two different files of one image: ``key`` in ``row``'s split, ``other`` in a split that ``column`` learns from.
    ``reason``: the links between them."""

    row: str
    column: str
    split: Split
    key: str
    other: str
    evidence: Evidence
    reason: str


class AuditReport(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    rename={
        "num_images": "photographs",
        "near_duplicates": "alike",
        "limitations": "hidden",
        "is_complete": "complete",
    },
):
    """The result of an audit.

    ``sets``: the collections. ``num_images``: distinct images of all. ``threshold``: percent above which a cell is a
    leak. ``evidence``: what counted. ``tests``, ``vals``: the cells of both matrices. ``texts``: text overlap.
    ``findings``: test sets before val sets, the worst first. ``near_duplicates``: image pairs to look at. ``left_out``:
    absent tasks and splits, with the reason. ``limitations``: what could not be found out. ``unreadable``: images that
    could not be compared, with the reason. ``uncompared``: images that were not compared by looks. ``problems``:
    malformed records that were skipped, and missing image files. ``skipped``: files in the folders of images that are
    no images. ``is_complete``: whether all could be examined."""

    sets: list[CollectionSummary]
    num_images: int
    threshold: float
    evidence: list[Evidence]
    tests: list[OverlapCell]
    vals: list[OverlapCell]
    texts: list[TextOverlapCell]
    findings: list[Finding]
    near_duplicates: list[NearDuplicatePair]
    left_out: dict[str, str]
    limitations: list[str]
    unreadable: dict[str, str]
    uncompared: dict[str, str]
    problems: list[str]
    skipped: list[SkippedFile]
    is_complete: bool

    @property
    def leaks(self) -> list[Finding]:
        """The findings that fail a check."""
        return [finding for finding in self.findings if finding.is_leak]

    def table(self, split: Split = "test") -> Table:
        """Return the matrix as in Table 1, for printing with rich: the percentage of the row's images that the column
        learns from. A dot means none."""
        cells = {(cell.row, cell.column): cell for cell in (self.tests if split == "test" else self.vals)}
        columns = list(dict.fromkeys(column for _, column in cells))
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        table.add_column(f"{split} set", no_wrap=True)
        for column in ("n", *columns):
            table.add_column(column, justify="right", overflow="fold", min_width=4)
        for row in dict.fromkeys(row for row, _ in cells):
            row_cells = [cells[row, column] for column in columns]
            table.add_row(
                row, f"{row_cells[0].total:,}", *(format_percent(cell.count, cell.total) for cell in row_cells)
            )
        return table

    def csv(self) -> str:
        """Return all cells of both matrices as CSV, one a line; test sets with their text overlap."""
        texts = {(cell.row, cell.column): cell for cell in self.texts}
        names = ["row", "column", "split", "photographs", "shared", "percent", *(f"by_{name}" for name in EVIDENCE)]
        lines: list[list[object]] = [[*names, "texts", "texts_reused", "texts_with_same_picture"]]
        for cell in [*self.tests, *self.vals]:
            text = texts.get((cell.row, cell.column)) if cell.split == "test" else None
            text_counts = ["", "", ""] if text is None else [text.total, text.reused, text.same_image]
            evidence_counts = [cell.by_evidence.get(name, 0) for name in EVIDENCE]
            values = [cell.row, cell.column, cell.split, cell.total, cell.count, f"{cell.percent:.4f}"]
            lines.append([*values, *evidence_counts, *text_counts])
        return to_csv(lines)


def to_csv(lines: Iterable[Sequence[object]]) -> str:
    """Return lines of cells as CSV text; the first line contains the names."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(lines)
    return out.getvalue()


def collection_summaries(overlap: Overlap, collections: Sequence[Collection]) -> list[CollectionSummary]:
    """Return the size of every collection."""
    return [
        CollectionSummary(
            each.name,
            each.kind,
            {split: overlap.num_images_in(each.name, split) for split in each.splits},
            {split: len(content.text_digests) for split, content in each.splits.items()},
        )
        for each in collections
    ]


def make_findings(overlap: Overlap, collections: Sequence[Collection], *, threshold: float, val: bool) -> list[Finding]:
    """Return a finding for each cell that is not empty: test sets before val sets, the worst first.

    ``threshold``: percent of a test set (with ``val``, of a val set too) above which a cell is a leak.
    """
    texts = {(cell.row, cell.column): cell for cell in overlap.texts}
    splits_of = {collection.name: set(collection.splits) for collection in collections}
    findings = []
    for cell in (cell for cell in [*overlap.tests, *overlap.vals] if cell.count):
        trained = [split for split in TRAINED_SPLITS[cell.split] if split in splits_of[cell.column]]
        is_leak = (val or cell.split == "test") and cell.percent > threshold
        findings.append(_make_finding(overlap, cell, trained, texts.get((cell.row, cell.column)), is_leak))
    return sorted(findings, key=lambda each: (each.split != "test", -each.percent, -each.count, each.row, each.column))


def _make_finding(
    overlap: Overlap, cell: OverlapCell, trained: Sequence[Split], text: TextOverlapCell | None, is_leak: bool
) -> Finding:
    sets = f"{' and '.join(trained)} set{'s' if len(trained) > 1 else ''}"
    sentence = (
        f"{cell.count:,} of {cell.total:,} {cell.split} images of {cell.row} "
        f"({format_percent(cell.count, cell.total)} %) "
        f"are in {f'its own {sets}' if cell.row == cell.column else f'the {sets} of {cell.column}'}: "
        f"{format_evidence(cell.by_evidence)}"
    )
    if cell.split == "test" and text is not None and text.same_image:
        sentence += f"; {text.same_image:,} of {text.total:,} texts occur there with the same image"
    shared = overlap.shared_images(cell.row, cell.column, cell.split, limit=NUM_EXAMPLES)
    return Finding(
        **{field.name: getattr(cell, field.name) for field in fields(cell)},
        is_leak=is_leak,
        sentence=sentence,
        examples=[SharedExample(str(each.key), str(each.other), each.evidence) for each in shared],
    )


def near_duplicate_pairs(
    overlap: Overlap, findings: Iterable[Finding], links: Iterable[SameImageLink]
) -> list[NearDuplicatePair]:
    """Return image pairs that a person can compare, taken from the findings in turn so that none fills the page."""
    groups, queues = ImageGroups(links), []
    for finding in findings:
        if any(finding.by_evidence.get(evidence) for evidence in VISIBLE_EVIDENCE):
            shared = overlap.shared_images(finding.row, finding.column, finding.split)
            queues.append([(finding, image) for image in shared if image.evidence in VISIBLE_EVIDENCE])
    pairs: dict[frozenset[str], NearDuplicatePair] = {}
    for finding, image in filter(None, chain.from_iterable(zip_longest(*queues))):
        key, other = str(image.key), str(image.other)
        if len(pairs) < MAX_NEAR_DUPLICATES and frozenset((key, other)) not in pairs:
            path = groups.shortest_path(image.key, image.other)
            pairs[frozenset((key, other))] = NearDuplicatePair(
                row=finding.row,
                column=finding.column,
                split=finding.split,
                key=key,
                other=other,
                evidence=image.evidence,
                reason="; ".join(f"{link.reason} ({link.evidence})" for link in path),
            )
    return list(pairs.values())
