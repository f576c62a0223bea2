"""Top layers: the last layers of the (decoder) stack are trained whole, what is below stays as it is.

    theta_l <- theta_l - update          l > num_decoder_layers - num_layers

The gradient ends where the trained layers begin, so that training runs backward through them alone.

Paper: 2101.00190, section 5, where it is the baseline "FT-TOP2" (the top two layers).
Differs: one layer is the default here, two are the paper's. The head and the stack's last norm stay as they are; with
    tied embeddings, training the head would train the input of the lowest layer. On encoder-decoders the decoder's top
    layers, the encoder stays frozen.
"""

from typing import Any

from pydantic import Field

from peftbench.errors import MethodError
from peftbench.methods.base import Added, MethodConfig
from peftbench.methods.parts import places
from peftbench.models.backbone import Backbone
from peftbench.models.shapes import Sizes

PAPER = "2101.00190, section 5"
IDENTITY_AT_INIT = True
DEAD: dict[str, str] = {places.KEY_BIAS + "bias": places.SHIFTS_ALL}
# Ten times full fine-tuning's: with that, one layer of many had hardly moved in as many steps.
DEFAULTS: dict[str, Any] = {"lr": 3e-3, "scale_parameter": True, "num_steps": 300}


class Config(MethodConfig):
    """Settings of top-layer tuning.

    Args:
        num_layers: How many layers are trained.
    """

    num_layers: int = Field(1, ge=1)


def attach(backbone: Backbone, config: Config) -> list[str]:
    """Free all parameters of the top layers: linear layers with their biases, and norms.

    Raises:
        MethodError: The stack has fewer layers.
    """
    _check(backbone.sizes, config)
    layers = [layer for layer in backbone.layers() if layer.stack == "decoder"][-config.num_layers :]
    prefixes = tuple(f"{layer.module}." for layer in layers)
    return [name for name in backbone.base_names if name.startswith(prefixes)]


def added(sizes: Sizes, config: Config) -> Added:
    """Count the matrices, biases and norms of the top layers."""
    _check(sizes, config)
    first = sizes.num_decoder_layers - config.num_layers
    count = config.num_layers * places.num_layer_parameters(sizes)
    if sizes.no_first_norm and not first:
        count -= sizes.d_model * (2 if sizes.norm_biases else 1)
    free = [place for place in (*places.matrices(sizes), *places.norm_places(sizes)) if place.stack == "decoder"]
    free = [place for place in free if place.layer >= first]
    if sizes.norms_behind:  # what goes into the lowest of them comes from the norm of the layer below, which stays
        free = [place for place in free if (place.layer, place.block, place.role) != (first, "self", "norm")]
    norms = tuple(place for place in free if place.role == "norm")
    return Added(num_parameters=count, places=norms, weights=tuple(place for place in free if place.role != "norm"))


def merge(backbone: Backbone) -> None:
    """Change nothing: the trained values are the model's own weights."""


def _check(sizes: Sizes, config: Config) -> None:
    # T5's lowest decoder layer holds the table of relative positions, which belongs to all layers.
    most = sizes.num_decoder_layers - (1 if sizes.is_encoder_decoder else 0)
    if config.num_layers > most:
        raise MethodError(
            f"num_layers = {config.num_layers}, and the model has {sizes.num_decoder_layers} layers in that stack",
            hint=f"at most {most}; `--method full` trains all",
        )
