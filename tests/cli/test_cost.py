"""`peftbench cost` as a person types it: no weights, no network, and no number where the input makes no sense."""

import json
import re
import shlex
from pathlib import Path

import pytest

from peftbench.cli.app import main
from peftbench.costs import count
from tests.tiny import tiny_folder


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")  # of the terminal that the tests are run from, where there is one


def cost(words, capsys):
    assert main(["cost", *shlex.split(words)]) == 0
    return capsys.readouterr().out


def test_the_table_fits_100_columns_and_has_all_strategies(capsys):
    out = cost("--model t0-11b --model gpt3-175b --method ia3 --method lora --shots 41", capsys)
    assert max(map(len, out.splitlines())) <= 100
    for title in ("zero-shot", "ICL", "ICL cached", "ia3", "lora", "lora unmerged"):
        assert any(line.startswith(title + " ") for line in out.splitlines()), title
    assert "t0-11b: 11,135,332,352 parameters, encoder-decoder, 24 + 24 layers" in out
    assert "more than the 2,048 positions" in out
    assert "counted as dense" in out


def test_json_has_unit_kind_and_convention_for_each_number(capsys):
    document = json.loads(
        cost("--model t0-11b --method ia3 --query-tokens 107 --choice-tokens 4 --format json", capsys)
    )
    (model,) = document["models"]
    costs = [item for strategy in model["strategies"] for item in strategy["costs"]]
    assert all(item["unit"] and item["kind"] and item["convention"] for item in costs)
    plain = next(item for item in costs if (item["name"], item["kind"]) == ("inference_flops_per_query", "counted"))
    assert plain["value"] == 1_168_657_743_872
    assert {point["icl"]["strategy"] for point in document["break_even"]} == {"ICL"}


def test_so_many_queries_cost_in_all(capsys):
    document = json.loads(cost("--model gpt3-125m --method ia3 --queries 500 --format json", capsys))
    for strategy in document["models"][0]["strategies"]:
        counted = {item["name"]: item["value"] for item in strategy["costs"] if item["kind"] == "counted"}
        once = counted["training_flops"] + counted["once_flops"]
        assert strategy["in_all"]["flops"] == once + 500 * counted["inference_flops_per_query"]


def test_the_next_step_is_what_was_priced(capsys):
    assert main(shlex.split("cost --model mini-t0 --method lora --set rank=2 --set 'roles=[\"q\"]'")) == 0
    step = capsys.readouterr().err.split("next: ")[1].strip()
    assert shlex.split(step)[1:] == shlex.split("tune --model mini-t0 --method lora --set rank=2 --set 'roles=[\"q\"]'")


def test_a_config_file_is_enough(capsys):
    model = tiny_folder("llama", Path("m"))
    (model / "model.safetensors").unlink()
    assert "decoder-only, 2 layers of 16 features" in cost("--model m/config.json --method lora --set rank=2", capsys)


def test_the_audit_names_what_differs(capsys):
    out = cost("--audit t-few", capsys)
    assert out.count("DIFFERS") == 6
    assert "without the query's 103 tokens" in out
    assert max(map(len, out.splitlines())) <= 100
    assert len(json.loads(cost("--audit t-few --format json", capsys))["checks"]) == 19


def test_measured_values_stand_beside(capsys):
    tiny_folder("gpt2", Path("m"))
    words = "--model m --method ia3 --shots 2 --tokens-per-shot 5 --query-tokens 9 --batch-size 2 --measure"
    measured = json.loads(cost(f"{words} --device cpu --format json", capsys))["models"][0]["measured"]
    names = {item["of"] or item["name"] for item in measured}
    assert names == {
        "zero-shot query", "ICL query", "ICL cached query", "ia3 query", "ia3 training step",
        "matmul_flops_per_second", "peak_process_bytes",
    }  # fmt: skip
    assert all(item["kind"] == "measured" and item["value"] > 0 and "thread" in item["convention"] for item in measured)
    parts = {item["name"] for item in measured if item["of"] == "ICL cached query"}
    assert parts == {"median_seconds", "p95_seconds", "per_second", "matmul_share"}


