"""A value that follows a JSON schema: judged by the jsonschema library."""

import contextlib
import json
import time

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.chaos.schema import SchemaError, text_for, value_for

LIST = {
    "$defs": {"a": {"type": "array", "minItems": 100, "items": {"$ref": "#/$defs/a"}}},
    "$ref": "#/$defs/a",
}
EXPR = {
    "$defs": {
        "expr": {"anyOf": [{"$ref": "#/$defs/sum"}, {"$ref": "#/$defs/number"}]},
        "sum": {
            "type": "object",
            "properties": {"left": {"$ref": "#/$defs/expr"}, "right": {"$ref": "#/$defs/expr"}},
            "required": ["left", "right"],
            "additionalProperties": False,
        },
        "number": {"type": "object", "properties": {"value": {"type": "number"}}, "required": ["value"]},
    },
    "$ref": "#/$defs/expr",
}


def follows(value, schema):
    jsonschema.validate(value, schema, cls=jsonschema.Draft202012Validator)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "integer", "minimum": 5, "multipleOf": 4}, 8),
        ({"type": "number", "exclusiveMaximum": 1}, 0.5),
        ({"type": "integer", "maximum": -3}, -3),
        ({"type": ["null", "boolean"]}, True),
        ({"enum": ["b", "a"]}, "b"),
        ({"const": 3}, 3),
        ({"const": {"a": [None]}}, {"a": [None]}),
        ({"anyOf": [{"type": "null"}, {"type": "string", "maxLength": 2}]}, "n:"),
        ({"type": "array", "minItems": 3, "items": {"type": "null"}}, [None] * 3),
        ({"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"type": "string", "format": "date"}}}, "2025-01-11"),
        ({"type": "OBJECT", "properties": {"a": {"type": "STRING"}, "b": {"type": "INTEGER"}},
          "propertyOrdering": ["b", "a"]}, {"b": 1, "a": "n:0"}),
        ({"type": "STRING", "minLength": "5", "nullable": True}, "n:0.."),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, {"1": 1}),
        ({"type": "object"}, {}),
        ({}, "n:0"),
        (True, "n:0"),
        ({"$ref": "#/$defs/a~1b%20c", "$defs": {"a/b c": {"type": "null"}}}, None),
        ({"anyOf": [{"$ref": "#"}, {"type": "null"}]}, None),
        ({"$ref": "#here", "$defs": {"x": {"$anchor": "here", "const": 7}}}, 7),
    ],
)  # fmt: skip  # a table
def test_the_plainest_value(schema, value):
    made = value_for(schema, "n")
    assert made == value
    assert not isinstance(made, dict) or list(made) == list(value)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "uniqueItems": True, "minItems": 5, "items": {"enum": [1, 2, 3, 4, 5, True]}},
        {"type": "array", "uniqueItems": True, "minItems": 2, "items": {"type": "boolean"}},
        {"type": "array", "uniqueItems": True, "minItems": 30, "items": {"type": "string", "maxLength": 1}},
        {"type": "array", "uniqueItems": True, "minItems": 9, "items": {"type": "string", "format": "date"}},
        {"type": "array", "uniqueItems": True, "minItems": 3, "items": {
            "type": "object", "properties": {c: {"type": "boolean"} for c in "ab"}, "required": ["a", "b"]}},
        {"type": "array", "contains": {"const": 5}, "minContains": 2, "items": {"type": "integer"}, "minItems": 4},
        {"type": "array", "contains": {"type": "integer", "minimum": 1}, "maxContains": 1, "minItems": 3,
         "items": {"type": "integer"}},
        {"type": "array", "contains": {"type": "null"}},
        {"type": "array", "prefixItems": [{"const": 1}, {"type": "string"}], "items": False},
        {"type": "array", "prefixItems": [{"const": 1}], "items": {"type": "null"}, "minItems": 3},
        {"type": "array", "maxItems": 0},
        {"type": "object", "minProperties": 3},
        {"type": "object", "minProperties": 3, "propertyNames": {"pattern": "^x[0-9]{2}$"}},
        {"type": "object", "patternProperties": {"^S_": {"type": "string"}, "^I_": {"type": "integer"}},
         "additionalProperties": False, "minProperties": 4},
        {"type": "object", "properties": {c: {"type": "null"} for c in "abc"}, "minProperties": 2, "maxProperties": 2},
        {"type": "object", "properties": {"I_a": {}}, "patternProperties": {"^I_": {"type": "integer"}},
         "required": ["I_a"]},
        {"type": "object", "required": ["extra"], "additionalProperties": {"type": "integer"}},
        {"type": "object", "properties": {"a": {}, "b": {}, "c": {"type": "null"}},
         "dependentRequired": {"a": ["b"], "b": ["c"]}, "maxProperties": 2},
        {"type": "object", "properties": {"a": {}}, "dependentSchemas": {"a": {"required": ["z"]}}},
        {"type": "object", "properties": {"a": {}}, "dependencies": {"a": ["q"]}, "required": ["a"]},
        {"enum": [[1, 1.0], [1, 2]], "uniqueItems": True},
        {"allOf": [{"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": False},
                   {"properties": {"a": {"minimum": 10**9}, "b": {}}, "required": ["a"]}]},
        {"allOf": [{"type": "object", "properties": {"a": {"type": "string", "pattern": "^[a-z]{9}$"}}},
                   {"properties": {"a": {"minLength": 3}}, "required": ["a"]}]},
        {"not": {"type": "string"}},
        {"type": "string", "not": {"enum": ["n:0"]}},
        {"type": "object", "properties": {"a": {}, "b": {}}, "not": {"required": ["a"]}},
        {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"],
         "not": {"properties": {"a": {"const": 1}}}},
        {"oneOf": [{"type": "integer"}, {"type": "number", "minimum": 2}]},
        {"oneOf": [{"type": "number"}, {"type": "integer"}]},
        {"anyOf": [{"type": "string"}, {"type": "object"}], "type": "object"},
        {"type": "object", "properties": {"kind": {"enum": ["a", "b"]}}, "required": ["kind"],
         "if": {"properties": {"kind": {"const": "a"}}}, "then": {"required": ["x"]}, "else": {"required": ["y"]}},
        {"type": "object", "properties": {"kind": {"enum": ["a", "b"]}}, "required": ["kind"],
         "allOf": [{"if": {"properties": {"kind": {"const": kind}}},
                    "then": {"properties": {"v": {"type": inner}}, "required": ["v"]}}
                   for kind, inner in (("a", "integer"), ("b", "null"))]},
        {"if": {"type": "string"}, "then": False, "else": True},
        {"allOf": [{"properties": {"a": {"type": "integer"}}, "required": ["a"]},
                   {"properties": {"a": {"minimum": 7}, "b": {"type": "null"}}, "required": ["b"]}]},
        {"allOf": [{"type": ["integer", "string"]}, {"type": ["number", "null"]}, {"multipleOf": 4}, {"multipleOf": 6}]},
        {"allOf": [{"enum": [1, 2, 3]}, {"enum": [3, 4]}]},
        {"allOf": [{"pattern": "^a"}, {"pattern": "z$"}, {"type": "string", "minLength": 6}]},
        {"type": "number", "minimum": 0.1, "maximum": 0.3, "multipleOf": 0.05},
        {"type": "number", "exclusiveMinimum": 1, "exclusiveMaximum": 1.0001},
        {"type": "integer", "exclusiveMinimum": -8, "exclusiveMaximum": -6},
        {"type": "integer", "minimum": 2**60, "multipleOf": 3},
        {"type": "string", "pattern": "^[A-Z]{3}-[0-9]{4}$"},
        {"type": "string", "pattern": "abc", "minLength": 30, "maxLength": 31},
        {"type": "string", "format": "uuid", "maxLength": 8},
        {"type": "string", "format": "never-heard-of"},
        EXPR,
        {"type": "object", "properties": {"child": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
         "required": ["child"]},
        {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#"}}}, "required": ["children"]},
        {"type": "object", "properties": {f"p{i}": {"$ref": "#"} for i in range(30)}},
        {"$defs": {"n": {"type": "object", "properties": {str(i): {"$ref": "#/$defs/n"} for i in range(150)}}},
         "$ref": "#/$defs/n"},
    ],
)  # fmt: skip  # a table
@pytest.mark.parametrize("vary", [False, True])
def test_what_is_hard_to_follow(schema, vary):
    for nonce in ("n", "a1b2c3"):
        follows(value_for(schema, nonce, vary=vary), schema)


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$ref": "http://elsewhere"},
        {"$ref": "#/nowhere"},
        {"$ref": "#nowhere"},
        {"type": "martian"},
        {"type": []},
        {"properties": 3},
        {"type": "object", "required": 3, "properties": {"a": {}}},
        {"type": "integer", "multipleOf": 0},
        {"type": "integer", "minimum": 3, "maximum": 2},
        {"type": "integer", "minimum": True},
        {"type": "string", "minLength": 10**9},
        {"type": "string", "minLength": 3, "maxLength": 2},
        {"type": "string", "pattern": "^(?<=a)b"},
        {"type": "string", "pattern": "^a{3}$", "maxLength": 2},
        {"type": "string", "pattern": 3},
        {"type": "array", "uniqueItems": True, "minItems": 3, "items": {"type": "boolean"}},
        {"type": "array", "minItems": 2, "prefixItems": [{}], "items": False},
        {"type": "object", "required": ["a"], "additionalProperties": False},
        {"type": "object", "required": ["a", "b"], "maxProperties": 1},
        {"type": "object", "minProperties": 1, "additionalProperties": False},
        {"allOf": [{"type": "string"}, {"type": "null"}]},
        {"allOf": 3},
        {"anyOf": []},
        {"oneOf": [{"type": "string"}, {"type": "string"}]},
        {"not": {}},
        {"enum": []},
        {"enum": 3},
        {"type": "object", "patternProperties": {"(": {}}, "minProperties": 1},
        False,
        LIST,
        7,
    ],
)
def test_impossible_schemas_are_errors_and_end(schema):
    for vary in (False, True):
        with pytest.raises(SchemaError) as raised:
            value_for(schema, "n", vary=vary)
        assert str(raised.value)


