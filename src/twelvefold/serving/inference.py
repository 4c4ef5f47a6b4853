"""From checked requests to answers: batches, forward passes and decoding as in training and evaluation.

Paper: section 3.2, Eqs. 1-4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from twelvefold import schema
from twelvefold.batch import Batch
from twelvefold.data.collate import collate, image_only_batch
from twelvefold.data.region_inputs import RegionSource
from twelvefold.data.tokenizer import Tokenizer
from twelvefold.families import load_family, retrieval
from twelvefold.model import Model
from twelvefold.schema import Box, Example, Pair, Regions, TaskSpec
from twelvefold.serving.attention_weights import Attention, collect_attention
from twelvefold.serving.images import InputImage
from twelvefold.serving.region_cache import RegionCache
from twelvefold.serving.request import Request, clip_boxes, image_key, lists_candidates
from twelvefold.serving.result import Prediction
from twelvefold.store.regions_in_memory import RegionsInMemory

BATCH_PAIRS = 64
"""Image-text pairs of a batch: 53 MB of features with the paper's 101 regions of 2,048 numbers."""
EXPLAIN_BATCH_PAIRS = 8
"""Pairs of a batch that returns attention: 95 MB for the paper's model, the longest text and 120 regions."""
SEARCH_BATCH_IMAGES = 256
"""Images of a search that are read together: 212 MB of the paper's features."""

NO_CANDIDATES_NOTE = "The detector found nothing in the image to point at; give boxes to choose from."
NO_REGIONS_NOTE = "The detector found nothing in {}, so the answer depends mostly on the text."


@dataclass(frozen=True, slots=True)
class PreparedRequest:
    """A request with its task and example. token_ids: the text's word pieces, not truncated."""

    request: Request
    spec: TaskSpec
    example: Example
    token_ids: list[int]


@dataclass(frozen=True, slots=True)
class InferenceContext:
    """What a batch of requests is answered with."""

    network: Model
    device: torch.device
    tokens: Tokenizer
    temperatures: Mapping[str, float]
    source: RegionSource

    def head(self, spec: TaskSpec) -> schema.HeadSpec:
        return self.network.head_specs[spec.head]

    def temperature(self, spec: TaskSpec) -> float:
        """Return the number by which the task's logits are divided; 1 if none was fitted."""
        return self.temperatures.get(spec.name, 1.0)

    def make_batch(self, prepared: Sequence[PreparedRequest]) -> Batch:
        """Collate requests of one task into a batch on the network's device."""
        token_ids = [item.token_ids for item in prepared for _ in item.example.pairs]
        spec = prepared[0].spec
        batch = collate([item.example for item in prepared], token_ids, self.source, spec, self.head(spec))
        return batch.to(self.device)


@dataclass(frozen=True, slots=True)
class Answers:
    """The ranked answers to one request, and its attention if requested."""

    ranked: tuple[schema.Ranked, ...]
    attention: tuple[Attention, ...] = ()


def collect_regions(requests: Sequence[Request], cache: RegionCache) -> tuple[RegionSource, list[tuple[Box, ...]]]:
    """Return the regions of every image, and the candidate boxes of each request.

    The candidates are empty if the task points at the detected regions.
    """
    images = {image.digest: image for request in requests for image in request.images}
    candidates = [clip_boxes(request) for request in requests]
    boxes_px: dict[str, tuple[InputImage, list[Box]]] = {}
    for request, boxes in zip(requests, candidates, strict=True):
        if boxes:
            boxes_px.setdefault(request.images[0].digest, (request.images[0], []))[1].extend(boxes)
    at_boxes = cache.extract_boxes(boxes_px)
    detected = dict(zip(images, cache.detect(list(images.values())), strict=True))
    feature_size = cache.detector.feature_size
    detected_store, candidate_store = RegionsInMemory(feature_size), RegionsInMemory(feature_size)
    for digest, image in images.items():
        detected_store.add(image_key(image), detected[digest])
    for i, request in enumerate(requests):
        image = request.images[0]
        key, regions = image_key(image), at_boxes.get(image.digest)
        if lists_candidates(request.task) and not candidates[i]:
            candidates[i] = box_tuples(detected[image.digest])
            regions = detected[image.digest] if regions is None else concat_regions(regions, detected[image.digest])
        if regions is not None and (lists_candidates(request.task) or candidates[i]):
            if key in candidate_store:
                regions = concat_regions(candidate_store[key], regions)
            candidate_store.add(key, regions)
    return RegionSource(detected_store, candidate_store), candidates


