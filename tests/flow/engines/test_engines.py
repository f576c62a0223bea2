"""All engines with their real workers: the same records; options that name none, and clusters that do not answer."""

import importlib.metadata
import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from peftbench.cli.app import main
from peftbench.errors import MethodError, PeftbenchError, RecipeError
from peftbench.flow.engines import choice
from peftbench.flow.engines.dealing import run_on
from peftbench.flow.run import run
from peftbench.store.results import Store
from tests.drills import results


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    return list(results.cells(tmp_path_factory.mktemp("model")).values())


@pytest.fixture(scope="module")
def store(cells, tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("alone"))
    list(run(cells, store))
    return store


@pytest.fixture(scope="module")
def alone(store):
    return results.snapshot(store.root)


@pytest.mark.parametrize("name", ["processes", "ray", "submitit"])
def test_records_do_not_tell_which_engine_made_them(name, cells, alone, tmp_path, monkeypatch):
    if name != "processes" and not find_spec(name):
        pytest.skip(f"needs {name}: pip install {name}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    (tmp_path / "local.toml").write_text('cluster = "local"\n')
    options = {
        "processes": (2, None, None),
        "ray": (1, "ray", None),
        "submitit": (1, "slurm", tmp_path / "local.toml"),
    }
    engine = choice.engine(*options[name], tmp_path / "results")
    outcomes = list(run_on(engine, cells, Store("results")))
    assert sorted(outcome.place for outcome in outcomes) == list(range(len(cells)))
    assert results.snapshot(tmp_path / "results") == alone


def test_predictions_do_not_tell_how_many_processes_made_them(store, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("peftbench.flow.predict.CHUNK", 2)
    prompt = min(store.root.glob("prompts/*.json"))
    lines = [json.dumps({"other" if number == 3 else "text": f"day {number}"}) for number in range(9)]
    Path("rows.jsonl").write_text("\n".join(lines))
    said = []
    for number in (1, 2):
        options = ["--shots-from", str(prompt), "--input", "rows.jsonl", "--output", f"{number}.jsonl"]
        assert main(["predict", *options, "--quiet", "--jobs", str(number)]) == 1
        said.append(capsys.readouterr())
    assert Path("1.jsonl").read_bytes() == Path("2.jsonl").read_bytes()
    assert said[0] == said[1]
    assert "1 of 9 rows have no prediction: row 4: " in said[0].err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((None, "dask", None), "--on 'dask' is nothing that cells run on"),
        ((None, "slurm:x", None), "--on 'slurm:x' is nothing"),
        ((None, "slurm", None), "--on slurm needs"),
        ((2, None, "local.toml"), "--slurm goes with --on slurm"),
    ],
)
def test_options_that_name_no_engine_are_one_line_and_a_hint(options, message, tmp_path):
    jobs, on, slurm = options
    with pytest.raises(RecipeError, match=message) as error:
        choice.engine(jobs, on, slurm and tmp_path / slurm, tmp_path)
    assert "--on slurm --slurm FILE.toml" in error.value.hint


def test_one_job_is_this_process(tmp_path):
    assert choice.engine(None, None, None, tmp_path) is None
    assert choice.engine(1, None, None, tmp_path) is None


@pytest.mark.skipif(not find_spec("ray"), reason="needs ray: pip install ray")
@pytest.mark.parametrize("address", ["127.0.0.1:1", "nobody", "127.0.0.1:99999999", "ray://127.0.0.1:1"])
def test_a_ray_that_does_not_answer_is_one_line(address, tmp_path):
    with pytest.raises(PeftbenchError, match="no Ray answers at") as error:
        choice.engine(None, f"ray:{address}", None, tmp_path)
    assert error.value.exit_code == 1
    assert "\n" not in error.value.message
    assert "ray status" in error.value.hint


@pytest.mark.skipif(not find_spec("submitit"), reason="needs submitit: pip install submitit")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('cluster = "local"\nx = 1', "x"),
        ('cluster = "moon"', "moon"),
        ('cpus_per_task = "many"', "cpus_per_task = 'many' is no number of cores"),
        ("a = ", "is no TOML"),
        (None, "cannot read"),
        ("", "there is no SLURM on this machine"),
    ],
)
def test_a_faulty_slurm_file_is_one_line(text, message, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    path = tmp_path / "slurm.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(PeftbenchError, match=message) as error:
        choice.engine(None, "slurm", path, tmp_path / "results")
    assert "\n" not in error.value.message
    assert error.value.hint
    assert not (tmp_path / "results" / "records").exists()


def test_without_the_package_the_extra_is_named(tmp_path, monkeypatch):
    def version(package):
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(importlib.metadata, "version", version)
    for on, package, slurm in (("ray", "ray", None), ("slurm", "submitit", tmp_path / "x.toml")):
        with pytest.raises(MethodError, match=f"needs the package {package}") as error:
            choice.engine(None, on, slurm, tmp_path)
        assert f"peftbench[{on}]" in error.value.hint
