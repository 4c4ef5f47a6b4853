"""Read and write ``predictions/<task>.jsonl``: one record for each example, with its ranked answers and its score."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from twelvefold.parsing.json_text import JsonError, describe_error
from twelvefold.parsing.text import iter_lines
from twelvefold.schema import Ranked, Split, TwelvefoldError
from twelvefold.store import atomic_files

MAX_RANKED_IMAGES = 20
"""Images kept for a caption, best first. Source: the result files of vilbert-multi-task."""


class PredictionRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """A prediction and its score.

    score: in 0..1; None if the label is withheld. ranked: answers, best first. rank: position of the true image in
    the whole retrieval pool, 0 is best; None for tasks without a pool.
    """

    id: str
    task: str
    score: float | None
    ranked: tuple[Ranked, ...]
    rank: int | None = None


def predictions_path(run: Path, task: str, split: Split) -> Path:
    """Return the file of a task's predictions: in ``predictions/`` for test, ``predictions-val/`` for val."""
    return run / ("predictions" if split == "test" else f"predictions-{split}") / f"{task}.jsonl"


def write_predictions(path: Path, records: Iterable[PredictionRecord]) -> None:
    """Write records as JSON lines, atomically."""
    atomic_files.write_bytes(path, msgspec.json.Encoder().encode_lines(records))


def read_predictions(path: Path) -> Iterator[PredictionRecord]:
    """Yield the records of a prediction file.

    Raises:
        TwelvefoldError: a line is malformed; the message names file and line.
    """
    decoder = msgspec.json.Decoder(PredictionRecord)
    with path.open("rb") as file:
        for number, line in enumerate(iter_lines(file), 1):
            try:
                yield decoder.decode(line)
            except JsonError as error:
                reason = describe_error(error, line)
                raise TwelvefoldError(f"{path}, line {number}: not a prediction: {reason}") from error
