"""Annotations of an image as plain data, without ids, files or formats.

Every generator in this package takes a ``Scene`` and a ``numpy.random.Generator`` and returns a tuple of these
records; ``world/formats`` numbers them and writes the official files. Objects are indices in ``scene.objects``.
A generator may return fewer records than requested where the image does not offer more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from twelvefold.world.text.description import ObjectDescription
from twelvefold.world.text.lexicon import tokenize

AnswerType = Literal["yes/no", "number", "other"]
CaptionStyle = Literal["coco", "flickr"]
EntailmentLabel = Literal["entailment", "neutral", "contradiction"]
GameStatus = Literal["success", "failure", "incomplete"]
PlayerAnswer = Literal["Yes", "No", "N/A"]
ReferStyle = Literal["refcoco", "refcoco+", "refcocog"]
Pointers = tuple[tuple[str, int], ...]
"""(phrase, object) pairs."""


@dataclass(frozen=True, slots=True)
class VqaQuestion:
    """A VQA question with the answers of ten annotators.

    ``answers``: ten (answer, answer_confidence) pairs in the order of ``answer_id``. ``multiple_choice_answer`` is
    the most frequent one, which is correct. ``template`` is for tests; no file contains it.
    """

    question: str
    question_type: str
    answer_type: AnswerType
    answers: tuple[tuple[str, str], ...]
    multiple_choice_answer: str
    template: str


@dataclass(frozen=True, slots=True)
class Operation:
    """A step of a GQA program: ``Operation("select", "cup (3)", ())``. Dependencies are indices of earlier steps."""

    operation: str
    argument: str
    dependencies: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class GqaQuestion:
    """A GQA question.

    ``types`` is (structural, semantic, detailed); ``groups`` is (global, local). ``pointers`` are (phrase, object)
    pairs. ``entailed`` and ``equivalent`` are indices of questions about the same image, and before they are put
    together, of the same family. The balanced file contains the questions with ``is_balanced``.
    """

    question: str
    answer: str
    full_answer: str
    semantic: tuple[Operation, ...]
    types: tuple[str, str, str]
    groups: tuple[str | None, str]
    pointers: Pointers
    entailed: tuple[int, ...] = ()
    equivalent: tuple[int, ...] = ()
    is_balanced: bool = False


@dataclass(frozen=True, slots=True)
class VgQuestion:
    """A Visual Genome question and its free answer, a capitalized sentence: ``In a room.``

    ``q_objects`` and ``a_objects`` are the objects that the question and the answer mention.
    """

    question: str
    answer: str
    q_objects: tuple[int, ...] = ()
    a_objects: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Expression:
    """A referring expression as typed, and its meaning."""

    raw: str
    facts: ObjectDescription

    @property
    def tokens(self) -> tuple[str, ...]:
        """The lower-case words without punctuation."""
        return tokenize(self.raw)


@dataclass(frozen=True, slots=True)
class Reference:
    """Expressions of several people for the object ``target``. Each matches this object only."""

    target: int
    expressions: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class PointingQuestion:
    """A Visual7W pointing question with four objects. ``choices[answer]`` is the correct one."""

    question: str
    choices: tuple[int, ...]
    answer: int


@dataclass(frozen=True, slots=True)
class Turn:
    """A question of a GuessWhat game, its answer, and the facts that it is about."""

    question: str
    answer: PlayerAnswer
    facts: ObjectDescription


@dataclass(frozen=True, slots=True)
class Dialogue:
    """A GuessWhat game about the object ``target``. All objects of the scene are candidates."""

    target: int
    turns: tuple[Turn, ...]
    status: GameStatus


@dataclass(frozen=True, slots=True)
class Statement:
    """A sentence about two images, its label for each pair of the set, half of them True, and the sort of its noun."""

    sentence: str
    labels: tuple[bool, ...]
    noun: str


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """An SNLI-VE hypothesis for the caption with index ``premise``.

    ``annotator_labels``: one to five votes. ``label`` is their majority and the correct label.
    """

    premise: int
    sentence: str
    label: EntailmentLabel
    annotator_labels: tuple[str, ...]
    template: str
