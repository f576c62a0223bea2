import csv
import io
import json
import statistics
from pathlib import Path

import pytest
from pydantic import ValidationError

from peftbench import registry
from peftbench.report.evidence.advise import advise
from peftbench.report.evidence.compare import compare
from peftbench.report.evidence.decide import decide
from peftbench.report.evidence.money import of_decision
from peftbench.report.formats import advise_text, compare_text, data, decide_text, schema
from peftbench.report.notes import caveats
from peftbench.report.notes.decision import Answer
from peftbench.report.notes.document import compose
from peftbench.report.rows import setting
from peftbench.report.rows.reference import published
from peftbench.report.rows.select import choose, read
from peftbench.report.rows.table import build
from tests.costs.prices.files import H100
from tests.report.evidence.answered import NAMES, cases, curved, table
from tests.report.pictured import document, records
from tests.report.priced import prices, with_tokens
from tests.report.records import record, under
from tests.report.stored import stored

DOCS = Path(__file__).parents[3] / "docs"


def lines(document):
    return list(csv.DictReader(io.StringIO(data.to_csv(document))))


def test_csv_has_a_line_for_each_task_and_one_for_the_mean():
    found = lines(compose([record(task="a"), record(task="b")]))
    assert [line["task"] for line in found] == ["(mean)", "a", "b"]
    assert found[0]["inference_flops_per_example"] == str(33 * 47_000_000)
    assert found[0]["inference_flops_per_example_kind"] == "counted"
    assert found[1]["inference_flops_per_example"] == ""


def test_csv_of_one_task_has_its_costs_in_its_line():
    (line,) = lines(compose([record("ia3", "mini-t0", correct=(150,))]))
    assert (line["task"], line["training_flops"], line["training_flops_kind"]) == ("nli", "9100000000000", "estimated")
    assert (line["accuracy_median"], line["accuracy_iqr"]) == ("0.5", "")


def test_published_lines_say_so():
    sources = {line["source"] for line in lines(compose([record()], published("t-few")))}
    assert sources == {"records", "published"}


def test_json_is_plain_and_versioned():
    table = json.loads(json.dumps(data.to_json(compose([record()]))))
    assert table["schema_version"] == schema.SCHEMA_VERSION
    (row,) = table["tables"][0]["rows"]
    assert row["score_median"] == 0.55
    assert row["tasks"][0]["num_templates"] == 2
    assert {cost["kind"] for cost in row["costs"]} == {"counted", "measured"}


def in_orders():
    """ICL in two orders, with flipped labels and as a prefix."""
    ways = ({}, {"order": 1}, {"labels": "flipped"}, {"as_prefix": True})
    return compose([record(icl=way) for way in ways], left_out=["record 'x' is damaged"])


def tuned():
    """What only some records have: a failed measurement, seconds, parameters that get no gradient, a mixture."""
    made = [record("lora", "mini-t0", method_config={"rank": rank, "layer_norms": True}) for rank in (4, 8)]
    more = {"num_saved_parameters": 6000, "num_unreached_parameters": 12}
    failed = made[0].costs[2].model_copy(update={"value": None, "reason": "the disk was full"})
    seconds = failed.model_copy(update={"name": "learn_seconds", "unit": "seconds", "value": 1.5, "reason": None})
    made[0] = made[0].model_copy(
        update={"learned": made[0].learned.model_copy(update=more), "costs": [*made[0].costs[:2], failed, seconds]}
    )
    task = made[1].task.model_copy(update={"family": "mixture", "name": "lab-train"})
    return compose([made[0], made[1].model_copy(update={"task": task})])


def with_money(folder):
    """Rows with a price by the token, and one that records say too little of; nobody knows what the training costs."""
    made = [with_tokens(record(shots=41)), record(shots=4), with_tokens(record("ia3", training_flops=10**15))]
    host = {"hosting": [{name: value for name, value in H100.items() if name != "sustained_flops"}]}
    return made, prices(folder, **host)


def reports(folder):
    records, priced = with_money(folder)
    made = (document(), compose([record()], published("t-few")), in_orders(), tuned(), compose(of_metrics("matthews")))
    return [data.to_json(one) for one in (*made, compose(records, prices=priced))]


