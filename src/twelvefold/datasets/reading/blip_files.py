"""Read ALBEF's and BLIP's caption files, for users who have those instead of Karpathy's.

``coco_karpathy_{train,val,test}.json`` and ``flickr30k_{train,val,test}.json`` are lists of records with ``image`` (a
path) and ``caption``: a text in train, a list of texts in val and test. They have Karpathy's splits, train with
restval. Captions have no ids, so ours are ``<image>-<caption index>``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import msgspec

from twelvefold.datasets.reading.image_sources import name_examples, published_key
from twelvefold.datasets.reading.records import RecordReader, Row
from twelvefold.schema import Example, ImageKey, Pair, PositivePair


class CaptionRecord(msgspec.Struct, gc=False):
    image: str
    caption: msgspec.Raw


def read_captions(reader: RecordReader, source: str, max_images: int = 0) -> Iterator[Row]:
    """Yield a row per caption. ``source``: of the images. ``max_images``: images to read, 0 for all."""
    num_captions = Counter[ImageKey]()
    for record, item in reader.items("", CaptionRecord):
        key = published_key(item.image, source)
        if bytes(item.caption).startswith(b"["):
            captions = reader.nested_values(f"{record}.caption", item.caption, str)
        else:
            captions = [reader.decode(f"{record}.caption", item.caption, str)]
        if key is None or not captions:
            reader.reject(
                record, f"expected an image like {name_examples(source)} and captions, got {item.image!r:.80}"
            )
            continue
        if 0 < max_images <= len(num_captions) and key not in num_captions:
            continue
        for caption in captions:
            id_ = f"{key.id}-{num_captions[key]}"
            num_captions[key] += 1
            if caption is not None:
                yield reader, record, Example(id_, (Pair(key, caption.strip()),), PositivePair(0))
