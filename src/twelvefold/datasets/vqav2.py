"""VQA v2: open questions about COCO pictures, ten annotators' answers each. Paper: group G1, section 2.1.

Home: visualqa.org. Licence: annotations CC BY 4.0; the pictures are COCO's.

Files, in ``vqav2/``: ``v2_OpenEnded_mscoco_{train2014,val2014,test2015}_questions.json`` and
``v2_mscoco_{train2014,val2014}_annotations.json``. The labels of test2015 are withheld by the publishers; where an
annotations file for it is there all the same, it is read. Where those of train or val are missing, the original
project's ``cache/{train,val}_target.pkl`` are read, which say nothing of answer types
(:mod:`twelvefold.datasets.reading.vilbert_mt_files`).

Splits: train is train2014 and val2014 without the last 3,000 questions of val2014, sorted by id: 655,111 (542,104
after cleaning); val is those 3,000 ("minval"); test is test2015: 447,793.

Answers: in ``train`` the ten raw answers are looked up in the answer list as they are, as the original project
does; in ``val`` and ``test`` they are compared as the official evaluator compares them. An annotator's answer may be
empty: it is worth nothing. A question without answers is a bad record.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from twelvefold.datasets.reading import answers, vilbert_mt_files
from twelvefold.datasets.reading.records import BadRecords, Row, Source, checked, present, split_tail
from twelvefold.schema import Example, ImageKey, Pair, Split, TaskSpec

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
MINVAL = 3000
"""Questions held out of val2014 for validation (original project)."""


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


class Chosen(msgspec.Struct, gc=False):
    multiple_choice_answer: str


class QuestionId(msgspec.Struct, gc=False):
    question_id: int


def files(root: Path, split: Split, *, minval: int = MINVAL, test: str = "test2015") -> list[Path]:
    """The question and annotation files of a split; ``test`` may be ``test-dev2015``."""
    parts = {"train": ["train2014", "val2014"], "val": ["val2014"], "test": [test]}[split]
    wanted: list[list[Path]] = []
    for part in parts:
        wanted.append([_questions(root, part)])
        if split != "test":
            wanted.append([_annotations(root, part), _targets(root, part)])
        elif _annotations(root, part).exists():
            wanted.append([_annotations(root, part)])
    return vilbert_mt_files.with_answer_list(TASK.name, present(TASK.name, wanted))


def read(
    root: Path, split: Split, *, bad: BadRecords, minval: int = MINVAL, test: str = "test2015"
) -> Iterator[Example]:
    """The questions of a split by ascending id, label SoftAnswers (None where withheld), kind the answer type."""
    found = files(root, split, minval=minval, test=test)
    return checked(_rows(root, found, split, bad, minval))


def vocabulary(
    root: Path, *, min_count: int = answers.MIN_COUNT, bad: BadRecords, minval: int = MINVAL, test: str = "test2015"
) -> list[str]:
    """The answer list: normalised chosen answers of train2014 and val2014 that occur ``min_count`` times.

    ``minval`` and ``test`` change nothing: every question of both files counts, as in the original project. Where its
    answers are read, its own list is taken.
    """
    found = files(root, "train")
    if listed := vilbert_mt_files.answer_list(found):
        return listed
    sources = [Source(TASK.name, path, bad) for path in found if path.stem.endswith("annotations")]
    chosen = (item.multiple_choice_answer for source in sources for _, item in source.items("annotations", Chosen))
    return answers.frequent(map(answers.normalise, chosen), min_count)


def _questions(root: Path, part: str) -> Path:
    return root / "vqav2" / f"v2_OpenEnded_mscoco_{part}_questions.json"


def _annotations(root: Path, part: str) -> Path:
    return root / "vqav2" / f"v2_mscoco_{part}_annotations.json"


def _targets(root: Path, part: str) -> Path:
    return vilbert_mt_files.target_file(root / "vqav2", part.removesuffix("2014"))


def _rows(root: Path, found: list[Path], split: Split, bad: BadRecords, minval: int) -> Iterator[Row]:
    for path in found:
        if not path.stem.endswith("_questions"):
            continue
        part = path.stem.split("_")[-2]
        source = Source(TASK.name, path, bad)
        questions = sorted(source.items("questions", Question), key=lambda item: item[1].question_id)
        if part == "val2014":
            questions = list(split_tail(questions, minval, "minval")[split == "val"])
        annotations = _annotations(root, part)
        if _targets(root, part) in found:
            listed = vilbert_mt_files.answer_list(found)
            yield from _targeted(source, questions, Source(TASK.name, _targets(root, part), bad), listed)
        elif annotations in found:
            yield from _answered(source, questions, Source(TASK.name, annotations, bad), raw=split == "train")
        else:
            for record, question in questions:
                yield source, record, Example(str(question.question_id), (_pair(question),), None)


def _answered(source: Source, questions: list[tuple[str, Question]], annotated: Source, *, raw: bool) -> Iterator[Row]:
    # Annotations stay undecoded until their question comes: the whole of VQA costs its bytes and an index.
    places: dict[int, tuple[str, msgspec.Raw]] = {}
    for record, undecoded in annotated.raw_items("annotations"):
        key = annotated.decode(record, undecoded, QuestionId)
        if key is not None:
            places[key.question_id] = record, undecoded
    for record, question in questions:
        if question.question_id not in places:
            source.refuse(record, f"expected an annotation of question {question.question_id}, got none")
            continue
        place, undecoded = places[question.question_id]
        annotation = annotated.decode(place, undecoded, Annotation)
        if annotation is None:
            continue
        if annotation.image_id not in (None, question.image_id):
            annotated.refuse(place, f"expected image {question.image_id} as the question, got {annotation.image_id}")
        elif not annotation.answers:
            annotated.refuse(place, "expected the annotators' answers, got none")
        else:
            given = [answer.answer for answer in annotation.answers]
            label = answers.soft_scores(given if raw else answers.compared(given))
            pair = _pair(question)
            yield (
                source,
                record,
                Example(str(question.question_id), (pair,), label, question_type=annotation.answer_type),
            )


def _targeted(
    source: Source, questions: list[tuple[str, Question]], targets: Source, listed: list[str]
) -> Iterator[Row]:
    labels = {str(target.question_id): label for _, target, label in vilbert_mt_files.targets(targets, listed)}
    for record, question in questions:
        id_ = str(question.question_id)
        if id_ in labels:
            yield source, record, Example(id_, (_pair(question),), labels[id_])
        else:
            source.refuse(record, f"expected answers of question {id_} in {targets.path}, got none")


def _pair(question: Question) -> Pair:
    return Pair(ImageKey("coco", str(question.image_id)), question.question.strip())
