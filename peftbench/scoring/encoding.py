"""Text -> tokens: where the prompt ends, which tokens are the answer's, and what the choices of a prompt share."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from peftbench.errors import ModelError
from peftbench.models.backbone import Backbone
from peftbench.scoring import chat, cloze, head
from peftbench.scoring.encoded import Encoded, num_common, tokenized
from peftbench.scoring.layout import Layout, Shot, plain
from peftbench.scoring.work import Length
from peftbench.spec.cell import Scoring
from peftbench.tasks.task import Example

MARGIN = 8  # characters that prompts must share after the place where their common head is cut off


def encode(
    backbone: Backbone, examples: Sequence[Example], scoring: Scoring, shots: Sequence[Shot] = ()
) -> list[Encoded]:
    """Encode examples; the text that all prompts begin with (the shots) is tokenized once where that seems safe.

    Decoder-only models see prompt and choice as one text. A token belongs to the answer if its character span ends
    after the prompt, so a token that straddles the border counts as answer.

    Args:
        backbone: Its tokenizer is used.
        examples: Inputs with their answer choices.
        scoring: How inputs are cut, and what ends an answer.
        shots: What stands before each input, in this order; it is not cut.

    Raises:
        ModelError: A choice without tokens, or two choices with the same tokens; also what `layout_of` raises, and what
            its layout's `check` does.
    """
    cuts = [cut_input(backbone, example, scoring.max_input_tokens) for example in examples]
    queries = [example for example, _ in cuts]
    layout = layout_of(backbone, scoring, shots)
    layout.check(queries)
    for example, query in zip(examples, queries, strict=True):
        cloze.check_place(backbone, example, query)
    encoded = _encoder_of(backbone, scoring)(backbone, queries, scoring, layout)
    for query, tokens in zip(queries, encoded, strict=True):
        _check(query, tokens)
    if scoring.max_input_tokens is None:
        return encoded
    return [replace(tokens, num_cut_tokens=num_cut) for tokens, (_, num_cut) in zip(encoded, cuts, strict=True)]


def _encoder_of(
    backbone: Backbone, scoring: Scoring
) -> Callable[[Backbone, Sequence[Example], Scoring, Layout], list[Encoded]]:
    """Choose how prompts become tokens, by the kind of model.

    Raises:
        ModelError: Its answers cannot be what is asked for.
    """
    if backbone.sizes.is_encoder_only:
        return head.encode if scoring.answer == "head" else cloze.encode
    if scoring.answer is not None or not scoring.pll:
        option = "--no-pll" if scoring.answer is None else f"--answer {scoring.answer}"
        message = f"{option} goes with encoder-only models, and '{backbone.name}' writes its answers"
        raise ModelError(message, hint="without it; or a BERT, RoBERTa, DeBERTa or ModernBERT")
    return _encode_encoder_decoder if backbone.is_encoder_decoder else _encode_decoder_only


def layout_of(backbone: Backbone, scoring: Scoring, shots: Sequence[Shot] = ()) -> Layout:
    """Lay out the prompts of a model.

    Args:
        backbone: The model.
        scoring: How shots, inputs and answers are written.
        shots: What stands before each input, in this order.

    Raises:
        ModelError: A conversation is asked for, and the model's chat template cannot write it.
    """
    return chat.layout(backbone, scoring, shots) if scoring.chat else plain(scoring, shots)


def cut_input(backbone: Backbone, example: Example, max_input_tokens: int | None) -> tuple[Example, int]:
    """Cut an example's input to its first tokens; answers are never cut.

    Args:
        backbone: Its tokenizer counts.
        example: What is to be cut.
        max_input_tokens: None cuts nothing.

    Returns:
        The example, and how many tokens were cut from it.
    """
    if max_input_tokens is None:
        return example, 0
    text, num_cut = cut(backbone, example.input, max_input_tokens)
    return replace(example, input=text), num_cut


def cut(backbone: Backbone, text: str, max_tokens: int) -> tuple[str, int]:
    """Cut a text to its first `max_tokens` tokens.

    Returns:
        The text, and how many tokens were cut.
    """
    (encoding,) = tokenized(backbone, [text])
    num_cut = len(encoding.ids) - max_tokens
    return (text[: encoding.offsets[max_tokens - 1][1]], num_cut) if num_cut > 0 else (text, 0)


def check_fits(backbone: Backbone, encoded: Sequence[Encoded]) -> None:
    """Refuse prompts that the model has no positions for.

    Raises:
        ModelError: Says how many tokens the longest prompt has and how many fit.
    """
    most = backbone.max_positions
    if most is None:
        return
    virtual = num_virtual_tokens(backbone)
    longest = max((num_positions(backbone, tokens) for tokens in encoded), default=0)
    among = f", {virtual} of them virtual" if virtual else ""
    if longest > most:
        raise ModelError(
            f"a prompt has {longest:,} tokens{among}, and '{backbone.name}' takes {most:,}",
            hint=("fewer virtual tokens; " if virtual else "") + "--max-input-tokens cuts inputs, for example to 256",
        )


def num_positions(backbone: Backbone, encoded: Encoded) -> int:
    """Count the positions that a prompt takes, virtual tokens and its longest choice included.

    An encoder and a decoder have each their own; what counts there is the longer one of context and choice.
    """
    context = num_virtual_tokens(backbone) + encoded.num_around
    choice = max(encoded.num_fed(backbone.sizes.num_fed_more))
    return max(context, choice) if backbone.is_encoder_decoder else context + choice


def lengths(backbone: Backbone, encoded: Sequence[Encoded], shot_tokens: Sequence[int] | None = None) -> list[Length]:
    """Count the tokens of prompts as the model takes them, virtual ones included.

    Args:
        backbone: With what is attached.
        encoded: The prompts.
        shot_tokens: How many tokens of each context are the shots'; None for none.
    """
    virtual, more = num_virtual_tokens(backbone), backbone.sizes.num_fed_more
    return [
        Length(
            virtual + tokens.num_around, tokens.num_fed(more), of_shots, tokens.blocks, backbone.sizes.is_encoder_only
        )
        for tokens, of_shots in zip(encoded, shot_tokens or [0] * len(encoded), strict=True)
    ]


def num_tokens(backbone: Backbone, text: str) -> int:
    """Count the tokens of a text, without those with which the tokenizer opens or ends it."""
    return len(tokenized(backbone, [text])[0].ids) if text else 0


def text_ids(backbone: Backbone, texts: Sequence[str]) -> list[list[int]]:
    """Tokenize texts that stand alone, with what the tokenizer opens and ends each of them by."""
    return [list(encoding.ids) for encoding in tokenized(backbone, texts, special=True)]


def ids_and_stops(backbone: Backbone, text: str) -> tuple[list[int], list[int]]:
    """Tokenize a text, without what the tokenizer opens it by; each token comes with where its characters end."""
    (encoding,) = tokenized(backbone, [text])
    return list(encoding.ids), [stop for _, stop in encoding.offsets]


def num_tokens_of(backbone: Backbone, texts: Sequence[str]) -> list[int]:
    """Count the tokens of each text, as `num_tokens`."""
    return [len(encoding.ids) for encoding in tokenized(backbone, texts)]


def num_shot_tokens(backbone: Backbone, scoring: Scoring, shots: Sequence[Shot]) -> int:
    """Count the tokens that shots add to a prompt, with what separates them."""
    with_shots, without = (layout_of(backbone, scoring, shown).before for shown in (shots, ()))
    return num_tokens(backbone, with_shots) - num_tokens(backbone, without)


def num_virtual_tokens(backbone: Backbone) -> int:
    """Count the tokens that a soft prompt puts before the input."""
    return 0 if backbone.soft_prompt is None else backbone.num_prompt_tokens


def _encode_encoder_decoder(
    backbone: Backbone, queries: Sequence[Example], scoring: Scoring, layout: Layout
) -> list[Encoded]:
    tail = _tail(backbone, scoring)
    inputs = tokenized(backbone, [layout.prompt(query.input) for query in queries], special=True)
    texts = {choice: choice.strip() + layout.after for query in queries for choice in query.choices}
    answers = tokenized(backbone, list(texts.values()))
    ids = {
        choice: (*answer.ids, *tail) if choice.strip() and answer.ids else ()
        for choice, answer in zip(texts, answers, strict=True)
    }
    return [
        Encoded(
            context=tuple(encoding.ids),
            choices=tuple(ids[choice] for choice in query.choices),
            starts=(0,) * len(query.choices),
            label=query.label,
        )
        for query, encoding in zip(queries, inputs, strict=True)
    ]


def _encode_decoder_only(
    backbone: Backbone, queries: Sequence[Example], scoring: Scoring, layout: Layout
) -> list[Encoded]:
    if not queries:
        return []
    tail = _tail(backbone, scoring)
    prompts = [layout.prompt(query.input) for query in queries]
    texts = [layout.text(query.input, choice, query.joint) for query in queries for choice in query.choices]
    head, length = _head(backbone, prompts, texts)
    start = (*(() if scoring.chat else opening(backbone)), *head)  # a chat template writes its own
    encodings = iter(tokenized(backbone, [text[length:] for text in texts]))
    encoded = []
    for query, prompt in zip(queries, prompts, strict=True):
        border = len(prompt) - length
        pairs = [_ids_and_answer(next(encodings), border, tail) for _ in query.choices]
        first = start or first_of_nothing(backbone, min(answer for _, answer in pairs))
        shared = min(*(answer for _, answer in pairs), num_common([ids for ids, _ in pairs]))
        context = (*first, *pairs[0][0][:shared])
        choices = tuple(tuple(ids[shared:]) for ids, _ in pairs)
        encoded.append(Encoded(context, choices, tuple(answer - shared for _, answer in pairs), query.label))
    return encoded


def _ids_and_answer(encoding: Any, border: int, tail: Sequence[int]) -> tuple[list[int], int]:
    """Return the ids, and the index of the first one whose characters end after the border."""
    answer = next((index for index, (_, stop) in enumerate(encoding.offsets) if stop > border), len(encoding.ids))
    return [*encoding.ids, *tail], answer


def _head(backbone: Backbone, prompts: Sequence[str], texts: Sequence[str]) -> tuple[list[int], int]:
    """Tokenize what all prompts begin with, as far as that is not expected to change any text's tokens.

    The cut is made at a line's start inside the common part, with more common text after it, so that splitting into
    words sees the same neighbourhood in all texts. That the tokens are the same is assumed, and spot-checked on the
    first and the last text: a tokenizer that treats the start of a text as special fails there, and then each text is
    tokenized whole.

    Returns:
        The head's ids and its length in characters; nothing and 0 where there is no such head.
    """
    common = prompts[0][: num_common(prompts)]
    place = common.rfind("\n", 0, max(0, len(common) - MARGIN)) + 1
    while place and common[place].isspace():
        place = common.rfind("\n", 0, place - 1) + 1
    if not place or backbone.tokenizer.backend_tokenizer.pre_tokenizer is None:
        return [], 0
    witnesses = (texts[0], texts[-1])
    wholes = tokenized(backbone, witnesses)
    tails = tokenized(backbone, [text[place:] for text in witnesses])
    behind = (index for index, (_, stop) in enumerate(wholes[0].offsets) if stop > place)
    head = wholes[0].ids[: next(behind, None)]  # all of them where what is behind has no tokens
    exact = all(whole.ids == head + tail.ids for whole, tail in zip(wholes, tails, strict=True))
    return (head, place) if exact else ([], 0)


def opening(backbone: Backbone) -> tuple[int, ...]:
    """Return the token with which the tokenizer opens each text, if it does; a continued text has none."""
    if backbone.num_positions_before:
        return ()
    opening = tokenized(backbone, [""], special=True)[0].ids
    return tuple(opening[:1]) if opening and opening[0] == backbone.tokenizer.bos_token_id else ()


def first_of_nothing(backbone: Backbone, num_context: int) -> tuple[int, ...]:
    """Return what an answer without any prompt is predicted from: the first token, or else the end token."""
    if num_context:
        return ()
    tokenizer = backbone.tokenizer
    return (tokenizer.bos_token_id if tokenizer.bos_token_id is not None else _eos(backbone),)


def _tail(backbone: Backbone, scoring: Scoring) -> tuple[int, ...]:
    """Return the token that ends an answer; a chat template writes its own."""
    return (_eos(backbone),) if scoring.end == "eos" and not scoring.chat else ()


def _eos(backbone: Backbone) -> int:
    if backbone.tokenizer.eos_token_id is None:
        raise ModelError(f"the tokenizer of '{backbone.name}' has no end token", hint="--end separator or --end none")
    return backbone.tokenizer.eos_token_id


def _check(query: Example, encoded: Encoded) -> None:
    answers = [ids[start:] for ids, start in zip(encoded.choices, encoded.starts, strict=True)]
    for choice, answer in zip(query.choices, answers, strict=True):
        if not answer or not choice.strip():
            raise ModelError(f"answer choice '{choice}' has no tokens", hint="give every choice some text")
    if len(set(encoded.choices)) < len(encoded.choices):
        twice = next(c for i, c in enumerate(query.choices) if encoded.choices[i] in encoded.choices[:i])
        raise ModelError(
            f"answer choice '{twice}' has the same tokens as another one",
            hint="choices must differ for this model's tokenizer",
        )
