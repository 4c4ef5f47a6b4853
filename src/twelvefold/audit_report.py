"""What came of an audit, for a program (JSON, CSV) and for a person (a table, sentences). Paper: Table 1."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.table import Table

from twelvefold.results.audit_page import EVIDENCE, share
from twelvefold.schema import Evidence, ImageKey, Split
from twelvefold.splits.overlap import Cell, Collection, Kind, Overlap
from twelvefold.splits.reuse import TextCell

EXAMPLES = 3
"""Photographs named with each finding."""

ALIKE = 36
"""Most pairs of like pictures that are kept to be shown."""


@dataclass(frozen=True, slots=True)
class Held:
    """A set, with the photographs and the texts of each split that it has."""

    name: str
    kind: Kind
    photographs: dict[Split, int]
    texts: dict[Split, int]


@dataclass(frozen=True, slots=True)
class Finding:
    """A cell that is not empty, in a sentence. ``is_leak``: of a test set, and above the threshold. ``examples``:
    some of its photographs, by their names in the row and in the column."""

    row: str
    column: str
    split: Split
    count: int
    total: int
    percent: float
    is_leak: bool
    sentence: str
    examples: list[tuple[ImageKey, ImageKey, Evidence]]


@dataclass(frozen=True, slots=True)
class Alike:
    """Two different pictures of one photograph, ``key`` in ``row``'s split, ``other`` in what ``column`` learns."""

    row: str
    column: str
    split: Split
    key: ImageKey
    other: ImageKey
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Report:
    """``tests``, ``vals``: the matrices, cell by cell; ``texts``: text reuse; ``findings``: worst first, test sets
    before val sets; ``alike``: pairs of pictures that are known by what they show; ``hidden``: what could not be
    known; ``unreadable``: pictures that could not be compared."""

    sets: list[Held]
    photographs: int
    threshold: float
    tests: list[Cell]
    vals: list[Cell]
    texts: list[TextCell]
    findings: list[Finding]
    alike: list[Alike]
    left_out: dict[str, str]
    hidden: list[str]
    unreadable: dict[str, str]
    problems: list[str]

    @property
    def leaks(self) -> list[Finding]:
        """What makes a check fail."""
        return [finding for finding in self.findings if finding.is_leak]

    def table(self, split: Split = "test") -> Table:
        """The matrix as in Table 1: percent of the row's photographs that the column learns from; to print with
        rich. Nothing shared is a dot, so that a zero can't hide a few."""
        cells = {(cell.row, cell.column): cell for cell in (self.tests if split == "test" else self.vals)}
        columns = list(dict.fromkeys(column for _, column in cells))
        where = "train and val" if split == "test" else "train"
        table = Table(title=f"Percent of {split} photographs (rows) in {where} (columns)", title_justify="left")
        table.box, table.pad_edge, table.padding = box.SIMPLE_HEAD, False, (0, 1, 0, 0)
        table.add_column(f"{split} set", no_wrap=True)
        for column in ("n", *columns):
            table.add_column(column, justify="right", overflow="fold", min_width=4)
        for row in dict.fromkeys(row for row, _ in cells):
            mine = [cells[row, column] for column in columns]
            table.add_row(row, f"{mine[0].total:,}", *(share(cell.count, cell.total) for cell in mine))
        return table

    def csv(self) -> str:
        """All cells of both matrices, one a line, with the texts that go with them."""
        texts = {(cell.row, cell.column): cell for cell in self.texts}
        kinds = list(EVIDENCE)
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        names = ["row", "column", "split", "photographs", "shared", "percent", *(f"by_{kind}" for kind in kinds)]
        writer.writerow([*names, "texts", "texts_reused", "texts_with_same_picture"])
        for cell in [*self.tests, *self.vals]:
            text = texts.get((cell.row, cell.column)) if cell.split == "test" else None
            said = ["", "", ""] if text is None else [text.total, text.reused, text.same_picture]
            by = [cell.by_evidence.get(kind, 0) for kind in kinds]
            writer.writerow(
                [cell.row, cell.column, cell.split, cell.total, cell.count, f"{cell.percent:.4f}", *by, *said]
            )
        return out.getvalue()


def compose(
    overlap: Overlap,
    collections: Sequence[Collection],
    *,
    threshold: float,
    left_out: Mapping[str, str],
    hidden: Sequence[str],
    unreadable: Mapping[ImageKey, str],
    problems: Sequence[str],
) -> Report:
    """The report of an overlap. ``threshold``: percent of a test set above which a cell is a leak."""
    texts = {(cell.row, cell.column): cell for cell in overlap.texts}
    findings = [_finding(overlap, cell, threshold, texts) for cell in [*overlap.tests, *overlap.vals] if cell.count]
    findings.sort(key=lambda one: (one.split != "test", -one.percent, -one.count, one.row, one.column))
    return Report(
        sets=[
            Held(
                each.name,
                each.kind,
                {split: overlap.distinct(each.name, split) for split in each.parts},
                {split: len(part.digests) for split, part in each.parts.items()},
            )
            for each in collections
        ],
        photographs=overlap.photographs,
        threshold=threshold,
        tests=overlap.tests,
        vals=overlap.vals,
        texts=overlap.texts,
        findings=findings,
        alike=_alike(overlap, findings),
        left_out=dict(left_out),
        hidden=list(hidden),
        unreadable={str(key): reason for key, reason in sorted(unreadable.items())},
        problems=list(problems),
    )


def _finding(overlap: Overlap, cell: Cell, threshold: float, texts: Mapping[tuple[str, str], TextCell]) -> Finding:
    learnt = "train and val" if cell.split == "test" else "train"
    own = "its own" if cell.row == cell.column else f"{cell.column}'s"
    sentence = (
        f"{cell.count:,} of the {cell.total:,} {cell.split} photographs of {cell.row} "
        f"({share(cell.count, cell.total)} %) are in {own} {learnt}: {by_evidence(cell)}"
    )
    text = texts.get((cell.row, cell.column))
    if cell.split == "test" and text is not None and text.same_picture:
        sentence += f"; {text.same_picture:,} of its {text.total:,} texts are learnt there with the same photograph"
    return Finding(
        row=cell.row,
        column=cell.column,
        split=cell.split,
        count=cell.count,
        total=cell.total,
        percent=cell.percent,
        is_leak=cell.split == "test" and cell.percent > threshold,
        sentence=sentence,
        examples=list(overlap.shared(cell.row, cell.column, cell.split)[:EXAMPLES]),
    )


def by_evidence(cell: Cell) -> str:
    """``70 by id, 7 by looks``: how a cell's photographs were recognised."""
    return ", ".join(f"{count:,} {EVIDENCE[kind]}" for kind, count in cell.by_evidence.items() if count)


def _alike(overlap: Overlap, findings: Iterable[Finding]) -> list[Alike]:
    """Pairs that are joined by what they show, by turns from every finding, so that none fills the page."""
    shown: dict[tuple[ImageKey, ImageKey], Alike] = {}
    queues = []
    for one in findings:
        seen = overlap.shared(one.row, one.column, one.split)
        queues.append(
            [Alike(one.row, one.column, one.split, *pair) for pair in seen if pair.evidence not in ("ids", "bytes")]
        )
    while any(queues) and len(shown) < ALIKE:
        for queue in queues:
            if queue and len(shown) < ALIKE:
                pair = queue.pop(0)
                shown.setdefault((min(pair.key, pair.other), max(pair.key, pair.other)), pair)
        queues = [queue for queue in queues if queue]
    return list(shown.values())
