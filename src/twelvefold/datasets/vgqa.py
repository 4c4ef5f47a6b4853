"""Visual Genome QA: free questions about pictures, one answer each. Paper: group G1, section 2.1.

Home: the Visual Genome project. Licence: CC BY 4.0.

File: ``vg/question_answers.json`` (version 1.2), or the original project's ``vg/cache/trainval_target.pkl``
(:mod:`twelvefold.datasets.reading.vilbert_mt_files`).

Splits: sorted by ``qa_id``; test is the last 5,000 (the paper's "val", what it reports), val the 5,000 before
them, train the rest. The paper trains on 1,440,069 (1,294,255 after cleaning), so on 5,000 more. Differs: the
original project watches the same 5,000 that it reports.

Answers are normalised as VQA's, whose answer list and head this task shares; one outside the list is never right.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from twelvefold.datasets.reading import answers, vilbert_mt_files
from twelvefold.datasets.reading.records import BadRecords, Row, Source, checked, present, split_tail
from twelvefold.schema import Example, ImageKey, Pair, SoftAnswers, Split, TaskSpec

TASK = TaskSpec(
    name="vgqa",
    title="VG QA",
    family="answers",
    head="vqa",
    metric="accuracy",
    max_tokens=26,
    batch_size=128,
    lr=4e-5,
    vocabulary="vqav2",
)
TAIL = 5000
"""Questions in each held-out fold (original project: the last 5,000)."""
KINDS = frozenset(("what", "where", "when", "who", "why", "how"))
"""Visual Genome's own six question types: the first word."""


class ImageQuestions(msgspec.Struct, gc=False):
    qas: msgspec.Raw


class Question(msgspec.Struct, gc=False):
    qa_id: int
    image_id: int
    question: str
    answer: str


Found = tuple[str, Question, SoftAnswers | None]
"""The place of a record, its question, and the label where the file has it ready."""


def files(root: Path, split: Split, *, tail: int = TAIL) -> list[Path]:
    """The one file, whatever the split; and the answer list of the original project's."""
    folder = root / "vg"
    found = present(TASK.name, [[folder / "question_answers.json", vilbert_mt_files.target_file(folder, "trainval")]])
    return vilbert_mt_files.with_answer_list(TASK.name, found)


def read(root: Path, split: Split, *, bad: BadRecords, tail: int = TAIL) -> Iterator[Example]:
    """The questions of a split by ascending ``qa_id``, label SoftAnswers with one answer, kind the first word."""
    found = files(root, split, tail=tail)
    return checked(_rows(Source(TASK.name, found[0], bad), vilbert_mt_files.answer_list(found), split, tail))


def _rows(source: Source, listed: list[str], split: Split, tail: int) -> Iterator[Row]:
    found = _targets(source, listed) if vilbert_mt_files.are_targets(source.path) else _questions(source)
    questions = sorted(found, key=lambda item: item[1].qa_id)
    rest, test = split_tail(questions, tail, "tail")
    train, val = split_tail(rest, tail, "tail")
    for record, question, label in {"train": train, "val": val, "test": test}[split]:
        if label is None and not question.answer.strip():
            source.refuse(record, "expected an answer, got an empty one")
            continue
        first = question.question.split(maxsplit=1)[:1]
        kind = first[0].lower() if first and first[0].lower() in KINDS else "other"
        pair = Pair(ImageKey("vg", str(question.image_id)), question.question.strip())
        yield source, record, Example(str(question.qa_id), (pair,), label or _label(question), question_type=kind)


def _label(question: Question) -> SoftAnswers:
    answer = answers.normalise(question.answer)
    return SoftAnswers({answer: 1.0} if answer else {})  # "The." is an answer, but of articles and signs only


def _targets(source: Source, listed: list[str]) -> Iterator[Found]:
    for record, target, label in vilbert_mt_files.targets(source, listed):
        ids = str(target.question_id), str(target.image_id)
        if all(map(str.isdecimal, ids)):
            yield record, Question(int(ids[0]), int(ids[1]), target.question, ""), label
        else:
            source.refuse(record, f"expected numbers as question_id and image_id, got {' and '.join(ids)}")


def _questions(source: Source) -> Iterator[Found]:
    for outer, image in source.items("", ImageQuestions):
        for record, question in source.several(f"{outer}.qas", image.qas, Question):
            yield record, question, None
