"""A collection of pictures to search by text, again and again: each is looked at once. Paper: Eq. 2 over a whole pool.

What lies on disk is regions, so an index outlives its model: any model that sees with the same detector searches it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, overload

import torch
from torch import Tensor

from twelvefold.data.collate import pictures_alone
from twelvefold.data.region_inputs import RegionSource
from twelvefold.families import retrieval
from twelvefold.model.model import ImageStream
from twelvefold.progress import progress_bar
from twelvefold.schema import Example, ImageKey, Pair, Ranked, Regions, TwelvefoldError, did_you_mean
from twelvefold.serving.images import Source, picture
from twelvefold.serving.inference import Asked, Work
from twelvefold.serving.request import Request, check_text, check_top, choose_task
from twelvefold.store import atomic_files
from twelvefold.store.region_store import RegionStore, ShardWriter, finish_store
from twelvefold.store.regions_in_memory import RegionsInMemory

if TYPE_CHECKING:
    from twelvefold.serving.predictor import Predictor

MANIFEST = "index.json"
FORMAT, VERSION = "twelvefold index", 1
SHARD = 4096
"""Pictures of a shard: 826 MB of the paper's features."""
BLOCK = 256
"""Pictures whose image streams are read together: 212 MB of the paper's features."""
OPENED = 64
"""Pictures that are open at once while they are looked at: 250 MB of photographs with 1.3 megapixels."""
KEPT_BYTES = 2**30
"""Most memory for image streams that are kept between searches: 120,000 pictures of the small model (9 kB each), 2,600
of the paper's (414 kB each). Beyond it they are read again at each search: slower, the same ranking."""


