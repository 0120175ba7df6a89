"""How tools are written: as their bills add up, and whatever stands in a schema."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.model import Message, Request, Role, Text, Tool
from holdfast.providers.tokens import count_request
from holdfast.providers.tokens.openai_tools import write_tools
from holdfast.testing.strategies import json_values


def written(properties, required=(), description=None, **more):
    schema = {"type": "object", "properties": properties, "required": list(required), **more}
    declared = write_tools([Tool(name="f", description=description, parameters=schema)])
    beginning, end = "namespace functions {\n\n", "\n\n} // namespace functions"
    assert declared.startswith(beginning)
    assert declared.endswith(end)
    return declared.removeprefix(beginning).removesuffix(end)


def test_no_tools_are_nothing():
    assert write_tools([]) == ""


@pytest.mark.parametrize("parameters", [None, {}, {"type": "object", "properties": {}}])
def test_without_parameters(parameters):
    tool = Tool(name="now", description="The time.", parameters=parameters)
    assert write_tools([tool]) == (
        "namespace functions {\n\n// The time.\ntype now = () => any;\n\n} // namespace functions"
    )


def test_plain_parameters_stand_on_one_line():
    properties = {"city": {"type": "string"}, "days": {"type": "integer"}}
    assert written(properties, ["city"]) == "type f = (_: { city: string, days?: number }) => any;"


def test_described_ones_on_their_own():
    properties = {
        "city": {"type": "string", "description": "Where to."},
        "days": {"type": "number", "default": 3},
    }
    assert written(properties, ["city"], description="Weather.") == (
        "// Weather.\ntype f = (_: {\n// Where to.\ncity: string,\ndays?: number, // default: 3\n}) => any;"
    )


def test_a_description_keeps_its_lines_without_their_indentation():
    assert written({"a": {"type": "null"}}, description="One.\n\n    Args:\n        a: it\n    ").startswith(
        "// One.\n\nArgs:\na: it\ntype f"
    )


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "array", "items": {"type": "string"}}, "string[]"),
        ({"type": "array"}, "any[]"),
        ({"enum": ["a", 1, None]}, '"a" | 1 | null'),
        ({"const": "a"}, '"a"'),
        ({"type": ["string", "null"]}, "string | null"),
        ({"anyOf": [{"type": "boolean"}, {"type": "object"}]}, "boolean | object"),
        ({"oneOf": [{"$ref": "#/$defs/N"}, {"type": "null"}]}, "number | null"),
        ({"$ref": "#/$defs/N"}, "number"),
        ({"$ref": "#/$defs/None"}, "any"),
        ({"$ref": "elsewhere.json"}, "any"),
        ({"type": "something"}, "any"),
        ({}, "any"),
        (True, "any"),
        (7, "any"),
        ({"$ref": 7, "anyOf": 7, "enum": 7, "type": 7}, "any"),
    ],
)
def test_types(schema, said):
    assert (
        written({"x": schema}, ["x"], **{"$defs": {"N": {"type": "integer"}}})
        == f"type f = (_: {{ x: {said} }}) => any;"
    )


def test_what_has_properties_is_an_object_without_saying_so():
    tool = Tool(name="f", parameters={"properties": {"a": {"type": "string"}}})
    assert "type f = (_: { a?: string }) => any;" in write_tools([tool])


def test_objects_within_are_written_out():
    inner = {"type": "object", "properties": {"a": {"type": "string"}}}
    assert written(
        {"x": inner, "y": {"type": "array", "items": {"$ref": "#/$defs/I"}}}, **{"$defs": {"I": inner}}
    ) == ("type f = (_: {\nx?: { a?: string },\ny?: { a?: string }[],\n}) => any;")


class TestHostileSchemas:
    def test_a_circle_ends(self):
        node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/N"}}}
        text = written({"n": {"$ref": "#/$defs/N"}}, **{"$defs": {"N": node}})
        assert text.count("next?: ") < 64

    def test_references_that_double_at_each_step_stay_short(self):
        doubled = {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(60)}
        assert len(written({"x": {"$ref": "#/$defs/d0"}}, **{"$defs": doubled})) < 2**20

    def test_one_wide_thing_referred_to_many_times_is_written_a_few_times(self):
        wide = {"enum": ["value"] * 5_000}
        properties = {f"p{n}": {"$ref": "#/$defs/W"} for n in range(100)}
        assert len(written(properties, **{"$defs": {"W": wide}})) < 2**20

    def test_a_schema_that_is_a_pit_is_counted_or_refused_before_it_gets_here(self):
        pit = {"type": "string"}
        for _ in range(150):
            pit = {"type": "object", "properties": {"p": pit}, "description": "d"}
        assert "any" in written({"x": pit})

    @pytest.mark.parametrize("properties", [[], 7, "x", None, {"": None}, {"a": [[]]}])
    def test_properties_may_be_anything(self, properties):
        write_tools(
            [Tool(name="f", parameters={"properties": properties, "description": 7, "required": "city"})]
        )

    @given(json_values(), st.dictionaries(st.text(max_size=5), json_values(), max_size=4))
    def test_anything_at_all_is_counted(self, value, properties):
        for parameters in (
            {"properties": properties, "$defs": value},
            {"properties": value} if value else {},
        ):
            tool = Tool(name="f", parameters=parameters)
            request = Request(
                model="gpt-5", messages=(Message(role=Role.USER, parts=(Text(text="hi"),)),), tools=(tool,)
            )
            count = count_request(request, "gpt-5")
            assert 0 < count.tokens <= count.upper
        assert json.loads(json.dumps(properties)) == properties, "and left as it was"