def many(count):
    """A schema that demands ``count`` ** 3 values."""
    inner = {"type": "array", "minItems": count, "items": {"type": "null"}}
    for _ in range(2):
        inner = {"type": "array", "minItems": count, "items": inner}
    return inner


def choices(depth):
    """Every level doubles what a checker that doesn't count would look at."""
    levels = {
        f"l{i}": {"oneOf": [{"$ref": f"#/$defs/l{i + 1}"}, {"$ref": f"#/$defs/l{i + 1}"}]}
        for i in range(depth)
    }
    return {"$defs": {**levels, f"l{depth}": {"type": "string"}}, "$ref": "#/$defs/l0"}


@pytest.mark.parametrize(
    "schema",
    [
        many(50),
        choices(40),
        {"enum": ["a" * 60], "pattern": "^(a+)+b$"},
        {"type": "array", "minItems": 9_000, "uniqueItems": True, "items": {"type": "string", "maxLength": 1}},
        json.loads('{"not":' * 400 + "{}" + "}" * 400),
        {"allOf": [{"anyOf": [{"minLength": i}, {"maxLength": i}]} for i in range(30)] + [{"type": "string"}, {"not": {}}]},
    ],
)  # fmt: skip  # a table
def test_hostile_schemas_end_by_count(schema):
    began = time.thread_time()
    with pytest.raises(SchemaError):
        value_for(schema, "n")
    assert time.thread_time() - began < 10


