"""A served model gives what the same model gives here, and a server that errs is found out."""

import json
import os
import threading
import time
from collections import Counter
from pathlib import Path

import huggingface_hub
import pandas as pd
import pytest

from peftbench.cli.app import main
from peftbench.errors import ModelError
from peftbench.flow.run import run
from peftbench.served import backbone, client
from peftbench.spec.cell import Cell, IclOptions, Server, TaskSpec
from peftbench.store.results import Store
from tests.served.stub import DIALECTS, FORMS, MODEL, serving

OPTIONS = {
    "zero-shot": {"shots": 0},
    "shots": {},
    "calibrated": {"icl": {"calibrate": True}},
    "calibrated by rows": {"icl": {"calibrate": True, "calibrate_by": "batch"}},
    "ensemble": {"icl": {"ensemble": "mean"}},
    "flipped": {"icl": {"labels": "flipped", "order": 1}},
    "chosen": {"icl": {"select": "bm25"}},
    "cut": {"scoring": {"max_input_tokens": 6, "end": "eos"}},
    "separated": {"scoring": {"separator": " ## ", "end": "separator", "cache": False}},
}
NUM_CANARY = 9
FAULTS = [
    ("bias", "unforced", "ignores logit_bias"),
    ("bias", "processed", "two tokens that exclude each other"),
    ("bias", "nulls", "None in place of a log-probability"),
    ("bias", "one too many", "the server gives 2"),
    ("bias", "tokenizer", "has other tokens on the server than here"),
    ("bias", "cuts prompts", "the server read 100 tokens, and 1[0-9]+ were sent"),
    ("bias", "two models", "asked again, the server gives the same"),
    ("bias", "html", "what is no JSON: <html>"),
    ("bias", "truncated", "what is no JSON"),
    ("ids", "nulls", "None in place of a log-probability"),
    ("ids", "counts", "the server read [0-9]+ tokens, and [0-9]+ were sent"),
    ("echo", "two models", "asked again after 1[0-9]+ tokens"),
    ("echo", "tokenizer", "the server has the text .* that are .* here: another tokenizer"),
    ("sglang", "tokenizer", "the server has the text .* that are .* here: another tokenizer"),
    ("echo", "echo ignored", "it does not echo prompts"),
    ("echo", "off by one", "when they are asked for"),
    ("echo", "nulls", "None in place of a log-probability"),
    ("echo", "one too many", "one token was to be generated, and 2 were"),
    ("sglang", "off by one", "when they are asked for"),
    ("sglang", "nulls", "None in place of a log-probability"),
]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(client, "BACKOFF", 0.01)


def cell(server=None, **fields):
    fields = {"shots": 2, "templates": (0,), "limit": 3, **fields}
    fields["icl"] = IclOptions(**fields.get("icl", {}))
    task = TaskSpec(name="lab-hazard")
    return Cell(learner="icl", model=f"served:{MODEL}" if server else MODEL, task=task, server=server, **fields)


def probing():
    """How many requests the probe takes."""
    with serving("bias") as (stub, server):
        backbone.load(f"served:{MODEL}", server)
        return stub.requests


def scored(store, made):
    (outcome,) = run([made], store)
    return outcome.record, store.read_scores(outcome.record.id)


# All options in one form; in the others what scores differ in: no shots, shots, and queries of their own kind.
PAIRS = [(FORMS[0], options) for options in OPTIONS]
PAIRS += [(form, options) for form in FORMS[1:] for options in ("zero-shot", "calibrated")]


@pytest.mark.parametrize(("form", "options"), PAIRS)
def test_served_is_local(form, options, tmp_path):
    if options == "chosen":
        pytest.importorskip("bm25s")
    store, fields = Store(tmp_path), OPTIONS[options]
    with serving(form) as (stub, server):
        record, served = scored(store, cell(server, **fields))
        assert stub.requests > 0
    local_record, local = scored(store, cell(**fields))
    pd.testing.assert_frame_equal(served, local, atol=1e-5, rtol=0)
    assert [result.right for result in record.results] == [result.right for result in local_record.results]
    assert record.model.server.dialect == DIALECTS[form]
    assert record.work["served_sent_tokens"] > 0
    assert not list(tmp_path.glob("answers/*"))


