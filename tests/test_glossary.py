"""The glossary's words lead to names that are there; words that it took the place of are no names."""

import ast
import importlib
import re
from pathlib import Path

import pytest

from peftbench.registry import PACKAGE

PAGE = Path(__file__).parent.parent / "docs" / "glossary.md"
ROWS = re.findall(r"^\| (?!word|-)(.+?) \| (.+?) \| (.+?) \|$", PAGE.read_text(), re.MULTILINE)
PATHS = [path for _, _, names in ROWS for path in re.findall(r"`([\w.]+)`", names)]

# Word that no class or function is called by -> what the glossary calls it.
GONE = {
    "mood": "sensitivity",
    "moods": "sensitivity",
    "onlooker": "watch",
    "sheet": "cost",
    "ledger": "cost",
    "way": "strategy, predictor or learner",
    "ways": "strategies, predictors or learners",
    "tried": "sweep",
    "asked": "evaluation",
    "given": "start",
    "learnt": "learned",
    "taught": "training task",
    "told": "the noun of what is said",
}
# The field's word for several tasks as one, and for nothing else: several adapters are a multi-adapter batch.
MIXTURE_ROOMS = {"tasks", "registry.py", "report", "lab"}
# What stands for a noun says nothing in its place.
PRONOUNS = {"one", "each", "both", "found", "told", "held", "some", "asked", "tried", "given", "made", "here", "there"}


def resolve(path):
    """Import what a dotted path names: a module, a name in it, or a field of a class."""
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        try:
            target = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for name in parts[length:]:
            fields = getattr(target, "__annotations__", {})
            target = fields[name] if isinstance(target, type) and name in fields else getattr(target, name)
        return target
    raise AssertionError(f"no module of '{path}'")


def words(name):
    """Split a name in snake_case or CamelCase into lower-case words."""
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", name)]


def names():
    """(file, name) of each class and function of the package."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield path.relative_to(PACKAGE).as_posix(), node.name


def bindings(tree):
    """The names that are bound in a tree: variables, parameters and attributes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.arg):
            yield node.arg


def test_each_word_stands_once_and_has_a_python_name():
    listed = [word for word, _, _ in ROWS]
    assert len(listed) > 20
    assert len(set(listed)) == len(listed)
    assert all(re.search(r"`peftbench\.[\w.]+`", names_) for _, _, names_ in ROWS)


@pytest.mark.parametrize("path", PATHS)
def test_a_python_name_of_the_glossary_is_there(path):
    assert resolve(path) is not None


def test_a_python_name_that_is_not_there_is_seen():
    for path in ("peftbench.spec.cell.Cell.shotz", "peftbench.spec.cell.Sell"):
        with pytest.raises(AttributeError):
            resolve(path)


def test_words_that_are_no_longer_used_are_in_no_name_of_a_class_or_function():
    assert [(file, name) for file, name in names() if not GONE.keys().isdisjoint(words(name))] == []


def test_a_mixture_is_of_tasks():
    rooms = {file.partition("/")[0] for file, name in names() if "mixture" in words(name)}
    assert rooms <= MIXTURE_ROOMS


def test_no_variable_is_called_by_a_pronoun():
    assert [
        (path.relative_to(PACKAGE).as_posix(), name)
        for path in sorted(PACKAGE.rglob("*.py"))
        for name in bindings(ast.parse(path.read_text()))
        if name.strip("_") in PRONOUNS
    ] == []


def test_the_check_of_words_takes_names_apart():
    assert words("to_MoodsOf2") == ["to", "moods", "of2"]
    assert "cell" in [word for _, name in names() for word in words(name)]


def test_the_check_of_pronouns_sees_all_bindings():
    tree = ast.parse(
        "def f(a, *b, c=1, **d):\n    e = [g for g in a]\n    b.h = (i := 2)\n    for j, (k, l) in e: pass\n"
    )
    assert sorted(bindings(tree)) == list("abcdeghijkl")
