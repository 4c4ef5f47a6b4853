"""Numbers of recipes and settings are finite and bounded, so that every recipe that is accepted can be read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from twelvefold.config import loading
from twelvefold.config.model import preset
from twelvefold.config.recipe import EvaluationConfig, PretrainingConfig, Recipe, TaskConfig
from twelvefold.config.training import TrainingConfig
from twelvefold.schema import TwelvefoldError
from twelvefold.server.settings import gather

HEAD = 'name = "r"\ntasks = ["gqa"]\n'
TABLES = {
    "training": TrainingConfig,
    "evaluation": EvaluationConfig,
    "every_task": TaskConfig,
    "pretraining": PretrainingConfig,
}
FLOATS = ("inf", "-inf", "nan", "-1.0", "1e300")


def numeric_fields(table: Any) -> list[str]:
    return [
        f.name
        for f in msgspec.structs.fields(table)
        if isinstance(f.default, int | float) and f.default is not True and f.default is not False
    ] + [name for name in ("lr", "batch_size") if name in table.__struct_fields__]


@pytest.mark.parametrize(
    ("table", "key"), [(table, key) for table, type_ in TABLES.items() for key in numeric_fields(type_)]
)
def test_no_number_of_a_recipe_is_infinite_negative_or_huge(table: str, key: str) -> None:
    for value in (*FLOATS, "-3", "1" * 30):
        with pytest.raises(TwelvefoldError, match=key):
            Recipe.parse(f"{HEAD}[{table}]\n{key} = {value}\n")


@pytest.mark.parametrize("value", ["inf", "nan", "-1", "1" * 25])
@pytest.mark.parametrize("key", ["seed", "model.dropout", "model.init_scale", "model.text_ffn_dim", "world.seed"])
def test_seeds_and_sizes_are_bounded(key: str, value: str) -> None:
    with pytest.raises(TwelvefoldError, match=key.rpartition(".")[2]):
        Recipe.parse(f"{key} = {value}\n{HEAD}")


def test_options_of_readers_are_finite_too() -> None:
    with pytest.raises(TwelvefoldError, match=r"\[every_task.options\] pool must be a finite number, got inf"):
        Recipe.parse(f"{HEAD}[every_task.options]\npool = inf\n")


@pytest.mark.parametrize("size", [0, -5, 1 << 30])
def test_sizes_of_a_model_are_bounded(size: int) -> None:
    with pytest.raises(TwelvefoldError, match=r"feature_size must be between 1 and 1,048,576"):
        preset("small", feature_size=size)


def test_every_text_that_a_recipe_may_hold_is_read_back() -> None:
    texts = {f"key {i}": chr(i) for i in (*range(0x20), 0x22, 0x5C, 0x7F, 0x80, 0xFEFF, 0xFFFF, 0x1F600)}
    text = loading.to_toml({"table": texts, "number": 1e22, "small": 5e-324})
    assert loading.parse_tables(text, "recipe") == {"table": texts, "number": 1e22, "small": 5e-324}


def test_settings_of_the_server_are_finite(tmp_path: Path) -> None:
    (tmp_path / "serve.toml").write_bytes(b"\xef\xbb\xbftime_limit = inf\n")
    with pytest.raises(TwelvefoldError, match="time_limit"):
        gather(tmp_path / "serve.toml", {}, {})
