"""The overlap of a world's tasks, computed from its plan."""

from __future__ import annotations

from twelvefold.world.sources import TASKS, PlannedImage, is_test


def overlap_percentages(images: tuple[PlannedImage, ...]) -> dict[str, dict[str, float]]:
    """Return the percentage of the row task's test images in the column task's train and val sets (Table 1)."""
    tests = {task: {p.index for p in images if is_test(p.splits.get(task, ""))} for task in TASKS}
    trains = {task: {p.index for p in images if task in p.splits and p.index not in tests[task]} for task in TASKS}
    return {
        row: {column: 100 * len(tests[row] & trains[column]) / len(tests[row]) for column in TASKS} for row in TASKS
    }
