"""Tree attention: prompts and their answer choices packed in one row, with a mask by ancestry and position.

A row's tokens form a tree: shared tokens, then the context of each prompt, then its choices, which part where they stop
being alike. They stand depth first, so that what continues a token stands right behind it; a token sees its ancestors.

Shapes: rows are lists of token ids; mask and distances (rows, 1, queries, keys), where keys are the cached tokens and
then the row's own.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from peftbench.scoring.encoded import Encoded, num_common

NO_END = 2**31  # behind any token: of tokens that every prompt in the row continues


@dataclass(frozen=True)
class Branches:
    """The choices of a prompt as a trie, depth first; a choice's last token is only predicted, and not in it.

    Args:
        ids: Token ids.
        depths: How many tokens of the choice stand before each.
        ends: Index behind the last token that continues each.
        sources: For each answer token, the index of the token that predicts it; -1 is the context's last one.
        targets: Ids of the answer tokens.
        choices: Index of each answer token's choice.
        slots: Index of each answer token in its answer.
    """

    ids: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    sources: list[int] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    choices: list[int] = field(default_factory=list)
    slots: list[int] = field(default_factory=list)

    @cached_property
    def num_predicting(self) -> int:
        """Tokens that predict an answer token, the context's last one among them."""
        return len(set(self.sources))


def branches(encoded: Encoded, *, is_shared: bool = True) -> Branches:
    """Build the trie of a prompt's choices, once for all prompts that have the same ones.

    Args:
        encoded: The prompt.
        is_shared: Whether choices share the tokens that they begin with; else each is a branch of its own.
    """
    return _branches(encoded.choices, encoded.starts, is_shared)


@lru_cache(maxsize=256)
def _branches(choices: tuple[tuple[int, ...], ...], starts: tuple[int, ...], is_shared: bool) -> Branches:
    trie, path, before = Branches(), [], ()  # type: tuple[Branches, list[int], tuple[int, ...]]
    # In order of their tokens, so that those which begin alike are neighbours.
    for choice in sorted(range(len(choices)), key=choices.__getitem__):
        *fed, _ = ids = choices[choice]
        alike = num_common((before, tuple(fed))) if is_shared else 0
        for index in path[alike:]:
            trie.ends[index] = len(trie.ids)
        path = path[:alike] + list(range(len(trie.ids), len(trie.ids) + len(fed) - alike))
        trie.ids.extend(fed[alike:])
        trie.depths.extend(range(alike, len(fed)))
        trie.ends.extend(path[alike:])
        targets = ids[starts[choice] :]
        trie.sources.extend([-1, *path][starts[choice] :])
        trie.targets.extend(targets)
        trie.choices.extend([choice] * len(targets))
        trie.slots.extend(range(len(targets)))
        before = tuple(fed)
    for index in path:
        trie.ends[index] = len(trie.ids)
    return trie


@dataclass
class Tokens:
    """Tokens of one row; a token sees those before it that end behind it.

    Args:
        ids: Token ids.
        positions: Position of each token; every choice continues its context.
        ends: Index in the row behind the last token that continues each.
    """

    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)

    def add(self, ids: Sequence[int], positions: Iterable[int], ends: Iterable[int]) -> None:
        """Append tokens."""
        self.ids += ids
        self.positions += positions
        self.ends += ends


@dataclass
class Answers:
    """Answer tokens, one entry each: which token it is, and whose output predicts it.

    Args:
        rows: Row of the predicting token.
        sources: Index of the predicting token in its row.
        targets: Id of the answer token.
        prompts: Index of the prompt.
        choices: Index of the choice.
        slots: Index of the token in the answer.
    """

    rows: list[int] = field(default_factory=list)
    sources: list[int] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    prompts: list[int] = field(default_factory=list)
    choices: list[int] = field(default_factory=list)
    slots: list[int] = field(default_factory=list)

    def add(self, row: int, sources: Sequence[int], targets: Sequence[int], prompt: int, choice: int) -> None:
        """Append the answer tokens of one choice."""
        self._add(row, sources, targets, prompt)
        self.choices += [choice] * len(targets)
        self.slots += range(len(targets))

    def add_branches(self, row: int, first: int, trie: Branches, prompt: int) -> None:
        """Append the answer tokens of all choices, whose first token stands at index `first` of a row."""
        self._add(row, [first + source for source in trie.sources], trie.targets, prompt)
        self.choices += trie.choices
        self.slots += trie.slots

    def add_places(
        self, row: int, source: int, targets: Sequence[int], prompt: int, choices: Sequence[int], slots: Sequence[int]
    ) -> None:
        """Append what one token of a row predicts: a token of each of several choices."""
        self._add(row, [source] * len(targets), targets, prompt)
        self.choices += choices
        self.slots += slots

    def _add(self, row: int, sources: Sequence[int], targets: Sequence[int], prompt: int) -> None:
        self.rows += [row] * len(targets)
        self.sources += sources
        self.targets += targets
        self.prompts += [prompt] * len(targets)

    @property
    def num_predicting(self) -> int:
        """Tokens that pass the LM head: a token that predicts several passes it once."""
        return len(set(zip(self.rows, self.sources, strict=True)))