@pytest.mark.parametrize(("form", "fault", "text"), FAULTS)
def test_a_fault_is_named_before_the_first_cell(form, fault, text, tmp_path):
    with serving(form, fault, dialect=DIALECTS[form]) as (_, server), pytest.raises(ModelError, match=text) as error:
        list(run([cell(server)], Store(tmp_path)))
    assert error.value.hint
    assert "\n" not in str(error.value)
    assert not list(tmp_path.glob("records/*"))


def test_the_noise_is_that_of_prompts_as_long_as_shots_are(tmp_path):
    with serving("bias") as (stub, server):
        rows, times = stub.rows, Counter()

        def moving(ids):
            times[tuple(ids)] += 1
            return rows(ids) - (0.05 if len(ids) > 50 and times[tuple(ids)] % 2 else 0)

        stub.rows = moving
        record, _ = scored(Store(tmp_path), cell(server))
    assert record.model.server.noise == pytest.approx(0.05, abs=1e-6)


@pytest.mark.parametrize("form", ["bias", "ids"])
def test_another_tokenizer_is_seen_by_texts_where_there_is_no_page_for_ids(form):
    with serving(form, "tokenizer") as (stub, server):
        stub.is_bare = True
        with pytest.raises(ModelError, match="has the text") as error:
            backbone.load(f"served:{MODEL}", server)
    assert "--tokenizer" in error.value.hint


def test_several_models_on_one_server_are_told_apart():
    with serving("ids") as (stub, server):
        get = stub.get
        models = [{"id": "base", "max_model_len": 10}, {"id": MODEL, "max_model_len": 1024, "meta": {"ftype": "Q8"}}]
        stub.get = lambda path: {"data": models} if path == "/v1/models" else get(path)
        served = backbone.load(f"served:{MODEL}", server)
        assert (served.max_positions, served.quantization) == (1024, "Q8")
        with pytest.raises(ModelError, match="no model 'other'") as error:
            backbone.load("served:other", server)
        assert "base, mini-gpt" in error.value.hint


def test_the_default_is_this_machine_and_the_models_own_tokenizer():
    made = cell(Server())
    assert made.server.url.startswith("http://127.0.0.1:")
    with serving("bias") as (_, server):
        assert backbone.load(f"served:{MODEL}", Server(url=server.url)).tokenizer is not None


def test_of_a_hub_model_the_tokenizer_alone_is_downloaded(monkeypatch):
    asked = {}

    def snapshot_download(name, **options):
        asked.update(options)
        return backbone.source.find(MODEL)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert backbone.read("some/model") is not None
    assert "*.json" in asked["allow_patterns"]
    assert not {"*.safetensors", "*.bin"} & set(asked["allow_patterns"])


def test_the_twenty_likeliest_are_no_ranking(tmp_path):
    with serving("echo", "echo ignored") as (_, server), pytest.raises(ModelError, match="no log-prob") as error:
        list(run([cell(server)], Store(tmp_path)))
    assert "20 likeliest tokens, cannot rank" in error.value.hint


@pytest.mark.parametrize("fault", ["429", "cut", "cut inside", "slow"])
def test_what_passes_is_asked_again(fault, tmp_path):
    store = Store(tmp_path)
    with serving("bias", fault) as (_, server):
        _, served = scored(store, cell(server))
    pd.testing.assert_frame_equal(served, scored(store, cell())[1], atol=1e-5, rtol=0)


def test_a_stopped_run_goes_on_with_what_was_answered(tmp_path):
    store = Store(tmp_path)
    num_probed = probing()
    with serving("bias", "broken", concurrency=2) as (stub, server):
        stub.last = num_probed + 10
        with pytest.raises(ModelError, match="goes on failing: 503"):
            list(run([cell(server, limit=8)], store))
    assert len(list(tmp_path.glob("answers/*.jsonl"))) == 1
    assert not list(tmp_path.glob("records/*"))
    with serving("bias") as (stub, server):
        whole, _ = scored(Store(tmp_path / "whole"), cell(server, limit=8))
        num_before = stub.requests
        record, served = scored(store, cell(server, limit=8))
        num_asked = stub.requests - num_before
    # What it took is what all of it took, before and after; seconds are nobody's.
    assert record.work == whole.work | {"served_resumed_prompts": record.work["served_resumed_prompts"]}
    assert 0 < record.work["served_resumed_prompts"] < 8
    assert num_asked < num_probed + NUM_CANARY + whole.work["served_requests"]
    (seconds,) = (cost for cost in record.costs if cost.name == "score_seconds")
    assert seconds.value is None
    assert "the run was stopped" in seconds.reason
    assert not list(tmp_path.glob("answers/*"))
    pd.testing.assert_frame_equal(served, scored(store, cell(limit=8))[1], atol=1e-5, rtol=0)


