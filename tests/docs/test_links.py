"""Links between pages, and from pages to files, lead somewhere."""

from __future__ import annotations

import pytest
from tests.docs.pages import PAGES, ROOT, anchors, links


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_internal_links_resolve(page):
    broken = []
    for link in links(page):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


def test_every_page_can_be_found_from_the_index():
    docs = ROOT / "docs"
    linked = {(docs / link.partition("#")[0]).resolve() for link in links(docs / "README.md")}
    assert not [page for page in docs.glob("*.md") if page.name != "README.md" and page not in linked]
