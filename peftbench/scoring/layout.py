"""How shots, an input and an answer stand in one text."""

from collections.abc import Sequence
from dataclasses import dataclass

from peftbench.spec.cell import Scoring
from peftbench.tasks.task import Example

Shot = tuple[str, str]
"""A shot's input and its answer."""


@dataclass(frozen=True)
class Layout:
    """What stands around an input and an answer in one text.

    text = prompt joint answer after,   prompt = before input between

    Args:
        before: The shots, and whatever else opens a prompt.
        between: What follows an input, before it is answered.
        joint: What the answer brings along before it.
        after: What closes an answer, and is scored with it.
    """

    before: str = ""
    between: str = ""
    joint: str = " "
    after: str = ""

    def prompt(self, input: str) -> str:
        """Write what an answer is predicted from; it ends without white space of the input's."""
        return f"{self.before}{input}".rstrip() + self.between

    def text(self, input: str, answer: str) -> str:
        """Write prompt and answer as one text."""
        return f"{self.prompt(input)}{self.joint}{answer.strip()}{self.after}"

    def check(self, examples: Sequence[Example]) -> None:
        """Check that inputs and answers stand in the text as they are: plain text takes any."""


def join(input: str, target: str) -> str:
    """Write an input and a target as one text: the prompt ends without white space, the target brings the space."""
    return Layout().text(input, target)


def plain(scoring: Scoring, shots: Sequence[Shot]) -> Layout:
    """Lay out plain text: the shots, each with a separator after it, then the input, a space and the answer.

    Args:
        scoring: Its separator, and whether that closes an answer.
        shots: In their order.
    """
    before = "".join(join(*shot) + scoring.separator for shot in shots)
    return Layout(before, after=scoring.separator if scoring.end == "separator" else "")
