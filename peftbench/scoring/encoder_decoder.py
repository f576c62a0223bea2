"""Encoder-decoders: examples in rows that they do not see each other in, the choices of each as branches.

Shapes: rows are lists of token ids; embeddings and states (rows, tokens, d_model). The decoder has a row for each row
of the encoder, or one for each choice.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from peftbench.models.backbone import Backbone
from peftbench.scoring import tree
from peftbench.scoring.encoding import Encoded, num_virtual_tokens
from peftbench.scoring.soft_prompt import absent_virtual, virtual_tokens
from peftbench.scoring.tree import Answers, Tokens


@dataclass(frozen=True)
class Span:
    """Where an example's input stands, virtual tokens included.

    Args:
        row: Of the encoder.
        start: Index of its first token in the row.
        end: Index behind its last one.
    """

    row: int
    start: int
    end: int


def answer_states(
    backbone: Backbone, batch: Sequence[Encoded], places: Sequence[Sequence[int]], *, is_shared: bool
) -> tuple[Tensor, Answers]:
    """Encode inputs, and decode the choices.

    Args:
        backbone: The model.
        batch: Inputs with their choices.
        places: The examples of each row, by their indices in the batch.
        is_shared: Whether the choices of a row's examples are branches of one row. Else each choice is a row, and each
            example has a row of the encoder; cross-attention folds the choices of an example.

    Returns:
        The decoder's last hidden states, and which of them predict which answer tokens.
    """
    inputs, spans = _inputs(backbone, batch, places)
    states = _encoder_states(backbone, inputs, spans)  # (rows, tokens, d_model)
    rows, looks, answers = (_branches if is_shared else _choices)(batch, spans, backbone.start_ids)
    ids, positions = torch.tensor([[row.ids, row.positions] for row in rows], device=backbone.device).unbind(1)
    decoder, keys = backbone.model.get_decoder(), [row.ends for row in inputs]
    with backbone.family.placed(decoder, positions):
        hidden: Tensor = decoder(
            input_ids=ids,
            attention_mask=tree.mask(rows, 0, states.dtype, backbone.device),
            encoder_hidden_states=states,
            encoder_attention_mask=tree.mask_within(looks, keys, states.dtype, backbone.device),
            positions=positions,
            use_cache=False,
        ).last_hidden_state
    return hidden, answers


def _inputs(
    backbone: Backbone, batch: Sequence[Encoded], places: Sequence[Sequence[int]]
) -> tuple[list[Tokens], list[Span]]:
    """Lay out the rows of the encoder, each input behind its own soft prompt (id 0 stands for virtual tokens)."""
    num_virtual, absent = num_virtual_tokens(backbone), absent_virtual(backbone)
    num_absent = [0] * len(batch) if absent is None else absent.tolist()
    rows, spans = [Tokens() for _ in places], {}
    for index, (row, prompts) in enumerate(zip(rows, places, strict=True)):
        for prompt in prompts:
            start = len(row.ids)
            tree.add_input(row, [0] * num_virtual + list(batch[prompt].context), num_absent[prompt])
            spans[prompt] = Span(index, start, len(row.ids))
    tree.pad(rows)
    return rows, [spans[prompt] for prompt in range(len(batch))]


def _encoder_states(backbone: Backbone, inputs: Sequence[Tokens], spans: Sequence[Span]) -> Tensor:
    ids, positions = torch.tensor([[row.ids, row.positions] for row in inputs], device=backbone.device).unbind(1)
    embeds = backbone.embeddings(ids)  # (rows, tokens, d_model)
    num_virtual = num_virtual_tokens(backbone)
    if num_virtual:
        virtual = virtual_tokens(backbone, len(spans)).to(embeds.dtype)  # (batch, num_virtual, d_model)
        row = torch.tensor([[span.row] for span in spans], device=backbone.device)  # (batch, 1)
        columns = torch.tensor([[*range(span.start, span.start + num_virtual)] for span in spans], device=row.device)
        embeds = embeds.index_put((row, columns), virtual)
    encoder, keys = backbone.model.get_encoder(), [row.ends for row in inputs]
    with backbone.family.placed(encoder, positions):
        states: Tensor = encoder(
            inputs_embeds=embeds, attention_mask=tree.mask_within(keys, keys, embeds.dtype, backbone.device)
        ).last_hidden_state
    return states


Decoded = tuple[list[Tokens], list[list[int]], Answers]
"""Rows of the decoder, where in a row of the encoder the input of each token ends, and the answer tokens."""


def _branches(batch: Sequence[Encoded], spans: Sequence[Span], start: Sequence[int]) -> Decoded:
    """Lay the choices of each example out as branches, behind a start of its own."""
    rows, answers = [Tokens() for _ in range(1 + max(span.row for span in spans))], Answers()
    looks: list[list[int]] = [[] for _ in rows]
    for prompt, (encoded, span) in enumerate(zip(batch, spans, strict=True)):
        row = rows[span.row]
        tree.add_prompt(row, answers, span.row, prompt, replace(encoded, context=tuple(start)), 0, 0)
        looks[span.row] += [span.end] * (len(row.ids) - len(looks[span.row]))
    tree.pad(rows)
    return rows, [ends + ends[:1] * (len(rows[0].ids) - len(ends)) for ends in looks], answers


def _choices(batch: Sequence[Encoded], spans: Sequence[Span], start: Sequence[int]) -> Decoded:
    """Lay each choice out as a row, behind the start; an example with fewer choices gets idle rows."""
    num_choices = max(len(encoded.choices) for encoded in batch)
    rows: list[Tokens] = []
    answers = Answers()
    for prompt, encoded in enumerate(batch):
        for choice, ids in enumerate(encoded.choices):
            answers.add(len(rows), range(len(start) - 1, len(start) - 1 + len(ids)), ids, prompt, choice)
            rows.append(tree.shared_tokens(0, [*start, *ids[:-1]]))
        rows += [tree.shared_tokens(0, start) for _ in range(num_choices - len(encoded.choices))]
    tree.pad(rows)
    return rows, [[span.end] for span in spans], answers
