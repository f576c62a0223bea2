"""Threads of a model: one for a small one, all for a large one, or as many as somebody says."""

import pytest
import torch

from peftbench.models import threads
from peftbench.models.load import load
from peftbench.models.threads import SMALL, Threads
from tests.tiny import tiny_folder


@pytest.fixture(autouse=True)
def _as_before():
    number = torch.get_num_threads()
    yield
    torch.set_num_threads(number)


@pytest.mark.parametrize(
    ("number", "num_parameters", "expected"), [(None, SMALL - 1, 1), (None, SMALL, 3), (2, 10, 2), (1, SMALL, 1)]
)
def test_threads_by_size_or_as_they_are_set(number, num_parameters, expected, monkeypatch):
    Threads(number, most=3).suit(num_parameters)
    assert torch.get_num_threads() == expected


def test_loading_sets_them(tmp_path, monkeypatch):
    folder = str(tiny_folder("gpt2", tmp_path))
    monkeypatch.setattr(threads.THREADS, "number", 2)
    load(folder, device="cpu")
    assert torch.get_num_threads() == 2
    monkeypatch.setattr(threads.THREADS, "number", None)
    load(folder, device="cpu")
    assert torch.get_num_threads() == 1
