"""Examples are selected at random, whatever the order of the predictions."""

from __future__ import annotations

from twelvefold.evaluation.predictions import PredictionRecord
from twelvefold.reporting.examples import is_right, select_records
from twelvefold.schema import Ranked


def make_records(n: int) -> list[PredictionRecord]:
    return [PredictionRecord(str(i), "gqa", float(i % 3 == 0), (Ranked(1.0, "x"),)) for i in range(n)]


def test_the_selection_depends_on_the_seed_and_not_on_the_order() -> None:
    selected = select_records(make_records(60), str, seed=0)
    assert [is_right(record) for record in selected] == [True, True, False, False]
    assert selected == select_records(make_records(60)[::-1], str, seed=0)
    assert selected != select_records(make_records(60), str, seed=1)


def test_the_selection_prefers_different_images() -> None:
    selected = select_records(make_records(60), lambda id_: str(int(id_) % 4), seed=0)
    assert len({int(record.id) % 4 for record in selected}) == 4


def test_few_examples_are_all_selected_but_not_withheld_ones() -> None:
    withheld = PredictionRecord("w", "gqa", None, ())
    assert [record.id for record in select_records([*make_records(2), withheld], str, seed=0)] == ["0", "1"]
