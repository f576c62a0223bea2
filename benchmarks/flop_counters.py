"""What fvcore and torch's FlopCounterMode say by themselves, beside the closed form: one T5, one GPT-2.

Run: python benchmarks/flop_counters.py      about 20 seconds; it writes the table of docs/costs.md.

T5 v1.1 small with 103 + 4 tokens, GPT-2 small with 103 tokens of which 5 predict; forward, and a training step of one
example with (IA)^3 attached. fvcore's numbers are doubled, since it takes a multiply-add for one.
"""

import itertools
import logging
import warnings
from typing import Any

import torch
from fvcore.nn import FlopCountAnalysis
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from peftbench import registry
from peftbench.costs.adapter_file import without_weights
from peftbench.costs.backward import training_flops
from peftbench.costs.count import Query, forward_flops
from peftbench.costs.describe import describe
from peftbench.models.backbone import Backbone

FED = 4
MODELS = {"t5-v1.1-small": Query(0, 103, (FED,)), "gpt3-125m": Query(0, 99, (FED,))}
TITLES = {"t5-v1.1-small": "T5", "gpt3-125m": "GPT-2"}


class Plain(nn.Module):
    """One row through the model as transformers calls it; of a decoder-only model what predicts passes the head."""

    def __init__(self, backbone: Backbone):
        super().__init__()
        self.model, self.is_encoder_decoder = backbone.model, backbone.is_encoder_decoder

    def forward(self, ids: Tensor, mask: Tensor, decoder_ids: Tensor, decoder_mask: Tensor) -> Tensor:
        options: dict[str, Any] = {"logits_to_keep": FED + 1}
        if self.is_encoder_decoder:
            options = {"decoder_input_ids": decoder_ids, "decoder_attention_mask": decoder_mask}
        return self.model(input_ids=ids, attention_mask=mask, use_cache=False, **options).logits


def inputs(query: Query, backbone: Backbone) -> tuple[Tensor, ...]:
    """Make ids and explicit 4-D masks: without them GPT-2 looks at values, of which meta tensors have none."""
    device = backbone.device
    length = query.shot_tokens + query.input_tokens + (0 if backbone.is_encoder_decoder else FED)
    ids, mask = _ids_and_mask(length, device)
    return ids, mask, *_ids_and_mask(FED, device)


def _ids_and_mask(length: int, device: str) -> tuple[Tensor, Tensor]:
    return torch.ones(1, length, dtype=torch.long, device=device), torch.zeros(1, 1, 1, length, device=device)


def modes(run: Any) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def row(name: str, attention: str, device: str) -> list[int]:
    """Return FLOPs: forward by count, 2 x fvcore and FlopCounterMode; in training by count and FlopCounterMode."""
    backbone, query = without_weights(describe(name), "float32"), MODELS[name]
    if device == "cpu":
        backbone.model.to_empty(device="cpu")
    backbone.model.set_attn_implementation(attention)
    plain, arguments = Plain(backbone), inputs(query, backbone)
    with torch.no_grad():
        analysis = FlopCountAnalysis(plain, arguments)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
        fvcore, forward = 2 * int(analysis.total()), modes(lambda: plain(*arguments))
    method = registry.method("ia3")
    config = method.Config()
    with torch.device(device):
        backbone.train_only(method.attach(backbone, config))
    counted = training_flops(backbone.sizes, {query: 1}, 1, method.added(backbone.sizes, config))
    training = modes(lambda: plain(*arguments).sum().backward())
    return [forward_flops(backbone.sizes, query), fvcore, forward, counted, training]


def main() -> None:
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    titles = ("model, attention, device", "forward, counted", "2 x fvcore", "FlopCounterMode")
    print(f"| {' | '.join((*titles, 'training, counted', 'FlopCounterMode'))} |\n|{6 * '---|'}")
    for name, attention, device in itertools.product(MODELS, ("eager", "sdpa"), ("cpu", "meta")):
        flops = row(name, attention, device)
        counted = [flops[0]] * 3 + [flops[3]] * 2
        cells = [
            f"{value:,}" if value == exact else f"**{value:,}**" for value, exact in zip(flops, counted, strict=True)
        ]
        print(f"| {TITLES[name]}, {attention}, {device} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
