"""From checked requests to predictions: the collation, network and decoding of training and evaluation, in batches.

Paper: section 3.2, Eqs. 1-4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from twelvefold import families, schema
from twelvefold.batch import Batch
from twelvefold.data.collate import collate, pictures_alone
from twelvefold.data.region_inputs import RegionSource
from twelvefold.data.tokenizer import Tokens
from twelvefold.families import retrieval
from twelvefold.model import Model
from twelvefold.schema import Box, Example, Pair, Regions, TaskSpec
from twelvefold.serving.attention_weights import Attention, attention_of
from twelvefold.serving.images import Picture
from twelvefold.serving.region_cache import Sight
from twelvefold.serving.request import GIVEN_CANDIDATES, Request, candidates, key
from twelvefold.serving.result import Prediction
from twelvefold.store.regions_in_memory import RegionsInMemory

PAIRS_AT_ONCE = 64
"""Image-text pairs of a batch: with the paper's 101 regions of 2,048 numbers, 53 MB of features."""
EXPLAINED_AT_ONCE = 8
"""Pairs of a batch whose attention is kept: 95 MB for the paper's model, the longest text and 120 regions."""
POOL_AT_ONCE = 256
"""Pictures of a search that are read together: 212 MB of the paper's features."""

NOTHING_SEEN = "The detector found nothing in the picture to point at; give boxes to choose from."
UNSEEN = "The detector found nothing in {}, so the answer rests on the text more than on what is to be seen."


@dataclass(frozen=True, slots=True)
class Asked:
    """A request with all that is known before the network runs. ``ids``: the text's word pieces, uncut."""

    request: Request
    spec: TaskSpec
    example: Example
    ids: list[int]


@dataclass(frozen=True, slots=True)
class Work:
    """What a batch of requests is answered from."""

    network: Model
    device: torch.device
    tokens: Tokens
    temperatures: Mapping[str, float]
    source: RegionSource

    def head(self, spec: TaskSpec) -> schema.HeadSpec:
        return self.network.head_specs[spec.head]

    def temperature(self, spec: TaskSpec) -> float:
        """What the task's logits are divided by; 1 where it was not fitted."""
        return self.temperatures.get(spec.name, 1.0)

    def batch(self, asked: Sequence[Asked]) -> Batch:
        """The requests of one task as a batch, where the network computes."""
        ids = [one.ids for one in asked for _ in one.example.pairs]
        spec = asked[0].spec
        batch = collate([one.example for one in asked], ids, self.source, spec, self.head(spec))
        return batch.to(self.device)


