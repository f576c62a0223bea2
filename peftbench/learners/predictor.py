"""Where both ways of learning end: nothing after a Predictor knows which one it was."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from peftbench.errors import MethodError
from peftbench.models.shapes import EncoderSizes
from peftbench.scoring.generate import Output
from peftbench.scoring.score import Scores
from peftbench.scoring.work import Blocks
from peftbench.spec.decoding import Decoding
from peftbench.tasks.task import Example


class Predictor(Protocol):
    """What was learned from the shots: it scores answer choices."""

    @property
    def num_shots(self) -> int:
        """Shots that were learned from."""
        ...

    @property
    def shot_tokens(self) -> int:
        """Tokens of all shots that are kept; 0 after tuning.

        They are those in each prompt, in all prompts of an ensemble, or those from which each query's are chosen.
        """
        ...

    @property
    def shot_bytes(self) -> int:
        """Bytes of the text of the same shots, UTF-8; 0 after tuning."""
        ...

    @property
    def num_cut_tokens(self) -> int:
        """Tokens that `max_input_tokens` cut from the shots."""
        ...

    def score(self, examples: Sequence[Example], progress: Callable[[int], None] | None = None) -> Scores:
        """Score each example's choices, in the examples' order."""
        ...

    def generate(
        self, examples: Sequence[Example], decoding: Decoding, progress: Callable[[int], None] | None = None
    ) -> list[Output]:
        """Write an answer to each example, in the examples' order; their choices are not looked at.

        Raises:
            MethodError: It answers by choices alone.
            ModelError: As `scoring.generate.generate`.
        """
        ...


@dataclass(frozen=True)
class Reading:
    """Texts that a model reads to choose shots by them.

    Args:
        rows_sha256: Of the rows that are chosen from: they are read once for all prompts that choose from them.
        rows: Tokens of each different row.
        queries: Tokens of each query.
        reader: The model's sizes; None of the backbone.
    """

    rows_sha256: bytes
    rows: tuple[int, ...]
    queries: tuple[int, ...]
    reader: EncoderSizes | None


@dataclass(frozen=True)
class Round:
    """Examples that are scored together, after the same shots.

    Args:
        shot_tokens: Tokens of these shots; where each example has its own, of the shots that it has on the average.
        examples: Queries, with content or without.
        is_once: Whether there are as many of them however many queries there are.
        is_chosen: Whether each example has shots of its own.
        num_alike: How many examples stand after the same shots then: one, or all content-free ones of a query.
        reading: What a model reads before, to choose them; None where none does.
        blocks: Where blocks of these shots do not see each other: these.
    """

    shot_tokens: int
    examples: Sequence[Example]
    is_once: bool = False
    is_chosen: bool = False
    num_alike: int = 1
    reading: Reading | None = None
    blocks: Blocks | None = None


class Prompting(Predictor, Protocol):
    """A Predictor with shots in its prompts, which may not fit the model."""

    @property
    def is_chosen(self) -> bool:
        """Whether each query has shots of its own."""
        ...

    @property
    def before(self) -> tuple[str, ...]:
        """What stands before a query in each prompt; nothing where that differs from query to query."""
        ...

    def check_choices(self, examples: Sequence[Example]) -> None:
        """Check that the model can tell the answer choices apart."""
        ...

    def num_fitting(self, examples: Sequence[Example]) -> int:
        """Count the shots, from the first one on, with which all prompts fit; -1: they do not without any."""
        ...

    def take(self, num_shots: int, examples: Sequence[Example]) -> None:
        """Go on with the first `num_shots` shots, as many as fit with these examples."""
        ...

    def rounds(self, examples: Sequence[Example]) -> list[Round]:
        """List what `score` would score of these examples, in its order; nothing is run."""
        ...


def no_text(what: str) -> MethodError:
    """Say that something answers by choices alone."""
    return MethodError(f"{what}, and writes no text", hint="a task with answer choices; or without it")


class Wrapped:
    """A Predictor around another one, which holds the prompts.

    Args:
        inner: The predictor with the prompts.
    """

    def __init__(self, inner: Prompting) -> None:
        self.inner = inner

    @property
    def is_chosen(self) -> bool:
        """Whether each query has shots of its own."""
        return self.inner.is_chosen

    @property
    def before(self) -> tuple[str, ...]:
        """What stands before a query in its prompts."""
        return self.inner.before

    @property
    def num_shots(self) -> int:
        """Shots of the inner predictor."""
        return self.inner.num_shots

    @property
    def shot_tokens(self) -> int:
        """Tokens of its shots."""
        return self.inner.shot_tokens

    @property
    def shot_bytes(self) -> int:
        """Bytes of its shots' text, UTF-8."""
        return self.inner.shot_bytes

    @property
    def num_cut_tokens(self) -> int:
        """Tokens that were cut from its shots."""
        return self.inner.num_cut_tokens

    def check_choices(self, examples: Sequence[Example]) -> None:
        """Check that the model can tell the answer choices apart."""
        self.inner.check_choices(examples)

    def num_fitting(self, examples: Sequence[Example]) -> int:
        """Count the shots with which the longest query fits."""
        return self.inner.num_fitting(examples)

    def take(self, num_shots: int, examples: Sequence[Example]) -> None:
        """Go on with the first `num_shots` shots."""
        self.inner.take(num_shots, examples)

    def rounds(self, examples: Sequence[Example]) -> list[Round]:
        """List what is scored of these examples."""
        return self.inner.rounds(examples)

    def generate(
        self, examples: Sequence[Example], decoding: Decoding, progress: Callable[[int], None] | None = None
    ) -> list[Output]:
        """Refuse to write: most of what is around a predictor is of choices.

        Raises:
            MethodError: Always.
        """
        raise no_text("calibration divides the probabilities of answer choices")
