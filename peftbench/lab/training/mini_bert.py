"""mini-bert's material: mini-t0's text for its tokenizer, its stream of masked texts, and the figures on its card."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedTokenizerFast

from peftbench import registry
from peftbench.lab.text.batches import Material, Stream
from peftbench.lab.text.masks import masked_stream
from peftbench.lab.text.mixture import pairs
from peftbench.lab.training.mini_t0 import corpus, zero_shot
from peftbench.lab.world.world import World
from peftbench.models.backbone import Backbone
from peftbench.scoring.ranking import predict
from peftbench.scoring.score import score
from peftbench.spec.cell import Scoring
from peftbench.tasks.task import Example


def material(data: dict[str, Any], seed: int) -> Material:
    """Gather mini-bert's material.

    Args:
        data: `world_seed`, `corpus_rows`, and what `masked_stream` takes.
        seed: Of the stream.
    """
    options = dict(data)
    world, num_rows = World.generate(options.pop("world_seed")), options.pop("corpus_rows")
    draw = pairs(world)

    def stream(tokenizer: PreTrainedTokenizerFast) -> Stream:
        return masked_stream(draw, world.passage, tokenizer, seed, **options)

    return Material(
        corpus(world, draw, seed, num_rows),
        stream,
        lambda model, tokenizer: zero_shot(lambda examples: _are_right(model, tokenizer, examples)),
    )


def _are_right(model: Any, tokenizer: PreTrainedTokenizerFast, examples: list[Example]) -> list[bool]:
    """Answer each example as a cloze."""
    backbone = Backbone(
        name="mini-bert",
        revision=None,
        fingerprint="",
        model=model,
        tokenizer=tokenizer,
        family=registry.family(model.config.model_type),
    )
    scores = score(backbone, examples, Scoring(end="none")).choices
    return [predict(of_example) == example.label for of_example, example in zip(scores, examples, strict=True)]
