"""Prompts and choices through the model: log-probabilities of the answer tokens, differentiable.

Shapes: embeddings, hidden states and encoder states are (rows, tokens, d_model). A decoder-only model has a row for
one or more examples; an encoder-decoder has batch rows in its encoder and in its decoder. Answer tokens are flat,
(num_answer_tokens,), until `choice_log_probs` lays them out as (batch, choices, length).
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from transformers import DynamicCache

from peftbench.models.backbone import Backbone
from peftbench.scoring import packing, tree
from peftbench.scoring.encoding import Encoded, check_fits, num_virtual_tokens
from peftbench.scoring.tree import Answers, Tokens


def choice_log_probs(
    backbone: Backbone, batch: Sequence[Encoded], *, is_packed: bool = True, is_shared: bool = True
) -> tuple[Tensor, Tensor]:
    """Compute the log-probability of each answer token of each choice.

    log p(y_t | input, y_<t)

    An encoder-decoder encodes each example once and computes cross-attention's keys and values once per example. The
    choices of an example branch off its context, or off the decoder's start, and run once what they begin with alike.
    A decoder-only model's examples share rows where that is cheaper than to pad them (`scoring.packing`).

    Args:
        backbone: The model, with what is attached.
        batch: Prompts with their choices.
        is_packed: As in `answer_log_probs`; false where adapters of rows are selected.
        is_shared: As in `answer_log_probs`.

    Returns:
        log_probs (batch, choices, length) float32, 0 where there is no token; mask (batch, choices, length) bool.
        Examples with fewer choices than others have rows without any token.

    Raises:
        ModelError: A prompt is longer than the model's positions.
    """
    picked, answers = answer_log_probs(backbone, batch, is_packed=is_packed, is_shared=is_shared)
    shape = (len(batch), max(answers.choices) + 1, max(answers.slots) + 1)  # (batch, choices, length)
    where = torch.tensor([answers.prompts, answers.choices, answers.slots], device=picked.device).unbind()
    log_probs = picked.new_zeros(shape).index_put(where, picked)
    mask = torch.zeros(shape, dtype=torch.bool, device=picked.device)
    mask[where] = True
    return log_probs, mask


def answer_log_probs(
    backbone: Backbone, batch: Sequence[Encoded], *, is_packed: bool = False, is_shared: bool = True
) -> tuple[Tensor, Answers]:
    """Compute the log-probabilities of answer tokens, and list which tokens these are.

    Args:
        backbone: The model.
        batch: Prompts with their choices.
        is_packed: Whether prompts of a decoder-only model may share a row; else each has a row of its own.
        is_shared: Whether the choices of a prompt share the tokens that they begin with; else each is decoded by
            itself, which is how costs are counted.

    Returns:
        Log-probabilities (num_answer_tokens,) float32, and which tokens these are.
    """
    check_fits(backbone, batch)
    if backbone.is_encoder_decoder:
        return _encoder_decoder(backbone, batch, is_shared=is_shared)
    num_virtual = num_virtual_tokens(backbone)
    answers = Answers()
    places = (
        packing.rows(backbone, batch, is_shared=is_shared) if is_packed else [[prompt] for prompt in range(len(batch))]
    )
    rows = [tree.shared_tokens(num_virtual, ()) for _ in places]
    for index, (row, prompts) in enumerate(zip(rows, places, strict=True)):
        for prompt in prompts:
            tree.add_prompt(row, answers, index, prompt, batch[prompt], 0, num_virtual, is_shared=is_shared)
    tree.pad(rows)
    hidden = decoder_states(backbone, rows, num_virtual=num_virtual)
    return log_probs_at(backbone, hidden, answers), answers


def decoder_states(
    backbone: Backbone,
    rows: Sequence[Tokens],
    *,
    num_virtual: int = 0,
    cache: DynamicCache | None = None,
    num_cached: int = 0,
) -> Tensor:
    """Run rows of equal length through a decoder-only model.

    Args:
        backbone: The model.
        rows: Their first `num_virtual` tokens are the soft prompt's.
        num_virtual: 0, or the soft prompt's length.
        cache: Keys and values of the tokens before one single row; the row's own are added to it.
        num_cached: How many tokens the cache holds.

    Returns:
        Last hidden states (rows, tokens, d_model).
    """
    ids = torch.tensor([row.ids for row in rows], device=backbone.device)  # (rows, tokens)
    positions = torch.tensor([row.positions for row in rows], device=backbone.device)
    embeds = with_soft_prompt(backbone, backbone.embeddings(ids[:, num_virtual:]), num_virtual)
    mask = tree.mask(rows, num_cached, embeds.dtype, backbone.device)  # (rows, 1, tokens, keys)
    by_distance = backbone.is_windowed or backbone.sizes.alibi
    absent = absent_virtual(backbone)
    if absent is not None:
        positions = (positions - absent[:, None]).clamp(min=0)
        is_absent = torch.arange(mask.shape[-1], device=mask.device) < absent[:, None]  # (rows, keys)
        mask = mask.masked_fill(is_absent[:, None, None], torch.finfo(mask.dtype).min)
    return backbone.model.base_model(
        inputs_embeds=embeds,
        attention_mask=mask,
        position_ids=positions,
        past_key_values=cache,
        use_cache=cache is not None,
        distances=tree.distances(rows, num_cached, backbone.device) if by_distance else None,
    ).last_hidden_state


def log_probs_at(backbone: Backbone, hidden: Tensor, answers: Answers) -> Tensor:
    """Predict the answer tokens; only the hidden states that predict one pass through the LM head, each once.

    Args:
        backbone: The model.
        hidden: (rows, tokens, d_model).
        answers: Which states predict which tokens.

    Returns:
        (num_answer_tokens,) float32.
    """
    length = hidden.shape[1]
    sources = torch.tensor([row * length + source for row, source in zip(answers.rows, answers.sources, strict=True)])
    states, index = (piece.to(hidden.device) for piece in sources.unique(return_inverse=True))
    targets = torch.tensor(answers.targets, device=hidden.device)  # (num_answer_tokens,), as index
    logits = backbone.logits(hidden.flatten(0, 1)[states])  # (states, vocab_size)
    return logits.log_softmax(-1)[index, targets]  # on a CPU in a fifth of the time that logsumexp takes


def padded(backbone: Backbone, rows: Sequence[Sequence[int]], num_virtual: int) -> tuple[Tensor, Tensor]:
    """Embed rows of ids, the soft prompt before them, padding after them.

    Returns:
        Embeddings (rows, num_virtual + length, d_model), and the mask (rows, num_virtual + length) int: 1 at a token, 0
        at padding.
    """
    longest = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], device=backbone.device)
    is_token = [[1] * (num_virtual + len(row)) + [0] * (longest - len(row)) for row in rows]
    embeds = with_soft_prompt(backbone, backbone.embeddings(ids), num_virtual)
    seen, absent = torch.tensor(is_token, device=backbone.device), absent_virtual(backbone)
    if absent is not None:
        seen = seen.masked_fill(torch.arange(seen.shape[1], device=seen.device) < absent[:, None], 0)
    return embeds, seen


def with_soft_prompt(backbone: Backbone, embeds: Tensor, num_virtual: int) -> Tensor:
    """Put the soft prompt before embeddings (rows, tokens, d_model): the same for all rows, or by turns."""
    if not num_virtual:
        return embeds
    assert backbone.soft_prompt is not None
    virtual = backbone.soft_prompt().to(embeds.dtype)
    if virtual.dim() == 3:  # (prompts, num_virtual, d_model); else (num_virtual, d_model)
        virtual = virtual.repeat(len(embeds) // len(virtual), 1, 1)
    return torch.cat((virtual.expand(len(embeds), -1, -1), embeds), 1)


def of_members(backbone: Backbone, batch: Sequence[Encoded]) -> list[Encoded]:
    """Repeat each example for each member of an ensemble of soft prompts; without one the batch stays as it is."""
    return [encoded for encoded in batch for _ in range(backbone.num_members)]


def absent_virtual(backbone: Backbone) -> Tensor | None:
    """Return how many of its first virtual tokens each row lacks, (rows,) int; None where no row lacks any."""
    absent: Tensor | None = getattr(backbone.soft_prompt, "absent", None)
    return absent


def _encoder_decoder(backbone: Backbone, batch: Sequence[Encoded], *, is_shared: bool) -> tuple[Tensor, Answers]:
    """Encode an example once, and decode its choices as branches of one row.

    Where they share nothing, choices are rows; cross-attention folds the choices of an example.
    """
    model = backbone.model
    num_virtual = num_virtual_tokens(backbone)
    embeds, seen = _closed_up(backbone, *padded(backbone, [encoded.context for encoded in batch], num_virtual))
    states = model.get_encoder()(
        inputs_embeds=embeds, attention_mask=seen
    ).last_hidden_state  # (batch, tokens, d_model)
    cross = torch.where(seen == 1, 0.0, torch.finfo(states.dtype).min).to(states.dtype)[:, None, None]
    if is_shared:
        rows, answers = _decoder_trees(batch, backbone.start_ids)
        hidden = decoded_trees(backbone, rows, states, cross)  # (batch, length, d_model)
        return log_probs_at(backbone, hidden, answers), answers
    ids, answers = _decoder_rows(batch, backbone.start_ids)
    hidden = model.get_decoder()(
        input_ids=torch.tensor(ids, device=backbone.device),
        encoder_hidden_states=states,
        encoder_attention_mask=cross,
        use_cache=False,
    ).last_hidden_state  # (batch * choices, length, d_model)
    return log_probs_at(backbone, hidden, answers), answers


def _decoder_trees(batch: Sequence[Encoded], start: Sequence[int]) -> tuple[list[Tokens], Answers]:
    """Lay the choices of each example out as branches of a row, behind the start."""
    rows, answers = [Tokens() for _ in batch], Answers()
    for index, (row, encoded) in enumerate(zip(rows, batch, strict=True)):
        tree.add_prompt(row, answers, index, index, replace(encoded, context=tuple(start)), 0, 0)
    tree.pad(rows)
    return rows, answers


def decoded_trees(backbone: Backbone, rows: Sequence[Tokens], states: Tensor, cross: Tensor) -> Tensor:
    """Run rows of equal length through the decoder of an encoder-decoder.

    Args:
        backbone: The model.
        rows: One for each example.
        states: The encoder's, (rows, input tokens, d_model).
        cross: Additive mask over them, (rows, 1, 1, input tokens).

    Returns:
        Last hidden states (rows, tokens, d_model).
    """
    ids, positions = torch.tensor([[row.ids, row.positions] for row in rows], device=backbone.device).unbind(1)
    decoder = backbone.model.get_decoder()
    with backbone.family.placed(decoder, positions):
        hidden: Tensor = decoder(
            input_ids=ids,
            attention_mask=tree.mask(rows, 0, states.dtype, backbone.device),
            encoder_hidden_states=states,
            encoder_attention_mask=cross,
            positions=positions,
            use_cache=False,
        ).last_hidden_state
    return hidden


def _closed_up(backbone: Backbone, embeds: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """Move a row's absent virtual tokens to its end, so that the others stand at the positions that they have alone."""
    absent = absent_virtual(backbone)
    if absent is None:
        return embeds, seen
    length = seen.shape[1]
    order = (torch.arange(length, device=seen.device) + absent[:, None]) % length
    return embeds.gather(1, order[..., None].expand_as(embeds)), seen.gather(1, order)


def _decoder_rows(batch: Sequence[Encoded], start: Sequence[int]) -> tuple[list[list[int]], Answers]:
    """Lay the choices out as rows of equal length, behind the start; an example with fewer choices gets idle rows."""
    num_choices = max(len(encoded.choices) for encoded in batch)
    length = max(len(ids) for encoded in batch for ids in encoded.choices)
    rows: list[list[int]] = []
    answers = Answers()
    for prompt, encoded in enumerate(batch):
        for choice, ids in enumerate(encoded.choices):
            answers.add(len(rows), range(len(start) - 1, len(start) - 1 + len(ids)), ids, prompt, choice)
            rows.append([*start, *ids[:-1], *[0] * (length - len(ids))])
        rows += [[*start, *[0] * (length - 1)]] * (num_choices - len(encoded.choices))
    return rows, answers
