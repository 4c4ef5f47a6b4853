"""SNLI-VE's files: a premise (a Flickr30k caption), a hypothesis and a label, one a line."""

from __future__ import annotations

from typing import Final

from twelvefold.world.formats.captions import flickr_captions
from twelvefold.world.formats.official import AnnotationShard, Layout
from twelvefold.world.formats.source_image import SourceImage, how_many
from twelvefold.world.text.snli_ve import generate_hypotheses

LAYOUTS: Final = tuple(Layout(f"snli_ve/snli_ve_{split}.jsonl", "lines") for split in ("train", "dev", "test"))

TRAIN, TESTED, TEST, VAL = 16, 7, 13, 13


def write(source: SourceImage, shard: AnnotationShard) -> int:
    """One picture's hypotheses; how many."""
    count = how_many(source, "snli_ve", train=TRAIN, tested=TESTED, test=TEST, val=VAL)
    premises = flickr_captions(source)
    said = generate_hypotheses(source.scene, premises, source.rng("snli_ve"), count)
    for number, h in enumerate(said):
        premise = premises[h.premise].raw.strip()
        caption_id = f"{source.picture.name}.jpg#{h.premise}"
        record = {
            "Flikr30kID": f"{source.picture.name}.jpg",  # so spelled by the publishers
            "annotator_labels": list(h.annotator_labels),
            "captionID": caption_id,
            "gold_label": h.label,
            "pairID": f"{caption_id}r{number + 1}{h.label[0]}",
            "sentence1": premise,
            "sentence1_binary_parse": _binary(premise),
            "sentence1_parse": f"(ROOT (S {_leaves(premise)}))",
            "sentence2": h.sentence,
            "sentence2_binary_parse": _binary(h.sentence),
            "sentence2_parse": f"(ROOT (S {_leaves(h.sentence)}))",
        }
        shard.add(f"snli_ve/snli_ve_{source.split('snli_ve')}.jsonl", record)
    return len(said)


def _words(sentence: str) -> list[str]:
    return sentence.replace(",", " ,").replace(".", " .").split()


def _binary(sentence: str) -> str:
    """A right-branching tree: it has the published shape, and says nothing of grammar."""
    *front, last = _words(sentence)
    return "".join(f"( {word} " for word in front) + last + " )" * len(front)


def _leaves(sentence: str) -> str:
    return " ".join(f"(X {word})" for word in _words(sentence))
