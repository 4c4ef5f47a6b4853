"""SNLI-VE's files: a premise (a Flickr30k caption), a hypothesis and a label per line."""

from __future__ import annotations

from typing import Final

from twelvefold.world.formats.captions import flickr_captions
from twelvefold.world.formats.official import AnnotationShard, Layout
from twelvefold.world.formats.source_image import SourceImage
from twelvefold.world.text.snli_ve import generate_hypotheses

LAYOUTS: Final = tuple(Layout(f"snli_ve/snli_ve_{split}.jsonl", "lines") for split in ("train", "dev", "test"))


def write(image: SourceImage, shard: AnnotationShard) -> int:
    """Add an image's hypotheses and return their number."""
    premises = flickr_captions(image)
    hypotheses = generate_hypotheses(image.scene, premises, image.rng("snli_ve"), image.num_examples("snli_ve"))
    for number, hypothesis in enumerate(hypotheses, start=1):
        premise = premises[hypothesis.premise].strip()
        caption_id = f"{image.planned.name}.jpg#{hypothesis.premise}"
        record = {
            "Flikr30kID": f"{image.planned.name}.jpg",  # the publishers' spelling
            "annotator_labels": list(hypothesis.annotator_labels),
            "captionID": caption_id,
            "gold_label": hypothesis.label,
            "pairID": f"{caption_id}r{number}{hypothesis.label[0]}",
            "sentence1": premise,
            "sentence1_binary_parse": _binary_parse(premise),
            "sentence1_parse": _parse(premise),
            "sentence2": hypothesis.sentence,
            "sentence2_binary_parse": _binary_parse(hypothesis.sentence),
            "sentence2_parse": _parse(hypothesis.sentence),
        }
        shard.add(f"snli_ve/snli_ve_{image.split('snli_ve')}.jsonl", record)
    return len(hypotheses)


def _words(sentence: str) -> list[str]:
    return sentence.replace(",", " ,").replace(".", " .").split()


def _binary_parse(sentence: str) -> str:
    """Return a right-branching tree. It has the published form but no grammatical meaning."""
    *front, last = _words(sentence)
    return "".join(f"( {word} " for word in front) + last + " )" * len(front)


def _parse(sentence: str) -> str:
    return f"(ROOT (S {' '.join(f'(X {word})' for word in _words(sentence))}))"
