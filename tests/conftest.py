"""Tests run offline, on one thread; those that need real data run where its folder is, and are no skips elsewhere."""

import gc
import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from peftbench import registry
from tests import real

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
gc.disable()  # until all is imported


@pytest.fixture(autouse=True, scope="session")
def _no_sentence_model_is_installed() -> Iterator[None]:
    """Decide alike on all machines: a sentence model that is installed would be compared unasked."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "SENTENCE_MODELS", {})
        yield


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what needs real data where there is none: a skip would ask for what nobody can install."""
    path = real.data()
    if path is not None and not path.is_dir():
        raise pytest.UsageError(f"{real.VARIABLE} names '{path}', which is no folder")
    without = [item for item in items if not all(map(_is_there, item.iter_markers("real_data")))]
    if find_spec("s3fs") is None or shutil.which("moto_server") is None:
        without += [item for item in items if item.get_closest_marker("s3")]
    config.hook.pytest_deselected(items=without)
    items[:] = [item for item in items if item not in without]


def pytest_collection_finish() -> None:
    """Spare the collector of garbage what was imported: going through it takes as long as a test, each time."""
    gc.freeze()
    gc.enable()


def _is_there(mark: pytest.Mark) -> bool:
    """Whether there is the folder of real data, and each other one whose variable the mark names."""
    return real.data() is not None and all(variable in os.environ for variable in mark.args)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what runs smollm2-135m where its package is not installed; `.ci/run` installs it."""
    if item.get_closest_marker("real_model") and registry.SMOLLM2.path() is None:
        pytest.skip(f"needs the weights of smollm2-135m: {registry.SMOLLM2.command}")
