"""Ask a model: ``twelvefold.load()`` returns a :class:`Predictor`. Paper: section 5, Fig. 3.

Every method takes one input or a list of them and returns one prediction or a list. They all call
:meth:`Predictor.answer`, as the REST server does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import IO, Any, TypedDict, Unpack, overload

import torch
from numpy.typing import NDArray
from torch import Tensor

from twelvefold.config import default_tasks as tasks
from twelvefold.data.tokenizer import Tokenizer
from twelvefold.detectors.interface import RegionDetector
from twelvefold.families import Family, answers, grounding, retrieval, verification
from twelvefold.images import ImageSource
from twelvefold.model import Model
from twelvefold.model.feature_statistics import FeatureStatistics
from twelvefold.model.twin_encoder import TwinEncoder
from twelvefold.schema import Regions, TaskSpec, TwelvefoldError, did_you_mean
from twelvefold.serving.box_inputs import BoxFormat, check_box_format, read_boxes, split_boxes
from twelvefold.serving.dialogue import split_dialogues
from twelvefold.serving.inference import InferenceContext, answer_requests, prepare_requests
from twelvefold.serving.model_info import ModelInfo
from twelvefold.serving.region_cache import RegionCache
from twelvefold.serving.request import (
    AnswerOptions,
    Request,
    check_phrases,
    check_request,
    describe,
    find_task,
    open_image,
    read_each,
    read_options,
    read_text,
    split_images,
    split_texts,
    to_items,
)
from twelvefold.serving.result import Prediction

# A text is itself a sequence of texts. Where both overloads of a method fit, the first one is meant: single inputs.
# mypy: disable-error-code="overload-overlap"

ImageInput = ImageSource | IO[bytes] | Tensor
"""An image in any form that :func:`twelvefold.serving.request.open_image` opens."""
ImageInputs = ImageInput | Iterable[ImageInput]
Texts = str | Iterable[str]
Boxes = NDArray[Any] | Tensor | Iterable[Any]
"""Boxes of a request, or for each request its boxes: :func:`twelvefold.serving.box_inputs.split_boxes`."""
Turn = Iterable[str] | Mapping[str, str]
Dialogue = str | Iterable[Turn]
Predictions = Prediction | list[Prediction]


class Options(TypedDict, total=False):
    """Options of every method: the number of answers (by either name), and whether to return attention weights."""

    top: int | None
    top_k: int | None
    explain: bool


class TaskOptions(Options, total=False):
    """Options of the methods that several tasks can answer."""

    task: str


class SearchOptions(TaskOptions, total=False):
    """Options of a search in images."""

    shortlist: int


class BoxOptions(Options, total=False):
    """Options of the methods that take boxes."""

    box_format: BoxFormat


class Predictor:
    """A model with the detector whose regions it was trained on. Several threads may use it at once.

    network: the model. about: its name, tasks, scores, temperatures and training data. categories: names of the
    detector's categories. context: the network, its device and what else inference needs.
    """

    def __init__(
        self,
        network: Model,
        detector: RegionDetector,
        about: ModelInfo,
        device: torch.device,
        statistics: FeatureStatistics | None = None,
        twin: TwinEncoder | None = None,
    ) -> None:
        """``statistics``: of the training images, to lower the confidence about images of another kind. ``twin``: makes
        shortlists."""
        self.network = network.to(device).eval()
        twin = twin if twin is None else twin.to(device)
        self.about = about
        self.device = device
        self.categories = detector.categories
        self.context = InferenceContext(
            self.network, device, Tokenizer(), about.temperatures, detector.categories, statistics, twin
        )
        self._regions = RegionCache(detector)

    def __repr__(self) -> str:
        return f"<{self.about.name}: {self.about.parameters:,} parameters, tasks {', '.join(self.about.tasks)}>"

    @torch.inference_mode()
    def answer(self, requests: Iterable[Request]) -> list[Prediction]:
        """Answer requests to any tasks, in order.

        Raises:
            TwelvefoldError: the model has no such task, or a request is invalid; no request is answered then.
        """
        requests = to_items(requests, "requests", "a list of Request")
        for i, request in enumerate(requests):
            if not isinstance(request, Request):
                raise TwelvefoldError(f"requests[{i}]: expected a Request, got {describe(request)}")
        specs = [self.task_spec(request.task) for request in requests]
        for request, spec in zip(requests, specs, strict=True):
            check_request(request, spec)
        prepared = prepare_requests(requests, specs, self._regions, self.context.tokenizer)
        return answer_requests(self.context, prepared)

    def has_regions(self, digest: str) -> bool:
        """Return whether the regions of the image with that digest are cached."""
        return digest in self._regions

    def detect(self, images: Iterable[ImageInput]) -> list[Regions]:
        """Return the detected regions of each image, best first; they are cached for the next request.

        Raises:
            TwelvefoldError: it is no list of images, or one cannot be opened.
        """
        items = to_items(images, "images", "a list of images")
        return self._regions.detect(read_each(items, None, "images", open_image))

    @overload
    def ask(self, image: ImageInput, question: str, **options: Unpack[TaskOptions]) -> Prediction: ...
    @overload
    def ask(self, image: ImageInputs, question: Texts, **options: Unpack[TaskOptions]) -> list[Prediction]: ...
    def ask(
        self,
        image: ImageInputs,
        question: Texts,
        *,
        task: str = tasks.ASK,
        top: int | None = None,
        top_k: int | None = None,
        explain: bool = False,
    ) -> Predictions:
        """Answer a question from the task's list of answers. Tasks: vqav2, gqa, vgqa.

        Each answer is judged separately: its probability is that of being correct, so they may sum to more than one.
        """
        options = read_options(top, top_k, explain)
        return self._answer_each(answers.FAMILY, task, {"image": image}, {"question": question}, options)

    @overload
    def find(self, text: str, images: Iterable[ImageInput], **options: Unpack[SearchOptions]) -> Prediction: ...
    @overload
    def find(
        self, text: Iterable[str], images: Iterable[ImageInput], **options: Unpack[SearchOptions]
    ) -> list[Prediction]: ...
    def find(
        self,
        text: Texts,
        images: Iterable[ImageInput],
        *,
        task: str = tasks.FIND,
        top: int | None = None,
        top_k: int | None = None,
        explain: bool = False,
        shortlist: int = 0,
    ) -> Predictions:
        """Rank images by how well a text describes them; ``found`` has them, best first. Tasks: coco, flickr30k.

        Probabilities sum to one over these images. With ``shortlist`` only so many of them are compared, which the twin
        encoder chooses (``twelvefold index train``): the ranking and the sum are those of the shortlist.
        """
        options = read_options(top, top_k, explain)
        find_task(task, retrieval.FAMILY, self.network.tasks)
        sources, texts = split_images(images, "images"), split_texts(text, "text")
        if sources is None:
            raise TwelvefoldError(f"images: a search needs a list of images, got {describe(images)}")
        captions = read_each(texts, text, "text", read_text)
        pool = tuple(read_each(sources, None, "images", open_image))
        predictions = self.answer([Request(task, pool, each, **options, shortlist=shortlist) for each in captions])
        return predictions[0] if texts is None else predictions

    @overload
    def point(self, image: ImageInput, phrase: str, **options: Unpack[TaskOptions]) -> Prediction: ...
    @overload
    def point(self, image: ImageInputs, phrase: Texts, **options: Unpack[TaskOptions]) -> list[Prediction]: ...
    def point(
        self,
        image: ImageInputs,
        phrase: Texts,
        *,
        task: str = tasks.POINT,
        top: int | None = None,
        top_k: int | None = None,
        explain: bool = False,
    ) -> Predictions:
        """Point at the detected region that a phrase describes. Tasks: refcoco, refcoco+, refcocog."""
        options = read_options(top, top_k, explain)
        return self._answer_each(grounding.FAMILY, task, {"image": image}, {"phrase": phrase}, options)

    @overload
    def choose(
        self, image: ImageInput, question: str, boxes: Boxes | None = ..., **options: Unpack[BoxOptions]
    ) -> Prediction: ...
    @overload
    def choose(
        self, image: ImageInputs, question: Texts, boxes: Boxes | None = ..., **options: Unpack[BoxOptions]
    ) -> list[Prediction]: ...
    def choose(
        self,
        image: ImageInputs,
        question: Texts,
        boxes: Boxes | None = None,
        *,
        box_format: BoxFormat = "xyxy",
        top: int | None = None,
        top_k: int | None = None,
        explain: bool = False,
    ) -> Predictions:
        """Answer a "which" question with one of the boxes, by default the detected regions. Task: visual7w.

        ``box_format``: ``xyxy`` or ``xywh`` in pixels, ``xyxy_unit`` or ``xywh_unit`` in shares of the image's sides.
        """
        options = read_options(top, top_k, explain)
        candidates = boxes, check_box_format(box_format, boxes)
        text = {"question": question}
        return self._answer_each(grounding.FAMILY, tasks.CHOOSE, {"image": image}, text, options, candidates)

    @overload
    def guess(
        self, image: ImageInput, dialogue: Dialogue, boxes: Boxes | None = ..., **options: Unpack[BoxOptions]
    ) -> Prediction: ...
    @overload
    def guess(
        self,
        image: ImageInputs,
        dialogue: Dialogue | Iterable[Dialogue],
        boxes: Boxes | None = ...,
        **options: Unpack[BoxOptions],
    ) -> list[Prediction]: ...
    def guess(
        self,
        image: ImageInputs,
        dialogue: Any,
        boxes: Boxes | None = None,
        *,
        box_format: BoxFormat = "xyxy",
        top: int | None = None,
        top_k: int | None = None,
        explain: bool = False,
    ) -> Predictions:
        """Guess the object that a dialogue is about, among boxes or the detected regions. Task: guesswhat.

        ``dialogue``: (question, answer) pairs, dicts with ``question`` and ``answer``, or a text; or a list of such
        dialogues. ``box_format``: as in :meth:`choose`.
        """
        options = read_options(top, top_k, explain)
        candidates = boxes, check_box_format(box_format, boxes)
        images = split_images(image, "image")
        text = {"dialogue": split_dialogues(dialogue, with_list=images is not None)}
        image = image if images is None else images  # a generator can be read only once
        return self._answer_each(grounding.FAMILY, tasks.GUESS, {"image": image}, text, options, candidates)

    @overload
    def compare(
        self, image_a: ImageInput, image_b: ImageInput, statement: str, **options: Unpack[Options]
    ) -> Prediction: ...
    @overload
    def compare(
        self, image_a: ImageInputs, image_b: ImageInputs, statement: Texts, **options: Unpack[Options]
    ) -> list[Prediction]: ...
    def compare(
        self,
        image_a: ImageInputs,
        image_b: ImageInputs,
        statement: Texts,
        *,
        top: int | None = None,
        top_k: int | None = None,
        explain: bool = False,
    ) -> Predictions:
        """Decide whether a statement is true of two images, the left and the right one. Task: nlvr2."""
        options = read_options(top, top_k, explain)
        images, text = {"image_a": image_a, "image_b": image_b}, {"statement": statement}
        return self._answer_each(verification.FAMILY, tasks.COMPARE, images, text, options)

    @overload
    def entails(self, image: ImageInput, statement: str, **options: Unpack[Options]) -> Prediction: ...
    @overload
    def entails(self, image: ImageInputs, statement: Texts, **options: Unpack[Options]) -> list[Prediction]: ...
    def entails(
        self,
        image: ImageInputs,
        statement: Texts,
        *,
        top: int | None = None,
        top_k: int | None = None,
        explain: bool = False,
    ) -> Predictions:
        """Decide whether an image entails a statement, contradicts it, or neither. Task: snli_ve."""
        options = read_options(top, top_k, explain)
        return self._answer_each(
            verification.FAMILY, tasks.ENTAILS, {"image": image}, {"statement": statement}, options
        )

    def ground(
        self,
        image: ImageInput,
        caption: str,
        phrases: Iterable[str],
        *,
        task: str = tasks.POINT,
        top: int | None = None,
        top_k: int | None = None,
        explain: bool = False,
    ) -> list[Prediction]:
        """Return a prediction with boxes for each phrase of a caption. Tasks: refcoco, refcoco+, refcocog.

        Raises:
            TwelvefoldError: a phrase is not part of the caption, or there is none.
        """
        options = read_options(top, top_k, explain)
        checked = check_phrases(phrases, caption)
        find_task(task, grounding.FAMILY, self.network.tasks)
        if split_images(image, "image") is not None:
            raise TwelvefoldError("image: ground takes one image, got a list")
        opened = (open_image(image),)
        return self.answer([Request(task, opened, phrase, **options) for phrase in checked])

    def task_spec(self, name: str) -> TaskSpec:
        """Return the task of that name.

        Raises:
            TwelvefoldError: the model has no such task.
        """
        if not isinstance(name, str) or name not in self.network.tasks:
            name = str(name)
            known = ", ".join(self.network.tasks) or "none"
            raise TwelvefoldError(
                f"the model has no task {name!r}; it has {known}{did_you_mean(name, self.network.tasks)}"
            )
        return self.network.tasks[name]

    def _answer_each(
        self,
        family: Family,
        task: str,
        images: Mapping[str, Any],
        text: Mapping[str, Any],
        options: AnswerOptions,
        candidates: tuple[Any, BoxFormat] = (None, "xyxy"),
    ) -> Predictions:
        """Answer one request, or one for each element of the lists; a single value goes with every element.

        ``images`` and ``text``: values by the name of their argument. ``candidates``: boxes and their format.
        """
        find_task(task, family, self.network.tasks, num_images=len(images))
        lists = {name: split_images(value, name) for name, value in images.items()}
        lists |= {name: split_texts(value, name) for name, value in text.items()}
        lengths = {name: len(items) for name, items in lists.items() if items is not None}
        if len(set(lengths.values())) > 1:
            each = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise TwelvefoldError(f"all lists must have the same length, got {each}")
        count = next(iter(lengths.values()), None)
        boxes, box_format = candidates
        box_lists = None if boxes is None else split_boxes(boxes, count)
        texts = {name: read_each(lists[name], value, name, read_text) for name, value in text.items()}
        opened = {name: read_each(lists[name], value, name, open_image) for name, value in images.items()}
        requests = []
        for i in range(1 if count is None else count):
            request_images = tuple(values[i % len(values)] for values in opened.values())
            [request_text] = (values[i % len(values)] for values in texts.values())
            request_boxes = None if box_lists is None else box_lists[i]
            boxes_px = read_boxes(request_boxes, request_images[0], box_format) if request_boxes else ()
            requests.append(Request(task, request_images, request_text, boxes_px, **options))
        predictions = self.answer(requests)
        return predictions[0] if count is None else predictions
