"""From checked requests to answers: batches, forward passes and decoding as in training and evaluation.

Paper: section 3.2, Eqs. 1-4.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from twelvefold import schema
from twelvefold.batch import Batch
from twelvefold.data.collate import TokenIds, make_batch
from twelvefold.data.region_inputs import RegionRows, assemble_rows
from twelvefold.data.tokenizer import Tokenizer
from twelvefold.families import Family, load_family
from twelvefold.families.shared.probabilities import decode_names, lower_probabilities
from twelvefold.model import Model
from twelvefold.model.feature_statistics import FeatureStatistics
from twelvefold.model.packing import PackedStates
from twelvefold.model.twin_encoder import TwinEncoder, require_twin_encoder
from twelvefold.schema import Box, Regions, TaskSpec
from twelvefold.serving.attention_weights import Attention, collect_attention
from twelvefold.serving.box_inputs import clip_boxes
from twelvefold.serving.region_cache import RegionCache
from twelvefold.serving.request import Request, lists_candidates
from twelvefold.serving.result import Prediction
from twelvefold.store.region_arrays import mean_feature

BATCH_PAIRS = 64
"""Image-text pairs of a batch: 53 MB of features with the paper's 101 regions of 2,048 numbers."""
EXPLAIN_BATCH_PAIRS = 8
"""Pairs of a batch that returns attention: 95 MB for the paper's model, the longest text and 120 regions."""
SEARCH_BATCH_IMAGES = 256
"""Images of a search that are read together: 212 MB of the paper's features."""

NO_CANDIDATES_NOTE = "The detector found nothing in the image to point at; give boxes to choose from."
NO_REGIONS_NOTE = "The detector found nothing in {}, so the answer depends mostly on the text."

SHORTLIST_NOTE = "Only the images that the twin encoder ranks first were compared: {:,} of {:,}."

UNUSUAL_IMAGE_NOTE = "{} {} unlike the images that the model was trained on: the answer is little better than a guess."

# Temperatures make probabilities match accuracy on images and texts like those of training. About a photograph, a model
# of drawings is just as sure, and wrong. There, probabilities move toward chance. Not in the paper.
UNUSUAL_IMAGE_WEIGHT = 0.1
"""Weight of the model's probability for images that are unlike the training images. A choice, not a measurement: on
photographs the drawn world's model answers at chance, and an answer between two is then shown with at most 55 %."""
UNKNOWN_WORD_WEIGHT = 0.5
"""Weight if the text has words that were not in the training data. A choice: the answer may not depend on them."""


@dataclass(frozen=True, slots=True)
class PreparedRequest:
    """A request with everything that the network reads.

    token_ids: of each text, not truncated. regions: of each image. candidates: candidate boxes with features; None if
    the task points at the detected regions or at nothing. candidates_px: the request's own boxes, clipped to the image.
    """

    request: Request
    spec: TaskSpec
    token_ids: Sequence[TokenIds]
    regions: tuple[Regions, ...]
    candidates: Regions | None
    candidates_px: tuple[Box, ...]

    def rows(self, image_index: int) -> RegionRows:
        """Return the region rows of one image."""
        return region_rows(self.regions[image_index], self.spec, self.candidates)

    @property
    def image_indices(self) -> Sequence[int]:
        """Return the index of each pair's image."""
        return [0] * len(self.token_ids) if len(self.token_ids) > 1 else range(len(self.regions))

    def pairs(self) -> list[tuple[TokenIds, RegionRows]]:
        """Return the pairs of the example: the text with each image, or each text with the image."""
        images = self.image_indices
        texts = self.token_ids if len(self.token_ids) > 1 else [*self.token_ids] * len(images)
        return [(ids, self.rows(index)) for ids, index in zip(texts, images, strict=True)]


@dataclass(frozen=True, slots=True)
class InferenceContext:
    """What all requests to a model are answered with.

    categories: names of the detector's. statistics: of the features of the training images; None if the model's folder
    has none. twin: makes shortlists for searches; None if the model's folder has none.
    """

    network: Model
    device: torch.device
    tokenizer: Tokenizer
    temperatures: Mapping[str, float]
    categories: Sequence[str] = ()
    statistics: FeatureStatistics | None = None
    twin: TwinEncoder | None = None

    def temperature(self, spec: TaskSpec) -> float:
        """Return the number by which the task's logits are divided; 1 if none was fitted."""
        return self.temperatures.get(spec.name, 1.0)

    def make_batch(
        self, spec: TaskSpec, num_examples: int, token_ids: Sequence[TokenIds], rows: Sequence[RegionRows]
    ) -> Batch:
        """Collate the pairs of examples of one task on the network's device. Example ids are their indices."""
        ids = [str(i) for i in range(num_examples)]
        return make_batch(spec, ids, token_ids, rows, self.network.config.feature_size).to(self.device)


