"""Where both ways of learning end: nothing after a Predictor knows which one it was."""

from collections.abc import Callable, Sequence
from typing import Protocol

from peftbench.models.scoring import Scores
from peftbench.tasks.task import Example


class Predictor(Protocol):
    """Something that has learned from the shots and scores answer choices."""

    @property
    def num_shots(self) -> int:
        """Shots that it learned from."""
        ...

    @property
    def prompt_tokens(self) -> int:
        """Tokens that the shots take up in each prompt; 0 after tuning."""
        ...

    @property
    def num_cut_tokens(self) -> int:
        """Tokens that `max_input_tokens` has cut so far, from shots and from scored inputs."""
        ...

    def score(self, examples: Sequence[Example], progress: Callable[[int], None] | None = None) -> Scores:
        """Score each example's choices, in the examples' order."""
        ...
