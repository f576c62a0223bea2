"""The commands as a person types them, on tiny models and rows of one's own."""

import json
from pathlib import Path

import pytest

from peftbench.cli import cells
from peftbench.cli.app import main
from tests.report.records import record
from tests.tiny import tiny_folder

ROWS = "text,label\n" + "".join(f"the premise number {i},{'yes' if i % 2 else 'no'}\n" for i in range(8))
DATA = [
    "--train",
    "rows.csv",
    "--test",
    "rows.csv",
    "--template",
    "{{text}} true? ||| {{label}}",
    "--choices",
    "no,yes",
]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {family: str(tiny_folder(family, root / family)) for family in ("t5", "gpt2")}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("rows.csv").write_text(ROWS)


def icl(models, *words):
    return main(["icl", "--model", models["gpt2"], "--shots", "2", *DATA, *words])


def tune(models, *words):
    return main(
        ["tune", "--model", models["t5"], "--method", "ia3", "--shots", "4", "--set", "num_steps=2", *DATA, *words]
    )


def test_icl_shows_its_table_and_says_what_is_next(models, capsys):
    assert icl(models) == 0
    out, err = capsys.readouterr()
    assert "ICL" in out
    assert "[1/1] rows: ICL on" in err
    assert (
        f"next: peftbench tune --method ia3 --model {models['gpt2']} --shots 2 --train rows.csv --test rows.csv" in err
    )


def test_tune_records_zero_shot_and_tuned_and_report_shows_all(models, capsys):
    assert tune(models) == 0
    assert icl(models, "--quiet") == 0
    capsys.readouterr()
    assert main(["report"]) == 0
    out, err = capsys.readouterr()
    rows = [line.split()[0] for line in out.splitlines() if line.startswith(("ICL", "zero-shot", "ia3"))]
    assert set(rows) == {"ICL", "ia3", "zero-shot"}  # a long path of a model splits the table
    assert "next: peftbench icl --model" in err
    assert Path("results/report.csv").read_text().count("\n") == 4


def test_a_sweep_says_which_rate_it_chose_among_which(models, capsys):
    assert tune(models, "--sweep", "lr") == 0
    tables = [json.loads(path.read_text()) for path in Path("results/records").iterdir()]
    (sweep,) = [table["learned"]["sweep"] for table in tables if table["learned"]["sweep"]]
    rates = ", ".join(f"{trial['lr']:g}" for trial in sweep["trials"])
    assert f"learning rate {sweep['lr']:g}, chosen by --sweep lr among {rates}\n" in capsys.readouterr().err


def test_shots_as_a_prefix_say_where_the_adapter_is_and_predict_takes_it(models, capsys):
    assert icl(models, "--as-prefix") == 0
    remarks = capsys.readouterr().err
    (adapter,) = Path("results/adapters").glob("*/template-0")
    assert f"adapter: {adapter}; `peftbench predict --adapter {adapter} --input ROWS` uses it" in remarks
    assert main(["predict", "--adapter", str(adapter), "--input", "rows.csv", "--output", "answers.csv"]) == 0


def test_a_second_identical_command_shows_what_is_there(models, capsys):
    icl(models)
    first = capsys.readouterr().out
    assert icl(models) == 0
    out, err = capsys.readouterr()
    assert out == first
    assert "there already" in err
    assert icl(models, "--force") == 0
    assert "there already" not in capsys.readouterr().err


def test_the_second_time_json_is_one_document_as_well(models, capsys):
    icl(models, "--format", "json")
    first = capsys.readouterr().out
    assert icl(models, "--format", "json") == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == json.loads(first)
    assert "there already" in err


def test_shots_that_were_left_out_show_in_line_and_table(models, capsys):
    Path("long.csv").write_text("text,label\n" + "".join(f"{'word ' * 50},{label}\n" for label in ("no", "yes") * 4))
    assert icl(models, "--train", "long.csv", "--shots", "8", "--fit-shots") == 0
    out, err = capsys.readouterr()
    assert "ICL on" in err
    assert "1 of 8 shots, seed 0" in err
    assert "1 of 8" in out
    assert "1 of 8 shots, as many as fit the model's positions" in " ".join(out.split())


