"""The model trained beside a method, as P-tuning's paper does: what moves, how fast, what is saved, what it costs."""

import pytest
import torch

from peftbench import registry
from peftbench.adapters import saved
from peftbench.costs.backward import training_flops
from peftbench.costs.count import Query
from peftbench.costs.kernels import kernel_flops
from peftbench.errors import MethodError
from peftbench.learners import tune
from peftbench.learners.optimizer import Optimizer
from peftbench.scoring.encoding import Encoded
from peftbench.scoring.forward import choice_log_probs
from peftbench.scoring.score import score
from peftbench.spec.cell import Training
from tests.learners.toy import ROWS, TEMPLATE, scoring
from tests.tiny import tiny_backbone

WHOLE = {"train_backbone": True, "backbone_lr": 1e-3, "num_steps": 3, "batch_size": 2, "scale_parameter": False}
OVERLAYS = ("intrinsic_said", "intrinsic_dimension", "diff_pruning", "fishmask")
BESIDE = [name for name in registry.METHODS if name not in OVERLAYS]


def tuning_of(name, **settings):
    examples = [[TEMPLATE.render(row)] for row in ROWS[:4]]
    return tune.Tuning(name, registry.method(name).Config(), Training(**WHOLE | settings), examples)


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_all_of_the_model_moves_and_comes_back_from_its_folder(family, tmp_path):
    backbone, rule = tiny_backbone(family), scoring(tiny_backbone(family))
    before = {name: value.clone() for name, value in backbone.model.named_parameters()}
    tuning = tuning_of("p_tuning")
    predictor = tune.learn(tuning, backbone, rule)
    moved = [name for name in before if not torch.equal(backbone.model.get_parameter(name), before[name])]
    assert set(moved) >= {name for name in before if name.endswith("weight") and "position" not in name}
    assert predictor.num_trained_parameters > backbone.num_parameters
    examples = [TEMPLATE.render(row) for row in ROWS]
    expected = predictor.score(examples).choices
    folder = saved.save(tmp_path / "a", backbone, "p_tuning", tuning.config, predictor.names)
    backbone.detach_all()
    assert all(torch.equal(backbone.model.get_parameter(name), value) for name, value in before.items())
    saved.load(folder, backbone)
    assert score(backbone, examples, rule).choices == expected


def test_the_model_steps_at_its_own_rate():
    prompt, own = (torch.nn.Parameter(torch.zeros(3)) for _ in range(2))
    training = Training(optimizer="adamw", lr=1e-2, train_backbone=True, backbone_lr=1e-4, warmup_ratio=0, num_steps=2)
    optimizer = Optimizer([prompt, own], training, backbone=[own])
    prompt.grad, own.grad = torch.ones(3), torch.ones(3)
    optimizer.step(0, 1.0)
    assert prompt.detach().tolist() == pytest.approx([-1e-2] * 3, rel=1e-3)
    assert own.detach().tolist() == pytest.approx([-1e-4] * 3, rel=1e-3)


@pytest.mark.filterwarnings("ignore:TF32 acceleration")
@pytest.mark.parametrize(
    ("family", "name"), [*(("bert", name) for name in BESIDE), ("gpt2", "p_tuning"), ("t5", "lora")]
)
def test_it_costs_what_is_traced(family, name):
    backbone, tuning = tiny_backbone(family), tuning_of(name)
    names, *_ = tune._attach(tuning, backbone, scoring(backbone))
    backbone.train_only(names)
    added = tune.added(tuning, backbone.sizes, registry.method(name).added(backbone.sizes, tuning.config))
    encoded = Encoded(tuple(range(3, 12)), ((4, 5, 6), (7, 8, 9)), (0, 0))
    query = Query(0, 9, tuple(3 + backbone.sizes.num_fed_more for _ in range(2)))

    def step():
        loss = choice_log_probs(backbone, [encoded], is_shared=False)[0].sum()
        penalty = registry.method(name).penalty(backbone, tuning.config)
        (loss if penalty is None else loss + penalty).backward()

    assert kernel_flops(step) == training_flops(backbone.sizes, {query: 1}, 1, added)


@pytest.mark.parametrize("name", OVERLAYS)
def test_what_lies_over_the_model_s_own_weights_leaves_them_as_they_are(name):
    backbone = tiny_backbone("gpt2")
    with pytest.raises(MethodError, match="lies over the model's own weights"):
        tune.check(tuning_of(name), backbone, scoring(backbone))


def test_what_is_off_is_not_written_down():
    assert "train_backbone" not in Training().model_dump(mode="json")
    assert Training(train_backbone=True).model_dump(mode="json")["backbone_lr"] == 1e-5
    with pytest.raises(ValueError, match="backbone_lr goes with train_backbone"):
        Training(backbone_lr=1e-4)
