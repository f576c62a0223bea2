"""`sglang`: SGLang's own /generate, which gives a prompt's log-probabilities from a token on.

What stands before that token comes from the server's cache.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from peftbench.errors import ModelError
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
)

NO_MORE: Mapping[str, Any] = MappingProxyType({})


class SgLang:
    """The dialect."""

    name = "sglang"

    def score(self, client: Client, prompt: Encoded) -> Answer:
        """Send all choices in one request; see `Dialect.score`."""
        num_context = len(prompt.context)
        prompts = [(*prompt.context, *choice) for choice in prompt.choices]
        # The entry at the start has no value: it is the last token of the context, or of what choices begin with.
        firsts = [num_context + start - 1 for start in prompt.starts]
        answers = self._post(client, prompts, firsts)
        sums, usage = [], Usage()
        for ids, first, answer in zip(prompts, firsts, answers, strict=True):
            values = listed(at(answer, "meta_info", "input_token_logprobs"))
            answered = [at(value, 1) for value in values]
            if answered != list(ids[first:]):
                message = (
                    f"the server gives values of {len(answered)} tokens, and {len(ids) - first} others were asked for"
                )
                raise ModelError(message, hint=OTHER)
            sums.append(sum(finite(at(value, 0)) for value in values[1:]))
            info = answer["meta_info"]
            check_read(info.get("prompt_tokens"), len(ids))
            cached, generated = (number(info.get(name)) for name in ("cached_tokens", "completion_tokens"))
            usage += Usage(0, len(ids), cached, generated or 0)
        return Answer(tuple(sums), replace(usage, requests=1))

    def greedy(self, client: Client, prompt: Sequence[int]) -> Generated:
        """See `Dialect.greedy`."""
        (answer,) = self._post(client, [prompt], [0], {"return_text_in_logprobs": True})
        info = at(answer, "meta_info")
        pairs = [*listed(at(info, "input_token_logprobs")), at(info, "output_token_logprobs", 0)]
        value, token = (at(pairs[-1], place) for place in (0, 1))
        texts = texts_of(*(((token_of(at(pair, 1)),), at(pair, 2)) for pair in pairs))
        return Generated(token_of(token), finite(value), texts)

    def _post(
        self, client: Client, prompts: Sequence[Sequence[int]], firsts: Sequence[int], more: Mapping[str, Any] = NO_MORE
    ) -> list[Any]:
        body = {
            "input_ids": [list(ids) for ids in prompts],
            "sampling_params": {"temperature": 0, "max_new_tokens": 1},
            "return_logprob": True,
            "logprob_start_len": list(firsts),
            **more,
        }
        answers = client.post("/generate", body)
        if not isinstance(answers, list) or len(answers) != len(prompts):
            raise ModelError(f"{len(prompts)} prompts were sent, and the server answers other ones", hint=OTHER)
        return answers
