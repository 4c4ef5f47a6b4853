"""How well copies are told from pictures with one thing changed, and how fast a million hashes are matched.

    python benchmarks/lookalikes.py pairs --seeds 21 22 23 --scenes 200 --odd 60 --out pairs.json
    python benchmarks/lookalikes.py report pairs.json docs/results/lookalikes.svg
    python benchmarks/lookalikes.py world runs/demo/world
    python benchmarks/lookalikes.py matching 1000000

``pairs`` draws scenes, copies each in every way the world plants and in ways that it doesn't (``--odd``: of so many
scenes), changes one thing of each, and compares. ``report`` prints the tables: a threshold is chosen on the first seed
and reported on the others. ``world`` gathers evidence from a whole world and holds it against the world's truth.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from twelvefold.datasets.reading.image_files import image_files
from twelvefold.datasets.reading.records import BadRecords
from twelvefold.duplicates.align_and_compare import compare, small
from twelvefold.duplicates.evidence import gather
from twelvefold.duplicates.hamming_search import Hashes, close_pairs, plan
from twelvefold.duplicates.hashes import fingerprint
from twelvefold.duplicates.image_groups import Identity
from twelvefold.duplicates.near_duplicates import AGREEMENT, DIFFERENCE, RADIUS
from twelvefold.images import open_image
from twelvefold.progress import track
from twelvefold.schema import ImageKey
from twelvefold.world.draw import draw_scene, encode_jpeg
from twelvefold.world.duplicates import TRANSFORMS, make_near_duplicate
from twelvefold.world.perturb import CHANGES, perturb_scene
from twelvefold.world.scene import Scene, make_scene

Copy = Callable[[Image.Image], Image.Image]
THRESHOLDS = (0.02, 0.04, 0.06, 0.08, 0.10, 0.12, 0.14, 0.16, 0.20, 0.25)


def cropped(share: float, sides: str = "all") -> Copy:
    def copy(image: Image.Image) -> Image.Image:
        x, y = round(image.width * share / 2), round(image.height * share / 2)
        if sides == "one corner":
            return image.crop((0, 0, image.width - 2 * x, image.height - 2 * y))
        return image.crop((x, y, image.width - x, image.height - y))

    return copy


def scaled(by: float) -> Copy:
    return lambda image: image.resize((round(image.width * by), round(image.height * by)), Image.Resampling.BICUBIC)


def lit(by: float) -> Copy:
    return lambda image: image.point(lambda level: level * by)


def saved(quality: int) -> Copy:
    return lambda image: Image.fromarray(open_image(encode_jpeg(image, quality)))


def chain(*steps: Copy) -> Copy:
    def copy(image: Image.Image) -> Image.Image:
        for step in steps:
            image = step(image)
        return image

    return copy


def marked(image: Image.Image) -> Image.Image:
    return make_near_duplicate(image, "watermarked")


ODD: dict[str, Copy] = {
    **{f"cropped {100 * share:.0f} %": cropped(share) for share in (0.01, 0.03, 0.04, 0.06, 0.10)},
    **{f"cropped {100 * share:.0f} % at one corner": cropped(share, "one corner") for share in (0.02, 0.04)},
    **{f"light x {by}": lit(by) for by in (0.9, 0.95, 1.05, 1.15)},
    **{f"JPEG quality {quality}": saved(quality) for quality in (20, 30, 40, 90)},
    **{f"size x {by}": scaled(by) for by in (0.25, 0.5, 0.75, 1.25, 1.5)},
    "gamma 1.2": lambda image: image.point(lambda level: 255 * (level / 255) ** 1.2),
    "marked, cropped 2 %": chain(marked, cropped(0.02)),
    "cropped 2 %, x 0.75, light x 1.08, quality 60": chain(cropped(0.02), scaled(0.75), lit(1.08), saved(60)),
    "cropped 4 %, x 0.5, light x 1.15, quality 40": chain(cropped(0.04), scaled(0.5), lit(1.15), saved(40)),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "grey": lambda image: image.convert("L").convert("RGB"),
}


STREAM = {"color": 6, "pattern": 7, "category": 4, "size": 4, "removed": 7}
"""Third word of the random seed of each change, fixed so that the published figures can be repeated."""


def variants(scene: Scene, seed: int, odd: bool) -> Iterator[tuple[str, str, Image.Image]]:
    """Group, kind and picture of everything that a scene is compared with."""
    image = draw_scene(scene)
    for how in TRANSFORMS:
        yield "planted", how, make_near_duplicate(image, how)
    for change in CHANGES:
        variant = perturb_scene(scene, np.random.default_rng([seed, scene.index, STREAM[change]]), change)
        if variant is not None:
            other = draw_scene(variant)
            yield "changed", change, other
            yield "changed copy", f"{change}, cropped 2 %, quality 55", saved(55)(cropped(0.02)(other))
    if odd:
        for name, copy in ODD.items():
            yield "odd", name, copy(image)


def pairs(arguments: argparse.Namespace) -> None:
    rows = []
    for seed in arguments.seeds:
        for index in track(range(arguments.scenes), description=f"scenes of seed {seed}"):
            scene = make_scene(seed, index)
            image = open_image(encode_jpeg(draw_scene(scene), scene.light.quality))
            own = fingerprint(image)
            for group, kind, other in variants(scene, seed, index < arguments.odd):
                picture = open_image(encode_jpeg(other, scene.light.quality))
                seen, its = compare(small(image), small(picture)), fingerprint(picture)
                bits = [(own.waves ^ its.waves).bit_count(), (own.slopes ^ its.slopes).bit_count()]
                rows.append([seed, index, group, kind, *bits, round(seen.difference, 4), round(seen.agreement, 4)])
    arguments.out.write_text(json.dumps(rows))


def report(arguments: argparse.Namespace) -> None:
    rows = json.loads(arguments.pairs.read_text())
    chosen, *others = list(dict.fromkeys(row[0] for row in rows))
    curves = {}
    for name, seeds in ((f"seed {chosen}", [chosen]), (f"seeds {', '.join(map(str, others))}", others)):
        own = [row for row in rows if row[0] in seeds]
        print(f"\n### {name}\n\n| threshold | recall | least of a kind | joined wrongly | most of a kind | precision |")
        print("|---|---|---|---|---|---|")
        curves[name] = [_line(own, threshold) for threshold in THRESHOLDS]
        for threshold, line in zip(THRESHOLDS, curves[name], strict=True):
            print(f"| {100 * threshold:.0f} % | " + " | ".join(f"{100 * value:.2f}" for value in line) + " |")
    own = [row for row in rows if row[0] in others]
    print(f"\n### at {100 * DIFFERENCE:.0f} %\n\n| group | kind | pairs | both hashes close | joined | by seed |")
    print("|---|---|---|---|---|---|")
    for (group, kind), some in _by_kind(own).items():
        by_seed = [_share([r for r in some if r[0] == seed], DIFFERENCE) for seed in others]
        near = np.mean([max(r[4], r[5]) <= RADIUS for r in some])
        spread = " ".join(f"{100 * value:.1f}" for value in by_seed)
        print(
            f"| {group} | {kind} | {len(some)} | {100 * near:.1f} | {100 * _share(some, DIFFERENCE):.1f} | {spread} |"
        )
    arguments.figure.write_text(_drawn(curves[name]))


def _by_kind(rows: list[list[Any]]) -> dict[tuple[str, str], list[list[Any]]]:
    found = defaultdict(list)
    for row in rows:
        found[row[2], row[3]].append(row)
    return dict(sorted(found.items(), key=lambda item: item[0][0] != "planted"))


def _share(rows: list[list[Any]], threshold: float) -> float:
    """The share of pairs that are joined."""
    return float(
        np.mean([max(row[4], row[5]) <= RADIUS and row[6] <= threshold and row[7] >= AGREEMENT for row in rows])
    )


def _line(rows: list[list[Any]], threshold: float) -> tuple[float, ...]:
    """Recall of planted copies, that of the worst kind; the same of pictures with one thing changed; precision, as many
    being of one sort as of the other."""
    kinds = _by_kind(rows)
    copies = [_share(some, threshold) for (group, _), some in kinds.items() if group == "planted"]
    wrong = [_share(some, threshold) for (group, _), some in kinds.items() if group == "changed"]
    recall, mistaken = float(np.mean(copies)), float(np.mean(wrong))
    return recall, min(copies), mistaken, max(wrong), recall / (recall + mistaken) if recall else 1.0


def _drawn(lines: list[tuple[float, ...]]) -> str:
    """Recall and wrong joins over the threshold."""
    x = [40 + 520 * t / THRESHOLDS[-1] for t in THRESHOLDS]
    parts = []
    for column, colour, name in ((1, "#2b6cb0", "recall, worst kind of copy"), (3, "#c05621", "wrong, worst kind")):
        points = " ".join(f"{a:.0f},{220 - 200 * line[column]:.1f}" for a, line in zip(x, lines, strict=True))
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{points}"/>')
        parts.append(f'<text x="330" y="{90 + 20 * column}" fill="{colour}">{name}</text>')
    at = 40 + 520 * DIFFERENCE / THRESHOLDS[-1]
    parts += [f'<line x1="{at:.0f}" x2="{at:.0f}" y1="20" y2="220" stroke="#999" stroke-dasharray="4"/>']
    for a, threshold in zip(x, THRESHOLDS, strict=True):
        parts.append(f'<text x="{a:.0f}" y="238" text-anchor="middle">{100 * threshold:.0f} %</text>')
    for share in (0, 0.5, 1):
        parts.append(f'<text x="36" y="{224 - 200 * share}" text-anchor="end">{100 * share:.0f}</text>')
    head = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 600 250">'
    style = "<style>svg{background:#fff;font:12px sans-serif}</style>"
    axes = '<path d="M40 20V220H560" fill="none" stroke="#333"/>'
    return head + style + axes + "".join(parts) + "</svg>"


def world(arguments: argparse.Namespace) -> None:
    root, pictures = arguments.world, image_files(arguments.world)
    truth = json.loads((root / "truth" / "near_duplicates.json").read_text())
    shown: dict[str, Any] = {}
    for line in (root / "truth" / "scenes.jsonl").read_text().splitlines():
        scene = json.loads(line)
        shown |= {key: (scene["background"], json.dumps(scene["things"])) for key in scene["keys"]}
    planted = {frozenset((a, b)) for each in truth if each["near_duplicate"] for a in each["keys"] for b in each["of"]}
    with tempfile.TemporaryDirectory() as notes:
        for call in ("first", "second"):
            began, cpu = time.monotonic(), time.process_time()
            found = gather(root, pictures, kinds=("bytes", "pixels", "looks"), notes=Path(notes), bad=BadRecords())
            took = f"{time.monotonic() - began:.1f} s, {time.process_time() - cpu:.1f} s of one core"
            print(f"{call} call over {len(pictures):,} files: {took}")
    print(Counter(join.evidence for join in found.joins), "unreadable:", len(found.unreadable), *found.hidden)
    known, by_id = Identity(found.joins), Identity(gather(root, {}, kinds=("ids",), notes=root, bad=BadRecords()).joins)
    whole = Counter[tuple[str, bool]]()
    for each in truth:
        sides = [[ImageKey.parse(key) for key in each[side]] for side in ("keys", "of")]
        whole[each["how"], all(known.same(a, b) for a in sides[0] for b in sides[1])] += 1
    print("planted, joined or not:", dict(sorted(whole.items())))
    wrong = [join for join in found.joins if not _one_photograph(join.first, join.second, by_id, planted, shown)]
    print(f"joins that are wrong: {len(wrong)} of {len(found.joins):,}", wrong[:3])


def _one_photograph(one: ImageKey, other: ImageKey, by_id: Identity, planted: set[Any], shown: dict[str, Any]) -> bool:
    """By the world's truth: one photograph by id, planted as a copy, or a scene that is drawn twice (NLVR2's pairs)."""
    same_scene = shown[str(one)] == shown[str(other)]
    return by_id.same(one, other) or frozenset((str(one), str(other))) in planted or same_scene


def matching(arguments: argparse.Namespace) -> None:
    rng, total = np.random.default_rng(arguments.seed), arguments.hashes
    tenth = total // 10
    for name in arguments.kinds:
        first, second = (rng.integers(0, 2**64, total, dtype=np.uint64) for _ in range(2))
        if name == "clustered":  # a tenth of all in one ball, a tenth exactly equal
            first[tenth : 2 * tenth], second[tenth : 2 * tenth] = _flipped(first[:1], tenth, 4, rng), second[0]
            first[2 * tenth : 3 * tenth], second[2 * tenth : 3 * tenth] = first[1], second[1]
        first[-tenth:], second[-tenth:] = _flipped(first[:tenth], tenth, RADIUS, rng), second[:tenth]
        began, cpu = time.monotonic(), time.process_time()
        found = close_pairs(first, second, RADIUS)
        took = f"{time.monotonic() - began:.0f} s, {time.process_time() - cpu:.0f} s of one core"
        have = {tuple(pair) for pair in found.pairs[found.pairs[:, 1] >= total - tenth].tolist()}
        planted = np.mean([(i, total - tenth + i) in have for i in range(tenth)])
        print(
            f"{name}: {total:,} hashes, {RADIUS} bits, plan {plan(total, RADIUS)}: {took}; {len(found.pairs):,} pairs, "
            f"{len(found.crowded):,} crowded, {100 * planted:.2f} % of {tenth:,} planted pairs; "
            f"{_peak_gb():.1f} GB at most"
        )


def _flipped(hashes: Hashes, total: int, bits: int, rng: np.random.Generator) -> Hashes:
    made = np.resize(hashes, total)
    for _ in range(bits):
        made ^= np.uint64(1) << rng.integers(0, 64, total).astype(np.uint64)
    return made


def _peak_gb() -> float:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("pairs")
    command.add_argument("--seeds", type=int, nargs="+", default=[21, 22, 23])
    command.add_argument("--scenes", type=int, default=200)
    command.add_argument("--odd", type=int, default=60)
    command.add_argument("--out", type=Path, default=Path("pairs.json"))
    command.set_defaults(do=pairs)
    command = commands.add_parser("report")
    command.add_argument("pairs", type=Path)
    command.add_argument("figure", type=Path)
    command.set_defaults(do=report)
    command = commands.add_parser("world")
    command.add_argument("world", type=Path)
    command.set_defaults(do=world)
    command = commands.add_parser("matching")
    command.add_argument("hashes", type=int)
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--kinds", nargs="+", default=["even", "clustered"])
    command.set_defaults(do=matching)
    given = parser.parse_args()
    given.do(given)


if __name__ == "__main__":
    main()
