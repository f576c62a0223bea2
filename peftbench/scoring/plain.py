"""Scoring without sharing, the reference: a row for each (prompt, choice), positions and mask left to the model.

Shapes: rows are padded to (prompts * choices, tokens); log-probabilities are flat, (num_answer_tokens,).
"""

from collections.abc import Sequence

from torch import Tensor

from peftbench.models.backbone import Backbone
from peftbench.scoring.encoding import Encoded, num_virtual_tokens
from peftbench.scoring.forward import log_probs_at, padded
from peftbench.scoring.tree import Answers


def plain_log_probs(backbone: Backbone, batch: Sequence[Encoded]) -> tuple[Tensor, Answers, int]:
    """Compute the answer tokens' log-probabilities of a decoder-only model without sharing anything.

    Returns:
        Log-probabilities (num_answer_tokens,) float32, which tokens these are, and the number of tokens that were run,
        padding included.
    """
    virtual = num_virtual_tokens(backbone)
    rows: list[tuple[int, ...]] = []
    answers = Answers()
    for prompt, encoded in enumerate(batch):
        for choice, (ids, start) in enumerate(zip(encoded.choices, encoded.starts, strict=True)):
            first = virtual + len(encoded.context) + start
            sources = range(first - 1, first - 1 + len(ids) - start)
            answers.add(len(rows), sources, ids[start:], prompt, choice)
            rows.append((*encoded.context, *ids[:-1]))
    embeds, seen = padded(backbone, rows, virtual)
    hidden = backbone.model.base_model(inputs_embeds=embeds, attention_mask=seen, use_cache=False).last_hidden_state
    return log_probs_at(backbone, hidden, answers), answers, seen.numel()
