"""GQA's functional programs: built from descriptions, and run on a scene to prove an answer.

A program is a list of operations, each on the results of earlier ones: ``select: dog (3)``, ``filter color: red``,
``relate: cup,on,s (5)`` (the thing sought is the relation's subject), ``query: color``. ``run`` goes by the words
alone, never by the object ids in brackets, so an answer that it reproduces is right. ``Differs:`` ``verify rel`` and
``choose rel`` depend on the steps that find both things, where GQA names the second by its id. Paper: section 2.1, G1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from twelvefold.schema import TwelvefoldError
from twelvefold.world.text.annotations import Operation
from twelvefold.world.text.description import TIMES_LARGER, Description, SceneGraph, holds, is_at_position, matches
from twelvefold.world.text.lexicon import CLASSES
from twelvefold.world.text.question_templates import certain_matches

RELATION_NAMES: Final = {"left of": "to the left of", "right of": "to the right of"}
"""GQA's names of relations; the others are called as in the scene."""
_RELATIONS: Final = {said: name for name, said in RELATION_NAMES.items()}
_FIELDS: Final = {"color": "color", "pattern": "pattern", "size": "size"}
ATTRIBUTE_NAMES: Final = {field: name for name, field in _FIELDS.items()}
ANYTHING: Final = "_"

Value = tuple[int, ...] | bool | str


class ProgramError(TwelvefoldError):
    """A program that has no answer in a scene: it speaks of one thing where there is none or are several."""


class Program:
    """Operations in the making; every method returns the place of the step that it added."""

    def __init__(self, graph: SceneGraph) -> None:
        self.graph = graph
        self.steps: list[Operation] = []

    def add(self, operation: str, argument: str, *dependencies: int) -> int:
        self.steps.append(Operation(operation, argument, dependencies))
        return len(self.steps) - 1

    def subject(self, description: Description) -> int:
        """Steps that find the things of a description without place and order."""
        name = description.category or description.class_ or ANYTHING
        if description.relation is not None:
            relation, other = description.relation
            base = self.subject(other)
            step = self.add("relate", f"{name},{_said(relation)},s ({self._ids(description)})", base)
        else:
            step = self.add("select", f"{name} ({self._ids(description)})")
        for field in ("size", "pattern", "color"):
            if getattr(description, field):
                step = self.add(f"filter {ATTRIBUTE_NAMES[field]}", getattr(description, field), step)
        return step

    def _ids(self, description: Description) -> str:
        found = [i for i in range(self.graph.count) if matches(self.graph, i, description) is not False]
        return ",".join(map(str, found)) or "-"


def written(steps: Sequence[Operation]) -> str:
    """``semanticStr``: ``select: dog (3)->query: color [0]``."""
    return "->".join(
        f"{s.operation}: {s.argument}" + (f" [{', '.join(map(str, s.dependencies))}]" if s.dependencies else "")
        for s in steps
    )


def _said(relation: str) -> str:
    return RELATION_NAMES.get(relation, relation)


def run(steps: Sequence[Operation], graph: SceneGraph) -> str:
    """The answer of a program in a scene.

    Raises: ProgramError where a step wants one thing and finds none or several; TwelvefoldError for an operation
    that does not exist.
    """
    values: list[Value] = []
    for step in steps:
        values.append(_step(step, [values[i] for i in step.dependencies], graph))
    last = values[-1]
    if isinstance(last, bool):
        return "yes" if last else "no"
    if isinstance(last, str):
        return last
    raise ProgramError(f"a program ends in an answer, got the things {last} from {written(steps)!r}")


def _step(step: Operation, inputs: list[Value], graph: SceneGraph) -> Value:
    verb, _, rest = step.operation.partition(" ")
    argument = step.argument
    match verb:
        case "select":
            name = argument.rpartition(" (")[0]
            return () if name == "scene" else _named(graph, name)
        case "filter":
            return tuple(i for i in _object_indices(inputs[0]) if _value(graph, i, rest) == argument)
        case "relate":
            name, relation, _ = argument.split(",", 2)
            return _related(graph, _only(inputs[0], step), relation, _named(graph, name))
        case "exist":
            return bool(_object_indices(inputs[0]))
        case "query" | "verify" | "choose":
            return _about(verb, rest or argument, step, inputs, graph)
        case "and":
            return bool(inputs[0]) and bool(inputs[1])
        case "or":
            return bool(inputs[0]) or bool(inputs[1])
        case "same" | "different":
            one, two = (_value(graph, _only(value, step), rest) for value in inputs)
            return (one == two) is (verb == "same")
    raise TwelvefoldError(f"no operation of a GQA program is called {step.operation!r} (argument {argument!r})")


def _about(verb: str, description: str, step: Operation, inputs: list[Value], graph: SceneGraph) -> Value:
    """``query``, ``verify`` and ``choose``: something of one thing, of two, or of the place."""
    if description == "rel":
        first, second = (_only(value, step) for value in inputs)
        relations = step.argument.split(",")[1].split("|")
        held = [said for said in relations if holds(graph, _RELATIONS.get(said, said), first, second)]
        return bool(held) if verb == "verify" else held[0] if len(held) == 1 else "neither"
    if description == "larger":
        one, two = (_only(value, step) for value in inputs)
        if max(graph.area[one], graph.area[two]) < TIMES_LARGER * min(graph.area[one], graph.area[two]):
            raise ProgramError(f"neither of {one} and {two} is clearly larger")
        return graph.objects[one if graph.area[one] > graph.area[two] else two].category
    own = graph.scene.background if description == "place" else _value(graph, _only(inputs[0], step), description)
    if verb == "query":
        return own
    if verb == "verify":
        return own == step.argument
    return own if own in step.argument.split("|") else "neither"


def _named(graph: SceneGraph, name: str) -> tuple[int, ...]:
    if name == ANYTHING:
        return tuple(range(graph.count))
    description = Description(class_=name) if name in CLASSES else Description(category=name)
    found = certain_matches(graph, description)
    if found is None:
        raise ProgramError(f"whether a thing of the picture is a {name} is open to argument")
    return found


def _related(graph: SceneGraph, base: int, relation: str, among: Sequence[int]) -> tuple[int, ...]:
    name = _RELATIONS.get(relation, relation)
    return tuple(i for i in among if i != base and holds(graph, name, i, base) is not False)


def _value(graph: SceneGraph, index: int, name: str) -> str:
    if name == "name":
        return graph.objects[index].category
    if name == "hposition":
        return (
            "left"
            if is_at_position(graph, "left", index)
            else "right"
            if is_at_position(graph, "right", index)
            else "middle"
        )
    return str(getattr(graph.objects[index], _FIELDS[name]))


def _object_indices(value: Value) -> tuple[int, ...]:
    if isinstance(value, tuple):
        return value
    raise ProgramError(f"a step wants things, got the answer {value!r}")


def _only(value: Value, step: Operation) -> int:
    objects = _object_indices(value)
    if len(objects) != 1:
        raise ProgramError(f"{step.operation}: {step.argument} speaks of one thing, the picture has {len(objects)}")
    return objects[0]
