"""How shots, an input and an answer stand in one text."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from peftbench.spec.cell import Scoring
from peftbench.tasks.task import Example

MARK = "[[answer]]"
"""Where in an input its answer stands, of a template for encoder-only models; behind the input where it has none."""


@dataclass(frozen=True)
class Shot:
    """A labelled example as it is written: input, answer, and the white space between them in plain text."""

    input: str
    answer: str
    joint: str = " "

    def after(self, text: str) -> "Shot":
        """Return the shot with a text before its input."""
        return replace(self, input=text + self.input)


@dataclass(frozen=True)
class Layout:
    """What stands around an input and an answer in one text.

    text = prompt joint answer after,   prompt = before input between

    Args:
        before: The shots, and whatever else opens a prompt.
        between: What follows an input, before it is answered.
        after: What closes an answer, and is scored with it.
        start: Where in `before` the first shot begins.
        ends: Where in `before` each shot's answer ends.
    """

    before: str = ""
    between: str = ""
    after: str = ""
    start: int = 0
    ends: tuple[int, ...] = ()

    def prompt(self, input: str) -> str:
        """Write what an answer is predicted from; it ends without white space of the input's."""
        return f"{self.before}{input.rstrip()}{self.between}"

    def text(self, input: str, answer: str, joint: str = " ") -> str:
        """Write prompt and answer as one text; the answer brings the white space before it along, or has its place."""
        if MARK in input:
            return f"{self.prompt(input.replace(MARK, answer.strip()))}{self.after}"
        return f"{self.prompt(input)}{joint}{answer.strip()}{self.after}"

    def check(self, examples: Sequence[Example]) -> None:
        """Check that inputs and answers stand in the text as they are: plain text takes any."""


def plain(scoring: Scoring, shots: Sequence[Shot]) -> Layout:
    """Lay out plain text: the shots, each with a separator after it, then the input and the answer.

    Args:
        scoring: Its separator, and whether that closes an answer.
        shots: In their order.
    """
    texts = [Layout().text(shot.input, shot.answer, shot.joint) + scoring.separator for shot in shots]
    ends = tuple(stop - len(scoring.separator) for stop in accumulate(map(len, texts)))
    return Layout("".join(texts), after=scoring.separator if scoring.end == "separator" else "", ends=ends)
