"""Visual Genome QA: open questions about images, one answer each. Paper: group G1, section 2.1.

Publisher: the Visual Genome project. License: CC BY 4.0.

File: ``vg/question_answers.json`` (version 1.2), or the original project's ``vg/cache/trainval_target.pkl``
(:mod:`twelvefold.datasets.reading.vilbert_mt_files`).

Splits: sorted by ``qa_id``; test is the last 5,000 (the paper's "val", for which it reports results), val the 5,000
before them, train the rest. The paper trains on 1,440,069 (1,294,255 after cleaning), which is 5,000 more. Differs: the
original project validates on the same 5,000 questions for which it reports results.

Answers are normalized as VQA's, whose answer list and head this task shares; an answer outside the list is never
predicted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import msgspec

from twelvefold.datasets import vqav2
from twelvefold.datasets.reading import answers, vilbert_mt_files
from twelvefold.datasets.reading.cards import CC_BY, VG_ID_MAP, VG_SOURCE, CardFile, DatasetCard, OriginalCounts
from twelvefold.datasets.reading.image_sources import VG
from twelvefold.datasets.reading.records import BadRecords, RecordReader, Row, require_files, split_tail, validated
from twelvefold.datasets.reading.shared_files import decode_once
from twelvefold.datasets.reading.submissions import Submission
from twelvefold.schema import Example, ImageKey, Pair, SoftAnswers, Split, TaskSpec

PAPER_ORDER = 3
PAPER_SCORE = 36.36, "val"
TASK: TaskSpec = replace(vqav2.TASK, name="vgqa", title="VG QA", metric="accuracy", max_tokens=26)
CARD = DatasetCard(
    title=TASK.title,
    publisher=VG_SOURCE,
    license=CC_BY,
    files=(CardFile("vg/question_answers.json", "questions and answers, version 1.2"), VG_ID_MAP),
    image_sources=(VG,),
    examples={"train": 1_435_322, "val": 5_000, "test": 5_000},
    approximate_splits=("train",),  # releases differ by some hundreds; the paper's 1,440,069 include our val split
    original_counts=OriginalCounts(1_294_255, 1_440_069, ("train", "val"), recalled=("train", "cleaned")),
)
TAIL = 5000
"""Questions in each held-out split (original project: the last 5,000)."""
QUESTION_TYPES = frozenset(("what", "where", "when", "who", "why", "how"))
"""Visual Genome's six question types: the first word of the question."""


class ImageRecord(msgspec.Struct, gc=False):
    qas: msgspec.Raw
    id: int | None = None
    image_id: int | None = None


class OfficialQuestion(msgspec.Struct, gc=False):
    """A question of the file. Releases differ in the names of the ids; the image may be stated by its record only."""

    question: str
    answer: str
    qa_id: int | None = None
    id: int | None = None
    image_id: int | None = None
    image: int | None = None


class Question(msgspec.Struct, gc=False):
    qa_id: int
    image_id: int
    question: str
    answer: str


LabeledQuestion = tuple[str, Question, SoftAnswers | None]
"""The record name, the question, and its label if the file states one."""


def files(root: Path, split: Split, *, tail: int = TAIL) -> list[Path]:
    """Return the file, which holds all splits; for the original project's file also its answer list."""
    folder = root / "vg"
    names = [folder / "question_answers.json", vilbert_mt_files.target_file(folder, "trainval")]
    return vilbert_mt_files.add_answer_list(TASK.name, require_files(TASK.name, [names]))


def read(root: Path, split: Split, *, bad: BadRecords, tail: int = TAIL) -> Iterator[Example]:
    """Yield the questions of a split in ascending order of ``qa_id``.

    The label is ``SoftAnswers`` with one answer, the question type is the first word. ``tail``: number of questions in
    each of val and test.
    """
    paths = files(root, split, tail=tail)
    answer_list = vilbert_mt_files.read_answer_list(paths)
    return validated(_rows(RecordReader(TASK.name, paths[0], bad), answer_list, split, tail))


def _rows(reader: RecordReader, answer_list: list[str], split: Split, tail: int) -> Iterator[Row]:
    questions = decode_once(reader, "questions", partial(_sorted_questions, answer_list=answer_list))
    rest, test = split_tail(questions, tail, "tail")
    train, val = split_tail(rest, tail, "tail")
    for record, question, label in {"train": train, "val": val, "test": test}[split]:
        if label is None and not question.answer.strip():
            reader.reject(record, "expected an answer, got an empty one")
            continue
        first_word = question.question.split(maxsplit=1)[:1]
        question_type = first_word[0].lower() if first_word and first_word[0].lower() in QUESTION_TYPES else "other"
        pair = Pair(ImageKey(VG, str(question.image_id)), question.question.strip())
        label = label or _label(question)
        yield reader, record, Example(str(question.qa_id), (pair,), label, question_type=question_type)


def _sorted_questions(reader: RecordReader, answer_list: list[str]) -> list[LabeledQuestion]:
    is_target_file = vilbert_mt_files.is_target_file(reader.path)
    questions = _target_questions(reader, answer_list) if is_target_file else _official_questions(reader)
    return sorted(questions, key=lambda item: item[1].qa_id)


def _label(question: Question) -> SoftAnswers:
    answer = answers.normalize_answer(question.answer)
    return SoftAnswers({answer: 1.0} if answer else {})  # an answer of articles and punctuation only, such as "The."


def _target_questions(reader: RecordReader, answer_list: list[str]) -> Iterator[LabeledQuestion]:
    for record, target, label in vilbert_mt_files.read_targets(reader, answer_list):
        ids = str(target.question_id), str(target.image_id)
        if all(map(str.isdecimal, ids)):
            yield record, Question(int(ids[0]), int(ids[1]), target.question, ""), label
        else:
            reader.reject(record, f"expected numbers as question_id and image_id, got {' and '.join(ids)}")


def _official_questions(reader: RecordReader) -> Iterator[LabeledQuestion]:
    for image_record, image in reader.items("", ImageRecord):
        for record, question in reader.nested_items(f"{image_record}.qas", image.qas, OfficialQuestion):
            qa_id = question.id if question.qa_id is None else question.qa_id
            stated = (question.image_id, question.image, image.image_id, image.id)
            image_ids = {id_ for id_ in stated if id_ is not None}
            if qa_id is None or not image_ids:
                reader.reject(record, "expected qa_id and image_id, got at most one of them")
            elif len(image_ids) > 1:
                reader.reject(record, f"expected one image, that of its list, got {sorted(image_ids)}")
            else:
                yield record, Question(qa_id, image_ids.pop(), question.question, question.answer), None


SUBMISSION = Submission(vqav2.SUBMISSION.publishers, vqav2.SUBMISSION.vilbert_mt)