def answer_requests(context: InferenceContext, prepared: Sequence[PreparedRequest]) -> list[Prediction]:
    """Answer every request, in order. Requests of one task share batches."""
    answers: dict[int, Answers] = {}
    groups: dict[tuple[str, bool], list[int]] = {}
    for i, item in enumerate(prepared):
        groups.setdefault((item.spec.name, item.request.explain), []).append(i)
    for (_, explain), indices in groups.items():
        spec = prepared[indices[0]].spec
        if load_family(spec.family).searches_images:
            answers.update(_answer_searches(context, prepared, indices))
            continue
        by_length = sorted(indices, key=lambda i: len(prepared[i].token_ids))  # similar lengths need little padding
        size = max(1, (EXPLAIN_BATCH_PAIRS if explain else BATCH_PAIRS) // spec.pairs_per_example)
        for start in range(0, len(by_length), size):
            part = by_length[start : start + size]
            answers.update(zip(part, _answer_batch(context, [prepared[i] for i in part], explain), strict=True))
    return [_make_prediction(context, item, answers[i]) for i, item in enumerate(prepared)]


def _answer_batch(context: InferenceContext, prepared: Sequence[PreparedRequest], explain: bool) -> list[Answers]:
    """Run one forward pass over requests of one task and decode it."""
    spec, batch = prepared[0].spec, context.make_batch(prepared)
    top = max(item.request.top for item in prepared)
    attention: list[tuple[Attention, ...]] = [()] * len(prepared)
    if explain:
        logits, weights = context.network.forward_with_attention(batch)
        image_indices = [range(spec.pairs_per_example)] * len(prepared)
        attention = collect_attention(context.network, context.tokens, batch, weights, image_indices)
    else:
        logits = context.network(batch)
    decoded = load_family(spec.family).decode(logits, batch, context.head(spec), top, context.temperature(spec))
    return [Answers(each.ranked, maps) for each, maps in zip(decoded, attention, strict=True)]


def _answer_searches(
    context: InferenceContext, prepared: Sequence[PreparedRequest], indices: Sequence[int]
) -> dict[int, Answers]:
    """Answer searches of one task; searches of the same images share the image stream."""
    pools: dict[tuple[str, ...], list[int]] = {}
    for i in indices:
        pools.setdefault(tuple(image.digest for image in prepared[i].request.images), []).append(i)
    answers: dict[int, Answers] = {}
    for members in pools.values():
        captions = [prepared[i] for i in members]
        images, spec = captions[0].request.images, captions[0].spec
        blocks = range(0, len(images), SEARCH_BATCH_IMAGES)
        scores = torch.cat(
            [score_pairs(context, captions, images[start : start + SEARCH_BATCH_IMAGES]) for start in blocks], dim=1
        )
        names = [str(index) for index in range(len(images))]
        top = max(item.request.top for item in captions)
        ids = [item.example.id for item in captions]
        decoded = retrieval.decode_pool(scores, ids, names, spec.name, top, context.temperature(spec))
        for i, item, each in zip(members, captions, decoded, strict=True):
            answers[i] = Answers(each.ranked, _explain_best_image(context, item, each.ranked))
    return answers


def _explain_best_image(
    context: InferenceContext, item: PreparedRequest, ranked: Sequence[schema.Ranked]
) -> tuple[Attention, ...]:
    """Return the attention between a caption and the best image of its search, if the request asks for it."""
    if not item.request.explain:
        return ()
    best = int(ranked[0].name)
    example = _pair_example(item.request.images[best], item.request.text)
    batch = context.make_batch([PreparedRequest(item.request, item.spec, example, item.token_ids)])
    weights = context.network.forward_with_attention(batch)[1]
    [attention] = collect_attention(context.network, context.tokens, batch, weights, [[best]])
    return attention


def score_pairs(context: InferenceContext, captions: Sequence[PreparedRequest], images: Sequence[InputImage]) -> Tensor:
    """Return (captions, images) alignment scores. Paper: Eq. 2."""
    spec = captions[0].spec
    texts = [
        PreparedRequest(c.request, spec, _pair_example(c.request.images[0], c.request.text), c.token_ids)
        for c in captions
    ]
    image_batch = image_only_batch([image_key(image) for image in images], context.source, spec, context.head(spec))
    return context.network.alignments(context.make_batch(texts), image_batch.to(context.device)).cpu()


def _pair_example(image: InputImage, text: str) -> Example:
    return Example(image.digest, (Pair(image_key(image), text),), None)


def _make_prediction(context: InferenceContext, item: PreparedRequest, answers: Answers) -> Prediction:
    request, spec = item.request, item.spec
    return Prediction(
        task=spec.name,
        family=spec.family,
        ranked=answers.ranked[: request.top],
        images=request.images,
        text=request.text.strip(),
        candidates_px=item.example.pairs[0].candidates_px if request.boxes_px else (),
        notes=tuple(_make_notes(context, item, answers.ranked)),
        attention=answers.attention,
    )


def _make_notes(context: InferenceContext, item: PreparedRequest, ranked: Sequence[schema.Ranked]) -> list[str]:
    notes = []
    max_pieces = item.spec.max_tokens - 2  # without [CLS] and [SEP]
    if len(item.token_ids) > max_pieces:
        kept = context.tokens.decode(item.token_ids[:max_pieces])
        notes.append(f"The text is longer than the task's limit; it was cut after: {kept[-60:]!r}.")
    unknown = unknown_words(item.request.text, context.network.word_pieces, context.tokens)
    if unknown:
        notes.append(f"Words that were not in the model's training data: {', '.join(unknown)}.")
    if not ranked:
        notes.append(NO_CANDIDATES_NOTE)
    elif load_family(item.spec.family).head == "classifier":
        empty = [not len(context.source.detected[pair.image].boxes_px) for pair in item.example.pairs]
        if any(empty):
            images = "the image" if len(empty) == 1 else "both images" if all(empty) else "one of the images"
            notes.append(NO_REGIONS_NOTE.format(images))
    return notes


def unknown_words(text: str, known_ids: Sequence[int], tokens: Tokenizer) -> list[str]:
    """Return the distinct words with a word piece that has no embedding in the model, in their order.

    ``known_ids``: the word pieces with an embedding; empty means all.
    """
    if not known_ids:
        return []
    known = set(known_ids)
    words = list(dict.fromkeys(word.strip(".,;:!?\"'()").lower() for word in text.split()))
    return [
        word
        for word, ids in zip(words, tokens.encode_batch(words), strict=True)
        if any(id_ not in known for id_ in ids)
    ]


def concat_regions(first: Regions, second: Regions) -> Regions:
    """Concatenate two sets of regions of one image, without class probabilities."""
    return Regions(
        np.concatenate([first.boxes_px, second.boxes_px]),
        np.concatenate([first.features, second.features]),
        first.width,
        first.height,
    )


def box_tuples(regions: Regions) -> tuple[Box, ...]:
    """Return the boxes as tuples of floats."""
    return tuple((x1, y1, x2, y2) for x1, y1, x2, y2 in regions.boxes_px.tolist())
