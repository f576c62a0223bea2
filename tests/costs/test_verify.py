"""Counted and traced beside each other, over families and methods; and that a wrong count would be seen."""

from dataclasses import replace
from functools import cache

import pytest

from peftbench import registry
from peftbench.costs import count, verify
from peftbench.costs.count import Query
from peftbench.costs.describe import describe
from peftbench.errors import CostError, MethodError, RecordError
from tests.report.records import record
from tests.tiny import ENCODERS, FAMILIES, tiny_backbone

UNEVEN = Query(0, 9, (3, 2))


@cache
def described(family):
    return describe(tiny_backbone(family).name)


def verified(family, method=None):
    model = described(family)
    return verify.verify(model, UNEVEN, method, registry.method(method).Config() if method else None)


@pytest.mark.parametrize("family", [*FAMILIES, *ENCODERS])
def test_every_family_agrees_three_times(family):
    (query,) = verified(family)
    assert query.counted == query.kernels == query.graph > 0
    assert query.agrees


@pytest.mark.parametrize("method", registry.METHODS)
@pytest.mark.parametrize("family", ["t5", "gpt2"])
def test_every_method_agrees(family, method):
    query, step = verified(family, method)
    assert query.counted == query.kernels == query.graph
    assert step.counted == step.kernels > query.counted
    assert step.graph is None
    assert (query.of, step.of) == (f"{method} query", f"{method} training step")


@pytest.mark.parametrize("family", ["t5", "llama", "bloom", "bert", "modernbert", "deberta-v2"])
def test_a_model_that_is_too_large_for_memory_is_traced_without_values(family, monkeypatch):
    monkeypatch.setattr(verify, "SMALL", 0)
    assert all(line.agrees for line in verified(family, "lora"))
    with pytest.raises(CostError, match="fishmask looks at values"):
        verified(family, "fishmask")


def test_a_wrong_count_disagrees(monkeypatch):
    right = count.op_flops
    monkeypatch.setattr(count, "op_flops", lambda op, stream: right(op, stream) + 1)
    query, step = verified("gpt2", "lora")
    assert not query.agrees
    assert not step.agrees
    assert query.kernels == query.graph


def test_a_graph_alone_may_disagree():
    (query,) = verified("gpt2")
    assert not replace(query, graph=query.counted + 2).agrees
    assert replace(query, graph=None).agrees


def test_an_ensemble_costs_its_members():
    model, method = described("gpt2"), registry.method("prompt_tuning")
    single, triple = (
        verify.verify(model, UNEVEN, "prompt_tuning", method.Config(num_virtual_tokens=3, num_prompts=members))
        for members in (1, 3)
    )
    assert all(line.agrees for line in (*single, *triple))
    assert triple[0].counted == 3 * single[0].counted


def test_a_method_without_a_closed_form_is_refused():
    with pytest.raises(MethodError):
        verified("gpt2", "peft:VERA")


def of_record(method=None, **work):
    base = record(method)
    model = describe("mini-t0")
    info = base.model.model_copy(
        update={"name": "mini-t0", "num_parameters": model.num_parameters, "is_encoder_decoder": True}
    )
    learned = base.learned.model_copy(update={"method": method, "config": {} if method else None})
    return base.model_copy(update={"model": info, "learned": learned, "work": work})


def test_a_record_is_verified_at_the_mean_lengths_that_it_scored():
    num = sum(result.num_examples for result in record().results)
    work = {"scoring_context_tokens": 40 * num, "scoring_shared_tokens": 0, "scoring_choice_tokens": 6 * num}
    (query,) = verify.verify_record(of_record(**work))
    assert query.query == Query(0, 40, (3, 3))
    assert query.agrees
    lines = verify.verify_record(of_record("prompt_tuning", **work))
    assert [line.of for line in lines] == ["prompt_tuning query", "prompt_tuning training step"]
    virtual = registry.method("prompt_tuning").Config().num_virtual_tokens
    assert {line.query.input_tokens for line in lines} == {max(1, 40 - virtual)}
    assert all(line.agrees for line in lines)


def test_a_record_without_lengths_is_refused():
    with pytest.raises(RecordError, match="how many tokens"):
        verify.verify_record(of_record(cut_tokens=0))


def test_another_model_of_the_same_name_is_refused():
    other = of_record(scoring_context_tokens=1)
    other = other.model_copy(update={"model": other.model.model_copy(update={"num_parameters": 7})})
    with pytest.raises(CostError, match=r"with 7 parameters, and the one here has 3,936,576"):
        verify.verify_record(other)
