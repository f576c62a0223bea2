import contextlib
import json

import pytest

from peftbench.errors import MethodError, ModelError, RecordError, TaskError
from peftbench.flow.plan import plan
from peftbench.flow.run import run
from peftbench.models.load import load
from peftbench.report.rows.table import build
from peftbench.spec.cell import Cell, IclOptions, TaskSpec
from peftbench.store.results import Store
from tests.tiny import tiny_folder

ROWS = [
    {"text": text, "label": label}
    for text, label in [
        ("the soup was warm", "good"),
        ("the bed was hard", "bad"),
        ("a fine day", "good"),
        ("rain all week", "bad"),
        ("she smiled at me", "good"),
        ("the key broke", "bad"),
    ]
]
TEMPLATE = "{{text}} How is it? ||| {{label}}"
WORDING = '[[templates]]\nname = "NAME"\ntext = "{{text}}MORE ||| {{choice}}"\nchoices = ["yes", "no"]\n'


class Watch:
    """Keeps what it is told."""

    def __init__(self):
        self.told, self.remained = [], []

    @contextlib.contextmanager
    def stage(self, title, total):
        yield lambda advance, remark: self.told.append((title, total, advance, remark))

    def remain(self, remaining):
        self.remained.append(remaining)

    def say(self, text):
        pass


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    for family in ("t5", "llama"):
        tiny_folder(family, root / family)
    return root


