"""Examples of what the model says, right and wrong ones, chosen by lot. Paper: Fig. 3."""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import xxhash

from twelvefold import boxes
from twelvefold.evaluation.predictions import PredictionRecord
from twelvefold.reporting.thumbnails import Album, Drawn, Picture
from twelvefold.schema import (
    Box,
    Candidate,
    ClassName,
    Example,
    FamilyName,
    ImageKey,
    PositivePair,
    SoftAnswers,
    TargetBox,
    TaskSpec,
)

EACH = 2
"""Right ones and wrong ones per task."""

RIGHT = 0.5
"""A score from which an example counts as right: half of VQA's annotators' worth; other tasks know 0 and 1 only."""

BEST = 3
"""Answers or pictures shown, best first."""

LOTS = 10
"""So many times the examples shown are drawn, to have different pictures among them."""

_TURN = re.compile(r"start (.*?) answer (.*?) stop")

_PROMPTS: dict[FamilyName, str] = {
    "answers": "Question",
    "retrieval": "Caption",
    "grounding": "Expression",
    "verification": "Statement",
}


@dataclass(frozen=True, slots=True)
class Said:
    """One answer of the model with its probability in percent."""

    name: str
    percent: float


@dataclass(frozen=True, slots=True)
class Shown:
    """An example on the page. ``turns``: a dialogue's questions and answers, then ``text`` is empty."""

    id: str
    is_right: bool
    score: float
    prompt: str
    text: str
    turns: list[tuple[str, str]]
    pictures: list[Picture]
    said: list[Said]
    truth: str


def choose(
    lines: Iterable[PredictionRecord], picture_of: Callable[[str], str], *, seed: int, each: int = EACH
) -> list[PredictionRecord]:
    """At most ``each`` right ones, then as many wrong ones: a draw that depends on the seed and the ids alone,
    not on the order of ``lines``, and prefers pictures that it has not shown. ``picture_of``: an example's first
    picture by its id. Examples whose label is withheld are left out."""

    def lot(line: PredictionRecord) -> tuple[int, str]:
        return xxhash.xxh3_64_intdigest(f"{seed}/{line.task}/{line.id}".encode()), line.id

    scored = [line for line in lines if line.score is not None]
    chosen: list[PredictionRecord] = []
    seen: Counter[str] = Counter()
    for wanted in (True, False):
        drawn = heapq.nsmallest(each * LOTS, (line for line in scored if is_right(line) == wanted), key=lot)
        for _ in range(min(each, len(drawn))):
            best = min(drawn, key=lambda line: seen[picture_of(line.id)])  # the first drawn of the least seen
            drawn.remove(best)
            chosen.append(best)
            seen[picture_of(best.id)] += 1
    return chosen


def is_right(line: PredictionRecord) -> bool:
    """Whether a scored example counts as right."""
    return (line.score or 0.0) >= RIGHT


def show(task: TaskSpec, line: PredictionRecord, example: Example, album: Album) -> Shown:
    """An example with its pictures, what the model said of it and what was meant."""
    turns, text = _spoken(example.pairs[0].text)
    if task.family == "grounding":
        pictures, said, truth = _pointing(line, example, album)
    elif task.family == "retrieval":
        pictures, said, truth = _found(line, example, album)
    else:
        pictures, said, truth = _answered(line, example, album)
    prompt = "Dialogue" if turns else "Question" if text.endswith("?") else _PROMPTS[task.family]
    return Shown(line.id, is_right(line), line.score or 0.0, prompt, text, turns, pictures, said, truth)


Parts = tuple[list[Picture], list[Said], str]


def _answered(line: PredictionRecord, example: Example, album: Album) -> Parts:
    sides = ("left", "right") if len(example.pairs) == 2 else ("",) * len(example.pairs)
    pictures = [
        album.show(pair.image, f"Picture {pair.image}{side and f' ({side})'}", caption=side)
        for pair, side in zip(example.pairs, sides, strict=True)
    ]
    said = [Said(ranked.name, 100.0 * ranked.probability) for ranked in line.ranked[:BEST]]
    return pictures, said, _true_answer(example)


def _true_answer(example: Example) -> str:
    match example.label:
        case SoftAnswers(scores) if scores:
            best = sorted(scores.items(), key=lambda item: (-item[1], item[0]))[:BEST]
            return ", ".join(answer if score >= 1.0 else f"{answer} ({score:.1f})" for answer, score in best)
        case ClassName(name) if name:
            return name
        case _:
            return "the annotators found none"


def _pointing(line: PredictionRecord, example: Example, album: Album) -> Parts:
    pair = example.pairs[0]
    chosen = line.ranked[0] if line.ranked else None
    meant = _meant(example)
    drawn = [Drawn.of(box, "candidate") for box in pair.candidates_px]
    said: list[Said] = []
    alt, truth = f"Picture {pair.image}", "not known"
    if meant is not None:
        drawn.append(Drawn.of(meant, "truth"))
        alt += f"; meant is the {_place(meant)}"
        truth = f"the dashed box, one of {len(pair.candidates_px)}" if pair.candidates_px else "the dashed box"
    if chosen is not None and chosen.box_px is not None:
        drawn.append(Drawn.of(chosen.box_px, "model"))
        alt += f"; the model chose the {_place(chosen.box_px)}"
        said.append(Said("the solid box", 100.0 * chosen.probability))
        if isinstance(example.label, TargetBox):
            overlap = float(boxes.iou([chosen.box_px], [example.label.box_px], "publishers")[0, 0])
            truth += f"; the two overlap by {100.0 * overlap:.0f} %"
    return [album.show(pair.image, alt, boxes=tuple(drawn))], said, truth


def _meant(example: Example) -> Box | None:
    match example.label:
        case TargetBox(box_px):
            return box_px
        case Candidate(index):
            return example.pairs[0].candidates_px[index]
        case _:
            return None


def _place(box_px: Box) -> str:
    x1, y1, x2, y2 = (round(side) for side in box_px)
    return f"box from ({x1}, {y1}) to ({x2}, {y2})"


def _found(line: PredictionRecord, example: Example, album: Album) -> Parts:
    place = example.label.index if isinstance(example.label, PositivePair) else 0
    true = example.pairs[place].image
    found = [ImageKey.parse(ranked.name) for ranked in line.ranked[:BEST]]
    pictures = [
        album.show(
            key,
            f"Picture {key}, number {rank} of the model's" + (", the right one" if key == true else ""),
            caption=f"{rank}. {100.0 * ranked.probability:.0f} %",
            is_true=key == true,
        )
        for rank, (key, ranked) in enumerate(zip(found, line.ranked, strict=False), 1)
    ]
    if true not in found:
        pictures.append(album.show(true, f"Picture {true}, the right one", caption="the right one", is_true=True))
    rank = found.index(true) + 1 if true in found else 0
    truth = f"number {rank} of the model's list" if rank else f"not among the first {BEST} of the model's list"
    return pictures, [], truth


def _spoken(text: str) -> tuple[list[tuple[str, str]], str]:
    """A text as the turns of a dialogue (GuessWhat's form), or as it is."""
    turns = _TURN.findall(text)
    return (turns, "") if turns else ([], text)
