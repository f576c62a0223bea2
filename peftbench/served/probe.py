"""The probe: what a server is and says, found out before the first cell by a few requests that must agree."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from peftbench.errors import ModelError
from peftbench.served import checks
from peftbench.served.checks import OTHER_TOKENIZER, OWN, TEXTS, Chain, Coding, Ids, Unfit
from peftbench.served.client import NO_KEY, Client, Refused, Unreachable
from peftbench.served.description import Description
from peftbench.served.dialects.base import Dialect
from peftbench.served.dialects.echo import Echo
from peftbench.served.dialects.next_token import ByBias, ByIds, NextToken
from peftbench.served.dialects.sglang import SgLang

NO_PAGE = (404, 405)
"""Status of a page that a server does not have: of another dialect's."""


@dataclass(frozen=True)
class Probed:
    """A server that passed all checks.

    Args:
        dialect: How it is asked.
        noise: Largest difference, in nats, of one value of a prompt as long as some shots are: from a cold cache, a
            warm one, and in one batch with others.
        chains: Fixed prompts, and how the model goes on: its own tokens.
        canary: Log-probabilities of these continuations, in nats.
        repeat: Largest difference, in nats, of one of these when they were asked for again, alone and at once.
        checks: What was checked, in words.
    """

    description: Description
    dialect: Dialect
    noise: float
    chains: tuple[Chain, ...]
    canary: tuple[float, ...]
    repeat: float
    checks: tuple[str, ...]

    def again(self, client: Client) -> tuple[float, ...]:
        """Ask for the canary once more.

        Raises:
            ModelError: As `Dialect.score`.
        """
        return checks.canary(client, self.dialect, self.chains)


def probe(client: Client, model: str, coding: Coding, dialect: str | None = None) -> Probed:
    """Find out how a server is asked, and that what it answers is right.

    Args:
        client: The server.
        model: The model's name, as the server calls it.
        coding: The tokenizer.
        dialect: Name of the only dialect to try; None for all.

    Raises:
        ModelError: No server, another model or tokenizer, or no dialect in which its answers agree.
    """
    description = Description.of(client, model)
    _check_model(description, model)
    tokens = _tokenizer_check(client, model, coding.ids_of)
    errors: list[tuple[str, ModelError]] = []
    for candidate in _candidates(model, coding.ids_of):
        if dialect not in (None, candidate.name):
            continue
        try:
            probed = _agreement(client, candidate, coding, description, tokens)
        except (Unreachable, Unfit):
            raise
        except ModelError as error:
            errors.append((candidate.name, error))
        else:
            return probed
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
    yield NextToken(ByBias(model))
    yield NextToken(ByIds(model))
    yield SgLang()
    yield Echo(model, ids_of)


def _check_model(description: Description, model: str) -> None:
    """Refuse a name that the server does not know; llama.cpp's has one model, whatever it is called."""
    if description.kind != "llama.cpp" and description.models and model not in description.models:
        names = ", ".join(description.models[:5])
        raise ModelError(f"the server has no model '{model}'", hint=f"served:NAME is one of: {names}")


def _tokenizer_check(client: Client, model: str, ids_of: Ids) -> str | None:
    """Compare texts' ids with the server's; None where it has no page for that.

    Raises:
        Unfit: They are others.
    """
    for text in TEXTS:
        body = {"content": text, "add_special": False, "model": model, "prompt": text, "add_special_tokens": False}
        try:
            answer = client.post("/tokenize", body)
        except Refused:
            return None
        ids = answer.get("tokens") if isinstance(answer, dict) else None
        if list(ids_of(text)) != ids:
            message = f"'{text[:30]}...' has other tokens on the server than here{OTHER_TOKENIZER}"
            raise Unfit(message, hint=OWN)
    return f"the server's are the same for {len(TEXTS)} texts"


def _agreement(
    client: Client, dialect: Dialect, coding: Coding, description: Description, tokens: str | None
) -> Probed:
    """Compare forced or echoed values with those of tokens that the model generates by itself.

    The model goes on for some tokens, each with its value. Scored as choices, their sums must be the same: a value of
    another token, an echo that is ignored, or one after the temperature, is not. Asked for four times they must be
    about the same: twice in a row, each prompt after others, and all at once. And the texts that the server has for
    tokens must be those of the tokenizer here.

    Raises:
        ModelError: They differ, or what is no probability.
    """
    chains, generated, num_texts = [], [], 0
    for text in TEXTS:
        prompt = (*coding.opening, *coding.ids_of(text))
        ids, values, num_same = checks.continued(client, dialect, prompt, coding.text_of)
        chains.append((prompt, ids))
        generated.append(values)
        num_texts += num_same
    checks.check_mass(client, dialect, chains)
    rounds = [checks.canary(client, dialect, chains) for _ in range(2)]
    checks.compare(rounds[0], generated)
    backwards = [checks.scored(client, dialect, *chain) for chain in reversed(chains)]
    rounds.append(tuple(itertools.chain(*reversed(backwards))))
    rounds.append(tuple(itertools.chain(*client.spread(lambda chain: checks.scored(client, dialect, *chain), chains))))
    repeat, noise = checks.repeat(rounds), checks.noise(client, dialect, chains, coding, description.max_positions)
    same = f"the server has the same texts for {num_texts}" if num_texts else None
    findings = (
        f"ids: {' and '.join(filter(None, (tokens, same))) or 'the server tells nothing that could be compared'}",
        f"{dialect.name}: values agree with those of generated tokens within {checks.TOLERANCE} nats",
        f"asked again: {repeat:.4f} nats apart, and {noise:.4f} after {checks.NUM_LONG} tokens, warm, cold and at once",
    )
    return Probed(description, dialect, max(noise, repeat), tuple(chains), rounds[0], repeat, findings)
