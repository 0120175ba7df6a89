"""Templates: what they may say, and that none of them can hang, fill or leave the server."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.chaos.answers.filters import FILTERS
from holdfast.chaos.answers.sandbox import LARGEST
from holdfast.chaos.answers.template import Random, RenderError, Values, check, render
from holdfast.chaos.draws import Draw
from holdfast.chaos.errors import ChaosError

VALUES = Values(
    "Hello world", "gpt-x", "0a1b2c3d4e", 2, "k", 20, ["[image image/png 9 bytes]"], ["weather", "news"]
)


def told(source, values=VALUES, seed=0):
    return render(source, values, Random(Draw(seed, "k", 2), "template"))


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("no template at all", "no template at all"),
        ("{{ prompt }} {{ model }} {{ nonce }} {{ attempt }} {{ key }} {{ tokens }}", "Hello world gpt-x 0a1b2c3d4e 2 k 20"),
        ("{{ media[0] }} {{ tools | join('/') }}", "[image image/png 9 bytes] weather/news"),
        ("{% for i in range(3) %}{{ i }}{{ loop.cycle('a', 'b') }}{{ ',' if not loop.last }}{% endfor %}", "0a,1b,2a"),
        ("{% for t in tools if t != 'news' %}{{ t|upper }}{% else %}none{% endfor %}", "WEATHER"),
        ("{% set x = attempt * 3 + 1 %}{{ x }} {{ x // 2 }} {{ -x }} {{ 2 ** 10 }} {{ 7 % 4 }} {{ 1.5 - 1 }}",
         "7 3 -7 1024 3 0.5"),
        ("{% if 'world' in prompt and attempt is even %}yes{% elif 1 %}no{% endif %}", "yes"),
        ('{{ {"city": prompt[:5], "days": [1, 2, (3,)], "none": none} | tojson }}',
         '{"city": "Hello", "days": [1, 2, [3]], "none": null}'),
        ("{{ prompt ~ '-' ~ attempt }}", "Hello world-2"),
        ("{{ prompt.split(' ')[1].upper() }} {{ prompt|replace('o', '0')|lower }} {{ prompt|wordcount }}",
         "WORLD hell0 w0rld 2"),
        ("{{ {'a': 1}.get('a') }}{% for k, v in {'b': 2}.items() %}{{ k }}{{ v }}{% endfor %}{{ {'c': 3}|items }}",
         "1b2[('c', 3)]"),
        ("{% set body %}a{{ attempt }}{% endset %}{{ body|length }}{% with y = 1 %}{{ y }}{% endwith %}", "21"),
        ("{{ nothing_here|default('d') if false else 'x' }}", None),
        ("{% raw %}{{ prompt }}{% endraw %}{# a comment #}", "{{ prompt }}"),
        ("{{ [3, 1, 2]|sort|first }}{{ [3, 1]|max }}{{ [1, 1]|unique|length }}{{ '3'|int + 1 }}{{ 'x'|int(5) }}", "13145"),
        ("{{ [1, 2]|sum }}{{ [4, 2]|min }}{{ 'ab'|count }}", "322"),
        ("{{ 2.345|round(1) }} {{ 'abc'|reverse }} {{ ' a '|trim }} {{ 'abcdef'|truncate(4) }} {{ range(3)|list }}",
         "2.3 cba a a... [0, 1, 2]"),
        ("{{ tools[5]|default('few') if tools|length > 5 else 'two' }}", "two"),
        ("{{ 'aXb'|title }} {{ 'a b'|capitalize }} {{ 5|string ~ 1 }} {{ -3|abs }} {{ ['a','b']|last }} {{ '1.5'|float }}",
         "Axb A b 51 3 b 1.5"),
    ],
)  # fmt: skip  # a table
def test_what_a_template_says(source, text):
    if text is None:
        with pytest.raises(ChaosError, match="unknown variable 'nothing_here'"):
            check(source)
    else:
        assert told(source) == text


def test_chance_replays_and_each_draw_is_another():
    source = "{{ random.whole(1, 6) }} {{ random.unit() }} {{ random.choice(tools) }} {{ random.hex(6) }} {{ random.hex() }}"
    assert told(source) == told(source)
    assert len({told(source, seed=seed) for seed in range(50)}) == 50
    rolls = {int(told("{{ random.whole(1, 6) }}", seed=seed)) for seed in range(200)}
    assert rolls == {1, 2, 3, 4, 5, 6}
    several = told("{% for i in range(30) %}{{ random.whole(0, 9) }}{% endfor %}")
    assert len(set(several)) > 4


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("{{ prompt", "line 1: unexpected end of template"),
        ("a\n{% if x %}", "line 2: Unexpected end"),
        ("{{ promt }}", "unknown variable 'promt': did you mean 'prompt'"),
        ("{{ prompt|nope }}", "No filter named 'nope'"),
        ("{{ prompt is nope }}", "No test named 'nope'"),
        ("{% include 'x' %}", "no 'include'"),
        ("{% import 'x' as x %}", "no 'import'"),
        ("{% extends 'x' %}", "no 'extends'"),
        ("{% macro a() %}{% endmacro %}", "no 'macro'"),
        ("{% block a %}{% endblock %}", "no 'block'"),
        ("{% filter upper %}{% endfilter %}", "no 'filterblock'"),
        ("{% for a in prompt recursive %}{% endfor %}", "no recursive loop"),
        ("{{ range(*tools) }}", "no call with '\\*'"),
        ("{{ 99999999999999999999 }}", "no number so large"),
        ("{{ " + "9" * 5000 + " }}", "template"),
        ("{{ lipsum() }}", "unknown variable 'lipsum'"),
        ("{% set ns = namespace(a=1) %}", "unknown variable 'namespace'"),
        ("{{" + "(" * 3000 + ")" * 3000 + "}}", "recursion"),
        ("{{ " + "-" * 3000 + "1 }}", "recursion"),
        ("{% for x in prompt %}" * 40 + "{% endfor %}" * 40, "nested blocks"),
    ],
)
def test_what_cant_be_meant_is_found_before_it_is_used(source, why):
    with pytest.raises(ChaosError, match=why):
        check(source)


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("{{ prompt.foo }}", "no attribute 'foo'"),
        ("{{ tools[7] }}", "no element 7"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ tools|join(1) }}", "no len"),
        ("{{ random.choice([]) }}", "nothing to choose"),
        ("{{ random.whole(2, 1) }}", "no range"),
        ("{{ random }}", "'Random' is no value"),
        ("{{ [random] }}", "'Random' is no value"),
        ("{{ range }}", "'method' is no value"),
        ("{{ self }}", "is no value"),
        ("{% for x in 5 %}{% endfor %}", "not iterable"),
        ("{{ 1 + prompt }}", "'\\+' is for numbers"),
        ("{{ [1] + [2] }}", "'\\+' is for numbers"),
        ("{{ '\\ud800' }}", "surrogates"),
        ("{{ ''.__class__ }}", "unsafe"),
        ("{{ ''['__class__'] }}", "unsafe"),
        ("{{ random._draw }}", "unsafe"),
        ("{{ random.unit.__func__ }}", "unsafe"),
        ("{{ prompt.format(1) }}", "'format' can't be called"),
        ("{{ prompt.encode() }}", "'encode' can't be called"),
        ("{{ tools.append('x') }}", "'append'"),
        ("{{ tools.pop() }}", "'pop'"),
        ("{{ prompt() }}", "'str' can't be called"),
        ("{{ loop_ }}", None),
    ],
)
def test_what_fails_is_an_error_in_words(source, why):
    if why is None:
        with pytest.raises(ChaosError):
            check(source)
        return
    check(source)
    with pytest.raises(RenderError, match=why) as raised:
        told(source)
    assert "0x" not in str(raised.value)  # an address in memory would make two runs differ


DOUBLED = "".join("{% set a = [a, a] %}" for _ in range(60))
JOINED = "".join("{% set a = a ~ a %}" for _ in range(60))


@pytest.mark.parametrize(
    "source",
    [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% for i in range(10**9) %}x{% endfor %}",
        "{% for i in range(99999) %}" + "x" * 20 + "{% endfor %}",
        "{% set x %}{% for i in range(90000) %}" + "y" * 4000 + "{% endfor %}{% endset %}",
        "{{ 'x' * 10**10 }}",
        "{{ [1] * 10**10 }}",
        "{{ 9**9**9 }}",
        "{{ 9 ** 9999999999 }}",
        "{{ 2.0 ** 9999 }}",
        "{% set a = 9**19 %}" + "{% set a = a * a %}" * 9 + "{{ a }}",
        "{{ 'x'.ljust(10**10) }}",
        "{{ '%99999999d' % 1 }}",
        "{{ '{:>99999999}'.format(1) }}",
        "{% set a = [1, 1] %}" + DOUBLED + "{{ a }}",
        "{% set a = {'a': 1} %}" + DOUBLED + "{% if a == a %}{% endif %}",
        "{% set a = prompt %}" + JOINED + "{{ a }}",
        "{{ range(99999)|list|join(prompt ~ prompt) }}",
        "{% set p = range(9999)|join(',') %}{{ p|replace(',', p) }}",
        "{% set p = range(9999)|join(',') %}{% for i in range(9999) %}{% if p in p ~ i %}{% endif %}{% endfor %}",
        "{% set p = range(9999)|join(',') %}{% for i in range(9999) %}{% set q = p|upper %}{% endfor %}",
        "{% set p = range(9999)|join(',') %}{% for i in range(9999) %}{{ p.count('9') }}{% endfor %}",
        "{% set p = range(9999)|list %}{% for i in range(9999) %}{% if p == p|list %}{% endif %}{% endfor %}",
    ],
)
def test_nothing_grows_or_runs_without_bound(source):
    began = time.thread_time()
    with pytest.raises((RenderError, ChaosError)):
        told(source)
    assert time.thread_time() - began < 4


def test_filters_that_multiply_look_at_the_size_first():
    many = "a" * 100_000
    for name, args in (("replace", (many, "a", many)), ("join", ([""] * 100_000, many))):
        with pytest.raises(ValueError, match="a text of more than 1048576 characters"):
            FILTERS[name](*args)
    assert FILTERS["replace"](many, "a", many, 2).count("a") == 2 * 100_000 + 99_998


def test_a_large_output_is_told_up_to_its_bound():
    line = "x" * 1023 + "\n"
    assert len(told("{% for i in range(1024) %}" + line + "{% endfor %}")) == LARGEST
    with pytest.raises(RenderError, match="more than 1048576 characters"):
        told("{% for i in range(1025) %}" + line + "{% endfor %}")


def test_a_prompt_beyond_the_bound_fails_only_where_it_is_told():
    values = Values("x" * (LARGEST + 1), "m", "n", 1, "k", 1, [], [])
    assert told("{{ model }}", values) == "m"
    with pytest.raises(RenderError, match="more than"):
        told("{{ prompt }}", values)


SNIPPETS = st.sampled_from(
    ["{{ ", " }}", "{% ", " %}", "for x in ", "endfor", "if ", "endif", "set a = ", "prompt", "range(9)", "[", "]", "(", ")",
     " ~ ", " * ", "|", "upper", "join", "tojson", ".", "random", "x", "9", "'", "{", "}", ",", "loop", " is ", "not "]
)  # fmt: skip  # a list of words


@given(st.lists(SNIPPETS, max_size=14).map("".join))
def test_any_text_is_said_or_refused(source):
    try:
        text = told(source)
    except (ChaosError, RenderError) as error:
        text = str(error)
    assert isinstance(text, str)