def comparisons(folder):
    rows = {"icl@mini-gpt:32": [1, 0, 0, 0, 1, 0], "ia3@mini-t0:32": [1, 1, 0, 1, 0, 1]}
    for task in ("a", "b"):
        for seed in (0, 1):
            stored(folder, {0: rows["icl@mini-gpt:32"], 1: [0, 1] * 3}, task=task, sha256=64 * task, seed=seed)
        stored(folder, {0: rows["ia3@mini-t0:32"]}, "ia3", "mini-t0", task, sha256=64 * task)
    kept = read([folder])
    sides = [choose(word, kept) for word in rows]
    one = [one.record.id for one in kept if one.record.task.name == "a" and one.record.seed == 0]
    for method, right in (("bitfit", [1, 0, 0]), ("lora", [1, 1, 1])):
        stored(folder, {0: right}, method, task="a", sha256=64 * "a")
        stored(folder, {0: right}, method, task="f1", sha256=64 * "c", metric="macro_f1")
    kept = read([folder])
    mixed = [choose(word, kept) for word in ("bitfit@mini-gpt", "lora@mini-gpt")]
    compared = [compare(a, b) for a, b in (sides, mixed, [choose(word, kept) for word in one])]
    return [compare_text.to_json(comparison, caveats.findings(comparison, kept)) for comparison in compared]


def advices(folder):
    made = records()
    tables = [*build(made), *build([one for one in made if one.learned.method is None]), curved()]
    advised = [advise(table, 100, accuracy) for table in tables for accuracy in (None, 0.5)]
    made, priced = with_money(folder)
    return [advise_text.to_json([advice]) for advice in (*advised, advise(build(made)[0], 100, prices=priced))]


def decisions(folder):
    answers = [Answer(decide(built, 100, labels), choices=NAMES) for built, labels in cases().values()]
    answers.append(Answer(decide(curved(), 100)))
    priced = of_decision(answers[0].decision, prices(folder))
    _, lacking = with_money(folder)
    built, labels = cases()["tune"]
    decision = decide(table(*(with_tokens(one) for row in built.rows for one in row.records)), 100, labels)
    answers += [Answer(decision, money=of_decision(decision, given)) for given in (prices(folder), lacking)]
    answers += [Answer(answers[0].decision, "peftbench list", money=priced)]
    return [decide_text.to_json(answer) for answer in answers]


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    compared, folder = comparisons(tmp_path_factory.mktemp("records")), tmp_path_factory.mktemp("prices")
    return {"report": reports(folder), "compare": compared, "advise": advices(folder), "decide": decisions(folder)}


