"""ALiBi: transformers' BLOOM with this package's attention, and a penalty on how far back a key stands.

    softmax(q k^T / sqrt(d_kv) - m_h (i - j)) v          i, j: where query and key stand; m_h: the head's slope

A prefix stands at no position, hence at no distance: its keys get no penalty. Where it stands at those of the tokens
that it was computed from (`Backbone.start_at`), they get these tokens'.

Shapes: hidden states (rows, tokens, d_model); mask, distances and penalties (rows, num_heads or 1, queries, keys).

Paper: 2108.12409, section 3.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import DynamicCache
from transformers.masking_utils import create_causal_mask
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.models.bloom.modeling_bloom import BloomAttention, BloomModel

from peftbench.models.attention import attend


def rewire(model: Any) -> None:
    """Let a BLOOM compute with the classes below, which have no parameters of their own.

    Its attention knows neither transformers' attention interface nor tokens that stand elsewhere than one after the
    other. Its activation is a function of autograd's own, of which a trace does not tell what it does.
    """
    body = model.base_model
    body.__class__ = Distanced
    for block in body.h:
        block.self_attention.__class__ = Attending
        block.mlp.gelu_impl = nn.GELU(approximate="tanh")  # the same function


class Distanced(BloomModel):
    """BLOOM's layers, with penalties by the distances that it is told."""

    def forward(
        self,
        input_ids: Tensor | None = None,
        past_key_values: Any = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        position_ids: Tensor | None = None,
        distances: Tensor | None = None,
        num_before: int = 0,
        **_: Any,
    ) -> BaseModelOutputWithPast:
        """Run the layers.

        Args:
            input_ids: (rows, tokens).
            past_key_values: Keys and values of earlier tokens, to which these tokens' are added.
            attention_mask: (rows, keys), 1 where there is a token; or additive, (rows, 1, queries, keys).
            inputs_embeds: (rows, tokens, d_model), in place of ids.
            use_cache: Make a cache where none is given; None: as the config says.
            position_ids: (rows, tokens), read where keys of a prefix stand before them.
            distances: (rows, 1, queries, keys) int: query position minus key position; None: tokens stand one after
                the other, with padding at either end.
            num_before: At the positions from 0 up to this one stand the keys of a prefix.
        """
        embeds = self.word_embeddings(input_ids) if inputs_embeds is None else inputs_embeds
        if past_key_values is None and (self.config.use_cache if use_cache is None else use_cache):
            past_key_values = DynamicCache(config=self.config)
        mask = create_causal_mask(
            config=self.config, inputs_embeds=embeds, attention_mask=attention_mask, past_key_values=past_key_values
        )
        if distances is None:
            places = torch.arange(mask.shape[3], device=embeds.device)
            distances = places[-mask.shape[2] :, None] - places
        before = None
        if num_before:
            assert position_ids is not None
            since = position_ids[:, None, :, None] - torch.arange(num_before, device=embeds.device)
            before = self._biases(since).to(mask.dtype)
        mask = mask + self._biases(distances).to(mask.dtype)
        states = self.word_embeddings_layernorm(embeds)
        for block in self.h:
            states, _none = block(states, alibi=before, attention_mask=mask, layer_past=past_key_values)
        return BaseModelOutputWithPast(last_hidden_state=self.ln_f(states), past_key_values=past_key_values)

    def _biases(self, distances: Tensor) -> Tensor:
        """Give - m_h (i - j), (rows, num_heads, queries, keys)."""
        return -torch.tensor(slopes(self.num_heads), device=distances.device)[:, None, None] * distances


class Attending(BloomAttention):
    """BLOOM's attention, with scores and sums computed by `attend`."""

    def forward(
        self,
        hidden_states: Tensor,
        residual: Tensor,
        alibi: Tensor | None,
        attention_mask: Tensor,
        layer_past: Any = None,
        **_: Any,
    ) -> tuple[Tensor, None]:
        """Attend, and add the residual.

        Args:
            hidden_states: (rows, tokens, d_model).
            residual: As `hidden_states`.
            alibi: Penalties of a prefix's keys, (rows, num_heads, queries, prefix keys); None: they have none.
            attention_mask: Penalties and mask, (rows, num_heads, queries, keys).
            layer_past: Keys and values of earlier tokens.
        """
        query, key, value = self._reshape(self.query_key_value(hidden_states))
        if layer_past is not None:
            key, value = layer_past.update(key, value, self.layer_idx)
        dropout = self.attention_dropout.p if self.training else 0.0
        summed, _none = attend(self, query, key, value, attention_mask, dropout=dropout, prefix_bias=alibi)
        return residual + functional.dropout(self.dense(summed.flatten(2)), self.hidden_dropout, self.training), None


def slopes(num_heads: int) -> list[float]:
    """Give each head's slope: 2^(-8 h / n) for a power of two n, h = 1 .. n.

    With other numbers of heads, the next smaller power's, then every other one of its double's.
    """
    power = 2 ** int(math.log2(num_heads))
    more = range(1, 2 * (num_heads - power), 2)
    return [2 ** (-8 * head / power) for head in range(1, power + 1)] + [2 ** (-4 * head / power) for head in more]
