"""The images that a command was called with: files, and the images in folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter, Token

from twelvefold.image_folder import SkippedFile, scan_image_folder, skipped_lines
from twelvefold.printable import printable_name
from twelvefold.schema import TwelvefoldError
from twelvefold.serving.samples import resolve_sample


def _image_path(hint: Any, tokens: Sequence[Token]) -> Path:
    """Raises: TwelvefoldError if the text is empty, which ``Path`` would take for the current folder."""
    if not tokens[0].value.strip():
        raise TwelvefoldError("an image is an empty text; expected a path, `sample:NAME` or a folder")
    return Path(tokens[0].value)


ImagePath = Annotated[Path, Parameter(converter=_image_path, n_tokens=1)]
"""An image on the command line: a path, ``sample:NAME``, or a folder of images."""


@dataclass(frozen=True)
class ImageSelection:
    """Files to use, from ``folders`` too. problems: what cannot be read in the folders. skipped: what is no image."""

    files: list[Path]
    folders: list[Path]
    problems: dict[str, str]
    skipped: list[SkippedFile]


def select_images(paths: Sequence[Path]) -> ImageSelection:
    """Return the files and samples among the paths, and the image files in the folders among them, sorted by name.

    Raises:
        TwelvefoldError: a folder contains no image, there is no such sample, or none of the files exists.
    """
    selection = ImageSelection([], [], {}, [])
    for path in paths:
        if not is_folder(path):
            selection.files.append(resolve_sample(path))
            continue
        content = scan_image_folder(path)
        if not content.files:
            reasons = skipped_lines(content.skipped, problems=True) or ["it is empty"]
            raise TwelvefoldError(f"no image in the folder {path}: {'; '.join(reasons)}")
        selection.folders.append(path)
        selection.files.extend(content.files)
        for each in content.skipped:
            name = printable_name(path / each.file)
            if each.kind == "unreadable":
                selection.problems[name] = each.reason
            else:
                selection.skipped.append(SkippedFile(name, each.kind, each.reason))
    if not any(map(_is_there, selection.files)):
        raise TwelvefoldError("no such file: " + ", ".join(printable_name(path) for path in selection.files))
    return selection


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # the name is too long
        return False


def is_folder(path: Path) -> bool:
    """Return whether a path is a folder."""
    try:
        return path.is_dir()
    except OSError:  # the name is too long
        return False
