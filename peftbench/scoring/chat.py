"""Chat: shots and query as turns of the tokenizer's own chat template, the answer as the assistant's last one.

    system   [user: input_i   assistant: answer_i]  i = 1 .. k   user: input   assistant: | answer [end of turn]

The template is rendered once with stand-ins for all that is said, and split at them: the parts between are what stands
around a message. That the template writes messages as they are follows for no message from that, so each input and
each choice is rendered by the template as well, and the two texts must be the same.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from peftbench.errors import ModelError
from peftbench.models import foreign
from peftbench.models.backbone import Backbone
from peftbench.models.chat_template import PLAIN, ChatTemplate, Message, chat_template
from peftbench.scoring.layout import Layout, Shot
from peftbench.spec.cell import Scoring
from peftbench.tasks.task import Example

STAND_IN = re.compile(r"zq\d+qz")


@dataclass(frozen=True)
class ChatLayout(Layout):
    """What stands around an input and an answer in a conversation.

    Args:
        model: Name of the model.
        end: All that the template writes after an answer; `after` is what is scored of it.
        marks: Texts that tell turns apart: in a message they would forge some.
        render: Renders the conversation that ends with an input and an answer.
    """

    model: str = ""
    end: str = ""
    marks: tuple[str, ...] = ()
    render: Callable[[str, str], str] = lambda input, answer: ""

    def prompt(self, input: str) -> str:
        """Write what an answer is predicted from: all turns before it, and what opens its own."""
        return super().prompt(input.strip())

    def text(self, input: str, answer: str, joint: str = "") -> str:
        """Write the conversation up to the answer's end; an answer begins its turn, whatever joins it in plain text."""
        return super().text(input, answer, "")

    def check(self, examples: Sequence[Example]) -> None:
        """Check that the template writes all inputs and choices as they are, and that none forges a turn.

        Raises:
            ModelError: Names the row.
        """
        known: set[str] = set()
        for example in examples:
            place = f"row {example.row_id + 1}"
            self.refuse_marks((example.input, *example.choices), place)
            new = [choice for choice in example.choices if choice not in known]
            known.update(new)
            for choice in new or example.choices[:1]:
                self._check_text(example.input.strip(), choice.strip(), place)

    def refuse_marks(self, texts: Iterable[str], place: str) -> None:
        """Refuse texts that would end a turn or begin one.

        Args:
            texts: Inputs and answers.
            place: Where they are from, in words.

        Raises:
            ModelError: Names the place.
        """
        mark = next((mark for text in texts for mark in self.marks if mark in text), None)
        if mark is not None:
            message = f"{place} holds '{foreign.line(mark)}', by which '{self.model}' tells turns apart"
            raise ModelError(message, hint=f"take it out of the row; {PLAIN}")

    def _check_text(self, input: str, answer: str, place: str) -> None:
        if self.render(input, answer) != f"{self.prompt(input)}{answer}{self.end}":
            message = f"the chat template of '{self.model}' writes {place} otherwise than it stands there"
            raise ModelError(message, hint=f"what it looks for in a message it changes; {PLAIN}")


def layout(backbone: Backbone, scoring: Scoring, shots: Sequence[Shot]) -> ChatLayout:
    """Lay out a conversation: the system prompt, the shots as turns, then the input's turn and the answer's.

    Args:
        backbone: Decoder-only, with a chat template.
        scoring: Its system prompt, and whether the answer's end of turn is scored with it.
        shots: In their order.

    Raises:
        ModelError: There is no chat template, or it cannot be used; or a shot would forge turns.
    """
    if backbone.num_positions_before:
        message = "a prefix is the beginning of a text, and a conversation on it would begin again"
        raise ModelError(message, hint=PLAIN)
    template = chat_template(backbone)
    said = [text.strip() for shot in shots for text in (shot.input, shot.answer)]
    parts = _parts(template, backbone.name, scoring.system, len(said) + 2)
    turns = [part + text for part, text in zip(parts, said, strict=False)]
    between, end = parts[-2:]
    tokens = _tokens(backbone)
    chat = ChatLayout(
        "".join(turns) + parts[-3],
        between,
        after=_end(backbone.name, end, tokens) if scoring.end == "eos" else "",
        start=len(parts[0]),
        ends=tuple(accumulate(map(len, turns)))[1::2],
        model=backbone.name,
        end=end,
        marks=_marks(backbone, parts, tokens),
        render=lambda input, answer: template.render(_messages(scoring.system, [*said, input, answer])),
    )
    chat.refuse_marks(said, "a shot")
    return chat


def _messages(system: str | None, texts: Sequence[str]) -> list[Message]:
    head: list[Message] = [] if system is None else [{"role": "system", "content": system}]
    roles = ("user", "assistant")
    return head + [{"role": roles[index % 2], "content": text} for index, text in enumerate(texts)]


def _parts(template: ChatTemplate, model: str, system: str | None, num_texts: int) -> list[str]:
    """Return what the template writes before, between and after the messages."""
    stand_ins = [f"zq{index}qz" for index in range(num_texts)]
    text = template.render(_messages(system, stand_ins))
    if STAND_IN.findall(text) != stand_ins:
        message = f"the chat template of '{model}' does not show each message once, in their order"
        raise ModelError(message, hint=PLAIN)
    return STAND_IN.split(text)


def _tokens(backbone: Backbone) -> list[str]:
    """List the texts that the tokenizer takes for one token wherever they stand."""
    added = backbone.tokenizer.backend_tokenizer.get_added_tokens_decoder().values()
    return [token.content for token in added if token.content]


def _marks(backbone: Backbone, parts: Sequence[str], tokens: Sequence[str]) -> tuple[str, ...]:
    """List the tokens that the template writes and those that begin and end texts, or else the words of a turn."""
    written = "\0".join(parts)
    ends = (backbone.tokenizer.bos_token, backbone.tokenizer.eos_token)
    marks = [token for token in tokens if token in written or token in ends]
    words = parts[-2].strip()
    return (*marks, words) if words and not any(mark in words for mark in marks) else tuple(marks)


def _end(model: str, end: str, tokens: Sequence[str]) -> str:
    """Return what closes an answer, up to the first token of its own."""
    stops = [(end.index(token), len(token)) for token in tokens if token in end]
    if not stops:
        message = f"the chat template of '{model}' ends a turn with no token of its own"
        raise ModelError(message, hint="--end none")
    start, length = min(stops, key=lambda stop: (stop[0], -stop[1]))
    return end[: start + length]
