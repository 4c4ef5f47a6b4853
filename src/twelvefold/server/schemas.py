"""What the server answers, as types: the OpenAPI page is made of these."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from twelvefold import schema

BoxPx = Annotated[list[float], Field(min_length=4, max_length=4, description="x1, y1, x2, y2 in pixels of the picture")]
Probability = Annotated[float, Field(ge=0, le=1)]


class Error(BaseModel):
    """Why there is no answer."""

    error: str = Field(description="a word for programs", examples=["not_a_picture"])
    what: str = Field(description="a sentence for people: what is wrong, and what to do")
    request_id: str


class PictureOut(BaseModel):
    """A picture that is kept: ask about it again by its `picture`."""

    picture: str = Field(description="digest of what it shows")
    width: int
    height: int


class RegionOut(BaseModel):
    """One thing that the detector found. `kind`: its likeliest name, empty where the detector names nothing."""

    box_px: BoxPx
    kind: str
    probability: Probability | None


class Seen(PictureOut):
    """What the detector found in a picture, best first."""

    request_id: str
    regions: list[RegionOut]
    seconds: float = Field(description="of decoding and looking")


class RankedOut(BaseModel):
    """An answer, a class, a box, or a picture by its place in `pictures`, with its probability."""

    probability: Probability
    name: str
    box_px: BoxPx | None

    @classmethod
    def of(cls, one: schema.Ranked, name: str = "") -> RankedOut:
        """``name``: said in place of its own."""
        probability = min(1.0, max(0.0, one.probability))  # a softmax in float32 may sum to a little more than 1
        return cls(probability=probability, name=name or one.name, box_px=None if one.box_px is None else [*one.box_px])


class Seconds(BaseModel):
    """How long each stage took. Requests that were answered together share the last two."""

    decode: float
    queue: float
    detect: float
    answer: float


class BlockOut(BaseModel):
    """A block's shares: of each word over the regions (heads, words, regions), and of each region over the words
    (heads, regions, words). Each row sums to one."""

    to_regions: list[list[list[float]]]
    to_words: list[list[list[float]]]


class AttentionOut(BaseModel):
    """Which words looked at which regions of one picture, block by block and head by head."""

    picture: int = Field(description="its place in `pictures`")
    words: list[str] = Field(description="word pieces, the special ones among them")
    boxes_px: list[BoxPx] = Field(description="the first is the whole picture")
    blocks: list[BlockOut]


class Answer(BaseModel):
    """What the model says, the likeliest first."""

    request_id: str
    task: str
    ranked: list[RankedOut]
    pictures: list[PictureOut]
    candidates_px: list[BoxPx] = Field(description="the boxes that were given to choose from")
    notes: list[str] = Field(description="what one should know of this answer")
    attention: list[AttentionOut] | None = Field(description="where asked by `explain`")
    seconds: Seconds


class Phrase(BaseModel):
    """One phrase of a caption, and the boxes it may mean, the likeliest first."""

    phrase: str
    ranked: list[RankedOut]
    notes: list[str]
    attention: list[AttentionOut] | None


class Grounded(BaseModel):
    """A box for each phrase, in their order; `phrases` has what else each may mean."""

    request_id: str
    task: str
    ranked: list[RankedOut]
    pictures: list[PictureOut]
    phrases: list[Phrase]
    seconds: Seconds


class DetectorOut(BaseModel):
    """The detector whose regions the model reads."""

    name: str
    digest: str
    feature_size: int
    max_regions: int | None
    arithmetic: str


class ModelOut(BaseModel):
    """Which model this is, what it learnt from, and how well it does (test scores in percent, by task)."""

    name: str
    version: str = Field(description="of this program")
    parameters: int
    tasks: list[str]
    trained_on: str
    detector: DetectorOut
    scores: dict[str, float]
    temperatures: dict[str, float]
    limits: dict[str, int | float] = Field(description="what the server takes at most")


class State(BaseModel):
    """Whether the server is well."""

    status: str


class SuggestionOut(BaseModel):
    """Something to ask of a task, and what is right: an `answer` by name, or a box. `other`: the right picture of a
    pair, by its sample's name."""

    task: str
    text: str
    dialogue: list[list[str]]
    answer: str
    box_px: BoxPx | None
    boxes_px: list[BoxPx]
    other: str


class SampleOut(BaseModel):
    """A picture that ships with the package, and what to ask about it. `url`: as seen from this server's root."""

    name: str
    width: int
    height: int
    url: str
    suggestions: list[SuggestionOut]