def test_the_same_nonce_says_the_same_and_strings_carry_it():
    schema = {
        "type": "array",
        "items": {"type": "object", "properties": {"a": {}, "b": {"pattern": "^[a-f]{9}$"}}},
    }
    one, other = text_for(schema, "n1"), text_for(schema, "n2")
    assert one == text_for(schema, "n1")
    assert "n1:0" in one
    assert "n2:0" in other


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "items": {"type": "string"}},
        {"type": "string", "maxLength": 3},
        {"type": "string", "minLength": 30},
        {"type": "string", "pattern": "^[0-9a-f]{12}$"},
        {"type": "array", "uniqueItems": True, "minItems": 3, "items": {"type": "string", "maxLength": 4}},
        {"type": "string", "not": {"const": "\ue000:nonce:0"}},
        {"const": "\ue000:nonce"},
    ],
)
def test_a_schema_seen_before_says_what_a_new_one_would(schema):
    for nonce in ("0123456789", "fedcba9876.1", 'a "quoted" one'):
        assert json.loads(text_for(schema, nonce)) == value_for(schema, nonce)


def test_vary_draws_what_is_left_open():
    schema = {
        "type": "object",
        "properties": {
            "mood": {"enum": ["good", "bad", "none"]},
            "score": {"type": "number", "minimum": 0, "maximum": 10},
            "count": {"type": "integer"},
            "day": {"type": "string", "format": "date"},
            "list": {"type": "array", "items": {"type": "boolean"}},
            "maybe": {"type": ["string", "null"]},
        },
        "required": ["mood", "score", "count", "day", "list"],
    }
    plain = [value_for(schema, str(i)) for i in range(40)]
    drawn = [value_for(schema, str(i), vary=True) for i in range(40)]
    for value in drawn:
        follows(value, schema)
    for name in ("mood", "score", "count", "day", "list"):
        assert len({json.dumps(value[name]) for value in plain}) == 1
        assert len({json.dumps(value[name]) for value in drawn}) > 2
    assert {value.get("maybe", 0) is None for value in drawn} == {True, False}
    assert {"maybe" in value for value in drawn} == {True, False}
    assert drawn == [value_for(schema, str(i), vary=True) for i in range(40)]


