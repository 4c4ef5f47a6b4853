"""``twelvefold ask`` and the other commands that use a model: on an image, a folder, or a file of requests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cyclopts import Parameter

from twelvefold.cli.computing import computing_on
from twelvefold.cli.drawing import check_drawing, drawing_names, save_drawing
from twelvefold.cli.from_function import Device, Json, Output, first_lines, print_result
from twelvefold.cli.image_selection import ImagePath, is_folder, select_images
from twelvefold.config import default_tasks
from twelvefold.config.extract import HUB, RANDOM
from twelvefold.image_folder import skipped_lines
from twelvefold.printable import encode_json, print_json, printable_name
from twelvefold.schema import TwelvefoldError

if TYPE_CHECKING:
    from twelvefold.images import InputImage
    from twelvefold.serving.load import PretrainedPredictor
    from twelvefold.serving.result import Prediction


SEPARATE_ANSWERS = "Each answer is judged separately, so answers may sum to more than 100 %."
"""What the command line says below several answers with independent probabilities."""


@Parameter(name="*")
@dataclass(frozen=True)
class ModelOptions:
    """Options of all commands that use a model."""

    model: str | None = None
    "Folder of a run or a model, or user/name on a hub. Default: the small model that ships with the package."
    detector_weights: Path | None = None
    "Weight file of the model's detector, if it does not ship with the package; for patches also `hub` or `random`."
    device: Device = None
    json: Json = False

    def load(self, processes: int = 1) -> PretrainedPredictor:
        """Load the model. Commands open their files before, so that a missing one is reported at once.

        ``processes``: among which the detector's work is divided.
        """
        import twelvefold

        weights = self.detector_weights
        if weights is not None and str(weights) not in (HUB, RANDOM) and not weights.exists():
            raise TwelvefoldError(f"no weight file {self.detector_weights} (--detector-weights)")
        with computing_on(self.device):
            return twelvefold.load(self.model, detector_weights=self.detector_weights, processes=processes)


@Parameter(name="*")
@dataclass(frozen=True)
class RankingOptions(ModelOptions):
    """Options of commands that rank answers."""

    top: int = 5
    "Number of answers, best first."


@Parameter(name="*")
@dataclass(frozen=True)
class DrawingOptions(RankingOptions):
    """Options of commands whose answer can be drawn."""

    draw: Path | None = None
    "File for a drawing of the answer (PNG, JPEG ...); a folder of drawings if the image is a folder."


@Parameter(name="*")
@dataclass(frozen=True)
class CandidateOptions:
    """Options of commands that choose among boxes."""

    boxes: str | None = None
    "JSON list of candidate boxes x1, y1, x2, y2. Default: the detected regions."
    box_format: Literal["xyxy", "xywh", "xyxy_unit", "xywh_unit"] = "xyxy"
    "Corners, or a corner with width and height; in pixels, or with `_unit` in shares of the image's sides."

    def read(self) -> dict[str, Any]:
        """Return the arguments of the predictor's method."""
        from twelvefold.serving.box_inputs import parse_boxes

        return {"boxes": None if self.boxes is None else parse_boxes(self.boxes), "box_format": self.box_format}


DEFAULT_MODEL, DEFAULT_RANKING, DEFAULT_DRAWING = ModelOptions(), RankingOptions(), DrawingOptions()
NO_BOXES = CandidateOptions()


def ask(
    image: ImagePath, question: str, *, task: str = default_tasks.ASK, using: DrawingOptions = DEFAULT_DRAWING
) -> int:
    """Answer a question about an image, or about every image of a folder, with a line of JSON for each.

    ```
    twelvefold ask photo.jpg "What color is the dog?" --draw answer.png
    twelvefold ask holiday "Is there a dog?" --json > answers.jsonl
    ```

    Args:
        image: An image, `sample:NAME`, or a folder of images.
        question: The question.
        task: Task whose answer list is used: vqav2, gqa or vgqa.
    """
    return _answer_each(using, image, "ask", question, task=task)


def point(
    image: ImagePath, phrase: str, *, task: str = default_tasks.POINT, using: DrawingOptions = DEFAULT_DRAWING
) -> int:
    """Point at what a phrase describes, in an image or in every image of a folder.

    ```
    twelvefold point photo.jpg "the left dog" --draw answer.png
    ```

    Args:
        image: An image, `sample:NAME`, or a folder of images.
        phrase: The phrase.
        task: Task: refcoco, refcoco+ or refcocog.
    """
    return _answer_each(using, image, "point", phrase, task=task)


