"""`next-token`: the log-probability of given ids after a prompt, walking along the choices' tokens.

Choices that begin alike are asked for these tokens once. A token is forced by a bias that no other can outweigh, and
what servers give is its probability before any bias: so llama.cpp's server says (`post_sampling_probs` off), and vLLM
of `logprob_token_ids`, which takes all tokens that may follow in one request. Both take the prompt from their cache.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from peftbench.errors import ModelError
from peftbench.models import foreign
from peftbench.scoring.encoding import Encoded
from peftbench.scoring.work import Usage
from peftbench.served.client import Client
from peftbench.served.dialects.base import (
    OTHER,
    Answer,
    Generated,
    at,
    check_read,
    finite,
    listed,
    number,
    texts_of,
    token_of,
    usage_of,
)

BIAS = 1000.0
MOST_IDS = 128
"""Ids of one request, to vLLM."""


class Form(Protocol):
    """How one server is asked for the next token."""

    def values(self, client: Client, prompt: Sequence[int], ids: Sequence[int]) -> tuple[list[float], Usage]:
        """Return log p of each id as the next token after a prompt."""
        ...

    def greedy(self, client: Client, prompt: Sequence[int]) -> Generated:
        """Return the likeliest next token, without forcing it."""
        ...


class NextToken:
    """The dialect, in one server's form."""

    name = "next-token"

    def __init__(self, form: Form) -> None:
        self._form = form

    def greedy(self, client: Client, prompt: Sequence[int]) -> Generated:
        """See `Dialect.greedy`."""
        return self._form.greedy(client, prompt)

    def score(self, client: Client, prompt: Encoded) -> Answer:
        """Ask for each token of each choice; see `Dialect.score`."""
        log_probs: dict[tuple[tuple[int, ...], int], float] = {}
        usage = Usage()
        for before, ids in _following(prompt).items():
            values, spent = self._form.values(client, (*prompt.context, *before), ids)
            log_probs |= {(before, token): value for token, value in zip(ids, values, strict=True)}
            usage += spent
        sums = [
            sum(log_probs[choice[:place], choice[place]] for place in range(start, len(choice)))
            for choice, start in zip(prompt.choices, prompt.starts, strict=True)
        ]
        return Answer(tuple(sums), usage)


class ByBias:
    """llama.cpp's server: a request for each id, which a bias makes the next token.

    Args:
        model: The model's name, which a server of one model leaves.
    """

    def __init__(self, model: str) -> None:
        self._model = model

    def values(self, client: Client, prompt: Sequence[int], ids: Sequence[int]) -> tuple[list[float], Usage]:
        """See `Form.values`."""
        values, usage = [], Usage()
        for token in ids:
            generated, spent = self._ask(client, prompt, {"logit_bias": [[token, BIAS]]})
            if generated.token != token:
                message = f"token {token} was forced on the server, and it gave {generated.token}"
                raise ModelError(f"{message}: it ignores logit_bias", hint=OTHER)
            values.append(generated.log_prob)
            usage += spent
        return values, usage

    def greedy(self, client: Client, prompt: Sequence[int]) -> Generated:
        """See `Form.greedy`."""
        generated, _ = self._ask(client, prompt, {})
        return generated

    def _ask(self, client: Client, prompt: Sequence[int], bias: dict[str, Any]) -> tuple[Generated, Usage]:
        body = {
            "model": self._model,
            "prompt": list(prompt),
            "n_predict": 1,
            "n_probs": 1,
            "temperature": 0,
            "cache_prompt": True,
            "post_sampling_probs": False,
        }
        answer = client.post("/completion", body | bias)
        values = listed(at(answer, "completion_probabilities"))
        if len(values) != 1:
            raise ModelError(f"one token was asked for, and the server gives {len(values)}", hint=OTHER)
        check_read(answer.get("tokens_evaluated"), len(prompt))
        token, (value,) = token_of(at(values, 0, "id")), values
        texts = texts_of(((token,), value.get("token")), (prompt, answer.get("prompt")))
        timings = answer.get("timings")
        cached = number(timings.get("cache_n")) if isinstance(timings, dict) else None
        return Generated(token, finite(at(value, "logprob")), texts), Usage(1, len(prompt), cached, 1)


class ByIds:
    """vLLM's server: one request for all ids that may follow.

    Args:
        model: The model's name, as the server calls it.
    """

    def __init__(self, model: str) -> None:
        self._model = model

    def values(self, client: Client, prompt: Sequence[int], ids: Sequence[int]) -> tuple[list[float], Usage]:
        """See `Form.values`."""
        values, usage = [], Usage()
        for first in range(0, len(ids), MOST_IDS):
            part = list(ids[first : first + MOST_IDS])
            table, spent, _ = self._ask(client, prompt, {"logprob_token_ids": part})
            values += [finite(at(table, f"token_id:{token}")) for token in part]
            usage += spent
        return values, usage

    def greedy(self, client: Client, prompt: Sequence[int]) -> Generated:
        """See `Form.greedy`."""
        table, _, text = self._ask(client, prompt, {})
        name = max(table, key=lambda name: finite(table[name]), default="")
        token = id_of(name)
        return Generated(token, finite(table[name]), texts_of(((token,), text)))

    def _ask(self, client: Client, prompt: Sequence[int], ids: dict[str, Any]) -> tuple[dict[str, Any], Usage, Any]:
        body = {
            "model": self._model,
            "prompt": list(prompt),
            "max_tokens": 1,
            "temperature": 0,
            "logprobs": 1,
            "return_tokens_as_token_ids": True,
        }
        answer = client.post("/v1/completions", body | ids)
        table = at(answer, "choices", 0, "logprobs", "top_logprobs", 0)
        if not isinstance(table, dict) or not table:
            raise ModelError("the server gives no log-probability of the token that it generated", hint=OTHER)
        return table, usage_of(answer, [prompt]), answer["choices"][0].get("text")


def id_of(name: str) -> int:
    """Read the id of a token that is written as vLLM writes it: "token_id:123".

    Raises:
        ModelError: It is written otherwise.
    """
    prefix, _, digits = name.partition(":")
    if prefix != "token_id" or not (digits.isascii() and digits.isdecimal()) or len(digits) > 9:
        raise ModelError(f"the server names a token {foreign.line(repr(name[:40]))}, and not by its id", hint=OTHER)
    return int(digits)


def _following(prompt: Encoded) -> dict[tuple[int, ...], list[int]]:
    """List for what choices begin with which answer tokens may follow, shortest beginnings first."""
    pairs = {
        (choice[:place], choice[place]): None
        for choice, start in zip(prompt.choices, prompt.starts, strict=True)
        for place in range(start, len(choice))
    }
    following: dict[tuple[int, ...], list[int]] = {}
    for before, token in sorted(pairs, key=lambda pair: len(pair[0])):
        following.setdefault(before, []).append(token)
    return following
