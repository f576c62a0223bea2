from dataclasses import replace

import pytest
import torch
from torch import nn

from peftbench.scoring.encoding import encode
from peftbench.scoring.forward import choice_log_probs
from peftbench.spec.cell import Scoring
from tests.scoring.prompts import SEPARATOR, example, prompts
from tests.scoring.test_score import Virtual, assert_equal_scores, by_plain_transformers, tuned
from tests.tiny import ENCODER_DECODERS, FAMILIES, tiny_backbone, tiny_folder


def batch_of(backbone, count=4):
    return encode(backbone, prompts(count, num_shots=1), Scoring(end="eos", separator=SEPARATOR))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_ragged_batch_gives_what_each_choice_gives_alone(family, tmp_path):
    backbone = tiny_backbone(family)
    encoded = batch_of(backbone)
    log_probs, mask = choice_log_probs(backbone, encoded)
    assert len({len(each.choices) for each in encoded}) == 2
    assert mask.any(-1).sum(1).tolist() == [len(each.choices) for each in encoded]
    assert torch.equal(log_probs != 0, mask)
    expected = by_plain_transformers(tiny_folder(family, tmp_path / family), prompts(4, num_shots=1), "eos")
    found = [row[: len(each)] for row, each in zip(log_probs.sum(-1).tolist(), expected, strict=True)]
    assert_equal_scores(found, expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_prefix_and_the_soft_prompt_get_gradients(family):
    backbone = tuned(family)
    names = [name for name, _ in backbone.model.named_parameters() if "prefix" in name or "soft_prompt" in name]
    short = encode(backbone, [example("no", ("yes",))], Scoring(end="eos", separator=""))  # within mistral's window
    assert len(names) == 1 + 2 * len(backbone.attentions())
    backbone.train_only(names)
    choice_log_probs(backbone, short)[0].sum().backward()
    dead = [name for name, weight in backbone.parameters_named(names).items() if not weight.grad.abs().sum() > 0]
    assert dead == []


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_that_choices_share_change_no_value_and_no_gradient(family):
    backbone = tuned(family)
    examples = [example("the premise", ("yes no maybe", "yes no", "yes true", "no")), example("no", ("no", "no yes"))]
    batch = encode(backbone, examples, Scoring(end="eos", separator=SEPARATOR))
    backbone.train_only([name for name, _ in backbone.model.named_parameters()])
    values, gradients = {}, {}
    for is_shared in (True, False):
        backbone.model.zero_grad()
        values[is_shared], _ = choice_log_probs(backbone, batch, is_shared=is_shared)
        (values[is_shared] ** 2).sum().backward()
        gradients[is_shared] = [weight.grad for weight in backbone.model.parameters()]
    torch.testing.assert_close(values[True], values[False], atol=1e-5, rtol=1e-5)
    for shared, alone in zip(gradients[True], gradients[False], strict=True):
        assert (shared is None) == (alone is None)
        if shared is not None:
            torch.testing.assert_close(shared, alone, atol=1e-5 * (1 + float(alone.abs().max())), rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_virtual_tokens_that_are_the_embeddings_of_words_are_these_words(family):
    backbone = tiny_backbone(family)
    words = (7, 8, 9, 10)
    told = [replace(each, context=(*words, *each.context)) for each in batch_of(backbone)]
    expected = choice_log_probs(backbone, told)[0]
    backbone.set_soft_prompt(Virtual(backbone.embeddings(torch.tensor(words))))
    torch.testing.assert_close(choice_log_probs(backbone, batch_of(backbone))[0], expected, atol=1e-5, rtol=1e-5)


class FromProjection(nn.Module):
    """Keys and values that are computed, as a reparameterised prefix is."""

    def __init__(self, attention):
        super().__init__()
        self.linear = nn.Linear(1, 2 * attention.num_kv_heads * attention.d_kv)
        self.shape = (2, attention.num_kv_heads, 1, attention.d_kv)

    def forward(self):
        return tuple(self.linear(torch.ones(1)).view(self.shape))


@pytest.mark.parametrize("family", ["t5", "llama"])
def test_gradients_reach_what_a_prefix_is_computed_from(family):
    backbone = tiny_backbone(family)
    for attention in backbone.attentions():
        backbone.insert_prefix(attention, FromProjection(attention))
    names = [name for name, _ in backbone.model.named_parameters() if "prefix" in name]
    backbone.train_only(names)
    choice_log_probs(backbone, batch_of(backbone))[0].sum().backward()
    assert all(weight.grad.abs().sum() > 0 for weight in backbone.parameters_named(names).values())


@pytest.mark.parametrize("family", ENCODER_DECODERS)
@pytest.mark.parametrize("is_shared", [True, False])
def test_the_encoder_runs_once_per_example_and_cross_attention_projects_its_states_once(family, is_shared):
    backbone = tiny_backbone(family)
    encoded, rows = batch_of(backbone), {}
    for site in (*backbone.sites("q"), *backbone.sites("k")):
        module = backbone.model.get_submodule(site.module)
        key = (site.stack, site.attention, site.role)
        module.register_forward_pre_hook(lambda _m, args, key=key: rows.update({key: len(args[0])}))
    choice_log_probs(backbone, encoded, is_shared=is_shared)
    num_rows = len(encoded) * (1 if is_shared else max(len(each.choices) for each in encoded))
    assert rows["encoder", "self", "k"] == rows["decoder", "cross", "k"] == len(encoded)
    assert rows["decoder", "cross", "q"] == rows["decoder", "self", "k"] == num_rows
