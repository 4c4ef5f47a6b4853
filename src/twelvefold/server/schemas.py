"""The responses of the API, from which the OpenAPI document is generated."""

from __future__ import annotations

from typing import Annotated

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
    attention: list[AttentionOut] | None = Field(description="if requested by `explain`")


class Phrase(BaseModel):
    """A phrase of a caption and its boxes, most likely first."""

    phrase: str
    ranked: list[RankedOut]
    notes: list[str]
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


class ModelOut(BaseModel):
    """The model's name, training data and test scores (in percent, by task)."""

    name: str
    version: str = Field(description="of twelvefold")
    parameters: int
    tasks: list[str]
    trained_on: str
    detector: DetectorOut
    scores: dict[str, float]
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