def regions_of(requests: Sequence[Request], sight: Sight) -> tuple[RegionSource, list[tuple[Box, ...]]]:
    """Every picture's regions, and each request's candidate boxes (empty where it points at what was detected)."""
    pictures = {picture.digest: picture for request in requests for picture in request.pictures}
    boxes = [candidates(request) for request in requests]
    asked: dict[str, tuple[Picture, list[Box]]] = {}
    for request, given in zip(requests, boxes, strict=True):
        if given:
            asked.setdefault(request.pictures[0].digest, (request.pictures[0], []))[1].extend(given)
    looked_at = sight.look_at(asked)
    seen = dict(zip(pictures, sight.see(list(pictures.values())), strict=True))
    size = sight.detector.feature_size
    detected, known = RegionsInMemory(size), RegionsInMemory(size)
    for digest, picture in pictures.items():
        detected.add(key(picture), seen[digest])
    for i, request in enumerate(requests):
        picture = request.pictures[0]
        regions = looked_at.get(picture.digest)
        if request.task in GIVEN_CANDIDATES and not boxes[i]:
            boxes[i] = box_tuples(seen[picture.digest])
            regions = seen[picture.digest] if regions is None else together(regions, seen[picture.digest])
        if regions is not None and (request.task in GIVEN_CANDIDATES or boxes[i]):
            known.add(key(picture), together(known[key(picture)], regions) if key(picture) in known else regions)
    return RegionSource(detected, known), boxes


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of one request. ``attention``: where it asked for it."""

    ranked: tuple[schema.Ranked, ...]
    attention: tuple[Attention, ...] = ()


def answer(work: Work, asked: Sequence[Asked]) -> list[Prediction]:
    """What the network says of each request, in their order; requests of one task are read together."""
    answers: dict[int, Answered] = {}
    alike: dict[tuple[str, bool], list[int]] = {}
    for i, one in enumerate(asked):
        alike.setdefault((one.spec.name, one.request.explain), []).append(i)
    for (_, explain), places in alike.items():
        spec = asked[places[0]].spec
        if spec.family == "retrieval":
            answers.update(_search(work, asked, places))
            continue
        by_length = sorted(places, key=lambda i: len(asked[i].ids))  # texts of like length need the least padding
        size = max(1, (EXPLAINED_AT_ONCE if explain else PAIRS_AT_ONCE) // spec.pairs_per_example)
        for start in range(0, len(by_length), size):
            part = by_length[start : start + size]
            answers.update(zip(part, _decoded(work, [asked[i] for i in part], explain), strict=True))
    return [_prediction(work, one, answers[i]) for i, one in enumerate(asked)]


def _decoded(work: Work, asked: Sequence[Asked], explain: bool) -> list[Answered]:
    spec, batch = asked[0].spec, work.batch(asked)
    top = max(one.request.top for one in asked)
    attention: list[tuple[Attention, ...]] = [()] * len(asked)
    if explain:
        logits, looks = work.network.explained(batch)
        attention = attention_of(work.network, work.tokens, batch, looks, [range(spec.pairs_per_example)] * len(asked))
    else:
        logits = work.network(batch)
    decoded = families.of(spec.family).decode(logits, batch, work.head(spec), top, work.temperature(spec))
    return [Answered(said.ranked, where) for said, where in zip(decoded, attention, strict=True)]


def _search(work: Work, asked: Sequence[Asked], places: Sequence[int]) -> dict[int, Answered]:
    """Captions of one task; those that search the same pictures share the reading of them."""
    pools: dict[tuple[str, ...], list[int]] = {}
    for i in places:
        pools.setdefault(tuple(picture.digest for picture in asked[i].request.pictures), []).append(i)
    found: dict[int, Answered] = {}
    for same in pools.values():
        pictures = asked[same[0]].request.pictures
        captions = [asked[i] for i in same]
        scores = torch.cat(
            [
                alignments(work, captions, pictures[start : start + POOL_AT_ONCE])
                for start in range(0, len(pictures), POOL_AT_ONCE)
            ],
            dim=1,
        )
        names = [str(place) for place in range(len(pictures))]
        top = max(one.request.top for one in captions)
        ids = [one.example.id for one in captions]
        spec = captions[0].spec
        ranked = retrieval.decode_pool(scores, ids, names, spec.name, top, work.temperature(spec))
        attention = [_best_pair(work, one, said.ranked) for one, said in zip(captions, ranked, strict=True)]
        found.update({i: Answered(r.ranked, a) for i, r, a in zip(same, ranked, attention, strict=True)})
    return found


def _best_pair(work: Work, one: Asked, ranked: Sequence[schema.Ranked]) -> tuple[Attention, ...]:
    """Of a search: where a caption and the picture that was found looked at each other, if that is asked for."""
    if not one.request.explain:
        return ()
    best = int(ranked[0].name)
    batch = work.batch([Asked(one.request, one.spec, _of(one.request.pictures[best], one.request.text), one.ids)])
    [attention] = attention_of(work.network, work.tokens, batch, work.network.explained(batch)[1], [[best]])
    return attention


def alignments(work: Work, captions: Sequence[Asked], pictures: Sequence[Picture]) -> Tensor:
    """(captions, pictures): how well each text goes with each picture. Paper: Eq. 2."""
    spec = captions[0].spec
    texts = [Asked(one.request, spec, _of(one.request.pictures[0], one.request.text), one.ids) for one in captions]
    images = pictures_alone([key(picture) for picture in pictures], work.source, spec, work.head(spec))
    return work.network.alignments(work.batch(texts), images.to(work.device)).cpu()


def _of(picture: Picture, text: str) -> Example:
    return Example(picture.digest, (Pair(key(picture), text),), None)


def _prediction(work: Work, one: Asked, said: Answered) -> Prediction:
    request, spec = one.request, one.spec
    return Prediction(
        task=spec.name,
        family=spec.family,
        ranked=said.ranked[: request.top],
        pictures=request.pictures,
        text=request.text.strip(),
        candidates_px=one.example.pairs[0].candidates_px if request.boxes_px else (),
        notes=tuple(_notes(work, one, said.ranked)),
        attention=said.attention,
    )


def _notes(work: Work, one: Asked, ranked: Sequence[schema.Ranked]) -> list[str]:
    notes = []
    room = one.spec.max_tokens - 2
    if len(one.ids) > room:
        read = work.tokens.text(one.ids[:room])
        notes.append(f"The text is longer than this task reads; it was cut after: {read[-60:]!r}.")
    unknown = unknown_words(one.request.text, work.network.word_pieces, work.tokens)
    if unknown:
        notes.append(f"Words that the model never saw in training: {', '.join(unknown)}.")
    if not ranked:
        notes.append(NOTHING_SEEN)
    elif one.spec.family in ("answers", "verification"):
        empty = [not len(work.source.detected[pair.image].boxes_px) for pair in one.example.pairs]
        if any(empty):
            which = "the picture" if len(empty) == 1 else "either picture" if all(empty) else "one of the pictures"
            notes.append(UNSEEN.format(which))
    return notes


def unknown_words(text: str, known: Sequence[int], tokens: Tokens) -> list[str]:
    """The words of a text of which a piece has no row of its own in the model, once each, in their order."""
    if not known:  # every piece has a row
        return []
    rows = set(known)
    words = list(dict.fromkeys(word.strip(".,;:!?\"'()").lower() for word in text.split()))
    return [word for word, ids in zip(words, tokens.many(words), strict=True) if any(id_ not in rows for id_ in ids)]


def together(one: Regions, other: Regions) -> Regions:
    """Both pictures' regions, one after the other; of one picture, without class probabilities."""
    return Regions(
        np.concatenate([one.boxes_px, other.boxes_px]),
        np.concatenate([one.features, other.features]),
        one.width,
        one.height,
    )


def box_tuples(regions: Regions) -> tuple[Box, ...]:
    """The boxes as plain numbers."""
    return tuple((x1, y1, x2, y2) for x1, y1, x2, y2 in regions.boxes_px.tolist())
