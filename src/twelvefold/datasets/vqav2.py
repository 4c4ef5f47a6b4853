"""VQA v2: open questions about COCO images, with ten annotators' answers each. Paper: group G1, section 2.1.

Publisher: visualqa.org. License: annotations CC BY 4.0; the images are COCO's.

Files, in ``vqav2/``: ``v2_OpenEnded_mscoco_{train2014,val2014,test2015}_questions.json`` and
``v2_mscoco_{train2014,val2014}_annotations.json``. The labels of test2015 are not published; if an annotations file of
test2015 is present, it is read. If the annotations of train or val are missing, the original project's
``cache/{train,val}_target.pkl`` are read, which hold no answer types
(:mod:`twelvefold.datasets.reading.vilbert_mt_files`).

Splits: train is train2014 and val2014 without the last 3,000 questions of val2014 sorted by id: 655,111 (542,104 after
cleaning); val is those 3,000 ("minval"); test is test2015: 447,793.

Answers: in ``train`` the ten raw answers are looked up in the answer list without normalization, as in the original
project; in ``val`` and ``test`` they are normalized as the official evaluator does. An empty answer scores nothing. A
question without answers is a bad record. The answer list has the normalized ``multiple_choice_answer`` of train and
val, as in the original project; where the original project's answers are read, its own list is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import msgspec

from twelvefold.datasets.reading import answers, vilbert_mt_files
from twelvefold.datasets.reading.cards import CC_BY, CardFile, DatasetCard, OriginalCounts
from twelvefold.datasets.reading.image_sources import COCO
from twelvefold.datasets.reading.records import BadRecords, RecordReader, Row, require_files, split_tail, validated
from twelvefold.datasets.reading.shared_files import decode_once
from twelvefold.datasets.reading.submissions import Answered, Submission, simple_format
from twelvefold.schema import Example, ImageKey, Pair, SoftAnswers, Split, TaskSpec

PAPER_ORDER = 1
PAPER_SCORE = 72.57, "test-dev"
TASK = TaskSpec(
    name="vqav2",
    title="VQAv2",
    family="answers",
    head="vqa",
    metric="vqa_accuracy",
    max_tokens=23,
    batch_size=128,
    lr=4e-5,
    vocabulary="vqav2",
)
CARD = DatasetCard(
    title=TASK.title,
    publisher="VQA, visualqa.org, Download, version 2",
    license=CC_BY,
    files=(
        *(CardFile(f"vqav2/v2_OpenEnded_mscoco_{p}_questions.json", "questions") for p in ("train2014", "val2014")),
        CardFile("vqav2/v2_OpenEnded_mscoco_test2015_questions.json", "questions; answers are withheld"),
        *(CardFile(f"vqav2/v2_mscoco_{p}_annotations.json", "ten answers each") for p in ("train2014", "val2014")),
    ),
    image_sources=(COCO,),
    examples={"train": 655_111, "val": 3_000, "test": 447_793},
    original_counts=OriginalCounts(542_104, recalled=()),  # a log of the original's data loader has 542,097 to 542,104
)
MINVAL = 3000
"""Questions of val2014 held out for validation (original project)."""


class Question(msgspec.Struct, gc=False):
    question_id: int
    image_id: int
    question: str


class Answer(msgspec.Struct, gc=False):
    answer: str


class Annotation(msgspec.Struct, gc=False):
    question_id: int
    answers: list[Answer]
    image_id: int | None = None
    answer_type: str = ""
    multiple_choice_answer: str = ""


class QuestionId(msgspec.Struct, gc=False):
    question_id: int


def files(root: Path, split: Split, *, minval: int = MINVAL, test: str = "test2015") -> list[Path]:
    """Return the question and annotation files of a split. ``test`` may be ``test-dev2015``."""
    parts = {"train": ["train2014", "val2014"], "val": ["val2014"], "test": [test]}[split]
    names: list[list[Path]] = []
    for part in parts:
        names.append([_question_file(root, part)])
        if split != "test":
            names.append([_annotation_file(root, part), _target_file(root, part)])
        elif _annotation_file(root, part).exists():
            names.append([_annotation_file(root, part)])
    return vilbert_mt_files.add_answer_list(TASK.name, require_files(TASK.name, names))


def read(
    root: Path, split: Split, *, bad: BadRecords, minval: int = MINVAL, test: str = "test2015"
) -> Iterator[Example]:
    """Yield the questions of a split in ascending order of id.

    The label is ``SoftAnswers``, or None where no answers are published; the question type is the answer type.
    ``minval``: number of validation questions. ``test``: the part that is the test split.
    """
    return validated(_rows(root, files(root, split, minval=minval, test=test), split, bad, minval))


def _question_file(root: Path, part: str) -> Path:
    return root / "vqav2" / f"v2_OpenEnded_mscoco_{part}_questions.json"


def _annotation_file(root: Path, part: str) -> Path:
    return root / "vqav2" / f"v2_mscoco_{part}_annotations.json"


def _target_file(root: Path, part: str) -> Path:
    return vilbert_mt_files.target_file(root / "vqav2", part.removesuffix("2014"))


def _rows(root: Path, paths: list[Path], split: Split, bad: BadRecords, minval: int) -> Iterator[Row]:
    for path in paths:
        if not path.stem.endswith("_questions"):
            continue
        part = path.stem.split("_")[-2]
        reader = RecordReader(TASK.name, path, bad)
        questions: Sequence[tuple[str, Question]] = decode_once(reader, "questions", _sorted_questions)
        if part == "val2014":
            questions = split_tail(questions, minval, "minval")[split == "val"]
        annotation_file, target_file = _annotation_file(root, part), _target_file(root, part)
        if annotation_file in paths:
            annotations = RecordReader(TASK.name, annotation_file, bad)
            yield from _annotated_rows(reader, questions, annotations, normalize=split != "train")
            continue
        labels = None
        if target_file in paths:
            targets = RecordReader(TASK.name, target_file, bad)
            labels = decode_once(targets, "labels", partial(_target_labels, paths=paths))
        for record, question in questions:
            id_ = str(question.question_id)
            if labels is None or id_ in labels:
                yield reader, record, Example(id_, (_pair(question),), labels[id_] if labels else None)
            else:
                reader.reject(record, f"expected answers of question {id_} in {target_file}, got none")


def _sorted_questions(reader: RecordReader) -> list[tuple[str, Question]]:
    return sorted(reader.items("questions", Question), key=lambda item: item[1].question_id)


def _annotations_by_question(annotations: RecordReader) -> dict[int, tuple[str, msgspec.Raw]]:
    """Return the annotations, which stay undecoded until their question's turn, so memory holds the file's bytes."""
    undecoded: dict[int, tuple[str, msgspec.Raw]] = {}
    for record, raw in annotations.raw_items("annotations"):
        key = annotations.decode(record, raw, QuestionId)
        if key is not None:
            undecoded[key.question_id] = record, raw
    return undecoded


def _annotated_rows(
    reader: RecordReader, questions: Sequence[tuple[str, Question]], annotations: RecordReader, *, normalize: bool
) -> Iterator[Row]:
    undecoded = decode_once(annotations, "annotations", _annotations_by_question)
    for record, question in questions:
        if question.question_id not in undecoded:
            reader.reject(record, f"expected an annotation of question {question.question_id}, got none")
            continue
        annotation_record, raw = undecoded[question.question_id]
        annotation = annotations.decode(annotation_record, raw, Annotation)
        if annotation is None:
            continue
        if annotation.image_id not in (None, question.image_id):
            annotations.reject(
                annotation_record,
                f"expected image {question.image_id}, the question's, got {annotation.image_id}",
            )
        elif not annotation.answers:
            annotations.reject(annotation_record, "expected the annotators' answers, got none")
        else:
            texts = [answer.answer for answer in annotation.answers]
            label = answers.soft_scores(answers.normalize_answers(texts) if normalize else texts)
            example = Example(
                str(question.question_id),
                (_pair(question),),
                label,
                question_type=annotation.answer_type,
                chosen_answer=answers.normalize_answer(annotation.multiple_choice_answer),
            )
            yield reader, record, example


def _target_labels(targets: RecordReader, paths: list[Path]) -> dict[str, SoftAnswers]:
    answer_list = vilbert_mt_files.read_answer_list(paths)
    return {str(target.question_id): label for _, target, label in vilbert_mt_files.read_targets(targets, answer_list)}


def _pair(question: Question) -> Pair:
    return Pair(ImageKey(COCO, str(question.image_id)), question.question.strip())


def submission_row(example: Example, answered: Answered) -> dict[str, object]:
    """Return a row of the VQA server's file."""
    return {"question_id": int(example.id), "answer": answered.ranked[0].name}


_FORMAT = simple_format("json", submission_row)
SUBMISSION = Submission(
    _FORMAT,
    _FORMAT,
    # The server scores a part of test2015 in each of its phases and expects every question of it in all of them.
    parts={"test-dev": {"test": "test2015"}, "test2015": {"test": "test2015"}},
    own_parts={"test-dev": {"test": "test-dev2015"}},
    server="test-dev",
)
