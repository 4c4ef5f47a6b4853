"""Assign the features of given boxes in a file to the tasks' candidate boxes.

The original finds a candidate's features by index: the file must hold an image's boxes in the order of their ids. We
find them by the box's exact coordinates. A file's boxes are the annotated ones, scaled to the detector's input and
back, perhaps clipped to the image: so each candidate takes the features of the nearest box in the file.
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

MAX_DISTANCE_PX = 1.01
"""Largest distance of a corner: Visual7W's boxes begin at -1, and detectors end them at width - 1."""

CandidateBoxes = Mapping[ImageKey, NDArray[np.float32]]


def read_candidate_boxes(data: Path) -> CandidateBoxes:
    """Return the candidate boxes by image of all tasks in a data folder.

    Raises:
        TwelvefoldError: no task has candidate boxes.
    """
    tasks = [name for name in task_names() if (data / name).is_dir()]
    listed = candidate_boxes(data, reader_options(data, tasks), bad=BadRecords(skip=True))
    boxes = {key: candidates.boxes_px for key, candidates in listed.items()}
    if not boxes:
        raise TwelvefoldError(f"no task in {data} has candidate boxes; Visual7W and GuessWhat?! do")
    return boxes


def digest_candidates(candidates: CandidateBoxes) -> str:
    """Return a digest of the boxes and their images."""
    return digest_bytes(b"".join(f"{key}\n".encode() + boxes.tobytes() for key, boxes in sorted(candidates.items())))


def match_candidates(regions: Regions, candidates: NDArray[np.float32]) -> tuple[Regions, str]:
    """Return the features of the candidate boxes, with their own corners, and an error message if any has none."""
    # A candidate is clipped at the upper left only if its dataset does not state the image's size.
    distance = np.abs(candidates[:, None, :] - regions.boxes_px[None, :, :]).max(axis=2)  # (candidates, regions)
    nearest = distance.argmin(axis=1)
    matched = distance[np.arange(len(candidates)), nearest] <= MAX_DISTANCE_PX
    rows = nearest[matched]
    probabilities = None if regions.class_probs is None else regions.class_probs[rows]
    result = Regions(candidates[matched], regions.features[rows], regions.width, regions.height, probabilities)
    if matched.all():
        return result, ""
    num_missing, first = int((~matched).sum()), candidates[int(np.argmin(matched))].tolist()
    return (
        result,
        f"{num_missing} of {len(candidates)} candidate boxes have no features within a pixel, such as {first}",
    )
