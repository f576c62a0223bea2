"""`echo`: the log-probabilities of a prompt's own tokens, in the form of OpenAI's older completions.

Each choice is a prompt of its own behind the same context. The first token has no value, and one token is generated,
whose value stands behind the prompt's.
"""

from collections.abc import Callable, Sequence
from typing import Any

from peftbench.errors import ModelError
from peftbench.models import foreign
from peftbench.scoring.encoding import Encoded
from peftbench.scoring.work import Usage
from peftbench.served.client import Client
from peftbench.served.dialects.base import OTHER, Answer, Generated, at, finite, listed, texts_of, usage_of
from peftbench.served.dialects.next_token import id_of


class Echo:
    """The dialect.

    Args:
        model: The model's name, as the server calls it.
        ids_of: The tokenizer: text -> ids, without those that open or end it.
    """

    name = "echo"

    def __init__(self, model: str, ids_of: Callable[[str], Sequence[int]]) -> None:
        self._model, self._ids_of = model, ids_of

    def score(self, client: Client, prompt: Encoded) -> Answer:
        """Send all choices in one request; see `Dialect.score`."""
        prompts = [(*prompt.context, *choice) for choice in prompt.choices]
        values, usage = self.echo(client, prompts)
        num_context = len(prompt.context)
        sums = [sum(map(finite, row[num_context + start :])) for row, start in zip(values, prompt.starts, strict=True)]
        return Answer(tuple(sums), usage)

    def greedy(self, client: Client, prompt: Sequence[int]) -> Generated:
        """See `Dialect.greedy`; the token is taken from what was generated behind the prompt.

        Raises:
            ModelError: The server writes it as text alone.
        """
        answer = self._post(client, [prompt])
        values = listed(at(answer, "choices", 0, "logprobs", "token_logprobs"))
        if len(values) < len(prompt):
            message = f"{len(prompt)} tokens were sent, and the server gives {len(values)} log-probabilities"
            raise ModelError(f"{message}: it does not echo prompts", hint=OTHER)
        if len(values) != len(prompt) + 1:
            raise ModelError(f"one token was to be generated, and {len(values) - len(prompt)} were", hint=OTHER)
        token = self._id(at(answer, "choices", 0, "logprobs", "tokens", len(prompt)))
        texts = texts_of(((*prompt, token), answer["choices"][0].get("text")))
        return Generated(token, finite(values[-1]), texts)

    def echo(self, client: Client, prompts: Sequence[Sequence[int]]) -> tuple[list[list[float | None]], Usage]:
        """Return the values of each prompt's tokens; that of its first one is None.

        Raises:
            ModelError: The server gives other numbers of values than tokens were sent.
        """
        answer = self._post(client, prompts)
        choices = listed(at(answer, "choices"))
        by_index = {place: choice for choice in choices if type(place := at(choice, "index")) is int}
        if len(choices) != len(prompts) or len(by_index) != len(prompts):
            raise ModelError(f"{len(prompts)} prompts were sent, and the server answers other ones", hint=OTHER)
        rows = []
        for index, prompt in enumerate(prompts):
            values = listed(at(by_index, index, "logprobs", "token_logprobs"))
            # A server that was to generate one token may have generated none.
            if len(values) not in (len(prompt), len(prompt) + 1):
                message = f"{len(prompt)} tokens were sent, and the server gives {len(values)} log-probabilities"
                raise ModelError(message, hint=f"it does not echo prompts: {OTHER}")
            rows.append(values[: len(prompt)])
        return rows, usage_of(answer, prompts)

    def _post(self, client: Client, prompts: Sequence[Sequence[int]]) -> Any:
        body = {
            "model": self._model,
            "prompt": [list(prompt) for prompt in prompts],
            "max_tokens": 1,
            "temperature": 0,
            "logprobs": 1,
            "echo": True,
            "return_tokens_as_token_ids": True,  # vLLM's; others leave it
        }
        return client.post("/v1/completions", body)

    def _id(self, token: Any) -> int:
        """Find the id of a generated token: written as such, or as a text of one token."""
        if isinstance(token, str) and token.startswith("token_id:"):
            return id_of(token)
        ids = self._ids_of(token) if isinstance(token, str) else []
        if len(ids) != 1:
            raise ModelError(
                f"the server generated {foreign.line(repr(token))}, which is no text of one token", hint=OTHER
            )
        return ids[0]
