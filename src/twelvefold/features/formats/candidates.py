"""Features of given boxes, held to the candidate boxes that tasks have.

The original finds a candidate's features by its place: the file must hold a picture's boxes in the order of their ids.
We find them by the box itself, to the last bit. A file's boxes are the annotators', scaled to the detector's picture
and back, perhaps cut at the picture's edge: so each candidate takes the features of the box that lies closest to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twelvefold.datasets import task_names
from twelvefold.datasets.reading.image_files import candidate_boxes
from twelvefold.datasets.reading.options import reader_options
from twelvefold.datasets.reading.records import BadRecords
from twelvefold.schema import ImageKey, Regions, TwelvefoldError
from twelvefold.store.atomic_files import digest_bytes

NEAR_PX = 1.01
"""So far a corner may lie from its candidate's: Visual7W's boxes begin at -1, detectors end them at width - 1."""

Candidates = Mapping[ImageKey, NDArray[np.float32]]


def candidates_of(data: Path) -> Candidates:
    """Every candidate box of the tasks whose folders lie in ``data``, by picture.

    Raises:
        TwelvefoldError: none of them gives any.
    """
    there = [name for name in task_names() if (data / name).is_dir()]
    found = candidate_boxes(data, reader_options(data, there), bad=BadRecords(skip=True))
    if not found:
        raise TwelvefoldError(f"no task under {data} gives candidate boxes; Visual7W and GuessWhat?! do")
    return found


def digest(candidates: Candidates) -> str:
    """The same for the same boxes of the same pictures."""
    return digest_bytes(b"".join(f"{key}\n".encode() + boxes.tobytes() for key, boxes in sorted(candidates.items())))


def matched(regions: Regions, wanted: NDArray[np.float32]) -> tuple[Regions, str]:
    """The features of the ``wanted`` boxes, under their own corners, and which have none in the file (or nothing)."""
    # A candidate is cut at the upper left alone where its file doesn't tell the picture's size.
    distance = np.abs(wanted[:, None, :] - regions.boxes_px[None, :, :]).max(axis=2)
    nearest = distance.argmin(axis=1)
    good = distance[np.arange(len(wanted)), nearest] <= NEAR_PX
    rows = nearest[good]
    probabilities = None if regions.class_probs is None else regions.class_probs[rows]
    made = Regions(wanted[good], regions.features[rows], regions.width, regions.height, probabilities)
    if good.all():
        return made, ""
    first = wanted[int(np.argmin(good))].tolist()
    return (
        made,
        f"{int((~good).sum())} of {len(wanted)} candidate boxes have no features within a pixel, such as {first}",
    )
