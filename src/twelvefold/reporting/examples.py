"""Select right and wrong examples at random and describe what the model answered. Paper: Fig. 3."""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import xxhash

from twelvefold import boxes
from twelvefold.evaluation.predictions import PredictionRecord, predictions_path, read_predictions
from twelvefold.families import load_family
from twelvefold.reporting.thumbnails import BoxOverlay, Thumbnail, Thumbnails
from twelvefold.schema import (
    Box,
    Candidate,
    ClassName,
    Example,
    ImageKey,
    PositivePair,
    SoftAnswers,
    TargetBox,
    TargetBoxes,
    TaskSpec,
    TwelvefoldError,
)
from twelvefold.store.prepared import Prepared

PER_TASK = 2
"""Right examples, and wrong examples, of each task."""

RIGHT_SCORE = 0.5
"""Lowest score of a right example: half of VQA's soft score; other tasks have scores 0 and 1 only."""

MAX_ANSWERS = 3
"""Answers or images of an example, best first."""

OVERSAMPLING = 10
"""Examples drawn for each selected one, so that the selection can prefer different images."""

WITHHELD = "withheld"
"""The truth of an example without a label."""

_DIALOGUE_TURN = re.compile(r"start (.*?) answer (.*?) stop")


@dataclass(frozen=True, slots=True)
class ReportAnswer:
    """One answer of the model with its probability in percent."""

    name: str
    percent: float


@dataclass(frozen=True, slots=True)
class ReportExample:
    """An example on the page. ``turns``: questions and answers of a dialogue, then ``text`` is empty.

    ``is_right``, ``score``: None if the label is withheld.
    """

    id: str
    is_right: bool | None
    score: float | None
    prompt: str
    text: str
    turns: list[tuple[str, str]]
    images: list[Thumbnail]
    answers: list[ReportAnswer]
    truth: str


def task_examples(
    run: Path, prepared: Prepared, task: TaskSpec, thumbnails: Thumbnails, seed: int
) -> list[ReportExample] | str:
    """Return a task's examples, right ones first; or a sentence that says why there are none.

    Raises:
        TwelvefoldError: the predictions are of other data.
    """
    path = predictions_path(run, task.name, "test")
    if not path.exists():
        return "The run has no predictions of this task."
    if "test" not in prepared.splits(task.name):
        return "The prepared data have no test examples of this task."
    table = prepared.table(task.name, "test")
    indices = {id_: index for index, id_ in enumerate(table.ids())}

    def example(id_: str) -> Example:
        if id_ not in indices:
            raise TwelvefoldError(
                f"{path} has example {id_!r}, which is not in {table.path}: the predictions were made from other "
                f"prepared data. Run `twelvefold evaluate {run}` again, or name the folder they were made from"
            )
        return table[indices[id_]]

    records = select_records(read_predictions(path), lambda id_: str(example(id_).pairs[0].image), seed=seed)
    return [make_example(task, record, example(record.id), thumbnails) for record in records]


def select_records(
    records: Iterable[PredictionRecord], image_of: Callable[[str], str], *, seed: int, per_task: int = PER_TASK
) -> list[PredictionRecord]:
    """Select at most ``per_task`` right records, then as many wrong ones, at random.

    The selection depends on the seed and the ids, not on the order of ``records``, and prefers images that are not
    selected yet. ``image_of`` returns the first image of an example by its id. Records without a score are left out,
    unless all are: then as many of them are selected.
    """

    def draw(record: PredictionRecord) -> tuple[int, str]:
        return xxhash.xxh3_64_intdigest(f"{seed}/{record.task}/{record.id}".encode()), record.id

    records = list(records)
    scored = [record for record in records if record.score is not None]
    groups = [[r for r in scored if is_right(r) == right] for right in (True, False)]
    if not scored:
        groups, per_task = [records], 2 * per_task
    selected: list[PredictionRecord] = []
    times_shown: Counter[str] = Counter()
    for group in groups:
        drawn = heapq.nsmallest(per_task * OVERSAMPLING, group, key=draw)
        for _ in range(min(per_task, len(drawn))):
            record = min(drawn, key=lambda r: times_shown[image_of(r.id)])  # the first of the least shown
            drawn.remove(record)
            selected.append(record)
            times_shown[image_of(record.id)] += 1
    return selected


def is_right(record: PredictionRecord) -> bool:
    """Return whether a scored example counts as right."""
    return (record.score or 0.0) >= RIGHT_SCORE


def make_example(task: TaskSpec, record: PredictionRecord, example: Example, thumbnails: Thumbnails) -> ReportExample:
    """Describe an example: its images, the model's answers and the truth."""
    text = example.pairs[0].text
    turns = _DIALOGUE_TURN.findall(text)  # GuessWhat's form of a dialogue
    family = load_family(task.family)
    if family.chooses_region:
        images, answers, truth = _describe_grounding(record, example, thumbnails)
    elif family.searches_images:
        images, answers, truth = _describe_retrieval(record, example, thumbnails)
    elif family.chooses_text:
        images, answers, truth = _describe_text_choice(record, example, thumbnails)
        text = f"{len(example.pairs)} to choose from"
    else:
        images, answers, truth = _describe_classes(record, example, thumbnails)
    prompt = "Dialogue" if turns else "Question" if text.endswith("?") else family.text_label
    return ReportExample(
        id=record.id,
        is_right=None if record.score is None else is_right(record),
        score=record.score,
        prompt=prompt,
        text="" if turns else text,
        turns=turns,
        images=images,
        answers=answers,
        truth=truth,
    )


