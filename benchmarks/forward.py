"""Time evaluation: the package and the plain reference compute the same logits from the same weights and inputs.

    python -m benchmarks.forward                 # the published size, one thread: a minute or two
    python -m benchmarks.forward --size small    # a few seconds

Cases: texts and images of full length, and of real lengths (nine words and 38 regions on average), 8 examples at once;
and 48 examples of real lengths, of which the reference computes 8. ``bf16`` where the processor has matrix
instructions for it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from benchmarks.plain_reference import PlainVilbert, copy_weights, pad_inputs
from benchmarks.side_by_side import Phase, Report, Work, argument_parser
from benchmarks.workload import draw_lengths, fused_operations, make_model, random_batch, trunk_bytes
from torch import Tensor

from twelvefold.batch import Batch
from twelvefold.model import Model
from twelvefold.model.model import Precision, has_fast_bf16

TASK = "vqav2"
REFERENCE_BATCH = 8
TOLERANCE = 1e-5
"""Largest difference of logits in float32: the published size has forty products in a row, each rounded in the order of
the library that computes it (MKL in the reference, oneDNN in the package)."""
CASES = (("full", 8), ("real", 8), ("real", 48))
"""Lengths, and the number of examples that the package computes at once."""


def reference_run(model: Model, reference: PlainVilbert, batch: Batch) -> Callable[[], Tensor]:
    """Return a function that computes the logits of the first 8 examples, padded as the original does.

    As it pads every example to the same length, more examples take proportionally longer.
    """
    spec = model.tasks[batch.task]
    inputs = pad_inputs(batch, spec.max_tokens, spec.max_regions, model.task_tokens.index(spec.name))
    part = inputs.part(0, REFERENCE_BATCH)
    return lambda: reference(part)[spec.head]


def package_run(model: Model, batch: Batch, precision: Precision) -> Callable[[], Tensor]:
    """Return a function that computes the batch's logits."""

    def run() -> Tensor:
        model.precision = precision
        logits: Tensor = model(batch)
        return logits

    return run


def check_equal(report: Report, logits: Tensor, expected: Tensor) -> None:
    """Note how much the logits differ from the reference's; stop the benchmark if it is more than rounding."""
    difference = float((logits - expected).abs().max())
    if difference > TOLERANCE:
        raise SystemExit(f"the logits differ by {difference:.2g}: the times would be those of different work")
    report.largest_difference = max(report.largest_difference, difference)


def main() -> None:
    arguments = argument_parser(__doc__).parse_args()
    report = Report("forward", arguments)
    model = make_model(arguments.size)
    reference = copy_weights(model)
    with torch.inference_mode():
        for lengths, count in CASES:
            pairs = draw_lengths(lengths, count, model.tasks[TASK].max_tokens, np.random.default_rng(0))
            works = make_works(report, model, reference, random_batch(model, TASK, pairs))
            report.add(f"{lengths} lengths, {count} at once", works)
    report.write()


def make_works(report: Report, model: Model, reference: PlainVilbert, batch: Batch) -> list[Work]:
    """Return the versions that compute a batch, after checking that their logits agree."""
    plain, fp32 = reference_run(model, reference, batch), package_run(model, batch, "fp32")
    check_equal(report, fp32()[:REFERENCE_BATCH], plain())
    operations, weights, count = fused_operations(model.config, batch), trunk_bytes(model), len(batch.example_ids)
    works = [
        Work("plain reference", plain, REFERENCE_BATCH),
        Work("twelvefold", fp32, count, (Phase(operations, weights),)),
    ]
    if has_fast_bf16("cpu"):
        phases = (Phase(operations, weights / 2, "bf16"),)
        works.append(Work("twelvefold, bf16", package_run(model, batch, "bf16"), count, phases))
    return works


if __name__ == "__main__":
    main()
