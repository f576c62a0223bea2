"""The embedded encoder as it is shipped: small, with a mask, and better than chance on what it was taught."""

from __future__ import annotations

from peftbench import registry
from peftbench.models.load import load
from peftbench.scoring.ranking import predict
from peftbench.scoring.score import score
from peftbench.spec.cell import Scoring, TaskSpec
from peftbench.tasks.load import load as load_task


def test_it_fills_masks_of_sentences_that_it_was_not_trained_on() -> None:
    backbone = load("mini-bert", device="cpu")
    folder = registry.embedded_models()["mini-bert"]
    assert sum(path.stat().st_size for path in folder.iterdir()) < 8e6
    assert backbone.sizes.is_encoder_only
    assert backbone.tokenizer.mask_token == "<mask>"
    task = load_task(TaskSpec(name="lab-extraction"))
    examples = [task.templates[0].render(row) for row in task.test[:40]]
    scores = score(backbone, examples, Scoring(end="none")).choices
    hits = [predict(of_example) == example.label for of_example, example in zip(scores, examples, strict=True)]
    assert sum(hits) / len(hits) > 2 * task.chance
