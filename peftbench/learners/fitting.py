"""Prompts of text that may not fit the model: how many of their shots do, and what is said where that is too few."""

import bisect
from abc import ABC, abstractmethod
from collections.abc import Sequence

from peftbench.errors import ModelError
from peftbench.models.backbone import Backbone
from peftbench.scoring.encoding import Encoded, num_positions
from peftbench.spec.cell import IclOptions
from peftbench.tasks.task import Example

SLACK = 16
"""Tokens beside those of the shots and of the query's and the choice's bytes: opening, joining space, end."""


class Fitting(ABC):
    """Shots before queries as text, of which the first ones stay where not all fit.

    Args:
        backbone: The model, as it is.
        template: Name of the template that rendered the shots.
        options: Whether shots are left out where they do not all fit.
        num_shots: How many there are.
        description: Text before the shots, which they bring along.

    Attributes:
        is_chosen: Whether each query has shots of its own.
    """

    is_chosen = False

    def __init__(
        self, backbone: Backbone, template: str, options: IclOptions, num_shots: int, description: str
    ) -> None:
        self.num_shots = num_shots
        self._backbone, self._template, self._options, self._description = backbone, template, options, description

    @abstractmethod
    def _encoded(self, examples: Sequence[Example], num_shots: int) -> list[Encoded]:
        """Encode examples after the first shots."""

    @abstractmethod
    def _surely_fit(self, examples: Sequence[Example], limit: int) -> bool:
        """Whether all fit even if each byte were a token; then nothing needs to be tokenized to know."""

    def check_choices(self, examples: Sequence[Example]) -> None:
        """Check that the model can tell the answer choices apart.

        Raises:
            ModelError: A choice without tokens, or two choices with the same tokens.
        """
        self._encoded(list({example.choices: example for example in examples}.values()), 0)

    def num_fitting(self, examples: Sequence[Example]) -> int:
        """Count the shots, from the first one on, with which the longest prompt fits; -1: it does not without any."""
        limit = self._backbone.max_positions
        if limit is None or not examples or self._surely_fit(examples, limit):
            return self.num_shots
        if self._num_positions(examples, self.num_shots) <= limit:
            return self.num_shots
        counts = range(self.num_shots)
        return bisect.bisect_right(counts, limit, key=lambda count: self._num_positions(examples, count)) - 1

    def take(self, num_shots: int, examples: Sequence[Example]) -> None:
        """Go on with the first `num_shots` shots, as many as fit with these examples.

        Raises:
            ModelError: That is fewer than there were, and `fit_shots` does not allow it, or not even 0; with a
                description, which the shots bring along, not even 1.
        """
        fewest = self.num_shots if not self._options.fit_shots else 1 if self._description else 0
        if num_shots < fewest:
            raise ModelError(
                f"{_plural(self.num_shots, 'shot')} and the longest query have "
                f"{self._num_positions(examples, self.num_shots):,} tokens in template '{self._template}', "
                f"and '{self._backbone.name}' takes {self._backbone.max_positions:,}",
                hint=_hint(num_shots),
            )
        self.num_shots = num_shots

    def _num_positions(self, examples: Sequence[Example], num_shots: int) -> int:
        """Count the positions that the longest prompt takes, its longest choice included."""
        return max(num_positions(self._backbone, tokens) for tokens in self._encoded(examples, num_shots))


def _hint(num_fit: int) -> str:
    if num_fit < 0:
        return "not even the query alone fits: --max-input-tokens cuts inputs, for example --max-input-tokens 256"
    if not num_fit:
        return "not even one shot fits beside the query: --shots 0; --max-input-tokens cuts inputs"
    would = f"{_plural(num_fit, 'shot')} would fit: --shots {num_fit}, or --fit-shots takes as many as fit"
    return f"{would}; --max-input-tokens cuts inputs"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
