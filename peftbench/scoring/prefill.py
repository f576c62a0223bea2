"""What many prompts share, run once in parts: memory grows with its length, and not with the length's square.

A part reads the keys and values of those before it from the cache, as a query does, so that nothing is approximated.
"""

from collections.abc import Iterator, Sequence

from transformers import DynamicCache

from peftbench.models.backbone import Backbone
from peftbench.scoring import tree
from peftbench.scoring.forward import decoder_states
from peftbench.scoring.work import Pass


def fill(backbone: Backbone, num_virtual: int, ids: Sequence[int], cache: DynamicCache, budget: int) -> None:
    """Run virtual tokens and the ids behind them, and keep their keys and values.

    Args:
        backbone: Decoder-only.
        num_virtual: 0, or the soft prompt's length.
        ids: Token ids.
        cache: Empty; grows by the keys and values.
        budget: Tokens of a part.
    """
    whole = tree.shared_tokens(num_virtual, ids)
    for start, end in _parts(num_virtual, len(whole.ids), budget):
        part = tree.Tokens(whole.ids[start:end], whole.positions[start:end], whole.ends[start:end])
        decoder_states(backbone, [part], num_virtual=0 if start else num_virtual, cache=cache, num_cached=start)


def passes(num_virtual: int, num_tokens: int, budget: int) -> list[Pass]:
    """Return the shapes of the passes that `fill` runs.

    Args:
        num_virtual: As there.
        num_tokens: Virtual tokens and those behind them.
        budget: As there.
    """
    parts = _parts(num_virtual, num_tokens, budget)
    return [Pass.of_decoder(rows=1, tokens=end - start, cached=start, head=0) for start, end in parts]


def _parts(num_virtual: int, num_tokens: int, budget: int) -> Iterator[tuple[int, int]]:
    """Cut tokens into parts; a soft prompt stands in the first one as a whole."""
    start = 0
    while start < num_tokens:
        end = min(num_tokens, start + max(budget, 1 if start else num_virtual))
        yield start, end
        start = end
