"""Captions: Karpathy's files for COCO and Flickr30k, and COCO's own ``captions_{train,val}2014.json``."""

from __future__ import annotations

from typing import Final, Literal

from twelvefold.world.formats.official import AnnotationShard, Layout
from twelvefold.world.formats.source_image import URL, SourceImage, coco_file, how_many
from twelvefold.world.text.annotations import Caption
from twelvefold.world.text.captions import generate_captions

KARPATHY_COCO, KARPATHY_FLICKR = "coco/dataset_coco.json", "flickr30k/dataset_flickr30k.json"
LICENSES: Final = [{"url": URL, "id": 1, "name": "Apache License 2.0"}]
_INFO: Final = {
    "description": "Captions of the embedded world, in the format of COCO 2014.",
    "url": URL, "version": "1.0", "year": 2014, "contributor": "twelvefold", "date_created": "2017/09/01",
}  # fmt: skip
LAYOUTS: Final = (
    Layout(KARPATHY_COCO, "fields", {"dataset": "coco"}, ("images",)),
    Layout(KARPATHY_FLICKR, "fields", {"dataset": "flickr30k"}, ("images",)),
    *(
        Layout(
            f"coco/captions_{folder}.json", "fields", {"info": _INFO, "licenses": LICENSES}, ("images", "annotations")
        )
        for folder in ("train2014", "val2014")
    ),
)

FEW, MANY = 5, 7
"""COCO has five captions of most pictures and six or seven of some; Flickr30k has five of each."""


def coco_image(source: SourceImage) -> dict[str, object]:
    """A picture's entry in COCO's lists of images."""
    picture, scene = source.picture, source.scene
    return {
        "license": 1,
        "file_name": coco_file(picture),
        "coco_url": f"{URL}/{picture.folder}/{coco_file(picture)}",
        "height": scene.height,
        "width": scene.width,
        "date_captured": "2013-11-14 11:18:45",
        "flickr_url": f"{URL}/flickr/{picture.coco}.jpg",
        "id": picture.coco,
    }


def write_coco(source: SourceImage, shard: AnnotationShard) -> int:
    """One picture's captions in both files; how many."""
    most = FEW + source.picture.index % (MANY - FEW + 1)
    count = how_many(source, "coco", train=most, tested=FEW, test=FEW, val=FEW)
    said = generate_captions(source.scene, source.rng("coco"), count, style="coco")
    picture = source.picture
    ids = [picture.index * (MANY + 1) + number + 1 for number in range(len(said))]
    shard.add(
        KARPATHY_COCO,
        {"filepath": picture.folder, "cocoid": picture.coco, **_karpathy(source, "coco", said, ids)},
        "images",
    )
    path = f"coco/captions_{picture.folder}.json"
    shard.add(path, coco_image(source), "images")
    for id_, caption in zip(ids, said, strict=True):
        shard.add(path, {"image_id": picture.coco, "id": id_, "caption": caption.raw}, "annotations")
    return len(said)


def flickr_captions(source: SourceImage) -> tuple[Caption, ...]:
    """The five captions of a Flickr30k picture: SNLI-VE's premises are the same."""
    return generate_captions(source.scene, source.rng("flickr30k"), FEW, style="flickr")


def write_flickr(source: SourceImage, shard: AnnotationShard) -> int:
    """One picture's captions; how many."""
    said = flickr_captions(source)
    ids = [source.picture.index * FEW + number for number in range(len(said))]
    shard.add(KARPATHY_FLICKR, _karpathy(source, "flickr30k", said, ids), "images")
    return len(said)


def _karpathy(
    source: SourceImage, task: Literal["coco", "flickr30k"], said: tuple[Caption, ...], ids: list[int]
) -> dict[str, object]:
    picture = source.picture
    return {
        "sentids": ids,
        "filename": coco_file(picture) if task == "coco" else f"{picture.name}.jpg",
        "imgid": picture.index,
        "split": source.split(task),
        "sentences": [
            {"tokens": list(caption.tokens), "raw": caption.raw, "imgid": picture.index, "sentid": id_}
            for id_, caption in zip(ids, said, strict=True)
        ],
    }
