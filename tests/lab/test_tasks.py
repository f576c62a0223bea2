"""The lab's task files: rows as drawn, labels in range, classes balanced, shots short enough."""

import collections
import json
import tomllib
from typing import Any

import jinja2
import pytest

from peftbench.lab.text.heldout import DIET, HAZARD, HELD_OUT, REGION, SHELF, VALIDATION
from peftbench.lab.text.rows import FOLDER, draw_rows
from peftbench.lab.text.train_tasks import TRAIN_TASKS
from peftbench.lab.world.world import HELD_OUT_GROUPS, World
from peftbench.tasks.rows import stream

TASKS = sorted({**HELD_OUT, **VALIDATION, **TRAIN_TASKS})
GROUPS = {"lab-all": HELD_OUT, "lab-validation": VALIDATION, "lab-train": TRAIN_TASKS}


def spec(task: str) -> dict[str, Any]:
    return tomllib.loads((FOLDER / f"{task}.toml").read_text())


def rows(task: str, file: str) -> list[dict[str, Any]]:
    return list(stream(FOLDER / task / f"{file}.parquet"))


def choices(template: dict[str, Any], row: dict[str, Any]) -> list[str]:
    env = jinja2.Environment()
    if isinstance(template["choices"], str):
        return env.from_string(template["choices"]).render(row).split("|||")
    return [env.from_string(choice).render(row) for choice in template["choices"]]


def test_every_maker_has_its_task_file_and_every_file_its_maker() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.toml")) == TASKS


@pytest.mark.parametrize("task", TASKS)
def test_committed_rows_are_what_the_world_draws(task: str) -> None:
    assert list(draw_rows(task, World.generate())) == [rows(task, "train"), rows(task, "test")]


@pytest.mark.parametrize("task", TASKS)
def test_the_file_names_its_group_and_three_to_five_templates(task: str) -> None:
    table = spec(task)
    assert task in GROUPS[table["group"]]
    assert table["name"] == task
    assert 3 <= len(table["templates"]) <= 5


@pytest.mark.parametrize("task", TASKS)
def test_classes_are_balanced_and_chance_is_their_share(task: str) -> None:
    counts = collections.Counter(row["label"] for row in rows(task, "test"))
    assert sum(counts.values()) == 300
    assert max(counts.values()) - min(counts.values()) <= 3
    assert spec(task)["chance"] == pytest.approx(1 / len(counts), abs=1e-4)


@pytest.mark.parametrize("task", TASKS)
def test_no_test_row_is_a_training_row(task: str) -> None:
    train = {json.dumps({**row, "label": None}) for row in rows(task, "train")}
    assert not train & {json.dumps({**row, "label": None}) for row in rows(task, "test")}


@pytest.mark.parametrize("task", TASKS)
def test_each_template_gives_distinct_choices_and_holds_no_label(task: str) -> None:
    for template in spec(task)["templates"]:
        for row in rows(task, "test")[:50]:
            texts = choices(template, row)
            assert len(set(texts)) == len(texts) > row["label"]
        assert "{{label" not in template["text"]


@pytest.mark.parametrize("task", TASKS)
def test_a_shot_has_at_most_thirty_words_on_average(task: str) -> None:
    for template in spec(task)["templates"]:
        text = jinja2.Template(template["text"].replace("|||", ""))
        words = [len(text.render(**row, choice="x").split()) for row in rows(task, "test")]
        assert sum(words) / len(words) <= 30


def test_the_default_group_is_two_attributes_and_two_relations() -> None:
    assert [task for task in TASKS if spec(task).get("default")] == [
        "lab-completion",
        "lab-hazard",
        "lab-nli2",
        "lab-region",
    ]


def test_groupings_of_held_out_labels_are_guarded() -> None:
    joined = [group for groups in (HAZARD[:1], REGION, DIET, SHELF) for group in groups if len(group) > 1]
    assert {frozenset(group) for group in joined} == set(HELD_OUT_GROUPS)
