"""Export of an adapter that is folded into its model: a plain Hugging Face checkpoint."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils import logging

from peftbench import registry
from peftbench.adapters import saved
from peftbench.errors import MethodError
from peftbench.models.backbone import Backbone
from peftbench.models.load import auto_class

NUM_ROWS, NUM_TOKENS = 4, 24
# Of the largest logit; rounding in float32 is far below it: what is above does not hold what it should.
TOLERANCE = 1e-3
README = f"""# {{card.method}} on {{card.model}}, folded in

A plain checkpoint, written by peftbench from an adapter of the model whose weights have the SHA-256
{{card.fingerprint}}.

Loaded with transformers, its logits on {NUM_ROWS} x {NUM_TOKENS} random tokens, of which the largest is
{{agreement.largest:.3g}}, differ from the adapted model's in float32 by at most

- {{agreement.float32:.1e}} in float32,
- {{agreement.bfloat16:.1e}} in bfloat16.
"""


@dataclass(frozen=True)
class Agreement:
    """How far an exported model's logits are from the adapted one's, on random tokens.

    Args:
        largest: Largest absolute logit of the adapted model in float32.
        float32: Largest difference in float32.
        bfloat16: Largest difference where the exported model is loaded in bfloat16.
    """

    largest: float
    float32: float
    bfloat16: float


def merge(folder: Path, backbone: Backbone, out: Path) -> Agreement:
    """Fold an adapter into the weights and write them as a plain checkpoint; load it again and compare.

    Args:
        folder: The adapter's.
        backbone: Its model in float32, with nothing attached; so it is left.
        out: Folder that is not there yet; it is there whole or not at all.

    Raises:
        MethodError: The method cannot be folded, a plain checkpoint has no place for the result, the folder is there
            already or cannot be written, or what was written does not compute the same.
    """
    card = saved.read(folder)
    method = registry.method(card.method)
    if method.merge is None:
        hint = "`peftbench predict` uses it as it is"
        raise MethodError(f"{card.method} cannot be folded into weights: {method.UNMERGEABLE}", hint=hint)
    try:
        saved.load(folder, backbone)
        if backbone.sizes.num_classes:
            raise MethodError(
                f"a plain checkpoint of '{backbone.name}' has no place for the classification layer of '{folder}'",
                hint="`peftbench predict` uses the adapter as it is",
            )
        expected = logits(backbone.model)
        method.merge(backbone)
        with saved.new_folder(out) as temporary:
            _write(backbone, temporary)
            agreement = _agreement(out, temporary, backbone, expected)
            (temporary / "README.md").write_text(README.format(card=card, agreement=agreement), encoding="utf-8")
            return agreement
    finally:
        backbone.detach_all()


@torch.no_grad()
def logits(model: PreTrainedModel) -> Tensor:
    """Run random tokens, always the same ones, and return the logits (rows, tokens, vocab_size) in float32."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(2, model.config.vocab_size, (NUM_ROWS, NUM_TOKENS), generator=generator).to(model.device)
    inputs = {"decoder_input_ids": ids[:, :8]} if model.config.is_encoder_decoder else {}
    result: Tensor = model(input_ids=ids, **inputs).logits
    return result.float()


def _write(backbone: Backbone, folder: Path) -> None:
    plain = type(backbone.model)._from_config(backbone.model.config)
    extra = sorted(backbone.model.state_dict().keys() - plain.state_dict().keys())
    if extra:
        raise MethodError(
            f"a plain checkpoint of '{backbone.name}' has no place for '{extra[0]}' ({len(extra)} such parameters)",
            hint="`peftbench predict` uses the adapter as it is",
        )
    with _quiet():
        backbone.model.save_pretrained(folder)
    backbone.tokenizer.save_pretrained(folder)


def _agreement(out: Path, folder: Path, backbone: Backbone, expected: Tensor) -> Agreement:
    kind = auto_class(backbone.sizes)
    differences = {}
    for dtype in (torch.float32, torch.bfloat16):
        with _quiet():
            model = kind.from_pretrained(folder, dtype=dtype).to(backbone.device).eval()
        differences[dtype] = float((logits(model) - expected).abs().max())
    largest = float(expected.abs().max())
    agreement = Agreement(largest, differences[torch.float32], differences[torch.bfloat16])
    if not agreement.float32 <= TOLERANCE * largest:
        raise MethodError(
            f"'{out}' was not written: its logits would be {agreement.float32:.1e} from the adapted model's, whose "
            f"largest is {largest:.1f}",
            hint="`peftbench predict` uses the adapter as it is",
        )
    return agreement


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' own bars off the terminal."""
    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()
