"""Values for the schemas of pydantic models: the models take them."""

import datetime as dt
import enum
import ipaddress
import uuid
from collections import deque
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Optional

import pytest
from pydantic import (
    AnyUrl,
    AwareDatetime,
    Base64Bytes,
    BaseModel,
    ConfigDict,
    Field,
    HttpUrl,
    Json,
    RootModel,
    TypeAdapter,
    conint,
    conlist,
    constr,
)
from typing_extensions import TypedDict

from holdfast.chaos.schema import text_for


class Mood(enum.Enum):
    good = "good"
    bad = 2
    none = None


class Level(enum.IntEnum):
    low = 1
    high = 9


class Point(NamedTuple):
    x: int
    y: float


class Movie(TypedDict, total=False):
    name: str
    year: int


class Numbers(BaseModel):
    a: int = Field(ge=3, lt=4)
    b: float = Field(gt=0, lt=0.001)
    d: conint(multiple_of=7, gt=7)
    e: Annotated[int, Field(le=-1)]
    f: float = Field(multiple_of=0.25, ge=0.3)


class Texts(BaseModel):
    a: constr(min_length=20, max_length=21)
    b: constr(pattern=r"^[A-Z]{2}\d{4,6}$")
    c: Annotated[str, Field(pattern="^a|b$", min_length=4)]
    d: constr(max_length=1)
    e: Base64Bytes
    f: Json[list[int]]
    g: Path


class Formats(BaseModel):
    a: dt.date
    b: dt.datetime
    c: dt.time
    d: dt.timedelta
    e: uuid.UUID
    f: HttpUrl
    g: AnyUrl
    h: ipaddress.IPv4Address
    i: ipaddress.IPv6Address
    j: ipaddress.IPv4Network
    k: AwareDatetime
    m: uuid.UUID
    n: ipaddress.IPv6Interface


class Many(BaseModel):
    a: list[int]
    b: conlist(str, min_length=3, max_length=3)
    c: set[int] = Field(min_length=4)
    d: frozenset[Mood] = Field(min_length=3)
    e: tuple[int, str, bool]
    f: tuple[int, ...]
    g: dict[str, float]
    h: dict[int, str] = Field(min_length=2)
    i: deque[Level]
    j: Point
    k: Movie
    l: dict[Literal["a", "b"], int] = Field(min_length=2)  # noqa: E741  # the twelfth of them
    m: list[list[list[str]]]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    a: int
    b: str | None
    c: Optional["Strict"] = None


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = Field(ge=1, le=9)


class Dog(BaseModel):
    kind: Literal["dog"]
    good: Literal[True]


class Pets(BaseModel):
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    pets: list[Annotated[Cat | Dog, Field(discriminator="kind")]] = Field(min_length=3)
    either: Cat | Dog | int


class Tree(BaseModel):
    value: int
    children: list["Tree"]


class Chain(BaseModel):
    next: Optional["Chain"]
    other: "Chain | list[Chain] | None"


class Sum(BaseModel):
    left: "Expression"
    right: "Expression"


class Expression(RootModel[Sum | int]):
    pass


class Aliased(BaseModel):
    inner_name: str = Field(alias="innerName", min_length=1)
    any: Any
    mood: Mood
    level: Level


class Wide(BaseModel):
    many: list[Strict] = Field(min_length=20)
    union: int | float | str | bool | list[int] | dict[str, int] | None


MODELS = [Numbers, Texts, Formats, Many, Strict, Pets, Tree, Chain, Sum, Expression, Aliased, Wide]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
@pytest.mark.parametrize("vary", [False, True])
def test_a_model_takes_what_is_made_of_its_schema(model, vary):
    for i in range(12):
        model.model_validate_json(text_for(model.model_json_schema(), f"abc{i}", vary=vary))


@pytest.mark.parametrize(
    "kind",
    [int, str, bool, None, list[int], dict[str, list[int]], Mood, Level, Literal["a", 1], Point, Movie,
     dt.datetime, uuid.UUID, int | str, tuple[int, int], set[bool], Cat | Dog, bytes, dict[uuid.UUID, int],
     dict[Annotated[str, Field(pattern="^k[0-9]$")], int], Annotated[dict[Mood, int], Field(min_length=1)]],
)  # fmt: skip  # a table
def test_types_take_what_is_made_of_their_schema(kind):
    adapter = TypeAdapter(kind)
    for vary in (False, True):
        adapter.validate_json(text_for(adapter.json_schema(), "n", vary=vary))


def test_a_decimal_is_a_number_where_that_is_offered_first():
    adapter = TypeAdapter(Decimal)  # the other thing offered is any string, though most are no decimals
    assert adapter.validate_json(text_for(adapter.json_schema(), "n")) == Decimal("1.5")


def test_all_members_of_a_union_come_to_be_said():
    said = {
        Pets.model_validate_json(text_for(Pets.model_json_schema(), str(i), vary=True)).pet.kind
        for i in range(30)
    }
    assert said == {"cat", "dog"}
