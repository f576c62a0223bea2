from dataclasses import replace

import pytest

from peftbench import registry
from peftbench.costs import count
from peftbench.costs.backward import training_flops
from peftbench.costs.describe import describe
from peftbench.costs.of_model import Workload, break_evens, model_costs
from peftbench.errors import CostError, MethodError
from tests.tiny import tiny_backbone

WORK = Workload(shots=41)
IA3, LORA = (registry.method(name).Config() for name in ("ia3", "lora"))


def strategies(model, methods, work=WORK):
    return {
        strategy.title: strategy for strategy in model_costs(describe(model), work, methods, strict=True).strategies
    }


def test_an_encoder_decoder_s_strategies_by_the_counts_themselves():
    found = strategies("t0-11b", {"ia3": IA3, "lora": LORA})
    assert list(found) == ["zero-shot", "ICL", "ia3", "lora", "lora unmerged"]
    sizes, query = describe("t0-11b").shape.sizes, count.Query(0, 99, (2, 2))
    plain = count.forward_flops(sizes, query)
    assert found["zero-shot"].value("inference_flops_per_query") == plain
    assert found["ia3"].value("inference_flops_per_query") == plain
    assert found["lora"].value("inference_flops_per_query") == plain
    assert found["lora unmerged"].value("inference_flops_per_query") > plain
    added = registry.method("ia3").added(sizes, IA3)
    assert found["ia3"].value("training_flops") == training_flops(sizes, {query: 8000}, 1000, added)
    assert found["ia3"].value("tensor_bytes") == 4_325_376
    assert 4_325_376 < found["ia3"].value("disk_bytes") < 1.01 * 4_325_376  # the names of 192 tensors
    assert found["ICL"].value("disk_bytes") == 16_072


def test_the_paper_s_rule_stands_beside():
    found = strategies("t0-11b", {"ia3": IA3})["ia3"]
    assert found.value("inference_flops_per_query", "estimated") == 11_135_332_352 * 103
    assert found.value("training_flops", "estimated") == 3 * 11_135_332_352 * 103 * 8000
    assert 0.6 < found.value("training_flops") / found.value("training_flops", "estimated") < 0.7


def test_the_rule_counts_virtual_tokens_as_tokens():
    prompt = registry.method("prompt_tuning").Config(num_virtual_tokens=100)
    found = strategies("t0-11b", {"prompt_tuning": prompt})["prompt_tuning"]
    assert found.value("inference_flops_per_query", "estimated") == 11_135_332_352 * 203
    assert found.value("training_flops", "estimated") == 3 * 11_135_332_352 * 203 * 8000


def test_a_cache_costs_once_and_stays_in_memory():
    found = strategies("gpt3-175b", {})
    plain, cached = found["ICL"], found["ICL cached"]
    assert plain.value("once_flops") == 0
    together = cached.value("once_flops") + cached.value("inference_flops_per_query")
    # Without a cache the shots' 4,018 tokens meet the query's 101 in attention as well, behind the causal mask.
    assert plain.value("inference_flops_per_query") - together == 96 * 2 * 2 * 4018 * 101 * 12_288
    assert cached.value("cache_bytes") == 2 * 96 * 4018 * 12_288 * 4
    assert strategies("gpt3-175b", {}, Workload(shots=41, dtype="bfloat16"))["ICL cached"].value("cache_bytes") == (
        cached.value("cache_bytes") // 2
    )


