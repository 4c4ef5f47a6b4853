"""The model as people use it: ``twelvefold.load()`` gives one of these. Paper: section 4.5, Fig. 3.

Every method takes one thing or a list of things, and gives one prediction or a list of them; :meth:`Predictor.answer`
is the one way through that they all take, and that REST takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import torch

from twelvefold.data.region_inputs import RegionSource
from twelvefold.data.tokenizer import Tokens
from twelvefold.detectors.interface import RegionDetector
from twelvefold.model import Model
from twelvefold.model.card import DetectorCard
from twelvefold.schema import Box, Regions, TaskSpec, TwelvefoldError, did_you_mean
from twelvefold.serving.hub_mixin import Shared
from twelvefold.serving.images import Picture, Source, picture
from twelvefold.serving.inference import Asked, Work, answer, regions_of
from twelvefold.serving.region_cache import Sight
from twelvefold.serving.request import Request, check, check_phrases, choose_task, dialogue_text, example
from twelvefold.serving.result import Prediction
from twelvefold.serving.search_index import Index

# A text is itself a sequence of texts: where both overloads of a method fit, the first is meant, one thing of each.
# mypy: disable-error-code="overload-overlap"

Sources = Source | Sequence[Source]
Texts = str | Sequence[str]
Boxes = Sequence[Box]
Dialogue = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class About:
    """Which model this is. ``scores``: of test, percent, by task; empty where unknown. ``trained_on``: in words.
    ``temperatures``: what a task's logits are divided by so that probabilities mean what they say; 1 where none is
    named."""

    name: str
    parameters: int
    tasks: tuple[str, ...]
    trained_on: str
    detector: DetectorCard
    scores: Mapping[str, float]
    temperatures: Mapping[str, float]


class Predictor(Shared):
    """A network and the detector whose regions it learnt to read. Several threads may ask at once.

    network: the model. about: what is known of it. kinds: names of what the detector tells apart.
    """

    def __init__(self, network: Model, detector: RegionDetector, about: About, device: torch.device) -> None:
        self.network = network.to(device).eval()
        self.about = about
        self.device = device
        self.kinds = detector.kinds
        self._sight = Sight(detector)
        self._tokens = Tokens()

    def __repr__(self) -> str:
        return f"<{self.about.name}: {self.about.parameters:,} parameters, tasks {', '.join(self.about.tasks)}>"

    @torch.inference_mode()
    def answer(self, requests: Sequence[Request]) -> list[Prediction]:
        """What the model says of each request, in their order, of whatever tasks they are.

        Raises:
            TwelvefoldError: the model has no such task, or a request can't be answered; nothing is then.
        """
        specs = [self.spec(request.task) for request in requests]
        for request, spec in zip(requests, specs, strict=True):
            check(request, spec)
        source, boxes = regions_of(requests, self._sight)
        ids = self._tokens.many([request.text.strip() for request in requests])
        asked = [
            Asked(request, spec, example(request, given, str(i)), pieces)
            for i, (request, spec, given, pieces) in enumerate(zip(requests, specs, boxes, ids, strict=True))
        ]
        return answer(self.work(source), asked)

    def work(self, source: RegionSource) -> Work:
        """What batches are answered from, with such regions."""
        return Work(self.network, self.device, self._tokens, self.about.temperatures, source)

    def see(self, pictures: Sequence[Picture]) -> list[Regions]:
        """What the detector finds in each picture, best first; kept for the next question about it."""
        return self._sight.see(pictures)

    @overload
    def ask(
        self, image: Source, question: str, *, task: str = ..., top: int = ..., explain: bool = ...
    ) -> Prediction: ...
    @overload
    def ask(
        self, image: Sources, question: Texts, *, task: str = ..., top: int = ..., explain: bool = ...
    ) -> list[Prediction]: ...
    def ask(
        self,
        image: Sources,
        question: Texts,
        *,
        task: str = "vqav2",
        top: int = 5,
        explain: bool = False,
    ) -> Prediction | list[Prediction]:
        """Answer a question from the task's list of answers. Tasks: vqav2, gqa, vgqa.

        An answer's probability is its own: it is how likely this answer is right, and they need not sum to one.
        """
        choose_task(task, "answers", self._specs)
        return self._each(task, [image], question, top=top, explain=explain)

    @overload
    def find(
        self, text: str, images: Sequence[Source], *, task: str = ..., top: int = ..., explain: bool = ...
    ) -> Prediction: ...
    @overload
    def find(
        self, text: Sequence[str], images: Sequence[Source], *, task: str = ..., top: int = ..., explain: bool = ...
    ) -> list[Prediction]: ...
    def find(
        self,
        text: Texts,
        images: Sequence[Source],
        *,
        task: str = "coco",
        top: int = 5,
        explain: bool = False,
    ) -> Prediction | list[Prediction]:
        """Rank pictures by how well a text describes them; ``found`` has them, best first. Tasks: coco, flickr30k.

        Probabilities are over these pictures: one of them is taken to be meant.
        """
        choose_task(task, "retrieval", self._specs)
        if not _is_many(images):
            raise TwelvefoldError(f"a search is among a list of pictures, got {type(images).__name__}")
        pool = tuple(picture(image) for image in images)
        texts = [text] if isinstance(text, str) else list(text)
        found = self.answer([Request(task, pool, one, top=top, explain=explain) for one in texts])
        return found[0] if isinstance(text, str) else found

    def index(self, images: Sequence[Source] = (), *, names: Sequence[str] | None = None) -> Index:
        """Pictures to search by text again and again, each looked at once. ``names``: a path is its own.

        Raises: TwelvefoldError where a name is missing or taken, or a picture can't be opened.
        """
        index = Index(self)
        index.add(images, names=names)
        return index

    @overload
    def point(
        self, image: Source, phrase: str, *, task: str = ..., top: int = ..., explain: bool = ...
    ) -> Prediction: ...
    @overload
    def point(
        self, image: Sources, phrase: Texts, *, task: str = ..., top: int = ..., explain: bool = ...
    ) -> list[Prediction]: ...
    def point(
        self,
        image: Sources,
        phrase: Texts,
        *,
        task: str = "refcoco",
        top: int = 5,
        explain: bool = False,
    ) -> Prediction | list[Prediction]:
        """Point at the detected region that a phrase means. Tasks: refcoco, refcoco+, refcocog."""
        choose_task(task, "grounding", self._specs)
        return self._each(task, [image], phrase, top=top, explain=explain)

    @overload
    def choose(
        self, image: Source, question: str, boxes: Boxes | None = ..., *, top: int = ..., explain: bool = ...
    ) -> Prediction: ...
    @overload
    def choose(
        self,
        image: Sources,
        question: Texts,
        boxes: Boxes | Sequence[Boxes] | None = ...,
        *,
        top: int = ...,
        explain: bool = ...,
    ) -> list[Prediction]: ...
    def choose(
        self,
        image: Sources,
        question: Texts,
        boxes: Boxes | Sequence[Boxes] | None = None,
        *,
        top: int = 5,
        explain: bool = False,
    ) -> Prediction | list[Prediction]:
        """Answer a "which" question by one of the boxes; by a detected region where none are given. Task: visual7w."""
        choose_task("visual7w", "grounding", self._specs)
        return self._each("visual7w", [image], question, boxes, top=top, explain=explain)

    @overload
    def guess(
        self, image: Source, dialogue: str | Dialogue, boxes: Boxes | None = ..., *, top: int = ..., explain: bool = ...
    ) -> Prediction: ...
    @overload
    def guess(
        self,
        image: Sources,
        dialogue: str | Dialogue | Sequence[str | Dialogue],
        boxes: Boxes | Sequence[Boxes] | None = ...,
        *,
        top: int = ...,
        explain: bool = ...,
    ) -> list[Prediction]: ...
    def guess(
        self,
        image: Sources,
        dialogue: Any,
        boxes: Boxes | Sequence[Boxes] | None = None,
        *,
        top: int = 5,
        explain: bool = False,
    ) -> Prediction | list[Prediction]:
        """Guess the thing that a dialogue is about, among boxes or what was detected. Task: guesswhat.

        ``dialogue``: (question, answer) pairs, or a text; or a list of such dialogues.
        """
        choose_task("guesswhat", "grounding", self._specs)
        texts = [dialogue_text(one) for one in dialogue] if _are_dialogues(dialogue) else dialogue_text(dialogue)
        return self._each("guesswhat", [image], texts, boxes, top=top, explain=explain)

    @overload
    def compare(
        self, image_a: Source, image_b: Source, statement: str, *, top: int = ..., explain: bool = ...
    ) -> Prediction: ...
    @overload
    def compare(
        self, image_a: Sources, image_b: Sources, statement: Texts, *, top: int = ..., explain: bool = ...
    ) -> list[Prediction]: ...
    def compare(
        self,
        image_a: Sources,
        image_b: Sources,
        statement: Texts,
        *,
        top: int = 5,
        explain: bool = False,
    ) -> Prediction | list[Prediction]:
        """Say whether a statement is true of two pictures, the left and the right one. Task: nlvr2."""
        choose_task("nlvr2", "verification", self._specs, pairs=2)
        return self._each("nlvr2", [image_a, image_b], statement, top=top, explain=explain)

    @overload
    def entails(self, image: Source, statement: str, *, top: int = ..., explain: bool = ...) -> Prediction: ...
    @overload
    def entails(self, image: Sources, statement: Texts, *, top: int = ..., explain: bool = ...) -> list[Prediction]: ...
    def entails(
        self,
        image: Sources,
        statement: Texts,
        *,
        top: int = 5,
        explain: bool = False,
    ) -> Prediction | list[Prediction]:
        """Say whether a picture entails a statement, contradicts it, or leaves it open. Task: snli_ve."""
        choose_task("snli_ve", "verification", self._specs)
        return self._each("snli_ve", [image], statement, top=top, explain=explain)

    def ground(
        self,
        image: Source,
        caption: str,
        phrases: Sequence[str],
        *,
        task: str = "refcoco",
        top: int = 5,
        explain: bool = False,
    ) -> list[Prediction]:
        """A box for each phrase of a caption, in their order. Tasks: refcoco, refcoco+, refcocog.

        Raises:
            TwelvefoldError: a phrase does not stand in the caption.
        """
        check_phrases(phrases, caption)
        seen = picture(image)
        choose_task(task, "grounding", self._specs)
        return self.answer([Request(task, (seen,), phrase, top=top, explain=explain) for phrase in phrases])

    @property
    def _specs(self) -> Iterable[TaskSpec]:
        return self.network.tasks.values()

    def spec(self, name: str) -> TaskSpec:
        """The task of that name.

        Raises: TwelvefoldError where the model has none.
        """
        if name not in self.network.tasks:
            known = ", ".join(self.network.tasks) or "none"
            raise TwelvefoldError(
                f"the model has no task {name!r}; it has {known}{did_you_mean(name, self.network.tasks)}"
            )
        return self.network.tasks[name]

    def _each(
        self, task: str, images: Sequence[Any], text: Any, boxes: Any = None, *, top: int, explain: bool
    ) -> Prediction | list[Prediction]:
        """One request, or as many as the lists are long; what is no list goes with each of them."""
        lengths = {len(value) for value in [*images, text] if _is_many(value)}
        if len(lengths) > 1:
            raise TwelvefoldError(f"lists that go together are of one length, got {sorted(lengths)}")
        count = lengths.pop() if lengths else None
        opened = [_repeated(_opened(value), count) for value in images]
        texts = _repeated(text, count)
        given = [boxes or ()] if count is None else [()] * count if boxes is None else list(boxes)
        if len(given) != len(texts):
            raise TwelvefoldError(f"{len(texts)} questions came with {len(given)} lists of boxes; give one for each")
        answers = self.answer(
            [
                Request(task, tuple(pictures), one, tuple(mine), top, explain)
                for *pictures, one, mine in zip(*opened, texts, given, strict=True)
            ]
        )
        return answers[0] if count is None else answers


def _is_many(value: object) -> bool:
    return isinstance(value, (list, tuple))


def _are_dialogues(value: Any) -> bool:
    """Whether these are several dialogues: texts, or lists of turns, where a turn is a pair of texts."""
    return _is_many(value) and all(isinstance(one, str) or all(_is_many(turn) for turn in one) for one in value)


def _opened(image: Any) -> Picture | list[Picture]:
    return [picture(one) for one in image] if _is_many(image) else picture(image)


def _repeated(value: Any, count: int | None) -> list[Any]:
    """A list as it is; anything else so many times, once where there is no list at all."""
    return list(value) if _is_many(value) else [value] * (1 if count is None else count)
