"""Tree attention: prompts and their answer choices packed in one row, with a mask by ancestry and position.

A row's tokens form a tree: shared tokens, then the context of each prompt, then its choices, each a branch. A token
sees its ancestors and those before it on its own branch.

Shapes: rows are lists of token ids; mask and distances (rows, 1, queries, keys), where keys are the cached tokens and
then the row's own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from peftbench.scoring.encoding import Encoded

SHARED = -1  # the owner of tokens that every prompt in the row continues
PADDING = -2


@dataclass
class Tokens:
    """Tokens of one row; a token sees those before it that are shared, of its prompt's context, or of its own choice.

    Args:
        ids: Token ids.
        positions: Position of each token; every choice continues its context.
        owners: Index of the prompt, or SHARED, or PADDING.
        branches: 0 in the context, 1 + index of the choice after it.
    """

    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)
    branches: list[int] = field(default_factory=list)

    def add(self, ids: Sequence[int], position: int, owner: int, branch: int) -> int:
        """Append tokens at consecutive positions, and return the index of the first."""
        start = len(self.ids)
        self.ids += ids
        self.positions += range(position, position + len(ids))
        self.owners += [owner] * len(ids)
        self.branches += [branch] * len(ids)
        return start


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
        count = len(targets)
        self.rows += [row] * count
        self.sources += sources
        self.targets += targets
        self.prompts += [prompt] * count
        self.choices += [choice] * count
        self.slots += range(count)


def shared_tokens(num_virtual: int, ids: Sequence[int]) -> Tokens:
    """Build what all prompts of a row continue: virtual tokens (id 0 stands for them), then ids."""
    tokens = Tokens()
    tokens.add([0] * num_virtual + list(ids), 0, SHARED, 0)
    return tokens


def add_prompt(
    row: Tokens, answers: Answers, index: int, prompt: int, encoded: Encoded, skip: int, num_virtual: int
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
    """
    context = encoded.context[skip:]
    depth = num_virtual + len(encoded.context)
    last = row.add(context, num_virtual + skip, prompt, 0) + len(context) - 1
    for choice, (ids, start) in enumerate(zip(encoded.choices, encoded.starts, strict=True)):
        first = row.add(ids[:-1], depth, prompt, choice + 1)
        sources = [last, *range(first, first + len(ids) - 1)]
        answers.add(index, sources[start:], ids[start:], prompt, choice)


def pad(rows: Sequence[Tokens]) -> int:
    """Pad rows to the longest, and return the number of padding tokens."""
    longest = max(len(row.ids) for row in rows)
    missing = [longest - len(row.ids) for row in rows]
    for row, count in zip(rows, missing, strict=True):
        row.add([0] * count, 0, PADDING, 0)
    return sum(missing)


def mask(rows: Sequence[Tokens], num_cached: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Build the additive mask: a token sees those of its ancestors that stand no later than itself.

    Args:
        rows: Of equal length.
        num_cached: Shared tokens before them whose keys are cached: every token sees them.
        dtype: Of the mask.
        device: Of the mask.

    Returns:
        (rows, 1, tokens, num_cached + tokens), 0 or the dtype's lowest.
    """
    fields = [[row.owners for row in rows], [row.branches for row in rows], [row.positions for row in rows]]
    owner, branch, position = torch.tensor(fields, device=device)[:, :, None, :, None]  # (rows, 1, queries, 1) each
    key_owner, key_branch, key_position = owner.mT, branch.mT, position.mT  # (rows, 1, 1, keys) each
    seen = ((key_owner == owner) | (key_owner == SHARED)) & ((key_branch == branch) | (key_branch == 0))
    seen &= key_position <= position
    additive = torch.where(seen, torch.zeros((), dtype=dtype, device=device), torch.finfo(dtype).min)
    return functional.pad(additive, (num_cached, 0))  # the cached keys, first, are seen by all


def distances(rows: Sequence[Tokens], num_cached: int, device: torch.device) -> Tensor:
    """Compute query position minus key position, (rows, 1, tokens, num_cached + tokens) int.

    Sliding windows and ALiBi go by it.
    """
    positions = torch.tensor([row.positions for row in rows], device=device)
    cached = torch.arange(num_cached, device=device).expand(len(rows), -1)
    return (positions[:, :, None] - torch.cat((cached, positions), 1)[:, None])[:, None]
