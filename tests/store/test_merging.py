"""Two results folders become one by a plain copy, whatever lay in the one already."""

import shutil
import subprocess

import pytest

from peftbench.store import fit
from peftbench.store.pack import pack
from peftbench.store.results import Store
from tests.report.stored import stored
from tests.store.test_fit import places, written

RIGHT = {0: [1, 0, 1]}


def copied(source, target):
    """As docs/records.md says."""
    subprocess.run(f"cp -rn {source}/* {target}/", shell=True, check=False)


def as_rsync(source, target):
    """What rsync -a --ignore-existing does, which is not on each machine."""
    for path in sorted(source.rglob("*"), reverse=True):
        place = target / path.relative_to(source)
        if path.is_file() and not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, place)


def pack_away(root):
    pack(root)
    shutil.rmtree(root / "records")
    shutil.rmtree(root / "scores")


@pytest.mark.parametrize("merge", [copied, as_rsync])
@pytest.mark.parametrize("packed", ["neither", "source", "target", "both"])
def test_a_plain_copy_merges(merge, packed, tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    shared = [stored(root, RIGHT, seed=0) for root in (source, target)]
    alone = [stored(root, RIGHT, seed=seed) for seed, root in ((1, source), (2, target))]
    for name, root in (("source", source), ("target", target)):
        if packed in (name, "both"):
            pack_away(root)
    if packed == "both":
        (source / "records.parquet").rename(source / "records-2.parquet")
    merge(source, target)
    assert sorted(Store(target).all(), key=lambda record: record.seed) == [shared[0], *alone]
    for record in Store(target).all():
        is_packed = Store(target).is_packed(record.id)
        assert is_packed or len(Store(target).read_scores(record.id)) == 6
    assert pack(target) == 3


@pytest.mark.parametrize("merge", [copied, as_rsync])
def test_of_a_cell_that_both_have_all_files_stay_the_targets(merge, tmp_path):
    """Its runs differ in their times, and here in all that they left."""
    source, target = tmp_path / "source", tmp_path / "target"
    made, other = (written(root, "m") for root in (target, source))
    later = other.model_copy(update={"created_at": "2027-01-01T00:00:00+00:00"})
    (source / "adapters" / made.id / "usage.json").write_text("of another run")
    with Store(source).staging() as staged:
        shutil.move(source / "adapters" / made.id, staged / "adapter")
        later = Store(source).write(later, Store(source).read_scores(made.id), "another prompt", staged / "adapter")
    assert later.files != made.files
    merge(source, target)
    assert Store(target).all() == [made]
    for path in places(target, made.id):
        fit.check(path)
    Store(target).read_scores(made.id)