def shared_tokens(num_virtual: int, ids: Sequence[int]) -> Tokens:
    """Build what all prompts of a row continue: virtual tokens (id 0 stands for them), then ids."""
    tokens, number = Tokens(), num_virtual + len(ids)
    tokens.add([0] * num_virtual + list(ids), range(number), [NO_END] * number)
    return tokens


def add_prompt(
    row: Tokens,
    answers: Answers,
    index: int,
    prompt: int,
    encoded: Encoded,
    skip: int,
    num_virtual: int,
    *,
    is_shared: bool = True,
) -> None:
    """Append a prompt with its choices to a row; a choice's last token is only predicted, never fed.

    Args:
        row: Grows by the prompt's tokens.
        answers: Grows by the answer tokens.
        index: Of the row.
        prompt: Its index.
        encoded: Its tokens.
        skip: How many of its first tokens are cached, and left out.
        num_virtual: Virtual tokens before it.
        is_shared: As in `branches`.
    """
    trie = branches(encoded, is_shared=is_shared)
    context, depth = encoded.context[skip:], num_virtual + len(encoded.context)
    first = len(row.ids) + len(context)
    row.add(context, range(num_virtual + skip, depth), [first + len(trie.ids)] * len(context))
    row.add(trie.ids, [depth + further for further in trie.depths], [first + end for end in trie.ends])
    answers.add_branches(index, first, trie, prompt)


def add_input(row: Tokens, ids: Sequence[int], num_absent: int) -> None:
    """Append the tokens of an encoder's input, which end alike: they see each other, before and behind.

    Args:
        row: Grows by them.
        ids: Token ids.
        num_absent: How many of the first stand for nothing: no other token sees them, and positions begin behind them.
    """
    start = len(row.ids)
    end = start + len(ids)
    positions = [max(0, index - num_absent) for index in range(len(ids))]
    row.add(ids, positions, [*range(start + 1, start + num_absent + 1), *[end] * (len(ids) - num_absent)])


def pad(rows: Sequence[Tokens]) -> int:
    """Pad rows to the longest, and return the number of padding tokens."""
    longest = max(len(row.ids) for row in rows)
    missing = [longest - len(row.ids) for row in rows]
    for row, count in zip(rows, missing, strict=True):
        row.add([0] * count, [0] * count, range(longest - count + 1, longest + 1))
    return sum(missing)


def mask(rows: Sequence[Tokens], num_cached: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Build the additive mask: a token sees itself, and those before it that end behind it.

    Args:
        rows: Of equal length.
        num_cached: Shared tokens before them whose keys are cached: every token sees them.
        dtype: Of the mask.
        device: Of the mask.

    Returns:
        (rows, 1, tokens, num_cached + tokens), 0 or the dtype's lowest.
    """
    ends = torch.tensor([row.ends for row in rows], device=device)[:, None, None]  # (rows, 1, 1, keys)
    index = torch.arange(ends.shape[-1], device=device)
    queries = index[:, None]
    seen = (queries < ends) & (index <= queries)  # (rows, 1, queries, keys)
    return functional.pad(_additive(seen, dtype), (num_cached, 0))  # the cached keys, first, are seen by all


def mask_within(
    queries: Sequence[Sequence[int]], keys: Sequence[Sequence[int]], dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Build the additive mask of an encoder's inputs: a query sees the keys of one of them.

    Args:
        queries: Per row, per query: the index behind its input's last token.
        keys: Per row, per key: the same.
        dtype: Of the mask.
        device: Of the mask.

    Returns:
        (rows, 1, queries, keys), 0 or the dtype's lowest.
    """
    ends = torch.tensor(keys, device=device)[:, None, None]  # (rows, 1, 1, keys)
    return _additive(torch.tensor(queries, device=device)[:, None, :, None] == ends, dtype)


def _additive(seen: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.where(seen, torch.zeros((), dtype=dtype, device=seen.device), torch.finfo(dtype).min)


def distances(rows: Sequence[Tokens], num_cached: int, device: torch.device, cached_from: int = 0) -> Tensor:
    """Compute query position minus key position, (rows, 1, tokens, num_cached + tokens) int.

    Sliding windows and ALiBi go by it; cached keys stand one after the other, from position `cached_from` on.
    """
    positions = torch.tensor([row.positions for row in rows], device=device)
    cached = torch.arange(cached_from, cached_from + num_cached, device=device).expand(len(rows), -1)
    return (positions[:, :, None] - torch.cat((cached, positions), 1)[:, None])[:, None]
