"""Read the original project's preprocessed files, for users who have those instead of the publishers' files.

The original tarball holds answers as pickles of indices into an answer list (``cache/<split>_target.pkl`` next to
``cache/trainval_label2ans.pkl``: VQA, Visual Genome, GQA) and retrieval captions as JSON lines
(``all_data_final_<split>_2014.jsonline``: COCO, Flickr30k). A reader uses them if the publisher's file is missing. The
other files of the tarball are the publishers'.

Differs: an answer outside the answer list has no index and is lost; captions have no ids, so ours are
``<image>-<caption index>``. The original's caches of word pieces (``VQA_trainval_23_cleaned.pkl``) are not read: they
hold truncated token ids instead of texts and do not state their sources. Paper: section 3.2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np

from twelvefold.datasets.reading.answers import load_answer_list
from twelvefold.datasets.reading.records import RecordReader, Row, require_files
from twelvefold.schema import Example, ImageKey, Pair, PositivePair, SoftAnswers, Split, TwelvefoldError
from twelvefold.store.safe_pickle import load_plain

CAPTIONS: dict[Split, str] = {
    "train": "all_data_final_train_2014.jsonline",
    "val": "all_data_final_val_set0_2014.jsonline",
    "test": "all_data_final_test_set0_2014.jsonline",
}
"""Retrieval's files. The tarball has none for val, as the original validated on test; other projects' copies have
it."""


ANSWERS = "trainval_label2ans.pkl"
"""The answer list next to pickles of answers, in the order of the published heads."""


class Target(msgspec.Struct, gc=False):
    """A question's answers. ``labels``: indices into the answer list. VQA's targets hold no question text."""

    question_id: int | str
    image_id: int | str
    labels: list[int]
    scores: list[float]
    question: str = ""


class CaptionedImage(msgspec.Struct, gc=False):
    img_path: str
    sentences: msgspec.Raw
    id: int | str = ""


def target_file(folder: Path, part: str) -> Path:
    """Return the path of the answers of a part (``train``, ``val``, ``trainval``) in a dataset's folder."""
    return folder / "cache" / f"{part}_target.pkl"


def is_target_file(path: Path) -> bool:
    """Return whether ``path`` is one of the original project's pickles of answers."""
    return path.name.endswith("_target.pkl")


def add_answer_list(task: str, paths: list[Path]) -> list[Path]:
    """Return ``paths``, plus the path of the answer list if ``paths`` holds pickles of answers.

    Raises:
        TwelvefoldError: the answer list is missing.
    """
    lists = [path.parent / ANSWERS for path in paths if is_target_file(path)]
    return paths + require_files(task, [lists[:1]]) if lists else paths


def read_answer_list(paths: Sequence[Path]) -> list[str]:
    """Return the answer list among ``paths``, in the order of the published heads; empty if there is none."""
    return [answer for path in paths if path.name == ANSWERS for answer in load_answer_list(path)]


def read_targets(reader: RecordReader, answers: Sequence[str]) -> Iterator[tuple[str, Target, SoftAnswers]]:
    """Yield the records of a pickle of answers: record name, target, and its answers by name.

    Raises:
        TwelvefoldError: the file is truncated, holds no list of targets, or needs anything but plain data.
    """
    values = load_plain(reader.path)
    values = values.tolist() if isinstance(values, np.ndarray) else values
    if not isinstance(values, list):
        raise TwelvefoldError(f"{reader.task}: {reader.path}: expected a list of targets, got {type(values).__name__}")
    for i, value in enumerate(values):
        target = reader.convert(f"[{i}]", value, Target)
        if target is None:
            continue
        is_out_of_range = any(not 0 <= label < len(answers) for label in target.labels)
        if is_out_of_range or len(target.labels) != len(target.scores):
            expected = f"indices below {len(answers):,} and as many scores"
            reader.reject(f"[{i}]", f"expected {expected}, got labels {target.labels} and scores {target.scores}")
        else:
            scores = {answers[n]: score for n, score in zip(target.labels, target.scores, strict=True)}
            yield f"[{i}]", target, SoftAnswers(scores)


def read_captions(
    reader: RecordReader, image_key: Callable[[CaptionedImage], ImageKey], max_images: int = 0
) -> Iterator[Row]:
    """Yield a row per caption of a file of JSON lines. ``max_images``: images to read, 0 for all."""
    for n, (record, image) in enumerate(reader.lines(CaptionedImage)):
        if 0 < max_images <= n:
            return
        key, sentences = image_key(image), reader.nested_values(f"{record}.sentences", image.sentences, str)
        if not key.id or not sentences:
            reader.reject(
                record, f"expected an image and captions, got {image.img_path!r} and {len(sentences)} captions"
            )
            continue
        for k, sentence in enumerate(sentences):
            if sentence is not None:
                example = Example(f"{key.id}-{k}", (Pair(key, sentence.strip()),), PositivePair(0))
                yield reader, f"{record}.sentences[{k}]", example
