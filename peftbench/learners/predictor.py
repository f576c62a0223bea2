"""Where both ways of learning end: nothing after a Predictor knows which one it was."""

from collections.abc import Callable, Sequence
from typing import Protocol

from peftbench.models.scoring import Scores
from peftbench.tasks.task import Example


class Predictor(Protocol):
    """Something that has learned from the shots and scores answer choices.

    Args:
        num_shots: Shots that it learned from.
        prompt_tokens: Tokens that the shots take up in each prompt; 0 after tuning.
        num_cut_tokens: Tokens that `max_input_tokens` has cut so far, from shots and from scored inputs.
    """

    num_shots: int
    prompt_tokens: int
    num_cut_tokens: int

    def score(self, examples: Sequence[Example], progress: Callable[[int], None] | None = None) -> Scores:
        """Score each example's choices, in the examples' order."""
        ...
