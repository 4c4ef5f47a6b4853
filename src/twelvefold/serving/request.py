"""Requests to a model: their arguments in every form that a caller may have them in, and their checks.

What can only mean one thing is accepted; anything else is an error that names the argument. Boxes are read in
:mod:`twelvefold.serving.box_inputs`, dialogues in :mod:`twelvefold.serving.dialogue`. Paper: section 2.1.
"""

from __future__ import annotations

import base64
import binascii
import inspect
import os
import re
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, TypeVar
from urllib.parse import unquote_to_bytes

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from twelvefold.datasets import is_built_in, load_dataset
from twelvefold.families import Family, load_family
from twelvefold.images import ImageError, InputImage, image_size, load_image
from twelvefold.parsing.json_text import JsonError, decode_json, describe_error
from twelvefold.parsing.text import MAX_TEXT_LENGTH
from twelvefold.schema import Box, TaskSpec, TwelvefoldError, did_you_mean
from twelvefold.serving.samples import PREFIX, find_sample

T = TypeVar("T")

DEFAULT_TOP = 5
"""Answers of a request that does not say how many."""

BASE64 = re.compile(r"[A-Za-z0-9+/_\-\s]{60,}={0,2}\s*")
"""Text that is long enough for the smallest image file, and has only the characters of base64 (either alphabet)."""

EXPECTED_IMAGE = "a path, `sample:NAME`, bytes, an open file, a PIL image, an array or a tensor"


@dataclass(frozen=True, slots=True)
class Request:
    """One question to one task.

    images: as many as the task's pairs, or the pool to search (retrieval). boxes_px: candidate boxes; empty means the
    detected regions. top: number of answers, best first. explain: also return attention weights. texts: the texts to
    choose from, for a family that chooses a text; ``text`` is then empty. shortlist: number of images that a search
    compares, chosen by the twin encoder; 0 means all.
    """

    task: str
    images: tuple[InputImage, ...]
    text: str
    boxes_px: tuple[Box, ...] = ()
    top: int = DEFAULT_TOP
    explain: bool = False
    texts: tuple[str, ...] = ()
    shortlist: int = 0

    @property
    def stripped_texts(self) -> list[str]:
        """Return the texts to choose from, or the text, without white space around them."""
        return [text.strip() for text in self.texts or (self.text,)]


def parse_json(text: str, expected_type: type[T], name: str, expected: str) -> T:
    """Return the value of a JSON argument or form field.

    Raises:
        TwelvefoldError: it is not JSON of that type, or has half of a surrogate pair.
    """
    _check_characters(text, name)
    data = text.encode()
    try:
        return decode_json(data, expected_type)
    except JsonError as error:
        reason = describe_error(error, data)
        raise TwelvefoldError(f"{name}: expected a JSON list {expected}, got {text[:80]!r} ({reason})") from error


def lists_candidates(task: str) -> bool:
    """Return whether the task's files list candidate boxes.

    A request to such a task that gives no boxes uses the detected regions as candidates.
    """
    return is_built_in(task) and getattr(load_dataset(task), "LISTS_CANDIDATES", False)


def check_request(request: Request, spec: TaskSpec) -> None:
    """Check everything except the boxes' numbers, which :func:`clip_boxes` checks.

    Raises:
        TwelvefoldError: no text, a text that is too long, a wrong number of texts or images, boxes for a task that
            takes none, or ``top`` below 1.
    """
    num_images = len(request.images)
    family = load_family(spec.family)
    if family.chooses_text != bool(request.texts) or (request.text and request.texts):
        expected = "a list of `texts` to choose from, and no `text`" if family.chooses_text else "one `text`"
        raise TwelvefoldError(f"task {spec.name!r} takes {expected}")
    for text in request.texts or (request.text,):
        read_text(text, f"task {spec.name!r}")
    num_expected = 1 if family.chooses_text else spec.pairs_per_example
    if family.searches_images:
        if not num_images:
            raise TwelvefoldError(f"task {spec.name!r} searches a list of images, got none")
    elif num_images != num_expected:
        raise TwelvefoldError(
            f"task {spec.name!r} takes {num_expected} image{'s'[: num_expected - 1]}, got {num_images}"
        )
    check_top(request.top)
    if check_shortlist(request.shortlist) and not family.searches_images:
        raise TwelvefoldError(f"task {spec.name!r} takes no shortlist: it searches no images")
    if len(request.boxes_px) and not family.chooses_region:
        raise TwelvefoldError(f"task {spec.name!r} takes no boxes: its answers are not boxes")


