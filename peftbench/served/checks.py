"""What must agree in a server's answers: values with each other, and tokens with the tokenizer here."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from peftbench.errors import ModelError
from peftbench.models import foreign
from peftbench.scoring.encoding import Encoded
from peftbench.served.client import Client
from peftbench.served.dialects.base import Dialect

TEXTS = (
    "The capital of France is",
    "Water boils at a hundred degrees, and freezes at",
    "Review: a dull film, and far too long.\nSentiment:",
)
"""What is asked. Their continuations by the model itself are the canary."""
HALF = "\ufffd"
"""In place of a letter of which a token has a part."""
NUM_TOKENS, NUM_LONG, NUM_AT_ONCE = 3, 192, 4
"""By how many tokens the model goes on; of a prompt as long as some shots are; how many of those are sent at once."""
MASS_TOLERANCE = 0.01
"""Beyond 1, of two probabilities in a model's own rounding."""
TOLERANCE = 0.1
"""Nats within which one value must be the other. Batches and caches move it by a hundredth; a value of another token,
or one after the temperature, by whole ones."""
MOST_NOISE = 1.0
"""Nats; llama.cpp's server with four-bit weights and eight-bit activations moved unlikely tokens by up to 0.45."""

Ids = Callable[[str], Sequence[int]]
Text = Callable[[Sequence[int]], str]
Chain = tuple[tuple[int, ...], tuple[int, ...]]
"""A prompt, and the tokens by which the model goes on."""
IN_TURN = "one address for one model: several behind it answer in turn"
OTHER_TOKENIZER, OWN = ": another tokenizer", "--tokenizer with the served model's own folder, GGUF file or hub id"


class Unfit(ModelError):
    """What is wrong with a server however it is asked."""


@dataclass(frozen=True)
class Coding:
    """The tokenizer that is here, as the probe uses it.

    Args:
        ids_of: Text -> ids, without those that open or end it.
        text_of: Ids -> text, without what opens or ends it.
        opening: Tokens that open each prompt.
    """

    ids_of: Ids
    text_of: Text
    opening: tuple[int, ...]


def canary(client: Client, dialect: Dialect, chains: Sequence[Chain]) -> tuple[float, ...]:
    """Ask for the values of all continuations, as choices."""
    return tuple(value for chain in chains for value in scored(client, dialect, *chain))


def continued(
    client: Client, dialect: Dialect, prompt: Sequence[int], text_of: Text
) -> tuple[tuple[int, ...], list[float], int]:
    """Let the model go on: its tokens, the sums of the values that it gives them unasked, and how many texts agree."""
    ids: list[int] = []
    values, num_same = [], 0
    for _ in range(NUM_TOKENS):
        generated = dialect.greedy(client, (*prompt, *ids))
        ids.append(generated.token)
        values.append(generated.log_prob)
        num_same += sum(is_text(text, text_of(tokens)) for tokens, text in generated.texts)
    return tuple(ids), list(itertools.accumulate(values)), num_same


def is_text(text: str, local: str) -> bool:
    """Compare the server's text of some tokens with the one here; False where half a letter, or none, says nothing.

    The server's may have more in front: what opens a prompt.

    Raises:
        Unfit: They differ.
    """
    text, local = text.strip(), local.strip()
    if HALF in text + local or not local:
        return False
    if not text.endswith(local):
        pair = (foreign.line(repr(part[-40:])) for part in (text, local))
        raise Unfit("the server has the text {} for tokens that are {} here".format(*pair) + OTHER_TOKENIZER, hint=OWN)
    return True


def scored(client: Client, dialect: Dialect, prompt: Sequence[int], ids: Sequence[int]) -> list[float]:
    """Score a continuation's first token, its first two, and so on, as choices: the sums so far."""
    choices = tuple(tuple(ids[: number + 1]) for number in range(len(ids)))
    return list(dialect.score(client, Encoded(tuple(prompt), choices, (0,) * len(choices))).sums)


def compare(sums: Sequence[float], generated: Sequence[Sequence[float]]) -> None:
    """Compare the values of continuations with those that the model gave them when it generated them.

    Raises:
        ModelError: They differ.
    """
    pairs = zip(sums, itertools.chain(*generated), itertools.cycle(range(1, NUM_TOKENS + 1)), strict=False)
    for value, expected, number in pairs:
        if not math.isclose(value, expected, rel_tol=0, abs_tol=TOLERANCE * number):
            message = (
                f"the first {number} tokens that it generates have {expected:.3f} nats when it generates them, and "
                f"{value:.3f} when they are asked for"
            )
            hint = "values of other tokens, or after the temperature; another --dialect, or a newer server"
            raise ModelError(message, hint=hint)


def repeat(rounds: Sequence[Sequence[float]]) -> float:
    """Return the largest difference between rounds of the canary.

    Raises:
        Unfit: It is that of other models, not of batches and caches.
    """
    spans = [max(values) - min(values) for values in zip(*rounds, strict=True)]
    for span, number in zip(spans, itertools.cycle(range(1, NUM_TOKENS + 1)), strict=False):
        if span > TOLERANCE * number:
            message = f"asked again, the server gives the same {number} tokens a value that is {span:.3f} nats off"
            raise Unfit(message, hint=IN_TURN)
    return max(spans)


def noise(client: Client, dialect: Dialect, chains: Sequence[Chain], coding: Coding, most: int | None) -> float:
    """Measure by how much values move after a prompt as long as some shots are.

    Servers read a long prompt in other steps where a part of it is in their cache, or where others are in the batch.

    Raises:
        Unfit: It is more than any of that makes.
    """
    num_opening, opening = len(coding.opening), tuple(coding.opening)
    shots = tuple(itertools.chain(*((*prompt[num_opening:], *ids) for prompt, ids in chains)))
    query = chains[-1][0][num_opening:]
    room = min(NUM_LONG, most or NUM_LONG) - num_opening - len(query) - 1
    prompt = (*opening, *(shots * (room // len(shots) + 1))[: max(room, 0)], *query)
    choices = tuple((token,) for token in dict.fromkeys(ids[0] for _, ids in chains))

    def ask(ids: Sequence[int]) -> tuple[float, ...]:
        return dialect.score(client, Encoded(tuple(ids), choices, (0,) * len(choices))).sums

    cold, warm = ask(prompt), ask(prompt)
    ask(chains[0][0])
    ask(prompt[: len(prompt) // 2])
    rounds = [cold, warm, ask(prompt), *client.spread(ask, [prompt] * NUM_AT_ONCE)]
    span = max(max(values) - min(values) for values in zip(*rounds, strict=True))
    if span > MOST_NOISE:
        message = (
            f"asked again after {len(prompt)} tokens, the server gives a token a value that is {span:.3f} nats off"
        )
        raise Unfit(message, hint=IN_TURN)
    return span


def check_mass(client: Client, dialect: Dialect, chains: Sequence[Chain]) -> None:
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