# Whole schemas, drawn: of each some value is built first, so that what the schema says is possible.

NAMES = st.sampled_from(["a", "b", "c", "name", "x_1"])
SIZES = st.integers(0, 4)


def number(draw):
    low = draw(st.integers(-50, 50))
    schema = {"type": draw(st.sampled_from(["integer", "number"]))}
    if draw(st.booleans()):
        schema[draw(st.sampled_from(["minimum", "exclusiveMinimum"]))] = low
    if draw(st.booleans()):
        schema[draw(st.sampled_from(["maximum", "exclusiveMaximum"]))] = low + draw(st.integers(12, 90))
    if draw(st.booleans()):
        schema["multipleOf"] = draw(st.sampled_from([1, 2, 3, 5, 0.5, 0.1, 0.25]))
    return schema


def string(draw):
    schema = {"type": "string"}
    kind = draw(st.sampled_from(["plain", "pattern", "format"]))
    if kind == "pattern":
        schema["pattern"] = draw(
            st.sampled_from(
                ["^[a-z]+$", r"^\d{2,}", "b|cd", r"[A-F]\s?x*$", "^(ab|c)*$", r"\.(png|jpg)$", r"^\S+@\S+$"]
            )
        )
    if kind == "format":
        schema["format"] = draw(
            st.sampled_from(["date", "date-time", "email", "uuid", "uri", "ipv4", "time", "ipv6"])
        )
    else:
        least = draw(SIZES)
        schema["minLength"] = least
        if draw(st.booleans()):
            schema["maxLength"] = least + draw(st.integers(6, 20))
    return schema


@st.composite
def leaves(draw):
    kind = draw(st.sampled_from(["number", "string", "enum", "const", "boolean", "null", "types"]))
    if kind == "number":
        return number(draw)
    if kind == "string":
        return string(draw)
    if kind == "enum":
        return {
            "enum": draw(
                st.lists(st.sampled_from([1, "a", None, True, [1], {"a": 2}, 2.5]), min_size=1, max_size=4)
            )
        }
    if kind == "const":
        return {"const": draw(st.sampled_from([0, "", None, False, [], {"a": 1}]))}
    if kind == "types":
        return {
            "type": draw(
                st.lists(st.sampled_from(["string", "null", "integer", "boolean"]), min_size=1, unique=True)
            )
        }
    return {"type": kind}


