"""Who writes into an object: the module of its class alone, so that a class shows all that can happen to it."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator

import pytest

from tests.structure.test_rooms import PACKAGE, modules

DATA = {"journal.run_journal"}
"""Modules of classes that are data: what survives on disk of a run is what its kinds of data write there."""

FOREIGN = {"clearml_api.http: raw.stream"}
"""Objects of other libraries, with attributes of the same name."""


def assigned(tree: ast.AST) -> Iterator[ast.Attribute]:
    """Yield the attributes that code assigns to."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node


def is_own(node: ast.Attribute) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")


def declared(tree: ast.AST) -> set[str]:
    """Return the names that a module declares with a type, those of its classes' attributes included."""
    found = (node.target for node in ast.walk(tree) if isinstance(node, ast.AnnAssign))
    return {target.id for target in found if isinstance(target, ast.Name)}


@pytest.fixture(scope="module")
def trees() -> dict[str, ast.AST]:
    return {name: ast.parse(file.read_text("utf-8")) for name, file in modules().items()}


def test_no_module_writes_into_objects_of_another(trees: dict[str, ast.AST]) -> None:
    """By names, as the code has no types here: an attribute that a class of the package assigns to itself."""
    homes = defaultdict[str, set[str]](set)
    for name, tree in trees.items():
        for node in filter(is_own, assigned(tree)):
            homes[node.attr].add(name)
    written = {
        f"{name}: {ast.unparse(node)}"
        for name, tree in trees.items()
        for node in assigned(tree)
        if not (is_own(node) or node.attr in declared(tree) or homes[node.attr] & {name, *DATA}) and homes[node.attr]
    } - FOREIGN
    assert written == set(), f"a method of the class ({PACKAGE}) should do that"
