"""Tests that need real data: deselected where there is none, run where there is, never skipped."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import real

ROOT = Path(__file__).parents[1]


def run(data: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "pytest", "-q", "-m", "real_data", "--collect-only", str(Path(__file__))]
    environment = os.environ | {real.VARIABLE: data, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.real_data
def test_a_marked_test_has_the_folder():
    assert real.folder().is_dir()


def test_without_the_folder_a_marked_test_is_deselected(tmp_path):
    there, nowhere = run(str(tmp_path)), run("")
    assert "test_a_marked_test_has_the_folder" in there.stdout
    assert "test_a_marked_test_has_the_folder" not in nowhere.stdout
    assert "SKIPPED" not in nowhere.stdout


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    assert "which is no folder" in run(str(tmp_path / "missing")).stderr