def test_answers_that_came_out_of_turn_are_kept(tmp_path):
    """The first of all takes longest, and fails: those behind it are on the disk."""
    store = Store(tmp_path)
    with serving("bias", concurrency=4) as (stub, server):
        backbone.load(f"served:{MODEL}", server)
        post, num_probed, late = stub.post, stub.requests, []

        def one_fails(path, body):
            if stub.requests > num_probed + 2 and (not late or late[0] == body["prompt"]):
                late[:] = [body["prompt"]]
                time.sleep(0.3)
                return None
            return post(path, body)

        stub.requests, stub.post = 0, one_fails
        with pytest.raises(ModelError, match="answers 404"):
            list(run([cell(server, limit=8)], store))
    (path,) = tmp_path.glob("answers/*.jsonl")
    assert len(path.read_text().splitlines()) == 7


def test_a_model_that_is_swapped_is_another_cell_and_spoils_none(tmp_path):
    store = Store(tmp_path)
    with serving("bias") as (_, server):
        first, _ = scored(store, cell(server))
        assert scored(store, cell(server))[0].id == first.id
    with serving("bias", "swapped") as (_, server):
        other, _ = scored(store, cell(server))
    assert other.id != first.id
    with serving("bias", "swapped") as (stub, server):
        stub.swap_after = probing()
        with pytest.raises(ModelError, match="the server's model was changed"):
            list(run([cell(server, limit=20)], Store(tmp_path / "third")))
    assert not list(tmp_path.glob("third/records/*"))
    assert not list(tmp_path.glob("third/answers/*"))


def test_a_key_goes_to_the_server_and_nowhere_else(tmp_path, monkeypatch, capsys):
    secret = "sk-do-not-tell"
    monkeypatch.setenv("SOME_KEY", secret)
    with serving("bias", key_variable="SOME_KEY") as (stub, server):
        scored(Store(tmp_path), cell(server))
        assert {headers["Authorization"] for headers in stub.headers} == {f"Bearer {secret}"}
    texts = [path.read_bytes() for path in tmp_path.glob("**/*") if path.is_file()]
    assert len(texts) > 2
    assert not any(secret.encode() in text for text in texts)
    monkeypatch.delenv("SOME_KEY")
    with serving("bias", key_variable="SOME_KEY") as (_, server), pytest.raises(ModelError, match="SOME_KEY") as error:
        backbone.load(f"served:{MODEL}", server)
    assert secret not in f"{error.value}{error.value.hint}{json.dumps(dict(os.environ))}"
    assert secret not in "".join(capsys.readouterr())


def test_a_key_that_a_server_repeats_or_no_header_may_hold_stands_in_no_message(monkeypatch):
    secret = "sk-do-not-tell"
    monkeypatch.setenv("SOME_KEY", secret)
    with serving("bias", "locked", key_variable="SOME_KEY") as (_, server):
        with pytest.raises(ModelError, match=r"answers 401 .*no access by Bearer \*\*\*") as error:
            backbone.load(f"served:{MODEL}", server)
        assert "is the key in SOME_KEY the server's" in error.value.hint
        with pytest.raises(ModelError, match="no access by None") as error:
            backbone.load(f"served:{MODEL}", server.model_copy(update={"key_variable": None}))
        assert "--key-variable" in error.value.hint
        for faulty in ("sk-do-\u2026", "sk-do\nnot", " sk-do-not-tell"):
            monkeypatch.setenv("SOME_KEY", faulty)
            with pytest.raises(ModelError, match="blanks or letters that no key has") as error:
                backbone.load(f"served:{MODEL}", server)
            assert "sk-do" not in f"{error.value}{error.value.hint}"