@pytest.fixture
def cell(folders, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    task = TaskSpec(name="mine", train=rows, test=rows, template=TEMPLATE, choices=("good", "bad"))
    return Cell(learner="icl", model=str(folders / "llama"), task=task, shots=2)


def only(outcomes):
    (outcome,) = outcomes
    return outcome


def tuned(cell, folders, model="t5", **fields):
    fields = {"method": "ia3", "training": {"num_steps": 3}, "shots": 4} | fields
    return Cell(**{**dict(cell), "learner": "tune", "model": str(folders / model), **fields})


def test_what_remains_is_told_of_each_cell_and_one_that_comes_twice_is_run_once(cell, folders, tmp_path):
    store, watch = Store(tmp_path / "results"), Watch()
    list(run([cell], store))
    cells = [cell, *(tuned(cell, folders, "llama").model_copy(update={"seed": seed}) for seed in (0, 0, 1))]
    assert [outcome.is_new for outcome in run(cells, store, watch)] == [False, True, False, True]
    assert [remaining.num_done for remaining in watch.remained] == sorted(r.num_done for r in watch.remained)
    assert {remaining.num_done for remaining in watch.remained} == {1, 3}
    assert {remaining.num_cells for remaining in watch.remained} == {4}
    assert watch.remained[-1].seconds == 0


def test_a_cell_gives_one_record_whose_counts_follow_from_the_stored_scores(cell, tmp_path):
    store = Store(tmp_path / "results")
    record = only(run([cell], store, Watch())).record
    scores = store.read_scores(record.id)
    right = 0
    for _, rows in scores.groupby("row_id"):
        normalised = (rows["log_prob"] / rows["num_tokens"]).tolist()
        right += normalised.index(max(normalised)) == rows["label"].iloc[0]
    assert record.results[0].num_examples == len(ROWS)
    assert record.results[0].num_correct["token"] == right


def test_the_second_run_gives_the_first_ones_record(cell, tmp_path):
    store = Store(tmp_path / "results")
    first = only(run([cell], store, Watch()))
    watch = Watch()
    second = only(run([cell], store, watch))
    assert (first.is_new, second.is_new) == (True, False)
    assert second.record == first.record
    assert watch.told == []


def test_force_runs_again_to_the_same_scores(cell, tmp_path):
    store = Store(tmp_path / "results")
    first = only(run([cell], store, Watch())).record
    again = only(run([cell], store, Watch(), force=True))
    assert again.is_new
    assert again.record.results == first.results


def test_an_edited_file_at_the_same_path_is_another_cell(cell, tmp_path):
    store = Store(tmp_path / "results")
    first = only(run([cell], store, Watch())).record
    path = cell.task.test
    path.write_text(path.read_text().replace("soup", "milk"))
    assert only(run([cell], store, Watch())).record.id != first.id


@pytest.mark.parametrize("model", ["t5", "llama"])
def test_tuning_saves_an_adapter_and_leaves_the_model_as_it_was(cell, folders, tmp_path, model):
    store = Store(tmp_path / "results")
    zero_shot = cell.model_copy(update={"model": str(folders / model), "shots": 0})
    cells = [zero_shot, tuned(cell, folders, model), zero_shot.model_copy(update={"seed": 1})]
    before, learned, after = [outcome.record for outcome in run(cells, store, Watch())]
    assert learned.learned.num_trained_parameters > 0
    measured = learned.cost("disk_bytes", "measured")
    assert measured.value == sum(file.stat().st_size for file in (store.adapters / learned.id).iterdir())
    first, last = store.read_scores(before.id), store.read_scores(after.id)
    assert first["log_prob"].tolist() == last["log_prob"].tolist()


def test_full_tuning_learns_its_training_rows(cell, folders, tmp_path):
    store = Store(tmp_path / "results")
    one = tuned(cell, folders, shots=6, method="full", training={"num_steps": 40, "lr": 0.02, "scale_parameter": False})
    watch = Watch()
    record = only(run([one], store, watch)).record
    losses = [float(remark.split()[1]) for *_, remark in watch.told if remark.startswith("loss")]
    assert len(losses) == 40
    assert losses[-1] < losses[0]
    assert record.results[0].accuracy() >= 5 / 6


def test_command_line_settings_win_over_the_model_folders_and_those_over_the_methods(cell, folders, tmp_path):
    folder = tmp_path / "t5"
    tiny_folder("t5", folder)
    (folder / "peftbench.toml").write_text("[tune]\nlr = 0.5\nbatch_size = 2\n[tune.ia3]\nnum_steps = 1\n")
    one = tuned(cell, tmp_path, training={"batch_size": 3})
    training = only(run([one], Store(tmp_path / "results"), Watch())).record.learned.training
    assert (training["lr"], training["batch_size"], training["num_steps"]) == (0.5, 3, 1)
    assert training["scale_parameter"] is True


def test_all_cells_are_checked_before_the_first_one_runs(cell, folders, tmp_path):
    store = Store(tmp_path / "results")
    watch = Watch()
    with pytest.raises(MethodError, match="unknown setting of lora 'rnk'") as caught:
        list(run([cell, tuned(cell, folders, method="lora", method_config={"rnk": 2})], store, watch))
    assert "did you mean 'rank'" in caught.value.hint
    assert not store.root.exists()
    assert not watch.told


def two_templates(cell, padding):
    """Give the cell two wordings of its task, the second one longer by so many words."""
    path = cell.task.test.parent / "two.toml"
    path.write_text(
        'name = "two"\nfamily = "f"\ndescription = "d"\n[data]\ntrain = "rows.jsonl"\ntest = "rows.jsonl"\n'
        '[label]\nnames = ["good", "bad"]\n'
        + WORDING.replace("NAME", "short").replace("MORE", "")
        + WORDING.replace("NAME", "long").replace("MORE", " does" * padding)
    )
    return cell.model_copy(update={"task": TaskSpec(name=str(path)), "shots": 6})


def test_every_template_is_checked_before_the_first_one_is_scored(cell, tmp_path):
    store, watch = Store(tmp_path / "results"), Watch()
    with pytest.raises(ModelError, match=r"6 shots .* in template 'long', and .* takes 512"):
        list(run([two_templates(cell, 100)], store, watch))
    assert watch.told == []
    assert not store.root.exists()


def test_a_query_that_does_not_fit_is_told_before_tuning(cell, folders, tmp_path):
    one = two_templates(cell, 600).model_copy(update={"method": "ia3", "learner": "tune", "training": {"num_steps": 3}})
    store, watch = Store(tmp_path / "results"), Watch()
    with pytest.raises(ModelError, match=r"a prompt has 1,216 tokens, and .* takes 512"):
        list(run([one], store, watch))
    assert watch.told == []
    assert not store.root.exists()


def test_the_shots_of_each_template_are_in_the_record_and_in_the_table(cell, tmp_path):
    fitting = two_templates(cell, 100).model_copy(update={"icl": IclOptions(fit_shots=True)})
    record = only(run([fitting], Store(tmp_path / "results"), Watch())).record
    most, fewest = record.num_shots
    assert (most, 0 < fewest < 6) == (6, True)
    assert [result.num_shots for result in record.results] == [most, fewest]
    assert (record.learned.num_shots, len(record.learned.shot_ids)) == (fewest, most)
    assert build([record])[0].rows[0].used_shots == (fewest, 6)


def test_more_shots_than_rows_is_refused(cell):
    with pytest.raises(TaskError, match="7"):
        plan(cell.model_copy(update={"shots": 7}))


def test_a_damaged_record_is_not_run_over(cell, tmp_path):
    store = Store(tmp_path / "results")
    record = only(run([cell], store, Watch())).record
    (store.records / f"{record.id}.json").write_text("{")
    with pytest.raises(RecordError, match="damaged"):
        list(run([cell], store, Watch()))
    assert only(run([cell], store, Watch(), force=True)).record.results == record.results


def test_an_interrupted_cell_leaves_no_record(cell, tmp_path):
    class Impatient(Watch):
        @contextlib.contextmanager
        def stage(self, title, total):
            raise KeyboardInterrupt
            yield

    store = Store(tmp_path / "results")
    with pytest.raises(KeyboardInterrupt):
        list(run([cell], store, Impatient()))
    assert [path for path in store.root.rglob("*") if path.is_file()] == []


def test_what_was_cut_is_in_the_record(cell, tmp_path):
    scoring = cell.scoring.model_copy(update={"max_input_tokens": 4})
    record = only(run([cell.model_copy(update={"scoring": scoring})], Store(tmp_path / "results"), Watch())).record
    backbone = load(cell.model)
    lengths = [len(backbone.tokenizer.tokenize(f"{row['text']} How is it?")) for row in ROWS]
    shots = [lengths[index] for index in record.learned.shot_ids]
    assert record.work["cut_tokens"] == sum(length - 4 for length in (*lengths, *shots))


def test_a_task_with_another_metric_is_recorded_with_its_value_under_each_template(folders, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    head = 'name = "mine"\nfamily = "f"\ndescription = "d"\nmetric = "macro_f1"\n'
    table = head + '[data]\ntrain = "rows.jsonl"\ntest = "rows.jsonl"\n[label]\nnames = ["good", "bad"]\n'
    (tmp_path / "mine.toml").write_text(table + WORDING.replace("NAME", "plain").replace("MORE", " Is it fine?"))
    task, watch = TaskSpec(name=str(tmp_path / "mine.toml")), Watch()
    cell = Cell(learner="icl", model=str(folders / "llama"), task=task, shots=0, limit=5)
    store = Store(tmp_path / "results")
    record = only(run([cell], store, watch)).record
    (result,) = record.results
    scores = store.read_scores(record.id)
    best = scores.loc[scores.groupby("row_id").ranked_by.idxmax()]
    assert (result.predictions, result.labels) == (list(best.choice), list(best.label))
    assert result.num_predicted == [(best.choice == choice).sum() for choice in (0, 1)]
    assert result.num_labelled == [3, 2]
    f1 = []
    for label in (0, 1):
        right = ((best.choice == label) & (best.label == label)).sum()
        f1.append(2 * right / ((best.choice == label).sum() + (best.label == label).sum()))
    assert result.value() == pytest.approx(sum(f1) / 2)
    assert result.value() != result.accuracy()
    assert (record.task.metric, record.task.chance) == ("macro_f1", 0.5)
    assert watch.told[-1][-1] == f"macro F1 {100 * result.value():.1f} with template 0"
    assert not only(run([cell], store, watch)).is_new
    (tmp_path / "mine.toml").write_text((tmp_path / "mine.toml").read_text().replace("macro_f1", "accuracy"))
    again = only(run([cell], store, watch))
    assert (again.is_new, again.record.metric) == (True, "accuracy")
    assert store.find(record.id).metric == "macro_f1"


def test_a_record_holds_labels_where_their_counts_are_fixed_and_all_rows_were_scored(folders, tmp_path):
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    head = 'name = "t"\nfamily = "f"\ndescription = "d"\ndata = {train = "rows.jsonl", test = "rows.jsonl"}\n'
    wording = WORDING.replace("NAME", "w").replace("MORE", "")
    held = {}
    for counts in ("fixed", "random"):
        path = tmp_path / f"{counts}.toml"
        path.write_text(f'{head}[label]\nnames = ["bad", "good"]\ncounts = "{counts}"\n{wording}')
        cell = Cell(learner="icl", model=str(folders / "llama"), task=TaskSpec(name=str(path)), shots=0)
        for limit in (None, 4):
            record = only(run([cell.model_copy(update={"limit": limit})], Store(tmp_path / counts))).record
            held[counts, limit] = record.task.labels
    assert held == {("fixed", None): "1 0 1 0 1 0", ("fixed", 4): None, ("random", None): None, ("random", 4): None}
