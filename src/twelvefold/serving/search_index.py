"""An index of images for repeated search by text: the detector runs once per image. Paper: Eq. 2 over a whole pool.

A saved index contains regions, not model states: every model that uses the same detector can search it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, Unpack, overload

import msgspec
import torch
from torch import Tensor

from twelvefold.config import default_tasks
from twelvefold.families import load_family, retrieval
from twelvefold.families.shared.probabilities import lower_probabilities
from twelvefold.images import ImageError, InputImage, digest_image, load_image
from twelvefold.model.packing import PackedStates
from twelvefold.printable import printable_name
from twelvefold.progress import progress_bar
from twelvefold.schema import ImageKey, Ranked, Regions, TaskSpec, TwelvefoldError, did_you_mean
from twelvefold.serving.inference import (
    caption_batch,
    embed_images,
    image_batch,
    rank_images,
    rank_shortlists,
    weigh_inputs,
)
from twelvefold.serving.predictor import ImageInput, Predictor
from twelvefold.serving.region_cache import image_key
from twelvefold.serving.request import (
    SearchTask,
    check_shortlist,
    check_top,
    describe,
    find_task,
    open_image,
    read_each,
    read_text,
    split_texts,
    to_items,
)
from twelvefold.serving.vector_cache import VectorCache
from twelvefold.store import atomic_files
from twelvefold.store.region_store import RegionStore, ShardWriter, finish_store

# A text is itself a sequence of texts. Where both overloads of a method fit, the first one is meant: a single text.
# mypy: disable-error-code="overload-overlap"

MANIFEST = "index.json"
FORMAT, VERSION = "twelvefold index", 1
SHARD_IMAGES = 4096
"""Images of a shard: 826 MB of the paper's features."""
BLOCK_IMAGES = 256
"""Images whose image streams are computed together: 212 MB of the paper's features."""
OPEN_IMAGES = 64
"""Images that are open at once during detection: 250 MB of photographs with 1.3 megapixels."""
CACHE_BYTES = 2**30
"""Memory for image streams kept between searches: 120,000 images of the small model (9 kB each), 2,600 of the paper's
(414 kB each). Streams beyond it are computed again for each search: slower, with the same ranking."""
SAVE_SECONDS = 60.0
"""Most work that a killed ``index add`` loses, unless saving the index takes more than a tenth of it."""


class IndexUpdate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename={"num_images": "pictures"}):
    """What :meth:`SearchIndex.update` did.

    num_images: in the index. added, changed: numbers of images whose regions were detected. removed: names that are no
    longer in the folders. unreadable: name -> reason; none of them is in the index.
    """

    added: int
    num_images: int
    changed: int = 0
    removed: list[str] = []
    unreadable: dict[str, str] = {}


