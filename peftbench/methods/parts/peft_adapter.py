"""An adapter as the peft library wrote it, held against the model that it is to go on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from peftbench.errors import MethodError
from peftbench.methods.parts import places
from peftbench.models.shapes import Role, Site


@dataclass(frozen=True)
class Base:
    """A model as its config tells of it.

    Args:
        rotary: Whether queries and keys are turned by their positions before they meet.
    """

    name: str
    is_encoder_decoder: bool
    gated: bool
    rotary: bool
    sites: Sequence[Site]

    def at(self, role: Role, like: Site) -> Site | None:
        """Find the site of a role in the same block as another one."""
        block = (like.stack, like.layer, like.attention)
        sites = (site for site in self.sites if site.role == role)
        return next((site for site in sites if (site.stack, site.layer, site.attention) == block), None)


@dataclass(frozen=True)
class PeftAdapter:
    """The contents of a folder that peft wrote.

    Args:
        fields: Of adapter_config.json.
        tensors: By peft's names, "base_model.model." left out.
        own: The settings that it had as an adapter of this package, by the same method; empty where it was none.
    """

    path: Path
    fields: dict[str, Any]
    tensors: dict[str, Tensor]
    own: dict[str, Any]
    base: Base

    def refused(self, what: str, hint: str | None = None) -> MethodError:
        """Build the error that says which part of the adapter has no place here."""
        model = self.fields.get("base_model_name_or_path")
        return MethodError(
            f"peft adapter '{self.path}' is no starting point on '{self.base.name}': {what}",
            hint=hint or f"it says that it was made for '{model}'",
        )

    def layers(self, *leaves: str) -> Iterator[tuple[str, list[Site], list[Tensor]]]:
        """List each module that the adapter acts on, with the sites at its output, and its tensors in `leaves`' order.

        Raises:
            MethodError: A tensor of another name, a module that has no site, or one that lacks a tensor.
        """
        modules: dict[str, dict[str, Tensor]] = {}
        for key, tensor in self.tensors.items():
            leaf = next((leaf for leaf in leaves if key.endswith(f".{leaf}")), None)
            if leaf is None:
                raise self.refused(f"it holds '{key}', for which there is no place")
            if tensor.dim() != 2:
                raise self.refused(f"at '{key}' it has the shape {list(tensor.shape)}, and peft writes matrices")
            modules.setdefault(key.removesuffix(f".{leaf}"), {})[leaf] = tensor
        outputs = [site for site in self.base.sites if site.side == "output"]
        for module, table in modules.items():
            sites = [site for site in outputs if site.module == module]
            if not sites:
                known = ", ".join(dict.fromkeys(site.module.rpartition(".")[2] for site in outputs))
                raise self.refused(f"it acts on '{module}'", f"layers that can be acted on here: {known}")
            if len(table) < len(leaves):
                raise self.refused(f"'{module}' lacks {', '.join(leaf for leaf in leaves if leaf not in table)}")
            yield module, sites, [table[leaf] for leaf in leaves]

    def check_shape(self, module: str, actual: Sequence[int], expected: Sequence[int]) -> None:
        """Refuse a tensor of another shape than the layer's."""
        if list(actual) != list(expected):
            raise self.refused(f"at '{module}' it has the shape {list(actual)}, and the layer takes {list(expected)}")

    def num_outputs(self, module: str) -> int:
        """Count the features that a module gives: those of all its sites."""
        return sum(site.features for site in self.base.sites if site.module == module and site.side == "output")

    def roles(self, covered: Sequence[Site]) -> tuple[Role, ...]:
        """List the roles of the sites that the adapter covers.

        Raises:
            MethodError: It covers some of a role's layers, and not all.
        """
        roles = tuple(role for role in places.LINEAR if any(site.role == role for site in covered))
        for role in roles:
            layers = [site for site in self.base.sites if site.role == role and site.side == "output"]
            missing = [site.module for site in layers if site not in covered]
            if missing:
                raise self.refused(
                    f"it acts on {len(layers) - len(missing)} of the {len(layers)} layers of the role '{role}', not on "
                    f"'{missing[0]}'",
                    "a method acts on all layers of a role here",
                )
        return roles
