from peftbench import registry
from peftbench.spec.cell import TaskSpec
from peftbench.tasks import fixed
from peftbench.tasks.load import load
from peftbench.tasks.schema import read


def test_the_file_has_the_labels_of_each_task_whose_counts_are_fixed():
    names = [name for name, path in registry.task_files().items() if read(path).label.counts == "fixed"]
    assert len(names) == 17
    for name in names:
        task = load(TaskSpec(name=name))
        assert fixed.labels(task.sha256) == " ".join(str(row.label) for row in task.test)


def test_other_rows_have_no_labels():
    assert fixed.labels("0" * 64) is None


def test_counts_are_of_the_rows_that_the_task_file_names(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("text,label\na,0\nb,1\n")
    wording = 'text = "{{text}} ||| {{choice}}"\nchoices = ["no", "yes"]\n'
    (tmp_path / "task.toml").write_text(
        'name = "t"\nfamily = "f"\ndescription = "d"\n[data]\ntrain = "rows.csv"\ntest = "rows.csv"\n'
        f'[label]\nnames = ["no", "yes"]\ncounts = "fixed"\n[[templates]]\nname = "w"\n{wording}'
    )
    spec = TaskSpec(name=str(tmp_path / "task.toml"))
    assert load(spec).has_fixed_counts
    assert load(spec.model_copy(update={"train": path})).has_fixed_counts
    assert not load(spec.model_copy(update={"test": path})).has_fixed_counts
    assert load(spec.model_copy(update={"data": tmp_path})).has_fixed_counts
    (tmp_path / "t").mkdir()
    for split in ("train", "test"):
        (tmp_path / "t" / f"{split}.csv").write_text(path.read_text())
    assert not load(spec.model_copy(update={"data": tmp_path})).has_fixed_counts
