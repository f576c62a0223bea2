"""mini-gpt's material: its tokenizer's text, its stream of episodes, and the figures on its card."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedTokenizerFast

from peftbench.lab.text.batches import Material
from peftbench.lab.text.episodes import Stage, corpus, episode_stream
from peftbench.lab.training.curve import icl_curve, task_episodes, unseen_episodes
from peftbench.lab.world.world import World
from peftbench.spec.cell import TaskSpec
from peftbench.tasks.load import load

EPISODES = 24  # a level, for the card
TOKENS = 1024  # a row, for the card


def material(data: dict[str, Any], seed: int) -> Material:
    """Make mini-gpt's material from the [data] table of its TOML."""
    world = World.generate(data["world_seed"])
    stages = [Stage(**stage) for stage in data["stages"]]
    return Material(
        corpus(world, seed),
        lambda tokenizer: episode_stream(world, tokenizer, stages, seed, data["text_weight"]),
        lambda model, tokenizer: figures(model, tokenizer, world),
    )


def figures(model: Any, tokenizer: PreTrainedTokenizerFast, world: World) -> dict[str, float]:
    """Measure learning curves on training attributes in unseen sentences and on the validation task of this kind."""
    sets = {
        "word episodes": unseen_episodes(world, tokenizer, "word", TOKENS // 4, EPISODES),
        "phrase episodes": unseen_episodes(world, tokenizer, "phrase", TOKENS // 2, EPISODES),
        "sentence episodes": unseen_episodes(world, tokenizer, "sentence", TOKENS, EPISODES),
        "sentences by category": unseen_episodes(
            world, tokenizer, "sentence", TOKENS, EPISODES, focus={"category": 1.0}
        ),
        "validation task lab-shelf": task_episodes(load(TaskSpec(name="lab-shelf")), tokenizer, TOKENS, 6),
    }
    return {
        f"ICL accuracy, {name}, {k} shots": accuracy
        for name, rows in sets.items()
        for k, accuracy in icl_curve(model, tokenizer, rows).items()
    }
