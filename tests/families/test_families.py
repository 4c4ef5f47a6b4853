"""Families are the modules of a folder, and every one of them is complete."""

from __future__ import annotations

from pathlib import Path

import pytest

from twelvefold import families
from twelvefold.config.model import preset
from twelvefold.families import family_names, load_family
from twelvefold.families.answers import FAMILY as ANSWERS
from twelvefold.schema import TwelvefoldError


def test_families_are_the_modules_of_the_folder_in_the_order_of_their_groups() -> None:
    folder = Path(families.__file__).parent
    assert set(family_names()) == {path.stem for path in folder.glob("*.py")} - {"__init__"}
    groups = [load_family(name).group for name in family_names()]
    assert groups == sorted(groups)


@pytest.mark.parametrize("name", family_names())
def test_a_family_states_all_that_others_need(name: str) -> None:
    family = load_family(name)
    assert family.name == name
    assert family.title
    assert family.text_label
    assert family.logits_description
    assert family.initial_bias(preset("vilbert_base")) == 0.0


def test_an_unknown_family_is_an_error_with_the_closest_name() -> None:
    assert load_family("answers") is ANSWERS
    with pytest.raises(TwelvefoldError, match=r"'groundin'.*did you mean 'grounding'"):
        load_family("groundin")
