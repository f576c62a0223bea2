"""Prompts and choices equal those that the two projects' own code makes of the same rows.

promptsource's own files are looked for in the checkout that PEFTBENCH_TEST_PROMPTSOURCE names: it cannot be installed
beside what runs here, so that its one module is run with what it imports and does not need put in its place.
"""

import json
import os
import sys
import types
from pathlib import Path

import pytest

from peftbench.scoring.layout import Shot, plain
from peftbench.spec.cell import Scoring, TaskSpec
from peftbench.tasks.load import load
from tests import real
from tests.row_files import write

CHECKOUT = "PEFTBENCH_TEST_PROMPTSOURCE"
# Task file -> rows of the real data set, and the files' columns by the hub's names.
HARNESS = {
    "super_glue/cb/default.yaml": "cb",
    "super_glue/boolq/default.yaml": "boolq",
    "super_glue/rte/default.yaml": "rte",
    "glue/rte/default.yaml": "rte",
    "glue/sst2/default.yaml": "sst2",
    "anli/anli_r1.yaml": "anli-r1",
    "anli/anli_r3.yaml": "anli-r3",
}
COLUMNS = {
    "glue/rte/default.yaml": {"sentence1": "premise", "sentence2": "hypothesis"},
    "glue/sst2/default.yaml": {"sentence": "text"},
}
MATHS = [
    {"question": f" {a} + {b}? ", "choices": [str(a), str(a + b), "7 ", "it's"], "answer": a % 2, "subject": "sums"}
    for a, b in [(1, 2), (3, 5), (2, 9), (4, 4)]
]
SCIENCE = [
    {"question": f"Is it {key}?", "choices": {"text": ["n0", "n1", "n2"], "label": list("ABC")}, "answerKey": key}
    for key in "ABC"
]
PAIRS = [{"sentence_good": f"We go {word}.", "sentence_bad": f"We goes {word}."} for word in ("home", "out", "up")]
# A description; choices and label in one table; no input and nothing between input and answer.
MADE = {"mmlu/default/mmlu_anatomy.yaml": MATHS, "arc/arc_easy.yaml": SCIENCE, "blimp/adjunct_island.yaml": PAIRS}
PROMPTSOURCE = {
    "super_glue/cb": "cb",
    "super_glue/copa": "copa",
    "super_glue/wsc.fixed": "wsc",
    "super_glue/wic": "wic",
    "winogrande/winogrande_xl": "winogrande",
    "hellaswag": "hellaswag",
    "ag_news": "ag_news",
    "trec": "trec",
}


def own_prompt(template, shots, row):
    """Write shots, query and each choice as one text, as scoring does."""
    bare = template.without_description() if shots else template
    examples = [bare.render(shot) for shot in shots]
    said = [Shot(example.input, example.target, example.joint) for example in examples]
    if said:
        said[0] = said[0].after(template.description)
    layout, query = plain(Scoring(end="none"), said), bare.render(row)
    return [layout.text(query.input, choice, query.joint) for choice in query.choices]


def real_rows(name: str, folder: Path, columns: dict[str, str], every: int = 1) -> list[dict]:
    data = real.write(name, folder / "data", every=every) / name / "test.jsonl"
    rows = [json.loads(line) for line in data.read_text().split("\n") if line][:40]
    return [{columns.get(column, column): value for column, value in row.items()} for row in rows]


def their_task(path: Path, rows: list[dict]):
    """Build the harness's task with these rows in each of its splits."""
    import datasets
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks._yaml_loader import load_yaml

    config = load_yaml(path, resolve_func=False)
    config.pop("dataset_kwargs", None)
    config["metric_list"] = [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}]
    config |= {"fewshot_config": {"sampler": "first_n"}, "fewshot_split": "shots"}
    table = datasets.Dataset.from_list(rows)
    splits = {config.get(f"{kind}_split"): table for kind in ("training", "validation", "test")} | {"shots": table}
    return ConfigurableTask(config=config | {"custom_dataset": lambda **_: splits})


def check_against_harness(name: str, rows: list[dict], folder: Path) -> None:
    import lm_eval

    path = Path(lm_eval.__file__).parent / "tasks" / name
    theirs, source = their_task(path, rows), write(folder / "rows.jsonl", rows)
    task = load(TaskSpec(name=str(path), train=source, test=source))
    (template,) = task.templates
    for num_shots in (0, 2):
        for row, doc in zip(task.test, theirs.task_docs, strict=True):
            requests = theirs.construct_requests(doc, theirs.fewshot_context(doc, num_shots), metadata=("", 0, 1))
            expected = ["".join(request.arguments) for request in requests]
            assert own_prompt(template, task.train[:num_shots], row) == expected
            gold = theirs.doc_to_target(doc)
            assert row.label == (theirs.doc_to_choice(doc).index(gold) if isinstance(gold, str) else gold)


@pytest.mark.real_data
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", HARNESS)
def test_real_rows_read_as_in_lm_evaluation_harness(name, tmp_path):
    pytest.importorskip("lm_eval", reason="needs lm-eval: pip install 'peftbench[benchmark]'")
    columns = {old: new for new, old in COLUMNS.get(name, {}).items()}
    check_against_harness(name, real_rows(HARNESS[name], tmp_path, columns), tmp_path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MADE)
def test_rows_with_everything_in_them_read_as_in_lm_evaluation_harness(name, tmp_path):
    pytest.importorskip("lm_eval", reason="needs lm-eval: pip install 'peftbench[benchmark]'")
    check_against_harness(name, MADE[name], tmp_path)


@pytest.fixture(scope="module")
def promptsource():
    """Run promptsource's module of templates, and return its folder of templates and its class."""
    folder = Path(os.environ[CHECKOUT]) / "promptsource"
    standin = types.ModuleType("pkg_resources")
    standin.resource_filename = lambda *_: str(folder / "templates")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "pkg_resources", standin)
        module = types.ModuleType("promptsource_templates")
        exec(compile((folder / "templates.py").read_text(), "templates.py", "exec"), vars(module))
    return folder / "templates", module.DatasetTemplates


@pytest.mark.real_data(CHECKOUT)  # a checkout of promptsource
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", PROMPTSOURCE)
def test_real_rows_read_as_in_promptsource(name, promptsource, tmp_path):
    folder, collection = promptsource
    rows = real_rows(PROMPTSOURCE[name], tmp_path, {}, every=1 if PROMPTSOURCE[name] in ("cb", "copa") else 5)
    source = write(tmp_path / "rows.jsonl", rows)
    task = load(TaskSpec(name=str(folder / name / "templates.yaml"), train=source, test=source))
    theirs = collection(*name.split("/"))
    num_rendered = 0
    for template in task.templates:
        for row in task.test:
            parts = theirs[template.name].apply(dict(row.fields), truncate=False)
            assert template.reads(row) == (parts != [""])
            if template.reads(row):
                example = template.render(row)
                choices = theirs[template.name].get_answer_choices_list(dict(row.fields))
                assert ([example.input, example.target], list(example.choices)) == (parts, choices)
                num_rendered += 1
    assert num_rendered > 60
