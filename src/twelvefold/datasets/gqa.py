"""GQA: compositional questions about Visual Genome images, with programs. Paper: group G1, section 2.1.

Publisher: Stanford's vision group, GQA page. License: CC BY 4.0.

Files, in ``gqa/``: ``{train,val,testdev}_balanced_questions.json``, and for consistency
``testdev_all_questions.json``; each may be a folder of that stem with several files. If train or val is missing, the
original project's ``cache/{trainval,train,val}_target.pkl`` are read, which hold neither question types nor entailed
questions (:mod:`twelvefold.datasets.reading.vilbert_mt_files`).

Splits: train and val together, sorted by question id as text, without the last 3,000: 1,072,062 (962,928 after
cleaning); val is those 3,000; test is testdev: 12,578. The labels of ``test="test"`` and ``test="challenge"`` are not
published; ``test="submission"`` reads ``submission_all_questions.json``, all questions that the evaluation server
expects.

The answer list has the unmodified answers of train and val. Differs: how the original project chose its 1,533 answers
is not known. Its own list can be passed instead, and is used where the original project's answers are read.

Most entailed questions are absent from the balanced files. With ``consistency=True`` the questions that test questions
entail are read from the ``all`` file and appended, with the question type ``entailed``: they count for the consistency
metric only. They are never read for training and validation. ``Example.linked`` has the entailed ids as the file has
them, repeated ones too, but not the question's own. Entailed questions that no file has are counted with the score.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from twelvefold.datasets.reading import vilbert_mt_files
from twelvefold.datasets.reading.cards import CC_BY, VG_ID_MAP, CardFile, DatasetCard, OriginalCounts
from twelvefold.datasets.reading.image_sources import GQA, VG
from twelvefold.datasets.reading.records import BadRecords, RecordReader, Row, require_files, split_tail, validated
from twelvefold.datasets.reading.shared_files import decode_once
from twelvefold.datasets.reading.submissions import Answered, Submission, simple_format
from twelvefold.schema import CONSISTENCY_ONLY, Example, ImageKey, Pair, SoftAnswers, Split, TaskForm, TaskSpec

PAPER_ORDER = 2
PAPER_SCORE = 60.12, "test-dev"
TASK = TaskSpec(
    name="gqa",
    title="GQA",
    family="answers",
    head="gqa",
    metric="accuracy",
    max_tokens=26,
    batch_size=128,
    lr=4e-5,
    vocabulary="gqa",
)
FORM = TaskForm(
    tab="Reasoning",
    heading="Ask a question that takes several steps",
    label="Your question",
    placeholder="Is the animal next to the tree red?",
    hint="Questions about relations, attributes and logic, as in GQA.",
)
CARD = DatasetCard(
    title=TASK.title,
    publisher="GQA, cs.stanford.edu/people/dorarad/gqa, Download",
    license=CC_BY,
    files=(
        *(CardFile(f"gqa/{p}_balanced_questions.json", "questions and answers") for p in ("train", "val", "testdev")),
        CardFile("gqa/testdev_all_questions.json", "entailed questions, for consistency alone (optional)"),
        VG_ID_MAP,
    ),
    image_sources=(VG, GQA),
    examples={"train": 1_072_062, "val": 3_000, "test": 12_578},
    original_counts=OriginalCounts(962_928),
)
MINVAL = 3000
"""Questions held out for validation (original project)."""
TestPart = Literal["testdev", "test", "challenge", "submission"]


class Types(msgspec.Struct, gc=False):
    structural: str = ""


class Question(msgspec.Struct, gc=False):
    question: str
    imageId: str | int  # noqa: N815 - the publisher's name
    answer: str | None = None
    entailed: list[str] = []
    types: Types | None = None


def files(
    root: Path, split: Split, *, minval: int = MINVAL, test: TestPart = "testdev", consistency: bool = False
) -> list[Path]:
    """Return the question files of a split; the files of a folder in alphabetical order."""
    parts = [test] if split == "test" else ["train", "val"]
    stems = [f"{part}_balanced_questions" for part in parts if part != "submission"]
    stems += [f"{part}_all_questions" for part in parts if part == "submission" or (consistency and split == "test")]
    folder = root / "gqa"
    names = [[folder / f"{stem}.json", folder / stem] for stem in stems]
    has_official_files = all(any(path.exists() for path in alternatives) for alternatives in names)
    if split != "test" and not has_official_files:
        combined, *separate = (vilbert_mt_files.target_file(folder, part) for part in ("trainval", *parts))
        with_targets = [[*alternatives, path] for alternatives, path in zip(names, separate, strict=True)]
        names = [[combined]] if combined.exists() else with_targets
    paths = require_files(TASK.name, names)
    paths = [file for path in paths for file in (_files_in_folder(path) if path.is_dir() else [path])]
    return vilbert_mt_files.add_answer_list(TASK.name, paths)


def read(
    root: Path,
    split: Split,
    *,
    bad: BadRecords,
    minval: int = MINVAL,
    test: TestPart = "testdev",
    consistency: bool = False,
) -> Iterator[Example]:
    """Yield the questions of a split in ascending order of id.

    The label is ``SoftAnswers`` with one answer, the question type is the structural type. ``minval``: number of
    validation questions. ``test``: the part that is the test split. ``consistency``: append the entailed questions.
    """
    paths = files(root, split, minval=minval, test=test, consistency=consistency)
    is_unlabeled = split == "test" and test != "testdev"
    return validated(_rows(paths, split, bad, minval, is_unlabeled))


def _files_in_folder(folder: Path) -> list[Path]:
    return require_files(TASK.name, [[path] for path in sorted(folder.glob("*.json"))] or [[folder / "*.json"]])


def _rows(paths: list[Path], split: Split, bad: BadRecords, minval: int, is_unlabeled: bool) -> Iterator[Row]:
    answer_list = vilbert_mt_files.read_answer_list(paths)
    question_paths = [path for path in paths if path.name != vilbert_mt_files.ANSWERS and not _is_entailed_file(path)]
    readers = [RecordReader(TASK.name, path, bad) for path in question_paths]
    questions = sorted((item for reader in readers for item in _items(reader, answer_list)), key=lambda item: item[0])
    if split != "test":
        questions = list(split_tail(questions, minval, "minval")[split == "val"])
    missing: set[str] = set()
    for id_, raw, reader in questions:
        row = _row(reader, id_, raw, is_unlabeled) if isinstance(raw, msgspec.Raw) else raw
        if row is not None:
            missing.update(row[2].linked)
            yield row
    missing.difference_update(id_ for id_, _, _ in questions)
    for path in filter(_is_entailed_file, paths):
        reader = RecordReader(TASK.name, path, bad)
        for id_, raw in decode_once(reader, "questions", RecordReader.mapping).items():
            if id_ in missing and (row := _row(reader, id_, raw, is_unlabeled, is_entailed=True)):
                yield row


def _items(reader: RecordReader, answer_list: list[str]) -> Iterator[tuple[str, msgspec.Raw | Row, RecordReader]]:
    """Yield the questions of a file with their ids.

    Records of the official files stay undecoded until their turn: the files are a gigabyte, most of it programs.
    """
    if not vilbert_mt_files.is_target_file(reader.path):
        questions = decode_once(reader, "questions", RecordReader.mapping)
        yield from ((id_, raw, reader) for id_, raw in questions.items())
        return
    for record, target, label in vilbert_mt_files.read_targets(reader, answer_list):
        id_, pair = str(target.question_id), Pair(_image_key(str(target.image_id)), target.question.strip())
        yield id_, (reader, record, Example(id_, (pair,), label)), reader


def _image_key(image_id: str) -> ImageKey:
    return ImageKey(VG if image_id.isdecimal() else GQA, image_id)  # train and val use Visual Genome's images


def _row(
    reader: RecordReader, id_: str, raw: msgspec.Raw, is_unlabeled: bool, *, is_entailed: bool = False
) -> Row | None:
    record = f"question {id_}"
    question = reader.decode(record, raw, Question)
    if question is None:
        return None
    if not question.answer and not is_unlabeled:
        reader.reject(record, "expected an answer, got none")
        return None
    label = SoftAnswers({question.answer: 1.0}) if question.answer and not is_unlabeled else None
    pairs = (Pair(_image_key(str(question.imageId)), question.question.strip()),)
    if is_entailed:
        return reader, record, Example(id_, pairs, label, question_type=CONSISTENCY_ONLY)
    structural_type = question.types.structural if question.types else ""
    linked = tuple(other for other in question.entailed if other != id_)  # a repeated id counts each time
    example = Example(
        id_, pairs, label, question_type=structural_type, linked=linked, chosen_answer=question.answer or ""
    )
    return reader, record, example


def _is_entailed_file(path: Path) -> bool:
    """Return whether a file of all questions is read only for the questions that other questions entail."""
    names = (path.stem, path.parent.name)
    return any("_all_questions" in name and not name.startswith("submission") for name in names)


def _submission_row(example: Example, answered: Answered) -> dict[str, str]:
    return {"questionId": example.id, "prediction": answered.ranked[0].name}


_FORMAT = simple_format("json", _submission_row)
SUBMISSION = Submission(
    _FORMAT,
    _FORMAT,
    parts={"testdev": {"test": "testdev"}, "submission": {"test": "submission"}},
    server="submission",
)