@st.composite
def objects(draw, inner):
    properties = draw(st.dictionaries(NAMES, inner, max_size=4))
    schema = {"type": "object", "properties": properties}
    if properties:
        schema["required"] = draw(st.lists(st.sampled_from(sorted(properties)), unique=True))
    if draw(st.booleans()):
        schema["additionalProperties"] = draw(st.sampled_from([False]) | inner)
    if draw(st.booleans()):
        schema["patternProperties"] = {"^(p|q)_[a-z]+$": draw(inner)}
    possible = len(properties) if schema.get("additionalProperties") is False else 4
    least = draw(st.integers(0, possible))
    if draw(st.booleans()):
        schema["minProperties"] = least
    if draw(st.booleans()):
        schema["maxProperties"] = max(least, len(schema.get("required", ()))) + draw(SIZES)
    if len(properties) > 1 and draw(st.booleans()) and "maxProperties" not in schema:
        one, other = draw(st.permutations(sorted(properties)))[:2]
        schema["dependentRequired"] = {one: [other]}
    return schema


@st.composite
def arrays(draw, inner):
    schema = {"type": "array", "items": draw(inner)}
    if draw(st.booleans()):
        schema["prefixItems"] = draw(st.lists(inner, min_size=1, max_size=3))
    least = draw(SIZES)
    schema["minItems"] = least
    if draw(st.booleans()):
        schema["maxItems"] = least + draw(SIZES)
    if draw(st.booleans()):
        schema["uniqueItems"] = True
        schema["items"] = draw(
            st.sampled_from([{"type": "string"}, {"type": "integer"}, {"type": "number", "minimum": 3}])
        )
        schema.pop("prefixItems", None)
    return schema


def combined(inner):
    return st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"anyOf": parts}),
        st.tuples(inner, inner).map(lambda two: {"anyOf": [{"allOf": list(two)}, {"type": "null"}]}),
        st.tuples(inner, inner).map(lambda two: {"anyOf": [{"oneOf": list(two)}, {"type": "object"}]}),
        st.tuples(inner, inner, inner).map(
            lambda three: {"anyOf": [{"if": three[0], "then": three[1], "else": three[2]}, {"const": "x"}]}
        ),
        inner.map(lambda part: {"anyOf": [{"not": part}, part]}),
    )


SCHEMAS = st.recursive(
    leaves(), lambda inner: st.one_of(objects(inner), arrays(inner), combined(inner)), max_leaves=8
)


def referred(schema):
    """The same, a reference away; and once more inside itself."""
    inside = {"anyOf": [schema, {"type": "object", "properties": {"again": {"$ref": "#/$defs/it"}}}]}
    return {"$defs": {"it": inside}, "type": "array", "items": {"$ref": "#/$defs/it"}, "minItems": 1}


@given(SCHEMAS | SCHEMAS.map(referred), st.booleans(), st.sampled_from(["n", "0f3a5b7c9d"]))
def test_any_value_made_follows_its_schema(schema, vary, nonce):
    follows(value_for(schema, nonce, vary=vary), schema)


WORDS = [
    "type",
    "properties",
    "items",
    "required",
    "enum",
    "const",
    "anyOf",
    "oneOf",
    "allOf",
    "not",
    "if",
    "then",
    "$ref",
    "$defs",
    "pattern",
    "minLength",
    "maxLength",
    "minItems",
    "multipleOf",
    "minimum",
    "format",
    "additionalProperties",
    "patternProperties",
    "contains",
    "prefixItems",
    "uniqueItems",
    "dependentRequired",
    "propertyOrdering",
    "nullable",
    "minProperties",
]


@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(
                st.sampled_from(WORDS),
                inner,
                max_size=4,
            ),
        ),
        max_leaves=12,
    )
)
def test_whatever_calls_itself_a_schema_gives_a_value_or_a_schema_error(schema):
    with contextlib.suppress(SchemaError):
        json.loads(text_for(schema, "n"))
