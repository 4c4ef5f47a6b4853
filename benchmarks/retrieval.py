"""Time exact retrieval: pairs of a caption and an image scored in a second, by the package and by the plain reference.

    python -m benchmarks.retrieval                # the published size, one thread: about a minute
    python -m benchmarks.retrieval --size small

The package computes the image stream once and scores all pairs of several captions and images together; the reference
takes one caption at a time, its text stream once and the image stream for every pair, and computes all heads. Cases:
images with 100 regions, and with 38 on average; captions have nine words on average. Approximate search is measured by
``retrieval_shortlist.py``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from benchmarks.forward import check_equal
from benchmarks.plain_programs import search
from benchmarks.plain_reference import PlainVilbert, copy_weights, pad_inputs
from benchmarks.side_by_side import Phase, Report, Work, argument_parser
from benchmarks.workload import LENGTHS, draw_lengths, make_model, pair_operations, random_batch, trunk_bytes
from torch import Tensor

from twelvefold.batch import Batch
from twelvefold.model import Model
from twelvefold.model.model import Precision, has_fast_bf16

TASK, CAPTIONS, IMAGES = "coco", 4, 12


def package_run(model: Model, captions: Batch, images: Batch, precision: Precision) -> Callable[[], Tensor]:
    """Return a function that scores all pairs, with image streams that are already encoded in this precision."""
    model.precision = precision
    stream = model.encode_images(images)

    def run() -> Tensor:
        model.precision = precision
        return model.alignments(captions, stream)

    return run


def make_works(report: Report, model: Model, reference: PlainVilbert, captions: Batch, images: Batch) -> list[Work]:
    """Return the versions that score captions with images, after checking that their scores agree.

    The reference scores the first caption only; the pairs of each further caption take as long.
    """
    spec = model.tasks[TASK]
    row = model.task_tokens.index(TASK)
    caption = pad_inputs(captions, spec.max_tokens, spec.max_regions, row).part(0, 1)
    padded = pad_inputs(images, spec.max_tokens, spec.max_regions, row)
    fp32 = package_run(model, captions, images, "fp32")
    check_equal(report, fp32()[:1], search(reference, caption, padded))
    operations, weights = pair_operations(model.config, captions, images), trunk_bytes(model)
    works = [
        Work("plain reference", lambda: search(reference, caption, padded), IMAGES),
        Work("twelvefold", fp32, CAPTIONS * IMAGES, (Phase(operations, weights),)),
    ]
    if has_fast_bf16("cpu"):
        phases = (Phase(operations, weights / 2, "bf16"),)
        bf16 = package_run(model, captions, images, "bf16")
        works.append(Work("twelvefold, bf16", bf16, CAPTIONS * IMAGES, phases))
    return works


def main() -> None:
    arguments = argument_parser(__doc__, rounds=3).parse_args()
    report = Report("retrieval", arguments, unit="pair")
    model, rng = make_model(arguments.size), np.random.default_rng(0)
    reference, max_tokens = copy_weights(model), model.tasks[TASK].max_tokens
    with torch.inference_mode():
        captions = random_batch(model, TASK, [(w, 1) for w, _ in draw_lengths("real", CAPTIONS, max_tokens, rng)])
        for lengths in LENGTHS:
            regions = [r for _, r in draw_lengths(lengths, IMAGES, max_tokens, rng)]
            images = random_batch(model, TASK, [(1, r) for r in regions])
            report.add(f"images of {lengths} lengths", make_works(report, model, reference, captions, images))
    report.write()


if __name__ == "__main__":
    main()
