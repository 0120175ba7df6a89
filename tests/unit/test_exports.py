"""What is public is listed, sorted and there; what a package exports is what its pages may name."""

from __future__ import annotations

import ast
import importlib
import pkgutil
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