def prepare_requests(
    requests: Sequence[Request], specs: Sequence[TaskSpec], cache: RegionCache, tokenizer: Tokenizer
) -> list[PreparedRequest]:
    """Detect regions, extract the features of candidate boxes, and tokenize.

    Raises:
        TwelvefoldError: a box is invalid.
    """
    boxes_px = [clip_boxes(request) if len(request.boxes_px) else () for request in requests]
    with_boxes = [(request.images[0], boxes) for request, boxes in zip(requests, boxes_px, strict=True) if boxes]
    at_boxes = iter(cache.extract_boxes(with_boxes))
    images = {image.digest: image for request in requests for image in request.images}
    regions = dict(zip(images, cache.detect(list(images.values())), strict=True))
    token_ids = [tokenizer.encode_batch(request.stripped_texts) for request in requests]
    prepared = []
    for request, spec, ids, boxes in zip(requests, specs, token_ids, boxes_px, strict=True):
        image_regions = tuple(regions[image.digest] for image in request.images)
        candidates = next(at_boxes) if boxes else None
        if candidates is None and load_family(spec.family).chooses_region and lists_candidates(request.task):
            candidates = image_regions[0]
        prepared.append(PreparedRequest(request, spec, ids, image_regions, candidates, boxes))
    return prepared


def region_rows(regions: Regions, spec: TaskSpec, candidates: Regions | None = None) -> RegionRows:
    """Return the rows of an image that the network reads for a task."""
    return assemble_rows(regions, mean_feature(regions), spec.max_regions, candidates)


