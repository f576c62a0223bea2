"""Where methods act, in closed form from the sizes alone; `sites` looks the same up in a loaded backbone. No torch."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator

from peftbench.errors import MethodError
from peftbench.methods.base import Place
from peftbench.models.shapes import Role, Sizes, Stack

KEY_BIAS = r"(coder\.layers\.\d+\.\w+_attn\.k_proj|attention\.self\.key)\."
"""The layers of keys in families that have them alone, with a bias, and no rotary positions: BART, OPT and BERT."""
SHIFTS_ALL = "a bias on keys shifts all scores of a query alike"

LinearRole = Literal["q", "k", "v", "o", "ff_gate", "ff_up", "ff_out"]
LINEAR: tuple[LinearRole, ...] = get_args(LinearRole)


def _split(value: Any) -> Any:
    """Read roles as the command line writes them, "q,v", and name the first that is none."""
    if value == "all":
        return value
    names = value.split(",") if isinstance(value, str) else value
    unknown = [name for name in names if name not in LINEAR] if isinstance(names, list | tuple) else [value]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is no role: all, or some of {', '.join(LINEAR)}")
    return tuple(dict.fromkeys(names))


Roles = Annotated[Literal["all"] | tuple[LinearRole, ...], BeforeValidator(_split)]
"""The linear layers that a method acts on: all, or those of some roles."""


def linear_roles(sizes: Sizes) -> tuple[LinearRole, ...]:
    """List the roles of linear layers that a model has."""
    return tuple(role for role in LINEAR if role != "ff_gate" or sizes.gated)


@dataclass(frozen=True)
class Linear:
    """A linear layer of a transformer block, as a shape.

    Args:
        place: Its output.
        k: Features that go in.
        n: Features that come out.
    """

    place: Place
    k: int
    n: int

    @property
    def tokens(self) -> Literal["encoder", "decoder", "cross"]:
        """Whose tokens pass through it."""
        return self.place.tokens

    @property
    def layer(self) -> int:
        """Layer index in its stack."""
        return self.place.layer


def linears(sizes: Sizes, role: Role) -> list[Linear]:
    """List the layers of a role in every block; none where the model has no such role.

    Args:
        sizes: The model's shapes.
        role: Any but "ff_hidden", which is the input side of "ff_out".
    """
    d_query, d_key = sizes.num_heads * sizes.d_kv, sizes.num_kv_heads * sizes.d_kv
    shapes: dict[Role, tuple[int, int]] = {
        "q": (sizes.d_model, d_query),
        "k": (sizes.d_model, d_key),
        "v": (sizes.d_model, d_key),
        "o": (d_query, sizes.d_model),
        "ff_up": (sizes.d_model, sizes.d_ff),
        "ff_out": (sizes.d_ff, sizes.d_model),
    }
    if sizes.gated:
        shapes["ff_gate"] = shapes["ff_up"]
    if role not in shapes:  # a gate that is not there, or a norm
        return []
    feed_forward = role.startswith("ff")
    blocks = [block for block in _blocks(sizes) if (block[2] == "ff") == feed_forward]
    return [Linear(Place(*block, role), *shapes[role]) for block in blocks]


def _blocks(sizes: Sizes) -> list[tuple[Stack, int, Literal["self", "cross", "ff"]]]:
    """List the blocks in the order in which they run."""
    blocks: list[tuple[Stack, int, Literal["self", "cross", "ff"]]] = []
    for layer in range(sizes.num_encoder_layers):
        blocks += [("encoder", layer, "self"), ("encoder", layer, "ff")]
    for layer in range(sizes.num_decoder_layers):
        blocks.append(("decoder", layer, "self"))
        if sizes.is_encoder_decoder:
            blocks.append(("decoder", layer, "cross"))
        blocks.append(("decoder", layer, "ff"))
    return blocks


def check_rank(sizes: Sizes, roles: Iterable[Role], field: str, rank: int) -> None:
    """Refuse a rank above that of the matrices which it is to approximate.

    Args:
        sizes: The model's shapes.
        roles: Of the layers.
        field: What the method calls its rank.
        rank: Its value.

    Raises:
        MethodError: A layer has fewer features.
    """
    layers = [linear for role in roles for linear in linears(sizes, role)]
    smallest = min(layers, key=lambda linear: min(linear.k, linear.n), default=None)
    if smallest is not None and rank > min(smallest.k, smallest.n):
        raise MethodError(
            f"{field} = {rank:,} is more than a layer of the role '{smallest.place.role}' can have, "
            f"{smallest.k:,} -> {smallest.n:,} features",
            hint=f"at most {min(smallest.k, smallest.n):,}",
        )


def matrices(sizes: Sizes) -> tuple[Place, ...]:
    """List the places of all linear layers of all blocks."""
    return tuple(linear.place for role in LINEAR for linear in linears(sizes, role))


def keys_values(sizes: Sizes) -> tuple[Place, ...]:
    """List the places of keys and values in all attention blocks."""
    return tuple(linear.place for role in ("k", "v") for linear in linears(sizes, role))


def norm_places(sizes: Sizes) -> tuple[Place, ...]:
    """List the norms before the blocks; a stack's last norm has none after it, and lies above them all.

    Where norms stand behind the blocks, each but a stack's last one is the norm before the next block.
    """
    places = [Place(*block, "norm") for block in _blocks(sizes)]
    lacks_first = sizes.norms_behind or sizes.no_first_norm
    return tuple(place for place in places if not (lacks_first and (place.layer, place.block) == (0, "self")))


def num_attentions(sizes: Sizes) -> int:
    """Count the attention blocks: a decoder layer of an encoder-decoder has two."""
    return sizes.num_encoder_layers + sizes.num_decoder_layers * (2 if sizes.is_encoder_decoder else 1)


def block_end_places(sizes: Sizes, attention: bool) -> list[Place]:
    """List the places of what `sites.block_ends` lists, from the sizes alone."""
    selves = [linear.place for linear in linears(sizes, "o") if linear.place.block == "self"] if attention else []
    return selves + [linear.place for linear in linears(sizes, "ff_out")]


def num_norm_parameters(sizes: Sizes) -> int:
    """Count the norms' own parameters: one before each block or two around it, each stack's last, those of heads."""
    stacks = 2 if sizes.is_encoder_decoder else 1
    num_norms = 2 * sizes.num_encoder_layers + (stacks + 1) * sizes.num_decoder_layers
    num_norms = num_norms * (2 if sizes.post_norms else 1) + (0 if sizes.norms_behind else stacks) - sizes.no_first_norm
    heads = 2 * sizes.d_kv * sizes.num_decoder_layers if sizes.head_norms else 0
    return (num_norms * sizes.d_model + heads) * (2 if sizes.norm_biases else 1)


def num_layer_parameters(sizes: Sizes) -> int:
    """Count one decoder layer's parameters: matrices, biases and norms, without T5's table of relative positions."""
    count = 0
    for role in ("q", "k", "v", "o", "ff_gate", "ff_up", "ff_out"):
        layers = [linear for linear in linears(sizes, role) if linear.layer == 0 and linear.tokens != "encoder"]
        count += sum(linear.k * linear.n + (linear.n if role in sizes.biased else 0) for linear in layers)
    num_norms = (3 if sizes.is_encoder_decoder else 2) * (2 if sizes.post_norms else 1)
    heads = 2 * sizes.d_kv if sizes.head_norms else 0
    return count + (num_norms * sizes.d_model + heads) * (2 if sizes.norm_biases else 1)
