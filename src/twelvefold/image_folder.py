"""Walk a folder of images and decide by content, for every file, whether it is an image.

All of the package lists images here. A few bytes of each file are read; no image is decoded.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from twelvefold.image_formats import IMAGE_SUFFIXES, describe, identify, is_archive, unsupported
from twelvefold.images import ImageError, image_size, open_regular_file
from twelvefold.parsing.file_kind import HEAD_BYTES
from twelvefold.printable import printable_name

SkipKind = Literal["unreadable", "archive", "hidden", "other"]
"""``unreadable``: a folder, link or file that could not be looked into. ``archive``: it may contain images. ``hidden``:
a file or folder whose name begins with a dot. ``other``: no image."""

UNEXAMINED = frozenset[SkipKind](("unreadable", "archive"))
"""What may hide images from an audit."""


FileState = tuple[int, int, int, int]
"""Device, inode, size and time of the last change of a file, of any kind: equal states are equal content."""


def file_state(path: Path) -> FileState | None:
    """Return the state of a file, or None if it has none. The file is not opened."""
    try:
        status = path.stat()
    except (OSError, ValueError):  # missing, or a name that no file can have
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_ctime_ns


class SkippedFile(msgspec.Struct, frozen=True, order=True):
    """A file or folder that was passed over. ``file``: its path in the folder of images, printable."""

    file: str
    kind: SkipKind
    reason: str


@dataclass(frozen=True, slots=True)
class ImageFolder:
    """The content of a folder.

    images: image files in a format that can be read here, by their first bytes; they may still be truncated.
    unreadable: images in another format, and files with the name of an image that are none, with the reason.
    skipped: everything else. All are sorted by path.
    """

    images: list[Path] = field(default_factory=list)
    unreadable: dict[Path, str] = field(default_factory=dict)
    skipped: list[SkippedFile] = field(default_factory=list)

    @property
    def files(self) -> list[Path]:
        """Return the images and the unreadable files: all that a person who looks at the names expects to be used."""
        return sorted([*self.images, *self.unreadable])

    @property
    def problems(self) -> dict[str, str]:
        """Return what may be an image and cannot be read, by its path in the folder, with the reason."""
        return {each.file: each.reason for each in self.skipped if each.kind == "unreadable"}


def scan_image_folder(folder: Path, known: Collection[FileState] = ()) -> ImageFolder:
    """List a folder at any depth.

    Links to files and folders are followed, a folder once. Hidden files and folders are not looked into. ``known``:
    states of files that were found to be images; these are not opened.
    """
    content = ImageFolder()
    for path in _walk(Path(folder), content.skipped):
        if known and file_state(path) in known:
            content.images.append(path)
        else:
            examine_file(path, folder, content)
    return ImageFolder(sorted(content.images), dict(sorted(content.unreadable.items())), sorted(content.skipped))


def skipped_lines(skipped: Sequence[SkippedFile], limit: int = 5, *, problems: bool = False) -> list[str]:
    """Return a line for each kind and reason of skipped files, with their number and the first names.

    ``problems``: include unreadable files, which commands list elsewhere.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    for each in (each for each in skipped if problems or each.kind != "unreadable"):
        reason = "hidden" if each.kind == "hidden" else each.reason
        groups.setdefault((each.kind, reason), []).append(each.file)
    lines = []
    for (_, reason), names in groups.items():
        more = f" and {len(names) - limit:,} more" if len(names) > limit else ""
        lines.append(f"skipped {len(names):,} ({reason}): {', '.join(names[:limit])}{more}")
    return lines


def _walk(folder: Path, skipped: list[SkippedFile]) -> Iterator[Path]:
    """Yield the files of a folder. Links to folders are followed last, unless their folder was listed already."""
    listed: set[tuple[int, int]] = set()
    linked = [folder]

    def relative(path: Path) -> str:
        return printable_name(path.relative_to(folder))

    while linked:
        pending = [linked.pop(0)]
        while pending:
            parent = pending.pop()
            try:
                status = parent.stat()
                identity = (status.st_dev, status.st_ino)
                if identity in listed:
                    skipped.append(SkippedFile(relative(parent), "other", "a link to a folder that is read anyway"))
                    continue
                listed.add(identity)
                entries = sorted(os.scandir(parent), key=lambda entry: entry.name)
            except OSError as error:
                skipped.append(SkippedFile(relative(parent), "unreadable", f"folder: {error.strerror}"))
                continue
            for entry in entries:
                path = parent / entry.name
                if entry.name.startswith("."):
                    skipped.append(SkippedFile(relative(path), "hidden", "a name that begins with a dot"))
                elif entry.is_dir(follow_symlinks=False):
                    pending.append(path)
                elif _is_folder(entry):
                    linked.append(path)
                else:
                    yield path


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a loop of links
        return False


def examine_file(path: Path, folder: Path, result: ImageFolder) -> None:
    """Decide what a file in ``folder`` is, and add it to ``result``."""
    name = printable_name(path.relative_to(folder))
    has_image_name = path.suffix.lower() in IMAGE_SUFFIXES
    try:
        with open_regular_file(path) as file:
            head = file.read(HEAD_BYTES)
    except (ImageError, OSError) as error:
        reason = error.reason(path) if isinstance(error, ImageError) else f"can't be read ({error.strerror})"
        if has_image_name:
            result.unreadable[path] = reason
        else:
            result.skipped.append(SkippedFile(name, "unreadable", reason))
        return
    image_format = identify(head)
    problem = "" if image_format is None else unsupported(image_format)
    if image_format is not None and not problem:
        result.images.append(path)
    elif problem:
        result.unreadable[path] = problem
    elif has_image_name:
        _examine_by_name(path, head, result)
    else:
        kind: SkipKind = "archive" if is_archive(head) else "other"
        result.skipped.append(SkippedFile(name, kind, describe(head)))


def _examine_by_name(path: Path, head: bytes, result: ImageFolder) -> None:
    """Add a file without a known signature that has the name of an image: few formats have none (TGA ...)."""
    try:
        image_size(path)
    except ImageError:
        result.unreadable[path] = describe(head)
    else:
        result.images.append(path)
