"""Starting weights that already look back: one induction circuit, planted in the first two layers of a Llama.

In-context learning rests on heads that find where the present token stood before and copy what followed it. A model of
two million parameters takes millions of tokens to form them from random weights; planted, they are there at the first
step, and training only has to keep and widen them. All other weights start at random.

- Every embedding gets the same first component. The output layer is tied to it, so it shifts all logits alike and says
  nothing; attention can read it as a constant.
- Layer 1, head 1: queries and keys come from that constant, turned by one position, so that each token attends to the
  one before it; it writes a 32-dimensional code of that token into the stream.
- Layer 2, head 1: the query is the present token's code, the key the written one; what is attended to is copied to
  the output. Codes sit in the slowest half of the rotary frequencies, where distance hardly turns them.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

EMBEDDING_STD = 0.1  # at 0.02 and tied, logits begin so small that copying is learnt late
CONSTANT = 5 * EMBEDDING_STD
LOOK_BACK = 6.0  # amplitude of the positional query and key
NUM_FAST_PAIRS = 12  # rotary pairs that tell neighbours apart
WRITE, MATCH, COPY = 0.22, 2.0, 1.0  # gains of the written code, of queries and keys, of what is copied


@torch.no_grad()
def plant_induction_heads(model: LlamaForCausalLM, seed: int) -> None:
    """Overwrite the embeddings and one head of the first and of the second layer.

    Args:
        model: Untrained, with tied embeddings and at least two layers.
        seed: Of embeddings and codes.

    Paper: induction heads are Olsson et al. 2022 (arXiv 2209.11895); starting from weights with the structure that
        training would find is Trockman & Kolter 2023 (arXiv 2305.09828). The construction is ours.
    """
    rng = torch.Generator().manual_seed(seed)
    embedding = model.model.embed_tokens.weight
    embedding.normal_(0.0, EMBEDDING_STD, generator=rng)
    embedding[:, 0] = CONSTANT
    d_kv, d_model = model.config.head_dim, model.config.hidden_size
    present, before = _code(d_kv // 2, d_model, rng), _code(d_kv // 2, d_model, rng)
    _look_back(model, present, before)
    _match_and_copy(model, present, before, _code(d_kv, d_model, rng))


def _code(size: int, d_model: int, rng: torch.Generator) -> Tensor:
    """Draw (size, d_model) orthonormal directions that are blind to the constant."""
    directions, _ = torch.linalg.qr(torch.randn(d_model - 1, size, generator=rng))
    return torch.cat([torch.zeros(size, 1), directions.T], dim=1)


def _look_back(model: LlamaForCausalLM, present: Tensor, before: Tensor) -> None:
    """Make the first head attend to the previous position and write its token's code."""
    attention, d_kv = model.model.layers[0].self_attn, model.config.head_dim
    embedding = model.model.embed_tokens.weight
    constant = CONSTANT / float(embedding.pow(2).mean().sqrt())  # as the layer sees it, behind its norm
    speeds = model.config.rope_parameters["rope_theta"] ** (-torch.arange(0, d_kv, 2).float() / d_kv)
    turn = speeds[:NUM_FAST_PAIRS]  # radians a position
    query, key = attention.q_proj.weight[:d_kv], attention.k_proj.weight[:d_kv]
    query.zero_()
    key.zero_()
    query[:NUM_FAST_PAIRS, 0] = LOOK_BACK / constant
    key[:NUM_FAST_PAIRS, 0] = LOOK_BACK / constant * turn.cos()
    key[d_kv // 2 : d_kv // 2 + NUM_FAST_PAIRS, 0] = LOOK_BACK / constant * turn.sin()
    attention.v_proj.weight[:d_kv] = torch.cat([present, torch.zeros_like(present)])
    attention.o_proj.weight[:, : d_kv // 2] = WRITE * before.T


def _match_and_copy(model: LlamaForCausalLM, present: Tensor, before: Tensor, copied: Tensor) -> None:
    """Make the first head of the second layer find the present token's code and copy the token found there."""
    attention, d_kv = model.model.layers[1].self_attn, model.config.head_dim
    slow = torch.cat([torch.arange(d_kv // 4, d_kv // 2), torch.arange(3 * d_kv // 4, d_kv)])
    query, key = attention.q_proj.weight[:d_kv], attention.k_proj.weight[:d_kv]
    query.zero_()
    key.zero_()
    query[slow] = MATCH * present
    key[slow] = MATCH * before
    attention.v_proj.weight[:d_kv] = copied
    attention.o_proj.weight[:, :d_kv] = COPY * copied.T
