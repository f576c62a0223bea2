"""The public API: lazy, typed, told on one page; the examples run."""

import ast
import inspect
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import peftbench
from tests.test_registry import HEAVY, loaded_by

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "api.md"


def test_importing_the_package_and_describing_a_run_imports_nothing_heavy():
    assert not HEAVY & loaded_by("import peftbench")
    assert "pydantic" not in loaded_by("import peftbench")
    assert not HEAVY & loaded_by(
        "from peftbench import Cell, IclOptions, PeftbenchError, ScoringOptions, Store, TaskSpec, Training"
    )


@pytest.mark.parametrize("name", peftbench.__all__)
def test_every_public_name_is_there_and_described(name):
    assert inspect.getdoc(getattr(peftbench, name))
    assert name in dir(peftbench)


def test_an_unknown_name_is_no_attribute():
    with pytest.raises(AttributeError, match="'peftbench' has no attribute 'tuna'"):
        _ = peftbench.tuna
    assert not hasattr(peftbench, "tuna")


def test_the_package_says_that_it_has_types():
    assert (ROOT / "peftbench" / "py.typed").exists()


def test_types_are_imported_from_where_the_names_are():
    """What mypy reads is what runs."""
    (block,) = (node for node in ast.parse(inspect.getsource(peftbench)).body if isinstance(node, ast.If))
    typed = {alias.name: node.module for node in block.body for alias in node.names}
    assert typed == peftbench._MODULES
    assert sorted(typed) == sorted(peftbench.__all__)


def test_the_page_has_every_public_name_and_no_other():
    named = re.findall(r"^\| `(\w+)", PAGE.read_text(), re.MULTILINE)
    assert sorted(named) == sorted(peftbench.__all__)


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
def test_examples_run(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(path), run_name="__main__")
    out = capsys.readouterr().out
    assert "ia3, 8 shots, seed 0: " in out
    assert re.search(r"^weather: \d+%$", out, re.MULTILINE)


def test_the_code_on_the_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names = {}
    exec(code, names)
    assert 0 <= float(capsys.readouterr().out) <= 1
    assert len(names["table"]) == len(names["outcome"].record.results)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, "passive 1000"),
        ({"OMP_WAIT_POLICY": "active"}, "active None"),
        ({"GOMP_SPINCOUNT": "7"}, "passive 7"),
    ],
)
def test_threads_wait_asleep_unless_the_user_says_otherwise(before, after):
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    environment = {name: value for name, value in os.environ.items() if name not in names} | before
    script = f"import peftbench, os; print(*map(os.environ.get, {names}))"
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == after
