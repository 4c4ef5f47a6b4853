"""The original project's preprocessed files, where people hold those and not the publishers'.

Its tarball has answers as pickles of places in an answer list (``cache/<split>_target.pkl`` beside
``cache/trainval_label2ans.pkl``: VQA, Visual Genome, GQA) and retrieval's captions as JSON lines
(``all_data_final_<split>_2014.jsonline``: COCO, Flickr30k). A reader takes them where the publishers' file is missing;
the file's name decides. Everything else of the tarball is as the publishers have it.

Differs: an answer outside the list has no place there and is lost; captions have no ids of their own, so theirs are
``<picture>-<place>``. The original's caches of word pieces (``VQA_trainval_23_cleaned.pkl``) are not read: they hold
cut ids instead of texts, and say nothing of what they were made from. Paper: section 3.2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from twelvefold.datasets.reading.answers import load_answers
from twelvefold.datasets.reading.records import Row, Source, present
from twelvefold.datasets.reading.safe_pickle import load_plain
from twelvefold.schema import Example, ImageKey, Pair, PositivePair, SoftAnswers, Split, TwelvefoldError

CAPTIONS: dict[Split, str] = {
    "train": "all_data_final_train_2014.jsonline",
    "val": "all_data_final_val_set0_2014.jsonline",
    "test": "all_data_final_test_set0_2014.jsonline",
}
"""Retrieval's files. The tarball has none for val, as the original watched test; other projects' copies have one."""


ANSWERS = "trainval_label2ans.pkl"
"""The answer list beside pickles of answers, in the order of the published heads."""


class Target(msgspec.Struct, gc=False):
    """A question's answers as places in the answer list. VQA's have no question beside them."""

    question_id: int | str
    image_id: int | str
    labels: list[int]
    scores: list[float]
    question: str = ""


class Captioned(msgspec.Struct, gc=False):
    img_path: str
    sentences: list[str]
    id: int | str = ""


def target_file(folder: Path, part: str) -> Path:
    """Where the answers of a part (``train``, ``val``, ``trainval``) lie in a dataset's folder."""
    return folder / "cache" / f"{part}_target.pkl"


def are_targets(path: Path) -> bool:
    """Whether a reader's file is one of the original's pickles of answers."""
    return path.name.endswith("_target.pkl")


def with_answer_list(task: str, found: list[Path]) -> list[Path]:
    """``found``, and the answer list that lies beside pickles of answers, where there are some.

    Raises:
        TwelvefoldError: it is missing.
    """
    beside = [path.parent / ANSWERS for path in found if are_targets(path)]
    return found + present(task, [beside[:1]]) if beside else found


def answer_list(found: Sequence[Path]) -> list[str]:
    """The answers in the order of the published heads, of files that :func:`with_answer_list` found; else none."""
    return [answer for path in found if path.name == ANSWERS for answer in load_answers(path)]


def targets(source: Source, answers: Sequence[str]) -> Iterator[tuple[str, Target, SoftAnswers]]:
    """The records of a pickle of answers, each with its place in the file and with its answers by name.

    Raises:
        TwelvefoldError: the file is truncated, no such list, or asks for anything but plain data.
    """
    values = load_plain(source.path)
    if not isinstance(values, list):
        raise TwelvefoldError(f"{source.task}: {source.path}: expected a list of targets, got {type(values).__name__}")
    for i, value in enumerate(values):
        target = source.convert(f"[{i}]", value, Target)
        if target is None:
            continue
        beyond = [label for label in target.labels if not 0 <= label < len(answers)]
        if beyond or len(target.labels) != len(target.scores):
            wanted = f"places of {len(answers):,} answers and a score each"
            source.refuse(f"[{i}]", f"expected {wanted}, got labels {target.labels} and scores {target.scores}")
        else:
            scores = {answers[n]: score for n, score in zip(target.labels, target.scores, strict=True)}
            yield f"[{i}]", target, SoftAnswers(scores)


def captions(source: Source, image: Callable[[Captioned], ImageKey], pool: int = 0) -> Iterator[Row]:
    """A row for each caption of a file of JSON lines; ``image`` says whose it is, ``pool`` how many pictures, 0 all."""
    for n, (record, picture) in enumerate(source.lines(Captioned)):
        if 0 < pool <= n:
            return
        key = image(picture)
        if not key.id or not picture.sentences:
            source.refuse(record, f"expected a picture and captions, got {picture.img_path!r} and {picture.sentences}")
            continue
        for k, sentence in enumerate(picture.sentences):
            example = Example(f"{key.id}-{k}", (Pair(key, sentence.strip()),), PositivePair(0))
            yield source, f"{record}.sentences[{k}]", example
