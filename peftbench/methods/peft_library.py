"""Methods of the peft library, as `--method peft:NAME`: one of its configs, turned into a method of this package.

peft wraps layers of the model; what it leaves trainable is what is trained, saved and counted here. Its own forward
pass, training loop and checkpoints stay outside, and so do the methods that need them.
"""

import dataclasses
import typing
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from types import NoneType
from typing import Any

import torch
from pydantic import create_model, field_validator
from torch import nn
from transformers.pytorch_utils import Conv1D

from peftbench.errors import MethodError
from peftbench.methods.base import Added, Method, MethodConfig
from peftbench.models import quantized
from peftbench.models.backbone import Backbone
from peftbench.models.shapes import Sizes
from peftbench.registry import PEFT

ADAPTER = "default"
OURS = {
    "PROMPT_TUNING": "prompt_tuning",
    "P_TUNING": "p_tuning",
    "PREFIX_TUNING": "prefix_tuning",
    "ADALORA": "adalora",
}
"""Ours that do the same, for those of peft's that need more of it than its layers."""
NOT_SETTINGS = {
    *("task_type", "peft_type", "auto_mapping", "peft_version", "base_model_name_or_path"),
    *("revision", "inference_mode", "modules_to_save"),
}
PATTERNS = ("target_modules", "exclude_modules", "feedforward_modules")
PLAIN = (int, float, bool, str, dict, NoneType)


class PeftConfig(MethodConfig):
    """Settings of one of peft's methods; lists of layers may be written "q,v", and are never regular expressions."""

    @field_validator(*PATTERNS, mode="before", check_fields=False)
    @classmethod
    def _split(cls, value: Any) -> Any:
        return value.split(",") if isinstance(value, str) and value != "all-linear" else value


