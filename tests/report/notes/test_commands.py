"""What the report proposes to type is read by the real command line, and stands for the cells of the records."""

import shlex
from pathlib import Path

import pytest

from peftbench.cli import cells
from peftbench.cli.app import main
from peftbench.report.notes import commands
from peftbench.report.rows.options import again, learner, task_options
from peftbench.report.rows.table import build
from peftbench.spec.cell import Cell, Fold, IclOptions, Scoring, Training
from peftbench.store.record import StartingPoint, Sweep
from peftbench.store.results import Store
from tests.report.records import record

TASK = "lab-hazard"
REFERENCE = Path(__file__).parents[3] / "results" / "reference"
ICL = {
    "fit_shots": {"fit_shots": True},
    "order": {"order": 2},
    "labels": {"labels": "flipped"},
    "ensemble": {"ensemble": "vote"},
    "calibrate": {"calibrate": True},
    "calibrate_by": {"calibrate": True, "calibrate_by": "batch"},
    "content_free": {"calibrate": True, "content_free": ["nothing here", "N/A"]},
    "as_prefix": {"as_prefix": True},
    "select": {"select": "bm25"},
    "embedder": {"select": "embedding", "embedder": "my models/sentences"},
    "pool": {"select": "bm25", "pool": 48},
    "attention": {"attention": "block", "block_shots": 16},
    "block_shots": {"attention": "block", "block_shots": 3},
}
SCORING = {"end": "separator", "separator": " ## \n", "max_input_tokens": 64, "cache": False, "chat": True}
SCORING |= {"answer": "cloze", "pll": False}
SYSTEM = 'be kind,\n"brief" and don\'t guess'
TRAINING = {
    "optimizer": "adamw", "lr": 0.0123456789, "num_steps": 7, "batch_size": 3, "warmup_ratio": 0.5,
    "weight_decay": 1e-5, "scale_parameter": False, "max_grad_norm": 2.0, "lm_loss": 0.0, "unlikelihood_loss": 0.5,
    "length_norm_loss": 2.0, "loss_form": "t-few", "stop": "plateau",
    "label_smoothing": 0.25, "activation_checkpointing": True, "accumulate": 2,
    "train_backbone": True, "backbone_lr": 2e-5,
}  # fmt: skip
PLAIN = {
    "revision": "a branch",
    "templates": [0, 2],
    "limit": 50,
    "draw": "balanced",
    "dtype": "bfloat16",
    "load": "4bit",
}
CONFIGS = (
    {"rank": 4, "alpha": 8.0, "roles": ["q", "v"], "layer_norms": True},
    {"places": "paper"},
    {"r": 8, "target_modules": ["q", "v"], "rank_pattern": {"^a.b": 4}, "init": "a b", "nothing": None, "name": "true"},
)
SEPARATORS = ("\n", " | ", "---")


def icl(**identity):
    return record(task=TASK, **identity)


def tuned(method="lora", model="mini-t0", **identity):
    return record(method, model, TASK, **identity)


def whole(options):
    """Scoring as a record has it: all of it, resolved."""
    return Scoring(end="eos").model_dump(mode="json") | options


def begun(path):
    made = tuned(start_from="a" * 64)
    start = StartingPoint(path=path, sha256="a" * 64, model=None)
    return made.model_copy(update={"learned": made.learned.model_copy(update={"start_from": start})})


def swept():
    made = tuned(training=TRAINING, sweep="lr, 5 rates, 2 folds")
    sweep = Sweep(lr=0.03, trials=[], num_folds=2, num_steps=70, num_held_out=8)
    return made.model_copy(update={"learned": made.learned.model_copy(update={"sweep": sweep})})


def classified():
    made = tuned("knn", method_config={"k": 3, "embedder": "a" * 64}, training=None)
    return made.model_copy(update={"learned": made.learned.model_copy(update={"embedder": "my models/x"})})


def own():
    made = tuned()
    return made.model_copy(update={"task": made.task.model_copy(update={"family": "own data"})})