def test_after_ctrl_c_nothing_half_written_is_left_and_the_same_command_goes_on(models, capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("peftbench.learners.optimizer.Optimizer.step", interrupted)
        assert tune(models) == 130
    assert capsys.readouterr().err.endswith("nothing half-written is left; the same command goes on\n")
    assert len(list(Path("results/records").iterdir())) == 1
    assert sorted(path.name for path in Path("results").iterdir()) == ["records", "scores"]
    assert tune(models) == 0
    err = capsys.readouterr().err
    assert "[1/2] rows: zero-shot" in err
    assert "there already" in err.partition("[2/2]")[0]
    assert "there already" not in err.partition("[2/2]")[2]
    assert len(list(Path("results/records").iterdir())) == 2


def test_quiet_says_nothing_but_the_result(models, capsys):
    icl(models, "--quiet")
    assert capsys.readouterr().err == ""


def test_json_is_one_document(models, capsys):
    icl(models, "--format", "json")
    (table,) = json.loads(capsys.readouterr().out)["tables"]
    assert table["rows"][0]["method"] == "ICL"


def test_zero_shot_needs_one_seed_only(models, capsys):
    main(["icl", "--model", models["gpt2"], "--shots", "0", "--seeds", "0,1,2", *DATA])
    capsys.readouterr()
    assert len(list(Path("results/records").glob("*.json"))) == 1


def test_settings_reach_the_record(models, capsys):
    tune(models, "--set", "lr=0.5", "--format", "json")
    capsys.readouterr()
    records = [json.loads(path.read_text()) for path in Path("results/records").glob("*.json")]
    (training,) = [record["learned"]["training"] for record in records if record["learned"]["method"]]
    assert (training["lr"], training["num_steps"]) == (0.5, 2)


def test_an_unknown_setting_writes_nothing(models, capsys):
    assert tune(models, "--set", "rankk=8") == 2
    assert "unknown setting of ia3 'rankk'" in capsys.readouterr().err
    assert not Path("results").exists()


def test_a_recipe_runs_its_grid(models, capsys):
    Path("task.toml").write_text(
        'name = "mine"\nfamily = "f"\ndescription = "d"\nversion = 1\nmetric = "accuracy"\n'
        '[data]\ntrain = "rows.csv"\ntest = "rows.csv"\n[label]\nfield = "label"\nnames = ["no", "yes"]\n'
        '[[templates]]\nname = "t"\ntext = "{{text}} ||| {{choice}}"\nchoices = ["no", "yes"]\n'
    )
    Path("grid.toml").write_text(
        f'name = "g"\ndescription = "d"\n[[run]]\nlearner = "icl"\nmodel = "{models["gpt2"]}"\ntask = "task.toml"\n'
        "shots = [0, 2]\nseeds = [0, 1]\n"
    )
    assert main(["run", "grid.toml"]) == 0
    out, err = capsys.readouterr()
    assert "[3/3] mine: ICL on" in err
    assert "2 x 1" in out


def test_a_listing_is_data_if_asked(capsys):
    assert main(["list", "tasks", "--format", "json"]) == 0
    tasks = {line["task"]: line for line in json.loads(capsys.readouterr().out)}
    assert tasks["rte"]["chance"] == 0.5


def test_methods_are_listed_with_their_paper(capsys):
    assert main(["list", "methods"]) == 0
    assert "2205.05638" in capsys.readouterr().out


def test_a_record_of_before_metrics_were_computed_is_read_back_as_an_accuracy():
    made = record()
    old = made.model_copy(update={"task": made.task.model_copy(update={"metric": "f1"})})
    assert cells._line(old).startswith("nli: ICL on mini-gpt, 32 shots, seed 0: accuracy 55.0, median of 2 templates")
