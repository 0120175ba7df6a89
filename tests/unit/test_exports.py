"""What is public is listed, sorted and there; what a package exports is what its pages may name."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import holdfast

ROOT = Path(holdfast.__file__).parent
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages([str(ROOT)], "holdfast.")
    if not module.name.endswith("__main__")
)


def _listed(module: str) -> list[str] | None:
    """The module's ``__all__`` as it is written: importing would not tell its order from a sorted copy."""
    path = ROOT.joinpath(*module.split(".")[1:])
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    for node in ast.parse(source.read_text()).body:
        if isinstance(node, ast.Assign) and any(getattr(t, "id", None) == "__all__" for t in node.targets):
            return list(ast.literal_eval(node.value))
    return None


@pytest.mark.parametrize("module", MODULES)
def test_what_is_listed_is_there(module):
    listed = _listed(module)
    found = importlib.import_module(module)
    if listed is None:
        return  # nothing of it is meant for others to import by name
    assert listed == sorted(
        set(listed), key=lambda name: (not name.isupper(), not name[:1].isupper(), name)
    ) or (listed == sorted(set(listed))), "__all__ is sorted"
    for name in listed:
        assert hasattr(found, name), f"{module}.__all__ names {name}, which isn't there"


def test_types_are_shipped():
    assert (ROOT / "py.typed").exists()


def test_what_the_package_lists_is_there_and_its_module_s_own():
    assert holdfast.__all__ == _listed("holdfast")
    for module, names in holdfast._MODULES.items():
        own = importlib.import_module(f"holdfast.{module}")
        for name in names:
            assert getattr(holdfast, name) is getattr(own, name)
            assert name in own.__all__, f"{name} is public at the top, so in its own module too"
    with pytest.raises(AttributeError, match="'holdfast' has no attribute 'Missing'"):
        _ = holdfast.Missing


def test_what_the_package_lists_types_and_lookup_agree_on():
    """Three lists of the same names: what ``import *`` gives, what type checkers see, and what is looked up."""
    looked_up = {f"holdfast.{module}": set(names) for module, names in holdfast._MODULES.items()}
    assert _imported(ROOT / "__init__.py") == looked_up
    assert set().union(*looked_up.values(), {"__version__"}) == set(holdfast.__all__)
    assert set(holdfast.__all__) <= set(dir(holdfast))


def test_the_house_takes_nothing_from_the_package_but_its_version():
    """The linter of imports can't see through the package's look-up: a policy could reach the client by it."""
    modules = {path.stem for path in ROOT.iterdir()}
    taken = {
        source: _imported(source).get("holdfast", set()) - modules - {"__version__"}
        for source in ROOT.rglob("*.py")
    }
    assert not {str(source.relative_to(ROOT)): names for source, names in taken.items() if names}


def _imported(source: Path) -> dict[str, set[str]]:
    """Names by module, of every ``from … import``."""
    found: dict[str, set[str]] = {}
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == "holdfast":
            found.setdefault(node.module, set()).update(alias.name for alias in node.names)
    return found


@pytest.mark.parametrize(
    ("statement", "loaded", "not_loaded"),
    [
        (
            "import holdfast",
            [],
            ["holdfast.client", "holdfast.clock", "asyncio", "msgspec", "importlib.metadata"],
        ),
        (
            "from holdfast import CircuitBreaker, compose, retry_with_backoff, with_timeout",
            ["holdfast.resilience.circuit_breaker"],
            ["holdfast.client", "holdfast.engine", "holdfast.errors", "pydantic", "httptools", "sqlite3"],
        ),
        (
            "from holdfast import idempotent_operation",
            ["holdfast.idempotency", "sqlite3"],
            ["holdfast.client", "holdfast.engine", "holdfast.config", "pydantic", "httptools"],
        ),
    ],
    ids=["the package", "policies", "idempotency"],
)
def test_what_is_not_asked_for_is_not_imported(statement, loaded, not_loaded):
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{statement}\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    modules = set(done.stdout.split())
    assert modules >= {"holdfast", *loaded}
    assert not modules & set(not_loaded)
