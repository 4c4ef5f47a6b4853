"""The command line. A command's module, and with it torch, is imported only when that command is called.

Exit codes: 0 success, 1 the command found a problem, 2 bad input, 3 an audit or a
comparison of runs could not examine everything.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from cyclopts import App, ArgumentCollection, Group, Parameter
from rich.console import Console

from twelvefold.printable import never_fail_to_print, printable_text
from twelvefold.schema import TwelvefoldError

GROUPS = {
    "Start": {
        "demo": ("training:demo", "Build a world, train one model on twelve tasks, score it, and write a report."),
    },
    "Use a model": {
        "ask": ("use:ask", "Answer a question about an image."),
        "find": ("use:find", "Rank images by how well a text describes them."),
        "point": ("use:point", "Point at what a phrase means."),
        "choose": ("use:choose", 'Answer a "which" question by a box.'),
        "guess": ("use:guess", "Guess the object that a dialogue is about."),
        "compare": ("use:compare", "Decide whether a statement is true of two images."),
        "entails": ("use:entails", "Decide whether an image entails a statement."),
        "ground": ("use:ground", "Find a box for each phrase of a caption."),
        "answer": ("use:answer", "Answer many requests, one line of JSON each."),
        "index": ("index:app", "Make an index of images and search it by text."),
        "serve": ("serve:serve", "Serve a model: a web page and a REST API."),
    },
    "Get data": {
        "datasets": ("data:datasets", "List the datasets: files, sources, sizes, licenses."),
        "fetch": ("fetch:fetch", "Download published weights, features and annotations."),
        "doctor": ("data:doctor", "Check a data folder: what is present, missing or malformed."),
        "world": ("world:world", "Write the drawn world: images and annotations in the official formats."),
    },
    "Prepare data": {
        "extract": ("features:extract", "Extract regions from every image of a folder."),
        "features": ("features:app", "Import region features that other projects extracted; unpack shards of images."),
        "prepare": ("data:prepare", "Read official files, clean their splits, and write memory-mapped tables."),
        "clean": ("clean:app", "Decide which examples no task may learn from."),
        "audit": ("audit:app", "Count test images that are in a training set."),
    },
    "Train": {
        "recipes": ("data:recipes", "List the shipped recipes, or print one."),
        "pretrain": ("training:pretrain", "Pretrain on captioned images."),
        "train": ("training:train", "Train one model on all tasks of a recipe."),
        "finetune": ("training:finetune", "Train one task from the weights of a multi-task model."),
    },
    "Score a run": {
        "calibrate": ("evaluation:calibrate", "Fit a temperature for each task, so that probabilities match accuracy."),
        "evaluate": ("evaluation:evaluate", "Score a run's model on its test sets."),
        "baselines": ("evaluation:baselines", "Score chance, majority, a text-only and an image-only network."),
        "compare-runs": ("comparison:compare_runs", "Test whether a run is better or worse than another."),
        "report": ("evaluation:report", "Write the report of a run: one page, and JSON."),
        "submit": ("evaluation:submit", "Write predictions in the format of an evaluation server."),
    },
    "Weights and detectors": {
        "weights": ("weights:app", "Import published weights; export models; show what a weight file holds."),
        "detector": ("world:app", "Train and evaluate the detector of the drawn world."),
    },
}
"""Commands by group, in the order of the help: module and function below ``twelvefold.cli``, and a summary."""

_HELP_GROUPS = {title: Group(title, sort_key=position) for position, title in enumerate(GROUPS)}
"""Made once: programs that are made one after the other share the modules' own apps, which keep their group."""

COMMANDS = {name: command for group in GROUPS.values() for name, command in group.items()}
"""All commands by name."""

RENAMED_OPTIONS = {"--workers": "--processes", "--pictures": "--images", "--photo": "--image"}
"""Options of earlier versions -> their present names."""

MIN_WIDTH = 80
"""Least width of the help in columns. In a narrower terminal lines continue on the next line; no name is cut."""


def shown_default(value: object) -> str | None:
    """Return the default value for the help, or None if it only says that the option is not set."""
    return None if value is None or value is False or value in ("", ()) else str(value)


def _name_renamed_option(error: str) -> str:
    """Return an error of the command line, with the present name of an option that an earlier version had."""
    match = re.match(r"Unknown option: [\"']?(--[a-z-]+)", error)
    present = RENAMED_OPTIONS.get(match[1]) if match else None
    return error if present is None or match is None else f"{match[1]} is now called {present}; rename it"


def refuse_empty_paths(arguments: ArgumentCollection) -> None:
    """Refuse empty texts for files and folders, as of a shell variable that is not set.

    ``Path`` would take them for the current folder. Images have a message of their own.

    Raises:
        TwelvefoldError: a path is empty.
    """
    for argument in arguments:
        for token in argument.tokens:
            if Path in (argument.hint, *get_args(argument.hint)) and not token.value.strip():
                raise TwelvefoldError(f"{argument.name} is an empty text; expected a path, such as . for this folder")


def _check_paths(command: App) -> None:
    """Apply :func:`refuse_empty_paths` to a command, and to the commands below it."""
    command.group_arguments = Group("Arguments", validator=refuse_empty_paths)
    command.group_parameters = Group("Parameters", validator=refuse_empty_paths)
    for name in command:
        if not name.startswith("-"):
            _check_paths(command[name])


def make_app(called: str = "") -> App:
    """Return the program. The command that is ``called`` shows its own help; the others are listed by summary."""
    program = App(
        name="twelvefold",
        help="One vision-and-language model, twelve tasks. `twelvefold demo` runs everything once.",
        version_flags=["--version"],
        default_parameter=Parameter(show_default=shown_default, negative_iterable=()),
        console=Console(width=max(MIN_WIDTH, Console().width)),
        error_console=Console(stderr=True, soft_wrap=True, markup=False, highlight=False),
        error_formatter=lambda error: printable_text(f"twelvefold: {_name_renamed_option(str(error))}"),
    )
    for title, commands in GROUPS.items():
        group = _HELP_GROUPS[title]
        for row, (name, (path, summary)) in enumerate(commands.items()):
            program.command(f"twelvefold.cli.{path}", name=name, help=summary, group=group, sort_key=row)
            if name == called and program[name].default_command is not None:
                program[name].help = None  # the docstring of the command's function
    program.command("twelvefold.cli.evaluation:baselines", name="blind", show=False)  # its name in version 0.1
    if called in (*COMMANDS, "blind"):
        _check_paths(program[called])
    return program


app = make_app()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code."""
    # Waiting threads sleep instead of spinning, so that other programs on the same cores keep their speed.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    never_fail_to_print()
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        make_app(called=arguments[0] if arguments else "")(arguments)
    except TwelvefoldError as error:
        _print_error(str(error))
        sys.exit(2)
    except BrokenPipeError:  # the reader of the output has ended, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        _print_error(": ".join(str(part) for part in (error.filename, error.strerror or error) if part))
        sys.exit(2)
    except UnicodeEncodeError as error:  # a library that takes names in UTF-8 only
        _print_error(f"{error.object[:1000]}: expected text or a name in UTF-8; rename the file or folder")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def _print_error(message: str) -> None:
    Console(stderr=True, soft_wrap=True).print(printable_text(f"twelvefold: {message}"), markup=False, highlight=False)
