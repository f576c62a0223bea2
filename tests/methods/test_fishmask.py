import pytest
import torch

from peftbench.errors import MethodError
from peftbench.methods import fishmask
from peftbench.methods.parts import sparse
from peftbench.scoring.forward import choice_log_probs
from tests.methods.published import T0_3B
from tests.scoring.prompts import encode_one
from tests.tiny import tiny_backbone

RATIO = 0.01


def examples(backbone):
    pairs = [("does it follow?", ["yes it does", "no"]), ("true or false?", ["true", "false it is"])]
    return [[encode_one(backbone, text, choices, end="eos", separator="\n\n", label=0)] for text, choices in pairs]


def loss_of(backbone):
    return lambda batch: -choice_log_probs(backbone, batch)[0][:, 0].sum()


@pytest.mark.parametrize("family", ["t5-v1.0", "gpt2"])
def test_the_weights_with_the_largest_mean_squared_gradient_are_chosen(family):
    """Tied embeddings count once: their two uses' gradients add up before they are squared."""
    backbone, plain = tiny_backbone(family), tiny_backbone(family)
    fishmask.attach(backbone, fishmask.Config(keep_ratio=RATIO))
    fishmask.prepare(backbone, fishmask.Config(keep_ratio=RATIO), examples(backbone), loss_of(backbone))
    plain.train_only(plain.base_names)
    squares = []
    for example in examples(plain):
        plain.model.zero_grad()
        loss_of(plain)(example).backward()
        squares.append(torch.cat([value.grad.flatten() ** 2 for value in plain.model.parameters()]))
    fisher = torch.stack(squares).mean(0)
    places = backbone.model.fishmask.places
    assert len(places) == int(RATIO * plain.num_parameters)
    outside = torch.ones_like(fisher, dtype=torch.bool)
    outside[places] = False
    assert fisher[places].min() >= fisher[outside].max()


def test_each_shot_is_seen_under_one_template_the_next_under_the_next():
    backbone, seen = tiny_backbone("gpt2"), []
    config = fishmask.Config(keep_ratio=RATIO)
    fishmask.attach(backbone, config)

    def loss(batch):
        seen.append(batch)
        return sum(parameter.sum() for parameter in backbone.model.parameters())

    fishmask.prepare(backbone, config, [["a0", "a1"], ["b0", "b1"], ["c0", "c1"]], loss)
    assert seen == [["a0"], ["b1"], ["c0"]]


def test_a_change_reaches_the_weight_that_its_place_numbers_and_no_other():
    backbone = tiny_backbone("gpt2")
    names = backbone.base_names
    counts = [backbone.model.get_parameter(name).numel() for name in names]
    index = names.index("transformer.h.1.attn.c_attn.weight")
    sparse.overlay(backbone, "some", torch.tensor([0, sum(counts[:index]) + 50]))
    backbone.model.some.values.data = torch.tensor([2.0, 3.0])
    before = {name: backbone.model.get_parameter(name).detach().clone() for name in names}
    backbone.fold_overlays()
    change = {name: backbone.model.get_parameter(name) - before[name] for name in names}
    assert {name for name, value in change.items() if value.any()} == {names[0], names[index]}
    torch.testing.assert_close(change[names[0]][0, 0], torch.tensor(2.0))
    torch.testing.assert_close(change[names[index]][1, 2], torch.tensor(3.0))  # 48 columns: 50 = 1 * 48 + 2


@pytest.mark.parametrize(("ratio", "published"), [(0.002, 5_699_514), (0.0002, 569_951)])
def test_at_t0_3b_as_many_weights_are_kept_as_by_t_few(ratio, published):
    assert fishmask.added(T0_3B, fishmask.Config(keep_ratio=ratio)).num_trained(2_849_757_184) == published


def test_a_share_that_is_no_weight_at_all_is_refused():
    with pytest.raises(MethodError, match="is none"):
        fishmask.attach(tiny_backbone("gpt2"), fishmask.Config(keep_ratio=1e-6))
