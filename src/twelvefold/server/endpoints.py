"""The endpoints of the tasks. Each reads a form, words a request as the tasks' readers do, and says what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Form

from twelvefold.schema import Box, FamilyName, Regions
from twelvefold.server import schemas
from twelvefold.server.errors import WORDS, Refusal
from twelvefold.server.forms import Boxes, Call, Given, How, ManyPictures, OnePicture, Text, TwoPictures, Use, Wanted
from twelvefold.server.service import Answered, json_list
from twelvefold.serving.images import InputImage
from twelvefold.serving.request import Request, check_phrases, dialogue_text, find_task
from twelvefold.serving.result import Prediction

ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": schemas.Error, "description": word.replace("_", " ")}
    for status, word in WORDS.items()
    if status != 405
}

router = APIRouter(prefix="/v1", responses=ERRORS, tags=["tasks"])


@router.post("/pictures")
async def pictures(call: Use, given: OnePicture) -> schemas.Seen:
    """Send a picture once, see what the detector finds in it, and ask about it by its `picture` from then on."""
    [picture] = given.pictures
    answered = await call.service.ask(given.pictures)
    [regions] = answered.regions
    return schemas.Seen(
        **_picture(picture).model_dump(),
        request_id=call.request_id,
        regions=_regions(regions, call.service.predictor.categories),
        seconds=given.seconds + answered.detect,
    )


@router.post("/ask")
async def ask(
    call: Use, given: OnePicture, question: Text, how: Wanted, task: Annotated[str, Form()] = "vqav2"
) -> schemas.Answer:
    """Answer a question about a picture. Tasks: `vqav2`, `gqa`, `vgqa`."""
    return await _answer(call, task, "answers", given, call.service.text("question", question), how)


@router.post("/find")
async def find(
    call: Use, given: ManyPictures, text: Text, how: Wanted, task: Annotated[str, Form()] = "coco"
) -> schemas.Answer:
    """Rank pictures by how well a text describes them: `name` is a place in `pictures`. Tasks: `coco`, `flickr30k`."""
    return await _answer(call, task, "retrieval", given, call.service.text("text", text), how)


@router.post("/point")
async def point(
    call: Use, given: OnePicture, phrase: Text, how: Wanted, task: Annotated[str, Form()] = "refcoco"
) -> schemas.Answer:
    """Point at the thing that a phrase means. Tasks: `refcoco`, `refcoco+`, `refcocog`."""
    return await _answer(call, task, "grounding", given, call.service.text("phrase", phrase), how)


@router.post("/choose")
async def choose(call: Use, given: OnePicture, question: Text, how: Wanted, boxes: Boxes = "") -> schemas.Answer:
    """Answer a "which" question by one of the boxes. Task: `visual7w`."""
    text, among = call.service.text("question", question), call.service.boxes(boxes)
    return await _answer(call, "visual7w", "grounding", given, text, how, among)


@router.post("/guess")
async def guess(
    call: Use,
    given: OnePicture,
    dialogue: Annotated[str, Form(min_length=1, description="JSON list of [question, answer]; or a text")],
    how: Wanted,
    boxes: Boxes = "",
) -> schemas.Answer:
    """Guess the thing that a dialogue is about. Task: `guesswhat`."""
    call.service.text("dialogue", dialogue)
    turns: Any = json_list("dialogue", dialogue) if dialogue.lstrip().startswith("[") else dialogue
    if not isinstance(turns, str) and not all(isinstance(turn, list) for turn in turns):
        raise Refusal(422, 'dialogue: each turn is ["question", "answer"]')
    text, among = dialogue_text(turns), call.service.boxes(boxes)
    return await _answer(call, "guesswhat", "grounding", given, text, how, among)


@router.post("/compare")
async def compare(call: Use, given: TwoPictures, statement: Text, how: Wanted) -> schemas.Answer:
    """Say whether a statement is true of two pictures, the left (a) and the right one (b). Task: `nlvr2`."""
    return await _answer(call, "nlvr2", "verification", given, call.service.text("statement", statement), how)


@router.post("/entails")
async def entails(call: Use, given: OnePicture, statement: Text, how: Wanted) -> schemas.Answer:
    """Say whether a picture entails a statement, contradicts it, or leaves it open. Task: `snli_ve`."""
    return await _answer(call, "snli_ve", "verification", given, call.service.text("statement", statement), how)


@router.post("/ground")
async def ground(
    call: Use,
    given: OnePicture,
    caption: Text,
    phrases: Annotated[str, Form(min_length=1, description="JSON list of phrases that stand in the caption")],
    how: Wanted,
    task: Annotated[str, Form()] = "refcoco",
) -> schemas.Grounded:
    """A box for each phrase of a caption. Tasks: `refcoco`, `refcoco+`, `refcocog`."""
    call.service.text("caption", caption)
    wanted = _phrases(json_list("phrases", phrases), caption, call.service.settings.max_phrases)
    find_task(task, "grounding", call.service.predictor.network.tasks.values())
    asked = [Request(task, given.pictures, phrase, top=how.top, explain=how.explain) for phrase in wanted]
    answered = await call.service.ask(given.pictures, asked)
    call.said |= {"task": task, "phrases": len(wanted)}
    found = [
        schemas.Phrase(phrase=phrase, ranked=_ranked(one), notes=[*one.notes], attention=_attention(one))
        for phrase, one in zip(wanted, answered.predictions, strict=True)
    ]
    return schemas.Grounded(
        request_id=call.request_id,
        task=task,
        ranked=[
            schemas.RankedOut.of(one.best, phrase)
            for phrase, one in zip(wanted, answered.predictions, strict=True)
            if one.ranked
        ],
        pictures=[_picture(picture) for picture in given.pictures],
        phrases=found,
        seconds=_seconds(given, answered),
    )


async def _answer(
    call: Call, task: str, family: FamilyName, given: Given, text: str, how: How, boxes: tuple[Box, ...] = ()
) -> schemas.Answer:
    pairs = None if family == "retrieval" else len(given.pictures)
    find_task(task, family, call.service.predictor.network.tasks.values(), num_images=pairs)
    request = Request(task, given.pictures, text, boxes, how.top, how.explain)
    answered = await call.service.ask(given.pictures, [request])
    [prediction] = answered.predictions
    call.said |= {"task": task, "pictures": len(given.pictures)}
    return schemas.Answer(
        request_id=call.request_id,
        task=prediction.task,
        ranked=_ranked(prediction),
        pictures=[_picture(picture) for picture in given.pictures],
        candidates_px=[[*box] for box in prediction.candidates_px],
        notes=[*prediction.notes],
        attention=_attention(prediction),
        seconds=_seconds(given, answered),
    )


def _phrases(values: Sequence[object], caption: str, most: int) -> list[str]:
    phrases = [value for value in values if isinstance(value, str) and value.strip()]
    if not phrases or len(phrases) < len(values):
        raise Refusal(422, "phrases: expected a JSON list of texts, at least one, none empty")
    if len(phrases) > most:
        raise Refusal(422, f"phrases: at most {most}, got {len(phrases)}")
    check_phrases(phrases, caption)
    return phrases


def _ranked(prediction: Prediction) -> list[schemas.RankedOut]:
    return [schemas.RankedOut.of(one) for one in prediction.ranked]


def _attention(prediction: Prediction) -> list[schemas.AttentionOut] | None:
    maps = prediction.to_dict()["attention"]
    return maps and [schemas.AttentionOut(**one) for one in maps]


def _picture(picture: InputImage) -> schemas.PictureOut:
    return schemas.PictureOut(picture=picture.digest, width=picture.width, height=picture.height)


def _seconds(given: Given, answered: Answered) -> schemas.Seconds:
    return schemas.Seconds(decode=given.seconds, queue=answered.queue, detect=answered.detect, answer=answered.answer)


def _regions(regions: Regions, kinds: Sequence[str]) -> list[schemas.RegionOut]:
    boxes = regions.boxes_px.tolist()
    if regions.class_probs is None:
        return [schemas.RegionOut(box_px=box, kind="", probability=None) for box in boxes]
    probabilities = regions.class_probs.astype(np.float32)
    likeliest = probabilities.argmax(axis=1)
    return [
        schemas.RegionOut(
            box_px=box, kind=kinds[kind] if kind < len(kinds) else "", probability=min(1.0, float(row[kind]))
        )
        for box, kind, row in zip(boxes, likeliest.tolist(), probabilities, strict=True)
    ]
