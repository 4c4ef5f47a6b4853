"""Ask a model: ``twelvefold.load()`` returns a :class:`Predictor`. Paper: section 4.5, Fig. 3.

Every method takes one input or a list of them and returns one prediction or a list. They all call
:meth:`Predictor.answer`, as the REST server does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict, Unpack, overload

import torch

from twelvefold.config import default_tasks as tasks
from twelvefold.data.tokenizer import Tokenizer
from twelvefold.detectors.interface import RegionDetector
from twelvefold.families import Family, answers, grounding, retrieval, verification
from twelvefold.images import ImageSource, InputImage, load_image
from twelvefold.model import Model
from twelvefold.schema import Box, Regions, TaskSpec, TwelvefoldError, did_you_mean
from twelvefold.serving.inference import InferenceContext, answer_requests, prepare_requests
from twelvefold.serving.model_info import ModelInfo
from twelvefold.serving.region_cache import RegionCache
from twelvefold.serving.request import Request, check_phrases, check_request, dialogue_text, find_task
from twelvefold.serving.result import Prediction

# A text is itself a sequence of texts. Where both overloads of a method fit, the first one is meant: single inputs.
# mypy: disable-error-code="overload-overlap"

ImageSources = ImageSource | Sequence[ImageSource]
Texts = str | Sequence[str]
Boxes = Sequence[Box]
BoxLists = Boxes | Sequence[Boxes]
Dialogue = str | Sequence[tuple[str, str]]
Predictions = Prediction | list[Prediction]


class Options(TypedDict, total=False):
    """Options of every method: the number of answers, and whether to return attention weights."""

    top: int
    explain: bool


class TaskOptions(Options, total=False):
    """Options of the methods that several tasks can answer."""

    task: str


class Predictor:
    """A model with the detector whose regions it was trained on. Several threads may use it at once.

    network: the model. about: its name, tasks, scores, temperatures and training data. categories: names of the
    detector's categories. context: the network, its device and what else inference needs.
    """

    def __init__(self, network: Model, detector: RegionDetector, about: ModelInfo, device: torch.device) -> None:
        self.network = network.to(device).eval()
        self.about = about
        self.device = device
        self.categories = detector.categories
        self.context = InferenceContext(self.network, device, Tokenizer(), about.temperatures)
        self._regions = RegionCache(detector)

    def __repr__(self) -> str:
        return f"<{self.about.name}: {self.about.parameters:,} parameters, tasks {', '.join(self.about.tasks)}>"

    @torch.inference_mode()
    def answer(self, requests: Sequence[Request]) -> list[Prediction]:
        """Answer requests to any tasks, in order.

        Raises:
            TwelvefoldError: the model has no such task, or a request is invalid; no request is answered then.
        """
        specs = [self.task_spec(request.task) for request in requests]
        for request, spec in zip(requests, specs, strict=True):
            check_request(request, spec)
        prepared = prepare_requests(requests, specs, self._regions, self.context.tokenizer)
        return answer_requests(self.context, prepared)

    def detect(self, images: Sequence[InputImage]) -> list[Regions]:
        """Return the detected regions of each image, best first; they are cached for the next request."""
        return self._regions.detect(images)

    @overload
    def ask(self, image: ImageSource, question: str, **options: Unpack[TaskOptions]) -> Prediction: ...
    @overload
    def ask(self, image: ImageSources, question: Texts, **options: Unpack[TaskOptions]) -> list[Prediction]: ...
    def ask(
        self, image: ImageSources, question: Texts, *, task: str = tasks.ASK, top: int = 5, explain: bool = False
    ) -> Predictions:
        """Answer a question from the task's list of answers. Tasks: vqav2, gqa, vgqa.

        Each answer has an independent probability of being correct; they need not sum to one.
        """
        return self._answer_each(answers.FAMILY, task, [image], question, top=top, explain=explain)

    @overload
    def find(self, text: str, images: Sequence[ImageSource], **options: Unpack[TaskOptions]) -> Prediction: ...
    @overload
    def find(
        self, text: Sequence[str], images: Sequence[ImageSource], **options: Unpack[TaskOptions]
    ) -> list[Prediction]: ...
    def find(
        self, text: Texts, images: Sequence[ImageSource], *, task: str = tasks.FIND, top: int = 5, explain: bool = False
    ) -> Predictions:
        """Rank images by how well a text describes them; ``found`` has them, best first. Tasks: coco, flickr30k.

        Probabilities sum to one over these images.
        """
        find_task(task, retrieval.FAMILY, self.network.tasks)
        if not _is_list(images):
            raise TwelvefoldError(f"a search needs a list of images, got {type(images).__name__}")
        pool = tuple(load_image(image) for image in images)
        texts = [text] if isinstance(text, str) else list(text)
        predictions = self.answer([Request(task, pool, caption, top=top, explain=explain) for caption in texts])
        return predictions[0] if isinstance(text, str) else predictions

    @overload
    def point(self, image: ImageSource, phrase: str, **options: Unpack[TaskOptions]) -> Prediction: ...
    @overload
    def point(self, image: ImageSources, phrase: Texts, **options: Unpack[TaskOptions]) -> list[Prediction]: ...
    def point(
        self, image: ImageSources, phrase: Texts, *, task: str = tasks.POINT, top: int = 5, explain: bool = False
    ) -> Predictions:
        """Point at the detected region that a phrase describes. Tasks: refcoco, refcoco+, refcocog."""
        return self._answer_each(grounding.FAMILY, task, [image], phrase, top=top, explain=explain)

    @overload
    def choose(
        self, image: ImageSource, question: str, boxes: Boxes | None = ..., **options: Unpack[Options]
    ) -> Prediction: ...
    @overload
    def choose(
        self, image: ImageSources, question: Texts, boxes: BoxLists | None = ..., **options: Unpack[Options]
    ) -> list[Prediction]: ...
    def choose(
        self,
        image: ImageSources,
        question: Texts,
        boxes: BoxLists | None = None,
        *,
        top: int = 5,
        explain: bool = False,
    ) -> Predictions:
        """Answer a "which" question with one of the boxes, by default the detected regions. Task: visual7w."""
        return self._answer_each(grounding.FAMILY, tasks.CHOOSE, [image], question, boxes, top=top, explain=explain)

    @overload
    def guess(
        self, image: ImageSource, dialogue: Dialogue, boxes: Boxes | None = ..., **options: Unpack[Options]
    ) -> Prediction: ...
    @overload
    def guess(
        self,
        image: ImageSources,
        dialogue: Dialogue | Sequence[Dialogue],
        boxes: BoxLists | None = ...,
        **options: Unpack[Options],
    ) -> list[Prediction]: ...
    def guess(
        self, image: ImageSources, dialogue: Any, boxes: BoxLists | None = None, *, top: int = 5, explain: bool = False
    ) -> Predictions:
        """Guess the object that a dialogue is about, among boxes or the detected regions. Task: guesswhat.

        ``dialogue``: (question, answer) pairs, or a text; or a list of such dialogues.
        """
        texts = [dialogue_text(each) for each in dialogue] if _are_dialogues(dialogue) else dialogue_text(dialogue)
        return self._answer_each(grounding.FAMILY, tasks.GUESS, [image], texts, boxes, top=top, explain=explain)

    @overload
    def compare(
        self, image_a: ImageSource, image_b: ImageSource, statement: str, **options: Unpack[Options]
    ) -> Prediction: ...
    @overload
    def compare(
        self, image_a: ImageSources, image_b: ImageSources, statement: Texts, **options: Unpack[Options]
    ) -> list[Prediction]: ...
    def compare(
        self, image_a: ImageSources, image_b: ImageSources, statement: Texts, *, top: int = 5, explain: bool = False
    ) -> Predictions:
        """Decide whether a statement is true of two images, the left and the right one. Task: nlvr2."""
        images = [image_a, image_b]
        return self._answer_each(verification.FAMILY, tasks.COMPARE, images, statement, top=top, explain=explain)

    @overload
    def entails(self, image: ImageSource, statement: str, **options: Unpack[Options]) -> Prediction: ...
    @overload
    def entails(self, image: ImageSources, statement: Texts, **options: Unpack[Options]) -> list[Prediction]: ...
    def entails(self, image: ImageSources, statement: Texts, *, top: int = 5, explain: bool = False) -> Predictions:
        """Decide whether an image entails a statement, contradicts it, or neither. Task: snli_ve."""
        return self._answer_each(verification.FAMILY, tasks.ENTAILS, [image], statement, top=top, explain=explain)

    def ground(
        self,
        image: ImageSource,
        caption: str,
        phrases: Sequence[str],
        *,
        task: str = tasks.POINT,
        top: int = 5,
        explain: bool = False,
    ) -> list[Prediction]:
        """Return a prediction with boxes for each phrase of a caption. Tasks: refcoco, refcoco+, refcocog.

        Raises:
            TwelvefoldError: a phrase is not part of the caption.
        """
        check_phrases(phrases, caption)
        find_task(task, grounding.FAMILY, self.network.tasks)
        opened = (load_image(image),)
        return self.answer([Request(task, opened, phrase, top=top, explain=explain) for phrase in phrases])

    def task_spec(self, name: str) -> TaskSpec:
        """Return the task of that name.

        Raises:
            TwelvefoldError: the model has no such task.
        """
        if name not in self.network.tasks:
            known = ", ".join(self.network.tasks) or "none"
            raise TwelvefoldError(
                f"the model has no task {name!r}; it has {known}{did_you_mean(name, self.network.tasks)}"
            )
        return self.network.tasks[name]

    def _answer_each(
        self, family: Family, task: str, images: Sequence[Any], text: Any, boxes: Any = None, **options: Unpack[Options]
    ) -> Predictions:
        """Answer one request, or one for each element of the lists; a single value goes with every element."""
        find_task(task, family, self.network.tasks, num_images=len(images))
        lengths = {len(value) for value in [*images, text] if _is_list(value)}
        if len(lengths) > 1:
            raise TwelvefoldError(f"all lists must have the same length, got {sorted(lengths)}")
        count = lengths.pop() if lengths else None
        opened = [_repeat(_load_images(value), count) for value in images]
        texts = _repeat(text, count)
        box_lists = [boxes or ()] if count is None else [()] * count if boxes is None else list(boxes)
        if len(box_lists) != len(texts):
            raise TwelvefoldError(f"{len(texts)} questions need {len(texts)} lists of boxes, got {len(box_lists)}")
        requests = [
            Request(task, tuple(request_images), request_text, tuple(request_boxes), **options)
            for *request_images, request_text, request_boxes in zip(*opened, texts, box_lists, strict=True)
        ]
        predictions = self.answer(requests)
        return predictions[0] if count is None else predictions


def _is_list(value: object) -> bool:
    return isinstance(value, (list, tuple))


def _are_dialogues(value: Any) -> bool:
    """Return whether these are several dialogues: texts, or lists of turns, where a turn is a pair of texts."""
    return _is_list(value) and all(isinstance(each, str) or all(_is_list(turn) for turn in each) for each in value)


def _load_images(image: Any) -> InputImage | list[InputImage]:
    return [load_image(each) for each in image] if _is_list(image) else load_image(image)


def _repeat(value: Any, count: int | None) -> list[Any]:
    """Return a list unchanged, and any other value ``count`` times (once if None)."""
    return list(value) if _is_list(value) else [value] * (1 if count is None else count)
