r"""Disentangled attention: transformers' DeBERTa v2 with this package's attention, and what distances add to scores.

    softmax((q k^T + q r_k^T + (k r_q^T)^T) / sqrt(3 d_kv)) v          r_q = W_q r, r_k = W_k r, picked by distance

r is the table of distances in logarithmic buckets. A prefix stands at no position, hence at no distance: nothing is
added to the scores of its keys.

Shapes: hidden states (rows, tokens, d_model); mask (rows, 1, tokens, tokens); what distances add (rows, num_heads,
tokens, tokens).

Paper: 2006.03654, section 3.1.
"""

import math
from typing import Any

import torch
from torch import Tensor
from transformers.models.deberta_v2.modeling_deberta_v2 import DebertaV2Encoder, DisentangledSelfAttention

from peftbench.models.attention import attend

NUM_TERMS = 3
"""Of a score: content to content, content to position, position to content."""


def rewire(model: Any) -> None:
    """Let a DeBERTa compute with the classes below, which have no parameters of their own."""
    model.base_model.encoder.__class__ = Distances
    for layer in model.base_model.encoder.layer:
        layer.attention.self.__class__ = Attending


class Distances(DebertaV2Encoder):
    """DeBERTa's layers, whose table of distances is looked up, so that what lies over its weight is seen."""

    def get_rel_embedding(self) -> Tensor:
        """Compute the normalised table, (distances, d_model)."""
        table = self.rel_embeddings
        normalized: Tensor = self.LayerNorm(table(torch.arange(table.num_embeddings, device=table.weight.device)))
        return normalized


class Attending(DisentangledSelfAttention):
    """DeBERTa's attention block, through this package's attention."""

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor,
        output_attentions: bool = False,
        query_states: Tensor | None = None,
        relative_pos: Tensor | None = None,
        rel_embeddings: Tensor | None = None,
    ) -> tuple[Tensor, None]:
        """Attend.

        Args:
            hidden_states: What queries, keys and values are computed from.
            attention_mask: Not 0 where a query sees a key.
            output_attentions: Not read: there are no weights to return.
            query_states: Not read: queries are of the same tokens.
            relative_pos: Distances, (1, tokens, tokens) int.
            rel_embeddings: r, (distances, d_model).
        """
        rows, num_tokens, _ = hidden_states.shape
        layers = (self.query_proj, self.key_proj, self.value_proj)
        # (rows * num_heads, tokens, d_kv) each
        query, key, value = (
            self.transpose_for_scores(layer(hidden_states), self.num_attention_heads) for layer in layers
        )
        added = self.disentangled_attention_bias(
            query, key, relative_pos, self.pos_dropout(rel_embeddings), NUM_TERMS
        ).view(rows, self.num_attention_heads, num_tokens, num_tokens)
        shape = (rows, self.num_attention_heads, num_tokens, -1)
        output, _ = attend(
            self,
            query.view(shape),
            key.view(shape),
            value.view(shape),
            added.masked_fill(attention_mask == 0, torch.finfo(added.dtype).min),
            dropout=self.dropout.p if self.training else 0.0,
            scaling=1 / math.sqrt(NUM_TERMS * self.attention_head_size),
        )
        return output.flatten(2), None
