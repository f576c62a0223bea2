"""Prefix tuning: learned keys and values before those of the tokens, in every attention block.

    softmax(q [P_k; k]^T / sqrt(d_k)) [P_v; v]          P_k, P_v: (num_kv_heads, num_virtual_tokens, d_kv)

On encoder-decoders in all three kinds: the encoder's self-attention, the decoder's self- and cross-attention.

Paper: 2101.00190, section 4.2.
Differs: the paper trains P through an MLP that is folded away afterwards (section 4.3); by default keys and values are
    the parameters here, so that what is trained is what is saved and counted. With `reparameterize` P comes from
    E (num_virtual_tokens, d_model) through tanh(E W_1 + b_1), both shared by all blocks of a kind (encoder, decoder,
    cross), and one matrix per block, as in T-Few's code; that code saves the network (618 MB at T0-3B), here it is
    folded into P when training ends, as in the paper. T-Few's code fits P to the activations of a text first,
    and in self-attention its prefix stands at the positions before the tokens, where T5's relative bias finds it; here
    it stands at none, and its bias is zero. On decoder-only models the paper's code and peft's let the input begin at
    position num_virtual_tokens, which is `position_offset` here; by default the input begins at 0. The paper starts
    P from the activations of words where rows are few; here it starts at random, as its code does otherwise, T-Few's
    "direct" and peft: P and E at N(0, 1), which `init_std` changes, matrices and biases as torch's Linear.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from peftbench.errors import MethodError
from peftbench.methods.base import Added, MethodConfig, Op
from peftbench.methods.parts import places
from peftbench.methods.parts.peft_form import Exported, PeftForm
from peftbench.methods.parts.reference import Reference
from peftbench.models import rotary
from peftbench.models.backbone import Backbone
from peftbench.models.shapes import Attention, Sizes

PAPER = "2101.00190, section 4.2"
IDENTITY_AT_INIT = False
DEAD: dict[str, str] = {}
DEFAULTS: dict[str, Any] = {"lr": 1e-2, "scale_parameter": False, "num_steps": 1000}


def _is_zero(value: int) -> bool:
    return value == 0


class Config(MethodConfig):
    """Settings of prefix tuning.

    Args:
        num_virtual_tokens: Keys and values per attention block.
        reparameterize: Train P through the MLP.
        hidden_size: Features between the MLP's two layers.
        init_std: Standard deviation of what starts as N(0, init_std^2): P, or E where P comes out of the MLP. The MLP's
            matrices and biases start as torch's Linear does, whatever it is.
        position_offset: Position of the input's first token. 0: the prefix stands at no position.
            As many as virtual tokens: it stands where its tokens would, and the input goes on from there. So the keys
            and values of a text can be a prefix; decoder-only models without a sliding window. Nothing in between: it
            must be known where the keys stand.
    """

    num_virtual_tokens: int = Field(10, ge=1)
    reparameterize: bool = False
    hidden_size: int = Field(512, ge=1)
    init_std: float = Field(1.0, gt=0, allow_inf_nan=False)
    position_offset: int = Field(0, ge=0, exclude_if=_is_zero)

    @model_validator(mode="after")
    def _keys_fill_their_positions(self) -> "Config":
        if self.position_offset not in (0, self.num_virtual_tokens):
            raise ValueError("position_offset is neither 0 nor num_virtual_tokens")
        return self


class Prefix(nn.Module):
    """Keys and values of one attention block.

    Args:
        shape: Of each: (num_kv_heads, num_keys, d_kv).
        init_std: Standard deviation of their start.
    """

    def __init__(self, shape: tuple[int, int, int], init_std: float) -> None:
        super().__init__()
        self.k = nn.Parameter(init_std * torch.randn(shape))
        self.v = nn.Parameter(init_std * torch.randn(shape))

    def forward(self) -> tuple[Tensor, Tensor]:
        """Return (P_k, P_v)."""
        return self.k, self.v


class Shared(nn.Module):
    """The first half of the MLP, which all attention blocks of a kind share: tanh(E W_1 + b_1).

    Args:
        num_keys: Rows of E.
        d_model: Columns of E.
        hidden_size: Features that come out.
        init_std: Standard deviation of E's start.
    """

    def __init__(self, num_keys: int, d_model: int, hidden_size: int, init_std: float) -> None:
        super().__init__()
        self.E = nn.Parameter(init_std * torch.randn(num_keys, d_model))
        self.W_1 = _uniform(d_model, d_model, hidden_size)
        self.b_1 = _uniform(d_model, hidden_size)

    def forward(self) -> Tensor:
        """Compute tanh(E W_1 + b_1), (num_keys, hidden_size)."""
        return torch.tanh(self.E @ self.W_1 + self.b_1)


class Reparameterized(nn.Module):
    """Keys and values of one attention block out of the MLP.

    Args:
        shared: The first half; it is registered in the model.
        num_kv_heads: Heads of keys and values.
        d_kv: Features of each.
    """

    def __init__(self, shared: Shared, num_kv_heads: int, d_kv: int) -> None:
        super().__init__()
        self._shared = Reference(shared)
        self._shape = (-1, 2, num_kv_heads, d_kv)
        hidden_size, features = len(shared.b_1), 2 * num_kv_heads * d_kv
        self.W_2 = _uniform(hidden_size, hidden_size, features)
        self.b_2 = _uniform(hidden_size, features)

    def forward(self) -> tuple[Tensor, Tensor]:
        """Compute (P_k, P_v), each (num_kv_heads, num_keys, d_kv)."""
        # (num_keys, 2 num_kv_heads d_kv) -> (num_keys, 2, num_kv_heads, d_kv)
        hidden = self._shared.target().to(self.W_2.device)  # (num_keys, hidden_size)
        pairs = (hidden @ self.W_2 + self.b_2).view(self._shape)
        keys, values = pairs.permute(1, 2, 0, 3)  # (2, num_kv_heads, num_keys, d_kv)
        return keys, values


def _uniform(num_inputs: int, *shape: int) -> nn.Parameter:
    """Draw a matrix or a bias as torch's Linear does: uniform within 1 / sqrt(num_inputs)."""
    bound = num_inputs**-0.5
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))


