"""Answer lists of other projects are used instead of counted ones, by option and in a recipe, and what they cover is
counted."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from twelvefold import cli
from twelvefold.config.recipe import Recipe
from twelvefold.schema import TwelvefoldError
from twelvefold.store.prepared import Prepared

from .conftest import ASKS, FINDS, Write, run


@pytest.fixture
def answers(tmp_path: Path, data: Path) -> Path:
    """Write an answer list; of the four train questions, three have the answer ``yes`` and one ``blue``."""
    path = data / "asks" / "train.json"
    records = json.loads(path.read_text())
    records[1]["text"] = "blue"
    path.write_text(json.dumps(records))
    file = tmp_path / "answers.json"
    file.write_text('["no", "yes", "maybe"]')
    return file


def vocabulary(data: Path) -> tuple[str, ...]:
    return Prepared.open(data.parent / "out").vocabulary("asks")


def test_a_list_is_used_instead_of_counting_and_the_questions_with_an_answer_are_counted(
    data: Path, answers: Path
) -> None:
    counted = run(data, None, clean="none").answer_lists["asks"]
    assert (counted.file, counted.answers, counted.answered) == ("", 2, {"asks": 4})
    summary = run(data, None, clean="none", answers={"asks": str(answers)})
    assert summary.new_steps == ("asks-vocabulary",)
    assert vocabulary(data) == ("no", "yes", "maybe")
    use = summary.answer_lists["asks"]
    assert (use.answers, use.questions, use.answered) == (3, {"asks": 4}, {"asks": 3})
    line = "3 answers of {}; 3 of 4 train questions of asks have one of them (75.0 %)"
    assert line.format(answers) in use.describe("asks")
    # Only the questions that are used count: cleaning removes two of the three that have the answer.
    assert run(data, None, answers={ASKS: str(answers)}).answer_lists["asks"].questions == {"asks": 2}


def test_a_changed_list_is_noticed_and_the_same_list_in_another_form_is_not(data: Path, answers: Path) -> None:
    first = Prepared.open(run(data, None, answers={"asks": str(answers)}).folder).digest
    other = answers.with_suffix(".pkl")
    other.write_bytes(pickle.dumps({"no": 0, "yes": 1, "maybe": 2}, protocol=2))
    assert run(data, None, answers={"asks": str(other)}).new_steps == ()
    answers.write_text('["no", "yes"]')
    assert run(data, None, answers={"asks": str(answers)}).new_steps == ("asks-vocabulary",)
    assert Prepared.open(data.parent / "out").digest != first
    assert run(data, None).new_steps == ("asks-vocabulary",)
    assert vocabulary(data) == ("yes", "blue")


def test_a_stated_list_replaces_the_configured_one_and_must_be_used(data: Path, answers: Path) -> None:
    (data / "mine.json").write_text('["yes"]')
    run(data, None, answers={"asks": str(answers)}, answer_lists={ASKS: data / "mine.json"})
    assert vocabulary(data) == ("yes",)
    run(data, None, answers={"asks": ""})  # counted: a recipe can undo what the one that it extends has
    assert vocabulary(data) == ("yes", "blue")
    with pytest.raises(TwelvefoldError, match="no answer list is needed for 'gqa'; the tasks with one are asks"):
        run(data, None, answer_lists={"gqa": answers})
    # A configured list may be of a task that the recipe does not train: recipes extend each other.
    summary = run(data, None, answers={"gqa": str(answers)})
    assert summary.notes == (f"the answer list of gqa, {answers}, is not used: no task that is prepared has it",)
    with pytest.raises(TwelvefoldError, match="no answer list is needed for 'finds'"):
        run(data, None, answers={"finds": str(answers)})


def test_a_list_without_any_answer_of_the_questions_is_refused(data: Path, answers: Path) -> None:
    answers.write_text('["left", "right"]')
    with pytest.raises(TwelvefoldError, match=r"none of the 2 train questions of asks has an answer .* 'left'"):
        run(data, None, answers={"asks": str(answers)})
    assert not (data.parent / "out" / "prepared.json").exists()


def test_options_and_recipe_give_the_same_list(data: Path, regions: Path, answers: Path, write: Write) -> None:
    recipe = data.parent / "mine.toml"
    recipe.write_text(f'name = "mine"\ntasks = ["{ASKS}", "{FINDS}"]\n[data]\nmin_count = 1\n')
    out = data.parent / "out"
    for options in (f"--answers asks={answers}", f"--answers={ASKS}={answers}"):
        command = f"prepare {data} {regions} {out} --recipe {recipe} {options}"
        assert cli.app(command, result_action="return_value") == 0
        assert vocabulary(data) == ("no", "yes", "maybe")
    recipe.write_text(f'{recipe.read_text()}answers = {{ asks = "{answers}" }}\n')
    assert Recipe.parse(Recipe.load(recipe).to_toml()).data.answers == {"asks": str(answers)}
    assert cli.app(f"prepare {data} {regions} {out} --recipe {recipe}", result_action="return_value") == 0
    assert vocabulary(data) == ("no", "yes", "maybe")


def test_every_form_of_the_option_is_read(data: Path, regions: Path, answers: Path) -> None:
    command = f"prepare {data} {regions} {data.parent / 'out'} --recipe smoke"
    for options, message in (
        (f"--answers asks={answers} pets={answers}", "no answer list is needed for 'asks'"),
        (f"--answers vqav2={answers} --answers vqav2={answers}", "once for each task"),
        (f"--answers {answers}", "expected an answer list as vqav2=label2ans.pkl"),
        ("--answers vqav2=missing.pkl", "no answer list missing.pkl"),
    ):
        with pytest.raises(TwelvefoldError, match=message):
            cli.app(f"{command} {options}", result_action="return_value", exit_on_error=False)
