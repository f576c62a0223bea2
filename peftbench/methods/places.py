"""Where methods act: sites looked up in a backbone, and the same layers in closed form from the sizes alone."""

from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor, nn

from peftbench.errors import MethodError
from peftbench.models.backbone import Backbone, Role, Site, Sizes, Stack


@dataclass(frozen=True)
class Linear:
    """A linear layer of a transformer block, as a shape.

    Args:
        tokens: Whose tokens pass through it, as in `base.Op`.
        layer: Layer index in its stack.
        k: Features that go in.
        n: Features that come out.
    """

    tokens: Literal["encoder", "decoder", "cross"]
    layer: int
    k: int
    n: int


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
    if role not in shapes:
        return []
    return [Linear(tokens, layer, *shapes[role]) for tokens, layer in _blocks(sizes, role)]


def _blocks(sizes: Sizes, role: Role) -> list[tuple[Literal["encoder", "decoder", "cross"], int]]:
    blocks: list[tuple[Literal["encoder", "decoder", "cross"], int]] = []
    blocks += [("encoder", layer) for layer in range(sizes.num_encoder_layers)]
    for layer in range(sizes.num_decoder_layers):
        blocks.append(("decoder", layer))
        if sizes.is_encoder_decoder and not role.startswith("ff"):
            blocks.append(("cross" if role in ("k", "v") else "decoder", layer))
    return blocks


def num_attentions(sizes: Sizes) -> int:
    """Count the attention blocks: a decoder layer of an encoder-decoder has two."""
    return sizes.num_encoder_layers + sizes.num_decoder_layers * (2 if sizes.is_encoder_decoder else 1)


def bottom(sizes: Sizes) -> tuple[Stack, int]:
    """Give the lowest layer, below which a method that acts in every layer needs no backward pass."""
    return ("encoder" if sizes.is_encoder_decoder else "decoder", 0)


def required(backbone: Backbone, role: Role, method: str) -> list[Site]:
    """List the sites of a role that `method` cannot do without.

    Raises:
        MethodError: The backbone has none; the hint names the roles that it has.
    """
    sites = backbone.sites(role)
    if not sites:
        there = ", ".join(known for known in get_args(Role) if known != role and backbone.sites(known))
        raise MethodError(
            f"{method} acts on the role '{role}', and '{backbone.name}' has no such layer",
            hint=f"roles that it has: {there or 'none'}",
        )
    return sites


def keep(backbone: Backbone, sites: list[Site]) -> None:
    """Let the backbone remember weights and biases at the sites before they are merged into."""
    backbone.keep(f"{site.module}.{part}" for site in sites for part in ("weight", "bias"))


def weight(backbone: Backbone, site: Site) -> Tensor:
    """Give the layer's weight at a site; a view, so that writing to it changes the layer.

    Returns:
        Output side: (site.features, in_features). Input side: (out_features, site.features).
    """
    linear = backbone.model.get_submodule(site.module)
    stored: Tensor = linear.weight
    matrix = stored if isinstance(linear, nn.Linear) else stored.T  # GPT-2's Conv1D stores (in, out)
    return matrix[site.start : site.stop] if site.side == "output" else matrix[:, site.start : site.stop]


def bias(backbone: Backbone, site: Site) -> Tensor | None:
    """Give the layer's bias at an output-side site, (site.features), as a view; None where it has none."""
    stored: Tensor | None = backbone.model.get_submodule(site.module).bias
    return None if stored is None else stored[site.start : site.stop]
