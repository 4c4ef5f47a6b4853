"""Time extraction with the package's own detector, next to the floor: its multiplications at the machine's rate.

    python -m benchmarks.extraction                # one thread: half a minute

Cases: the whole work for 8 drawn images from compressed files in memory to regions, and its parts. The floor is what
the multiplications and additions, as PyTorch counts them, take at the rate of a matrix product timed in the same
run.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from benchmarks.side_by_side import Phase, Report, Work, argument_parser
from torch.utils.flop_counter import FlopCounterMode

from twelvefold.boxes import NO_BOXES
from twelvefold.detectors.world_detector.detector import ComputeDtype, WorldDetector, autocast_context
from twelvefold.detectors.world_detector.images import to_tensor
from twelvefold.detectors.world_detector.train_on_world import EVALUATION_SEED
from twelvefold.images import open_image
from twelvefold.model.model import has_fast_bf16
from twelvefold.world.draw import draw_jpeg
from twelvefold.world.scene import make_scene

IMAGES = 8
"""The detector's batch; all have one shape."""


def draw_files() -> list[bytes]:
    """Return JPEG files of drawn images of one shape that no training and no world uses."""
    files: list[bytes] = []
    index = 0
    while len(files) < IMAGES:
        scene = make_scene(EVALUATION_SEED, index)
        index += 1
        if (scene.width, scene.height) == (288, 224):
            files.append(draw_jpeg(scene))
    return files


def count_operations(run: Callable[[], object]) -> float:
    """Return the multiplications and additions of a call."""
    with FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops())


def part_runs(detector: WorldDetector, dtype: ComputeDtype, files: list[bytes]) -> dict[str, Callable[[], object]]:
    """Return a function for each part of the work, which begins with the outputs of the parts before."""
    network = detector._network
    images = [open_image(file) for file in files]
    tensor = to_tensor(images)
    with autocast_context(dtype):
        maps = network.backbone(tensor)
        boxes, _ = network.detect(maps, detector.max_regions)

    def in_dtype(run: Callable[[], object]) -> Callable[[], object]:
        def run_in_dtype() -> object:
            with autocast_context(dtype):
                return run()

        return run_in_dtype

    return {
        "files to tensor": lambda: to_tensor([open_image(file) for file in files]),
        "backbone": in_dtype(lambda: network.backbone(tensor)),
        "proposals and selection": in_dtype(lambda: network.detect(maps, detector.max_regions)),
        "features of the regions": in_dtype(lambda: network.describe(maps, boxes)),
    }


def whole_run(detector: WorldDetector, files: list[bytes]) -> Callable[[], object]:
    """Return a function that computes the regions of the files."""
    no_boxes = [NO_BOXES] * len(files)
    return lambda: detector.extract_regions([open_image(file) for file in files], no_boxes)


@torch.inference_mode()
def main() -> None:
    arguments = argument_parser(__doc__, rounds=9).parse_args()
    report = Report("extraction", arguments, unit="image")
    files = draw_files()
    dtypes: list[ComputeDtype] = ["float32", *(["bfloat16"] if has_fast_bf16("cpu") else [])]  # type: ignore[list-item]
    detectors = {dtype: WorldDetector.load(dtype=dtype) for dtype in dtypes}
    operations = count_operations(whole_run(detectors["float32"], files))
    precisions = {"float32": "fp32", "bfloat16": "bf16"}

    def floor(dtype: ComputeDtype, count: float) -> tuple[Phase, ...]:
        return (Phase(count, precision=precisions[dtype]),) if count else ()  # type: ignore[arg-type]

    works = [Work(d, whole_run(detectors[d], files), IMAGES, floor(d, operations)) for d in dtypes]
    report.add("files to regions", works)
    parts = {dtype: part_runs(detectors[dtype], dtype, files) for dtype in dtypes}
    for name, run in parts["float32"].items():
        count = count_operations(run)
        report.add(name, [Work(d, parts[d][name], IMAGES, floor(d, count)) for d in dtypes])
    report.write()


if __name__ == "__main__":
    main()
