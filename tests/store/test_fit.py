import subprocess

import pytest

from peftbench.errors import RecordError
from peftbench.store import digest, fit
from peftbench.store.results import Store
from tests.store.older import without_files
from tests.store.test_results import SCORES, record


def written(root, model="m"):
    """A record with all that can lie beside one: scores, a prompt, and adapters in folders of their own."""
    store = Store(root)
    with store.staging() as staged:
        for name in ("usage.json", "template-0/adapter.safetensors", "template-0/.DS_Store"):
            path = staged / "adapter" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{model} {name}")
        return store.write(record(model), SCORES, f"prompt of {model}", staged / "adapter")


def test_a_folders_digest_is_that_of_what_sha256sum_prints(tmp_path):
    made = written(tmp_path)
    folder = tmp_path / "adapters" / made.id
    command = "sha256sum template-0/adapter.safetensors usage.json | sha256sum"
    printed = subprocess.run(command, cwd=folder, shell=True, capture_output=True, text=True, check=True).stdout
    assert printed.split()[0] == digest.of_folder(folder) == made.files.adapter
    (folder / ".DS_Store").write_text("a file manager was here")
    assert digest.of_folder(folder) == made.files.adapter
    (folder / "usage.json").rename(folder / "use.json")
    assert digest.of_folder(folder) != made.files.adapter


def test_a_record_knows_the_files_that_it_was_written_with(tmp_path):
    made = written(tmp_path)
    assert Store(tmp_path).find(made.id) == made
    for kind, sha256 in (("scores", made.files.scores), ("prompts", made.files.prompt)):
        (path,) = (tmp_path / kind).iterdir()
        printed = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout
        assert printed.split()[0] == sha256


def places(root, name):
    """What `predict` is given: an adapter, one of several, a record or its prompt."""
    return [root / "adapters" / name, root / "adapters" / name / "template-0", *of_prompt(root, name)]


def of_prompt(root, name):
    return [root / "records" / f"{name}.json", root / "prompts" / f"{name}.json"]


def test_what_a_record_was_written_with_fits_wherever_the_folder_lies(tmp_path, monkeypatch):
    made = written(tmp_path / "one")
    (tmp_path / "one").rename(tmp_path / "other")
    monkeypatch.chdir(tmp_path)
    for path in places((tmp_path / "other").relative_to(tmp_path), made.id):
        fit.check(path)


@pytest.mark.parametrize("kind", ["adapters", "prompts"])
def test_what_another_record_was_written_with_does_not_fit(tmp_path, kind):
    made, other = written(tmp_path, "m"), written(tmp_path, "n")
    suffix = "" if kind == "adapters" else ".json"
    place = tmp_path / kind / f"{made.id}{suffix}"
    place.rename(tmp_path / "aside")
    (tmp_path / kind / f"{other.id}{suffix}").rename(place)
    at_fault = places(tmp_path, made.id)[:2] if kind == "adapters" else of_prompt(tmp_path, made.id)
    for path in at_fault:
        with pytest.raises(RecordError, match=f"is not what record {made.id} was written with") as caught:
            fit.check(path)
        assert "--force" in caught.value.hint
        assert "\n" not in caught.value.message
    for path in set(places(tmp_path, made.id)) - set(at_fault):
        fit.check(path)


def test_what_no_record_tells_of_is_taken_as_it_is(tmp_path):
    made = written(tmp_path)
    (tmp_path / "adapters" / made.id / "usage.json").write_text("edited")
    elsewhere = tmp_path / "elsewhere"
    (tmp_path / "adapters" / made.id).rename(elsewhere)
    fit.check(elsewhere)
    elsewhere.rename(tmp_path / "adapters" / made.id)
    without_files(tmp_path / "records" / f"{made.id}.json")
    fit.check(tmp_path / "adapters" / made.id)
    (tmp_path / "records" / f"{made.id}.json").unlink()
    fit.check(tmp_path / "adapters" / made.id)
