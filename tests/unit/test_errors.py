"""The tree of errors: complete, drawn, and told apart by label."""

from __future__ import annotations

from collections import Counter

import pytest

import holdfast.errors as tree
from holdfast.errors import HoldfastError


def every(kind: type[HoldfastError]) -> set[type[HoldfastError]]:
    found = {kind} if kind.__module__ == tree.__name__ else set()
    return found.union(*(every(child) for child in kind.__subclasses__()))


CLASSES = sorted(every(HoldfastError), key=lambda kind: kind.__name__)
ABSTRACT = {tree.ProviderError, tree.OutcomeUnknown, tree.Rejected}


def test_what_is_public_is_listed_and_sorted():
    assert tree.__all__ == [kind.__name__ for kind in CLASSES]


def test_labels_are_unique_and_each_class_has_its_own():
    labels = Counter(kind.label for kind in CLASSES)
    assert set(labels.values()) == {1}
    for kind in CLASSES:
        assert "label" in vars(kind), f"{kind.__name__} would be counted as its parent"
        assert kind.label.replace("_", "").isalpha()
        assert kind.label.islower()


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_status_and_code_are_usable(kind):
    assert 400 <= kind.default_status <= 599
    assert kind.code
    assert "code" in vars(kind)


def test_the_drawing_shows_the_tree():
    """Each class stands in the docstring under its parent, with its own status where one is drawn."""
    depth: list[tuple[int, type[HoldfastError]]] = []
    drawn = set()
    for line in tree.__doc__.splitlines():
        name = line.replace("│", " ").replace("├──", "   ").replace("└──", "   ").split()
        if not name or not hasattr(tree, name[0]) or not name[0][0].isupper():
            continue
        kind = getattr(tree, name[0])
        column = line.index(name[0])
        while depth and depth[-1][0] >= column:
            depth.pop()
        if depth:
            assert kind.__bases__ == (depth[-1][1],), name[0]
        if len(name) > 1 and name[1].isdigit():
            assert kind.default_status == int(name[1]), name[0]
        depth.append((column, kind))
        drawn.add(kind)
    assert drawn == set(CLASSES)


def test_errors_are_told_apart_by_what_happened_to_the_money():
    groups = [every(tree.Rejected), every(tree.ProviderError), every(tree.OutcomeUnknown)]
    for kind in set(CLASSES) - {HoldfastError, tree.ConfigError, tree.TargetsFailed}:
        assert sum(kind in group for group in groups) == 1


def test_a_message_is_what_it_says():
    error = tree.InvalidRequest("`n` is wrong", param="n", retry_after_s=1.5, status=415)
    assert (str(error), error.message, error.param, error.retry_after_s, error.status) == (
        "`n` is wrong", "`n` is wrong", "n", 1.5, 415,
    )  # fmt: skip
