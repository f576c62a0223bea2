"""Published shapes of the paper's models, and the closed form of a model's parameter count."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peftbench.methods.parts import places
from peftbench.models.shapes import Sizes

SPARSE = "every other layer of GPT-3 attends in local bands; it is counted as dense"


@dataclass(frozen=True)
class Shape:
    """A model by its shapes alone.

    Args:
        tied: Whether the LM head is the embedding matrix.
        max_positions: Tokens that the model was made for; None where there is no limit.
        remarks: What its numbers must not be read without.
        config: The fields of its config.json, from which transformers builds it.
    """

    sizes: Sizes
    tied: bool
    max_positions: int | None = None
    remarks: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)


def num_parameters(shape: Shape) -> int:
    """Count all parameters: embeddings, positions, layers with their biases, norms, LM head."""
    sizes = shape.sizes
    layers = [(role, linear) for role in places.LINEAR for linear in places.linears(sizes, role)]
    count = (1 if shape.tied else 2) * sizes.vocab_size * sizes.d_model
    count += sum(linear.k * linear.n + (linear.n if role in sizes.biased else 0) for role, linear in layers)
    return count + places.num_norm_parameters(sizes) + sizes.num_other_parameters


def _t5(table: dict[str, Any]) -> Shape:
    num_layers, num_heads = table["num_layers"], table["num_heads"]
    sizes = Sizes(
        True, num_layers, num_layers, table["d_model"], table["d_kv"], table["d_ff"], num_heads, num_heads,
        gated=True, vocab_size=32_128, num_other_parameters=2 * 32 * num_heads,
    )  # fmt: skip
    config = {
        "model_type": "t5", "vocab_size": sizes.vocab_size, "num_layers": num_layers, "num_heads": num_heads,
        "d_model": sizes.d_model, "d_kv": sizes.d_kv, "d_ff": sizes.d_ff, "feed_forward_proj": "gated-gelu",
        "decoder_start_token_id": 0,
    }  # fmt: skip
    return Shape(sizes, tied=False, config=config)


def _gpt3(table: dict[str, Any]) -> Shape:
    d_model, num_heads = table["d_model"], table["num_heads"]
    sizes = Sizes(
        False, 0, table["num_layers"], d_model, d_model // num_heads, 4 * d_model, num_heads, num_heads,
        gated=False, vocab_size=50_257, biased=("q", "k", "v", "o", "ff_up", "ff_out"), norm_biases=True, fused=True,
        num_other_parameters=2048 * d_model,
    )  # fmt: skip
    remarks = (SPARSE, *((table["remark"],) if "remark" in table else ()))
    config = {"model_type": "gpt2", "n_layer": table["num_layers"], "n_embd": d_model, "n_head": num_heads}
    config |= {"vocab_size": sizes.vocab_size, "n_positions": 2048}
    return Shape(sizes, tied=True, max_positions=2048, remarks=remarks, config=config)


def _read() -> dict[str, Shape]:
    tables = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    return {name: {"t5": _t5, "gpt3": _gpt3}[table["kind"]](table) for name, table in tables.items()}


SHAPES = _read()
"""Name -> published shape."""