def test_what_cannot_be_measured_is_absent_with_its_reason(capsys):
    tiny_folder("gpt2", Path("m"))
    words = "--model m --method ia3 --shots 99 --tokens-per-shot 9 --query-tokens 9 --batch-size 2 --measure"
    words += " --device cpu"
    document = json.loads(cost(f"{words} --format json", capsys))["models"][0]["measured"]
    measured = {(item["of"], item["name"]): item for item in document}
    assert measured["ICL query", "median_seconds"]["value"] is None
    assert "takes 512" in measured["ICL query", "median_seconds"]["reason"]
    assert "'m' takes 512" in " ".join(cost(words, capsys).split())


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        ("--model t0-11", "unknown model 't0-11'", "did you mean 't0-11b'?"),
        ("--method ia", "unknown method 'ia'", "did you mean 'ia3'?"),
        ("--method lora --set rnk=2", "unknown setting of lora 'rnk'", "did you mean 'rank'?"),
        ("--method lora --set rank=0", "method 'lora': rank", ""),
        ("--set rank=2", "--set belongs to one method", "--method lora --set rank=8"),
        ("--shots -1", "shots = -1 is no count", "from 0"),
        ("--shots 1000000000000", "shots = 1,000,000,000,000 is no count", "to 1,000,000,000"),
        ("--choice-tokens 200", "choices of 200 tokens in a query of 103", "more than all its choices"),
        ("--choice-tokens two", "--choice-tokens 'two' is no list of whole numbers", ""),
        ("--audit gpt-4", "unknown audit 'gpt-4'", "t-few"),
        ("--model gpt3-125m --measure", "'gpt3-125m' is known by its shapes only", "weights"),
        ("--model odd/config.json", "'odd/config.json': 5 heads do not divide 24 features", "check the sizes"),
        ("--fit 24", "--fit '24' is no size of memory", "24GiB is 24 x 2^30"),
        ("--fit 24XB", "--fit '24XB' is no size of memory", "24GB is 24 x 10^9 bytes"),
        ("--fit -24GB", "--fit '-24GB' is no size of memory", "a number above 0"),
        ("--fit 0GB", "--fit '0GB' is no size of memory", "a number above 0"),
        ("--fit nanGB", "--fit 'nanGB' is no size of memory", "a number above 0"),
        ("--memory --verify", "--prices, --audit, --verify and --measure show other things", "one command for each"),
        ("--memory --model t0-11", "unknown model 't0-11'", "did you mean 't0-11b'?"),
        ("abc", "record 'abc' can be verified", "--verify RECORD"),
        ("--verify abc", "there is no record 'abc' in 'results'", "an id"),
        ("--verify abc --model mini-gpt", "record 'abc' can be verified", "without --model"),
        ("--verify --model gpt3-6.7b --method fishmask", "fishmask looks at values", "up to 100,000,000"),
        ("--model bert/config.json", "unknown model family 'electra'", "of these families: t5"),
    ],
)
def test_wrong_input_is_one_clear_line(words, message, hint, capsys):
    Path("odd").mkdir()
    odd = {"model_type": "gpt2", "n_embd": 24, "n_layer": 1, "n_head": 5, "vocab_size": 9, "n_positions": 9}
    Path("odd/config.json").write_text(json.dumps(odd))
    Path("bert").mkdir()
    Path("bert/config.json").write_text('{"model_type": "electra"}')
    assert main(["cost", *words.split()]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    error = err[err.index("error: ") :]
    assert error.startswith(f"error: {message}")
    assert hint in error.partition("\n\nhint: ")[2]


def test_counts_are_verified_for_a_model_and_its_methods(capsys):
    tiny_folder("gpt2", Path("m"))
    out = cost("--verify --model m --method ia3 --method lora", capsys)
    assert max(map(len, out.splitlines())) <= 100
    assert out.count("agrees") == 4
    document = json.loads(cost("--verify --model m --query-tokens 9 --choice-tokens 2,1 --format json", capsys))
    (line,) = document["verified"]
    assert line["counted"] == line["kernels"] == line["graph"] > 0
    assert line["query"] == {"shot_tokens": 0, "input_tokens": 6, "choice_tokens": [1, 0]}


def test_a_count_that_is_not_what_runs_exits_with_1(capsys, monkeypatch):
    tiny_folder("gpt2", Path("m"))
    right = count.head_flops
    monkeypatch.setattr(count, "head_flops", lambda sizes, stream: 2 * right(sizes, stream))
    assert main(["cost", "--verify", "--model", "m"]) == 1
    assert "DIFFERS" in capsys.readouterr().out
    assert main(["cost", "--verify", "--model", "m", "--format", "json"]) == 1
    assert not json.loads(capsys.readouterr().out)["verified"][0]["agrees"]


def test_a_record_is_verified_by_its_id_and_by_its_file(capsys):
    tiny_folder("gpt2", Path("m"))
    data = (
        "--task lab-nli2 --model m --shots 2 --limit 4 --templates 0 --seeds 0 --max-input-tokens 20 --results out -q"
    )
    assert main(["tune", "--method", "ia3", "--set", "num_steps=1", *data.split()]) == 0
    capsys.readouterr()
    verified = []
    for path in Path("out/records").glob("*.json"):
        words = f"{path.stem} --results out", path
        by_id, by_file = (json.loads(cost(f"--verify {name} --format json", capsys))["verified"] for name in words)
        assert by_id == by_file
        assert all(line["agrees"] for line in by_id)
        verified += [line["of"] for line in by_id]
    assert sorted(verified) == ["ia3 query", "ia3 training step", "query"]  # tuning runs zero-shot beside


def test_memory_is_shown_by_part_and_adds_up(capsys):
    out = cost("--model t0-11b --method ia3 --memory", capsys)
    assert max(map(len, out.splitlines())) <= 100
    assert [line.split()[:3] for line in out.splitlines() if line.startswith("ia3")] == [
        ["ia3", dtype, checkpoints] for dtype in ("float32", "bfloat16", "4bit") for checkpoints in ("no", "yes")
    ]
    document = json.loads(cost("--model t0-11b --method ia3 --memory --format json", capsys))
    assert (document["unit"], document["kind"]) == ("bytes", "counted")
    for use in (use for model in document["models"] for use in model["uses"]):
        parts = [value for name, value in use["peak"].items() if name != "moment"]
        assert sum(parts) == use["total_bytes"] > 0
    assert document["models"][0]["uses"][0]["peak"]["weights"] == 4 * 11_135_332_352


def test_methods_that_change_weights_have_no_row_of_four_bits(capsys):
    out = cost("--model gpt3-125m --method full --memory", capsys)
    dtypes = [line.split()[1] for line in out.splitlines() if re.match("full +(float|bf|4)", line)]
    assert dtypes == ["float32", "float32", "bfloat16", "bfloat16"]
    assert "full changes the weights themselves" in out


def test_what_fits_of_a_model_is_shown_with_the_largest_batch(capsys):
    out = cost("--model t0-11b --method ia3 --fit 24GB", capsys)
    assert max(map(len, out.splitlines())) <= 100
    assert "24,000,000,000 bytes" in out
    fits = json.loads(cost("--model gpt3-125m --method ia3 --fit 2gib --format json", capsys))
    assert fits["room_bytes"] == 2 * 2**30
    assert all(use["total_bytes"] <= fits["room_bytes"] for use in fits["models"][0]["uses"])
    assert "nothing of it fits in 1,000 bytes" in cost("--model gpt3-125m --fit 1kB", capsys)


def test_without_a_model_all_that_have_a_name_are_asked_for(capsys):
    out = cost("--method ia3 --fit 24GB", capsys)
    assert max(map(len, out.splitlines())) <= 100
    lines = {tuple(line.split()[:2]): line.split()[2:] for line in out.splitlines()}
    assert "-" not in lines["mini-bert", "zero-shot"]
    assert ("mini-bert", "ICL") not in lines  # positions, and no workload, say how many shots
    assert lines["t0-11b", "ia3"][1] == "-"
    assert "*" in " ".join(lines["t0-11b", "ia3"])
    assert lines["gpt3-175b", "zero-shot"][1:] == ["-", "-", "-"]
    assert "-" not in lines["mini-t0", "ICL"]