def entails(image: ImagePath, statement: str, *, using: DrawingOptions = DEFAULT_DRAWING) -> int:
    """Decide whether an image entails a statement, contradicts it, or neither.

    ```
    twelvefold entails photo.jpg "Two dogs are outside."
    ```

    Args:
        image: An image, `sample:NAME`, or a folder of images.
        statement: The statement.
    """
    return _answer_each(using, image, "entails", statement)


def choose(
    image: ImagePath, question: str, *, candidates: CandidateOptions = NO_BOXES, using: DrawingOptions = DEFAULT_DRAWING
) -> int:
    """Answer a "which" question with one of the boxes, by default the detected regions.

    ```
    twelvefold choose photo.jpg "Which is the spoon?" --boxes "[[10, 10, 80, 90], [100, 20, 150, 80]]"
    ```

    Args:
        image: An image, `sample:NAME`, or a folder of images.
        question: The question.
    """
    return _answer_each(using, image, "choose", question, **candidates.read())


def guess(
    image: ImagePath, dialogue: str, *, candidates: CandidateOptions = NO_BOXES, using: DrawingOptions = DEFAULT_DRAWING
) -> int:
    """Guess the object that a dialogue is about, among boxes or the detected regions.

    ```
    twelvefold guess photo.jpg '[["Is it a dog?", "Yes"], ["The left one?", "No"]]' --draw answer.png
    ```

    Args:
        image: An image, `sample:NAME`, or a folder of images.
        dialogue: JSON list of [question, answer] pairs.
    """
    from twelvefold.serving.dialogue import dialogue_text, parse_dialogue

    return _answer_each(using, image, "guess", dialogue_text(parse_dialogue(dialogue)), **candidates.read())


def compare(left: ImagePath, right: ImagePath, statement: str, *, using: DrawingOptions = DEFAULT_DRAWING) -> int:
    """Decide whether a statement is true of two images.

    ```
    twelvefold compare left.jpg right.jpg "Both images show a dog."
    ```

    Args:
        left: First image, or `sample:NAME`.
        right: Second image.
        statement: The statement about both images.
    """
    image_a, image_b = _open_images(using, left=left, right=right)
    return _show(using, using.load().compare(image_a, image_b, statement, top=using.top))


def ground(
    image: ImagePath,
    caption: str,
    phrases: list[str],
    *,
    task: str = default_tasks.POINT,
    using: RankingOptions = DEFAULT_RANKING,
) -> int:
    """Find a box for each phrase of a caption.

    ```
    twelvefold ground photo.jpg "a dog next to a red car" "a dog" "a red car" --json
    ```

    Args:
        image: An image, or `sample:NAME`.
        caption: The caption.
        phrases: Phrases of the caption.
        task: Task: refcoco, refcoco+ or refcocog.
    """
    from twelvefold.serving.request import open_image

    opened = open_image(image, "image")
    predictions = using.load().ground(opened, caption, phrases, task=task, top=using.top)
    text = "\n".join(_text(prediction, best_only=True) for prediction in predictions)
    return print_result([prediction.to_dict() for prediction in predictions], Output(text), json=using.json)


def find(
    text: str,
    images: list[ImagePath],
    *,
    task: str = default_tasks.FIND,
    shortlist: int = 0,
    processes: int = 1,
    using: DrawingOptions = DEFAULT_DRAWING,
) -> int:
    """Rank images by how well a text describes them.

    ```
    twelvefold find "two dogs on a beach" holiday/*.jpg
    twelvefold find "two dogs on a beach" holiday --top 3 --draw found.png
    ```

    Args:
        text: The text.
        images: Images, `sample:NAME`, or folders of images. To search them often, make an index: `twelvefold index`.
        task: Task: coco or flickr30k.
        shortlist: Images to compare, chosen by the model's twin encoder (`twelvefold index train`); 0: all.
        processes: Processes that detect regions, each with its own detector. Useful for many images.
    """
    from twelvefold.images import ImageError, load_image

    selection = select_images(images)
    check_drawing(using.draw, selection.files)
    opened, unreadable = [], dict[str, str]()
    for path in selection.files:
        try:
            opened.append(load_image(path))
        except ImageError as error:
            unreadable[printable_name(path)] = error.reason(path)
    if not opened:
        raise TwelvefoldError("no image can be read: " + "; ".join(": ".join(item) for item in unreadable.items()))
    prediction = using.load(processes).find(text, opened, task=task, top=using.top, shortlist=shortlist)
    if using.draw is not None:
        save_drawing(prediction, using.draw)
    unreadable |= selection.problems
    extra = {"unreadable": unreadable, "skipped": selection.skipped}
    result = prediction.to_dict() | {name: value for name, value in extra.items() if value}
    lines = [_text(prediction), *first_lines("unreadable", unreadable), *skipped_lines(selection.skipped)]
    output = Output("\n".join(lines), exit_code=1 if unreadable else 0)
    return print_result(result, output, json=using.json)