def check_phrases(phrases: Any, caption: str) -> list[str]:
    """Return the phrases of a caption as a list.

    Raises:
        TwelvefoldError: they are no list of texts, there are none, or one is not part of the caption (ignoring case).
    """
    checked = read_each(to_items(phrases, "phrases", "a list of texts"), None, "phrases", read_text)
    if not checked:
        raise TwelvefoldError("phrases: expected at least one phrase of the caption, got none")
    for phrase in checked:
        if phrase.lower() not in read_text(caption, "caption").lower():
            raise TwelvefoldError(f"the phrase {phrase[:100]!r} is not part of the caption {caption[:200]!r}")
    return checked


def find_task(name: str, family: Family, tasks: Mapping[str, TaskSpec], *, num_images: int | None = 1) -> TaskSpec:
    """Return the task of that name, family and number of images (None: any).

    Raises:
        TwelvefoldError: the model has no such task.
    """
    fitting = [
        s
        for s in tasks.values()
        if load_family(s.family) is family and (num_images is None or s.pairs_per_example == num_images)
    ]
    for spec in fitting:
        if spec.name == name:
            return spec
    names, name = [spec.name for spec in fitting], str(name)
    choices = f"choose one of {', '.join(names)}" if names else f"it has none of family {family.name}"
    raise TwelvefoldError(f"the model has no task {name!r} for this; {choices}{did_you_mean(name, names)}")


class AnswerOptions(TypedDict):
    """Options of every request: number of answers, and whether to return attention weights."""

    top: int
    explain: bool


class SearchTask(TypedDict, total=False):
    """Options of a search: the retrieval task, and how many images are compared (0: all)."""

    task: str
    shortlist: int


def read_options(top: Any, top_k: Any, explain: Any) -> AnswerOptions:
    """Return the options of a request. ``top_k`` is another name of ``top``; None means the default.

    Raises:
        TwelvefoldError: a number of answers that is no integer of at least 1, both names with different numbers, or an
            ``explain`` that is not true or false.
    """
    if top is not None and top_k is not None and top != top_k:
        raise TwelvefoldError(f"top and top_k are the same option, got top={top!r} and top_k={top_k!r}; give one")
    name, value = ("top", top) if top_k is None else ("top_k", top_k)
    if not isinstance(explain, (bool, np.bool_)):
        raise TwelvefoldError(f"explain: expected True or False, got {explain!r}"[:300])
    return {"top": check_top(DEFAULT_TOP if value is None else value, name), "explain": bool(explain)}


def check_top(top: Any, name: str = "top") -> int:
    """Return the number of answers.

    Raises:
        TwelvefoldError: it is no integer of at least 1.
    """
    if isinstance(top, (bool, np.bool_)) or not isinstance(top, (int, np.integer)) or top < 1:
        raise TwelvefoldError(f"{name}: expected the number of answers, a whole number of at least 1, got {top!r}")
    return int(top)


def check_shortlist(size: Any) -> int:
    """Return the size of a shortlist.

    Raises:
        TwelvefoldError: it is no integer of at least 0.
    """
    if isinstance(size, (bool, np.bool_)) or not isinstance(size, (int, np.integer)) or size < 0:
        raise TwelvefoldError(f"shortlist: expected a number of images, or 0 to compare all of them, got {size!r}")
    return int(size)


