"""How much retrieval loses by shortlists: R@1 by the size of the list, with the exact search on the same pairs.

    twelvefold world WORLD --images 17000 --seed 2          # images of a seed that the model was not trained on
    twelvefold extract WORLD REGIONS
    python experiments/shortlist.py RUN WORLD REGIONS --out OUT --captions 1000 --images 5000

RUN has a twin encoder (``twelvefold index train RUN``). Captions of all splits of the world's COCO files are used, as
no image of that world was trained on: the first caption of images that are evenly spaced over the pool. Scores of
blocks of captions are kept in OUT, so a stopped run continues. A list is applied to the exact scores: pairs on a list
have the same score as in an exact search, which a test holds. Prints a table, and writes OUT/shortlist.json.
"""

from __future__ import annotations

import argparse
import json
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twelvefold.data.region_inputs import RegionSource
from twelvefold.data.retrieval_pool import RetrievalPool
from twelvefold.data.task_batches import TaskBatches
from twelvefold.data.tokenizer import Tokenizer
from twelvefold.data.write_table import write_table
from twelvefold.datasets import load_dataset
from twelvefold.datasets.reading.records import BadRecords
from twelvefold.evaluation.shortlist import embed_captions, embed_images
from twelvefold.families import retrieval
from twelvefold.model import Model, save_load
from twelvefold.model.twin_encoder import TwinEncoder, require_twin_encoder
from twelvefold.progress import track
from twelvefold.store.example_table import ExampleTable

TASK = "coco"
SIZES = (10, 16, 32, 64, 128, 256)
BLOCK_CAPTIONS = 20
RESAMPLES = 2000


def read_pool(world: Path, regions: Path, model: Model, out: Path, num_images: int, num_captions: int) -> RetrievalPool:
    """Return a pool of the world's first images, and captions of evenly spaced ones."""
    source = RegionSource.open(regions)
    splits = [load_dataset(TASK).read(world, split, bad=BadRecords()) for split in ("test", "val", "train")]
    examples = [each for each in chain(*splits) if each.pairs[0].image in source.detected]
    images = {image: None for each in examples for image in (each.pairs[0].image,)}
    pool_images = set(islice(images, num_images))
    chosen = [each for each in examples if each.pairs[0].image in pool_images]
    path = out / "captions.arrow"
    write_table(path, chosen, Tokenizer().encode_batch, digest=f"{num_images}")
    task = model.tasks[TASK]
    data = TaskBatches(ExampleTable.open(path), source, task, model.head_specs[task.head])
    pool = RetrievalPool.with_first_captions(data, 0)
    captions = pool.captions[np.linspace(0, len(pool.captions) - 1, num_captions).round().astype(np.int64)]
    return RetrievalPool(data, np.arange(len(pool.images)), captions)


def exact_scores(pool: RetrievalPool, model: Model, out: Path) -> Tensor:
    """Return the scores of every caption with every image, (N, M); blocks that are in ``out`` are read."""
    streams, blocks = [model.encode_images(batch) for batch in pool.iter_image_batches()], []
    starts = range(0, len(pool.captions), BLOCK_CAPTIONS)
    for start in track(starts, description="blocks of captions"):
        path = out / f"scores-{len(pool.images)}-{len(pool.captions)}-{start:05}.npy"
        if not path.exists():
            captions = pool.data.batch(pool.captions[start : start + BLOCK_CAPTIONS].tolist())
            np.save(path, torch.cat([model.alignments(captions, each) for each in streams], dim=1).numpy())
            print(f"captions {start} to {start + BLOCK_CAPTIONS}", flush=True)
        blocks.append(torch.from_numpy(np.load(path)))
    return torch.cat(blocks)


def interval(differences: NDArray[np.float64]) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of a mean, in points."""
    random = np.random.default_rng(0)
    means = differences[random.integers(0, len(differences), (RESAMPLES, len(differences)))].mean(axis=1)
    low, high = np.quantile(100 * means, [0.025, 0.975]).tolist()
    return round(low, 2), round(high, 2)


def measure(exact: Tensor, twin_scores: Tensor, true_images: Tensor) -> list[dict[str, object]]:
    """Return a row for the exact search, one for the twin encoder alone, and one for each size of a shortlist."""
    right = retrieval.rank_true_images(exact, true_images)
    lists = {f"{size}": retrieval_by_list(exact, twin_scores, size) for size in SIZES}
    rows: list[dict[str, object]] = []
    for name, scores in {"all": exact, "twin encoder alone": twin_scores, **lists}.items():
        ranks = retrieval.rank_true_images(scores, true_images)
        difference = ((ranks == 0).double() - (right == 0).double()).numpy()
        rows.append(
            {
                "list": name,
                "own image listed": round(
                    100 * float(scores.gather(1, true_images[:, None]).isfinite().double().mean()), 2
                ),
                **{f"R@{k}": round(100 * retrieval.recall_at(ranks, k), 2) for k in retrieval.RECALLS},
                "R@1 minus exact": round(100 * float(difference.mean()), 2),
                "interval": interval(difference),
            }
        )
    return rows


def retrieval_by_list(exact: Tensor, twin_scores: Tensor, size: int) -> Tensor:
    """Return the exact scores of the ``size`` images that the twin encoder ranks first, minus infinity elsewhere."""
    listed = twin_scores.topk(min(size, twin_scores.shape[1]), dim=1).indices
    return torch.full_like(exact, float("-inf")).scatter(1, listed, exact.gather(1, listed))


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("world", type=Path)
    parser.add_argument("regions", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--captions", type=int, default=1000)
    parser.add_argument("--images", type=int, default=5000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    folder = save_load.model_folder(arguments.run)
    model, twin = Model.load(folder), require_twin_encoder(TwinEncoder.read(folder), str(folder))
    pool = read_pool(arguments.world, arguments.regions, model, arguments.out, arguments.images, arguments.captions)
    exact = exact_scores(pool, model, arguments.out)
    cpu = torch.device("cpu")
    twin_scores = embed_captions(pool, model, twin, cpu) @ embed_images(pool, model, twin, cpu).T
    rows = measure(exact, twin_scores, torch.from_numpy(pool.true_images))
    content = {"captions": len(pool.captions), "images": len(pool.images), "rows": rows}
    (arguments.out / "shortlist.json").write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