RECORDS = {
    "icl": icl(),
    "zero-shot": icl(shots=0),
    "another seed": icl(seed=3),
    "a model's path with blanks": icl(model="my models/x's"),
    **{f"icl: {name}": icl(icl=options) for name, options in ICL.items()},
    **{f"icl: {name}": icl(**{name: value}) for name, value in PLAIN.items()},
    **{f"icl: {name}": icl(scoring=whole({name: value})) for name, value in SCORING.items()},
    **{f"separator {text!r}": icl(scoring=whole({"separator": text})) for text in SEPARATORS},
    "a system prompt": icl(scoring=whole({"chat": True, "system": SYSTEM})),
    "an empty system prompt": icl(scoring=whole({"chat": True, "system": ""})),
    "tune": tuned(),
    "tune 8 shots": tuned(shots=8),
    "a model's path with blanks, tuned": tuned(model="my models/x's"),
    "a method of peft": tuned("peft:LORA", method_config=CONFIGS[2]),
    **{f"tune: {name}": tuned(**{name: value}) for name, value in PLAIN.items()},
    **{f"tune: {name}": tuned(training={name: value}) for name, value in TRAINING.items()},
    **{f"config {number}": tuned(method_config=config) for number, config in enumerate(CONFIGS)},
    "a classifier": classified(),
    "whole training": tuned(training=TRAINING, method_config=CONFIGS[0]),
    "sweep": swept(),
    "start_from": begun("my adapters/a b"),
    "own rows": own(),
}


def test_every_option_is_among_the_records():
    assert set(ICL) == set(IclOptions.model_fields)
    assert {*SCORING, "system"} == set(Scoring.model_fields)
    assert set(TRAINING) == set(Training.model_fields)
    elsewhere = {"learner", "model", "task", "shots", "seed", "method", "method_config", "training", "icl", "scoring"}
    elsewhere |= {"fold", "source_task"}
    on_a_machine = {"device", "device_map", "allow_pickle", "server"}
    assert set(Cell.model_fields) == {*PLAIN, *elsewhere, *on_a_machine, "start_from", "sweep"}


def test_a_served_model_s_server_has_to_be_filled_in_and_it_is_never_tuned():
    words = again([icl(model="served:mine")]).split()
    assert words[:8] == ["peftbench", "icl", "--model", "served:mine", "--server", "URL", "--tokenizer", "NAME"]
    assert learner("ia3", "served:mine", 32)[:4] == ["peftbench", "tune", "--model", "MODEL"]


@pytest.fixture
def cells_of(monkeypatch):
    """What the command line would run, as cells."""
    taken = []
    monkeypatch.setattr(cells, "carry_out", lambda some, *_: taken.extend(some))

    def run(*commands):
        for command in commands:
            program, *words = shlex.split(command)
            assert (program, main(words)) == ("peftbench", 0)
        return taken

    return run


def settings_of(cell):
    """A cell as the identity of a record has it; "eos" stands for the end that goes with the kind of model."""
    scoring = cell.scoring.model_copy(update={"end": cell.scoring.end or "eos"})
    return {
        "model": cell.model,
        "shots": cell.shots,
        "seed": cell.seed,
        "task": cell.task.name,
        "method": cell.method,
        "method_config": cell.method_config,
        "training": cell.training,
        "icl": cell.icl.model_dump(mode="json"),
        "scoring": scoring.model_dump(mode="json"),
        "start_from": cell.start_from and str(cell.start_from),
        "sweep": cell.sweep,
        **{name: cell.model_dump(mode="json")[name] for name in PLAIN},
    }


def expected(made):
    identity, start = made.identity, made.learned.start_from
    config = {name: value for name, value in (identity.get("method_config") or {}).items() if value is not None}
    config |= {"embedder": made.learned.embedder} if "embedder" in config else {}
    end = "eos" if made.model.is_encoder_decoder else "none"
    scoring = identity.get("scoring") or whole({"end": end})
    return {
        **{name: identity[name] for name in ("model", "shots", "seed", "task", "method")},
        "method_config": config,
        "training": identity.get("training") or {},
        "icl": IclOptions(**identity.get("icl", {})).model_dump(mode="json"),
        "scoring": scoring | {"end": "eos"} if scoring["end"] == end else scoring,
        "start_from": start and start.path,
        "sweep": "lr" if made.learned.sweep else None,
        **{name: identity.get(name, Cell.model_fields[name].default) for name in PLAIN},
    }


@pytest.mark.parametrize("kind", RECORDS)
def test_the_command_of_a_row_makes_its_records_again(kind, cells_of):
    made = RECORDS[kind]
    (table,) = build([made])
    found = [
        settings_of(cell)
        for cell in cells_of(*commands.again(table, table.rows[0]))
        if cell.method == made.learned.method
    ]
    assert expected(made) in found
    if "order" not in kind:
        assert found == [expected(made)]


@pytest.mark.parametrize("split", [{"folds": 3, "group": "a column"}, {"fold": {"index": 1, "of": 3}}])
def test_the_command_of_joined_folds_or_of_one_has_a_cell_for_each_fold(split, cells_of):
    for made in (icl(shots=8, seed=2, **split), tuned(seed=2, **split)):
        (table,) = build([made])
        group = split.get("group")
        for command in (*commands.again(table, table.rows[0]), again([made])):
            found = [cell for cell in cells_of(command) if cell.method == made.learned.method][-3:]
            assert [cell.fold for cell in found] == [Fold(index=index, of=3, group=group) for index in range(3)]
            assert {(cell.seed, cell.shots) for cell in found} == {(2, made.identity["shots"])}


