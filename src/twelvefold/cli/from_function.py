"""Make commands from functions: the options, their types, defaults and help are the function's own.

A command consists of a function of the package and a function that shows its result. Parameters before ``*`` are
positional. A parameter that is a dataclass of ``config/`` becomes an option for each field. ``--json`` prints the
result instead of showing it.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
import textwrap
import types
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from cyclopts import Parameter, Token
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from twelvefold.config.recipe import Recipe
from twelvefold.environment import is_main_process
from twelvefold.printable import print_json, printable_text
from twelvefold.schema import TwelvefoldError


def split_names(hint: Any, tokens: Sequence[Token]) -> tuple[str, ...]:
    """Return the names of an option in any of its forms: ``a b``, ``a,b``, and ``a`` of each repeated option.

    Raises:
        TwelvefoldError: there is no name.
    """
    names = tuple(name for token in tokens for name in token.value.replace(",", " ").split())
    if not names:
        raise TwelvefoldError("--tasks needs a name: `twelvefold datasets` lists those of the package")
    return names


TaskNames = Annotated[
    tuple[str, ...],
    Parameter(converter=split_names, n_tokens=-1, accepts_keys=False, consume_multiple=True, negative=""),
]
"""Names of tasks, in the form that every command takes."""


def parse_answer_files(hint: Any, tokens: Sequence[Token]) -> dict[str, Path]:
    """Return files of answers by task from ``vqav2=label2ans.pkl``.

    Raises:
        TwelvefoldError: an argument of another form, or a task twice.
    """
    files: dict[str, Path] = {}
    for token in tokens:
        task, equals, path = token.value.partition("=")
        if not equals or not task or not path or task in files:
            raise TwelvefoldError(
                f"expected an answer list as vqav2=label2ans.pkl, once for each task; got {token.value!r}"
            )
        files[task] = Path(path)
    return files


ANSWER_FILES = Parameter(
    converter=parse_answer_files, n_tokens=-1, accepts_keys=False, consume_multiple=True, negative=""
)
"""How every command takes answer lists: ``vqav2=label2ans.pkl gqa=answers.json``, or the option repeated."""

Device = Annotated[
    str | None,
    Parameter(
        help="Where to compute: cpu, cuda, cuda:1 or another device of PyTorch; auto means a GPU if there is one. "
        "Default: what the recipe says, or auto; detectors and exports: cpu."
    ),
]
"""The option of all commands that compute; :func:`twelvefold.cli.computing.computing_on` applies it."""

Json = Annotated[bool, Parameter(help="Print the result as JSON.", negative="")]

Html = Annotated[Path | None, Parameter(help="Also write the result to this file, as a page that needs no network.")]

MAX_LINES = 20
"""Lines of a long list that are shown; ``--json`` prints all."""

EXAMPLE_WIDTH = 72
"""Width of an example in the help; with its margin and a backslash it fits into 80 columns."""

LOG_WIDTH = 120
"""Width of tables where the output is not a terminal."""


@dataclass(frozen=True)
class Output:
    """What a command shows. ``exit_code``: 0 if all is well, 1 if the command found a problem."""

    text: str = ""
    tables: Sequence[str | Table] = ()
    exit_code: int = 0
    json: Any = field(default=None)
    """What ``--json`` prints instead of the result, if not None."""


@dataclass(frozen=True, slots=True)
class Flag:
    """An option without a value. ``change``: changes the arguments by name if the flag is set."""

    name: str
    help: str
    change: Callable[[dict[str, Any]], None]

    def parameter(self) -> inspect.Parameter:
        """Return the flag as a parameter of a command."""
        annotation = Annotated[bool, Parameter(negative="", help=self.help)]
        return inspect.Parameter(self.name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=annotation)


def command(
    function: Callable[..., Any],
    *,
    example: str,
    problem: str = "",
    options: Collection[str] = (),
    hidden: Collection[str] = (),
    flags: Collection[Flag] = (),
    computes: Callable[[str | None], AbstractContextManager[None]] | None = None,
    writes_page: Callable[[Path, Any], None] | None = None,
    **parameters: Parameter,
) -> Callable[[Callable[[Any, Mapping[str, Any]], Output]], Callable[..., int]]:
    """Return a decorator that turns ``show(result, arguments)`` into a command, which calls ``function`` and shows its
    result.

    ``example``: commands shown in the help. ``problem``: when the exit code is 1, for the help. ``options``: parameters
    that become options although the function takes them by position. ``hidden``: parameters that the command does not
    have. ``flags``: further options, without a parameter of their own. ``computes``: the command has ``--device``,
    and this function applies it; if a dataclass has the field ``device``, that is the option. ``writes_page``: the
    command has ``--html FILE``, and this function writes a page of the result.
    ``parameters``: cyclopts settings of single parameters by name, such as another name of the option.
    """
    signature, hints = inspect.signature(function), get_type_hints(function, include_extras=True)
    optional = {name for name in options if type(None) in get_args(hints[name])}
    used = [parameter for name, parameter in signature.parameters.items() if name not in hidden]
    visible = [_parameter(p, hints[p.name], parameters.get(p.name), is_option=p.name in options) for p in used]
    configs: dict[str, Any] = {
        p.name: hint for p in used if dataclasses.is_dataclass(hint := _without_none(hints[p.name]))
    }
    defaults = {name: config() for name, config in configs.items()}
    default_devices = [getattr(config, "device", None) for config in defaults.values()]
    visible = [p.replace(kind=p.KEYWORD_ONLY, default=defaults[p.name]) if p.name in defaults else p for p in visible]
    added = {"device": Device} if computes and not any(default_devices) else {}
    added |= {"html": Html} if writes_page else {}
    visible += [_option(name, annotation, None) for name, annotation in added.items()]
    visible += [_option("json", Json, default=False), *(flag.parameter() for flag in flags)]
    visible.sort(key=lambda parameter: parameter.kind)

    def decorate(show: Callable[[Any, Mapping[str, Any]], Output]) -> Callable[..., int]:
        def run(*args: Any, json: bool = False, **kwargs: Any) -> int:
            bound = dict.fromkeys(optional) | inspect.Signature(visible).bind(*args, **kwargs).arguments
            for flag in flags:
                if bound.pop(flag.name, False):
                    flag.change(bound)
            chosen = [getattr(bound.get(name, config), "device", None) for name, config in defaults.items()]
            device = bound.pop("device", None) or next((d for d in chosen if d not in default_devices), None)
            page = bound.pop("html", None) if writes_page else None
            with computes(device) if computes else nullcontext():
                result = function(**bound)
            if writes_page and page is not None:
                writes_page(page, result)
            return print_result(result, show(result, bound), json=json)

        run.__name__ = run.__qualname__ = show.__name__
        run.__doc__ = _command_help(function, example, problem)
        run.__signature__ = inspect.Signature(visible)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in visible}
        return run

    return decorate


def print_result(result: Any, output: Output, *, json: bool = False) -> int:
    """Print a result, as JSON or for a person, and return the exit code. Of several ranks only rank 0 prints."""
    if not is_main_process():
        return output.exit_code
    if json:
        print_json(result if output.json is None else output.json, indent=1)
        return output.exit_code
    console = Console() if sys.stdout.isatty() else Console(width=LOG_WIDTH)
    for table in output.tables:
        if isinstance(table, Table):
            keep_words_whole(table, console)
        console.print(table, highlight=False)
    if output.text:
        console.print(printable_text(output.text), markup=False, highlight=False, soft_wrap=True)
    return output.exit_code


def keep_words_whole(table: Table, console: Console) -> None:
    """Set the widths of a table's columns, and the console's if need be, so that no word is cut: names can be typed."""
    ranges, wide = [], console.options.update(width=10**4)
    for column in table.columns:
        sizes = [Measurement.get(console, wide, cell) for cell in (column.header, *column.cells)]
        ranges.append((max(size.minimum for size in sizes), max(size.maximum for size in sizes)))
        column.min_width = ranges[-1][0]
    smallest = Measurement.get(console, wide, table).minimum
    console.width = max(console.width, smallest)
    growth = sum(most - least for least, most in ranges)
    share = min(1.0, (console.width - smallest) / growth) if growth else 0.0
    for column, (least, most) in zip(table.columns, ranges, strict=True):
        column.width = least + int(share * (most - least))


def first_lines(label: str, entries: Sequence[object] | Mapping[Any, object]) -> list[str]:
    """Return a line for each of the first entries, and how many more there are."""
    pairs = [f"{key}: {value}" for key, value in entries.items()] if isinstance(entries, Mapping) else entries
    lines = [f"{label}: {entry}" for entry in pairs[:MAX_LINES]]
    more = len(pairs) - MAX_LINES
    return [*lines, f"{label}: {more:,} more (--json prints all)"] if more > 0 else lines


def _option(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _parameter(
    parameter: inspect.Parameter, hint: Any, override: Parameter | None, *, is_option: bool
) -> inspect.Parameter:
    """Return a parameter of a function as one of a command; ``is_option``: although the function has it by position."""
    if is_option:
        default = None if type(None) in get_args(hint) else parameter.default
        parameter = parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, default=default)
    return parameter.replace(annotation=_annotation(parameter, hint, override))


def _annotation(parameter: inspect.Parameter, hint: Any, override: Parameter | None) -> Any:
    """Return the type of a parameter, annotated for cyclopts."""
    if hint is Recipe or Recipe in get_args(hint):
        hint = Annotated[hint, Parameter(converter=_load_recipe, n_tokens=1, accepts_keys=False)]
    elif dataclasses.is_dataclass(_without_none(hint)):
        hint = Annotated[_without_none(hint), Parameter(name="*")]
    elif hint is bool and parameter.default is False:
        hint = Annotated[hint, Parameter(negative="")]
    elif parameter.name == "tasks" and override is None:
        hint = TaskNames
    elif parameter.kind is inspect.Parameter.KEYWORD_ONLY and get_origin(hint) in (tuple, Sequence):
        items: Any = tuple.__class_getitem__((get_args(hint)[0], Ellipsis))
        hint = Annotated[items, Parameter(consume_multiple=True, negative="")]
    return hint if override is None else Annotated[hint, override]


def _without_none(hint: Any) -> Any:
    """Return ``T`` of ``T | None``, and any other type as it is."""
    members = [member for member in get_args(hint) if member is not type(None)]
    return members[0] if isinstance(hint, types.UnionType) and len(members) == 1 else hint


def _load_recipe(hint: Any, tokens: Sequence[Any]) -> Recipe:
    return Recipe.load(tokens[0].value)


def _command_help(function: Callable[..., Any], example: str, problem: str) -> str:
    """Return the function's docstring with the example, and when the exit code is 1, after its first paragraph.

    Long examples continue on the next line as a shell allows it, so that they can be copied from a narrow terminal.
    """
    summary, _, rest = inspect.cleandoc(function.__doc__ or "").partition("\n\n")
    lines = (
        " \\\n    ".join(textwrap.wrap(line, EXAMPLE_WIDTH, break_long_words=False, break_on_hyphens=False))
        for line in textwrap.dedent(example).strip().replace("\\\n", "").splitlines()
    )
    block = "\n".join(["```", *lines, "```"])
    return "\n\n".join([summary, block, *([f"Exit code 1 if {problem}."] if problem else []), rest])
