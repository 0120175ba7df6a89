"""Jinja2 for strangers: a template may stand in any prompt, so none may reach out, grow without bound or run for long.

Jinja2's own sandbox keeps templates away from Python's insides, but not from ``{{ "x" * 10**10 }}`` or from loops in
loops. So here the language is a smaller one: no macros, blocks or other files; calls, filters and tests from a list;
arithmetic on numbers only. Each round of a loop, call, filter and join counts, by the size of what it touches; and values
are weighed before they are copied, so that no single operation takes long.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any

from jinja2 import StrictUndefined, TemplateSyntaxError, meta, nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context, LoopContext, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.tests import TESTS
from jinja2.visitor import NodeTransformer

from holdfast.chaos.answers.filters import FILTERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from jinja2 import Template

__all__ = ["LARGEST", "METER", "Meter", "Sandbox"]

LARGEST = 1 << 20
"""Characters of a template's output, or of any value on the way there."""
METER = "#meter"
"""Where a render's variables hold its :class:`Meter`; no template can spell that name."""

_MOST_STEPS = 100_000
_ITEM = 16  # characters that an item of a list counts as, beside its own
_STEP = 256  # characters that one step may touch
_LONGEST_S = 2.0
_NUMBER = 1 << 63
_POWER = 64

_PLAIN = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.If, nodes.For, nodes.Assign, nodes.AssignBlock, nodes.With,
    nodes.Name, nodes.Const, nodes.List, nodes.Tuple, nodes.Dict, nodes.Pair, nodes.Keyword, nodes.CondExpr,
    nodes.Filter, nodes.Test, nodes.Call, nodes.Getitem, nodes.Getattr, nodes.Slice, nodes.Compare, nodes.Operand,
    nodes.And, nodes.Or, nodes.Not, nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Pow,
    nodes.Neg, nodes.Pos, nodes.Concat,
)  # fmt: skip  # a list of words
_TESTS = (
    "defined", "undefined", "none", "true", "false", "boolean", "integer", "float", "number", "string", "mapping",
    "sequence", "iterable", "odd", "even", "divisibleby", "eq", "==", "ne", "!=", "lt", "<", "le", "<=", "gt", ">",
    "ge", ">=", "in", "lower", "upper", "equalto", "greaterthan", "lessthan",
)  # fmt: skip  # a list of words
_TEXT = frozenset(
    (
        "capitalize", "count", "endswith", "find", "isalpha", "isdigit", "islower", "isspace", "isupper", "lower",
        "lstrip", "removeprefix", "removesuffix", "rstrip", "split", "splitlines", "startswith", "strip", "swapcase",
        "title", "upper",
    )
)  # fmt: skip  # a list of words
_TABLE = frozenset(("get", "items", "keys", "values"))
_LOOP = frozenset(("cycle", "changed"))


