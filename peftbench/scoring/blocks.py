"""Attention in blocks: shots see those of their own block, and the query sees all of them. An approximation.

    tokens   [opening, shot_1 ... shot_b] [shot_b+1 ... shot_2b] ... [shot_k] query
    key j is seen by query i:   j <= i, and i in the query or both in one block

All tokens stand at the positions that they have in the whole prompt; windows and ALiBi go by these, too. What opens the
text, a system prompt and a description stand in the first block, and other blocks do not see them. What stands between
two shots belongs to the later one, and what is behind the last answer to the query.

Paper: 2405.00200, section on block-causal attention; `make_block_mask` in the authors' code.
Differs: the authors mask one long forward pass for each query; here blocks are run by themselves, once for all queries,
    and their keys and values put together, which computes the same. Their prompts have no token that opens them; here
    it is the first block's. They also cut blocks by tokens, at the nearest shot; here blocks have a number of shots.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from peftbench.errors import MethodError, ModelError
from peftbench.models.backbone import Backbone
from peftbench.scoring.encoding import Encoded, cut_input, ids_and_stops, layout_of, opening
from peftbench.scoring.layout import Shot
from peftbench.scoring.work import Blocks
from peftbench.spec.cell import Scoring
from peftbench.tasks.task import Example

PLAIN = "without --attention block"


def check(backbone: Backbone) -> None:
    """Check that a model's shots can be run without the query.

    Raises:
        MethodError: They cannot.
    """
    if not backbone.sizes.is_causal:
        message = (
            f"--attention block goes with decoder-only models: the encoder of '{backbone.name}' reads the query, too"
        )
        raise MethodError(message, hint=f"{PLAIN}, or another model, for example --model mini-gpt")


def marked(
    backbone: Backbone,
    examples: Sequence[Example],
    encoded: Sequence[Encoded],
    scoring: Scoring,
    shots: Sequence[Shot],
    num_shots: int,
) -> list[Encoded]:
    """Find in prompts the blocks that their contexts begin with.

    Args:
        backbone: Decoder-only.
        examples: At least one.
        encoded: Their prompts after the shots.
        scoring: How they were written.
        shots: In their order; at least one.
        num_shots: Of a block; the last one may have fewer.

    Raises:
        ModelError: The tokenizer joins the last answer with what follows, and not alike in all prompts.
    """
    layout = layout_of(backbone, scoring, shots)
    query, _ = cut_input(backbone, examples[0], scoring.max_input_tokens)
    first = () if scoring.chat else opening(backbone)
    ids, stops = ids_and_stops(backbone, layout.text(query.input, query.choices[0], query.joint))
    # As in an answer, a token across a border belongs to what is behind it.
    borders = [layout.start, *layout.ends[num_shots - 1 : -1 : num_shots], layout.ends[-1]]
    num_before, *ends = [len(first) + bisect_right(stops, border) for border in borders]
    head = (*first, *ids[: max(ends[-1] - len(first), bisect_right(stops, layout.ends[-1] - 1) + 1)])
    sizes = [end - start for start, end in pairwise((num_before, *ends)) if end > start]
    blocks = Blocks(num_before, tuple(sizes))
    if any(tokens.context[: len(head)] != head or len(tokens.context) <= ends[-1] for tokens in encoded):
        message = f"the tokenizer of '{backbone.name}' joins the last shot with what follows, not alike in all prompts"
        raise ModelError(message, hint=f"another --separator, or {PLAIN}")
    return [replace(tokens, blocks=blocks) for tokens in encoded]