def attach(backbone: Backbone, config: Config) -> list[str]:
    """Insert a prefix before the keys and values of every attention block.

    Raises:
        MethodError: The backbone names no attention blocks, or has no place for a `position_offset`.
    """
    blocks = _blocks(backbone)
    if not config.reparameterize:
        return restore(backbone, config, {})
    _move(backbone, config.position_offset)
    halves = {}
    for kind in dict.fromkeys((block.stack, block.kind) for block in blocks):
        sizes = config.num_virtual_tokens, backbone.sizes.d_model, config.hidden_size
        halves[kind] = Shared(*sizes, config.init_std)
        backbone.adopt(_mlp(*kind), halves[kind])
    for block in blocks:
        shared = halves[block.stack, block.kind]
        backbone.insert_prefix(block, Reparameterized(shared, block.num_kv_heads, block.d_kv))
    first = [f"{_mlp(*kind)}.{part}" for kind in halves for part in ("E", "W_1", "b_1")]
    return first + [f"{block.module}.prefix.{part}" for block in blocks for part in ("W_2", "b_2")]


@torch.no_grad()
def finish(backbone: Backbone, config: Config) -> list[str]:
    """Fold the MLP into the keys and values that it gives."""
    blocks = _blocks(backbone)
    if not config.reparameterize:
        return _names(blocks)
    folded = [backbone.model.get_submodule(f"{block.module}.prefix")() for block in blocks]
    backbone.take_out()
    restore(backbone, config, {})
    for block, (keys, values) in zip(blocks, folded, strict=True):
        prefix = backbone.model.get_submodule(f"{block.module}.prefix")
        prefix.k.copy_(keys)
        prefix.v.copy_(values)
    return _names(blocks)


