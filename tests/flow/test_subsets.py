"""Parts of the test rows by a column: scored apart, from the task's file to the report's table."""

import json

import pytest

from peftbench import registry
from peftbench.errors import TaskError
from peftbench.flow.run import run
from peftbench.report.formats import text
from peftbench.report.notes.document import compose
from peftbench.report.rows import subsets
from peftbench.report.rows.table import build
from peftbench.spec.cell import Cell, TaskSpec
from peftbench.store.record import Record
from peftbench.store.results import Store
from peftbench.tasks.load import load
from tests import real
from tests.tasks.test_text_rows import toml
from tests.tiny import tiny_folder

NAMES = '{column = "seen", names = {true = "old", false = "new"}}'
ROWS = [
    {"mr": word, "refs": [f"the {word} does follow"], "seen": seen}
    for word, seen in (("premise", True), ("answer", False), ("question", True), ("maybe", False))
]


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """Records of two seeds, and their store: BLEU, which is no mean over rows."""
    folder = tmp_path_factory.mktemp("subsets")
    task = toml(folder, ROWS, subsets=NAMES, metric='"bleu"')
    model = str(tiny_folder("llama", folder / "llama"))
    store = Store(folder / "results")
    cells = [Cell(learner="icl", model=model, task=task, shots=1, seed=seed, limit=3) for seed in (0, 1)]
    return [outcome.record for outcome in run(cells, store)], store


def test_a_part_s_value_is_that_of_its_outputs_against_its_references(outcome):
    records, store = outcome
    assert [record.task.subsets for record in records] == [{"old": "0 2", "new": "1"}] * 2
    metric, (table,) = registry.text_metric("bleu"), build(records)
    fields = {field.name: field for field in subsets.of_tasks(table)}
    assert list(fields) == ["toy_old", "toy_new"]
    for name, places in (("old", [0, 2]), ("new", [1])):
        values = []
        for record in records:
            outputs = store.read_scores(record.id)["output"].tolist()
            values.append(metric.of([outputs[place] for place in places], [ROWS[place]["refs"] for place in places]))
        assert fields[f"toy_{name}"].value(table.rows[0]) == pytest.approx(sum(values) / 2 * metric.scale / 100)


def test_the_report_has_a_column_for_each_part_beside_all_rows(outcome):
    (header,) = [line for line in text.markdown(compose(outcome[0])).splitlines() if "old n 2" in line]
    assert [part in header for part in ("toy n", "toy old n 2", "toy new n 1")] == [True] * 3
    assert header.index("n 3") < header.index("old n 2")


def test_a_row_without_the_parts_leaves_the_table_without_them(outcome):
    first, second = outcome[0]
    without = second.model_copy(update={"task": second.task.model_copy(update={"subsets": None})})
    assert [subsets.of_tasks(table) for table in build([first, without])] == [[]]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"subsets": {"old": "0 3"}}, "subsets name examples that are not there"),
        ({"subsets": {"old": "x"}}, "pattern"),
    ],
)
def test_a_damaged_record_is_refused(outcome, change, fault):
    table = json.loads(outcome[0][0].model_dump_json())
    table["task"] |= change
    with pytest.raises(ValueError, match=fault):
        Record.model_validate(table)


def test_rows_without_the_column_have_no_parts_and_rows_of_no_part_are_a_fault(tmp_path):
    bare = [{name: row[name] for name in ("mr", "refs")} for row in ROWS]
    assert load(toml(tmp_path, bare, subsets=NAMES)).subsets == {}
    assert load(toml(tmp_path, ROWS, subsets=NAMES)).subsets == {"old": (0, 2), "new": (1, 3)}
    with pytest.raises(TaskError, match="column 'seen' of 2 rows names no subset, the first in row 2") as caught:
        load(toml(tmp_path, [ROWS[0], *bare[:1], ROWS[2] | {"seen": "maybe"}], subsets=NAMES))
    assert caught.value.hint == "it holds one of true, false"


def test_parts_are_of_written_answers(tmp_path):
    changes = {"answer": '"choices"', "metric": "", "references": "", "writing": "", "subsets": NAMES}
    with pytest.raises(TaskError, match="'subsets' go with answer"):
        load(toml(tmp_path, **changes))


@pytest.mark.real_data
def test_webnlg_has_its_published_columns(tmp_path):
    (tmp_path / "webnlg").symlink_to(real.folder() / "webnlg")
    task = load(TaskSpec(name="webnlg", data=tmp_path))
    assert {name: len(ids) for name, ids in task.subsets.items()} == {"seen": 971, "unseen": 891}