def answer_requests(context: InferenceContext, prepared: Sequence[PreparedRequest]) -> list[Prediction]:
    """Answer every request, in order. Requests of one task share batches."""
    predictions: dict[int, Prediction] = {}
    groups: dict[tuple[str, bool, int], list[int]] = {}
    for i, item in enumerate(prepared):
        groups.setdefault((item.spec.name, item.request.explain, len(item.token_ids)), []).append(i)
    for (_, explain, num_texts), indices in groups.items():
        spec = prepared[indices[0]].spec
        if load_family(spec.family).searches_images:
            predictions |= _answer_searches(context, prepared, indices)
            continue
        # Texts of similar lengths need little padding.
        by_length = sorted(indices, key=lambda i: max(map(len, prepared[i].token_ids)))
        size = max(1, (EXPLAIN_BATCH_PAIRS if explain else BATCH_PAIRS) // max(num_texts, spec.pairs_per_example))
        for start in range(0, len(by_length), size):
            part = by_length[start : start + size]
            predictions.update(zip(part, _answer_batch(context, [prepared[i] for i in part], explain), strict=True))
    return [predictions[i] for i in range(len(prepared))]


def _answer_batch(context: InferenceContext, prepared: Sequence[PreparedRequest], explain: bool) -> list[Prediction]:
    """Run one forward pass over requests of one task and decode it."""
    spec = prepared[0].spec
    pairs = [pair for item in prepared for pair in item.pairs()]
    batch = context.make_batch(spec, len(prepared), [ids for ids, _ in pairs], [rows for _, rows in pairs])
    attention: list[tuple[Attention, ...]] = [()] * len(prepared)
    if explain:
        logits, layers = context.network.forward_with_attention(batch)
        image_indices = [item.image_indices for item in prepared]
        attention = collect_attention(context.network, context.tokenizer, batch, layers, image_indices)
    else:
        logits = context.network(batch)
    top = max(item.request.top for item in prepared)
    head = context.network.head_specs[spec.head]
    decoded = load_family(spec.family).decode(logits, batch, head, top, context.temperature(spec))
    results = zip(prepared, decoded, attention, strict=True)
    return [_make_prediction(context, item, each.ranked, weights) for item, each, weights in results]


def _answer_searches(
    context: InferenceContext, prepared: Sequence[PreparedRequest], indices: Sequence[int]
) -> dict[int, Prediction]:
    """Answer searches of one task; searches of the same images share the image stream."""
    pools: dict[tuple[int, tuple[str, ...]], list[int]] = {}
    for i in indices:
        request = prepared[i].request
        pools.setdefault((request.shortlist, tuple(image.digest for image in request.images)), []).append(i)
    predictions: dict[int, Prediction] = {}
    for (shortlist, _), members in pools.items():
        captions = [prepared[i] for i in members]
        regions, spec = captions[0].regions, captions[0].spec
        texts = caption_batch(context, spec, [item.token_ids[0] for item in captions], regions[0])
        names, top = [str(index) for index in range(len(regions))], max(item.request.top for item in captions)
        if shortlist:
            vectors = embed_images(context, spec, regions)
            rankings = rank_shortlists(context, spec, texts, regions, vectors, names, top, shortlist)
        else:
            rankings = rank_images(context, spec, texts, _image_batches(context, spec, regions), names, top)
        for i, item, ranked in zip(members, captions, rankings, strict=True):
            attention = _explain_best_image(context, item, ranked)
            predictions[i] = _make_prediction(context, item, ranked, attention)
    return predictions


def rank_images(
    context: InferenceContext,
    spec: TaskSpec,
    captions: Batch,
    blocks: Iterable[Batch | PackedStates],
    names: Sequence[str],
    top: int,
) -> list[tuple[schema.Ranked, ...]]:
    """Return the ``top`` images for each caption. ``blocks``: the images; ``names``: of each. Paper: Eq. 2."""
    scores = torch.cat([context.network.alignments(captions, block).cpu() for block in blocks], dim=1)
    temperature = context.temperature(spec)
    decoded = decode_names(scores, captions.example_ids, names, spec.name, top, temperature)
    return [each.ranked for each in decoded]


@torch.inference_mode()
def embed_images(context: InferenceContext, spec: TaskSpec, regions: Sequence[Regions]) -> Tensor:
    """Return the twin encoder's vectors of images, (M, E) float32 on the CPU.

    Raises:
        TwelvefoldError: the model has no twin encoder.
    """
    twin, batches = require_twin_encoder(context.twin, "this model"), _image_batches(context, spec, regions)
    return torch.cat([twin.image(context.network.encode_images(batch)).cpu() for batch in batches])


def rank_shortlists(
    context: InferenceContext,
    spec: TaskSpec,
    captions: Batch,
    regions: Sequence[Regions],
    vectors: Tensor,
    names: Sequence[str],
    top: int,
    size: int,
) -> list[tuple[schema.Ranked, ...]]:
    """Return the ``top`` images for each caption among the ``size`` that the twin encoder ranks first for it.

    ``regions``, ``vectors`` (M, E) and ``names``: of each image. Probabilities sum to one over a caption's shortlist.
    """
    queries = require_twin_encoder(context.twin, "this model").text(context.network.encode_texts(captions)).cpu()
    listed = (queries @ vectors.T).topk(min(size, len(names)), dim=1).indices  # (N, K)
    images, rows = listed.unique(return_inverse=True)  # (U,), (N, K)
    scores = torch.empty(listed.shape)
    for start in range(0, len(images), SEARCH_BATCH_IMAGES):
        block = images[start : start + SEARCH_BATCH_IMAGES].tolist()
        inside = (rows >= start) & (rows < start + len(block))
        pairs = torch.stack([inside.nonzero()[:, 0], rows[inside] - start], dim=1).numpy()
        batch = image_batch(context, spec, [regions[index] for index in block])
        scores[inside] = context.network.alignments(captions, batch, pairs=pairs).float().cpu()
    listed_names = [[names[index] for index in indices] for indices in listed.tolist()]
    rows_and_names = zip(torch.split(scores, 1), listed_names, strict=True)
    temperature = context.temperature(spec)
    return [decode_names(row, [""], each, spec.name, top, temperature)[0].ranked for row, each in rows_and_names]


def _image_batches(context: InferenceContext, spec: TaskSpec, regions: Sequence[Regions]) -> Iterator[Batch]:
    for start in range(0, len(regions), SEARCH_BATCH_IMAGES):
        yield image_batch(context, spec, regions[start : start + SEARCH_BATCH_IMAGES])


def _explain_best_image(
    context: InferenceContext, item: PreparedRequest, ranked: Sequence[schema.Ranked]
) -> tuple[Attention, ...]:
    """Return the attention between a caption and the best image of its search, if the request asks for it."""
    if not item.request.explain:
        return ()
    best = int(ranked[0].name)
    batch = context.make_batch(item.spec, 1, item.token_ids, [item.rows(best)])
    weights = context.network.forward_with_attention(batch)[1]
    [attention] = collect_attention(context.network, context.tokenizer, batch, weights, [[best]])
    return attention


def caption_batch(
    context: InferenceContext, spec: TaskSpec, token_ids: Sequence[TokenIds], any_image: Regions
) -> Batch:
    """Return a batch of captions for ``Model.alignments``, which ignores its images; any image will do."""
    return context.make_batch(spec, len(token_ids), token_ids, [region_rows(any_image, spec)] * len(token_ids))


def image_batch(context: InferenceContext, spec: TaskSpec, regions: Sequence[Regions]) -> Batch:
    """Return a batch of images without texts: the pool in which captions are searched."""
    return context.make_batch(spec, len(regions), [[]] * len(regions), [region_rows(each, spec) for each in regions])


def _make_prediction(
    context: InferenceContext,
    item: PreparedRequest,
    ranked: tuple[schema.Ranked, ...],
    attention: tuple[Attention, ...],
) -> Prediction:
    request, spec, ranked = item.request, item.spec, ranked[: item.request.top]
    family = load_family(spec.family)
    notes = [] if ranked else [NO_CANDIDATES_NOTE]
    max_pieces = spec.max_tokens - 2  # without [CLS] and [SEP]
    longest = max(item.token_ids, key=len)
    if len(longest) > max_pieces:
        kept = context.tokenizer.decode([*longest[:max_pieces]])
        notes.append(f"The text is longer than the task's limit; it was cut after: {kept[-60:]!r}.")
    if 0 < request.shortlist < len(item.regions):
        notes.append(SHORTLIST_NOTE.format(request.shortlist, len(item.regions)))
    # A search is as sure as it is about its best image: unusual images elsewhere in the pool take nothing from it.
    images = [item.regions[int(ranked[0].name)]] if family.searches_images and ranked else item.regions
    weight, reasons = weigh_inputs(context, family, request.stripped_texts, images)
    if weight < 1:
        ranked = lower_probabilities(ranked, weight, family.chance_probability(_num_options(context, item)))
    if family.chooses_text:
        ranked = tuple(replace(rank, name=request.stripped_texts[int(rank.name)]) for rank in ranked)
    ranked = tuple(replace(rank, label=_label(rank, item, context.categories)) for rank in ranked)
    return Prediction(
        task=spec.name,
        family=spec.family,
        ranked=ranked,
        images=request.images,
        text=request.text.strip(),
        candidates_px=item.candidates_px,
        notes=(*notes, *reasons),
        attention=attention,
        confidence_weight=weight,
    )


def _label(rank: schema.Ranked, item: PreparedRequest, categories: Sequence[str]) -> str:
    """Return what an answer is called, as :class:`schema.Ranked` states."""
    if rank.box_px is None:
        searches = load_family(item.spec.family).searches_images
        return (item.request.images[int(rank.name)].name if searches else "") or rank.name
    regions = item.regions[0] if item.candidates is None else item.candidates
    if regions.class_probs is not None:
        # The box may be clipped, so it is the nearest.
        region = int(np.abs(regions.boxes_px - np.asarray(rank.box_px, np.float32)).sum(axis=1).argmin())
        category = int(regions.class_probs[region].argmax())
        if category < len(categories):
            return categories[category]
    return item.request.text.strip()


def _num_options(context: InferenceContext, item: PreparedRequest) -> int:
    """Return the number of classes, boxes, images or texts that a request chooses from."""
    family = load_family(item.spec.family)
    if family.chooses_text:
        return len(item.request.texts)
    if family.searches_images:
        return min(item.request.shortlist or len(item.regions), len(item.regions))
    if family.chooses_region:
        rows = item.rows(0)
        return rows.num_candidates or rows.num_detected
    return len(context.network.head_specs[item.spec.head].outputs)


def weigh_inputs(
    context: InferenceContext, family: Family, texts: Sequence[str], images: Sequence[Regions]
) -> tuple[float, list[str]]:
    """Compare texts and images with the training data.

    Return the weight of the model's probabilities, 1 for usual inputs, and sentences with the reasons for less.
    """
    weight, reasons = 1.0, []
    if unknown := unknown_words(" ".join(texts), context.network.word_pieces, context.tokenizer):
        weight = UNKNOWN_WORD_WEIGHT
        reasons.append(f"Words that were not in the model's training data: {', '.join(unknown)}.")
    empty = [not len(regions.boxes_px) for regions in images]
    if family.head_kind == "classifier" and any(empty):
        weight = UNUSUAL_IMAGE_WEIGHT
        reasons.append(NO_REGIONS_NOTE.format(_name_images(empty)))
    unusual = [context.statistics is not None and context.statistics.is_unusual(regions) for regions in images]
    if any(unusual):
        weight = UNUSUAL_IMAGE_WEIGHT
        subject = "The best image" if family.searches_images else _name_images(unusual).capitalize()
        reasons.append(UNUSUAL_IMAGE_NOTE.format(subject, "are" if sum(unusual) > 1 else "is"))
    return weight, reasons


def _name_images(marked: Sequence[bool]) -> str:
    """Return the words for the marked images of a request: "the image", "both images", "one of the images"."""
    if len(marked) == 1:
        return "the image"
    return "both images" if all(marked) else "one of the images"


def unknown_words(text: str, known_ids: Sequence[int], tokenizer: Tokenizer) -> list[str]:
    """Return the distinct words with a word piece that has no embedding in the model, in their order.

    ``known_ids``: the word pieces with an embedding; empty means all.
    """
    if not known_ids:
        return []
    known = set(known_ids)
    words = list(dict.fromkeys(word.strip(".,;:!?\"'()").lower() for word in text.split()))
    encoded = tokenizer.encode_batch(words)
    return [word for word, ids in zip(words, encoded, strict=True) if any(id_ not in known for id_ in ids)]