def test_ids_are_sent_and_never_text(tmp_path):
    for form in FORMS:
        with serving(form) as (stub, server):
            scored(Store(tmp_path / form), cell(server))
        bodies = [body for path, body in stub.bodies if path != "/tokenize"]
        prompts = [body.get("prompt", body.get("input_ids")) for body in bodies]
        assert all(isinstance(prompt, list) for prompt in prompts)
        assert not any(isinstance(item, str) for prompt in prompts for item in prompt)


def test_shots_are_sent_once_alone_before_others(tmp_path):
    """So that the server's cache has them when others come at the same time."""
    running, numbers, lock = [0], [], threading.Lock()
    with serving("bias") as (stub, server):
        backbone.load(f"served:{MODEL}", server)
        num_probed, stub.requests = stub.requests, 0
        post = stub.post

        def counting(path, body):
            with lock:
                running[0] += 1
                numbers.append(running[0])
            time.sleep(0.01)
            answer = post(path, body)
            with lock:
                running[0] -= 1
            return answer

        stub.post = counting
        scored(Store(tmp_path), cell(server, limit=12))
    of_first = numbers[num_probed : num_probed + 2]  # two choices of one token each
    assert set(of_first) == {1}
    assert 1 < max(numbers) <= server.concurrency


def test_shapes_that_nobody_gave_leave_costs_absent_with_a_reason(tmp_path):
    with serving("echo") as (_, server):
        bare, _ = scored(Store(tmp_path / "bare"), cell(server))
        known, _ = scored(Store(tmp_path / "known"), cell(server.model_copy(update={"config": MODEL})))
    local, _ = scored(Store(tmp_path / "local"), cell())

    def values(record):
        return {(cost.name, cost.kind): cost.value for cost in record.costs}

    flops = ("inference_flops_per_example", "counted")
    assert values(bare)[flops] is None
    assert values(known)[flops] == values(local)[flops] > 0
    assert all(cost.reason for record in (bare, known) for cost in record.costs if cost.value is None)
    assert values(bare)["scoring_flops", "counted"] is None
    assert (
        values(bare)["inference_flops_per_example", "estimated"]
        == values(local)["inference_flops_per_example", "estimated"]
    )
    (seconds,) = (cost for cost in bare.costs if cost.name == "score_seconds")
    assert "queue" in seconds.convention


def test_a_served_records_shots_predict_new_rows_and_decide_runs_prompts(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = [
        {"text": f"the soup was {'hot' if row % 2 else 'cold'} on day {row}", "label": "ab"[row % 2]}
        for row in range(12)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "new.jsonl").write_text(json.dumps({"text": "the soup was hot"}) + "\n")
    with serving("bias") as (_, server):
        where = ["--model", f"served:{MODEL}", "--server", server.url, "--tokenizer", MODEL]
        own = [
            "--train",
            "rows.jsonl",
            "--test",
            "rows.jsonl",
            "--template",
            "{{text}} It is ||| {{label}}",
            "--choices",
            "a,b",
        ]
        assert main(["icl", *where, *own, "--shots", "2", "--limit", "2"]) == 0
        proposed = capsys.readouterr().err.splitlines()[-1]
        assert proposed.startswith("next: peftbench tune --method ia3 --shots 2")
        assert "served" not in proposed
        (record,) = Path("results/records").glob("*.json")
        predict = ["predict", "--shots-from", str(record), "--input", "new.jsonl"]
        assert main([*predict, *where[2:]]) == 0
        assert json.loads(capsys.readouterr().out)["prediction"] in ("a", "b")
        assert main(["decide", "rows.jsonl", *where, "--folds", "2", "--results", "decided"]) == 0
        assert "nothing was tuned" in capsys.readouterr().out
    assert main([*predict, "--server", "http://127.0.0.1:1"]) == 2
    assert "nothing listens there" in capsys.readouterr().err
    learners = {json.loads(path.read_text())["learned"]["learner"] for path in Path("decided/records").glob("*.json")}
    assert learners == {"icl"}