class PeftMethod(Method):
    """One of peft's methods, offered as ours are.

    Args:
        name: As in peft, in capitals.
        config_class: peft's.
        tuner_class: peft's; it wraps the layers.
    """

    PAPER = ""
    IDENTITY_AT_INIT = False  # true of most of them and not claimed
    DEAD: Mapping[str, str] = {}
    # Most start at zero somewhere, where scale_parameter would shrink the steps.
    DEFAULTS: Mapping[str, Any] = {"lr": 3e-3, "scale_parameter": False, "num_steps": 1000}
    merge = None
    UNMERGEABLE = "it is computed as peft computes it"

    def __init__(self, name: str, config_class: Any, tuner_class: Any) -> None:
        self.name = f"{PEFT}{name}"
        self._config_class, self._tuner_class = config_class, tuner_class
        self.Config = _config(config_class)

    def attach(self, backbone: Backbone, config: MethodConfig) -> list[str]:
        """Wrap the model's layers by peft.

        Raises:
            MethodError: peft cannot put this method, with these settings, on this model, or its weights are packed.
        """
        if backbone.is_packed:
            raise quantized.refusal(backbone.name, "is peft's, which reads the model's own weights")
        own = list(backbone.parameters_named(backbone.base_names).values())
        before = [_storage(parameter) for parameter in own]
        backbone.on_take_out(_restorer(backbone.model))
        with self._refusing(backbone), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # advice on settings that were chosen
            self._tuner_class(backbone.model, self._config_class(**config.model_dump()), ADAPTER)
            if [_storage(parameter) for parameter in own] != before:
                raise ValueError("these settings rewrite the model's own weights")
            if getattr(config, "token_indices", None) == []:
                raise ValueError("token_indices names no token")
            if not (names := _trained(backbone)):
                raise ValueError("it finds nothing to train")
        freed = [parameter for parameter in own if parameter.requires_grad]
        backbone.on_take_out(_writer(freed))
        return names

    def finish(self, backbone: Backbone, config: MethodConfig) -> list[str]:
        """List the trained parameters and the random buffers that peft keeps: both are saved."""
        persistent = backbone.model.state_dict().keys()
        return _trained(backbone) + [name for name, _ in backbone.model.named_buffers() if name in persistent]

    def restore(self, backbone: Backbone, config: MethodConfig, shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
        """Wrap the layers as for training."""
        self.attach(backbone, config)
        return self.finish(backbone, config)

    def added(self, sizes: Sizes, config: MethodConfig) -> Added:
        """Refuse.

        Raises:
            MethodError: Always: which matmuls peft adds, no config tells.
        """
        raise MethodError(
            f"{self.name} has no closed form here: what peft adds, only a run shows",
            hint=f"`peftbench tune --method {self.name}` traces it",
        )

    @contextmanager
    def _refusing(self, backbone: Backbone) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # peft's methods check in many ways, each with its own error
            backbone.detach_all()
            reason = (str(error) or type(error).__name__).strip().splitlines()[0]
            layers = sorted({n.rpartition(".")[2] for n, m in backbone.model.named_modules() if _is_linear(m)})
            raise MethodError(
                f"{self.name} does not fit '{backbone.name}': {reason}",
                hint=f"its settings, by --set: {', '.join(self.Config.model_fields)}; layers: {', '.join(layers)}",
            ) from None


@cache
def method(name: str) -> PeftMethod:
    """Find one of peft's methods.

    Args:
        name: As in peft, in capitals.

    Raises:
        MethodError: peft is not installed, has no such method, or one that needs more of it than its layers.
    """
    try:
        from peft.config import PromptLearningConfig
        from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING
    except ImportError:
        hint = "pip install 'peftbench[peft]'"
        raise MethodError(f"--method {PEFT}{name} needs the peft library, which is not installed", hint=hint) from None
    configs = {kind.value: config for kind, config in PEFT_TYPE_TO_CONFIG_MAPPING.items()}
    tuners = {kind.value: tuner for kind, tuner in PEFT_TYPE_TO_TUNER_MAPPING.items()}
    barred = {kind for kind, config in configs.items() if issubclass(config, PromptLearningConfig)} | {*BARRED}
    possible = sorted(set(configs) - barred)
    if name not in possible:
        raise _unknown(name, possible, barred)
    return PeftMethod(name, configs[name], tuners[name])


BARRED = {
    "ADALORA": "its budget is kept by peft's own training loop",
    "ADAPTION_PROMPT": "it replaces whole attention blocks by code for one family",
    "XLORA": "it mixes adapters that are there already",
    "POLY": "it needs to be told each row's task",
    "SHADOW": "it runs a second model",
}


def _unknown(name: str, possible: list[str], barred: set[str]) -> MethodError:
    if name in barred:
        reason = BARRED.get(name, "prompt learning needs peft's own forward pass")
        ours = f"--method {OURS[name]}; " if name in OURS else ""
        return MethodError(f"{PEFT}{name} cannot be run here: {reason}", hint=f"{ours}of peft: {', '.join(possible)}")
    guess = f"did you mean '{PEFT}{name.upper()}'? " if name.upper() in possible else ""
    return MethodError(f"unknown method '{PEFT}{name}'", hint=f"{guess}of peft: {', '.join(possible)}")


def _config(config_class: Any) -> type[MethodConfig]:
    """Make a table of settings of a config's plain fields."""
    hints = typing.get_type_hints(config_class)
    fields: dict[str, Any] = {}
    for field in dataclasses.fields(config_class):
        if field.name in NOT_SETTINGS or not _is_plain(hints[field.name]):
            continue
        default = field.default_factory() if callable(field.default_factory) else field.default
        fields[field.name] = (hints[field.name], None if default is dataclasses.MISSING else default)
    return create_model("Config", __base__=PeftConfig, **fields)


def _is_plain(hint: Any) -> bool:
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Literal:
        return True
    return all(map(_is_plain, arguments)) if arguments else hint in (*PLAIN, list)


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear | Conv1D)


def _trained(backbone: Backbone) -> list[str]:
    return [name for name, parameter in backbone.model.named_parameters() if parameter.requires_grad]


def _storage(parameter: nn.Parameter) -> tuple[int, int]:
    """Identify a parameter's values: another result, and they were replaced or written to."""
    return parameter.data_ptr(), parameter._version


def _restorer(model: nn.Module) -> Callable[[], None]:
    """Return a function that puts all modules, hooks and attributes back as they are now; tensors keep their values."""
    states = [
        (module, dict(vars(module)), {name: dict(table) for name, table in vars(module).items() if type(table) is dict})
        for module in model.modules()
    ]

    def restore() -> None:
        for module, attributes, tables in states:
            vars(module).clear()
            vars(module).update(attributes)
            for name, table in tables.items():
                attributes[name].clear()
                attributes[name].update(table)

    return restore


def _writer(parameters: list[nn.Parameter]) -> Callable[[], None]:
    """Return a function that writes the present values of parameters back: the model's own, where peft trains some."""
    values = [parameter.detach().clone() for parameter in parameters]

    @torch.no_grad()
    def write() -> None:
        for parameter, value in zip(parameters, values, strict=True):
            parameter.copy_(value)

    return write
