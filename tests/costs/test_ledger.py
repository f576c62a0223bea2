"""What a finished cell ran, against the kernels that ran; and what its costs say."""

import pytest

from peftbench import registry
from peftbench.costs.backward import training_flops
from peftbench.costs.count import Query, pass_flops
from peftbench.costs.ledger import Facts, ledger
from peftbench.costs.trace import kernel_flops
from peftbench.learners import tune
from peftbench.models.encoding import Encoded, Prompt
from peftbench.models.forward import choice_log_probs
from peftbench.models.scoring import Length, score
from peftbench.recipe import Scoring
from tests.tiny import FAMILIES, tiny_backbone

PROMPTS = [
    Prompt("the premise says that the hypothesis does follow", (" yes it does follow", " no")),
    Prompt("the premise is true or false?", (" it is true", " maybe it is false")),
    Prompt("the question", (" positive", " negative", " neither of them")),
]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("name", [None, "prompt_tuning", "prefix_tuning", "lora"])
def test_scoring_as_it_ran_padding_and_all(family, cache, name):
    backbone = tiny_backbone(family)
    added = None
    if name:
        method = registry.method(name)
        method.attach(backbone, method.Config())
        added = method.added(backbone.sizes, method.Config())
    backbone.model.requires_grad_(False)  # torch's counter does not take parameters that train in inference mode
    found = []
    traced = kernel_flops(
        lambda: found.append(score(backbone, PROMPTS, end="eos", separator="\n\n", cache=cache, token_budget=40))
    )
    assert sum(pass_flops(backbone.sizes, one, added) for one in found[0].work.passes) == traced


def facts(**more):
    backbone = tiny_backbone("t5")
    method = registry.method("ia3")
    return Facts(
        sizes=backbone.sizes,
        num_parameters=backbone.num_parameters,
        num_trained_parameters=7,
        added=method.added(backbone.sizes, method.Config()),
        lengths=[(0, Length(9, (3, 2)))],
        icl_tokens=None,
        passes=(),
        adapter=None,
        learn_seconds=1.0,
        score_seconds=2.0,
        **more,
    )


def test_training_is_counted_and_stands_beside_the_rule():
    examples = {Length(9, (3, 2)): 5, Length(4, (1, 1)): 3}
    some = facts(examples=examples, num_steps=2)
    costs = {(cost.name, cost.kind): cost.value for cost in ledger(some)}
    queries = {Query(0, 9, (3, 2)): 5, Query(0, 4, (1, 1)): 3}
    assert costs["training_flops", "counted"] == training_flops(some.sizes, queries, 2, some.added)
    assert costs["training_flops", "estimated"] == 3 * some.num_parameters * (5 * 14 + 3 * 6)


def test_nothing_trained_costs_nothing():
    costs = {(cost.name, cost.kind): cost.value for cost in ledger(facts(examples=None, num_steps=0))}
    assert costs["training_flops", "counted"] == 0
    assert ("training_flops", "estimated") not in costs


@pytest.mark.parametrize("family", ["t5", "llama"])
def test_the_lengths_that_training_writes_down_give_the_flops_of_its_steps(family):
    """In batches of one, with choices of one length, nothing is padded: what is counted is what was dispatched."""
    backbone, method = tiny_backbone(family), registry.method("ia3")
    examples = [Encoded((5,) * tokens, ((7, 8), (9, 7)), (0, 0), label=0) for tokens in (6, 3, 6)]
    backbone.train_only(method.attach(backbone, method.Config()))
    predictor = tune.TunePredictor(backbone, Scoring(end="none"), [], 2, 0)

    def run():
        for each in examples:
            choice_log_probs(backbone, [each])[0].sum().backward()
            tune._note(predictor, [each], {"loss": 0.0})

    traced = kernel_flops(run)
    assert predictor.num_padding_tokens == 0
    queries = {Query(0, length.context, length.choices): times for length, times in predictor.lengths.items()}
    assert training_flops(backbone.sizes, queries, 3, method.added(backbone.sizes, method.Config())) == traced
