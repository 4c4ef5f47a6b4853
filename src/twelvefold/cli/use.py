"""``twelvefold ask`` and its sisters: the model used from the command line, on a picture, a folder, or line by line."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from cyclopts import App, Parameter

from twelvefold.cli.output import Json, say
from twelvefold.schema import TwelvefoldError

if TYPE_CHECKING:
    from twelvefold.serving.predictor import Predictor
    from twelvefold.serving.result import Prediction


@Parameter(name="*")
@dataclass(frozen=True)
class Using:
    """What every question takes."""

    model: str | None = None
    "A run, a model's folder, or user/name of a hub; the small model that ships where left out."
    detector_weights: Path | None = None
    "The detector's weight file, where the model's detector has none of its own."
    top: int = 5
    "So many answers, best first."
    draw: Path | None = None
    "Leave the answer drawn over the picture there (PNG, JPEG ...); a folder, where a folder is asked."
    json: Json = False
    "Print the answer as JSON; of a folder that is what is printed anyway, a line for each picture."

    def load(self) -> Predictor:
        import twelvefold

        return twelvefold.load(self.model, detector_weights=self.detector_weights)


def ask(photo: Path, question: str, *, task: str = "vqav2", using: Using | None = None) -> int:
    """Answer a question about a picture, or about every picture of a folder.

    ```
    twelvefold ask photo.jpg "What color is the dog?" --draw answer.png
    twelvefold ask holiday "Is there a dog?" --json > answers.jsonl
    ```

    Parameters
    ----------
    task
        Whose list of answers: vqav2, gqa or vgqa.
    """
    return _each(using or Using(), photo, lambda model, one, top: model.ask(one, question, task=task, top=top))


def point(photo: Path, phrase: str, *, task: str = "refcoco", using: Using | None = None) -> int:
    """Point at what a phrase means, in a picture or in every picture of a folder.

    ```
    twelvefold point photo.jpg "the left dog" --draw answer.png
    ```

    Parameters
    ----------
    task
        refcoco, refcoco+ or refcocog.
    """
    return _each(using or Using(), photo, lambda model, one, top: model.point(one, phrase, task=task, top=top))


def entails(photo: Path, statement: str, *, using: Using | None = None) -> int:
    """Say whether a picture entails a statement, contradicts it, or leaves it open.

    ```
    twelvefold entails photo.jpg "Two dogs are outside."
    ```
    """
    return _each(using or Using(), photo, lambda model, one, top: model.entails(one, statement, top=top))


def choose(photo: Path, question: str, *, boxes: str = "", using: Using | None = None) -> int:
    """Answer a "which" question by one of some boxes, or of what is detected.

    ```
    twelvefold choose photo.jpg "Which is the spoon?" --boxes "[[10, 10, 80, 90], [100, 20, 150, 80]]"
    ```

    Parameters
    ----------
    boxes
        JSON list of boxes x1, y1, x2, y2 in pixels.
    """
    given = _json(boxes, list[tuple[float, float, float, float]], "--boxes", "[[x1, y1, x2, y2], ...]")
    return _each(using or Using(), photo, lambda model, one, top: model.choose(one, question, given, top=top))


def guess(photo: Path, dialogue: str, *, boxes: str = "", using: Using | None = None) -> int:
    """Guess the thing that a dialogue is about, among some boxes, or what is detected.

    ```
    twelvefold guess photo.jpg '[["Is it a dog?", "Yes"], ["The left one?", "No"]]' --draw answer.png
    ```

    Parameters
    ----------
    dialogue
        JSON list of questions with their answers.
    boxes
        JSON list of boxes x1, y1, x2, y2 in pixels.
    """
    turns = _json(dialogue, list[tuple[str, str]], "the dialogue", '[["question", "answer"], ...]')
    given = _json(boxes, list[tuple[float, float, float, float]], "--boxes", "[[x1, y1, x2, y2], ...]")
    return _each(using or Using(), photo, lambda model, one, top: model.guess(one, turns or "", given, top=top))


def compare(left: Path, right: Path, statement: str, *, using: Using | None = None) -> int:
    """Say whether a statement is true of two pictures.

    ```
    twelvefold compare left.jpg right.jpg "Both pictures show a dog."
    ```
    """
    how = using or Using()
    return _one(how, how.load().compare(left, right, statement, top=how.top))


def ground(photo: Path, caption: str, phrases: list[str], *, task: str = "refcoco", using: Using | None = None) -> int:
    """A box for each phrase of a caption.

    ```
    twelvefold ground photo.jpg "a dog beside a red car" "a dog" "a red car" --json
    ```

    Parameters
    ----------
    task
        refcoco, refcoco+ or refcocog.
    """
    how = using or Using()
    if how.draw is not None:
        raise TwelvefoldError("ground draws nothing, as each phrase has boxes of its own; draw with `twelvefold point`")
    found = how.load().ground(photo, caption, phrases, task=task, top=how.top)
    say([one.to_dict() for one in found], how.json, "\n".join(_text(one, best=True) for one in found))
    return 0


def find(text: str, photos: list[Path], *, task: str = "coco", using: Using | None = None) -> int:
    """Rank pictures by how well a text describes them.

    ```
    twelvefold find "two dogs on a beach" holiday/*.jpg
    twelvefold find "two dogs on a beach" holiday --top 3 --draw found.png
    ```

    Parameters
    ----------
    photos
        Pictures, or folders of them. To search the same ones often, keep an index: `twelvefold index`.
    task
        coco or flickr30k.
    """
    how = using or Using()
    return _one(how, how.load().find(text, _pictures(photos), task=task, top=how.top))


def answer(lines: Path, *, out: Path | None = None, using: Using | None = None) -> int:
    """Answer many questions of any tasks: a line of JSON for each, in and out, in one order.

    ```
    twelvefold answer questions.jsonl --out answers.jsonl
    ```

    A line: {"task": "vqav2", "images": ["photo.jpg"], "text": "What color is the dog?", "id": 7}; also "dialogue",
    "boxes", "top", "explain". Files are relative to the lines' folder. Exit code 1 where a line has no answer but an
    "error".

    Parameters
    ----------
    lines
        The file of questions.
    out
        The file of answers; printed where left out.
    """
    from twelvefold.progress import track
    from twelvefold.serving import jsonl as many

    asked, how = many.read(lines), using or Using()
    answers = many.answer(how.load(), asked, lines.parent)
    return _lines(track(answers, description="answering", total=len(asked)), out)


app = App(name="index", help="Keep pictures ready to be searched by text, again and again.")


@app.command
def add(folder: Path, photos: list[Path], *, using: Using | None = None) -> int:
    """Add pictures to an index, which is made where there is none.

    ```
    twelvefold index add holiday.index holiday
    ```

    Parameters
    ----------
    folder
        Of the index.
    photos
        Pictures, or folders of them.
    """
    from twelvefold.serving.search_index import Index

    how = using or Using()
    model = how.load()
    index = Index.load(folder, model) if folder.exists() else model.index()
    new = [path for path in _pictures(photos) if str(path) not in index]
    index.add(new)
    index.save(folder)
    say({"added": len(new), "pictures": len(index)}, how.json, f"{folder}: {len(index):,} pictures, {len(new):,} new")
    return 0


@app.command
def search(folder: Path, text: str, *, task: str = "coco", using: Using | None = None) -> int:
    """Rank an index's pictures by how well a text describes them.

    ```
    twelvefold index search holiday.index "two dogs on a beach" --top 3
    ```

    Parameters
    ----------
    task
        coco or flickr30k.
    """
    from twelvefold.serving.search_index import Index

    how = using or Using()
    found = Index.load(folder, how.load()).search(text, how.top, task=task)
    ranked = [{"probability": one.probability, "name": one.name} for one in found]
    say(ranked, how.json, "\n".join(f"{one.probability:7.1%}  {one.name}" for one in found))
    return 0


@app.command
def remove(folder: Path, names: list[str], *, using: Using | None = None) -> int:
    """Take pictures out of an index, by name.

    ```
    twelvefold index remove holiday.index holiday/blurred.jpg
    ```
    """
    from twelvefold.serving.search_index import Index

    how = using or Using()
    index = Index.load(folder, how.load())
    index.remove(names)
    index.save(folder)
    say({"removed": len(names), "pictures": len(index)}, how.json, f"{folder}: {len(index):,} pictures")
    return 0


def _each(how: Using, photo: Path, asked: Any) -> int:
    """Ask about one picture, or a folder's one after the other."""
    if not photo.is_dir():
        return _one(how, asked(how.load(), photo, how.top))
    from twelvefold.progress import track
    from twelvefold.serving.images import picture

    paths, model = _pictures([photo]), how.load()

    def answers() -> Iterator[dict[str, Any]]:
        for path in track(paths, description="answering"):
            said = {"file": str(path)}
            try:
                prediction: Prediction = asked(model, picture(path), how.top)
                if how.draw is not None:
                    _save(prediction, how.draw / f"{path.relative_to(photo).with_suffix('')}.png")
                yield said | prediction.to_dict()
            except TwelvefoldError as error:
                yield said | {"error": str(error)}

    return _lines(answers(), None)