def restore(backbone: Backbone, config: Config, shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Insert a prefix of plain keys and values in every attention block."""
    blocks = _blocks(backbone)
    _move(backbone, config.position_offset)
    for block in blocks:
        shape = block.num_kv_heads, config.num_virtual_tokens, block.d_kv
        backbone.insert_prefix(block, Prefix(shape, config.init_std))
    return _names(blocks)


def resume_config(config: Config) -> Config:
    """Build the settings of plain keys and values: the MLP is folded into them."""
    return config.model_copy(update={"reparameterize": False})


def _move(backbone: Backbone, offset: int) -> None:
    if not offset:
        return
    if backbone.is_encoder_decoder or backbone.sizes.is_encoder_only or backbone.is_windowed:
        is_decoder = not backbone.is_encoder_decoder and not backbone.sizes.is_encoder_only
        kind = "a model with a sliding window" if is_decoder else f"an {backbone.sizes.kind} model"
        raise MethodError(
            f"position_offset = {offset}: a prefix has no positions in {kind}, as '{backbone.name}' is",
            hint="position_offset = 0",
        )
    backbone.start_at(offset)


def _mlp(stack: str, kind: str) -> str:
    return f"prefix_mlp_{stack}_{kind}"


def _names(blocks: list[Attention]) -> list[str]:
    return [f"{block.module}.prefix.{part}" for block in blocks for part in ("k", "v")]


def _blocks(backbone: Backbone) -> list[Attention]:
    blocks = backbone.attentions()
    if not blocks:
        raise MethodError(f"prefix tuning acts in attention blocks, and '{backbone.name}' has none")
    return blocks


def added(sizes: Sizes, config: Config) -> Added:
    """Count 2 * num_virtual_tokens * num_kv_heads * d_kv parameters per attention block, and keys without tokens.

    With the MLP, what is trained in their place: 2 * num_kv_heads * d_kv * (hidden_size + 1) per attention block, and
    for each kind of them num_virtual_tokens * d_model + hidden_size * (d_model + 1).
    """
    width, hidden, num_tokens = 2 * sizes.num_kv_heads * sizes.d_kv, config.hidden_size, config.num_virtual_tokens
    count = places.num_attentions(sizes) * width * (hidden + 1 if config.reparameterize else num_tokens)
    ops: tuple[Op, ...] = ()
    if config.reparameterize:
        shapes = ((sizes.d_model, hidden), (hidden, width))
        mlp = [Op(None, k, n, False, reads="trained", rows=num_tokens, training_only=True) for k, n in shapes]
        ops = tuple(mlp * places.num_attentions(sizes))
        num_kinds = 3 if sizes.is_encoder_decoder else 1
        count += num_kinds * (num_tokens * sizes.d_model + hidden * (sizes.d_model + 1))
    return Added(
        num_parameters=count,
        ops=ops,
        extra_keys=config.num_virtual_tokens,
        places=places.keys_values(sizes),
        saved_bytes=4 * places.num_attentions(sizes) * width * num_tokens,
    )


merge = None
UNMERGEABLE = "the prefix enters inside the softmax: no weights give the same function"


def _to_peft(backbone: Backbone, names: Sequence[str]) -> Exported:
    """Write the prefix; peft puts it into the cache, so that a text's positions go on after it.

    A prefix that stands before the first position keeps its distances where positions are rotations: its keys are
    turned forward by as many positions as it then takes up.

    Raises:
        MethodError: peft's prefix would act elsewhere, or at other positions.
    """
    reason = _no_form(backbone)
    if reason:
        hint = "`peftbench predict` uses it as it is"
        raise MethodError(f"peft's prefix tuning does not compute what this one does: {reason}", hint=hint)
    blocks = sorted(backbone.prefixes.items(), key=lambda pair: pair[0].layer)
    pairs: list[Tensor] = []  # keys and values by turns, each (num_kv_heads, num_keys, d_kv)
    for block, prefix in blocks:
        keys, values = prefix()
        if not backbone.num_positions_before:
            keys = rotary.move_behind(backbone.model.base_model, backbone.model.get_submodule(block.module), keys)
        pairs += [keys, values]
    num_heads, num_keys, d_kv = pairs[0].shape
    sizes = {"num_layers": len(blocks), "num_attention_heads": num_heads, "token_dim": num_heads * d_kv}
    fields = {"peft_type": "PREFIX_TUNING", "num_virtual_tokens": num_keys, "num_transformer_submodules": 1, **sizes}
    # (2 layers, num_kv_heads, num_keys, d_kv) -> (num_keys, 2 layers * num_kv_heads * d_kv)
    return Exported(fields, {"prompt_embeddings": torch.stack(pairs).permute(2, 0, 1, 3).flatten(1)})


def _no_form(backbone: Backbone) -> str:
    """Explain why peft's prefix would differ from this one; empty where it would not."""
    config = backbone.model.config
    if backbone.is_encoder_decoder:
        return "it reaches the decoder's self-attention, and not the encoder's, nor cross-attention"
    if backbone.window is not None:
        return "in a sliding window its keys go out of sight, and these are always seen"
    if not backbone.num_positions_before and not rotary.is_rotary(config):
        return "after it the input begins at a later position, and after this one at position 0"
    return ""


PEFT = PeftForm(_to_peft)
