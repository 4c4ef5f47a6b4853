"""One line per example and task: what was said, how sure, and how right it was."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from twelvefold.schema import Prediction, Ranked, Split, TwelvefoldError
from twelvefold.store import atomic_files


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """A prediction with its score in 0..1 (None where labels are withheld).

    ``rank``: of a caption's own picture in the whole pool, 0 is best; None where nothing is searched for.
    """

    id: str
    task: str
    score: float | None
    ranked: tuple[Ranked, ...]
    rank: int | None = None

    @classmethod
    def of(cls, prediction: Prediction, score: float | None, rank: int | None = None) -> Line:
        return cls(prediction.example_id, prediction.task, score, prediction.ranked, rank)


def file_of(run: Path, task: str, split: Split) -> Path:
    """Where an evaluation leaves a task's predictions: ``predictions/``, or ``predictions-val/`` for val."""
    return run / ("predictions" if split == "test" else f"predictions-{split}") / f"{task}.jsonl"


def write(path: Path, lines: Iterable[Line]) -> None:
    """JSON lines, atomically: a killed evaluation leaves the old file or the new one, never half of one."""
    encoder = msgspec.json.Encoder()
    atomic_files.write_bytes(path, b"".join(encoder.encode(line) + b"\n" for line in lines))


def read(path: Path) -> Iterator[Line]:
    """Every line of a prediction file. Raises TwelvefoldError naming file and line where one is malformed."""
    decoder = msgspec.json.Decoder(Line)
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield decoder.decode(line)
            except msgspec.DecodeError as error:
                raise TwelvefoldError(f"{path}, line {number}: not a prediction: {error}") from error
