"""What people would have written about a picture, as plain data: no ids, no files, no formats.

Every function of this package takes a ``Scene`` and a ``numpy.random.Generator`` and returns tuples of these
records; ``world/formats`` numbers them and writes the official files. Things are named by their place in
``scene.things``; questions and captions by their place in the returned tuple.

============================ ==================================================================================
``vqa.vqa_questions``        ``(scene, rng, count=5) -> tuple[VqaQuestion, ...]``
``gqa.gqa_questions``        ``(scene, rng, count=3) -> tuple[GqaQuestion, ...]``: about ``count`` balanced ones, and
                             two to four times as many for the ``all`` file
``vgqa.vg_questions``        ``(scene, rng, count=5) -> tuple[VgQuestion, ...]``
``captions.captions``        ``(scene, rng, count=5, style="coco" | "flickr") -> tuple[Caption, ...]``
``refer.references``         ``(scene, rng, count=2, style: ReferStyle) -> tuple[Reference, ...]``
``which.which_questions``    ``(scene, rng, count=2) -> tuple[WhichQuestion, ...]`` (none below four usable things)
``guesswhat.dialogues``      ``(scene, rng, count=1) -> tuple[Dialogue, ...]``
``picture_sets.picture_set`` ``(seed, index) -> tuple[tuple[Scene, Scene], ...]``: the four (left, right) pictures of
                             NLVR2 set ``index``, alike but for a few things, so that one sentence splits them
``nlvr2.statements``         ``(pairs, rng, count=2) -> tuple[Statement, ...]``, ``pairs`` those of ``picture_set``
``snli_ve.hypotheses``       ``(scene, premises, rng, count=3) -> tuple[Hypothesis, ...]``, ``premises`` captions
                             of the same scene in the Flickr style
============================ ==================================================================================

A function may return fewer records than asked for where the picture has nothing more to ask about.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from twelvefold.world.text.description import Description

CaptionStyle = Literal["coco", "flickr"]
ReferStyle = Literal["refcoco", "refcoco+", "refcocog"]


@dataclass(frozen=True, slots=True)
class VqaQuestion:
    """A VQA question with ten annotators' answers.

    ``answers``: ten (answer, answer_confidence) pairs, in the annotators' order (``answer_id`` 1 to 10);
    ``multiple_choice_answer`` is the most frequent one. ``truth`` is what the scene says, ``template`` the kind
    of question: both are for tests, the official files do not hold them.
    """

    question: str
    question_type: str
    answer_type: Literal["yes/no", "number", "other"]
    answers: tuple[tuple[str, str], ...]
    multiple_choice_answer: str
    template: str
    truth: str


@dataclass(frozen=True, slots=True)
class Operation:
    """One step of a GQA program: ``Operation("select", "cup (3)", ())``; dependencies are earlier steps."""

    operation: str
    argument: str
    dependencies: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class GqaQuestion:
    """A GQA question. Object ids inside ``semantic`` and the pointers are places in ``scene.things``.

    ``entailed`` and ``equivalent`` are places in the tuple of the same picture. The balanced file holds the
    questions with ``is_balanced``, the ``all`` file every one. ``*_pointers``: (token span "2" or "2:4", object
    id) pairs, the ``annotations`` field of the official files. ``group_global`` may be None there too.
    """

    question: str
    answer: str
    full_answer: str
    semantic: tuple[Operation, ...]
    semantic_str: str
    structural: str
    semantic_type: str
    detailed: str
    group_global: str | None
    group_local: str
    is_balanced: bool
    entailed: tuple[int, ...] = ()
    equivalent: tuple[int, ...] = ()
    question_pointers: tuple[tuple[str, int], ...] = ()
    answer_pointers: tuple[tuple[str, int], ...] = ()
    full_answer_pointers: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class VgQuestion:
    """A Visual Genome question and its free answer, capital and full stop as there: ``In a room.``

    ``q_objects`` and ``a_objects`` are the things that question and answer speak of.
    """

    question: str
    answer: str
    template: str
    q_objects: tuple[int, ...] = ()
    a_objects: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Caption:
    """A caption as typed (``raw``), its lower-case words without punctuation, and the things it mentions."""

    raw: str
    tokens: tuple[str, ...]
    mentions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Expression:
    """One referring expression: as typed, as RefCOCO's ``sent`` (lower case) with its tokens, and what it says."""

    raw: str
    sent: str
    tokens: tuple[str, ...]
    facts: Description


@dataclass(frozen=True, slots=True)
class Reference:
    """The expressions that different people gave for the thing at ``target``; each denotes it and nothing else."""

    target: int
    expressions: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class PointingQuestion:
    """A Visual7W pointing question: four things, of which ``choices[answer]`` is meant."""

    question: str
    choices: tuple[int, int, int, int]
    answer: int
    template: str


@dataclass(frozen=True, slots=True)
class Turn:
    """A question and its answer. ``asked``: the facts asked about; N/A where they are neither true nor false."""

    question: str
    answer: Literal["Yes", "No", "N/A"]
    asked: Description


@dataclass(frozen=True, slots=True)
class Dialogue:
    """A GuessWhat game about the thing at ``target``; every thing of the scene is a candidate."""

    target: int
    turns: tuple[Turn, ...]
    status: Literal["success", "failure", "incomplete"]


@dataclass(frozen=True, slots=True)
class Statement:
    """A sentence about two pictures and whether it holds of each given pair: as many True as False.

    ``number`` and ``noun`` are what the wording turns on (labels are balanced for each of them).
    """

    sentence: str
    labels: tuple[bool, ...]
    template: str
    number: int
    noun: str


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """An SNLI-VE hypothesis for the premise at ``premise`` in the given captions.

    ``annotator_labels``: one to five votes; ``label`` is their majority and what the scene says.
    """

    premise: int
    sentence: str
    label: Literal["entailment", "neutral", "contradiction"]
    annotator_labels: tuple[str, ...]
    template: str
