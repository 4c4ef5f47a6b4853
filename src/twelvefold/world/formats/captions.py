"""Captions: Karpathy's files for COCO and Flickr30k, and COCO's own ``captions_{train,val}2014.json``."""

from __future__ import annotations

from typing import Final

from twelvefold.world.formats.official import AnnotationShard, Layout
from twelvefold.world.formats.source_image import URL, SourceImage, coco_file, file_info
from twelvefold.world.text.captions import Caption, generate_captions, generate_marked_captions
from twelvefold.world.text.lexicon import tokenize

KARPATHY_COCO, KARPATHY_FLICKR = "coco/dataset_coco.json", "flickr30k/dataset_flickr30k.json"
LICENSES: Final = [{"url": URL, "id": 1, "name": "Apache License 2.0"}]
_INFO: Final = file_info("Captions of the embedded world, in the format of COCO 2014.", "2017/09/01")
_HEAD: Final = {"info": _INFO, "licenses": LICENSES}
LAYOUTS: Final = (
    Layout(KARPATHY_COCO, "fields", {"dataset": "coco"}, ("images",)),
    Layout(KARPATHY_FLICKR, "fields", {"dataset": "flickr30k"}, ("images",)),
    *(
        Layout(f"coco/captions_{folder}.json", "fields", _HEAD, ("images", "annotations"))
        for folder in ("train2014", "val2014")
    ),
)

MIN_CAPTIONS, MAX_CAPTIONS = 5, 7
"""COCO has five captions of most images and six or seven of some; Flickr30k has five of each."""


def coco_image(image: SourceImage) -> dict[str, object]:
    """Return an image's entry in COCO's lists of images."""
    planned, scene = image.planned, image.scene
    return {
        "license": 1,
        "file_name": coco_file(planned),
        "coco_url": f"{URL}/{planned.coco_folder}/{coco_file(planned)}",
        "height": scene.height,
        "width": scene.width,
        "date_captured": "2013-11-14 11:18:45",
        "flickr_url": f"{URL}/flickr/{planned.coco_id}.jpg",
        "id": planned.coco_id,
    }


def write_coco(image: SourceImage, shard: AnnotationShard) -> int:
    """Add an image's captions to both files and return their number."""
    planned = image.planned
    has_more = image.split("coco") in ("train", "restval") and not planned.is_tested
    count = MIN_CAPTIONS + (planned.index % (MAX_CAPTIONS - MIN_CAPTIONS + 1) if has_more else 0)
    captions = generate_captions(image.scene, image.rng("coco"), count, style="coco")
    ids = [planned.index * (MAX_CAPTIONS + 1) + number + 1 for number in range(len(captions))]
    entry = _karpathy_entry(image, "coco", coco_file(planned), captions, ids)
    shard.add(KARPATHY_COCO, {"filepath": planned.coco_folder, "cocoid": planned.coco_id, **entry}, "images")
    path = f"coco/captions_{planned.coco_folder}.json"
    shard.add(path, coco_image(image), "images")
    for id_, caption in zip(ids, captions, strict=True):
        shard.add(path, {"image_id": planned.coco_id, "id": id_, "caption": caption}, "annotations")
    return len(captions)


def flickr_captions(image: SourceImage) -> tuple[str, ...]:
    """Return the five captions of a Flickr30k image, which are also SNLI-VE's premises."""
    return tuple(caption.text for caption in marked_flickr_captions(image))


def marked_flickr_captions(image: SourceImage) -> tuple[Caption, ...]:
    """Return the captions of a Flickr30k image with what their phrases are about."""
    return generate_marked_captions(image.scene, image.rng("flickr30k"), MIN_CAPTIONS, style="flickr")


def write_flickr(image: SourceImage, shard: AnnotationShard) -> int:
    """Add an image's captions and return their number."""
    captions = flickr_captions(image)
    ids = [image.planned.index * MIN_CAPTIONS + number for number in range(len(captions))]
    entry = _karpathy_entry(image, "flickr30k", f"{image.planned.name}.jpg", captions, ids)
    shard.add(KARPATHY_FLICKR, entry, "images")
    return len(captions)


def _karpathy_entry(
    image: SourceImage, task: str, filename: str, captions: tuple[str, ...], ids: list[int]
) -> dict[str, object]:
    index = image.planned.index
    return {
        "sentids": ids,
        "filename": filename,
        "imgid": index,
        "split": image.split(task),
        "sentences": [
            {"tokens": list(tokenize(caption)), "raw": caption, "imgid": index, "sentid": id_}
            for id_, caption in zip(ids, captions, strict=True)
        ],
    }
