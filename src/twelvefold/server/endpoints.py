"""The endpoints of the tasks: each reads a form, asks the model and returns its answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Form

from twelvefold.config import default_tasks
from twelvefold.families import Family, answers, grounding, retrieval, verification
from twelvefold.images import InputImage
from twelvefold.schema import Box, Regions
from twelvefold.server import schemas
from twelvefold.server.errors import ERROR_CODES, ApiError
from twelvefold.server.forms import (
    AnswerOptions,
    BoxesField,
    Call,
    CurrentCall,
    ImageList,
    ImagePair,
    Options,
    ReceivedImages,
    SingleImage,
    TaskField,
    TextField,
)
from twelvefold.server.service import ClientAnswer, parse_json_list
from twelvefold.serving.request import Request, check_phrases, dialogue_text, find_task
from twelvefold.serving.result import Prediction

ERROR_RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": schemas.Error, "description": code.replace("_", " ")}
    for status, code in ERROR_CODES.items()
    if status != 405
}

router = APIRouter(prefix="/v1", responses=ERROR_RESPONSES, tags=["tasks"])


@router.post("/pictures")
async def pictures(call: CurrentCall, received: SingleImage) -> schemas.DetectedRegions:
    """Send an image once, get its detected regions, and refer to it by its `picture` in later requests."""
    [image] = received.images
    answer = await call.service.answer(received.images)
    [regions] = answer.regions
    return schemas.DetectedRegions(
        **_image_out(image).model_dump(),
        request_id=call.request_id,
        regions=_regions_out(regions, call.service.predictor.categories),
        seconds=received.seconds + answer.detect,
    )


@router.post("/ask")
async def ask(
    call: CurrentCall, received: SingleImage, question: TextField, options: Options, task: TaskField = default_tasks.ASK
) -> schemas.Answer:
    """Answer a question about an image. Tasks: `vqav2`, `gqa`, `vgqa`."""
    return await _answer(call, task, answers.FAMILY, received, call.service.check_text("question", question), options)


@router.post("/find")
async def find(
    call: CurrentCall, received: ImageList, text: TextField, options: Options, task: TaskField = default_tasks.FIND
) -> schemas.Answer:
    """Rank images by how well a text describes them; `name` is an index in `pictures`. Tasks: `coco`, `flickr30k`."""
    return await _answer(call, task, retrieval.FAMILY, received, call.service.check_text("text", text), options)


@router.post("/point")
async def point(
    call: CurrentCall, received: SingleImage, phrase: TextField, options: Options, task: TaskField = default_tasks.POINT
) -> schemas.Answer:
    """Point at the object that a phrase describes. Tasks: `refcoco`, `refcoco+`, `refcocog`."""
    return await _answer(call, task, grounding.FAMILY, received, call.service.check_text("phrase", phrase), options)


@router.post("/choose")
async def choose(
    call: CurrentCall, received: SingleImage, question: TextField, options: Options, boxes: BoxesField = ""
) -> schemas.Answer:
    """Answer a "which" question with one of the boxes. Task: `visual7w`."""
    text, candidates = call.service.check_text("question", question), call.service.parse_boxes(boxes)
    return await _answer(call, default_tasks.CHOOSE, grounding.FAMILY, received, text, options, candidates)


@router.post("/guess")
async def guess(
    call: CurrentCall,
    received: SingleImage,
    dialogue: Annotated[str, Form(min_length=1, description="JSON list of [question, answer]; or a text")],
    options: Options,
    boxes: BoxesField = "",
) -> schemas.Answer:
    """Guess the object that a dialogue is about. Task: `guesswhat`."""
    call.service.check_text("dialogue", dialogue)
    turns: Any = parse_json_list("dialogue", dialogue) if dialogue.lstrip().startswith("[") else dialogue
    if not isinstance(turns, str) and not all(isinstance(turn, list) for turn in turns):
        raise ApiError(422, 'dialogue: each turn is ["question", "answer"]')
    text, candidates = dialogue_text(turns), call.service.parse_boxes(boxes)
    return await _answer(call, default_tasks.GUESS, grounding.FAMILY, received, text, options, candidates)


@router.post("/compare")
async def compare(call: CurrentCall, received: ImagePair, statement: TextField, options: Options) -> schemas.Answer:
    """Decide whether a statement is true of two images, the left (a) and the right one (b). Task: `nlvr2`."""
    text = call.service.check_text("statement", statement)
    return await _answer(call, default_tasks.COMPARE, verification.FAMILY, received, text, options)


@router.post("/entails")
async def entails(call: CurrentCall, received: SingleImage, statement: TextField, options: Options) -> schemas.Answer:
    """Decide whether an image entails a statement, contradicts it, or neither. Task: `snli_ve`."""
    text = call.service.check_text("statement", statement)
    return await _answer(call, default_tasks.ENTAILS, verification.FAMILY, received, text, options)


@router.post("/ground")
async def ground(
    call: CurrentCall,
    received: SingleImage,
    caption: TextField,
    phrases: Annotated[str, Form(min_length=1, description="JSON list of phrases of the caption")],
    options: Options,
    task: TaskField = default_tasks.POINT,
) -> schemas.Grounded:
    """Find a box for each phrase of a caption. Tasks: `refcoco`, `refcoco+`, `refcocog`."""
    call.service.check_text("caption", caption)
    checked = _check_phrases(parse_json_list("phrases", phrases), caption, call.service.settings.max_phrases)
    find_task(task, grounding.FAMILY, call.service.predictor.network.tasks.values())
    requests = [Request(task, received.images, text, top=options.top, explain=options.explain) for text in checked]
    answer = await call.service.answer(received.images, requests)
    call.log_fields |= {"task": task, "phrases": len(checked)}
    pairs = list(zip(checked, answer.predictions, strict=True))
    return schemas.Grounded(
        request_id=call.request_id,
        task=task,
        ranked=[schemas.RankedOut.of(prediction.best, phrase) for phrase, prediction in pairs if prediction.ranked],
        pictures=[_image_out(image) for image in received.images],
        phrases=[
            schemas.Phrase(
                phrase=phrase,
                ranked=_ranked_out(prediction),
                notes=[*prediction.notes],
                attention=_attention_out(prediction),
            )
            for phrase, prediction in pairs
        ],
        seconds=_seconds(received, answer),
    )


async def _answer(
    call: Call,
    task: str,
    family: Family,
    received: ReceivedImages,
    text: str,
    options: AnswerOptions,
    boxes_px: tuple[Box, ...] = (),
) -> schemas.Answer:
    num_images = None if family.searches_images else len(received.images)
    find_task(task, family, call.service.predictor.network.tasks.values(), num_images=num_images)
    request = Request(task, received.images, text, boxes_px, options.top, options.explain)
    answer = await call.service.answer(received.images, [request])
    [prediction] = answer.predictions
    call.log_fields |= {"task": task, "pictures": len(received.images)}
    return schemas.Answer(
        request_id=call.request_id,
        task=prediction.task,
        ranked=_ranked_out(prediction),
        pictures=[_image_out(image) for image in received.images],
        candidates_px=[[*box] for box in prediction.candidates_px],
        notes=[*prediction.notes],
        attention=_attention_out(prediction),
        seconds=_seconds(received, answer),
    )


def _check_phrases(values: Sequence[object], caption: str, limit: int) -> list[str]:
    phrases = [value for value in values if isinstance(value, str) and value.strip()]
    if not phrases or len(phrases) < len(values):
        raise ApiError(422, "phrases: expected a JSON list of texts, at least one, none empty")
    if len(phrases) > limit:
        raise ApiError(422, f"phrases: at most {limit}, got {len(phrases)}")
    check_phrases(phrases, caption)
    return phrases


def _ranked_out(prediction: Prediction) -> list[schemas.RankedOut]:
    return [schemas.RankedOut.of(rank) for rank in prediction.ranked]


def _attention_out(prediction: Prediction) -> list[schemas.AttentionOut] | None:
    return [schemas.AttentionOut(**each.to_dict()) for each in prediction.attention] or None


def _image_out(image: InputImage) -> schemas.ImageOut:
    return schemas.ImageOut(picture=image.digest, width=image.width, height=image.height)


def _seconds(received: ReceivedImages, answer: ClientAnswer) -> schemas.Seconds:
    return schemas.Seconds(decode=received.seconds, queue=answer.queue, detect=answer.detect, answer=answer.answer)


def _regions_out(regions: Regions, categories: Sequence[str]) -> list[schemas.RegionOut]:
    boxes = regions.boxes_px.tolist()
    if regions.class_probs is None:
        return [schemas.RegionOut(box_px=box, kind="", probability=None) for box in boxes]
    probabilities = regions.class_probs.astype(np.float32)
    best = probabilities.argmax(axis=1).tolist()
    return [
        schemas.RegionOut(
            box_px=box,
            kind=categories[index] if index < len(categories) else "",
            probability=min(1.0, float(row[index])),
        )
        for box, index, row in zip(boxes, best, probabilities, strict=True)
    ]
