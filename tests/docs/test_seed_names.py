"""Whoever comes from a requirement document finds its names: the page that maps them is true."""

from __future__ import annotations

import importlib
import re

from tests.docs.pages import ROOT, text_of

PAGE = ROOT / "docs" / "seed-names.md"


def test_tests_of_the_documents_are_there_or_said_to_come():
    folders = (ROOT / "tests" / name for name in ("property_tests", "reliability"))
    tests = "\n".join(text_of(file) for folder in folders for file in folder.rglob("test_*.py"))
    rows = [row for row in text_of(PAGE).splitlines() if row.startswith("| `test_")]
    assert len(rows) > 15
    for row in rows:
        for name in re.findall(r"`(test_\w+)`(?=[, ]| and)", row.split(" | ")[0] + " "):
            assert (f"def {name}(" in tests) != bool(re.search(r"\bcomes? with\b", row)), row


def test_tests_of_the_documents_are_where_the_page_says():
    rows = re.findall(r"^\| (`test_.*?) \| .* \| \[.*\]\((.*)\) \|$", text_of(PAGE), re.MULTILINE)
    assert len(rows) > 5
    for names, file in rows:
        defined = re.findall(r"    def (test_\w+)\(", text_of(PAGE.parent / file))
        assert set(re.findall(r"`(test_\w+)`", names)) <= set(defined), file


def test_names_of_the_documents_are_where_the_page_says():
    """Classes, functions and methods of the table of policies are in the modules that it names."""
    section = text_of(PAGE).partition("\n## Reliability patterns\n")[2].partition("\n| test ")[0]
    modules = [importlib.import_module(name) for name in set(re.findall(r"`(holdfast\.[\w.]+)`", section))]
    places = [
        *modules,
        *(kind for module in modules for kind in vars(module).values() if isinstance(kind, type)),
    ]
    rows = [row.strip("| ").split(" | ") for row in section.splitlines() if row.startswith("| `")]
    named = {
        name
        for theirs, ours in rows
        for code in re.findall(r"`([^`]+)`", theirs + ours if ours.startswith("the same") else ours)
        for name in re.findall(r"\b[A-Z]+[a-z]\w*|\w+(?=\()", code)
    }
    assert len(named) > 30
    assert not [name for name in named if not any(hasattr(place, name) for place in places)]