@pytest.mark.parametrize("command", schema.DOCUMENTS)
def test_another_reader_of_json_schema_finds_it_as_the_documented_schema_says(command, examples):
    jsonschema = pytest.importorskip("jsonschema")
    documented = json.loads((DOCS / f"{command}.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(documented)
    for example in examples[command]:
        table = json.loads(json.dumps(example, allow_nan=False))
        jsonschema.validate(table, documented)
        schema.check(command, json.dumps(table))
        with pytest.raises(jsonschema.ValidationError, match="verdct"):
            jsonschema.validate(table | {"verdct": "x"}, documented)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(table | {"schema_version": 99}, documented)


def objects(schema):
    """All objects that a schema describes."""
    if isinstance(schema, dict):
        yield from [schema] if schema.get("type") == "object" else []
        for part in schema.values():
            yield from objects(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from objects(part)


@pytest.mark.parametrize("command", schema.DOCUMENTS)
def test_no_object_of_a_schema_may_have_other_fields(command):
    found = list(objects(schema.json_schema(command)))
    assert len(found) >= 3
    assert [one["title"] for one in found if one.get("additionalProperties") is not False] == []
    lacking = {one["title"]: {*one["properties"]} - {*one["required"]} for one in found}
    beside = {"accuracy_median"}  # accuracy beside another metric is not in rows whose score it is
    expected = {"RowFields": beside, "SpreadFields": beside} if command == "report" else {}
    # Money is where prices were given.
    priced = {"report": "TableFields", "advise": "AdviceTableFields", "decide": "DecisionFields"}
    expected |= {priced[command]: {"money"}} if command in priced else {}
    assert {title: names for title, names in lacking.items() if names} == expected


def told(table):
    """The names of all fields that have a value."""
    if isinstance(table, dict):
        return {name for name, value in table.items() if value not in (None, [])}.union(*map(told, table.values()))
    return set().union(*map(told, table)) if isinstance(table, list | tuple) else set()


@pytest.mark.parametrize("command", schema.DOCUMENTS)
def test_the_examples_have_a_value_in_every_field(command, examples):
    names = {name for one in objects(schema.json_schema(command)) for name in one["properties"]}
    assert names - told(examples[command]) == set()


@pytest.mark.parametrize("spoil", [lambda row: row.pop("chance"), lambda row: row.update(score_median="0.5")])
def test_a_report_without_a_field_or_with_another_type_is_none(spoil):
    report = data.to_json(document())
    schema.check("report", json.dumps(report))
    spoil(report["tables"][0]["rows"][0])
    with pytest.raises(ValidationError):
        schema.check("report", json.dumps(report))


def test_intervals_are_in_both():
    report, found = data.to_json(document()), lines(document())
    low, high = report["tables"][0]["rows"][0]["score_interval"]
    assert (found[0]["accuracy_interval_low"], found[0]["accuracy_interval_high"]) == (str(low), str(high))
    assert lines(compose([record()]))[0]["accuracy_interval_low"] == ""


def test_orders_of_the_shots_are_in_both():
    row = data.to_json(in_orders())["tables"][0]["rows"][0]
    assert (row["num_orders"], row["tasks"][0]["num_orders"]) == ("2", 2)
    assert lines(in_orders())[0]["num_orders"] == "2"
    assert data.to_json(compose([], published("t-few")))["tables"][0]["rows"][0]["num_orders"] is None


def of_metrics(*metrics):
    return [under(metric, record(method, task=metric)) for metric in metrics for method in ("ICL", "ia3")]


def test_no_column_of_csv_holds_two_metrics():
    made = of_metrics(*registry.METRICS)
    found = lines(compose(made))
    for metric in registry.METRICS:
        names = [f"{metric}_median", f"{metric}_interval_low", "chance" if metric == "accuracy" else f"{metric}_chance"]
        for line in found:
            # Accuracy stands beside each metric.
            own = [name for name in names if name != "accuracy_median"]
            assert {bool(line[name]) for name in own} == {line["task"] == metric}
    scored = {
        (row.method, task.name): row.score
        for table in compose(made).tables
        for row in table.rows
        for task in table.tasks
    }
    assert [float(line[f"{line['task']}_median"]) for line in found] == pytest.approx(
        [scored[line["method"], line["task"]] for line in found]
    )
    accuracies = {
        (setting.method(one), one.task.name): statistics.median(result.accuracy() for result in one.results)
        for one in made
    }
    assert {(line["method"], line["task"]): float(line["accuracy_median"]) for line in found} == pytest.approx(
        accuracies
    )


def test_csv_of_accuracy_alone_has_the_columns_of_accuracy():
    (line, _) = lines(compose(of_metrics("accuracy")))
    assert [name for name in line if "accuracy" in name or name == "chance"] == [
        "accuracy_median", "accuracy_iqr", "chance", "accuracy_interval_low", "accuracy_interval_high"
    ]  # fmt: skip


def test_each_table_of_json_says_its_metric():
    document = compose(of_metrics(*registry.METRICS))
    report = data.to_json(document)
    schema.check("report", json.dumps(report))
    assert [table["metric"]["name"] for table in report["tables"]] == sorted(registry.METRICS)
    (matthews,) = [table["metric"] for table in report["tables"] if table["metric"]["name"] == "matthews"]
    assert matthews == {
        "name": "matthews", "title": "Matthews correlation", "unit": "points", "higher_is_better": True
    }  # fmt: skip
    advice = advise_text.to_json([advise(table, 10, 0.5) for table in document.tables])
    schema.check("advise", json.dumps(advice))
    assert [table["metric"]["name"] for table in advice["tables"]] == sorted(registry.METRICS)
