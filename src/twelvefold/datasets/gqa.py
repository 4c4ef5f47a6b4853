"""GQA: compositional questions about Visual Genome pictures, with programs. Paper: group G1, section 2.1.

Home: the GQA page of Stanford's vision group. Licence: CC BY 4.0.

Files, in ``gqa/``: ``{train,val,testdev}_balanced_questions.json``, and for consistency
``testdev_all_questions.json``; each may be a folder of that stem holding several files. Where train or val is missing,
the original project's ``cache/{trainval,train,val}_target.pkl`` are read, which say nothing of types and entailed
questions (:mod:`twelvefold.datasets.reading.vilbert_mt_files`).

Splits: train and val together, sorted by question id as text, without the last 3,000: 1,072,062 (962,928 after
cleaning); val is those 3,000; test is testdev: 12,578. The labels of ``test=test`` and ``test=challenge`` are
withheld; ``test=submission`` reads ``submission_all_questions.json``, every question that the server wants answered.

Entailed questions are mostly absent from the balanced files. With ``consistency=True`` those that the test
questions entail are read from the ``all`` file and follow, as kind ``entailed``: they count for consistency and
for nothing else. Training and validation never see them. A question that entails itself is not listed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from twelvefold.datasets.reading import answers, vilbert_mt_files
from twelvefold.datasets.reading.records import BadRecords, Row, Source, checked, present, split_tail
from twelvefold.schema import CONSISTENCY_ONLY, Example, ImageKey, Pair, SoftAnswers, Split, TaskSpec

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
MINVAL = 3000
"""Questions held out for validation (original project)."""
Part = Literal["testdev", "test", "challenge", "submission"]


class Types(msgspec.Struct, gc=False):
    structural: str = ""


class Question(msgspec.Struct, gc=False):
    question: str
    imageId: str | int  # noqa: N815 - the publishers' name
    answer: str | None = None
    entailed: list[str] = []
    types: Types | None = None


class Answered(msgspec.Struct, gc=False):
    answer: str


def files(
    root: Path, split: Split, *, minval: int = MINVAL, test: Part = "testdev", consistency: bool = False
) -> list[Path]:
    """The question files of a split, a folder's in order of name."""
    parts = [test] if split == "test" else ["train", "val"]
    stems = [f"{part}_balanced_questions" for part in parts if part != "submission"]
    stems += [f"{part}_all_questions" for part in parts if part == "submission" or (consistency and split == "test")]
    folder = root / "gqa"
    wanted = [[folder / f"{stem}.json", folder / stem] for stem in stems]
    official = all(any(path.exists() for path in names) for names in wanted)
    if split != "test" and not official:
        together, *apart = (vilbert_mt_files.target_file(folder, part) for part in ("trainval", *parts))
        each = [[*names, path] for names, path in zip(wanted, apart, strict=True)]
        wanted = [[together]] if together.exists() else each
    found = present(TASK.name, wanted)
    found = [file for path in found for file in (_in_folder(path) if path.is_dir() else [path])]
    return vilbert_mt_files.with_answer_list(TASK.name, found)


def read(
    root: Path,
    split: Split,
    *,
    bad: BadRecords,
    minval: int = MINVAL,
    test: Part = "testdev",
    consistency: bool = False,
) -> Iterator[Example]:
    """The questions of a split by id, label SoftAnswers with one answer, kind the structural type."""
    found = files(root, split, minval=minval, test=test, consistency=consistency)
    withheld = split == "test" and test != "testdev"
    return checked(_rows(found, split, bad, minval, withheld))


def vocabulary(
    root: Path,
    *,
    min_count: int = answers.MIN_COUNT,
    bad: BadRecords,
    minval: int = MINVAL,
    test: Part = "testdev",
    consistency: bool = False,
) -> list[str]:
    """The answer list: answers of train and val, as they are, that occur ``min_count`` times.

    ``minval``, ``test`` and ``consistency`` change nothing. Differs: how the original project came to its 1,533
    answers is not known; its own list can be given instead (``answers.load_answers``), and is taken where its answers
    are read.
    """
    found = files(root, "train")
    if listed := vilbert_mt_files.answer_list(found):
        return listed
    sources = [Source(TASK.name, path, bad) for path in found]
    decoded = (
        source.decode(f"question {id_}", raw, Answered) for source in sources for id_, raw in source.mapping().items()
    )
    return answers.frequent((item.answer for item in decoded if item is not None), min_count)


def _in_folder(folder: Path) -> list[Path]:
    return present(TASK.name, [[path] for path in sorted(folder.glob("*.json"))] or [[folder / "*.json"]])


def _rows(found: list[Path], split: Split, bad: BadRecords, minval: int, withheld: bool) -> Iterator[Row]:
    ours = [path for path in found if path.name != vilbert_mt_files.ANSWERS and not _only_entailed(path)]
    asked, listed = [Source(TASK.name, path, bad) for path in ours], vilbert_mt_files.answer_list(found)
    keyed = sorted((item for source in asked for item in _items(source, listed)), key=lambda item: item[0])
    if split != "test":
        keyed = list(split_tail(keyed, minval, "minval")[split == "val"])
    missing: set[str] = set()
    for id_, raw, source in keyed:
        row = _row(source, id_, raw, withheld) if isinstance(raw, msgspec.Raw) else raw
        if row is not None:
            missing.update(row[2].linked)
            yield row
    missing.difference_update(id_ for id_, _, _ in keyed)
    for path in filter(_only_entailed, found):
        source = Source(TASK.name, path, bad)
        for id_, raw in source.mapping().items():
            if id_ in missing and (row := _row(source, id_, raw, withheld, only_entailed=True)):
                yield row


def _items(source: Source, listed: list[str]) -> Iterator[tuple[str, msgspec.Raw | Row, Source]]:
    """The questions of a file by id; records stay undecoded until their turn: GQA's files are a gigabyte and mostly
    programs."""
    if not vilbert_mt_files.are_targets(source.path):
        yield from ((id_, raw, source) for id_, raw in source.mapping().items())
        return
    for record, target, label in vilbert_mt_files.targets(source, listed):
        id_, pair = str(target.question_id), Pair(_key(str(target.image_id)), target.question.strip())
        yield id_, (source, record, Example(id_, (pair,), label)), source


def _key(image: str) -> ImageKey:
    return ImageKey("vg" if image.isdecimal() else "gqa", image)  # train and val are Visual Genome's pictures


def _row(source: Source, id_: str, raw: msgspec.Raw, withheld: bool, *, only_entailed: bool = False) -> Row | None:
    record = f"question {id_}"
    question = source.decode(record, raw, Question)
    if question is None:
        return None
    if not question.answer and not withheld:
        source.refuse(record, "expected an answer, got none")
        return None
    label = SoftAnswers({question.answer: 1.0}) if question.answer and not withheld else None
    key = _key(str(question.imageId))
    if only_entailed:
        return (
            source,
            record,
            Example(id_, (Pair(key, question.question.strip()),), label, question_type=CONSISTENCY_ONLY),
        )
    kind = question.types.structural if question.types else ""
    linked = tuple(dict.fromkeys(other for other in question.entailed if other != id_))
    return (
        source,
        record,
        Example(id_, (Pair(key, question.question.strip()),), label, question_type=kind, linked=linked),
    )


def _only_entailed(path: Path) -> bool:
    """Whether a file is read for the questions that others entail: it has all questions, and others are asked."""
    names = (path.stem, path.parent.name)
    return any("_all_questions" in name and not name.startswith("submission") for name in names)
