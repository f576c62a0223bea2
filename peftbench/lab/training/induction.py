"""Starting weights that already look back: induction circuits, planted in the first four layers of a Llama.

In-context learning rests on heads that find where the present thing stood before and copy what followed it. A model of
one or two million parameters takes millions of tokens to form them from random weights, if it does; planted, they are
there at the first step, and training only has to keep and widen them. All other weights start at random.

The stream's components are shared out: a constant, the token's embedding, and twice half a head's width: `before` for
what stood before a token, `earlier` for what stood before that. A token's code (`present`) is the first part of its
embedding. Four heads of the first three layers move codes, two of the fourth layer use them:

- Every embedding gets the same first component. The output layer is tied to it, so it shifts all logits alike and says
  nothing; attention reads it as a constant, from which a head can look back by position alone.
- Layer 1 looks one token back: present there -> before here.
- Layer 2 looks over a window of the last ten tokens or so: their codes, averaged, are added to before. It is the gist
  of the text that a label follows.
- Layer 3 looks one token back: before there -> earlier here.
- Layer 4 has two heads that match and copy. The first matches present with before: "pear red .. pear" goes on with
  "red". The second matches before with earlier: what stands where the gist of the text was like this one's.
- Codes sit in the slowest half of the rotary frequencies, where distance hardly turns them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import LlamaForCausalLM

EMBEDDING_STD = 0.15  # at 0.02 and tied, logits begin so small that copying is learnt late
CONSTANT = 4 * EMBEDDING_STD
ONE_BACK = (1, range(0, 8), 6.0)  # distance; rotary pairs, fast ones to tell neighbours apart; amplitude
WINDOW = (5, range(4, 15), 2.7)  # slower pairs: the middle of the window, which fades out over ten tokens
WRITE, WRITE_GIST, WRITE_EARLIER = 0.15, 0.4, 0.3  # gains of what is moved
MATCH, COPY = 1.5, 0.5  # gains of queries and keys, and of what is copied


@torch.no_grad()
def plant_induction_heads(model: LlamaForCausalLM, seed: int) -> None:
    """Overwrite the embeddings, the first head of layers 1 to 3, and the first two of layer 4.

    Args:
        model: Untrained, with tied embeddings, at least four layers and two heads, d_model at least 2 d_kv.
        seed: Of the embeddings.

    Paper: induction heads are Olsson et al. 2022 (arXiv 2209.11895); starting from weights with the structure that
        training would find is Trockman & Kolter 2023 (arXiv 2305.09828). The construction is ours.
    """
    d_kv, d_model = model.config.head_dim, model.config.hidden_size
    half = d_kv // 2
    token = range(1, d_model - d_kv)
    present, before, earlier = token[:half], range(d_model - d_kv, d_model - half), range(d_model - half, d_model)
    embedding = model.model.embed_tokens.weight
    embedding.zero_()
    embedding[:, 0] = CONSTANT
    random = torch.randn(len(embedding), len(token), generator=torch.Generator().manual_seed(seed))
    random *= len(token) ** 0.5 / random.norm(dim=1, keepdim=True)  # one norm, or the constant would look different
    embedding[:, token] = EMBEDDING_STD * random
    _look_back(model, 0, ONE_BACK, WRITE, present, before)
    _look_back(model, 1, WINDOW, WRITE_GIST, present, before)
    _look_back(model, 2, ONE_BACK, WRITE_EARLIER, before, earlier)
    _match_and_copy(model, 3, 0, present, before, token[:d_kv])
    _match_and_copy(model, 3, 1, before, earlier, token[:d_kv])


def _look_back(
    model: LlamaForCausalLM, layer: int, reach: tuple[int, range, float], gain: float, source: range, target: range
) -> None:
    """Make a layer's first head attend by distance and add the components `source` there to `target` here."""
    attention, d_kv = model.model.layers[layer].self_attn, model.config.head_dim
    distance, pairs, amplitude = reach
    size = amplitude / _constant_seen(model, layer)
    turn = distance * model.config.rope_parameters["rope_theta"] ** (-2 * torch.tensor(pairs).float() / d_kv)  # radians
    query, key, value = _head(attention, 0, d_kv)
    query[pairs, 0] = size
    key[pairs, 0] = size * turn.cos()
    key[[d_kv // 2 + pair for pair in pairs], 0] = size * turn.sin()
    value[range(len(source)), source] = 1.0
    attention.o_proj.weight[:, :d_kv] = 0.0
    attention.o_proj.weight[target, range(len(target))] = gain


def _constant_seen(model: LlamaForCausalLM, layer: int) -> float:
    """Measure the constant behind the layer's norm, on random tokens."""
    ids = torch.randint(model.config.vocab_size, (4, 32), generator=torch.Generator().manual_seed(0))
    stream = model.model(ids, output_hidden_states=True, use_cache=False).hidden_states[layer]
    return float(CONSTANT / stream.pow(2).mean(dim=-1).sqrt().mean())


def _match_and_copy(
    model: LlamaForCausalLM, layer: int, head: int, query_at: range, key_at: range, copied: range
) -> None:
    """Make a head find where the components `key_at` equal the present `query_at`, and copy the token there."""
    attention, d_kv = model.model.layers[layer].self_attn, model.config.head_dim
    slow = [*range(d_kv // 4, d_kv // 2), *range(3 * d_kv // 4, d_kv)]
    query, key, value = _head(attention, head, d_kv)
    query[slow, query_at] = MATCH
    key[slow, key_at] = MATCH
    value[range(len(copied)), copied] = 1.0
    attention.o_proj.weight[:, head * d_kv : (head + 1) * d_kv] = 0.0
    attention.o_proj.weight[copied, range(head * d_kv, head * d_kv + len(copied))] = COPY


def _head(attention: nn.Module, head: int, d_kv: int) -> list[Tensor]:
    """Set a head's queries, keys and values to zero and return their weights, each (d_kv, d_model)."""
    rows = slice(head * d_kv, (head + 1) * d_kv)
    return [getattr(attention, name).weight[rows].zero_() for name in ("q_proj", "k_proj", "v_proj")]
