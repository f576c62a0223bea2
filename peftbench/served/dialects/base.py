"""What each dialect does: sums of log-probabilities of a prompt's choices, from one server."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from peftbench.errors import ModelError
from peftbench.models import foreign
from peftbench.scoring.encoding import Encoded
from peftbench.scoring.work import Usage
from peftbench.served.client import Client

NO_VALUE = -9999.0
"""vLLM writes so where a log-probability is minus infinity."""
MOST_TOKENS = 10**9
"""Of a vocabulary, and of a prompt."""


@dataclass(frozen=True)
class Answer:
    """What came back for one prompt.

    Args:
        sums: Per choice, its answer tokens' log-probabilities added up, in nats.
    """

    sums: tuple[float, ...]
    usage: Usage


@dataclass(frozen=True)
class Generated:
    """The likeliest next token after a prompt, as a server generates it unasked.

    Args:
        token: Its id.
        log_prob: As the server gives it, in nats.
        texts: Ids, and the text that the server has for them: of the token, and of the prompt where it says.
    """

    token: int
    log_prob: float
    texts: tuple[tuple[tuple[int, ...], str], ...]


class Dialect(Protocol):
    """A way to ask a server."""

    name: str

    def score(self, client: Client, prompt: Encoded) -> Answer:
        """Ask for the log-probabilities of all choices of a prompt.

        Raises:
            ModelError: The server does not answer, or answers what cannot be right.
        """
        ...

    def greedy(self, client: Client, prompt: Sequence[int]) -> Generated:
        """Ask for the likeliest next token after a prompt.

        Raises:
            ModelError: As `score`.
        """
        ...


def finite(value: Any) -> float:
    """Read a log-probability.

    Raises:
        ModelError: It is absent, no number, not finite, or above 0: that of no probability.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ModelError(f"the server gives {foreign.line(repr(value))} in place of a log-probability", hint=OTHER)
    if not math.isfinite(value) or value <= NO_VALUE or value > 1e-3:
        raise ModelError(f"the server gives {value} as a log-probability", hint=OTHER)
    return float(value)


def token_of(value: Any) -> int:
    """Read a token's id.

    Raises:
        ModelError: It is none.
    """
    if type(value) is not int or not 0 <= value < MOST_TOKENS:
        raise ModelError(f"the server gives {foreign.line(repr(value))} in place of a token's id", hint=OTHER)
    return value


def listed(value: Any) -> list[Any]:
    """Read a list; what is none has nothing in it."""
    return value if isinstance(value, list) else []


def number(value: Any) -> int | None:
    """Read how many tokens there were; None where the server does not say."""
    return value if type(value) is int and 0 <= value < MOST_TOKENS else None


def texts_of(*pairs: tuple[Sequence[int], Any]) -> tuple[tuple[tuple[int, ...], str], ...]:
    """Keep those ids that the server has a text for; see `Generated`."""
    return tuple((tuple(ids), text) for ids, text in pairs if isinstance(text, str))


def at(table: Any, *path: str | int) -> Any:
    """Look up a value inside of tables and lists.

    Raises:
        ModelError: The server's answer does not have it.
    """
    for key in path:
        try:
            table = table[key]
        except (KeyError, IndexError, TypeError):
            where = ".".join(map(str, path))
            raise ModelError(f"the server's answer has no {where}", hint=OTHER) from None
    return table


def check_read(num_read: Any, num_sent: int) -> None:
    """Compare how many tokens a server says that it read with how many it got.

    Raises:
        ModelError: They differ: it cut the prompt, or added to it.
    """
    if number(num_read) is not None and num_read != num_sent:
        message = f"the server read {num_read:,} tokens, and {num_sent:,} were sent"
        hint = f"it cuts prompts (fewer --shots, --max-input-tokens), or adds tokens of its own: {OTHER}"
        raise ModelError(message, hint=hint)


def usage_of(answer: Mapping[str, Any], prompts: Sequence[Sequence[int]]) -> Usage:
    """Read what an answer in OpenAI's form says it took.

    Raises:
        ModelError: It says other numbers of tokens than were sent.
    """
    sent = sum(map(len, prompts))
    table = answer.get("usage")
    table = table if isinstance(table, Mapping) else {}
    check_read(table.get("prompt_tokens"), sent)
    details = table.get("prompt_tokens_details")
    cached = number(details.get("cached_tokens")) if isinstance(details, Mapping) else None
    return Usage(1, sent, cached, number(table.get("completion_tokens")) or 0)


OTHER = "`peftbench icl --dialect` has others; llama.cpp's server, vLLM and SGLang are known to work"