def to_items(value: Any, argument: str, expected: str) -> list[Any]:
    """Return the elements of a list, tuple, array, generator or other ordered collection.

    Raises:
        TwelvefoldError: it is no such collection; ``expected`` completes "expected ...".
    """
    if isinstance(value, (Mapping, Set, str, bytes, bytearray, memoryview)) or not isinstance(value, Iterable):
        raise TwelvefoldError(f"{argument}: expected {expected}, got {describe(value)}")
    if inspect.isgenerator(value) and inspect.getgeneratorstate(value) == inspect.GEN_CLOSED:
        raise TwelvefoldError(
            f"{argument}: a generator that was read to its end before; make it again, or a list of it"
        )
    try:
        return list(value)
    except TypeError as error:  # an array or tensor without dimensions
        raise TwelvefoldError(f"{argument}: expected {expected}, got {describe(value)}") from error


def describe(value: Any) -> str:
    """Return a short description of a value for an error."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return repr(value)[:100]
    shape = getattr(value, "shape", None)
    return type(value).__name__ + (f" of shape {tuple(shape)}" if isinstance(shape, tuple) else "")


def split_images(value: Any, argument: str) -> list[Any] | None:
    """Return the images of a list, or None if the value is a single image. An array with 4 dimensions is a list."""
    if isinstance(value, (InputImage, str, os.PathLike, bytes, bytearray, memoryview, Image.Image)) or value is None:
        return None
    if hasattr(value, "read"):
        return None
    dimensions = getattr(value, "ndim", None)
    if dimensions in (0, 2, 3) or (dimensions is None and hasattr(value, "__array__")):
        return None
    return to_items(value, argument, f"an image ({EXPECTED_IMAGE}) or a list of images")


def open_image(source: Any, argument: str = "image") -> InputImage:
    """Open an image in any form: :data:`EXPECTED_IMAGE`, a ``data:`` URL or base64 text.

    Arrays and tensors are (H, W), (H, W, C) or (C, H, W) with 1, 3 or 4 channels, uint8 or floats in 0..1. Where both
    orders fit, channels come first in a tensor and last in an array.

    Raises:
        ImageError: it is none of these, or cannot be opened; the message begins with the argument.
        TwelvefoldError: there is no such sample.
    """
    try:
        return load_image(_resolve(source))
    except ImageError as error:
        raise type(error)(f"{argument}: {error}") from error


def _resolve(source: Any) -> Any:
    """Return an image in a form that :func:`twelvefold.images.load_image` opens."""
    if isinstance(source, (InputImage, Image.Image)):
        return source
    if isinstance(source, (str, os.PathLike)):
        return _resolve_text(os.fsdecode(source))
    if hasattr(source, "read"):
        source = _read(source)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _decode_if_text(bytes(source))
    if isinstance(source, torch.Tensor):
        return _channels_last(_tensor_to_array(source), first=True)
    if hasattr(source, "__array__"):
        try:
            return _channels_last(np.asarray(source), first=False)
        except (RuntimeError, TypeError, ValueError) as error:
            raise ImageError(f"a {type(source).__name__} that has no NumPy array: {error}") from error
    raise ImageError(f"expected {EXPECTED_IMAGE}, got {describe(source)}")


def _resolve_text(text: str) -> Any:
    if not text.strip():
        raise ImageError(f"expected {EXPECTED_IMAGE}, got an empty text")
    if text.startswith(PREFIX):
        return find_sample(text.removeprefix(PREFIX)).path
    if text[:5].lower() == "data:":
        return _decode_data_url(text)
    if os.path.isdir(text):  # noqa: PTH112 - Path.is_dir fails for a text that is too long to be a path
        raise ImageError(f"{text} is a folder; give the path of an image")
    if not os.path.exists(text) and (image := _image_in_base64(text)) is not None:  # noqa: PTH110
        return image
    try:
        return Path(text).expanduser() if text.startswith("~") else text
    except RuntimeError as error:
        raise ImageError(f"{text}: {error}") from error


def _read(file: Any) -> bytes:
    """Return the content of an open file from its start."""
    try:
        if hasattr(file, "seekable") and file.seekable():
            file.seek(0)
        data = file.read()
    except (OSError, ValueError, TypeError) as error:
        raise ImageError(f"the open file cannot be read: {error}") from error
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise ImageError(f"a file is read as bytes: open it with mode 'rb' (its read() returned {describe(data)})")
    return bytes(data)


def _decode_if_text(data: bytes) -> bytes:
    """Return the bytes of a file; bytes that are base64 text or a data URL are decoded."""
    if not data:
        raise ImageError("the file is empty: it has 0 bytes")
    if not data[:60].isascii() or not data.isascii():
        return data
    text = data.decode("ascii")
    return _decode_data_url(text) if text[:5].lower() == "data:" else _image_in_base64(text) or data


def _image_in_base64(text: str) -> bytes | None:
    """Return the image file that a text is the base64 of, None if it is no such text."""
    if not BASE64.fullmatch(text):
        return None
    try:
        data = _decode_base64(text)
        image_size(data)
    except ImageError:
        return None
    return data


def _decode_data_url(url: str) -> bytes:
    head, comma, content = url[5:].partition(",")
    if not comma:
        raise ImageError(f"a data URL is `data:image/png;base64,...`, got {url[:60]!r}")
    return _decode_base64(content) if head.lower().rstrip().endswith(";base64") else unquote_to_bytes(content)


def _decode_base64(text: str) -> bytes:
    plain = re.sub(r"\s", "", unquote_to_bytes(text).decode("latin-1")).translate(str.maketrans("-_", "+/"))
    try:
        return base64.b64decode(plain.rstrip("=") + "=" * (-len(plain.rstrip("=")) % 4), validate=True)
    except binascii.Error as error:
        raise ImageError(f"base64 text that cannot be decoded ({error}): {text[:40]!r}...") from error


def _tensor_to_array(tensor: torch.Tensor) -> NDArray[Any]:
    if tensor.dtype in (torch.bfloat16, torch.float16):
        tensor = tensor.float()
    try:
        return tensor.detach().cpu().numpy()
    except (TypeError, RuntimeError) as error:  # sparse, quantized or without data
        raise ImageError(f"a tensor that has no NumPy array: {str(error).splitlines()[0]}") from error


def _channels_last(array: NDArray[Any], *, first: bool) -> NDArray[Any]:
    """Return an image array with its channels last. ``first``: they come first if both orders fit."""
    if array.ndim != 3:
        return array
    fits_first, fits_last = array.shape[0] in (1, 3, 4), array.shape[2] in (1, 3, 4)
    return array.transpose(1, 2, 0) if fits_first and (first or not fits_last) else array


def split_texts(value: Any, argument: str) -> list[Any] | None:
    """Return the texts of a list, or None if the value is a single text."""
    return None if isinstance(value, str) else to_items(value, argument, "a text or a list of texts")


def read_text(text: Any, argument: str) -> str:
    """Return a text.

    Raises:
        TwelvefoldError: it is no text, blank, too long, or has half of a surrogate pair, which is no character.
    """
    if not isinstance(text, str) or not text.strip():
        raise TwelvefoldError(f"{argument}: needs a text, got {describe(text)}")
    if len(text) > MAX_TEXT_LENGTH:
        raise TwelvefoldError(f"{argument}: a text has at most {MAX_TEXT_LENGTH:,} characters, got {len(text):,}")
    _check_characters(text, argument)
    return text


def _check_characters(text: str, argument: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = ord(text[error.start])
        is_byte = 0xDC80 <= half <= 0xDCFF  # Python's form of a byte of the command line that it could not decode
        advice = "a byte that the terminal's encoding does not have (for UTF-8, set PYTHONUTF8=1)" if is_byte else ""
        raise TwelvefoldError(
            f"{argument}: character {error.start + 1} of the text is \\u{half:04x}, half of a surrogate pair "
            f"without its other half{advice and f', or {advice}'}; remove it"
        ) from error


def read_each(items: list[Any] | None, value: Any, argument: str, read: Callable[[Any, str], T]) -> list[T]:
    """Return the values of a list, or the single value if ``items`` is None, read by ``read(value, argument)``."""
    if items is None:
        return [read(value, argument)]
    return [read(item, f"{argument}[{i}]") for i, item in enumerate(items)]
