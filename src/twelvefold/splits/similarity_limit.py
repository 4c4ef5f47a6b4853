"""Stop a cleaning that removes much of a split only because images look alike, and show the pairs of images.

Files with equal ids, bytes or pixels are the same image. Similarity is a judgement, and of a kind of images that it was
never measured on it may be wrong often. Paper: section 2.2; the original project compares ids only.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from twelvefold.datasets.reading.image_files import image_files
from twelvefold.images import ImageError, open_image
from twelvefold.schema import SIMILARITY, ImageKey, Split, TwelvefoldError
from twelvefold.splits.manifest import CleaningManifest
from twelvefold.store import atomic_files

SHEET = "similar.html"
"""The file that shows the pairs, in the folder of the manifest."""
MAX_PAIRS = 60
"""Pairs on the sheet, and at most five named in the error."""
THUMBNAIL_SIDE_PX = 200


class SimilarPair(NamedTuple):
    """An image that is removed, an image that it is similar to, and why."""

    removed: str
    protected: str
    reason: str


def removed_by_similarity(manifest: CleaningManifest) -> dict[tuple[str, Split], dict[str, list[str]]]:
    """Return the ids of the examples that are removed by similarity alone, by task and split, then by image."""
    similar = {image for image, reasons in manifest.reasons.items() if all(reason.is_similar for reason in reasons)}
    return {
        (task, split): {image: ids for image, ids in cleaned.removed.items() if image in similar}
        for task, splits in manifest.splits.items()
        for split, cleaned in splits.items()
    }


def count_removed_by_similarity(manifest: CleaningManifest | None) -> int:
    """Return the number of examples of all splits that are removed by similarity alone."""
    if manifest is None:
        return 0
    return sum(len(ids) for images in removed_by_similarity(manifest).values() for ids in images.values())


def check_similarity(manifest: CleaningManifest, data: Path, sheet: Path) -> None:
    """Check that no more of a split is removed by similarity alone than the policy allows (``max_similar``).

    Args:
        manifest: A decision that has not been written yet.
        data: The data folder, for its images.
        sheet: The HTML file that shows the pairs if there are too many.

    Raises:
        TwelvefoldError: more is removed, or ``max_similar`` is not a fraction.
    """
    limit = manifest.policy.max_similar
    if not 0 <= limit <= 1:
        raise TwelvefoldError(f"max_similar is a fraction of a split, 0 to 1; got {limit}")
    fractions = {
        (task, split): sum(map(len, images.values())) / manifest.splits[task][split].source.examples
        for (task, split), images in removed_by_similarity(manifest).items()
        if images
    }
    if not fractions or max(fractions.values()) <= limit:
        return
    task, split = max(fractions, key=lambda each: fractions[each])
    pairs = _similar_pairs(manifest, task, split)
    atomic_files.write_text(sheet, _render_sheet(pairs[:MAX_PAIRS], len(pairs), image_files(data)))
    names = "; ".join(f"{pair.removed} and {pair.protected}" for pair in pairs[:5])
    raise TwelvefoldError(
        f"{task}, {split}: cleaning would remove {100 * fractions[task, split]:.1f} % of the examples only because "
        f"their images look like protected ones; expected at most {100 * limit:g} %. Nothing was removed. {sheet} "
        f"shows {min(len(pairs), MAX_PAIRS):,} of {len(pairs):,} pairs; the first are {names}. If they are copies, "
        "allow their removal (--max-similar 1, or [data] max_similar = 1); if they are not, clean by ids, equal "
        "bytes and equal pixels only (the policy exact)"
    )


def _similar_pairs(manifest: CleaningManifest, task: str, split: Split) -> list[SimilarPair]:
    """Return the pairs because of which examples of a split are removed by similarity alone."""
    pairs: dict[SimilarPair, None] = {}
    for image in manifest.splits[task][split].removed:
        if all(reason.is_similar for reason in manifest.reasons[image]):
            for step in manifest.reasons[image][0].steps:
                if step.evidence in SIMILARITY:
                    pairs[SimilarPair(step.first, step.second, step.reason)] = None
    return list(pairs)


def _render_sheet(pairs: Sequence[SimilarPair], total: int, files: Mapping[ImageKey, Path]) -> str:
    rows = "\n".join(
        f"<figure>{_thumbnail(pair.removed, files)}{_thumbnail(pair.protected, files)}"
        f"<figcaption>{html.escape(f'{pair.removed}, like {pair.protected}: {pair.reason}')}</figcaption></figure>"
        for pair in pairs
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Similar images</title>'
        "<style>body{font:14px sans-serif;margin:2em}figure{display:inline-block;margin:1em;width:420px;"
        "vertical-align:top}img{max-width:200px;margin-right:6px}</style>"
        f"<h1>Similar images</h1><p>{len(pairs):,} of {total:,} pairs. Left: an image whose examples would be removed; "
        f"right: the protected image that it looks like.</p>\n{rows}\n</html>\n"
    )


def _thumbnail(key: str, files: Mapping[ImageKey, Path]) -> str:
    """Return an image as an HTML element, or its name where it cannot be shown."""
    path = files.get(ImageKey.parse(key))
    try:
        image = None if path is None else Image.fromarray(open_image(path))
    except ImageError:
        image = None
    if image is None:
        return f"<span>{html.escape(key)} has no image file</span>"
    image.thumbnail((THUMBNAIL_SIDE_PX, THUMBNAIL_SIDE_PX))
    buffer = io.BytesIO()
    image.save(buffer, "PNG" if max(image.size) <= 96 else "JPEG")
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{html.escape(key, quote=True)}" src="data:image;base64,{data}">'
