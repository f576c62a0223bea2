"""Prompts and choices through the model: log-probabilities of the answer tokens, differentiable.

Shapes: embeddings and hidden states are (rows, tokens, d_model), with a row for one or more examples. Answer tokens are
flat, (num_answer_tokens,), until `choice_log_probs` lays them out as (batch, choices, length).
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import DynamicCache

from peftbench.models.backbone import Backbone
from peftbench.scoring import cloze, encoder_decoder, packing, tree
from peftbench.scoring.encoding import Encoded, check_fits, num_virtual_tokens
from peftbench.scoring.soft_prompt import absent_virtual, with_soft_prompt
from peftbench.scoring.tree import Answers, Tokens, branches


def choice_log_probs(
    backbone: Backbone,
    batch: Sequence[Encoded],
    *,
    is_packed: bool = True,
    is_shared: bool = True,
    smoothing: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Compute the log-probability of each answer token of each choice.

    log p(y_t | input, y_<t)

    An encoder-decoder encodes each example once and computes cross-attention's keys and values once per example. The
    choices of an example branch off its context, or off the decoder's start, and run once what they begin with alike.
    Examples share rows where that is cheaper than to pad them (`scoring.packing`). An encoder-only model has rows of
    its own for each (`scoring.cloze`).

    Args:
        backbone: The model, with what is attached.
        batch: Prompts with their choices.
        is_packed: As in `answer_log_probs`; false where adapters of rows are selected.
        is_shared: As in `answer_log_probs`.
        smoothing: As in `answer_log_probs`.

    Returns:
        log_probs (batch, choices, length) float32, 0 where there is no token; mask (batch, choices, length) bool.
        Examples with fewer choices than others have rows without any token.

    Raises:
        ModelError: A prompt is longer than the model's positions.
    """
    picked, answers = answer_log_probs(backbone, batch, is_packed=is_packed, is_shared=is_shared, smoothing=smoothing)
    shape = (len(batch), max(answers.choices) + 1, max(answers.slots) + 1)  # (batch, choices, length)
    where = torch.tensor([answers.prompts, answers.choices, answers.slots], device=picked.device).unbind()
    log_probs = picked.new_zeros(shape).index_put(where, picked)
    mask = torch.zeros(shape, dtype=torch.bool, device=picked.device)
    mask[where] = True
    return log_probs, mask


def answer_log_probs(
    backbone: Backbone,
    batch: Sequence[Encoded],
    *,
    is_packed: bool = False,
    is_shared: bool = True,
    smoothing: float = 0.0,
) -> tuple[Tensor, Answers]:
    """Compute the log-probabilities of answer tokens, and list which tokens these are.

    Args:
        backbone: The model.
        batch: Prompts with their choices.
        is_packed: Whether prompts may share a row; else each has a row of its own.
        is_shared: Whether the choices of a prompt share the tokens that they begin with; else each is decoded by
            itself, which is how costs are counted, and by an encoder-decoder in a row of its own.
        smoothing: As in `log_probs_at`.

    Returns:
        Log-probabilities (num_answer_tokens,) float32, and which tokens these are.
    """
    hidden, answers = answer_states(backbone, batch, is_packed=is_packed, is_shared=is_shared)
    return log_probs_at(backbone, hidden, answers, smoothing), answers


def answer_states(
    backbone: Backbone, batch: Sequence[Encoded], *, is_packed: bool, is_shared: bool = True
) -> tuple[Tensor, Answers]:
    """Compute last hidden states, (rows, tokens, d_model), and list which of them predict which answer tokens.

    Args:
        backbone: The model.
        batch: Prompts with their choices.
        is_packed: As in `answer_log_probs`.
        is_shared: As in `answer_log_probs`.
    """
    check_fits(backbone, batch)
    if backbone.sizes.is_encoder_only:
        return cloze.answer_states(backbone, batch, num_virtual_tokens(backbone), is_shared=is_shared)
    rows_of = places(backbone, batch, is_shared=is_shared) if is_packed else [[index] for index in range(len(batch))]
    if backbone.is_encoder_decoder:
        return encoder_decoder.answer_states(backbone, batch, rows_of, is_shared=is_shared)
    num_virtual = num_virtual_tokens(backbone)
    answers = Answers()
    rows = [tree.shared_tokens(num_virtual, ()) for _ in rows_of]
    for index, (row, prompts) in enumerate(zip(rows, rows_of, strict=True)):
        for prompt in prompts:
            tree.add_prompt(row, answers, index, prompt, batch[prompt], 0, num_virtual, is_shared=is_shared)
    tree.pad(rows)
    return decoder_states(backbone, rows, num_virtual=num_virtual), answers


def places(backbone: Backbone, batch: Sequence[Encoded], *, is_shared: bool = True) -> list[list[int]]:
    """Choose the prompts of each row; where the choices of an encoder-decoder are rows, each prompt has its own.

    Args:
        backbone: The model.
        batch: Prompts with their choices.
        is_shared: As in `answer_log_probs`.

    Returns:
        Indices of the prompts of each row.
    """
    if backbone.is_encoder_decoder and not is_shared:
        return [[index] for index in range(len(batch))]
    contexts = [len(encoded.context) for encoded in batch]
    fed = [len(branches(encoded, is_shared=is_shared).ids) for encoded in batch]
    return packing.rows(backbone.sizes, contexts, fed, num_virtual_tokens(backbone), backbone.num_members)


def decoder_states(
    backbone: Backbone,
    rows: Sequence[Tokens],
    *,
    num_virtual: int = 0,
    cache: DynamicCache | None = None,
    num_cached: int = 0,
    cached_from: int = 0,
) -> Tensor:
    """Run rows of equal length through a decoder-only model.

    Args:
        backbone: The model.
        rows: Their first `num_virtual` tokens are the soft prompt's.
        num_virtual: 0, or the soft prompt's length.
        cache: Keys and values of the tokens before one single row; the row's own are added to it.
        num_cached: How many tokens the cache holds.
        cached_from: Position of the first of them.

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
        distances=tree.distances(rows, num_cached, backbone.device, cached_from) if by_distance else None,
    ).last_hidden_state


def log_probs_at(backbone: Backbone, hidden: Tensor, answers: Answers, smoothing: float = 0.0) -> Tensor:
    """Predict the answer tokens; only the hidden states that predict one pass through the LM head, each once.

    (1 - smoothing) log p(y_t) + smoothing / V sum_v log p(v)

    Args:
        backbone: The model.
        hidden: (rows, tokens, d_model).
        answers: Which states predict which tokens.
        smoothing: What of a target all V tokens of the vocabulary share; 0 where it is scored or not smoothed.

    Returns:
        (num_answer_tokens,) float32.
    """
    length = hidden.shape[1]
    sources = torch.tensor([row * length + source for row, source in zip(answers.rows, answers.sources, strict=True)])
    states, index = sources.unique(return_inverse=True)
    logits = backbone.logits(hidden.flatten(0, 1)[states.to(hidden.device)])  # (states, vocab_size)
    targets = torch.tensor(answers.targets, device=logits.device)  # (num_answer_tokens,), as index
    log_probs = logits.log_softmax(-1)  # on a CPU in a fifth of the time that logsumexp takes
    index = index.to(logits.device)
    picked = log_probs[index, targets]
    return (1 - smoothing) * picked + smoothing * log_probs.mean(-1)[index] if smoothing else picked


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


def of_members(backbone: Backbone, batch: Sequence[Encoded]) -> list[Encoded]:
    """Repeat each example for each member of an ensemble of soft prompts; without one the batch stays as it is."""
    return [encoded for encoded in batch for _ in range(backbone.num_members)]
