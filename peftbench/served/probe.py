"""The probe: what a server is and says, found out before the first cell by a few requests that must agree."""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from peftbench.errors import ModelError
from peftbench.models import foreign
from peftbench.scoring.encoding import Encoded
from peftbench.served.client import NO_KEY, Client, Refused, Unreachable
from peftbench.served.dialects.base import Dialect
from peftbench.served.dialects.echo import Echo
from peftbench.served.dialects.next_token import ByBias, ByIds, NextToken
from peftbench.served.dialects.sglang import SgLang

TEXTS = (
    "The capital of France is",
    "Water boils at a hundred degrees, and freezes at",
    "Review: a dull film, and far too long.\nSentiment:",
)
"""What is asked. Their continuations by the model itself are the canary."""
NO_PAGE = (404, 405)
"""Status of a page that a server does not have: of another dialect's."""
NUM_TOKENS = 3
MASS_TOLERANCE = 0.01
"""Beyond 1, of two probabilities in a model's own rounding."""
TOLERANCE = 0.1
"""Nats within which one value must be the other. Batches and caches move it by a hundredth; a value of another token,
or one after the temperature, by whole ones."""

Ids = Callable[[str], Sequence[int]]
Chain = tuple[tuple[int, ...], tuple[int, ...]]
"""A prompt, and the tokens by which the model goes on."""


@dataclass(frozen=True)
class Description:
    """What a server says of itself; None where it does not say.

    Args:
        kind: "llama.cpp", "vllm" or "sglang", by the pages that it has; "unknown".
        models: Names of the models that it serves.
        max_positions: Tokens of a prompt and its answer.
    """

    kind: str
    version: str | None
    models: tuple[str, ...]
    quantization: str | None
    max_positions: int | None
    num_parameters: int | None

    @classmethod
    def of(cls, client: Client) -> "Description":
        """Ask a server what it is.

        Raises:
            ModelError: It does not answer.
        """
        listed = _table(client.get("/v1/models")).get("data")
        models = [_table(model) for model in listed] if isinstance(listed, list) else []
        first = models[0] if models else {}
        meta, props = _table(first.get("meta")), _table(client.get("/props"))
        info: Mapping[str, Any] = {}
        kind, version = "unknown", None
        if "default_generation_settings" in props:
            kind, version = "llama.cpp", props.get("build_info")
        elif info := _table(client.get("/get_model_info")):
            kind, version = "sglang", _table(client.get("/get_server_info")).get("version")
        elif release := _table(client.get("/version")):
            kind, version = "vllm", release.get("version")
        n_ctx = _table(props.get("default_generation_settings")).get("n_ctx")
        return cls(
            kind=kind,
            version=_text(version),
            models=tuple(text for model in models if (text := _text(model.get("id")))),
            quantization=_text(props.get("model_ftype") or meta.get("ftype") or info.get("quantization")),
            max_positions=_count(n_ctx) or _count(first.get("max_model_len")) or _count(info.get("max_model_len")),
            num_parameters=_count(meta.get("n_params")),
        )


@dataclass(frozen=True)
class Probed:
    """A server that passed all checks.

    Args:
        dialect: How it is asked.
        noise: Largest difference, in nats, of a value when it was asked again, warm and after other prompts.
        chains: Fixed prompts, and how the model goes on: its own tokens.
        canary: Log-probabilities of these continuations, in nats.
        checks: What was checked, in words.
    """

    description: Description
    dialect: Dialect
    noise: float
    chains: tuple[Chain, ...]
    canary: tuple[float, ...]
    checks: tuple[str, ...]

    def again(self, client: Client) -> tuple[float, ...]:
        """Ask for the canary once more.

        Raises:
            ModelError: As `Dialect.score`.
        """
        return _canary(client, self.dialect, self.chains)


def probe(client: Client, model: str, ids_of: Ids, opening: Sequence[int], dialect: str | None = None) -> Probed:
    """Find out how a server is asked, and that what it answers is right.

    Args:
        client: The server.
        model: The model's name, as the server calls it.
        ids_of: The tokenizer: text -> ids, without those that open or end it.
        opening: Tokens that open each prompt.
        dialect: Name of the only dialect to try; None for all.

    Raises:
        ModelError: No server, another model or tokenizer, or no dialect in which its answers agree.
    """
    description = Description.of(client)
    _check_model(description, model)
    checks = [_tokenizer_check(client, model, ids_of)]
    prompts = [(*opening, *ids_of(text)) for text in TEXTS]
    errors: list[tuple[str, ModelError]] = []
    for candidate in _candidates(model, ids_of):
        if dialect not in (None, candidate.name):
            continue
        try:
            chains, rounds = _agreement(client, candidate, prompts)
        except Unreachable:
            raise
        except ModelError as error:
            errors.append((candidate.name, error))
        else:
            checks.append(f"{candidate.name}: values agree with those of generated tokens within {TOLERANCE} nats")
            noise = max(
                abs(value - first) for values in zip(*rounds, strict=True) for value in values for first in values
            )
            checks.append(f"asked again, warm and cold: {noise:.4f} nats apart")
            return Probed(description, candidate, noise, chains, rounds[0], tuple(checks))
    raise _refusal(errors)