def _one(how: Using, prediction: Any) -> int:
    if how.draw is not None:
        _save(prediction, how.draw)
    say(prediction.to_dict(), how.json, _text(prediction))
    return 0


def _save(prediction: Prediction, path: Path) -> None:
    import io

    from PIL import Image

    from twelvefold.store import atomic_files

    Image.init()
    kind = Image.EXTENSION.get(path.suffix.lower())
    if kind not in Image.SAVE:
        raise TwelvefoldError(f"--draw {path}: expected a picture's file like answer.png, got {path.suffix!r}")
    written = io.BytesIO()
    prediction.draw().save(written, kind)
    atomic_files.write_bytes(path, written.getvalue())


def _lines(answers: Iterator[dict[str, Any]], out: Path | None) -> int:
    """Write a line for each; 1 where any is an error."""
    from twelvefold.store import atomic_files

    wrong, kept = 0, []
    for one in answers:
        wrong += "error" in one
        line = msgspec.json.encode(one) + b"\n"
        if out is None:
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
        else:
            kept.append(line)
    if out is not None:
        atomic_files.write_bytes(out, b"".join(kept))
        say(None, False, f"{out}: {len(kept):,} answers, {wrong:,} of them errors")
    return 1 if wrong else 0


def _text(prediction: Prediction, *, best: bool = False) -> str:
    lines = [f"{prediction.text}"] if best else []
    for one in prediction.ranked[: 1 if best else None]:
        box = "" if one.box_px is None else "[" + ", ".join(f"{side:.0f}" for side in one.box_px) + "]"
        name = prediction.pictures[int(one.name)].name if prediction.family == "retrieval" else one.name or box
        lines.append(f"{one.probability:7.1%}  {name}")
    return "\n".join([*lines, *prediction.notes])


def _pictures(photos: Sequence[Path]) -> list[Path]:
    """The pictures named, and those of folders, by name."""
    from twelvefold.datasets.reading.image_files import SUFFIXES

    found: list[Path] = []
    for path in photos:
        inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES) if path.is_dir() else [path]
        if not inside:
            raise TwelvefoldError(f"no picture ({', '.join(sorted(SUFFIXES))}) lies in {path}")
        found.extend(inside)
    return found


def _json(text: str, kind: Any, what: str, form: str) -> Any:
    """What a JSON argument says; None where it is empty."""
    if not text:
        return None
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.MsgspecError as error:
        raise TwelvefoldError(f"{what}: expected JSON like {form}, got {text[:80]!r} ({error})") from error
