import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.config.substitute import Substituted, SubstitutionError, substitute, substitute_all

ENV = {"A": "one", "B": "two", "EMPTY": "", "TRICKY": "${A} $${B} }"}


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("${A}", "one"),
        ("x${A}y${B}z", "xoneytwoz"),
        ("${EMPTY}", ""),
        ("${NONE:-}", ""),
        ("${NONE:-none}", "none"),
        ("${EMPTY:-none}", "none"),
        ("${A:-none}", "one"),
        ("${A:-${NONE}}", "one"),
        ("${NONE:-${B}}", "two"),
        ("${NONE:-${EMPTY:-last}}!", "last!"),
        ("${NONE:-a $${b}", "a ${b"),
        ("${A:?why}", "one"),
        ("$${A}", "${A}"),
        ("$$${A}", "$${A}"),
        ("$A $ $$ }{", "$A $ $$ }{"),
        ("${TRICKY}", "${A} $${B} }"),
    ],
)
def test_fills_in(text: str, filled: str) -> None:
    assert substitute(text, ENV) == filled


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("${NONE}", "NONE is not set"),
        ("${NONE:?ask the platform team}", "NONE is needed: ask the platform team"),
        ("${EMPTY:?ask the platform team}", "EMPTY is needed: ask the platform team"),
        ("${NONE:?}", "NONE is needed: it is not set"),
        ("${NONE:-${OTHER}}", "OTHER is not set"),
        ("${A", 'after "${A" comes "}"'),
        ("${A:-x", "not closed"),
        ("${A:+x}", 'after "${A" comes "}"'),
        ("${}", "the name of a variable"),
        ("${1A}", "the name of a variable"),
        ("${a-b}", 'after "${a" comes "}"'),
        ("${X:-" * 100 + "}" * 100, "more than 32 deep"),
        ("${X:-" * 100_000, "more than 32 deep"),
    ],
)
def test_refuses(text: str, said: str) -> None:
    with pytest.raises(SubstitutionError, match=re.escape(said)):
        substitute(text, ENV)


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(SubstitutionError, match="A does not hold valid UTF-8"):
        substitute("${A}", {"A": "caf\udce9"})


def test_what_came_from_the_environment_is_told_from_what_did_not() -> None:
    filled = substitute("${A}-${NONE:-${B}}-${A}", ENV)
    assert isinstance(filled, Substituted)
    assert filled.variables == ("A", "NONE", "B")
    assert type(substitute("$${A}", ENV)) is str


def test_a_document_is_filled_in_whole_with_all_problems_and_left_as_it_was() -> None:
    document = {"a": ["${A}", {"b": "${NONE}"}, 3], "c": {"d": "${GONE:?why}"}, "${A}": True}
    filled = substitute_all(document, ENV)
    assert filled.document == {"a": ["one", {"b": ""}, 3], "c": {"d": ""}, "${A}": True}
    assert filled.origins == {("a", 0): ("A",)}
    assert [problem.path for problem in filled.problems] == [("a", 1, "b"), ("c", "d")]
    assert document["a"] == ["${A}", {"b": "${NONE}"}, 3]


@given(st.text())
def test_text_without_the_mark_stays(text: str) -> None:
    text = text.replace("${", "")
    assert substitute(text, {}) == text


@given(st.text(alphabet="${}Aab:-?\n é", max_size=40))
def test_every_text_can_be_escaped(text: str) -> None:
    assert substitute(text.replace("${", "$${"), ENV) == text


@given(st.text(alphabet="${}Aab:-? ", max_size=40))
def test_what_a_variable_holds_is_never_read_again(value: str) -> None:
    assert substitute("<${V}>", {"V": value, "A": "leak"}) == f"<{value}>"
    assert substitute("<${V:-${V:-none}}>", {"V": value, "A": "leak"}) == f"<{value or 'none'}>"


@given(st.text(alphabet="${}AB:-? x", max_size=60))
def test_any_text_is_filled_in_or_refused_without_showing_a_value(text: str) -> None:
    assert "canary" not in refusal(text, {"A": "canary-in-a", "B": "canary-in-b"})


def refusal(text: str, env: dict[str, str]) -> str:
    try:
        substitute(text, env)
    except SubstitutionError as error:
        return str(error)
    return ""