def test_training_pays_sooner_where_queries_with_shots_cost_more():
    sheets = [model_costs(describe(name), WORK, {"ia3": IA3}, strict=True) for name in ("t0-11b", "gpt3-175b")]
    found = {(point.tuned.model, point.icl.model, point.icl.title): point.queries for point in break_evens(sheets)}
    ia3, icl = strategies("t0-11b", {"ia3": IA3})["ia3"], strategies("gpt3-175b", {})["ICL"]
    saved = icl.value("inference_flops_per_query") - ia3.value("inference_flops_per_query")
    assert found["t0-11b", "gpt3-175b", "ICL"] == -(-ia3.value("training_flops") // saved)
    assert found["t0-11b", "gpt3-175b", "ICL cached"] > found["t0-11b", "gpt3-175b", "ICL"]


def test_training_never_pays_where_a_query_costs_no_less():
    long_prompt = registry.method("prompt_tuning").Config(num_virtual_tokens=5000)
    sheets = [model_costs(describe("gpt3-125m"), WORK, {"prompt_tuning": long_prompt}, strict=True)]
    assert {point.queries for point in break_evens(sheets)} == {None}


def test_more_tokens_than_positions_and_sparse_layers_are_remarks():
    remarks = " ".join(model_costs(describe("gpt3-175b"), WORK, {}, strict=True).remarks)
    assert "4,121 tokens are more than the 2,048 positions" in remarks
    assert "counted as dense" in remarks
    assert "no cached ICL" in " ".join(model_costs(describe("t0-11b"), WORK, {}, strict=True).remarks)


def test_an_encoder_without_positions_for_the_shots_has_no_icl_and_pays_for_each_row():
    model = describe(tiny_backbone("bert").name)
    many, few = (model_costs(model, replace(WORK, shots=shots), {}, strict=True) for shots in (32, 2))
    assert [strategy.name for strategy in many.strategies] == ["zero-shot"]
    assert "ICL n/a: 3,239 tokens with the shots, and the encoder has 514 positions" in " ".join(many.remarks)
    assert [strategy.name for strategy in few.strategies] == ["zero-shot", "ICL"]
    by_rule = many.strategies[0].value("inference_flops_per_query", "estimated")
    rows = 4 * (WORK.query_tokens - 2)  # two choices of two tokens: two rows for each, with one choice in each
    assert (WORK.choice_tokens, by_rule) == ((2, 2), 2 * model.num_parameters * rows)


GOLDEN = {
    "t0-11b": 1_081_344,
    "t0-3b": 540_672,
    "t5-v1.1-large": 282_624,
    "t5-v1.1-base": 104_448,
    "t5-v1.1-small": 34_816,
}


@pytest.mark.parametrize("model", GOLDEN)
def test_ia3_s_vectors_and_their_bytes(model):
    found = strategies(model, {"ia3": IA3})["ia3"]
    assert (found.value("num_trained"), found.value("tensor_bytes")) == (GOLDEN[model], 4 * GOLDEN[model])


def test_gradients_before_the_first_step_are_training():
    fishmask = registry.method("fishmask").Config()
    none, some = (strategies("t0-3b", {"fishmask": fishmask}, Workload(shots=shots))["fishmask"] for shots in (0, 16))
    sizes, query = describe("t0-3b").shape.sizes, count.Query(0, 99, (2, 2))
    added = registry.method("fishmask").added(sizes, fishmask)
    extra = some.value("training_flops") - none.value("training_flops")
    assert extra == training_flops(sizes, {query: 16}, 0, added)


def test_what_training_decides_is_absent_with_its_reason():
    found = model_costs(describe("t5-v1.1-small"), WORK, {"adalora": registry.method("adalora").Config()}, strict=True)
    (disk,) = [cost for cost in found.strategies[-1].costs if cost.name == "disk_bytes"]
    assert (disk.value, disk.reason) == (None, "training decides which tensors are left")
    assert any("at most this" in remark for remark in found.remarks)


def test_a_method_that_does_not_fit_is_told_and_an_error_where_it_was_asked_for():
    odd = {"compacter": registry.method("compacter").Config(phm_dim=7)}
    with pytest.raises(MethodError, match="phm_dim"):
        model_costs(describe("t0-3b"), WORK, odd, strict=True)
    found = model_costs(describe("t0-3b"), WORK, odd, strict=False)
    assert any("compacter is left out" in remark for remark in found.remarks)


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ({"shots": -1}, "shots = -1"),
        ({"tokens_per_shot": 0}, "tokens_per_shot = 0"),
        ({"num_steps": 10**12}, "1,000,000,000,000"),
        ({"choice_tokens": (2, 0)}, "2, 0"),
        ({"choice_tokens": ()}, "choices"),
        ({"query_tokens": 4}, "query of 4"),
    ],
)
def test_counts_that_cannot_be_are_refused(counts, told):
    with pytest.raises(CostError, match=told):
        Workload(**counts)


@pytest.mark.parametrize("name", registry.METHODS)
@pytest.mark.parametrize("model", ["t5-v1.1-small", "gpt3-125m"])
def test_every_method_has_costs_and_none_is_negative(name, model):
    (*_, strategy) = model_costs(describe(model), WORK, {name: registry.method(name).Config()}, strict=True).strategies
    assert strategy.name == name
    assert all(cost.value >= 0 if cost.value is not None else cost.reason for cost in strategy.costs)
    assert strategy.value("training_flops") > 0
