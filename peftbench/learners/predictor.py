"""Where both ways of learning end: nothing after a Predictor knows which one it was."""

from collections.abc import Callable, Sequence
from typing import Protocol

from peftbench.scoring.score import Scores
from peftbench.tasks.task import Example


class Predictor(Protocol):
    """Something that has learned from the shots and scores answer choices."""

    @property
    def num_shots(self) -> int:
        """Shots that it learned from."""
        ...

    @property
    def prompt_tokens(self) -> int:
        """Tokens that the shots take up in each prompt, or in all prompts of an ensemble; 0 after tuning."""
        ...

    @property
    def prompt_bytes(self) -> int:
        """Bytes of the shots' text, UTF-8, in all prompts; 0 after tuning."""
        ...

    @property
    def num_cut_tokens(self) -> int:
        """Tokens that `max_input_tokens` has cut so far, from shots and from scored inputs."""
        ...

    def score(self, examples: Sequence[Example], progress: Callable[[int], None] | None = None) -> Scores:
        """Score each example's choices, in the examples' order."""
        ...


class Prompting(Predictor, Protocol):
    """A Predictor of which it can be known before scoring whether its prompts fit the model."""

    def check_choices(self, examples: Sequence[Example]) -> None:
        """See that the model can tell the answer choices apart."""
        ...

    def num_fitting(self, examples: Sequence[Example]) -> int:
        """Count the shots, from the first one on, with which all prompts fit; -1: they do not without any."""
        ...

    def take(self, num_shots: int, examples: Sequence[Example]) -> None:
        """Go on with the first `num_shots` shots, as many as fit with these examples."""
        ...