Parts = tuple[list[Thumbnail], list[ReportAnswer], str]


def _describe_classes(record: PredictionRecord, example: Example, thumbnails: Thumbnails) -> Parts:
    sides = ("left", "right") if len(example.pairs) == 2 else ("",) * len(example.pairs)
    images = [
        thumbnails.make(pair.image, f"Image {pair.image}{side and f' ({side})'}", caption=side)
        for pair, side in zip(example.pairs, sides, strict=True)
    ]
    answers = [ReportAnswer(ranked.name, 100.0 * ranked.probability) for ranked in record.ranked[:MAX_ANSWERS]]
    return images, answers, _true_answer(example)


def _describe_text_choice(record: PredictionRecord, example: Example, thumbnails: Thumbnails) -> Parts:
    texts, image = [pair.text for pair in example.pairs], example.pairs[0].image
    best = record.ranked[:MAX_ANSWERS]
    answers = [ReportAnswer(texts[int(ranked.name)], 100.0 * ranked.probability) for ranked in best]
    truth = texts[example.label.index] if isinstance(example.label, PositivePair) else WITHHELD
    return [thumbnails.make(image, f"Image {image}")], answers, truth


def _true_answer(example: Example) -> str:
    match example.label:
        case SoftAnswers(scores) if scores:
            best = sorted(scores.items(), key=lambda item: (-item[1], item[0]))[:MAX_ANSWERS]
            return ", ".join(answer if score >= 1.0 else f"{answer} ({score:.1f})" for answer, score in best)
        case ClassName(name) if name:
            return name
        case None:
            return WITHHELD
        case _:
            return "no agreement among the annotators"


def _describe_grounding(record: PredictionRecord, example: Example, thumbnails: Thumbnails) -> Parts:
    pair = example.pairs[0]
    best = record.ranked[0] if record.ranked else None
    true_box = _true_box(example)
    overlays = [BoxOverlay.from_box(box, "candidate") for box in pair.candidates_px]
    answers: list[ReportAnswer] = []
    alt, truth = f"Image {pair.image}", WITHHELD
    if true_box is not None:
        overlays.append(BoxOverlay.from_box(true_box, "truth"))
        alt += f"; the true box is the {_format_box(true_box)}"
        truth = f"the dashed box, one of {len(pair.candidates_px)}" if pair.candidates_px else "the dashed box"
    if best is not None and best.box_px is not None:
        overlays.append(BoxOverlay.from_box(best.box_px, "model"))
        alt += f"; the model chose the {_format_box(best.box_px)}"
        answers.append(ReportAnswer("the solid box", 100.0 * best.probability))
        if true_box is not None and not isinstance(example.label, Candidate):
            convention: boxes.Convention = "official" if isinstance(example.label, TargetBox) else "vilbert_mt"
            iou = float(boxes.iou([best.box_px], [true_box], convention)[0, 0])
            truth += f"; IoU with the model's box {100.0 * iou:.0f} %"
    return [thumbnails.make(pair.image, alt, boxes=tuple(overlays), size=pair.stated_size)], answers, truth


def _true_box(example: Example) -> Box | None:
    match example.label:
        case TargetBox(box_px):
            return box_px
        case TargetBoxes(boxes_px):
            return boxes_px[0]
        case Candidate(index):
            return example.pairs[0].candidates_px[index]
        case _:
            return None


def _format_box(box_px: Box) -> str:
    x1, y1, x2, y2 = (round(side) for side in box_px)
    return f"box from ({x1}, {y1}) to ({x2}, {y2})"


def _describe_retrieval(record: PredictionRecord, example: Example, thumbnails: Thumbnails) -> Parts:
    true_pair = example.label.index if isinstance(example.label, PositivePair) else 0
    true = example.pairs[true_pair].image
    best = [ImageKey.parse(ranked.name) for ranked in record.ranked[:MAX_ANSWERS]]
    images = [
        thumbnails.make(
            key,
            f"Image {key}, rank {rank}" + (", the true image" if key == true else ""),
            caption=f"{rank}. {100.0 * ranked.probability:.0f} %",
            is_true=key == true,
        )
        for rank, (key, ranked) in enumerate(zip(best, record.ranked, strict=False), 1)
    ]
    if true in best:
        return images, [], f"rank {best.index(true) + 1}"
    images.append(thumbnails.make(true, f"Image {true}, the true image", caption="the true image", is_true=True))
    return images, [], f"not among the first {MAX_ANSWERS}"
