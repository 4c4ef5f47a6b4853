"""Render the page of an audit: a heat map of who learns from whose test images, and near-duplicate images.

The page is made from the JSON of the audit, so the two always agree. Paper: Table 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from twelvefold.reporting.percent import format_percent
from twelvefold.reporting.template import render_template
from twelvefold.reporting.thumbnails import Thumbnail, Thumbnails
from twelvefold.schema import ImageKey

COLUMN_GROUPS: Mapping[str, str] = {
    "task": "Tasks",
    "own": "Your own",
    "pretraining": "Pretraining",
    "detector": "Detector",
}
"""Titles of the columns, by the kind of the collection."""

MIN_HEAT = 14.0
"""Percent of full color for the smallest value: a single leaked image must be visible."""

NUM_OPEN_FINDINGS = 12
"""Findings that are shown at once; the rest can be unfolded."""


@dataclass(frozen=True, slots=True)
class HeatCell:
    """One cell of a heat map: its ``text`` and, smaller, its ``count``; its color in percent; and a sentence that is
    shown on hover, empty where nothing is shared."""

    text: str
    count: str
    heat: float
    sentence: str
    is_own: bool

    @classmethod
    def from_counts(cls, row: str, column: str, part: int, whole: int, count: str, sentence: str) -> HeatCell:
        heat = MIN_HEAT + (100.0 - MIN_HEAT) * part / whole if part else 0.0
        return cls(format_percent(part, whole), count, round(heat, 1), sentence, row == column)


@dataclass(frozen=True, slots=True)
class HeatMap:
    """``groups``: title and names of the columns, by kind. ``rows``: name, total, and a cell for each column."""

    groups: list[tuple[str, list[str]]]
    rows: list[tuple[str, int, list[HeatCell]]]


@dataclass(frozen=True, slots=True)
class NearDuplicateFigure:
    """Two files of one image, with their captions, and the reason why they are the same."""

    row: Thumbnail
    column: Thumbnail
    reason: str


def render_audit(report: Mapping[str, Any], thumbnails: Thumbnails) -> str:
    """Return the page as HTML. ``report``: the JSON of the audit."""
    sentences = {(each["row"], each["column"], each["split"]): each["sentence"] for each in report["findings"]}
    kinds = {each["name"]: each["kind"] for each in report["sets"]}
    return render_template(
        "audit.html.jinja",
        {"count": lambda number: f"{number:,}"},
        report=report,
        leaks=[finding for finding in report["findings"] if finding["is_leak"]],
        others=[finding for finding in report["findings"] if not finding["is_leak"]],
        num_open=NUM_OPEN_FINDINGS,
        tests=_image_heat_map(report["tests"], kinds, sentences),
        vals=_image_heat_map(report["vals"], kinds, sentences),
        texts=_text_heat_map(report["texts"], kinds),
        near_duplicates=[_make_figure(pair, thumbnails) for pair in report["alike"]],
    )


def _image_heat_map(
    cells: Sequence[Mapping[str, Any]], kinds: Mapping[str, str], sentences: Mapping[tuple[str, str, str], str]
) -> HeatMap:
    def heat_cell(cell: Mapping[str, Any]) -> HeatCell:
        sentence = sentences.get((cell["row"], cell["column"], cell["split"]), "")
        count = f"{cell['count']:,}" if cell["count"] else ""
        return HeatCell.from_counts(cell["row"], cell["column"], cell["count"], cell["total"], count, sentence)

    return _make_heat_map(cells, kinds, [heat_cell(cell) for cell in cells])


def _text_heat_map(cells: Sequence[Mapping[str, Any]], kinds: Mapping[str, str]) -> HeatMap:
    def heat_cell(cell: Mapping[str, Any]) -> HeatCell:
        same, reused, total = cell["same_picture"], cell["reused"], cell["total"]
        is_own = cell["row"] == cell["column"]
        sentence = (
            f"{reused:,} of {total:,} test texts of {cell['row']} are among "
            f"{'its own training texts' if is_own else 'training texts of ' + cell['column']}, "
            f"{same:,} of them with the same image"
        )
        count = f"{format_percent(reused, total)} %" if reused else ""
        return HeatCell.from_counts(cell["row"], cell["column"], same, total, count, sentence if reused else "")

    return _make_heat_map(cells, kinds, [heat_cell(cell) for cell in cells])


def _make_heat_map(
    cells: Sequence[Mapping[str, Any]], kinds: Mapping[str, str], heat_cells: Sequence[HeatCell]
) -> HeatMap:
    order = list(COLUMN_GROUPS)
    columns = sorted(dict.fromkeys(cell["column"] for cell in cells), key=lambda name: order.index(kinds[name]))
    by_position = {(cell["row"], cell["column"]): heat for cell, heat in zip(cells, heat_cells, strict=True)}
    totals = {cell["row"]: cell["total"] for cell in cells}
    return HeatMap(
        groups=[(COLUMN_GROUPS[kind], list(names)) for kind, names in groupby(columns, lambda name: kinds[name])],
        rows=[(row, total, [by_position[row, column] for column in columns]) for row, total in totals.items()],
    )


def _make_figure(pair: Mapping[str, Any], thumbnails: Thumbnails) -> NearDuplicateFigure:
    trained = "train or val" if pair["split"] == "test" else "train"
    key, other = (ImageKey.parse(pair[name]) for name in ("key", "other"))
    return NearDuplicateFigure(
        thumbnails.make(key, f"{key}, of {pair['row']}", caption=f"{key}: {pair['row']}, {pair['split']}"),
        thumbnails.make(other, f"{other}, of {pair['column']}", caption=f"{other}: {pair['column']}, {trained}"),
        pair["why"],
    )
