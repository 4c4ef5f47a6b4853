"""The responses of the API, from which the OpenAPI document is generated."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, Field

BoxPx = Annotated[list[float], Field(min_length=4, max_length=4, description="x1, y1, x2, y2 in pixels of the image")]
Probability = Annotated[float, Field(ge=0, le=1)]


class Error(BaseModel):
    """An error response."""

    error: str = Field(description="code for programs", examples=["not_a_picture"])
    what: str = Field(description="what is wrong and what to do, in a sentence")
    request_id: str


class ImageOut(BaseModel):
    """An image in the server's cache; later requests can refer to it by its `picture`."""

    picture: str = Field(description="digest of the image's pixels")
    width: int
    height: int


class RegionOut(BaseModel):
    """A detected region. `kind`: its most likely category, empty if the detector has no categories."""

    box_px: BoxPx
    kind: str
    probability: Probability | None


class DetectedRegions(ImageOut):
    """The regions that the detector found in an image, best first."""

    request_id: str
    regions: list[RegionOut]
    seconds: float = Field(description="of decoding and detection")


class RankedOut(BaseModel):
    """An answer, a class, a box, or an image by its index in `pictures`, with its probability."""

    # A float32 softmax may sum to slightly more than 1.
    probability: Annotated[Probability, BeforeValidator(lambda value: min(1.0, max(0.0, value)))]
    name: str
    box_px: BoxPx | None
    label: str = Field(description="name; for a box what the detector takes its object for, or else the request's text")


class Seconds(BaseModel):
    """The seconds of each stage. Requests of one batch share `detect` and `answer`."""

    decode: float
    queue: float
    detect: float
    answer: float


class BlockOut(BaseModel):
    """Weights of a co-attention block: from each word to the regions (heads, words, regions), and from each region to
    the words (heads, regions, words). Each row sums to one."""

    to_regions: list[list[list[float]]]
    to_words: list[list[list[float]]]


class AttentionOut(BaseModel):
    """Attention weights between the words and the regions of one image."""

    picture: int = Field(description="index in `pictures`")
    words: list[str] = Field(description="word pieces, special ones included")
    boxes_px: list[BoxPx] = Field(description="the first is the whole image")
    blocks: list[BlockOut]


class Response(BaseModel):
    """What all answers have."""

    request_id: str
    task: str
    ranked: list[RankedOut]
    pictures: list[ImageOut]
    seconds: Seconds


class Answer(Response):
    """The answers of the model, most likely first."""

    candidates_px: list[BoxPx] = Field(description="the candidate boxes of the request")
    notes: list[str] = Field(description="sentences that qualify the answer")
    confidence_weight: float = Field(description="1, or less where probabilities were lowered; `notes` say why")
    attention: list[AttentionOut] | None = Field(description="if requested by `explain`")


class Phrase(BaseModel):
    """A phrase of a caption and its boxes, most likely first."""

    phrase: str
    ranked: list[RankedOut]
    notes: list[str]
    confidence_weight: float
    attention: list[AttentionOut] | None


class Grounded(Response):
    """The best box of each phrase, in order; `phrases` has all boxes of each."""

    phrases: list[Phrase]


class DetectorOut(BaseModel):
    """The detector that the model uses."""

    name: str
    digest: str
    feature_size: int
    max_regions: int | None
    arithmetic: str


FormInput = Literal["text", "texts", "dialogue", "phrases"]


class FormTask(BaseModel):
    """A task of a tab."""

    name: str
    title: str


class FormOut(BaseModel):
    """A tab of the page: tasks of the model that are asked in the same way."""

    key: str
    tab: str = Field(description="short name")
    title: str = Field(description="what the task does")
    label: str = Field(description="of the text field")
    example: str = Field(description="placeholder of the text field")
    hint: str
    verb: str = Field(description="of the button")
    method: str = Field(description="the endpoint, and the method in Python")
    field: str = Field(description="the endpoint's field for the text")
    input: FormInput = Field(description="what the field holds; all but `text` are JSON lists")
    images: int | None = Field(description="number of images; null: a list to search")
    boxes: bool = Field(description="the answers are boxes")
    candidates: bool = Field(description="takes candidate boxes")
    independent: bool = Field(description="each answer is judged separately, so probabilities may sum to more than 1")
    takes_task: bool = Field(description="the endpoint has a field `task`")
    tasks: list[FormTask]


class TrainingDataOut(BaseModel):
    """The data that a model was trained on, as far as known: 0 or empty for what is not."""

    folder: str = Field(description="name of the data folder")
    images: int = Field(description="distinct images")
    examples: dict[str, int] = Field(description="by task")
    captions: bool = Field(description="the examples are captions for pretraining")
    recipe: str
    initial: str = Field(description="the model whose weights training started from")
    world_seed: int | None = Field(description="of a drawn world; null for other data")


class ScoreOut(BaseModel):
    """What a test score was measured on."""

    title: str = Field(description="of the task")
    metric: str
    split: str
    n: int = Field(description="number of examples with a label")
    ci95: list[float] | None = Field(description="95 % interval, in percent; null without a score")
    unlabeled: int = Field(description="examples whose labels are withheld")
    data: str = Field(description="the data folder in words, empty if unknown")
    drawn: bool = Field(description="a drawn world in the dataset's format, not the published test set")


class CalibrationOut(BaseModel):
    """How a temperature was fitted on one half of val and checked on the other."""

    temperature: float
    kept: bool = Field(description="it helped on the other half and is used")
    seed: int = Field(description="of the split of the images into halves")
    n_fit: int
    n_check: int
    error: float | None = Field(description="calibration error on the other half, in points")
    error_raw: float | None = Field(description="the same without the temperature")


class ModelOut(BaseModel):
    """The model's name, training data and test scores (in percent, by task)."""

    name: str
    source: str = Field(description="what twelvefold.load takes; empty for the model that ships")
    version: str = Field(description="of twelvefold")
    parameters: int
    tasks: list[str]
    forms: list[FormOut] = Field(description="the tabs of the page, from the model's own tasks")
    trained_on: str
    data: TrainingDataOut
    limitations: list[str] = Field(description="sentences on what the model was not made for")
    detector: DetectorOut
    scores: dict[str, float | None] = Field(description="null where the labels are withheld: scored by the server")
    score_details: dict[str, ScoreOut]
    calibrations: dict[str, CalibrationOut]
    license: str = Field(description="of the weights; empty if the author stated none")
    temperatures: dict[str, float]
    limits: dict[str, int | float] = Field(description="of the server")


class State(BaseModel):
    """The state of the server."""

    status: str


class SuggestionOut(BaseModel):
    """A question to a task with its correct answer, by name or box. `other`: the name of the right sample of a pair."""

    task: str
    text: str
    dialogue: list[list[str]]
    answer: str
    box_px: BoxPx | None
    boxes_px: list[BoxPx]
    other: str


class SampleOut(BaseModel):
    """A sample image and questions about it. `url`: relative to the server's root."""

    name: str
    width: int
    height: int
    url: str
    suggestions: list[SuggestionOut]