def answer(lines: Path, *, out: Path | None = None, using: ModelOptions = DEFAULT_MODEL) -> int:
    """Answer a file of requests to any tasks: a line of JSON for each request and for each answer, in the same order.

    ```
    twelvefold answer questions.jsonl --out answers.jsonl
    ```

    A line: {"task": "vqav2", "images": ["photo.jpg"], "text": "What color is the dog?", "id": 7}; also "dialogue",
    "texts", "boxes", "box_format", "top", "explain". Image files are relative to the folder of the request
    file. An invalid request gives a line with an "error", and the exit code is 1.

    Args:
        lines: File of requests.
        out: File of answers. Default: print them.
    """
    from twelvefold.progress import track
    from twelvefold.serving.jsonl import answer_lines, read_requests

    requests = read_requests(lines)
    answers = answer_lines(using.load(), requests, lines.parent)
    return _write_lines(track(answers, description="answering", total=len(requests)), out)


def _answer_each(using: DrawingOptions, image: Path, method: str, *arguments: Any, **options: Any) -> int:
    """Answer about one image, or about each image of a folder. ``method``: of the predictor."""
    if not is_folder(image):
        [opened] = _open_images(using, image=image)
        return _show(using, getattr(using.load(), method)(opened, *arguments, top=using.top, **options))
    from twelvefold.images import load_image
    from twelvefold.progress import track

    selection = select_images([image])
    check_drawing(using.draw, selection.files, folder=image)
    drawings = drawing_names([path.relative_to(image) for path in selection.files])
    answer_one = getattr(using.load(), method)
    answer_one([], *arguments, top=using.top, **options)  # what is wrong for every image is one error

    def answers() -> Iterator[dict[str, Any]]:
        for path in track(selection.files, description="answering"):
            file = {"file": printable_name(path)}
            try:
                prediction: Prediction = answer_one(load_image(path), *arguments, top=using.top, **options)
                if using.draw is not None:
                    save_drawing(prediction, using.draw / drawings[path.relative_to(image)])
                yield file | prediction.to_dict()
            except TwelvefoldError as error:
                yield file | {"error": str(error)}
        yield from ({"file": name, "error": reason} for name, reason in selection.problems.items())
        if selection.skipped:
            yield {"skipped": selection.skipped}

    return _write_lines(answers(), None)


def _open_images(using: DrawingOptions, **images: Path) -> list[InputImage]:
    """Open images by the name of their argument, before the model is loaded.

    Raises:
        TwelvefoldError: an image cannot be opened, or ``--draw`` names it.
    """
    from twelvefold.serving.request import open_image

    check_drawing(using.draw, list(images.values()))
    return [open_image(path, name) for name, path in images.items()]


def _show(using: DrawingOptions, prediction: Any) -> int:
    if using.draw is not None:
        save_drawing(prediction, using.draw)
    return print_result(prediction.to_dict(), Output(_text(prediction)), json=using.json)


def _write_lines(answers: Iterator[dict[str, Any]], out: Path | None) -> int:
    """Print the answers as lines of JSON, or write them to a file; return 1 if any is an error."""
    from twelvefold.store import atomic_files

    num_errors, lines = 0, []
    for answer in answers:
        num_errors += "error" in answer
        if out is None:
            print_json(answer)
        else:
            lines.append(encode_json(answer) + b"\n")
    if out is not None:
        atomic_files.write_bytes(out, b"".join(lines))
        print_result(None, Output(f"{out}: {len(lines):,} answers, {num_errors:,} of them errors"), json=False)
    return 1 if num_errors else 0


def _text(prediction: Prediction, *, best_only: bool = False) -> str:
    lines = [f"{prediction.text}"] if best_only else []
    for rank in prediction.ranked[: 1 if best_only else None]:
        box = "" if rank.box_px is None else "[" + ", ".join(f"{side:.0f}" for side in rank.box_px) + "]"
        name = rank.label if not box else box if rank.label == prediction.text else f"{box}  {rank.label}"
        lines.append(f"{rank.probability:7.1%}  {name}")
    separate = [SEPARATE_ANSWERS] if prediction.independent and len(prediction.ranked) > 1 else []
    return "\n".join([*lines, *separate, *prediction.notes])
