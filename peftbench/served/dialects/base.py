"""What each dialect does: sums of log-probabilities of a prompt's choices, from one server."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from peftbench.errors import ModelError
from peftbench.scoring.encoding import Encoded
from peftbench.scoring.work import Usage
from peftbench.served.client import Client

NO_VALUE = -9999.0
"""vLLM writes so where a log-probability is minus infinity."""


@dataclass(frozen=True)
class Answer:
    """What came back for one prompt.

    Args:
        sums: Per choice, its answer tokens' log-probabilities added up, in nats.
    """

    sums: tuple[float, ...]
    usage: Usage


class Dialect(Protocol):
    """A way to ask a server."""

    name: str

    def score(self, client: Client, prompt: Encoded) -> Answer:
        """Ask for the log-probabilities of all choices of a prompt.

        Raises:
            ModelError: The server does not answer, or answers what cannot be right.
        """
        ...

    def greedy(self, client: Client, prompt: Sequence[int]) -> tuple[int, float]:
        """Ask for the likeliest next token after a prompt, and its log-probability as the server gives it unasked.

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
        raise ModelError(f"the server gives {value!r} in place of a log-probability", hint=OTHER)
    if not math.isfinite(value) or value <= NO_VALUE or value > 1e-3:
        raise ModelError(f"the server gives {value} as a log-probability", hint=OTHER)
    return float(value)


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


def usage_of(answer: Mapping[str, Any], prompts: Sequence[Sequence[int]], *, generated: int | None = None) -> Usage:
    """Read what an answer in OpenAI's form says it took.

    Raises:
        ModelError: It says other numbers of tokens than were sent.
    """
    sent = sum(map(len, prompts))
    table = answer.get("usage") if isinstance(answer, Mapping) else None
    table = table if isinstance(table, Mapping) else {}
    num_read = table.get("prompt_tokens")
    if isinstance(num_read, int) and num_read != sent:
        message = f"the server read {num_read:,} tokens, and {sent:,} were sent"
        raise ModelError(message, hint="it reads another tokenizer's ids, or adds tokens of its own: " + OTHER)
    details = table.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, Mapping) else None
    completion = table.get("completion_tokens") if generated is None else generated
    return Usage(1, sent, cached if isinstance(cached, int) else None, completion if isinstance(completion, int) else 0)


OTHER = "`peftbench icl --dialect` has others; llama.cpp's server, vLLM and SGLang are known to work"
