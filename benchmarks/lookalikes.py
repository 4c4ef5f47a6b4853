"""Measure how well near-duplicates are separated from changed images, and how fast a million hashes are searched.

    python benchmarks/lookalikes.py pairs --seeds 21 22 23 --scenes 200 --odd 60 --out pairs.json
    python benchmarks/lookalikes.py report pairs.json docs/results/lookalikes.svg
    python benchmarks/lookalikes.py world runs/demo/world
    python benchmarks/lookalikes.py easy-vqa easy/easy_vqa/data
    python benchmarks/lookalikes.py matching 1000000

``pairs`` draws scenes, copies each with every transform of the world and with other transforms (``--odd``: of that many
scenes), changes one object of each, and compares. ``report`` prints the tables: a threshold is chosen on the first seed
and reported on the others. ``world`` collects the evidence of a whole world and compares it with the world's truth.
``easy-vqa`` counts what cleaning removes from a public set of drawings; `pip install --target easy --no-deps easy-vqa`
gets it.
``matching`` measures the search for close hashes.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from twelvefold.datasets.reading.image_files import image_files
from twelvefold.datasets.reading.records import BadRecords
from twelvefold.duplicates.align_and_compare import compare_images, make_thumbnail
from twelvefold.duplicates.evidence import collect_evidence
from twelvefold.duplicates.hamming_search import Hashes, choose_blocks, find_close_pairs
from twelvefold.duplicates.hashes import ImageFingerprint, fingerprint_image
from twelvefold.duplicates.image_groups import ImageGroups
from twelvefold.duplicates.near_duplicates import MAX_DIFFERENCE, MAX_HASH_DISTANCE, MIN_CORRELATION, is_comparable
from twelvefold.images import open_image
from twelvefold.progress import track
from twelvefold.schema import ImageKey, SameImageLink
from twelvefold.store import atomic_files
from twelvefold.world.draw import draw_scene, encode_jpeg
from twelvefold.world.duplicates import TRANSFORMS, make_near_duplicate
from twelvefold.world.perturb import CHANGES, perturb_scene
from twelvefold.world.scene import Scene, make_scene

Transform = Callable[[Image.Image], Image.Image]
THRESHOLDS = (0.02, 0.04, 0.06, 0.08, 0.10, 0.105, 0.11, 0.12, 0.14, 0.16, 0.20, 0.25)


class PairRow(NamedTuple):
    """A compared pair: a scene and a variant of it, named by ``group`` (planted, changed, ...) and ``name``."""

    seed: int
    scene: int
    group: str
    name: str
    phash_distance: int
    dhash_distance: int
    difference: float
    correlation: float

    def is_candidate(self) -> bool:
        return max(self.phash_distance, self.dhash_distance) <= MAX_HASH_DISTANCE

    def is_linked(self, threshold: float) -> bool:
        return self.is_candidate() and self.difference <= threshold and self.correlation >= MIN_CORRELATION


class Curve(NamedTuple):
    """At one threshold: recall of planted copies, recall of the worst transform, rate of wrongly linked changed images,
    the same for the worst change, and precision for equal numbers of copies and changed images."""

    recall: float
    min_recall: float
    wrong: float
    max_wrong: float
    precision: float


def cropped(fraction: float, sides: str = "all") -> Transform:
    def transform(image: Image.Image) -> Image.Image:
        x, y = round(image.width * fraction / 2), round(image.height * fraction / 2)
        if sides == "one corner":
            return image.crop((0, 0, image.width - 2 * x, image.height - 2 * y))
        return image.crop((x, y, image.width - x, image.height - y))

    return transform


def scaled(factor: float) -> Transform:
    return lambda image: image.resize(
        (round(image.width * factor), round(image.height * factor)), Image.Resampling.BICUBIC
    )


def brightened(factor: float) -> Transform:
    return lambda image: image.point(lambda level: level * factor)


def compressed(quality: int) -> Transform:
    return lambda image: Image.fromarray(open_image(encode_jpeg(image, quality)))


def chain(*transforms: Transform) -> Transform:
    def apply_all(image: Image.Image) -> Image.Image:
        for transform in transforms:
            image = transform(image)
        return image

    return apply_all


def watermarked(image: Image.Image) -> Image.Image:
    return make_near_duplicate(image, "watermarked")


OTHER_TRANSFORMS: dict[str, Transform] = {
    **{f"cropped {100 * fraction:.0f} %": cropped(fraction) for fraction in (0.01, 0.03, 0.04, 0.06, 0.10)},
    **{f"cropped {100 * fraction:.0f} % at one corner": cropped(fraction, "one corner") for fraction in (0.02, 0.04)},
    **{f"light x {by}": brightened(by) for by in (0.9, 0.95, 1.05, 1.15)},
    **{f"JPEG quality {quality}": compressed(quality) for quality in (20, 30, 40, 90)},
    **{f"size x {by}": scaled(by) for by in (0.25, 0.5, 0.75, 1.25, 1.5)},
    "gamma 1.2": lambda image: image.point(lambda level: 255 * (level / 255) ** 1.2),
    "marked, cropped 2 %": chain(watermarked, cropped(0.02)),
    "cropped 2 %, x 0.75, light x 1.08, quality 60": chain(
        cropped(0.02), scaled(0.75), brightened(1.08), compressed(60)
    ),
    "cropped 4 %, x 0.5, light x 1.15, quality 40": chain(cropped(0.04), scaled(0.5), brightened(1.15), compressed(40)),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "grey": lambda image: image.convert("L").convert("RGB"),
}


CHANGE_SEEDS = {"color": 6, "pattern": 7, "category": 4, "size": 4, "removed": 7}
"""Third word of the random seed of each change, fixed so that the published figures can be repeated."""


def variants(scene: Scene, seed: int, with_others: bool) -> Iterator[tuple[str, str, Image.Image]]:
    """Yield the group, the name and the image of everything that a scene is compared with."""
    image = draw_scene(scene)
    for transform in TRANSFORMS:
        yield "planted", transform, make_near_duplicate(image, transform)
    for change in CHANGES:
        changed = perturb_scene(scene, np.random.default_rng([seed, scene.index, CHANGE_SEEDS[change]]), change)
        if changed is not None:
            other = draw_scene(changed)
            yield "changed", change, other
            yield "changed copy", f"{change}, cropped 2 %, quality 55", compressed(55)(cropped(0.02)(other))
    if with_others:
        for name, apply in OTHER_TRANSFORMS.items():
            yield "odd", name, apply(image)


def measure_pairs(arguments: argparse.Namespace) -> None:
    rows = []
    for seed in arguments.seeds:
        for index in track(range(arguments.scenes), description=f"scenes of seed {seed}"):
            scene = make_scene(seed, index)
            image = open_image(encode_jpeg(draw_scene(scene), scene.light.quality))
            fingerprint = fingerprint_image(image)
            for group, name, variant in variants(scene, seed, index < arguments.odd):
                other = open_image(encode_jpeg(variant, scene.light.quality))
                phash_distance, dhash_distance, is_mirrored = closest_view(fingerprint, fingerprint_image(other))
                thumbnails = make_thumbnail(image), make_thumbnail(other[:, ::-1] if is_mirrored else other)
                similarity = compare_images(*thumbnails)
                scores = round(similarity.difference, 4), round(similarity.correlation, 4)
                rows.append(PairRow(seed, index, group, name, phash_distance, dhash_distance, *scores))
    arguments.out.write_text(json.dumps(rows))


def closest_view(first: ImageFingerprint, second: ImageFingerprint) -> tuple[int, int, bool]:
    """Return the bits in which the hashes differ in the closest view of one of the images, as the search for candidates
    sees them, and whether that is the mirror image. All bits where an image has too little detail."""
    if not is_comparable(first, second):
        return 64, 64, False
    distances = [
        (
            (whole.hashes[0].phash ^ view.phash).bit_count(),
            (whole.hashes[0].dhash ^ view.dhash).bit_count(),
            number == 2,
        )
        for whole, viewed in ((first, second), (second, first))
        for number, view in enumerate(viewed.hashes)
    ]
    return min(distances, key=lambda each: (max(each[:2]), each[2]))


def report(arguments: argparse.Namespace) -> None:
    rows = [PairRow(*row) for row in json.loads(arguments.pairs.read_text())]
    chosen, *others = list(dict.fromkeys(row.seed for row in rows))
    curves = {}
    for name, seeds in ((f"seed {chosen}", [chosen]), (f"seeds {', '.join(map(str, others))}", others)):
        selected = [row for row in rows if row.seed in seeds]
        print(f"\n### {name}\n\n| threshold | recall | worst transform | wrongly linked | worst change | precision |")
        print("|---|---|---|---|---|---|")
        curves[name] = [curve_at(selected, threshold) for threshold in THRESHOLDS]
        for threshold, values in zip(THRESHOLDS, curves[name], strict=True):
            print(f"| {100 * threshold:g} % | " + " | ".join(f"{100 * value:.2f}" for value in values) + " |")
    print(f"\n### at {100 * MAX_DIFFERENCE:g} %\n\n| group | variant | pairs | candidates | linked | by seed |")
    print("|---|---|---|---|---|---|")
    for (group, name), selected in rows_by_variant([row for row in rows if row.seed in others]).items():
        by_seed = [linked_fraction([row for row in selected if row.seed == s], MAX_DIFFERENCE) for s in others]
        candidates = float(np.mean([row.is_candidate() for row in selected]))
        numbers = [candidates, linked_fraction(selected, MAX_DIFFERENCE)]
        cells = [group, name, str(len(selected)), *(f"{100 * number:.1f}" for number in numbers)]
        print(f"| {' | '.join(cells)} | {' '.join(f'{100 * value:.1f}' for value in by_seed)} |")
    arguments.figure.write_text(plot(curves[f"seeds {', '.join(map(str, others))}"]))


def rows_by_variant(rows: Sequence[PairRow]) -> dict[tuple[str, str], list[PairRow]]:
    grouped = defaultdict(list)
    for row in rows:
        grouped[row.group, row.name].append(row)
    return dict(sorted(grouped.items(), key=lambda item: item[0][0] != "planted"))


def linked_fraction(rows: Sequence[PairRow], threshold: float) -> float:
    return float(np.mean([row.is_linked(threshold) for row in rows]))


def curve_at(rows: Sequence[PairRow], threshold: float) -> Curve:
    by_variant = rows_by_variant(rows)
    copies = [linked_fraction(rows, threshold) for (group, _), rows in by_variant.items() if group == "planted"]
    changed = [linked_fraction(rows, threshold) for (group, _), rows in by_variant.items() if group == "changed"]
    recall, wrong = float(np.mean(copies)), float(np.mean(changed))
    return Curve(recall, min(copies), wrong, max(changed), recall / (recall + wrong) if recall else 1.0)


def plot(curves: Sequence[Curve]) -> str:
    """Return an SVG of recall and wrong links over the threshold."""
    x = [40 + 520 * threshold / THRESHOLDS[-1] for threshold in THRESHOLDS]
    parts = []
    for column, color, name in ((1, "#2b6cb0", "recall, worst transform"), (3, "#c05621", "wrong links, worst change")):
        points = " ".join(f"{a:.0f},{220 - 200 * curve[column]:.1f}" for a, curve in zip(x, curves, strict=True))
        parts.append(f'<polyline fill="none" stroke="{color}" stroke-width="2" points="{points}"/>')
        parts.append(f'<text x="330" y="{90 + 20 * column}" fill="{color}">{name}</text>')
    default = 40 + 520 * MAX_DIFFERENCE / THRESHOLDS[-1]
    parts += [f'<line x1="{default:.0f}" x2="{default:.0f}" y1="20" y2="220" stroke="#999" stroke-dasharray="4"/>']
    for a, threshold in zip(x, THRESHOLDS, strict=True):
        parts.append(f'<text x="{a:.0f}" y="238" text-anchor="middle">{100 * threshold:.0f} %</text>')
    for fraction in (0, 0.5, 1):
        parts.append(f'<text x="36" y="{224 - 200 * fraction}" text-anchor="end">{100 * fraction:.0f}</text>')
    head = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 600 250">'
    style = "<style>svg{background:#fff;font:12px sans-serif}</style>"
    axes = '<path d="M40 20V220H560" fill="none" stroke="#333"/>'
    return head + style + axes + "".join(parts) + "</svg>"


def measure_world(arguments: argparse.Namespace) -> None:
    root, images = arguments.world, image_files(arguments.world)
    near_duplicates = json.loads((root / "truth" / "near_duplicates.json").read_text())
    with tempfile.TemporaryDirectory() as cache_dir:
        for call in ("first", "second"):
            started, cpu = time.monotonic(), time.process_time()
            found = collect_evidence(
                root, images, evidence=("bytes", "pixels", "looks"), cache_dir=Path(cache_dir), bad=BadRecords()
            )
            seconds = f"{time.monotonic() - started:.1f} s, {time.process_time() - cpu:.1f} s of one core"
            print(f"{call} call over {len(images):,} files: {seconds}")
    print(Counter(link.evidence for link in found.links), "unreadable:", len(found.unreadable), *found.limitations)
    groups = ImageGroups(found.links)
    outcomes = Counter[tuple[str, bool]]()
    for each in near_duplicates:
        copies, originals = ([ImageKey.parse(key) for key in each[side]] for side in ("keys", "of"))
        outcomes[each["how"], all(groups.is_same(a, b) for a in copies for b in originals)] += 1
    print("planted, linked or not:", dict(sorted(outcomes.items())))
    wrong = wrong_links(root, found.links, near_duplicates)
    print(f"wrong links: {len(wrong)} of {len(found.links):,}", wrong[:3])


def wrong_links(
    root: Path, links: Sequence[SameImageLink], near_duplicates: Sequence[dict[str, Any]]
) -> list[SameImageLink]:
    """Return the links between keys that are not linked by id, not planted as copies, and do not show the same scene
    (NLVR2 draws some scenes twice)."""
    scenes: dict[str, Any] = {}
    for line in (root / "truth" / "scenes.jsonl").read_text().splitlines():
        scene = json.loads(line)
        scenes |= {key: (scene["background"], json.dumps(scene["things"])) for key in scene["keys"]}
    planted = {
        frozenset((a, b))
        for each in near_duplicates
        if each["near_duplicate"]
        for a in each["keys"]
        for b in each["of"]
    }
    by_id = ImageGroups(collect_evidence(root, {}, evidence=("ids",), cache_dir=root, bad=BadRecords()).links)
    return [
        link
        for link in links
        if not by_id.is_same(link.first, link.second)
        and frozenset((str(link.first), str(link.second))) not in planted
        and scenes[str(link.first)] != scenes[str(link.second)]
    ]


def measure_easy_vqa(arguments: argparse.Namespace) -> None:
    """Compare all images of easy-VQA, 64 x 64 drawings of one shape each, and count the questions that are removed."""
    images = {
        ImageKey("easy", f"{split}-{path.stem}"): path
        for split in ("train", "test")
        for path in sorted((arguments.data / split / "images").glob("*.png"))
    }
    with tempfile.TemporaryDirectory() as cache_dir:
        started, cpu = time.monotonic(), time.process_time()
        collected = collect_evidence(
            arguments.data, images, evidence=("bytes", "pixels", "looks"), cache_dir=Path(cache_dir), bad=BadRecords()
        )
        print(
            f"{len(images):,} images: {time.monotonic() - started:.1f} s, {time.process_time() - cpu:.1f} s of a core"
        )
    started = time.monotonic()
    digests = {key: atomic_files.digest_bytes(open_image(path).tobytes()) for key, path in images.items()}
    print(f"opening and decoding them alone: {time.monotonic() - started:.1f} s")
    groups = ImageGroups(collected.links)
    tested = {group for key in images if key.id.startswith("test") for group in groups.matching_groups(key)}
    tested_digests = {digest for key, digest in digests.items() if key.id.startswith("test")}
    questions = json.loads((arguments.data / "train" / "questions.json").read_text())
    keys = [ImageKey("easy", f"train-{image}") for _, _, image in questions]
    removed = sum(groups.group_of(key) in tested for key in keys)
    equal = sum(digests[key] in tested_digests for key in keys)
    print(Counter(link.evidence for link in collected.links), *collected.limitations)
    print(f"of {len(keys):,} training questions {removed:,} are removed; {equal:,} are about pixels of a test image")


def measure_search(arguments: argparse.Namespace) -> None:
    rng, total = np.random.default_rng(arguments.seed), arguments.hashes
    tenth, radius = total // 10, MAX_HASH_DISTANCE
    for name in arguments.kinds:
        first, second = (rng.integers(0, 2**64, total, dtype=np.uint64) for _ in range(2))
        if name == "clustered":  # a tenth of all hashes within 4 bits of each other, a tenth exactly equal
            first[tenth : 2 * tenth], second[tenth : 2 * tenth] = flip_bits(first[:1], tenth, 4, rng), second[0]
            first[2 * tenth : 3 * tenth], second[2 * tenth : 3 * tenth] = first[1], second[1]
        first[-tenth:], second[-tenth:] = flip_bits(first[:tenth], tenth, radius, rng), second[:tenth]
        started, cpu = time.monotonic(), time.process_time()
        found = find_close_pairs(first, second, radius)
        seconds = f"{time.monotonic() - started:.0f} s, {time.process_time() - cpu:.0f} s of one core"
        pairs = {tuple(pair) for pair in found.pairs[found.pairs[:, 1] >= total - tenth].tolist()}
        planted = np.mean([(i, total - tenth + i) in pairs for i in range(tenth)])
        print(
            f"{name}: {total:,} hashes, {radius} bits, blocks {choose_blocks(total, radius)}: {seconds}; "
            f"{len(found.pairs):,} pairs, {len(found.crowded):,} crowded, {100 * planted:.2f} % of {tenth:,} planted "
            f"pairs; peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GB"
        )


def flip_bits(hashes: Hashes, total: int, num_bits: int, rng: np.random.Generator) -> Hashes:
    flipped = np.resize(hashes, total)
    for _ in range(num_bits):
        flipped ^= np.uint64(1) << rng.integers(0, 64, total).astype(np.uint64)
    return flipped


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("pairs")
    command.add_argument("--seeds", type=int, nargs="+", default=[21, 22, 23])
    command.add_argument("--scenes", type=int, default=200)
    command.add_argument("--odd", type=int, default=60)
    command.add_argument("--out", type=Path, default=Path("pairs.json"))
    command.set_defaults(run=measure_pairs)
    command = commands.add_parser("report")
    command.add_argument("pairs", type=Path)
    command.add_argument("figure", type=Path)
    command.set_defaults(run=report)
    command = commands.add_parser("world")
    command.add_argument("world", type=Path)
    command.set_defaults(run=measure_world)
    command = commands.add_parser("easy-vqa")
    command.add_argument("data", type=Path)
    command.set_defaults(run=measure_easy_vqa)
    command = commands.add_parser("matching")
    command.add_argument("hashes", type=int)
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--kinds", nargs="+", default=["even", "clustered"])
    command.set_defaults(run=measure_search)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
