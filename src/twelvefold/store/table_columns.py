"""The columns of an example table: what an example is on disk."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
import pyarrow as pa

from twelvefold.schema import Candidate, ClassName, Example, Label, PositivePair, SoftAnswers, TargetBox, TargetBoxes

LABELS: tuple[type[Label] | None, ...] = (
    SoftAnswers, ClassName, PositivePair, TargetBox, Candidate, None, TargetBoxes,
)  # fmt: skip
"""The types of labels by the number that tables have for them; append only. None: the label is withheld."""
NO_LABEL = LABELS.index(None)

NO_SIZE = (0, 0)
"""Width and height of a pair whose annotations state no size."""

_PAIR = pa.struct(
    [
        ("image", pa.string()),
        ("text", pa.string()),
        ("tokens", pa.list_(pa.int32())),
        ("candidates", pa.list_(pa.list_(pa.float64(), 4))),
        ("width", pa.int32()),
        ("height", pa.int32()),
    ]
)
FIELDS = [
    ("id", pa.string()),
    ("kind", pa.string()),
    ("group", pa.string()),
    ("linked", pa.list_(pa.string())),
    ("pairs", pa.list_(_PAIR)),
    ("label", pa.int8()),
    ("names", pa.list_(pa.string())),
    ("numbers", pa.list_(pa.float64())),
    ("chosen_answer", pa.string()),
]


def make_columns(block: Sequence[Example], token_ids: list[list[int]]) -> list[pa.Array]:
    """Return the columns of ``FIELDS``, built flat: several times as fast as from one dictionary per row."""
    pairs = [pair for example in block for pair in example.pairs]
    labels = [_flatten_label(example.label) for example in block]
    label_types = [NO_LABEL if e.label is None else LABELS.index(type(e.label)) for e in block]
    boxes = np.array([box for pair in pairs for box in pair.candidates_px], dtype=np.float64)
    sizes = np.array([pair.stated_size or NO_SIZE for pair in pairs], dtype=np.int32).reshape(-1, 2)
    parts = [
        pa.array([str(pair.image) for pair in pairs], pa.string()),
        pa.array([pair.text for pair in pairs], pa.string()),
        _lists(token_ids, pa.int32()),
        pa.ListArray.from_arrays(
            _offsets([pair.candidates_px for pair in pairs]),
            pa.FixedSizeListArray.from_arrays(pa.array(boxes.reshape(-1)), 4),
        ),
        pa.array(sizes[:, 0]),
        pa.array(sizes[:, 1]),
    ]
    return [
        pa.array([example.id for example in block], pa.string()),
        pa.array([example.question_type for example in block], pa.string()),
        pa.array([example.group for example in block], pa.string()),
        _lists([example.linked for example in block], pa.string()),
        pa.ListArray.from_arrays(
            _offsets([example.pairs for example in block]), pa.StructArray.from_arrays(parts, fields=list(_PAIR))
        ),
        pa.array(label_types, pa.int8()),
        _lists([names for names, _ in labels], pa.string()),
        _lists([numbers for _, numbers in labels], pa.float64()),
        pa.array([example.chosen_answer for example in block], pa.string()),
    ]


def _lists(rows: Sequence[Sequence[object]], value_type: pa.DataType) -> pa.ListArray:
    flat = list(chain.from_iterable(rows))
    return pa.ListArray.from_arrays(_offsets(rows), pa.array(flat, value_type))


def _offsets(rows: Sequence[Sequence[object]]) -> pa.Array:
    return pa.array(np.cumsum([0, *map(len, rows)], dtype=np.int32))


def _flatten_label(label: Label | None) -> tuple[list[str], list[float]]:
    match label:
        case None:
            return [], []
        case SoftAnswers(scores):
            return list(scores), [float(score) for score in scores.values()]
        case ClassName(name):
            return [name], []
        case PositivePair(index) | Candidate(index):
            return [], [float(index)]
        case TargetBox(box):
            return [], [float(side) for side in box]
        case TargetBoxes(boxes):
            return [], [float(side) for box in boxes for side in box]
