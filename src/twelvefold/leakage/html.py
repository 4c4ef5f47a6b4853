"""Render the page of an audit: a heat map of who learns from whose test images, and near-duplicate images.

The page is made from the JSON of the audit, so the two always agree. Paper: Table 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

import msgspec

from twelvefold.image_folder import SkippedFile, skipped_lines
from twelvefold.reporting.percent import format_percent
from twelvefold.reporting.template import render_template
from twelvefold.reporting.thumbnails import Thumbnails
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

CellContent = tuple[int, str, str]
"""Of a cell of a heat map: the part of its total that gives the color, a count in small print, and a sentence that is
shown on hover, empty where nothing is shared."""


def render_audit(report: Mapping[str, Any], thumbnails: Thumbnails) -> str:
    """Return the page as HTML. ``report``: the JSON of the audit."""
    sentences = {(each["row"], each["column"], each["split"]): each["sentence"] for each in report["findings"]}
    kinds = {each["name"]: each["kind"] for each in report["sets"]}

    def image_content(cell: Mapping[str, Any]) -> CellContent:
        sentence = sentences.get((cell["row"], cell["column"], cell["split"]), "")
        return cell["count"], f"{cell['count']:,}" if cell["count"] else "", sentence

    return render_template(
        "audit.html.jinja",
        {"count": lambda number: f"{number:,}"},
        report=report,
        leaks=[finding for finding in report["findings"] if finding["is_leak"]],
        others=[finding for finding in report["findings"] if not finding["is_leak"]],
        num_open=NUM_OPEN_FINDINGS,
        tests=_heat_map(report["tests"], kinds, image_content),
        vals=_heat_map(report["vals"], kinds, image_content),
        texts=_heat_map(report["texts"], kinds, _text_content),
        skipped=skipped_lines(msgspec.convert(report["skipped"], list[SkippedFile])),
        near_duplicates=[_make_figure(pair, thumbnails) for pair in report["alike"]],
    )


def _text_content(cell: Mapping[str, Any]) -> CellContent:
    same, reused, total = cell["same_picture"], cell["reused"], cell["total"]
    is_own = cell["row"] == cell["column"]
    sentence = (
        f"{reused:,} of {total:,} test texts of {cell['row']} are among "
        f"{'its own training texts' if is_own else 'training texts of ' + cell['column']}, "
        f"{same:,} of them with the same image"
    )
    return same, f"{format_percent(reused, total)} %" if reused else "", sentence if reused else ""


def _heat_map(
    cells: Sequence[Mapping[str, Any]], kinds: Mapping[str, str], content: Callable[[Mapping[str, Any]], CellContent]
) -> dict[str, Any]:
    """Return ``groups``, title and names of the columns by kind; and ``rows``, each with its name, total and cells."""
    order = list(COLUMN_GROUPS)
    columns = sorted(dict.fromkeys(cell["column"] for cell in cells), key=lambda name: order.index(kinds[name]))
    heat_cells: dict[tuple[str, str], dict[str, Any]] = {}
    for cell in cells:
        part, count, sentence = content(cell)
        heat_cells[cell["row"], cell["column"]] = {
            "text": format_percent(part, cell["total"]),
            "count": count,
            "heat": round(MIN_HEAT + (100.0 - MIN_HEAT) * part / cell["total"], 1) if part else 0.0,
            "sentence": sentence,
            "is_own": cell["row"] == cell["column"],
        }
    totals = {cell["row"]: cell["total"] for cell in cells}
    return {
        "groups": [(COLUMN_GROUPS[kind], list(names)) for kind, names in groupby(columns, lambda name: kinds[name])],
        "rows": [(row, total, [heat_cells[row, column] for column in columns]) for row, total in totals.items()],
    }


def _make_figure(pair: Mapping[str, Any], thumbnails: Thumbnails) -> dict[str, Any]:
    """Return the two files of an image, with their captions, and the reason why they are the same."""
    trained = "train or val" if pair["split"] == "test" else "train"
    figure = {"reason": pair["why"]}
    for side, name, split in (("row", "key", pair["split"]), ("column", "other", trained)):
        key = ImageKey.parse(pair[name])
        figure[side] = thumbnails.make(key, f"{key}, of {pair[side]}", caption=f"{key}: {pair[side]}, {split}")
    return figure