class Meter:
    """What one render has used up."""

    __slots__ = ("_steps", "_until")

    def __init__(self) -> None:
        self._steps = 0
        # The steps are the bound, and they replay; the time is for a machine on which even they take long.
        self._until = monotonic() + _LONGEST_S

    def step(self, size: int = 0) -> None:
        """Count a step that touches ``size`` characters. Raises :class:`SecurityError` where that is enough."""
        self._steps += 1 + size // _STEP
        if self._steps > _MOST_STEPS:
            raise SecurityError(f"it takes more than {_MOST_STEPS} steps")
        if monotonic() > self._until:
            raise SecurityError(f"it takes longer than {_LONGEST_S:g} seconds")

    def range(self, *bounds: int) -> range:
        """As Python's, of at most as many numbers as there may be steps."""
        numbers = range(*bounds)
        if len(numbers) > _MOST_STEPS:
            raise SecurityError(f"range: more than {_MOST_STEPS} numbers")
        return numbers


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment; its templates are rendered with a :class:`Meter` of their own under :data:`METER`."""

    intercepted_binops = frozenset(("+", "-", "*", "/", "//", "%", "**"))

    def __init__(self, allowed: tuple[type, ...]) -> None:
        """``allowed``: classes whose public methods may be called."""
        # Constants aren't folded: that would run operations before any meter does.
        super().__init__(undefined=StrictUndefined, optimized=False, finalize=_said)
        self._allowed = (*allowed, Meter)
        self.globals = {}
        self.filters = {name: _metered(function) for name, function in FILTERS.items()}
        self.filters |= {"_each": _each, "_joined": _joined, "_made": _made}
        self.tests = {name: TESTS[name] for name in _TESTS}

    def compiled(self, source: str) -> tuple[Template, set[str]]:
        """``source``, and the names that it expects. Raises :class:`TemplateSyntaxError`, also for what the smaller
        language lacks."""
        tree = self.parse(source)
        for node in tree.find_all(nodes.Node):
            _check(node)
        names = meta.find_undeclared_variables(tree)
        return self.from_string(_Metering().visit(tree)), names

    def is_safe_callable(self, obj: Any) -> bool:
        owner = getattr(obj, "__self__", None)
        name = str(getattr(obj, "__name__", ""))
        match owner:
            case str():
                return name in _TEXT
            case dict():
                return name in _TABLE
            case LoopContext():
                return name in _LOOP
        return isinstance(owner, self._allowed) and not name.startswith("_")

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        owner = getattr(obj, "__self__", None)
        if not self.is_safe_callable(obj):  # asked here too: Jinja2's own words hold an address in memory
            _named(obj)
            raise SecurityError(f"{getattr(obj, '__name__', type(obj).__name__)!r} can't be called")
        _count(context, (owner if isinstance(owner, str) else "", args, kwargs))
        return super().call(context, obj, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        context[METER].step()
        for value in (left, right):
            if not isinstance(value, int | float):
                _named(value)
                raise SecurityError(f"{operator!r} is for numbers; texts are joined with '~'")
        if operator == "**" and abs(right) > _POWER:
            raise SecurityError(f"a power above {_POWER}")
        result = super().call_binop(context, operator, left, right)
        # Numbers that grow without bound would make one multiplication take minutes.
        if isinstance(result, complex) or (isinstance(result, int) and abs(result) >= _NUMBER):
            raise SecurityError("a number out of range")
        return result


def _check(node: nodes.Node) -> None:
    match node:
        case nodes.For(recursive=True):
            what = "recursive loop"
        case nodes.Call() if node.dyn_args is not None or node.dyn_kwargs is not None:
            what = "call with '*'"
        case nodes.Const() if isinstance(node.value, int) and abs(node.value) >= _NUMBER:
            what = "number so large"
        case _ if not isinstance(node, _PLAIN):
            what = f"{type(node).__name__.lower()!r}"
        case _:
            return
    raise TemplateSyntaxError(f"a template has no {what} here", node.lineno or 1)


class _Metering(NodeTransformer):
    """Puts what the environment isn't asked about through filters of ours."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802  # Jinja2's name for it
        told = sum(len(data.data) for data in node.find_all(nodes.TemplateData))
        self.generic_visit(node)
        node.iter = _through("_each", node.iter, nodes.Const(told))
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802  # Jinja2's name for it
        self.generic_visit(node)
        return _through("_joined", nodes.List(node.nodes, lineno=node.lineno))

    def visit_List(self, node: nodes.List) -> nodes.Node:  # noqa: N802  # Jinja2's name for it
        return _through("_made", self.generic_visit(node))

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:  # noqa: N802  # Jinja2's name for it
        return _through("_made", self.generic_visit(node))

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:  # noqa: N802  # Jinja2's name for it
        self.generic_visit(node)
        return _through("_made", node) if node.ctx == "load" else node


def _through(name: str, value: Any, *args: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(value, name, list(args), [], None, None, lineno=value.lineno)


def _named(value: Any) -> None:
    """An undefined value says which it is, as it is used."""
    if isinstance(value, Undefined):
        str(value)


def _weighed(value: Any) -> int:
    """About the characters of ``value`` as text. Raises :class:`SecurityError` for what is too large or no data.

    All of its tree is counted: a list of lists of the same lists is small in memory, and endless to tell.
    """
    weight = 0
    waiting = [value]
    while waiting:
        found = waiting.pop()
        match found:
            case str():
                weight += 1 + len(found)
            case None | bool() | int() | float():
                weight += _ITEM
            case Undefined():
                _named(found)
            case Mapping():
                weight += 2 * _ITEM * len(found)
                waiting.extend(found)
                waiting.extend(found.values())
            case list() | tuple():
                weight += _ITEM * len(found)
                waiting.extend(found)
            case range():
                weight += _ITEM // 2 * len(found)
            case _:
                raise SecurityError(f"{type(found).__name__!r} is no value")
        if weight > LARGEST:
            raise SecurityError(f"a value of more than {LARGEST} characters")
    return weight


def _count(context: Context, value: Any) -> None:
    meter: Meter = context[METER]
    meter.step(_weighed(value))


def _plain(value: Any) -> Any:
    """What a dictionary's methods give is a view of it."""
    if isinstance(value, Iterable) and not isinstance(value, str | Mapping | Sequence | Iterator | Undefined):
        return list(value)
    return value


@pass_context
def _said(context: Context, value: Any) -> str:
    value = _plain(value)
    _count(context, value)
    return str(value)


@pass_context
def _each(context: Context, value: Iterable[Any], told: int) -> Iterator[Any]:
    """``value``, each item of which makes ``told`` characters of the template be said."""
    meter: Meter = context[METER]
    _named(value)
    for item in value:
        meter.step(told)
        yield item


@pass_context
def _joined(context: Context, values: Sequence[Any]) -> str:
    _count(context, values)
    return "".join(map(str, values))


@pass_context
def _made(context: Context, value: Any) -> Any:
    _count(context, value)
    return value


def _metered(function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that counts, and doesn't touch what is too large."""

    @pass_context
    def metered(context: Context, value: Any, *args: Any, **kwargs: Any) -> Any:
        value = _plain(value)
        _count(context, ("" if isinstance(value, Undefined) else value, args, kwargs))
        result = function(value, *args, **kwargs)
        _weighed(result)
        return result

    return metered
