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

# Word that is no longer used -> the glossary's.
GONE = {"mood": "sensitivity", "moods": "sensitivity", "onlooker": "watch"}


def resolve(path):
    """Import what a dotted path names: a module, a name in it, or a field of a class."""
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for name in parts[length:]:
            fields = getattr(found, "__annotations__", {})
            found = fields[name] if isinstance(found, type) and name in fields else getattr(found, name)
        return found
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


def test_each_word_stands_once_and_has_a_python_name():
    told = [word for word, _, _ in ROWS]
    assert len(told) > 20
    assert len(set(told)) == len(told)
    assert all(re.search(r"`peftbench\.[\w.]+`", names_) for _, _, names_ in ROWS)


@pytest.mark.parametrize("path", PATHS)
def test_a_python_name_of_the_glossary_is_there(path):
    assert resolve(path) is not None


def test_a_python_name_that_is_not_there_is_seen():
    for path in ("peftbench.spec.cell.Cell.shotz", "peftbench.spec.cell.Sell"):
        with pytest.raises(AttributeError):
            resolve(path)


def test_words_that_are_no_longer_used_are_in_no_name_of_a_class_or_function():
    found = [(file, name) for file, name in names() if not GONE.keys().isdisjoint(words(name))]
    assert found == []


def test_the_check_of_words_takes_names_apart():
    assert words("to_MoodsOf2") == ["to", "moods", "of2"]
    assert "cell" in [word for _, name in names() for word in words(name)]
