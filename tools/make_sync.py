"""Writes the synchronous client from the asynchronous one: ``python -m tools.make_sync``.

Each public method of ``Client`` and ``ChatStream`` becomes one with the same arguments, types and docstring that runs the
original in the portal's event loop: there is one implementation, and the twins can't differ. ``--check`` changes nothing and
fails where the file isn't what would be written; the tests do the same.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Final

__all__ = ["TARGET", "main", "sync_module"]

ROOT: Final = Path(__file__).parents[1]
PACKAGE: Final = ROOT / "src" / "holdfast" / "client"
TARGET: Final = PACKAGE / "sync_client.py"

_HEADER: Final = '''"""The client's synchronous twin. Written by ``python -m tools.make_sync``: change its original."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from holdfast.client.client import Client
from holdfast.client.portal import Portal
from holdfast.config import CHAT

if TYPE_CHECKING:
    import os
    from collections.abc import Collection, Mapping, Sequence
    from types import TracebackType

    from holdfast.client.answer import ChatAnswer, StreamChunk
    from holdfast.client.conversation import Messages, ResponseFormat, ToolChoices, Tools
    from holdfast.client.settings import Configuration
    from holdfast.client.stream import ChatStream
    from holdfast.clock import Clock, Rng
    from holdfast.ledger.base import Ledger
    from holdfast.providers.tokens import Count
    from holdfast.transport.base import Transport

__all__ = ["SyncChatStream", "SyncClient"]
'''

_NAMES: Final = {
    "aclose": "close",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__aiter__": "__iter__",
    "__anext__": "__next__",
}

_INITS: Final = {
    "Client": """
self._inner = Client({arguments})
self._portal = Portal(self._inner.aclose, "SyncClient")
""",
    "ChatStream": """
self._portal = portal
self._inner = inner
""",
}
_STREAM_ARGUMENTS: Final = "self, portal: Portal, inner: ChatStream"

# What each kind of method does; the others are told apart by how they are written.
_BODIES: Final = {
    ("Client", "aclose"): "self._portal.close()",
    ("ChatStream", "aclose"): "self._portal.call_if_open(self._inner.aclose)",
    ("Client", "__repr__"): 'return repr(self._inner).replace("Client", "SyncClient", 1)',
    ("ChatStream", "__anext__"): """
try:
    return self._portal.call(self._inner.__anext__)
except StopAsyncIteration:
    raise StopIteration from None
except Exception:
    raise
except BaseException:
    self.close()  # interrupted: a chunk may be lost, so this stream can't go on
    raise
""",
    "__aenter__": "self._portal.call(self._inner.__aenter__)\nreturn self",
    "__aexit__": "self.close()",
    "__aiter__": "return self",
}

_WORDS: Final = (
    ("async with", "with"),
    ("async for", "for"),
    ("await client.", "client."),
    (":meth:`aclose`", ":meth:`close`"),
    ("holdfast.Client.", "holdfast.SyncClient."),
    ("Client()", "SyncClient()"),
    ("serves any number of tasks of one event loop", "serves any number of threads"),
    (" Call it on the event loop that the client was used on.", ""),
    ("One task at a time.", "One thread at a time."),
)


def sync_module() -> str:
    """The file's text, formatted. Raises ValueError where the originals have changed beyond what is known here."""
    said: set[str] = set()
    classes = [
        _sync_class(PACKAGE / "client.py", "Client", said),
        _sync_class(PACKAGE / "stream.py", "ChatStream", said),
    ]
    if unsaid := [ours for ours, _ in _WORDS if ours not in said]:
        raise ValueError(f"no docstring says {unsaid} any more: take it out of _WORDS")
    return _formatted("\n\n".join([_HEADER, *classes]))


def _sync_class(file: Path, name: str, said: set[str]) -> str:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    (source,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    methods = [
        _sync_method(name, node, said)
        for node in source.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _is_public(node.name)
    ]
    return "\n\n".join(
        [f"class Sync{name}:\n{_indented(_docstring(source, said))}", *map(_indented, methods)]
    )


def _is_public(name: str) -> bool:
    return name != "__del__" and (not name.startswith("_") or name.endswith("__"))


def _sync_method(owner: str, node: ast.FunctionDef | ast.AsyncFunctionDef, said: set[str]) -> str:
    decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
    arguments = ast.unparse(node.args)
    returns = "" if node.returns is None else f" -> {_sync_type(ast.unparse(node.returns))}"
    if (owner, node.name) == ("ChatStream", "__init__"):
        arguments = _STREAM_ARGUMENTS
    lines = [f"@{decorator}" for decorator in decorators]
    lines.append(f"def {_NAMES.get(node.name, node.name)}({arguments}){returns}:")
    if ast.get_docstring(node):
        lines.append(_indented(_docstring(node, said)))
    lines.append(_indented(_body(owner, node, is_property="property" in decorators).strip()))
    return "\n".join(lines)


def _body(owner: str, node: ast.FunctionDef | ast.AsyncFunctionDef, *, is_property: bool) -> str:
    name, passed = node.name, ", ".join(_passed(node.args))
    if name == "__init__":
        return _INITS[owner].format(arguments=passed)
    known = _BODIES.get((owner, name)) or _BODIES.get(name)
    if known is not None:
        return known
    if name.startswith("_"):
        raise ValueError(f"{owner}.{name}: say in _BODIES what its twin does")
    if is_property:
        return f"return self._inner.{name}"
    if isinstance(node, ast.AsyncFunctionDef):
        return f"return self._portal.call({', '.join([f'self._inner.{name}', *_passed(node.args)])})"
    if node.returns is not None and ast.unparse(node.returns) == "ChatStream":
        return f"return SyncChatStream(self._portal, self._inner.{name}({passed}))"
    return f"return self._inner.{name}({passed})"


def _passed(arguments: ast.arguments) -> list[str]:
    """The arguments as they are handed on, each under its own name."""
    positional = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args)]
    return [*positional[1:], *(f"{argument.arg}={argument.arg}" for argument in arguments.kwonlyargs)]


def _sync_type(written: str) -> str:
    return "SyncChatStream" if written == "ChatStream" else written


def _docstring(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, said: set[str]) -> str:
    text = ast.get_docstring(node) or ""
    for ours, theirs in _WORDS:
        if ours in text:
            said.add(ours)
            text = text.replace(ours, theirs)
    return f'"""{text}\n"""' if "\n" in text else f'"""{text}"""'


def _indented(text: str) -> str:
    return textwrap.indent(text, "    ")


def _formatted(text: str) -> str:
    ruff = Path(sys.executable).with_name("ruff")
    done = subprocess.run(  # noqa: S603  # our own formatter
        [ruff, "format", "--stdin-filename", TARGET, "-"],
        input=text,
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        timeout=30,
    )
    return done.stdout


def main(arguments: list[str]) -> int:
    """0: the file is as it should be (or now is); 1: with ``--check``, it isn't."""
    text = sync_module()
    if TARGET.exists() and TARGET.read_text(encoding="utf-8") == text:
        return 0
    sys.stdout.write(f"{TARGET.relative_to(ROOT)}\n")
    if "--check" in arguments:
        return 1
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
