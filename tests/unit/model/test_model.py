"""What the model's values promise by themselves."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings

import holdfast.model as model
from holdfast.model import Message, Request, Role, Text, Usage
from holdfast.testing.strategies import requests


def test_everything_exported_is_sorted_and_there() -> None:
    assert model.__all__ == sorted(model.__all__)
    for name in model.__all__:
        assert hasattr(model, name), name


@pytest.mark.parametrize(
    "value",
    [each for each in vars(model).values() if isinstance(each, type) and issubclass(each, msgspec.Struct)],
)
def test_every_value_is_frozen(value: type[msgspec.Struct]) -> None:
    assert value.__struct_config__.frozen


def test_defaults_are_not_shared() -> None:
    first, second = Message(role=Role.USER), Message(role=Role.USER)
    assert first.extra is not second.extra
    assert Usage().extra is not Usage().extra


@settings(max_examples=50)  # slow to draw
@given(requests())
def test_a_request_can_be_stored_and_read_again(request: Request) -> None:
    assert msgspec.json.decode(msgspec.json.encode(request), type=Request) == request


def test_parts_are_told_apart_when_read_again() -> None:
    encoded = msgspec.json.encode(Text(text="x"))
    assert msgspec.json.decode(encoded)["part"] == "text"
