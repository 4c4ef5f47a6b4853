"""Files of drawings: their names, and that they replace no image that they are drawn from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from twelvefold.schema import TwelvefoldError

if TYPE_CHECKING:
    from twelvefold.serving.result import Prediction


def drawing_names(paths: Sequence[Path]) -> dict[Path, str]:
    """Return the file of each image's drawing: ``a.png`` for ``a.jpg``; ``a.jpg.png`` if there are several ``a``."""
    stems = Counter(str(path.with_suffix("")).casefold() for path in paths)
    names: dict[Path, str] = {}
    used: set[str] = set()
    for path in paths:
        stem = path.with_suffix("")
        name = f"{stem if stems[str(stem).casefold()] == 1 else path}.png"
        while name.casefold() in used:
            name = f"{name.removesuffix('.png')}.drawn.png"
        used.add(name.casefold())
        names[path] = name
    return names


def check_drawing(drawing: Path | None, images: Sequence[Path], *, folder: Path | None = None) -> None:
    """Check before the model is loaded that a drawing can be written and replaces no image.

    ``folder``: the folder of the images, if ``drawing`` is a folder too.

    Raises:
        TwelvefoldError: the file is no image file, it is one of the images, or both folders are the same.
    """
    if drawing is None:
        return
    if folder is not None:
        if drawing.resolve() == folder.resolve():
            raise TwelvefoldError(f"--draw {drawing}: drawings would be among the images; give another folder")
        return
    _image_format(drawing)
    if drawing.resolve() in {image.resolve() for image in images}:
        raise TwelvefoldError(f"--draw {drawing} is the image itself, which the drawing would replace")


def save_drawing(prediction: Prediction, path: Path) -> None:
    """Draw a prediction into a file.

    Raises:
        TwelvefoldError: it is no image file, or cannot be written.
    """
    import io

    from twelvefold.store import atomic_files

    file = io.BytesIO()
    prediction.draw().save(file, _image_format(path))
    atomic_files.write_bytes(path, file.getvalue())


def _image_format(path: Path) -> str:
    from PIL import Image

    Image.init()
    image_format = Image.EXTENSION.get(path.suffix.lower(), "")
    if image_format not in Image.SAVE:
        raise TwelvefoldError(f"--draw {path}: expected an image file like answer.png, got {path.suffix!r}")
    return image_format
