"""Where methods act, looked up in a loaded backbone; `places` has the same from the sizes alone."""

from typing import get_args

from torch import Tensor, nn

from peftbench.errors import MethodError
from peftbench.models.backbone import Backbone
from peftbench.models.shapes import Role, Site


def required(backbone: Backbone, role: Role, method: str) -> list[Site]:
    """List the sites of a role that `method` cannot do without.

    Raises:
        MethodError: The backbone has none; the hint names the roles that it has.
    """
    sites = backbone.sites(role)
    if not sites:
        others = ", ".join(other for other in get_args(Role) if other != role and backbone.sites(other))
        raise MethodError(
            f"{method} acts on the role '{role}', and '{backbone.name}' has no such layer",
            hint=f"roles that it has: {others or 'none'}",
        )
    return sites


def block_ends(backbone: Backbone, attention: bool, method: str) -> list[Site]:
    """List the ends of blocks, whose outputs are added to the residual stream: the feed-forward blocks of all layers.

    Args:
        backbone: With any methods attached.
        attention: Whether to list the self-attention blocks too.
        method: What the method is called in errors.

    Raises:
        MethodError: The backbone has no such blocks.
    """
    sites = required(backbone, "ff_out", method)
    if attention:
        sites = [site for site in required(backbone, "o", method) if site.attention == "self"] + sites
    return sites


def norms(backbone: Backbone, method: str) -> list[str]:
    """List the full names of the norms' own parameters: weights, and biases where they have them.

    Raises:
        MethodError: The backbone has no norms.
    """
    own = set(backbone.base_names)
    modules = [site.module for site in required(backbone, "norm", method)]
    return [name for module in modules for name in (f"{module}.weight", f"{module}.bias") if name in own]


def keep(backbone: Backbone, sites: list[Site]) -> None:
    """Copy the weights and biases at the sites before a merge, so that `detach_all` can put them back."""
    backbone.keep(f"{site.module}.{part}" for site in sites for part in ("weight", "bias"))


def weight(backbone: Backbone, site: Site) -> Tensor:
    """Return the weight of a site's layer, as a view: writing to it at `site.index` changes the layer there.

    Returns:
        (out_features, in_features), whichever way it is stored.
    """
    linear = backbone.model.get_submodule(site.module)
    stored: Tensor = linear.weight
    return stored if isinstance(linear, nn.Linear) else stored.T  # GPT-2's Conv1D stores (in, out)


def bias(backbone: Backbone, site: Site) -> Tensor | None:
    """Return the bias of a site's layer itself, (out_features); None where it has none."""
    stored: Tensor | None = backbone.model.get_submodule(site.module).bias
    return stored
