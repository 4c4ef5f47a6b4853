"""The endpoints of the tasks: each reads a form, asks the model and returns its answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, Form

from twelvefold.config import default_tasks
from twelvefold.families import Family, answers, grounding, retrieval, verification
from twelvefold.schema import Regions
from twelvefold.server import schemas
from twelvefold.server.errors import ERROR_CODES, ApiError
from twelvefold.server.forms import (
    BoxesField,
    BoxFormatField,
    Call,
    ImageList,
    ImagePair,
    Options,
    SearchImages,
    SingleImage,
    TaskField,
    TextField,
    check_form,
)
from twelvefold.server.service import ClientAnswer
from twelvefold.serving.box_inputs import BoxFormat
from twelvefold.serving.dialogue import dialogue_text, parse_dialogue
from twelvefold.serving.request import Request, check_phrases, check_request, find_task, parse_json

ERROR_RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": schemas.Error, "description": code.replace("_", " ")}
    for status, code in ERROR_CODES.items()
    if status != 405
}

router = APIRouter(prefix="/v1", responses=ERROR_RESPONSES, tags=["tasks"], dependencies=[Depends(check_form)])


@router.post("/pictures")
async def pictures(call: SingleImage) -> schemas.DetectedRegions:
    """Send an image once, get its detected regions, and refer to it by its `picture` in later requests."""
    [image] = call.images
    answer = await call.service.answer(call.images)
    return schemas.DetectedRegions(
        picture=image.digest,
        width=image.width,
        height=image.height,
        request_id=call.request_id,
        regions=_regions_out(answer.regions[0], call.service.predictor.categories),
        seconds=call.seconds + answer.seconds["detect"],
    )


@router.post("/ask")
async def ask(
    call: SingleImage, question: TextField, options: Options, task: TaskField = default_tasks.ASK
) -> schemas.Answer:
    """Answer a question about an image. Tasks: `vqav2`, `gqa`, `vgqa`."""
    return await _answer(call, answers.FAMILY, task, ("question", question), options)


@router.post("/find")
async def find(
    call: SearchImages, text: TextField, options: Options, task: TaskField = default_tasks.FIND
) -> schemas.Answer:
    """Rank images by how well a text describes them; `name` is an index in `pictures`. Tasks: `coco`, `flickr30k`."""
    return await _answer(call, retrieval.FAMILY, task, ("text", text), options)


@router.post("/point")
async def point(
    call: SingleImage, phrase: TextField, options: Options, task: TaskField = default_tasks.POINT
) -> schemas.Answer:
    """Point at the object that a phrase describes. Tasks: `refcoco`, `refcoco+`, `refcocog`."""
    return await _answer(call, grounding.FAMILY, task, ("phrase", phrase), options)


@router.post("/choose")
async def choose(
    call: SingleImage,
    question: TextField,
    options: Options,
    boxes: BoxesField = "",
    box_format: BoxFormatField = "xyxy",
) -> schemas.Answer:
    """Answer a "which" question with one of the boxes. Task: `visual7w`."""
    candidates = boxes, box_format
    return await _answer(call, grounding.FAMILY, default_tasks.CHOOSE, ("question", question), options, candidates)


@router.post("/guess")
async def guess(
    call: SingleImage,
    dialogue: Annotated[str, Form(min_length=1, description="JSON list of [question, answer]; or a text")],
    options: Options,
    boxes: BoxesField = "",
    box_format: BoxFormatField = "xyxy",
) -> schemas.Answer:
    """Guess the object that a dialogue is about. Task: `guesswhat`."""
    call.service.check_text("dialogue", dialogue)
    text = dialogue_text(parse_dialogue(dialogue)) if dialogue.lstrip().startswith(("[", "{")) else dialogue
    candidates = boxes, box_format
    return await _answer(call, grounding.FAMILY, default_tasks.GUESS, ("dialogue", text), options, candidates)


@router.post("/compare")
async def compare(call: ImagePair, statement: TextField, options: Options) -> schemas.Answer:
    """Decide whether a statement is true of two images, the left (a) and the right one (b). Task: `nlvr2`."""
    return await _answer(call, verification.FAMILY, default_tasks.COMPARE, ("statement", statement), options)


@router.post("/entails")
async def entails(call: SingleImage, statement: TextField, options: Options) -> schemas.Answer:
    """Decide whether an image entails a statement, contradicts it, or neither. Task: `snli_ve`."""
    return await _answer(call, verification.FAMILY, default_tasks.ENTAILS, ("statement", statement), options)


@router.post("/ground")
async def ground(
    call: SingleImage,
    caption: TextField,
    phrases: Annotated[str, Form(min_length=1, description="JSON list of phrases of the caption")],
    options: Options,
    task: TaskField = default_tasks.POINT,
) -> schemas.Grounded:
    """Find a box for each phrase of a caption. Tasks: `refcoco`, `refcoco+`, `refcocog`."""
    call.service.check_text("caption", caption)
    checked = _parse_phrases(phrases, caption, call.service.settings.max_phrases)
    find_task(task, grounding.FAMILY, call.service.predictor.network.tasks)
    answer = await call.service.answer(call.images, [Request(task, call.images, text, **options) for text in checked])
    call.log_fields.update(task=task, phrases=len(checked))
    results = [
        {"phrase": phrase, **prediction.to_dict()}
        for phrase, prediction in zip(checked, answer.predictions, strict=True)
    ]
    best = [result["ranked"][0] | {"name": result["phrase"]} for result in results if result["ranked"]]
    return schemas.Grounded(**_result(call, answer) | {"ranked": best, "phrases": results})


@router.post("/answer")
async def answer(
    call: ImageList,
    task: Annotated[str, Form(min_length=1)],
    options: Options,
    text: Annotated[str, Form()] = "",
    texts: Annotated[str, Form(description="JSON list of texts to choose from, instead of `text`")] = "",
    boxes: BoxesField = "",
    box_format: BoxFormatField = "xyxy",
) -> schemas.Answer:
    """Ask any task of the model, also one of your own; `forms` of `/v1/model` lists them with their inputs."""
    spec = call.service.predictor.task_spec(task)
    choices = parse_json(texts, list[str], "texts", "of texts to choose from") if texts else []
    for each in (text, *choices):
        call.service.check_text("text", each)
    boxes_px = call.service.parse_boxes(boxes, call.images[0], box_format)
    request = Request(spec.name, call.images, text, boxes_px, texts=tuple(choices), **options)
    check_request(request, spec)
    result = await call.service.answer(call.images, [request])
    call.log_fields.update(task=spec.name, pictures=len(call.images))
    return schemas.Answer(**_result(call, result))


async def _answer(
    call: Call,
    family: Family,
    task: str,
    text: tuple[str, str],
    options: dict[str, Any],
    candidates: tuple[str, BoxFormat] = ("", "xyxy"),
) -> schemas.Answer:
    """Answer one question. ``text``: its field in the form, and the text. ``candidates``: boxes and their format."""
    call.service.check_text(*text)
    boxes_px = call.service.parse_boxes(candidates[0], call.images[0], candidates[1])
    num_images = None if family.searches_images else len(call.images)
    find_task(task, family, call.service.predictor.network.tasks, num_images=num_images)
    answer = await call.service.answer(call.images, [Request(task, call.images, text[1], boxes_px, **options)])
    call.log_fields.update(task=task, pictures=len(call.images))
    return schemas.Answer(**_result(call, answer))


def _result(call: Call, answer: ClientAnswer) -> dict[str, Any]:
    """Return the fields of a response from the first prediction, and those that all responses share."""
    shared = {"request_id": call.request_id, "seconds": {"decode": call.seconds, **answer.seconds}}
    return answer.predictions[0].to_dict() | shared


def _parse_phrases(text: str, caption: str, limit: int) -> list[str]:
    expected = "of texts, at least one, none empty"
    phrases = check_phrases(parse_json(text, list[str], "phrases", expected), caption)
    if len(phrases) > limit:
        raise ApiError(422, f"phrases: at most {limit}, got {len(phrases)}")
    return phrases


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