def test_own_rows_of_folds_need_no_test_file():
    made = own()
    joined = made.model_copy(update={"identity": made.identity | {"folds": 3}})
    assert "--test" in again([made])
    assert "--test" not in again([joined])


@pytest.mark.parametrize("kind", RECORDS)
def test_the_commands_on_the_same_data_and_model_can_be_typed(kind, cells_of):
    made = RECORDS[kind]
    (table,) = build([made])
    (row,) = table.rows
    shared = ("model", "seed", "task", "scoring", *PLAIN)
    for command in (commands.icl(table, row, 4), commands.tune(table, row, "ia3")):
        cell = settings_of(cells_of(command)[-1])
        assert {name: cell[name] for name in shared} == {**{name: expected(made)[name] for name in shared}, "seed": 0}
    moved = settings_of(cells_of(commands.transfer(made, made, [TASK]))[-1])
    same = ("model", "task", "shots", "method", *PLAIN)
    assert {name: moved[name] for name in same} == {name: expected(made)[name] for name in same}


@pytest.mark.parametrize(("end", "option"), [("none", ""), ("eos", " --end eos")])
def test_how_answers_end_is_typed_where_the_kind_of_model_does_not_decide_it(end, option):
    made = icl(scoring=whole({"end": end}))
    decoder = made.model_copy(update={"model": made.model.model_copy(update={"is_encoder_decoder": False})})
    (table,) = build([decoder])
    assert commands.again(table, table.rows[0]) == [f"peftbench icl --model mini-gpt --shots 32 --task {TASK}{option}"]


@pytest.mark.parametrize("names", [("lab-odd", "lab-same-kind", "lab-shelf"), ("lab-hazard", "lab-region")])
def test_a_row_is_made_again_with_all_its_tasks_seeds_and_orders(names, cells_of):
    made = [
        record(task=task, seed=seed, icl={"order": order} if order else {})
        for task in names
        for seed in (0, 2)
        for order in (0, 1, 2)
    ]
    (table,) = build(made)
    found = [(cell.task.name, cell.seed, cell.icl.order) for cell in cells_of(*commands.again(table, table.rows[0]))]
    assert sorted(found) == sorted((one.task.name, one.seed, one.identity["icl"].get("order", 0)) for one in made)


@pytest.mark.parametrize("study", ["icl-sensitivity", "losses", "lora-rank", "figure2"])
def test_the_commands_of_the_reference_rows_make_their_records_again(study, cells_of):
    rows = [(table, row) for table in build(Store(REFERENCE / study).all()) for row in table.rows]
    proposed = [settings_of(cell) for cell in cells_of(*(text for pair in rows for text in commands.again(*pair)))]
    records = [expected(made) for _, row in rows for made in row.records]
    assert len(records) > 50
    assert [made for made in records if made not in proposed] == []


def test_seeds_may_be_others():
    (table,) = build([icl()])
    (command,) = commands.again(table, table.rows[0], range(3))
    assert command.endswith(" --task lab-hazard --seeds 0,1,2")


LAB = ("lab-completion", "lab-hazard", "lab-nli2", "lab-region")


@pytest.mark.parametrize(
    ("tasks", "options"),
    [
        (LAB, [[]]),
        (("rte",), [["--task", "rte"]]),
        (("rte", "cb"), [["--task", "rte"], ["--task", "cb"]]),
        (("rte", "mine"), [["--task", "rte"], ["--task", "PATH/mine.toml"]]),
    ],
)
def test_tasks_are_named_by_their_group_where_they_are_one(tasks, options):
    assert task_options(tasks) == options


def test_no_task_file_is_read_for_it(monkeypatch):
    """The report sees records, and plain names."""
    for reader in ("schema.read", "load._packaged"):
        monkeypatch.setattr(f"peftbench.tasks.{reader}", lambda *_: pytest.fail("a task's file was read"))
    (table,) = build([record(task=task) for task in LAB])
    assert commands.again(table, table.rows[0]) == ["peftbench icl --model mini-gpt --shots 32"]


def test_the_command_of_a_row_has_its_settings_as_they_are_typed():
    made = [record("lora", "mini-t0", method_config={"rank": 4, "roles": roles}) for roles in (["q", "v"], "all")]
    (table,) = build(made)
    plain = "peftbench tune --model mini-t0 --method lora --task PATH/nli.toml --set rank=4"
    assert [commands.again(table, row) for row in table.rows] == [
        [f"{plain} --set roles=all"],
        [f'{plain} --set \'roles=["q", "v"]\''],
    ]
