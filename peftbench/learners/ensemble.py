"""Ensembles: one prompt for each shot, the answers joined; k one-shot prompts in place of one k-shot prompt."""

from collections.abc import Callable, Sequence
from typing import Literal

from peftbench.learners.predictor import Prompting, Round, no_text
from peftbench.scoring.generate import Output
from peftbench.scoring.ranking import mean, vote
from peftbench.scoring.score import Scores
from peftbench.scoring.work import Work
from peftbench.spec.decoding import Decoding
from peftbench.tasks.task import Example


class EnsemblePredictor:
    """Scores queries after each shot alone, and joins what the prompts say.

    mean: p(y | x) = 1/k sum_j p(y | shot_j, x), then normalised by length as any other log-probability
    vote: each prompt has one vote, for the choice that it ranks first; of equals the first choice

    Args:
        members: One for each shot, in the order of the draw.
        how: How their answers are joined.

    Paper: 2205.05638, appendix F (mean).
    Differs: the authors' code does not average probabilities, it takes the vote; Min et al. (2108.04106) multiply them.
    """

    is_chosen = False

    def __init__(self, members: Sequence[Prompting], how: Literal["mean", "vote"]) -> None:
        self._members, self._join = list(members), {"mean": mean, "vote": vote}[how]

    @property
    def before(self) -> tuple[str, ...]:
        """What stands before a query in each prompt."""
        return tuple(text for member in self._members for text in member.before)

    @property
    def num_shots(self) -> int:
        """Shots, each in a prompt of its own."""
        return len(self._members)

    @property
    def shot_tokens(self) -> int:
        """Tokens of all shots."""
        return sum(member.shot_tokens for member in self._members)

    @property
    def shot_bytes(self) -> int:
        """Bytes of all shots' text, UTF-8."""
        return sum(member.shot_bytes for member in self._members)

    @property
    def num_cut_tokens(self) -> int:
        """Tokens that were cut from all shots."""
        return sum(member.num_cut_tokens for member in self._members)

    def score(self, examples: Sequence[Example], progress: Callable[[int], None] | None = None) -> Scores:
        """Score each example's choices after each shot; `lengths` are of all these prompts."""
        advance = fraction(len(self._members), progress)
        members = [member.score(examples, advance) for member in self._members]
        of_example = zip(*(scores.choices for scores in members), strict=True)
        return Scores(
            choices=[self._join(choice_scores) for choice_scores in of_example],
            lengths=[length for scores in members for length in scores.lengths],
            work=sum((scores.work for scores in members), Work()),
            once=tuple(length for scores in members for length in scores.once),
            seconds=sum(scores.seconds for scores in members),
        )

    def generate(
        self, examples: Sequence[Example], decoding: Decoding, progress: Callable[[int], None] | None = None
    ) -> list[Output]:
        """Refuse to write: one text is not written by several prompts.

        Raises:
            MethodError: Always.
        """
        raise no_text("an ensemble joins what its prompts say of answer choices")

    def rounds(self, examples: Sequence[Example]) -> list[Round]:
        """List what is scored of these examples: all of them in each prompt."""
        return [part for member in self._members for part in member.rounds(examples)]

    def check_choices(self, examples: Sequence[Example]) -> None:
        """Check that the model can tell the answer choices apart."""
        self._members[0].check_choices(examples)

    def num_fitting(self, examples: Sequence[Example]) -> int:
        """Count the shots before the first one that does not fit in a prompt with the longest query."""
        fits = (member.num_fitting(examples) for member in self._members)
        return next((index for index, num_shots in enumerate(fits) if num_shots < 1), len(self._members))

    def take(self, num_shots: int, examples: Sequence[Example]) -> None:
        """Go on with the first shots.

        Raises:
            ModelError: The next one does not fit in a prompt: `fit_shots` leaves out shots of a prompt, not prompts.
        """
        for member in self._members[: num_shots + 1]:
            member.take(member.num_fitting(examples), examples)


def fraction(num_members: int, progress: Callable[[int], None] | None) -> Callable[[int], None] | None:
    """Report an example as done when it was scored in all prompts, on the average."""
    if progress is None:
        return None
    waiting = 0

    def advance(done: int) -> None:
        nonlocal waiting
        whole, waiting = divmod(waiting + done, num_members)
        if whole:
            progress(whole)

    return advance
