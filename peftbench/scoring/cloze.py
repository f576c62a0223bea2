"""Encoder-only models: the answer's place in a text is predicted, or the text is one of several classes.

    cloze    log p(y | x) = sum_t log p(y_t | x, what is seen of y)         y stands in its place in the text
    head     log p(c | x) = log softmax_c(W h + b)                          h: the text's pooled state

The answer stands where the template says so (`layout.MARK`), else behind the input, as for other models. Of a word of
the answer the tokens from y_t on are masked, those before it are seen, and so are all other words. So an answer of one
token is one mask, whose place is predicted once for all such answers; one of k tokens takes k rows of its own length.

With one token this is PET's score up to what all choices have in common: PET ranks by the raw logit, and log p is that
less the logarithm of the vocabulary's sum. So is the mean over patterns.

Shapes: hidden states (rows, tokens, d_model).

Paper: 2001.07676, section 3 (cloze); 2305.10588, section 3 (within-word left-to-right).
Differs: PET fills several masks greedily, the most confident first, and trains them in parallel; here each token is
    predicted from what a chain rule inside its word leaves, in training too, and lengths are normalised as elsewhere.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from peftbench.errors import ModelError
from peftbench.models.backbone import Backbone
from peftbench.scoring.encoded import Cloze, Encoded, tokenized
from peftbench.scoring.layout import MARK, Layout
from peftbench.scoring.soft_prompt import absent_virtual, with_soft_prompt
from peftbench.scoring.tree import Answers
from peftbench.spec.cell import Scoring
from peftbench.tasks.task import Example


@dataclass
class Row:
    """A text as it is run once.

    Args:
        ids: Its tokens, the answer's in part masked.
        place: Index of the token whose state predicts.
        choices: The choices of which it predicts a token.
        slots: Index of that token in each answer.
        targets: Its id.
    """

    ids: tuple[int, ...]
    place: int
    choices: list[int] = field(default_factory=list)
    slots: list[int] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)

    def add(self, choice: int, slot: int, target: int) -> None:
        """Let the row predict a token of one choice more."""
        self.choices.append(choice)
        self.slots.append(slot)
        self.targets.append(target)


def rows(encoded: Encoded, *, is_shared: bool = True) -> list[Row]:
    """List the rows that an example takes.

    Args:
        encoded: The example.
        is_shared: Whether choices share rows that are alike; else only those of one token do.
    """
    cloze = encoded.cloze or Cloze((), tuple((0,) * len(ids) for ids in encoded.choices), mask=0)
    if cloze.is_class:
        row = Row(encoded.context, 0)
        for choice, ids in enumerate(encoded.choices):
            row.add(choice, 0, ids[0])
        return [row]
    alike: dict[tuple[tuple[int, ...], int], Row] = {}
    for choice, (ids, words) in enumerate(zip(encoded.choices, cloze.words, strict=True)):
        for slot, target in enumerate(ids):
            seen = tuple(
                cloze.mask if index >= slot and words[index] == words[slot] else token
                for index, token in enumerate(ids)
            )
            key = seen, 0 if is_shared or len(ids) == 1 else 1 + choice
            place = len(encoded.context) + slot  # the first one that is masked, so that like rows predict one place
            row = alike.setdefault(key, Row((*encoded.context, *seen, *cloze.after), place))
            row.add(choice, slot, target)
    return list(alike.values())


def answer_states(
    backbone: Backbone, batch: Sequence[Encoded], num_virtual: int, *, is_shared: bool
) -> tuple[Tensor, Answers]:
    """Run the rows of examples, padded to the longest.

    Args:
        backbone: The model.
        batch: Examples.
        num_virtual: Virtual tokens, which stand before each row.
        is_shared: As `rows`.

    Returns:
        Last hidden states, and which of them predict which answer tokens.
    """
    answers, members = Answers(), []
    texts: list[tuple[int, ...]] = []
    for prompt, encoded in enumerate(batch):
        for row in rows(encoded, is_shared=is_shared):
            answers.add_places(len(texts), num_virtual + row.place, row.targets, prompt, row.choices, row.slots)
            texts.append(row.ids)
            members.append(prompt)
    with _taking_turns(backbone, members):
        hidden = _states(backbone, texts, num_virtual)  # (rows, tokens, d_model)
    return _pooled(backbone, hidden, texts, num_virtual), answers


def _pooled(backbone: Backbone, hidden: Tensor, texts: Sequence[tuple[int, ...]], num_virtual: int) -> Tensor:
    """Put the mean over a text's own tokens in the place of the first one's state, where it stands for the text."""
    if not backbone.sizes.num_classes or backbone.pooling == "first":
        return hidden
    lengths = torch.tensor([[len(row)] for row in texts], device=hidden.device)  # (rows, 1)
    is_own = (torch.arange(hidden.shape[1] - num_virtual, device=hidden.device) < lengths).unsqueeze(-1)
    pooled = (hidden[:, num_virtual:] * is_own).sum(1, keepdim=True) / lengths.unsqueeze(-1)  # (rows, 1, d_model)
    return torch.cat((hidden[:, :num_virtual], pooled, hidden[:, num_virtual + 1 :]), 1)


def _taking_turns(backbone: Backbone, members: Sequence[int]) -> AbstractContextManager[None]:
    """Let the soft prompts of an ensemble take turns over examples, each of which may have several rows."""
    ensemble: Any = backbone.soft_prompt
    if backbone.num_members == 1 or not ensemble.takes_turns:
        return nullcontext()
    turns: AbstractContextManager[None] = ensemble.use([member % backbone.num_members for member in members])
    return turns


def _states(backbone: Backbone, texts: Sequence[tuple[int, ...]], num_virtual: int) -> Tensor:
    longest = max(map(len, texts))
    device = backbone.device
    ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in texts], device=device)
    seen = torch.tensor([[1] * (num_virtual + len(row)) + [0] * (longest - len(row)) for row in texts], device=device)
    positions = torch.arange(num_virtual + longest, device=device).expand(len(texts), -1)  # (rows, tokens)
    absent = absent_virtual(backbone)
    if absent is not None:
        seen = seen.masked_fill(positions < absent[:, None], 0)
        positions = (positions - absent[:, None]).clamp(min=0)
    embeds = with_soft_prompt(backbone, backbone.embeddings(ids), num_virtual)
    config = backbone.model.config
    segments = {"token_type_ids": torch.zeros_like(seen)} if getattr(config, "type_vocab_size", 0) else {}
    hidden: Tensor = backbone.model.base_model(
        inputs_embeds=embeds,
        attention_mask=backbone.family.mask(config, seen, embeds.dtype),
        position_ids=positions + backbone.family.first_position(config),
        **segments,
    ).last_hidden_state
    return hidden


def encode(backbone: Backbone, queries: Sequence[Example], scoring: Scoring, layout: Layout) -> list[Encoded]:
    """Encode examples for an encoder-only model.

    Args:
        backbone: The model.
        queries: Inputs with their answer choices.
        scoring: How they are answered.
        layout: What stands around them.

    Raises:
        ModelError: The model has no head that fills masks, a text has other than one mask, or an answer has several
            tokens and they are not to be scored.
    """
    if scoring.end != "none":
        message = f"--end {scoring.end}: an answer in its place in a text has no end"
        raise ModelError(message, hint=f"--end none; '{backbone.name}' is an encoder-only model")
    mask = _mask(backbone)
    patterns = [layout.text(query.input, mask, query.joint) for query in queries]
    encodings = tokenized(backbone, patterns, special=True)
    number = backbone.tokenizer.mask_token_id
    answers = _answers(backbone, queries, patterns, mask)
    encoded = []
    for query, pattern, encoding in zip(queries, patterns, encodings, strict=True):
        places = [index for index, token in enumerate(encoding.ids) if token == number]
        if len(places) != 1:
            raise _wrong_masks(pattern, mask, len(places))
        is_spaced = _is_spaced(pattern, mask)
        ids, words = zip(*(answers[choice, is_spaced] for choice in query.choices), strict=True)
        if not scoring.pll:
            _check_one_token(backbone, query, ids)
        before, after = tuple(encoding.ids[: places[0]]), tuple(encoding.ids[places[0] + 1 :])
        encoded.append(Encoded(before, ids, (0,) * len(ids), query.label, cloze=Cloze(after, words, number)))
    return encoded


def check_place(backbone: Backbone, example: Example, cut: Example) -> None:
    """Check the place that an example's template gives its answer.

    Args:
        backbone: The model.
        example: As it was rendered.
        cut: As it is run.

    Raises:
        ModelError: There are several, it was cut away, or the model writes its answers at the end.
    """
    number = example.input.count(MARK)
    if not number:
        return
    if not backbone.sizes.is_encoder_only:
        raise ModelError(
            f"a template has its answer's place inside of the input ({MARK}), and '{backbone.name}' answers behind it",
            hint="a template without it, or an encoder-only model",
        )
    if number > 1:
        raise ModelError(
            f"a template has {number} places for its answer ({MARK})", hint="one, or none: behind the input then"
        )
    if MARK not in cut.input:
        raise ModelError(
            f"--max-input-tokens cuts the answer's place ({MARK}) off an input", hint="more tokens, or none are cut"
        )


def _answers(
    backbone: Backbone, queries: Sequence[Example], patterns: Sequence[str], mask: str
) -> dict[tuple[str, bool], tuple[tuple[int, ...], tuple[int, ...]]]:
    """Tokenize each answer once, behind a blank where its place has one before it: (answer, whether) -> ids, words."""
    pairs = list(
        dict.fromkeys(
            (choice, _is_spaced(pattern, mask))
            for query, pattern in zip(queries, patterns, strict=True)
            for choice in query.choices
        )
    )
    encodings = tokenized(backbone, [" " * is_spaced + choice.strip() for choice, is_spaced in pairs])
    return {
        pair: (tuple(encoding.ids), tuple(word or 0 for word in encoding.word_ids)) if pair[0].strip() else ((), ())
        for pair, encoding in zip(pairs, encodings, strict=True)
    }


def _is_spaced(pattern: str, mask: str) -> bool:
    return pattern[: pattern.index(mask)][-1:].isspace()


def _mask(backbone: Backbone) -> str:
    if not backbone.has_head:
        raise ModelError(
            f"'{backbone.name}' has no head that fills masks, and answers cannot be scored in their place",
            hint="`peftbench tune` with --answer head trains a layer on its pooled state",
        )
    mask: str | None = backbone.tokenizer.mask_token
    if mask is None:
        raise ModelError(f"the tokenizer of '{backbone.name}' has no mask token", hint="its own tokenizer")
    return mask


def _wrong_masks(pattern: str, mask: str, number: int) -> ModelError:
    shown = pattern if len(pattern) <= 60 else f"{pattern[:60]}..."
    return ModelError(
        f"a text has {number} masks, and an answer stands in one place: {shown!r}",
        hint=f"no {mask} in templates and rows: {MARK} is the answer's place; with --calibrate, --content-free N/A",
    )


def _check_one_token(backbone: Backbone, query: Example, answers: Sequence[Sequence[int]]) -> None:
    for choice, ids in zip(query.choices, answers, strict=True):
        if len(ids) > 1:
            tokens = ", ".join(map(repr, backbone.tokenizer.convert_ids_to_tokens(ids)))
            raise ModelError(
                f"answer choice '{choice}' is {len(ids)} tokens of '{backbone.name}' ({tokens}), and pll is off",
                hint="label words of one token, or without --no-pll: then each token is predicted by itself",
            )
