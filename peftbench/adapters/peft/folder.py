"""A folder as the peft library wrote it, held against the model that its adapter is to go on."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from peftbench.adapters.peft.write import CONFIG, NOTE, PREFIX, TENSORS
from peftbench.errors import MethodError
from peftbench.methods.parts import places
from peftbench.models.shapes import Role, Site

# Fields of peft's configs that do not change what a trained adapter computes, or that are looked at below.
HARMLESS = {
    *("auto_mapping", "base_model_name_or_path", "revision", "inference_mode", "peft_type", "peft_version"),
    *("task_type", "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "feedforward_modules"),
    *("r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern", "lora_dropout", "init_lora_weights"),
    *("fan_in_fan_out", "megatron_core", "qalora_group_size", "init_ia3_weights", "init_weights", "token_dim"),
    *("num_virtual_tokens", "num_transformer_submodules", "num_attention_heads", "num_layers", "prompt_tuning_init"),
    *("prompt_tuning_init_text", "tokenizer_name_or_path", "tokenizer_kwargs", "encoder_reparameterization_type"),
    *("encoder_hidden_size", "encoder_num_layers", "encoder_dropout", "target_r", "init_r", "tinit", "tfinal"),
    *("deltaT", "beta1", "beta2", "orth_reg_weight", "total_step"),
}
FOLD = "fold it into its model with peft's merge_and_unload, and tune that model"
# Starts that peft takes out of the model's own weights when it loads the adapter again.
REWRITING = ("pissa", "olora", "corda", "loftq", "lora_ga")


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
        where = (like.stack, like.layer, like.attention)
        there = [site for site in self.sites if site.role == role and (site.stack, site.layer, site.attention) == where]
        return there[0] if there else None


@dataclass(frozen=True)
class Given:
    """A folder as peft wrote it.

    Args:
        fields: Of adapter_config.json.
        tensors: By peft's names, "base_model.model." left out.
        note: What this package left with the tensors: method, config, fingerprint; empty where it was not the writer.
    """

    path: Path
    fields: dict[str, Any]
    tensors: dict[str, Tensor]
    note: dict[str, Any]
    base: Base

    def own(self, method: str) -> dict[str, Any]:
        """Give the settings that the adapter had here, if it was one of this method."""
        return dict(self.note.get("config", {})) if self.note.get("method") == method else {}

    def refused(self, what: str, hint: str | None = None) -> MethodError:
        """Build the error that says what of it has no place here."""
        model = self.fields.get("base_model_name_or_path")
        return MethodError(
            f"peft adapter '{self.path}' is no starting point on '{self.base.name}': {what}",
            hint=hint or f"it says that it was made for '{model}'",
        )

    def layers(self, *leaves: str) -> Iterator[tuple[str, list[Site], list[Tensor]]]:
        """Give each module that it acts on, with the sites at its output, and its tensors by `leaves`."""
        modules: dict[str, dict[str, Tensor]] = {}
        for key, tensor in self.tensors.items():
            leaf = next((leaf for leaf in leaves if key.endswith(f".{leaf}")), None)
            if leaf is None:
                raise self.refused(f"it holds '{key}', for which there is no place")
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

    def fits(self, module: str, found: Sequence[int], expected: Sequence[int]) -> None:
        """Refuse a tensor of another shape than the layer's."""
        if list(found) != list(expected):
            raise self.refused(f"at '{module}' it has the shape {list(found)}, and the layer takes {list(expected)}")

    def num_outputs(self, module: str) -> int:
        """Count the features that a module gives: those of all its sites."""
        return sum(site.features for site in self.base.sites if site.module == module and site.side == "output")

    def roles(self, covered: Sequence[Site]) -> tuple[Role, ...]:
        """Give the roles of the sites that it covers, of each of which it must cover all."""
        roles = tuple(role for role in places.LINEAR if any(site.role == role for site in covered))
        for role in roles:
            there = [site for site in self.base.sites if site.role == role and site.side == "output"]
            missing = [site.module for site in there if site not in covered]
            if missing:
                raise self.refused(
                    f"it acts on {len(there) - len(missing)} of the {len(there)} layers of the role '{role}', not on "
                    f"'{missing[0]}'",
                    "a method acts on all layers of a role here",
                )
        return roles


def fields(path: Path) -> dict[str, Any]:
    """Read adapter_config.json.

    Raises:
        MethodError: It is damaged.
    """
    try:
        fields = json.loads((path / CONFIG).read_text(encoding="utf-8"))
        if not isinstance(fields, dict):
            raise ValueError("not an object")
    except (OSError, ValueError) as error:
        raise MethodError(f"'{path / CONFIG}' is damaged: {error}", hint="copy the folder again") from None
    return fields


def tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors as float32, by peft's names, and the note that this package left with them.

    Raises:
        MethodError: None there, or damaged.
    """
    file = path / TENSORS
    if not file.is_file():
        raise MethodError(
            f"peft adapter '{path}' has no {TENSORS}",
            hint="pickles (.bin) are not read: save it again with peft's save_pretrained",
        )
    try:
        with safe_open(file, "pt") as opened:
            note = json.loads((opened.metadata() or {}).get(NOTE, "{}"))
            names = list(opened.keys())
            return {name.removeprefix(PREFIX): opened.get_tensor(name).float() for name in names}, note
    except (SafetensorError, OSError, ValueError) as error:
        raise MethodError(f"'{file}' is damaged: {error}", hint="copy the folder again") from None


def check(given: Given) -> None:
    """Refuse what peft would compute and no method here does.

    Raises:
        MethodError: Names it.
    """
    expected = "SEQ_2_SEQ_LM" if given.base.is_encoder_decoder else "CAUSAL_LM"
    if given.fields.get("task_type") not in (None, expected):
        raise given.refused(
            f"its task_type is {given.fields['task_type']}", f"adapters of {expected} go on a model of this kind"
        )
    start = str(given.fields.get("init_lora_weights"))
    if start.startswith(REWRITING):
        raise given.refused(
            f"init_lora_weights = {start} rewrites the model's own weights",
            FOLD,
        )
    for name, value in given.fields.items():
        if name not in HARMLESS and value not in (None, False, 0, "", "none", [], {}):
            shown = json.dumps(value)
            raise given.refused(f"it has {name} = {shown if len(shown) < 60 else '{...}'}", FOLD)
