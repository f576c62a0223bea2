"""A second device without a second GPU: torch's meta device, in a mode that refuses operators over both devices."""

from contextlib import contextmanager

import torch
from torch import nn
from torch.fx.experimental import _config
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from peftbench.models import devices
from peftbench.models.backbone import Backbone

FIRST, SECOND = torch.device("cpu"), torch.device("meta")
MOVES = ("aten::_to_copy", "aten::copy_")


class Apart(TorchDispatchMode):
    """Refuse operators on tensors of two devices, as GPUs do; what is moved back from the second one is ones.

    Tensors of no dimensions pass, as between a CPU and a GPU they do.
    """

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs, name = kwargs or {}, func._schema.name
        if torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd"):
            with self:  # where nothing is differentiated, operators come whole
                return func.decompose(*args, **kwargs)
        tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, torch.Tensor)]
        kinds = {tensor.device for tensor in tensors if tensor.dim()}
        if len(kinds) > 1 and name not in MOVES and not name.startswith("aten::_foreach"):
            raise RuntimeError(f"{name} of tensors on two devices: {[(*x.shape, str(x.device)) for x in tensors]}")
        if name == "aten::_local_scalar_dense" and tensors[0].device == SECOND:
            return 1.0
        if name == "aten::copy_" and len(kinds) > 1:
            return args[0]
        if name == "aten::_to_copy" and tensors[0].device == SECOND and kwargs.get("device") == FIRST:
            return torch.ones(tensors[0].shape, dtype=kwargs.get("dtype") or tensors[0].dtype)
        return func(*args, **kwargs)


@contextmanager
def spread(backbone: Backbone):
    """Put the upper half of each stack's layers on the second device, and the norms behind them."""
    devices.dispatch(backbone.model, halves(backbone))
    # A parameter that is moved to the meta device would be another one, and layers would share it no more.
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        with Apart(), _config.patch(meta_nonzero_assume_all_nonzero=True):
            yield backbone
    finally:
        torch.__future__.set_swap_module_params_on_conversion(False)


def halves(backbone: Backbone) -> devices.Placement:
    """Map each layer, and each module outside of them, to a device."""
    sizes = backbone.sizes
    numbers = {"encoder": sizes.num_encoder_layers, "decoder": sizes.num_decoder_layers}
    own = {layer.module: SECOND if 2 * layer.layer >= numbers[layer.stack] else FIRST for layer in backbone.layers()}
    ends = ("final_layer_norm", "ln_f", "model.norm", "final_layernorm")
    return {name: own.get(name, SECOND if name.endswith(ends) else FIRST) for name in leaves(backbone.model, own)}


def leaves(model: nn.Module, wholes, prefix=""):
    """List modules and tensors that together are the model, `wholes` among them."""
    for name, module in model.named_children():
        full = f"{prefix}{name}"
        if full in wholes or not any(whole.startswith(f"{full}.") for whole in wholes):
            yield full
        else:
            yield from leaves(module, wholes, f"{full}.")
    yield from (f"{prefix}{name}" for name, _ in model.named_parameters(recurse=False))
    yield from (f"{prefix}{name}" for name, _ in model.named_buffers(recurse=False))
