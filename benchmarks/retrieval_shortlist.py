"""Time retrieval: every caption with every image, and only the images on a shortlist.

    python -m benchmarks.retrieval_shortlist                 # the published size, one thread: some minutes
    python -m benchmarks.retrieval_shortlist --size small    # some seconds

Weights are random, also the twin encoder's: times do not depend on them. Lengths are real (nine words and 38 regions on
average). The first case is measured whole. The second, 1,000 captions in 5,000 images, is **computed** in every round
from the measured time of a pair in the exact search, of a pair on a shortlist, of an embedded image and caption, and of
the matrix product with the choice of the best K, which is measured whole.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from benchmarks.side_by_side import Report, Work, argument_parser
from benchmarks.workload import draw_lengths, make_model, random_batch
from torch import Tensor

from twelvefold.batch import Batch
from twelvefold.model import Model
from twelvefold.model.twin_encoder import TwinEncoder

TASK = "coco"
CAPTIONS, IMAGES, SHORTLIST = 4, 96, 16
"""The case that is measured whole."""
ALL_CAPTIONS, ALL_IMAGES, SHORTLISTS = 1000, 5000, (16, 32, 64, 128)
"""The case that is computed."""


def exhaustive(model: Model, captions: Batch, images: Batch) -> Callable[[], Tensor]:
    """Return a function that scores every caption with every image."""
    return lambda: model.alignments(captions, images)


def shortlist(model: Model, twin: TwinEncoder, captions: Batch, images: Batch, size: int) -> Callable[[], Tensor]:
    """Return a function that embeds captions and images, chooses ``size`` images for each caption, and scores them."""

    def run() -> Tensor:
        encoded = model.encode_images(images)
        listed = (twin.text(model.encode_texts(captions)) @ twin.image(encoded).T).topk(size, dim=1).indices
        pairs = np.stack([np.repeat(np.arange(len(listed)), size), listed.flatten().numpy()], axis=1)
        return model.alignments(captions, encoded, pairs=pairs)

    return run


def disjoint_lists(model: Model, captions: Batch, images: Batch) -> Callable[[], Tensor]:
    """Return a function that scores each caption with images of its own, as many for each: no encoding is shared."""
    count = len(images.example_ids) // len(captions.example_ids)
    pairs = np.stack(
        [np.repeat(np.arange(len(captions.example_ids)), count), np.arange(len(images.example_ids))], axis=1
    )
    return lambda: model.alignments(captions, images, pairs=pairs)


@torch.inference_mode()
def main() -> None:
    arguments = argument_parser(__doc__, rounds=3).parse_args()
    report = Report("retrieval_shortlist", arguments, unit="caption")
    model = make_model(arguments.size)
    twin = TwinEncoder(model.config.text_hidden_size, model.trunk.region_hidden_size).eval()
    lengths = draw_lengths("real", IMAGES, model.tasks[TASK].max_tokens, np.random.default_rng(0))
    images, captions = random_batch(model, TASK, lengths), random_batch(model, TASK, lengths[:CAPTIONS])
    report.add(
        f"{CAPTIONS} captions in {IMAGES} images, measured",
        [
            Work("every pair", exhaustive(model, captions, images), CAPTIONS),
            Work(f"shortlists of {SHORTLIST}", shortlist(model, twin, captions, images, SHORTLIST), CAPTIONS),
        ],
    )
    vectors = torch.nn.functional.normalize(torch.randn(ALL_IMAGES, 256), dim=1)
    queries = torch.nn.functional.normalize(torch.randn(ALL_CAPTIONS, 256), dim=1)
    parts: dict[str, tuple[Callable[[], object], int]] = {
        "pair": (exhaustive(model, captions, images), CAPTIONS * IMAGES),
        "listed pair": (disjoint_lists(model, captions, images), IMAGES),
        "image": (lambda: twin.image(model.encode_images(images)), IMAGES),
        "caption": (lambda: twin.text(model.encode_texts(images)), IMAGES),
    }
    works = [
        Work("every pair", lambda: None, ALL_CAPTIONS),
        *(Work(f"shortlists of {size}", lambda: None, ALL_CAPTIONS) for size in SHORTLISTS),
    ]
    seconds: dict[str, list[float]] = {work.name: [] for work in works}
    for _ in range(report.rounds):
        each = {name: report.time(run) / count for name, (run, count) in parts.items()}
        choice = report.time(lambda: (queries @ vectors.T).topk(max(SHORTLISTS), dim=1))
        seconds["every pair"].append(each["pair"] * ALL_CAPTIONS * ALL_IMAGES)
        embedding = each["image"] * ALL_IMAGES + each["caption"] * ALL_CAPTIONS + choice
        for size in SHORTLISTS:
            seconds[f"shortlists of {size}"].append(embedding + each["listed pair"] * ALL_CAPTIONS * size)
    report.add_measured(f"{ALL_CAPTIONS:,} captions in {ALL_IMAGES:,} images, computed", works, seconds)
    report.write()


if __name__ == "__main__":
    main()
