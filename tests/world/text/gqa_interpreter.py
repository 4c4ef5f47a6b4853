"""An interpreter of GQA's programs, which proves the answers of the world's questions.

It uses the words of a program and never the object ids in parentheses, so an answer that it reproduces is correct.
"""

from __future__ import annotations

from collections.abc import Sequence

from twelvefold.world.text.annotations import Operation
from twelvefold.world.text.description import ObjectDescription
from twelvefold.world.text.gqa.program import ANY_OBJECT, GQA_RELATIONS, format_program
from twelvefold.world.text.lexicon import HYPERNYMS
from twelvefold.world.text.scene_graph import SceneGraph

_SCENE_RELATIONS = {gqa_name: name for name, gqa_name in GQA_RELATIONS.items()}
Value = tuple[int, ...] | bool | str


class ProgramError(Exception):
    """A program without an answer in a scene."""


def run_program(steps: Sequence[Operation], graph: SceneGraph) -> str:
    """Return the answer of a program in a scene.

    Raises:
        ProgramError: A step needs one object and finds none or several, or an operation does not exist.
    """
    values: list[Value] = []
    for step in steps:
        values.append(_run_step(step, [values[i] for i in step.dependencies], graph))
    answer = values[-1]
    if isinstance(answer, bool):
        return "yes" if answer else "no"
    if isinstance(answer, str):
        return answer
    raise ProgramError(f"a program must end in an answer, got the objects {answer} from {format_program(steps)!r}")


def _run_step(step: Operation, inputs: list[Value], graph: SceneGraph) -> Value:
    verb, _, attribute = step.operation.partition(" ")
    argument = step.argument
    match verb:
        case "select":
            name = argument.rpartition(" (")[0]
            return () if name == "scene" else _objects_named(graph, name)
        case "filter":
            return tuple(i for i in _objects(inputs[0]) if _value(graph, i, attribute) == argument)
        case "relate":
            name, relation, _ = argument.split(",", 2)
            relation, base = _SCENE_RELATIONS.get(relation, relation), _only(inputs[0], step)
            objects = (i for i in _objects_named(graph, name) if i != base)
            return tuple(i for i in objects if graph.relation_holds(relation, i, base) is not False)
        case "exist":
            return bool(_objects(inputs[0]))
        case "query" | "verify" | "choose":
            return _query(verb, attribute or argument, step, inputs, graph)
        case "and":
            return bool(inputs[0]) and bool(inputs[1])
        case "or":
            return bool(inputs[0]) or bool(inputs[1])
        case "same" | "different":
            first, second = (_value(graph, _only(value, step), attribute) for value in inputs)
            return (first == second) is (verb == "same")
    raise ProgramError(f"GQA programs have no operation {step.operation!r} (argument {argument!r})")


def _query(verb: str, topic: str, step: Operation, inputs: list[Value], graph: SceneGraph) -> Value:
    """Run ``query``, ``verify`` and ``choose`` on an object, two objects, or the background."""
    if topic == "rel":
        first, second = (_only(value, step) for value in inputs)
        relations = step.argument.split(",")[1].split("|")
        true = [r for r in relations if graph.relation_holds(_SCENE_RELATIONS.get(r, r), first, second)]
        return bool(true) if verb == "verify" else true[0] if len(true) == 1 else "neither"
    if topic == "larger":
        first, second = (_only(value, step) for value in inputs)
        if not graph.differ_in_size(first, second):
            raise ProgramError(f"neither of the objects {first} and {second} is clearly larger")
        return graph.objects[first if graph.area[first] > graph.area[second] else second].category
    value = graph.scene.background if topic == "place" else _value(graph, _only(inputs[0], step), topic)
    if verb == "query":
        return value
    if verb == "verify":
        return value == step.argument
    return value if value in step.argument.split("|") else "neither"


def _objects_named(graph: SceneGraph, name: str) -> tuple[int, ...]:
    if name == ANY_OBJECT:
        return tuple(range(graph.num_objects))
    description = ObjectDescription(hypernym=name) if name in HYPERNYMS else ObjectDescription(category=name)
    objects = graph.undisputed_matches(description)
    if objects is None:
        raise ProgramError(f"people disagree whether an object of the scene is a {name}")
    return objects


def _value(graph: SceneGraph, index: int, attribute: str) -> str:
    if attribute == "hposition":
        sides = (side for side in ("left", "right") if graph.is_at_position(side, index))
        return next(sides, "middle")
    return str(getattr(graph.objects[index], "category" if attribute == "name" else attribute))


def _objects(value: Value) -> tuple[int, ...]:
    if isinstance(value, tuple):
        return value
    raise ProgramError(f"expected objects, got the answer {value!r}")


def _only(value: Value, step: Operation) -> int:
    objects = _objects(value)
    if len(objects) != 1:
        raise ProgramError(f"{step.operation}: {step.argument}: expected one object, the scene has {len(objects)}")
    return objects[0]
