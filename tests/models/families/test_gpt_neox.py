"""GPT-NeoX's switches, against transformers: blocks one after the other, attention without biases, heads that turn."""

import pytest

from peftbench.costs.describe import describe
from peftbench.models.load import load
from peftbench.scoring.score import score
from peftbench.spec.cell import Scoring
from tests.costs import test_backward
from tests.scoring.prompts import SEPARATOR, prompts
from tests.scoring.test_score import assert_equal_scores, by_plain_transformers, log_probs
from tests.tiny import tiny_folder

BARE = {"use_parallel_residual": False, "attention_bias": False}
TURNED = {"rotary_pct": 1.0}


@pytest.mark.parametrize("switches", [BARE, TURNED], ids=str)
def test_whatever_its_switches_it_scores_as_in_transformers(switches, tmp_path):
    folder, batch = tiny_folder("gpt_neox", tmp_path / "gpt_neox", **switches), prompts(4)
    expected, backbone = by_plain_transformers(folder, batch, "none"), load(str(folder), device="cpu")
    for cache in (True, False):
        assert_equal_scores(
            log_probs(score(backbone, batch, Scoring(end="none", separator=SEPARATOR, cache=cache))), expected
        )
    assert describe(str(folder)).num_parameters == backbone.num_parameters


@pytest.mark.filterwarnings("ignore:TF32 acceleration")
@pytest.mark.parametrize(("name", "settings"), [("ia3", {}), ("lora", {"roles": "v"}), ("bitfit", {"roles": "o"})])
def test_blocks_one_after_the_other_train_with_the_flops_that_are_counted(name, settings, tmp_path):
    """What is trained in attention is below the feed-forward block of its own layer here, and beside it otherwise."""
    backbone = load(str(tiny_folder("gpt_neox", tmp_path, **BARE)), device="cpu")
    test_backward.test_every_method_trains_with_the_flops_that_follow_from_its_ops(
        "gpt_neox", name, settings, lambda _family: backbone
    )
