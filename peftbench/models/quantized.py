"""Weights in 4 or 8 bits, by bitsandbytes (`--load`): the layers' matrices are packed, and stay as they are.

What a packed matrix computes is x W^T with the W that it is unpacked to. So a method that adds to activations works as
on any other model, and one that reads or changes the model's own weights finds no numbers there.

Paper: 2305.14314 (4 bits: NF4 with double quantisation, QLoRA), 2208.07339 (8 bits: a scale for each row).
Differs: 2208.07339 rounds activations to 8 bits, too, and takes columns out by what all tokens of a pass look like. A
    score then depends on the prompts beside it: by up to 0.7 nats with SmolLM2-135M. Here weights alone are packed.
"""

import logging
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from peftbench.errors import MethodError, ModelError
from peftbench.models.shapes import Sizes
from peftbench.spec.packages import require

Bits = Literal["4bit", "8bit"]
KINDS = {"4bit": "NF4", "8bit": "INT8"}
"""What `--load` takes -> what the record says that the weights are."""
ADDING = "LoRA, (IA)^3, prompts, prefixes and bottlenecks add to a model; or without --load"


def check(bits: Bits) -> None:
    """Find what keeps any model from being packed.

    Raises:
        MethodError: A package is missing.
    """
    for package in ("bitsandbytes", "accelerate"):
        require(package, "bitsandbytes", f"--load {bits}")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it names faster kernels that one could install


def check_config(bits: Bits | None, config: Any, sizes: Sizes, name: str) -> None:
    """Refuse a model that is packed already, or that cannot be.

    Raises:
        ModelError: Says why.
    """
    if getattr(config, "quantization_config", None) is not None:
        message = f"the weights of '{name}' are quantised in their files, which is not read here"
        raise ModelError(message, hint="the model that it was made of, with --load 4bit")
    if bits and (sizes.is_encoder_decoder or sizes.is_encoder_only):
        kind = "encoder-decoder" if sizes.is_encoder_decoder else "encoder-only model"
        message = f"--load {bits} is for decoder-only models, and '{name}' is an {kind}"
        raise ModelError(message, hint="--dtype bfloat16 halves it")


def config(bits: Bits | None, dtype: torch.dtype) -> Any:
    """Return what transformers loads weights by; None where they stay as they are."""
    from transformers import BitsAndBytesConfig

    if bits == "4bit":
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    return BitsAndBytesConfig(load_in_8bit=True) if bits else None


def settle(model: nn.Module) -> None:
    """Let packed matrices stay in one layout, and compute with what they are unpacked to.

    On some CPUs bitsandbytes lays 4-bit ones out anew when a prompt is scored, for a kernel that has no gradient:
    training afterwards would go on without those that pass through it. With 8-bit ones it rounds activations, too.
    """
    from bitsandbytes.nn import Linear4bit, Linear8bitLt

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False
        elif isinstance(module, Linear8bitLt):
            module.init_8bit_state()
            vars(module)["forward"] = partial(_forward, module)  # an instance attribute hides the method of the class


def _forward(linear: Any, x: Tensor) -> Tensor:
    """Compute x W^T + b, W (n, k) = packed * scale / 127 with a scale for each row."""
    weight = linear.state.CB.to(x.dtype) * (linear.state.SCB[:, None] / 127).to(x.dtype)
    return functional.linear(x, weight, linear.bias)


def num_values(parameter: nn.Parameter) -> int:
    """Count a parameter's values; two of 4 bits lie in a byte."""
    state = getattr(parameter, "quant_state", None)
    return parameter.numel() if state is None else int(state.shape.numel())


def num_bytes(model: nn.Module) -> int:
    """Count the bytes of a model's tensors, with what unpacks them, tied ones once."""
    tensors = [value for value in model.state_dict().values() if isinstance(value, Tensor)]
    distinct = {(tensor.data_ptr(), tensor.numel()): tensor for tensor in tensors}
    return sum(tensor.numel() * tensor.itemsize for tensor in distinct.values())


def refusal(name: str, what: str) -> MethodError:
    """Make the error that a method finds no numbers where the model's own weights are packed.

    Args:
        name: The model.
        what: What the method would do with them.
    """
    return MethodError(f"the method {what}, and those of '{name}' are packed (--load)", hint=ADDING)