class SearchIndex:
    """Images by name, ready for search. Use it in one thread at a time."""

    def __init__(
        self,
        model: Predictor,
        images: Iterable[ImageInput] = (),
        *,
        names: Iterable[str] | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        """Detect the regions of ``images``; see :meth:`add` for their names. ``cache_bytes``: for image streams."""
        self._model = model
        self._cache_bytes = cache_bytes
        self._keys: dict[str, ImageKey] = {}
        self._regions: dict[ImageKey, Regions] = {}
        self._digests: dict[str, str] = {}  # of image files, by name; indexes of version 0.1 have none
        self._vectors = VectorCache()
        self._streams: dict[tuple[int, int], PackedStates] = {}  # by first image and number of regions
        self.add(images, names=names)

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, name: object) -> bool:
        return name in self._keys

    def __repr__(self) -> str:
        return f"<index of {len(self):,} images>"

    @property
    def names(self) -> list[str]:
        """Return the names of all images, in the order in which they were added."""
        return list(self._keys)

    def add(self, images: Iterable[ImageInput], *, names: Iterable[str] | None = None) -> None:
        """Detect the regions of images and add them. ``names``: by default the paths; needed for other sources.

        Raises:
            TwelvefoldError: a name is missing or used twice, or an image cannot be opened; nothing is added then.
        """
        images = to_items(images, "images", "a list of images")
        new_names = self._check_names(images, None if names is None else to_items(names, "names", "a list of names"))
        new: dict[str, tuple[ImageKey, Regions]] = {}
        with progress_bar(description="detecting regions", total=len(images)) as bar:
            for start in range(0, len(images), OPEN_IMAGES):
                sources = enumerate(images[start : start + OPEN_IMAGES], start)
                block = [open_image(image, f"images[{i}]") for i, image in sources]
                for name, image, regions in zip(new_names[start:], block, self._model.detect(block), strict=False):
                    new[name] = (image_key(image), _without_categories(regions))
                bar.advance(len(block))
        self._insert(new)

    def update(
        self, paths: Sequence[Path], *, folders: Sequence[Path] = (), save: Callable[[], None] | None = None
    ) -> IndexUpdate:
        """Make the index agree with image files.

        New files are added, the regions of changed files are detected again, and images are removed that are gone from
        ``folders`` or cannot be read.

        Every file is read and its digest compared, so no change is missed, whatever its size and time of modification.

        Args:
            paths: Image files; a name is the path as :func:`printable_name` writes it.
            folders: Images of the index that were in these folders and are not among the paths are removed.
            save: Writes the index. It is called during long updates, so that a kill loses about a minute
                of work, and when the user presses Ctrl+C.
        """
        files = {printable_name(path): path for path in paths}
        inside = tuple(f"{printable_name(folder)}/" for folder in folders)
        removed = [name for name in self._keys if name.startswith(inside) and name not in files] if inside else []
        known, unreadable, todo = set(self._keys), dict[str, str](), dict[str, str]()
        for name, path in files.items():
            try:
                digest = digest_image(path)
            except ImageError as error:
                unreadable[name] = error.reason(path)
            else:
                if name not in known or self._digests.get(name) != digest:
                    todo[name] = digest
        num_changed, last_save, duration = 0, time.monotonic(), 0.0
        with progress_bar(description="detecting regions", total=len(todo)) as bar, _saving_on_interrupt(save):
            names = list(todo)
            for start in range(0, len(names), OPEN_IMAGES):
                block = names[start : start + OPEN_IMAGES]
                new = self._detect_files({name: files[name] for name in block}, unreadable)
                num_changed += sum(name in known and self._keys[name] != key for name, (key, _) in new.items())
                self._insert(new, {name: todo[name] for name in new})
                bar.advance(len(block))
                if save is not None and time.monotonic() - last_save > max(SAVE_SECONDS, 10 * duration):
                    begin = time.monotonic()
                    save()
                    last_save = time.monotonic()
                    duration = last_save - begin
        self._drop({*removed, *unreadable} & set(self._keys))
        num_added = sum(name not in known for name in todo if name not in unreadable)
        return IndexUpdate(
            added=num_added, num_images=len(self), changed=num_changed, removed=removed, unreadable=unreadable
        )

    def _detect_files(
        self, files: Mapping[str, Path], unreadable: dict[str, str]
    ) -> dict[str, tuple[ImageKey, Regions]]:
        """Return key and regions of each image; add those that cannot be opened to ``unreadable``."""
        images: dict[str, InputImage] = {}
        for name, path in files.items():
            try:
                images[name] = load_image(path)
            except ImageError as error:
                unreadable[name] = error.reason(path)
        new = {name: image for name, image in images.items() if image_key(image) not in self._regions}
        detected = dict(zip(new, self._model.detect(list(new.values())), strict=True))
        return {
            name: (key, _without_categories(detected[name]) if name in detected else self._regions[key])
            for name, image in images.items()
            for key in (image_key(image),)
        }

    def _drop(self, names: set[str]) -> None:
        """Remove images that are in the index, and regions that no name uses."""
        if names:
            self._keys = {name: key for name, key in self._keys.items() if name not in names}
            self._streams = {}
        self._digests = {name: digest for name, digest in self._digests.items() if name in self._keys}
        self._regions = {key: self._regions[key] for key in self._keys.values()}

    def remove(self, names: str | Iterable[str]) -> None:
        """Remove images.

        Raises:
            TwelvefoldError: a name is not in the index; nothing is removed then.
        """
        removed = (
            {names} if isinstance(names, str) else dict.fromkeys(to_items(names, "names", "a list of names")).keys()
        )
        for name in removed:
            if name not in self._keys:
                raise TwelvefoldError(f"the index has no image {name!r}{did_you_mean(str(name), self._keys)}")
        self._drop(set(removed))

    @overload
    def search(self, text: str, top: int = 5, **options: Unpack[SearchTask]) -> tuple[Ranked, ...]: ...
    @overload
    def search(self, text: Iterable[str], top: int = 5, **options: Unpack[SearchTask]) -> list[tuple[Ranked, ...]]: ...

    @torch.inference_mode()
    def search(
        self, text: str | Iterable[str], top: int = 5, *, task: str = default_tasks.FIND, shortlist: int = 0
    ) -> tuple[Ranked, ...] | list[tuple[Ranked, ...]]:
        """Return the names of the images that a text describes best, with probabilities over the whole index.

        A list of texts gives a list of rankings. The ranking is that of :meth:`Predictor.find` on the same images. With
        ``shortlist`` only so many images are compared with each text, and probabilities are over them.

        Raises:
            TwelvefoldError: the index is empty, the model has no such task or no twin encoder for a shortlist, or a
                text is invalid.
        """
        spec = find_task(task, retrieval.FAMILY, self._model.network.tasks)
        listed = split_texts(text, "text")
        texts = read_each(listed, text, "text", read_text)
        if not self._keys:
            raise TwelvefoldError("the index is empty; add images first")
        check_top(top)
        check_shortlist(shortlist)
        if not texts:
            return []
        context = self._model.context
        token_ids = context.tokenizer.encode_batch([caption.strip() for caption in texts])
        captions = caption_batch(context, spec, token_ids, next(iter(self._regions.values())))
        if shortlist:
            regions = [self._regions[key] for key in self._keys.values()]
            rankings = rank_shortlists(context, spec, captions, regions, self._embed(spec), self.names, top, shortlist)
        else:
            blocks = (self._image_stream(start, spec) for start in range(0, len(self._keys), BLOCK_IMAGES))
            rankings = rank_images(context, spec, captions, blocks, self.names, top)
        num_compared = min(shortlist or len(self), len(self))
        lowered = [self._lower(caption, ranked, num_compared) for caption, ranked in zip(texts, rankings, strict=True)]
        return lowered[0] if listed is None else lowered

    def _embed(self, spec: TaskSpec) -> Tensor:
        """Return the twin encoder's vectors of all images by name, (M, E)."""
        embed = partial(embed_images, self._model.context, spec)
        return self._vectors.get(spec.max_regions, list(self._keys.values()), self._regions, embed)

    def _lower(self, text: str, ranked: tuple[Ranked, ...], num_compared: int) -> tuple[Ranked, ...]:
        """Lower the probabilities of a search as :meth:`Predictor.find` does, if text or best image are unusual."""
        best = self._regions[self._keys[ranked[0].name]]
        # Regions of an index of version 0.1 have no probabilities, without which they cannot be compared.
        images = [] if best.class_probs is None else [best]
        weight, _ = weigh_inputs(self._model.context, retrieval.FAMILY, [text], images)
        return lower_probabilities(ranked, weight, retrieval.FAMILY.chance_probability(num_compared))

    def save(self, folder: str | PathLike[str]) -> None:
        """Write the index to a folder, atomically; an index that is already there is replaced.

        Raises:
            TwelvefoldError: the folder contains something else, or cannot be written.
        """
        folder = Path(folder)
        if folder.exists() and not (folder / MANIFEST).exists() and any(folder.iterdir()):
            raise TwelvefoldError(f"{folder} contains something else than an index; give an empty or a new folder")
        detector = self._model.about.detector
        with atomic_files.atomic_folder(folder) as new_folder:
            keys = list(dict.fromkeys(self._keys.values()))  # one image may have several names
            # Images that were added to an index of version 0.1 are saved without probabilities, as the others are.
            width = int(all(regions.class_probs is not None for regions in self._regions.values()))
            shards = []
            for start in range(0, len(keys), SHARD_IMAGES):
                shards.append(f"{start // SHARD_IMAGES:05d}.regions")
                with ShardWriter(
                    new_folder / shards[-1], feature_size=detector.feature_size, num_categories=width
                ) as shard:
                    for key in keys[start : start + SHARD_IMAGES]:
                        regions = self._regions[key]
                        shard.add(key, regions if width else replace(regions, class_probs=None))
            info = {"detector": detector.digest, "max_regions": detector.max_regions}
            finish_store(new_folder, shards, categories=["best"][:width], info=info)
            images = {name: str(key) for name, key in self._keys.items()}
            manifest = {"format": FORMAT, "version": VERSION, "pictures": images, "digests": self._digests}
            if twin := self._model.context.twin:
                for spec in self._model.network.tasks.values():
                    if keys and load_family(spec.family).searches_images:
                        self._embed(spec)
                self._vectors.save(new_folder, twin.digest, keys)
            atomic_files.write_json(new_folder / MANIFEST, manifest)

    @classmethod
    def load(cls, folder: str | PathLike[str], model: Predictor) -> SearchIndex:
        """Read an index that :meth:`save` wrote, for search with ``model``.

        Raises:
            TwelvefoldError: there is none, it is damaged, or it was made with another detector than the model's.
        """
        folder = Path(folder)
        atomic_files.recover_folder(folder)
        advice = "make the index again"
        manifest = atomic_files.read_manifest(folder / MANIFEST, FORMAT, VERSION, remedy=advice)
        store = RegionStore.open(folder)
        detector = model.about.detector
        if (store.info.get("detector"), store.info.get("max_regions")) != (detector.digest, detector.max_regions):
            raise TwelvefoldError(
                f"the index {folder} was made with another detector (digest {store.info.get('detector')}, at most "
                f"{store.info.get('max_regions')} regions) than the model's ({detector.digest}, "
                f"{detector.max_regions}): {advice}"
            )
        index = cls(model)
        images: Mapping[str, str] = manifest["pictures"]
        keys = {name: ImageKey.parse(key) for name, key in images.items()}
        index._insert({name: (key, store[key]) for name, key in keys.items()}, manifest.get("digests", {}))
        if twin := model.context.twin:
            index._vectors.load(folder, twin.digest, list(dict.fromkeys(keys.values())))
        return index

    def _check_names(self, images: Sequence[Any], names: Sequence[str] | None) -> list[str]:
        if names is None:
            for i, image in enumerate(images):
                if not isinstance(image, (str, PathLike)):
                    raise TwelvefoldError(f"image {i} is no path, so it needs a name: names=[...]")
            new_names = [printable_name(str(image)) for image in images]
        else:
            new_names = list(names)
            for i, name in enumerate(new_names):
                if not isinstance(name, str) or not name:
                    raise TwelvefoldError(f"names[{i}]: expected a text, got {describe(name)}")
        if len(new_names) != len(images):
            raise TwelvefoldError(f"expected one name for each image, got {len(images)} images, {len(new_names)} names")
        for name, count in Counter([*self._keys, *new_names]).items():
            if count > 1:
                raise TwelvefoldError(f"the index would have two images called {name!r}; give each its own name")
        return new_names

    def _insert(self, new: Mapping[str, tuple[ImageKey, Regions]], digests: Mapping[str, str] = {}) -> None:
        full = len(self._keys) // BLOCK_IMAGES * BLOCK_IMAGES  # the last, partial block grows
        if any(self._keys.get(name, key) != key for name, (key, _) in new.items()):
            full = 0
        self._digests.update(digests)
        self._streams = {block: stream for block, stream in self._streams.items() if block[0] < full}
        for name, (key, regions) in new.items():
            self._keys[name] = key
            self._regions[key] = regions

    def _image_stream(self, start: int, spec: TaskSpec) -> PackedStates:
        """Return the image stream of a block. It depends on the number of regions, but not on texts or the task."""
        block = start, spec.max_regions
        if block in self._streams:
            return self._streams[block]
        keys = list(self._keys.values())[start : start + BLOCK_IMAGES]
        batch = image_batch(self._model.context, spec, [self._regions[key] for key in keys])
        stream = self._model.network.encode_images(batch)
        used = sum(cached.states.nbytes for cached in self._streams.values())
        if used + stream.states.nbytes <= self._cache_bytes:
            self._streams[block] = stream
        return stream


@contextmanager
def _saving_on_interrupt(save: Callable[[], None] | None) -> Iterator[None]:
    """Save what is done when the user presses Ctrl+C."""
    try:
        yield
    except KeyboardInterrupt:
        if save is not None:
            save()
        raise


def _without_categories(regions: Regions) -> Regions:
    """Return regions with the probability of the best category only, (N, 1): all that a search needs."""
    probabilities = regions.class_probs
    return replace(regions, class_probs=None if probabilities is None else probabilities.max(axis=1, keepdims=True))
