"""The tabs of the page: what to ask of each task of the loaded model, and how."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

from twelvefold import datasets
from twelvefold.config import default_tasks
from twelvefold.families import Family, answers, grounding, load_family, retrieval, verification
from twelvefold.schema import HeadSpec, TaskForm, TaskSpec
from twelvefold.server import schemas
from twelvefold.serving.request import lists_candidates

GROUND = TaskForm(
    tab="Phrases",
    heading="Find every phrase of a caption",
    label="Caption",
    placeholder="A dog next to a red car",
    hint="Mark phrases with [square brackets]; the model finds a box for each.",
    verb="Ground",
)
MAX_CLASSES = 8
"""Outputs that a hint lists; a longer list is an answer list."""

Method = Literal["ask", "find", "point", "choose", "guess", "compare", "entails", "ground", "answer"]


class _Call(NamedTuple):
    """An endpoint of a task: its name and the name of its field for the text."""

    method: Method
    field: str


_CALLS: Mapping[tuple[str, str], _Call] = {
    (grounding.FAMILY.name, default_tasks.CHOOSE): _Call("choose", "question"),
    (grounding.FAMILY.name, default_tasks.GUESS): _Call("guess", "dialogue"),
    (verification.FAMILY.name, default_tasks.COMPARE): _Call("compare", "statement"),
    (verification.FAMILY.name, default_tasks.ENTAILS): _Call("entails", "statement"),
}
"""Endpoints of a single task, by family and task."""


def make_forms(tasks: Iterable[TaskSpec], heads: Mapping[str, HeadSpec]) -> list[schemas.FormOut]:
    """Return the tabs for a model with these tasks; tasks with the same form share a tab.

    Tabs with fewer images come first, else in the order of the tasks.
    ``heads``: of the model, by name. A task of your own has its family's form, with its own title as the tab.
    """
    forms: dict[tuple[str, ...], schemas.FormOut] = {}
    grounded: list[schemas.FormTask] = []
    for spec in tasks:
        family, call = load_family(spec.family), _find_call(spec)
        form = _task_form(spec, family)
        task = schemas.FormTask(name=spec.name, title=spec.title)
        if call.method == "point":
            grounded.append(task)
        key = (call.method, form.tab)
        if key in forms:
            forms[key].tasks.append(task)
            continue
        forms[key] = schemas.FormOut(
            key=f"{call.method}-{spec.name}",
            **_texts(form, _hint(form, heads.get(spec.head))),
            method=call.method,
            field=call.field,
            input=_input(family, call),
            images=None if family.searches_images else 1 if family.chooses_text else spec.pairs_per_example,
            boxes=family.chooses_region,
            candidates=family.chooses_region and (call.method == "answer" or lists_candidates(spec.name)),
            independent=family.independent,
            takes_task=call.method not in ("choose", "guess", "compare", "entails"),
            tasks=[task],
        )
    tabs = [*forms.values(), *_ground_form(grounded)]
    return sorted(tabs, key=lambda tab: math.inf if tab.images is None else tab.images)


def _find_call(spec: TaskSpec) -> _Call:
    """Return the endpoint that asks a task; ``answer`` takes any."""
    family = load_family(spec.family)
    if (spec.family, spec.name) in _CALLS:
        return _CALLS[spec.family, spec.name]
    if family is answers.FAMILY and spec.pairs_per_example == 1:
        return _Call("ask", "question")
    if family is retrieval.FAMILY:
        return _Call("find", "text")
    if family is grounding.FAMILY and datasets.is_built_in(spec.name) and not lists_candidates(spec.name):
        return _Call("point", "phrase")
    return _Call("answer", "texts" if family.chooses_text else "text")


def _input(family: Family, call: _Call) -> schemas.FormInput:
    if call.method == "guess":
        return "dialogue"
    return "texts" if family.chooses_text else "text"


def _task_form(spec: TaskSpec, family: Family) -> TaskForm:
    """Return the form of a dataset, or else of its family; a task of your own without one keeps its title."""
    if spec.form is not None:
        return spec.form
    form = family.form or TaskForm(tab=family.title, heading=family.title, label=family.text_label)
    if datasets.is_built_in(spec.name):
        own: TaskForm = getattr(datasets.load_dataset(spec.name), "FORM", form)
        return own
    return TaskForm(spec.title, f"{form.heading}: {spec.title}", form.label, form.placeholder, form.hint, form.verb)


def _hint(form: TaskForm, head: HeadSpec | None) -> str:
    """Return the form's hint, or else the classes to choose from if they are few."""
    if form.hint or head is None or not 0 < len(head.outputs) <= MAX_CLASSES:
        return form.hint
    return f"The answer is one of: {', '.join(head.outputs)}."


def _texts(form: TaskForm, hint: str) -> dict[str, Any]:
    return {
        "tab": form.tab,
        "title": form.heading,
        "label": form.label,
        "example": form.placeholder,
        "hint": hint,
        "verb": form.verb,
    }


def _ground_form(tasks: list[schemas.FormTask]) -> list[schemas.FormOut]:
    """Return the tab for all phrases of a caption, which the tasks that point at a phrase answer; none without them."""
    if not tasks:
        return []
    form = schemas.FormOut(
        key=f"ground-{tasks[0].name}",
        **_texts(GROUND, GROUND.hint),
        method="ground",
        field="caption",
        input="phrases",
        images=1,
        boxes=True,
        candidates=False,
        independent=False,
        takes_task=True,
        tasks=tasks,
    )
    return [form]