def _refusal(errors: Sequence[tuple[str, ModelError]]) -> ModelError:
    """Write why no dialect will do: pages that a server does not have are no faults beside others."""
    statuses = [error.status if isinstance(error, Refused) else None for _, error in errors]
    faults = [place for place, status in enumerate(statuses) if status not in NO_PAGE]
    if faults and all(statuses[place] in NO_KEY for place in faults):
        return errors[faults[0]][1]
    reasons = (f"{errors[place][0]}: {errors[place][1]}" for place in faults or range(len(errors)))
    return ModelError(
        f"the server gives no log-probabilities of tokens that are chosen here: {'; '.join(dict.fromkeys(reasons))}",
        hint="llama.cpp's server, vLLM and SGLang do; one that chats alone, or shows the 20 likeliest tokens, cannot "
        "rank answers: one that is not among them has no value",
    )


def _candidates(model: str, ids_of: Ids) -> Iterator[Dialect]:
    yield NextToken(ByBias())
    yield NextToken(ByIds(model))
    yield SgLang()
    yield Echo(model, ids_of)


def _check_model(description: Description, model: str) -> None:
    """Refuse a name that the server does not know; llama.cpp's has one model, whatever it is called."""
    if description.kind != "llama.cpp" and description.models and model not in description.models:
        names = ", ".join(description.models[:5])
        raise ModelError(f"the server has no model '{model}'", hint=f"served:NAME is one of: {names}")


def _tokenizer_check(client: Client, model: str, ids_of: Ids) -> str:
    """Compare a text's ids with the server's, where it has a page for that.

    Raises:
        ModelError: They are others.
    """
    for text in TEXTS:
        body = {"content": text, "add_special": False, "model": model, "prompt": text, "add_special_tokens": False}
        try:
            ids = _table(client.post("/tokenize", body)).get("tokens")
        except Refused:
            return "ids: the server has no /tokenize, so that only its number of tokens is compared"
        if list(ids_of(text)) != ids:
            message = f"'{text[:30]}...' has other tokens on the server than here: another tokenizer"
            raise ModelError(message, hint="--tokenizer with the served model's own folder, GGUF file or hub id")
    return f"ids: the server's are the same for {len(TEXTS)} texts"


def _agreement(
    client: Client, dialect: Dialect, prompts: Sequence[Sequence[int]]
) -> tuple[tuple[Chain, ...], list[tuple[float, ...]]]:
    """Compare forced or echoed values with those of tokens that the model generates by itself.

    The model goes on for some tokens, each with its value. Scored as choices, their sums must be the same: a value of
    another token, an echo that is ignored, or one after the temperature, is not.

    Returns:
        Prompts with their continuations, and the canary three times: the last time each prompt comes after others, from
        a colder cache.

    Raises:
        ModelError: They differ, or what is no probability.
    """
    chains, generated = [], []
    for prompt in prompts:
        ids, values = _continued(client, dialect, prompt)
        chains.append((tuple(prompt), ids))
        generated.append(values)
    _check_mass(client, dialect, chains)
    rounds = [_canary(client, dialect, chains) for _ in range(2)]
    _compare(rounds[0], generated)
    backwards = [_scored(client, dialect, *chain) for chain in reversed(chains)]
    rounds.append(tuple(itertools.chain(*reversed(backwards))))
    return tuple(chains), rounds


def _canary(client: Client, dialect: Dialect, chains: Sequence[Chain]) -> tuple[float, ...]:
    return tuple(value for chain in chains for value in _scored(client, dialect, *chain))


def _continued(client: Client, dialect: Dialect, prompt: Sequence[int]) -> tuple[tuple[int, ...], list[float]]:
    """Let the model go on: its tokens, and the sums of the values that it gives them unasked."""
    ids: list[int] = []
    values = []
    for _ in range(NUM_TOKENS):
        token, value = dialect.greedy(client, (*prompt, *ids))
        ids.append(token)
        values.append(value)
    return tuple(ids), list(itertools.accumulate(values))


def _scored(client: Client, dialect: Dialect, prompt: Sequence[int], ids: Sequence[int]) -> list[float]:
    """Score a continuation's first token, its first two, and so on, as choices: the sums so far."""
    choices = tuple(tuple(ids[: number + 1]) for number in range(len(ids)))
    return list(dialect.score(client, Encoded(tuple(prompt), choices, (0,) * len(choices))).sums)


def _compare(sums: Sequence[float], generated: Sequence[Sequence[float]]) -> None:
    pairs = zip(sums, itertools.chain(*generated), itertools.cycle(range(1, NUM_TOKENS + 1)), strict=False)
    for scored, expected, number in pairs:
        if not math.isclose(scored, expected, rel_tol=0, abs_tol=TOLERANCE * number):
            message = (
                f"the first {number} tokens that it generates have {expected:.3f} nats when it generates them, and "
                f"{scored:.3f} when they are asked for"
            )
            hint = "values of other tokens, or after the temperature; another --dialect, or a newer server"
            raise ModelError(message, hint=hint)


def _check_mass(client: Client, dialect: Dialect, chains: Sequence[Chain]) -> None:
    """Refuse probabilities of two next tokens that are more than 1 together: values after a bias or the temperature."""
    for prompt, (first, *_) in chains:
        other = next((token for token in prompt[::-1] if token != first), None)
        if other is None:
            continue
        sums = dialect.score(client, Encoded(prompt, ((first,), (other,)), (0, 0))).sums
        if sum(map(math.exp, sums)) > 1 + MASS_TOLERANCE:
            message = (
                f"two tokens that exclude each other have {sums[0]:.3f} and {sums[1]:.3f} nats: more than 1 together"
            )
            raise ModelError(
                message, hint="values before any bias and temperature: on llama.cpp post_sampling_probs off"
            )


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return foreign.line(value) if isinstance(value, str) and value else None


def _count(value: Any) -> int | None:
    return value if type(value) is int and value > 0 else None