class Index:
    """Pictures by name, ready to be searched. Made by :meth:`Predictor.index` or :meth:`Index.load`. One thread may
    use it at a time."""

    def __init__(self, predictor: Predictor, *, kept_bytes: int = KEPT_BYTES) -> None:
        self._predictor = predictor
        self._kept_bytes = kept_bytes
        self._keys: dict[str, ImageKey] = {}
        self._regions = RegionsInMemory(predictor.network.config.feature_size)
        self._streams: dict[tuple[int, int], ImageStream] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, name: object) -> bool:
        return name in self._keys

    def __repr__(self) -> str:
        return f"<index of {len(self):,} pictures>"

    @property
    def names(self) -> list[str]:
        """Of all pictures, in the order in which they came."""
        return list(self._keys)

    def add(self, images: Sequence[Source], *, names: Sequence[str] | None = None) -> None:
        """Look at pictures and take them up. ``names``: a path is its own name; others need one.

        Raises:
            TwelvefoldError: a name is missing or taken, or a picture can't be opened; nothing is added then.
        """
        named = self._named(images, names)
        found: dict[str, tuple[ImageKey, Regions]] = {}
        with progress_bar(description="looking at pictures", total=len(images)) as bar:
            for start in range(0, len(images), OPENED):
                part = [picture(image) for image in images[start : start + OPENED]]
                for name, one, regions in zip(named[start:], part, self._predictor.see(part), strict=False):
                    found[name] = (ImageKey("asked", one.digest), _without_kinds(regions))
                bar.advance(len(part))
        self._take(found)

    def remove(self, names: str | Iterable[str]) -> None:
        """Forget pictures.

        Raises:
            TwelvefoldError: a name is not in the index; nothing is removed then.
        """
        gone = {names} if isinstance(names, str) else set(names)
        for name in sorted(gone):
            if name not in self._keys:
                raise TwelvefoldError(f"the index has no picture {name!r}{did_you_mean(name, self._keys)}")
        kept = {name: key for name, key in self._keys.items() if name not in gone}
        regions = RegionsInMemory(self._regions.feature_size)
        for key in kept.values():
            regions.add(key, self._regions[key])
        self._keys, self._regions, self._streams = kept, regions, {}

    @overload
    def search(self, text: str, top: int = 5, *, task: str = "coco") -> tuple[Ranked, ...]: ...
    @overload
    def search(self, text: list[str], top: int = 5, *, task: str = "coco") -> list[tuple[Ranked, ...]]: ...

    @torch.inference_mode()
    def search(
        self, text: str | list[str], top: int = 5, *, task: str = "coco"
    ) -> tuple[Ranked, ...] | list[tuple[Ranked, ...]]:
        """The pictures' names that a text describes best, with probabilities over the whole index, best first; for a
        list of texts, such a ranking for each. The same as :meth:`Predictor.find` among the same pictures.

        Raises:
            TwelvefoldError: the index is empty, the model has no such task, or a text is none.
        """
        spec = choose_task(task, "retrieval", self._predictor.network.tasks.values())
        texts = text if isinstance(text, list) else [text]
        if not self._keys:
            raise TwelvefoldError("the index is empty; add pictures first")
        for one in texts:
            check_text(one, task)
        check_top(top)
        if not texts:
            return []
        work = self._predictor.work(RegionSource(self._regions))
        some = next(iter(self._keys.values()))
        ids = work.tokens.many([one.strip() for one in texts])
        asked = [
            Asked(Request(task, (), one), spec, Example(str(i), (Pair(some, one),), None), pieces)
            for i, (one, pieces) in enumerate(zip(texts, ids, strict=True))
        ]
        captions = work.batch(asked)
        blocks = range(0, len(self._keys), BLOCK)
        scores = torch.cat(
            [work.network.alignments(captions, self._stream(work, start, task)).cpu() for start in blocks], dim=1
        )
        names = [one.example.id for one in asked]
        ranked = retrieval.decode_pool(scores, names, self.names, task, top, work.temperature(spec))
        return [one.ranked for one in ranked] if isinstance(text, list) else ranked[0].ranked

    def save(self, folder: str | PathLike[str]) -> None:
        """Leave the index in a folder, whole or not at all; one that was there before is replaced.

        Raises:
            TwelvefoldError: the folder holds something else, or can't be written.
        """
        folder = Path(folder)
        if folder.exists() and not (folder / MANIFEST).exists() and any(folder.iterdir()):
            raise TwelvefoldError(f"{folder} holds something else than an index; give an empty or a new folder")
        eyes = self._predictor.about.detector
        with atomic_files.atomic_folder(folder) as made:
            keys = list(dict.fromkeys(self._keys.values()))  # one photograph may have several names
            shards = []
            for start in range(0, len(keys), SHARD):
                shards.append(f"{start // SHARD:05d}.regions")
                with ShardWriter(made / shards[-1], feature_size=self._regions.feature_size) as shard:
                    for key in keys[start : start + SHARD]:
                        shard.add(key, self._regions[key])
            finish_store(made, shards, info={"detector": eyes.digest, "max_regions": eyes.max_regions})
            pictures = {name: str(key) for name, key in self._keys.items()}
            atomic_files.write_json(made / MANIFEST, {"format": FORMAT, "version": VERSION, "pictures": pictures})

    @classmethod
    def load(cls, folder: str | PathLike[str], model: Predictor) -> Index:
        """The index of a folder, to be searched by a model.

        Raises:
            TwelvefoldError: there is none, it is broken, or it was made with another detector than the model's.
        """
        folder = Path(folder)
        again = "make the index again"
        said = atomic_files.read_manifest(folder / MANIFEST, FORMAT, VERSION, again=again)
        store = RegionStore.open(folder)
        eyes = model.about.detector
        if (store.info.get("detector"), store.info.get("max_regions")) != (eyes.digest, eyes.max_regions):
            raise TwelvefoldError(
                f"the index {folder} was made with another detector (digest {store.info.get('detector')}, at most "
                f"{store.info.get('max_regions')} regions) than the model's ({eyes.digest}, {eyes.max_regions}): "
                f"{again}"
            )
        index = cls(model)
        pictures: Mapping[str, str] = said["pictures"]
        keys = {name: ImageKey.parse(key) for name, key in pictures.items()}
        index._take({name: (key, store[key]) for name, key in keys.items()})
        return index

    def _named(self, images: Sequence[Source], names: Sequence[str] | None) -> list[str]:
        if names is None:
            for place, one in enumerate(images):
                if not isinstance(one, (str, PathLike)):
                    raise TwelvefoldError(f"picture {place} is no path, so it needs a name: names=[...]")
            named = [str(one) for one in images]
        else:
            named = list(names)
        if len(named) != len(images):
            raise TwelvefoldError(f"{len(images)} pictures came with {len(named)} names; give one for each")
        taken = set(self._keys)
        for name in named:
            if name in taken:
                raise TwelvefoldError(f"the index would have two pictures called {name!r}; give each its own name")
            taken.add(name)
        return named

    def _take(self, found: Mapping[str, tuple[ImageKey, Regions]]) -> None:
        whole = len(self._keys) // BLOCK * BLOCK  # the block after these grows
        self._streams = {place: stream for place, stream in self._streams.items() if place[0] < whole}
        for name, (key, regions) in found.items():
            self._keys[name] = key
            self._regions.add(key, regions)

    def _stream(self, work: Work, start: int, task: str) -> ImageStream:
        """The image stream of a block of pictures: the same for every text, and for tasks that read as many regions."""
        spec = work.network.tasks[task]
        place = start, spec.max_regions
        if place in self._streams:
            return self._streams[place]
        keys = list(self._keys.values())[start : start + BLOCK]
        batch = pictures_alone(keys, work.source, spec, work.head(spec))
        stream = work.network.read_images(batch.to(work.device))
        if sum(_bytes(kept.states) for kept in self._streams.values()) + _bytes(stream.states) <= self._kept_bytes:
            self._streams[place] = stream
        return stream


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _without_kinds(regions: Regions) -> Regions:
    return Regions(regions.boxes_px, regions.features, regions.width, regions.height)
