"""What is generated is current, and nothing that has a name is missing from the pages."""

from __future__ import annotations

import re

import pytest
from docs.generate import DOCS, current, generated
from docs.tables import PARTS
from docs.tables.commands import commands
from docs.tables.configuration import TABLES
from docs.tables.ledger import TABLES as LEDGER_TABLES
from docs.tables.meanings import MEANINGS
from docs.tables.promises import HELD, broken_by
from prometheus_client.parser import text_string_to_metric_families
from tests.docs.pages import ROOT, anchors, prose, text_of
from tests.mutants.every import MUTANTS

from holdfast import errors
from holdfast.chaos import FAULTS, ChaosConfig
from holdfast.clock import SystemClock
from holdfast.config.schema import Document
from holdfast.gateway.metrics import Metrics
from holdfast.ledger.memory import MemoryLedger
from holdfast.ledger.migrate import shipped

LATER = re.compile(r"\b(CostProtectionMiddleware|DBOS)\b")


def test_pages_are_as_generated():
    stale = [str(path.relative_to(ROOT)) for path, page, made in current() if page != made]
    assert not stale, "run `make docs`"


def test_generating_replaces_only_what_is_between_the_marks():
    page = "before\n<!-- generated: x -->\nold\n<!-- end of x -->\nafter\n"
    made = generated(page, {"x": lambda: "new"})
    assert made == "before\n<!-- generated: x -->\n\nnew\n\n<!-- end of x -->\nafter\n"
    assert generated(made, {"x": lambda: "new"}) == made


def test_every_part_stands_in_exactly_one_page():
    placed = [
        name
        for page in DOCS.rglob("*.md")
        for name in re.findall(r"<!-- generated: (.*?) -->", text_of(page))
    ]
    assert sorted(placed) == sorted(PARTS)


def test_no_word_is_kept_for_what_is_gone():
    pages = "\n".join(text_of(page) for page in DOCS.rglob("*.md"))
    words = {(part, name): said for part, kept in MEANINGS.items() for name, said in kept.items()}
    assert not [name for name, said in words.items() if said.replace("|", "\\|") not in pages]


def test_a_promise_holds_only_where_mutants_break_it():
    """They may break others already, which the page says come later."""
    broken = {promise for mutant in MUTANTS for promise in broken_by(mutant)}
    later = set(re.findall(r"\b[A-Z]{2}\d\b", text_of(DOCS / "promises.md").partition("## Not yet")[2]))
    assert not set(HELD) - broken
    assert not broken - set(HELD) - later


@pytest.mark.parametrize("name", [*Document.model_fields])
def test_every_table_of_the_file_has_its_heading(name):
    headings = anchors(DOCS / "configuration.md")
    assert headings & {name, f"{name}name"}


def test_every_setting_has_its_row():
    page = text_of(DOCS / "configuration.md")
    assert not [
        setting
        for model, _ in TABLES.values()
        for setting in model.model_fields
        if f"| `{setting}` |" not in page
    ]


def test_every_promise_has_its_heading():
    headings = re.findall(r"^### (\w+) ", text_of(DOCS / "promises.md"), re.MULTILINE)
    assert tuple(headings) == HELD


def test_every_metric_has_its_row():
    page = text_of(DOCS / "gateway.md")
    scraped = text_string_to_metric_families(Metrics(MemoryLedger(SystemClock())).expose().decode())
    assert not [family.name for family in scraped if f"| `{family.name}" not in page]


def test_every_error_has_its_row():
    page = text_of(DOCS / "gateway.md")
    parents = {"HoldfastError", "ConfigError", "Rejected", "ProviderError", "OutcomeUnknown"}
    labels = [getattr(errors, name).label for name in errors.__all__ if name not in parents]
    assert labels
    assert not [label for label in labels if f"| `{label}` |" not in page]


def test_every_fault_has_its_row_and_its_settings():
    page = text_of(DOCS / "chaos.md")
    for name, fault in FAULTS.items():
        assert f"| [`{name}`](#{name}) |" in page or f"| `{name}` |" in page
        assert (name in anchors(DOCS / "chaos.md")) == bool(fault.settings.__struct_fields__)
        section = page.partition(f"\n#### {name}\n")[2].partition("\n#### ")[0]
        assert not [
            setting for setting in fault.settings.__struct_fields__ if f"| `{setting}` |" not in section
        ]
    assert not [setting for setting in ChaosConfig.__struct_fields__ if f"| `{setting}` |" not in page]


def test_every_command_has_its_row():
    page = text_of(DOCS / "README.md")
    found = dict(commands())
    assert {"serve", "ledger export", "chaos serve"} <= set(found)
    assert not [name for name, said in found.items() if f"| `holdfast {name}` | {said} |" not in page]


def test_the_tables_of_the_ledger_are_all_there():
    made = {name for migration in shipped() for name in re.findall(r"CREATE TABLE (\w+)", migration.sql)}
    assert {*made, "migrations"} == set(LEDGER_TABLES)
    assert set(LEDGER_TABLES) <= anchors(DOCS / "ledger.md")


def test_no_page_promises_what_is_not_built():
    """A word for what comes later stands only where the page says that it comes later."""
    for page in DOCS.glob("*.md"):
        for paragraph in prose(page).split("\n\n"):
            if LATER.search(paragraph):
                assert re.search(r"\bcomes? (with|later)\b", paragraph), f"{page.name}: {paragraph}"
