"""What many prompts share, run once in parts: memory grows with its length, and not with the length's square.

A part reads the keys and values of those before it from the cache, as a query does, so that nothing is approximated.
Blocks of shots (`scoring.blocks`) are an approximation that is asked for: a part reads those of its own block alone.
"""

from collections.abc import Iterator, Sequence

import torch
from transformers import DynamicCache

from peftbench.models.backbone import Backbone
from peftbench.scoring import tree
from peftbench.scoring.forward import decoder_states
from peftbench.scoring.tree import Tokens
from peftbench.scoring.work import Blocks, Pass


def fill(
    backbone: Backbone,
    num_virtual: int,
    ids: Sequence[int],
    cache: DynamicCache,
    budget: int,
    blocks: Blocks | None = None,
) -> None:
    """Run virtual tokens and the ids behind them, and keep their keys and values.

    Args:
        backbone: Decoder-only.
        num_virtual: 0, or the soft prompt's length.
        ids: Token ids.
        cache: Empty; grows by the keys and values.
        budget: Tokens of a part.
        blocks: With which the ids begin, where there are some; a block's tokens stand at their positions in the whole.
    """
    whole = tree.shared_tokens(num_virtual, ids)
    *alone, rest = _spans(len(whole.ids), blocks)
    caches = []
    for span in alone:
        caches.append(DynamicCache())
        _run(backbone, num_virtual, whole, span, caches[-1], budget)
    _join(caches, cache)
    _run(backbone, num_virtual, whole, rest, cache, budget)


def passes(num_virtual: int, num_tokens: int, budget: int, blocks: Blocks | None = None) -> list[Pass]:
    """Return the shapes of the passes that `fill` runs.

    Args:
        num_virtual: As there.
        num_tokens: Virtual tokens and those behind them.
        budget: As there.
        blocks: As there.
    """
    return [
        Pass.of_decoder(rows=1, tokens=end - start, cached=start - seen_from, head=0)
        for seen_from, first, stop in _spans(num_tokens, blocks)
        for start, end in _parts(num_virtual, first, stop, budget)
    ]


Span = tuple[int, int, int]
"""Index of the first token that is seen; of the first and behind the last one that are run."""


def _spans(num_tokens: int, blocks: Blocks | None) -> list[Span]:
    """List the blocks, and then what is behind them and sees them all."""
    if blocks is None:
        return [(0, 0, num_tokens)]
    return [*((start, start, end) for start, end in blocks.spans), (0, blocks.num_tokens, num_tokens)]


def _run(backbone: Backbone, num_virtual: int, whole: Tokens, span: Span, cache: DynamicCache, budget: int) -> None:
    seen_from, first, stop = span
    for start, end in _parts(num_virtual, first, stop, budget):
        part = Tokens(whole.ids[start:end], whole.positions[start:end], whole.ends[start:end])
        virtual = 0 if start else num_virtual
        decoder_states(
            backbone, [part], num_virtual=virtual, cache=cache, num_cached=start - seen_from, cached_from=seen_from
        )


def _join(caches: Sequence[DynamicCache], cache: DynamicCache) -> None:
    """Put the keys and values of caches, (1, num_kv_heads, tokens, d_kv), one behind the other.

    The caches let go of each layer once it is joined.
    """
    num_layers = len(caches[0].layers) if caches else 0
    for index in range(num_layers):
        layers = [alone.layers.pop(0) for alone in caches]
        keys, values = (torch.cat([getattr(layer, name) for layer in layers], 2) for name in ("keys", "values"))
        cache.update(keys, values, index)


def _parts(num_virtual: int, first: int, stop: int, budget: int) -> Iterator[tuple[int, int]]:
    """Cut tokens into parts; a soft prompt stands in the first one as a whole."""
    start = first
    while start < stop:
        end = min(stop, start + max(budget, 1 if start else num_virtual))
        yield start, end
        start = end
