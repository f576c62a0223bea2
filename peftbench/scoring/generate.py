"""Answers that are written, token by token, by transformers' own search on the model with what is attached to it.

Greedy search, beams and their rules are transformers'. Here stand what goes around it: keys and values of what all
prompts begin with, computed once for all; batches that are worth their padding; soft prompts, which are embeddings.

Shapes: ids (rows, tokens), padded on the left; embeddings (rows, tokens, d_model); keys and values of a cache (rows,
num_kv_heads, tokens, d_kv).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, GenerationConfig, StoppingCriteria, StoppingCriteriaList
from transformers.generation.utils import GenerationMixin

from peftbench.errors import MethodError, ModelError
from peftbench.models.backbone import Backbone
from peftbench.scoring import prefill
from peftbench.scoring.batches import token_budget
from peftbench.scoring.encoded import num_common, tokenized
from peftbench.scoring.encoding import cut_input, first_of_nothing, layout_of, num_virtual_tokens, opening
from peftbench.scoring.layout import Shot
from peftbench.scoring.soft_prompt import absent_virtual, virtual_tokens
from peftbench.spec.cell import Scoring
from peftbench.spec.decoding import Decoding
from peftbench.tasks.task import Example

MIN_SHARED = 16
"""Tokens that prompts must have in common for their keys and values to be kept."""
MAX_ROWS = 64
"""Of a batch, beams included."""
MAX_KEPT_TOKENS = 8192
"""Tokens of a batch whose keys and values are kept on a CPU: 0.4 GB of a model of 135 M parameters."""
TOKENS_PER_STEP = 40
"""What a step costs whatever its rows, in tokens of a prompt: it reads all weights."""

Contexts = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Output:
    """An answer.

    Args:
        text: Without what ended it, and without white space around it; may be empty.
        num_tokens: Tokens that were written, the one that ended it included.
        context_tokens: Tokens of its prompt, virtual ones included.
        shared_tokens: Those of them whose keys and values were computed once for all prompts.
        is_cut: Whether it had not ended after `max_new_tokens`.
    """

    text: str
    num_tokens: int
    context_tokens: int
    shared_tokens: int
    is_cut: bool


def generate(
    backbone: Backbone,
    examples: Sequence[Example],
    scoring: Scoring,
    decoding: Decoding,
    shots: Sequence[Shot] = (),
    progress: Callable[[int], None] | None = None,
) -> list[Output]:
    """Write an answer to each example, after the same shots.

    Args:
        backbone: The model, with what is attached.
        examples: Their choices are not looked at.
        scoring: How prompts are laid out. In plain text the separator between shots ends an answer, too.
        decoding: How answers are written.
        shots: What stands before each input.
        progress: Called with the number of examples that were just finished.

    Returns:
        The answers, in the examples' order.

    Raises:
        ModelError: A prompt and its answer are longer than the model's positions; or it writes no text.
        MethodError: Several soft prompts vote, which they can on choices alone.
    """
    check(backbone)
    return write(backbone, contexts(backbone, examples, scoring, shots), ended(scoring, decoding), progress)


def check(backbone: Backbone) -> None:
    """Refuse models, and what is attached to them, that write no text.

    Raises:
        ModelError: An encoder-only model, or one behind a server.
        MethodError: An ensemble of soft prompts.
    """
    if backbone.sizes.is_encoder_only:
        message = f"'{backbone.name}' fills a mask in a text, and writes none"
        raise ModelError(message, hint="a decoder-only model or an encoder-decoder; or a task with answer choices")
    if backbone.remote is not None:
        message = f"'{backbone.name}' answers on a server, where only choices are scored"
        raise ModelError(message, hint="the same weights loaded here: --model FOLDER")
    if backbone.num_members > 1 or absent_virtual(backbone) is not None:
        message = f"{backbone.num_members} soft prompts vote on choices, and one text is not written by several"
        raise MethodError(message, hint="one soft prompt: --set num_prompts=1")


def check_writing(
    backbone: Backbone,
    examples: Sequence[Example],
    scoring: Scoring,
    decoding: Decoding,
    shots: Sequence[Shot] = (),
) -> None:
    """Find what would keep answers from being written; no model is run.

    Args:
        backbone: With what is attached.
        examples: What is to be answered.
        scoring: How prompts are laid out.
        decoding: How answers are written.
        shots: What stands before each input.

    Raises:
        ModelError: As `generate`.
        MethodError: Likewise.
    """
    check(backbone)
    queries = [cut_input(backbone, example, scoring.max_input_tokens)[0] for example in examples]
    _check_fits(backbone, contexts(backbone, queries, scoring, shots), decoding)


def contexts(
    backbone: Backbone, examples: Sequence[Example], scoring: Scoring, shots: Sequence[Shot] = ()
) -> list[list[int]]:
    """Tokenize prompts: what an answer's first token is predicted from."""
    layout = layout_of(backbone, scoring, shots)
    texts = [layout.prompt(example.input) for example in examples]
    if backbone.is_encoder_decoder:
        return [list(encoding.ids) for encoding in tokenized(backbone, texts, special=True)]
    start = [] if scoring.chat else list(opening(backbone))
    ids = [[*start, *encoding.ids] for encoding in tokenized(backbone, texts)]
    return [row or list(first_of_nothing(backbone, 0)) for row in ids]


def write(
    backbone: Backbone, prompts: Contexts, decoding: Decoding, progress: Callable[[int], None] | None = None
) -> list[Output]:
    """Write an answer after each prompt of token ids; see `generate`.

    What all prompts begin with is run once, where it is not little and the model reads from left to right.
    """
    _check_fits(backbone, prompts, decoding)
    shared = _num_shared(backbone, prompts)
    cache = DynamicCache()
    answers: dict[int, Output] = {}
    with _plain_search(backbone), torch.inference_mode():
        if shared:
            prefill.fill(backbone, 0, prompts[0][:shared], cache, token_budget(backbone))
        for batch in _batches(backbone, prompts, decoding, bool(shared)):
            rows = _search(backbone, [prompts[index] for index in batch], decoding, cache if shared else None, shared)
            virtual = num_virtual_tokens(backbone)
            for index, row in zip(batch, rows, strict=True):
                answers[index] = _written(backbone, row, virtual + len(prompts[index]), shared, decoding)
            if progress is not None:
                progress(len(batch))
    return [answers[index] for index in range(len(prompts))]


def ended(scoring: Scoring, decoding: Decoding) -> Decoding:
    """Let the separator between shots end an answer: behind it the model would go on with another shot."""
    if scoring.chat or not scoring.separator or scoring.separator in decoding.stop:
        return decoding
    return decoding.model_copy(update={"stop": (*decoding.stop, scoring.separator)})


def _check_fits(backbone: Backbone, prompts: Contexts, decoding: Decoding) -> None:
    most, virtual = backbone.max_positions, num_virtual_tokens(backbone)
    if most is None or not prompts:
        return
    longest, new = virtual + max(map(len, prompts)), decoding.max_new_tokens
    needed = max(longest, new) if backbone.is_encoder_decoder else longest + new
    if needed > most:
        room = most - longest
        shorter = (
            f"[writing] max_new_tokens = {room} in the task's TOML, or "
            if room > 0 and not backbone.is_encoder_decoder
            else ""
        )
        message = f"a prompt of {longest:,} tokens and an answer of up to {new:,} do not fit '{backbone.name}'"
        raise ModelError(f"{message}, which takes {most:,}", hint=f"{shorter}fewer shots or shorter inputs")


def _num_shared(backbone: Backbone, prompts: Contexts) -> int:
    """Count the tokens whose keys and values are computed once: 0 where that is not possible, or saves little."""
    if len(prompts) < 2 or not backbone.sizes.is_causal or num_virtual_tokens(backbone):
        return 0
    if backbone.num_positions_before:  # what stands before has been run already
        return 0
    common = min(num_common([tuple(row) for row in prompts]), min(map(len, prompts)) - 1)
    return common if common >= MIN_SHARED else 0


def _batches(backbone: Backbone, prompts: Contexts, decoding: Decoding, is_shared: bool) -> list[list[int]]:
    """Cut prompts into batches that cost least: padding is run, and each batch takes the steps of its answers.

    cost = sum over batches (rows * longest prompt + TOKENS_PER_STEP * max_new_tokens)

    Of prompts in the order of their lengths the best cut is found from the front, best[n] = min_m best[m] + cost of
    m..n. Where padding would move what a window sees, only prompts of one length share a batch.
    """
    order = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))
    lengths = [len(prompts[index]) for index in order]
    is_exact = is_shared and backbone.is_windowed
    best, starts = [0], [0]
    for end in range(1, len(order) + 1):
        cuts = []
        for start in range(end - 1, -1, -1):
            longest, rows = lengths[start], end - start
            if rows > _most_rows(backbone, longest, decoding) or (is_exact and longest != lengths[end - 1]):
                break
            cuts.append((best[start] + rows * longest + TOKENS_PER_STEP * decoding.max_new_tokens, start))
        cost, start = min(cuts)
        best.append(cost)
        starts.append(start)
    batches, end = [], len(order)
    while end:
        batches.append(order[starts[end] : end])
        end = starts[end]
    return batches[::-1]


def _most_rows(backbone: Backbone, longest: int, decoding: Decoding) -> int:
    """Count the prompts of a batch: one at least, and no more than whose keys and values there is room for."""
    most_tokens = max(MAX_KEPT_TOKENS, token_budget(backbone))
    most_rows = min(MAX_ROWS, most_tokens // (longest + decoding.max_new_tokens))
    return max(1, most_rows // decoding.num_beams)


def _search(
    backbone: Backbone, prompts: Contexts, decoding: Decoding, cache: DynamicCache | None, shared: int
) -> list[list[int]]:
    """Write the answers of a batch; return their ids, with what ended them and what stands behind that."""
    longest, pad = max(map(len, prompts)), 0
    is_right = backbone.is_encoder_decoder
    widths = [longest - len(row) for row in prompts]
    # Between what is shared and the rest, or before all: what stands behind padding has the positions of its tokens.
    rows = [
        [*row, *[pad] * width] if is_right else [*row[:shared], *[pad] * width, *row[shared:]]
        for row, width in zip(prompts, widths, strict=True)
    ]
    ids = torch.tensor(rows, device=backbone.device)  # (rows, tokens)
    place = torch.arange(longest, device=ids.device)
    width = torch.tensor(widths, device=ids.device)[:, None]
    is_pad = place >= longest - width if is_right else (place >= shared) & (place < shared + width)
    mask = (~is_pad).long()
    inputs: dict[str, Any] = {"attention_mask": mask}
    num_virtual = num_virtual_tokens(backbone)
    if num_virtual:
        inputs |= _with_virtual(backbone, ids, mask, widths, num_virtual)
    else:
        inputs["input_ids"] = ids
    num_before = 0
    if is_right:
        start = backbone.start_ids
        inputs["decoder_input_ids"] = torch.tensor([start] * len(rows), device=ids.device)
        num_before = len(start)
    elif not num_virtual:
        num_before = longest
    if not is_right:  # keys out of a window stay, unseen: what is run hangs on lengths alone, and is what is counted
        inputs["past_key_values"] = _repeated(cache or DynamicCache(), len(rows) * decoding.num_beams)
    stops = StoppingCriteriaList([Stop(backbone, decoding.stop, num_before)] if decoding.stop else [])
    output = _model(backbone).generate(**inputs, generation_config=_config(backbone, decoding), stopping_criteria=stops)
    written: list[list[int]] = output[:, num_before:].tolist()
    return written


def _with_virtual(
    backbone: Backbone, ids: Tensor, mask: Tensor, widths: Sequence[int], num_virtual: int
) -> dict[str, Tensor]:
    """Put the soft prompt before each row's tokens, behind its padding.

    Returns:
        Embeddings (rows, tokens + virtual tokens, d_model), and their mask.
    """
    embeds = backbone.embeddings(ids)  # (rows, tokens, d_model)
    virtual = virtual_tokens(backbone, len(ids)).to(embeds.dtype)
    before = [0 if backbone.is_encoder_decoder else width for width in widths]
    rows = zip(embeds, virtual, before, strict=True)
    whole = torch.stack([torch.cat((row[:start], prompt, row[start:])) for row, prompt, start in rows])
    seen = torch.stack(
        [
            torch.cat((row[:start], row.new_ones(num_virtual), row[start:]))
            for row, start in zip(mask, before, strict=True)
        ]
    )
    return {"inputs_embeds": whole, "attention_mask": seen}


def _repeated(cache: DynamicCache, num_rows: int) -> DynamicCache:
    """Hand the keys and values of one row to many, without a copy of them until something is added."""
    repeated = DynamicCache()
    for index, layer in enumerate(cache.layers):
        assert layer.keys is not None
        assert layer.values is not None
        keys, values = (part.expand(num_rows, -1, -1, -1) for part in (layer.keys, layer.values))
        repeated.update(keys, values, index)
    return repeated


def _config(backbone: Backbone, decoding: Decoding) -> GenerationConfig:
    end = backbone.tokenizer.eos_token_id
    settings = decoding.model_dump(exclude={"stop"})
    if decoding.num_beams == 1:
        settings.pop("length_penalty")
    if backbone.is_encoder_decoder:
        settings["decoder_start_token_id"] = backbone.start_ids[0]
    return GenerationConfig(**settings, do_sample=False, use_cache=True, pad_token_id=end or 0, eos_token_id=end)


def _written(backbone: Backbone, row: Sequence[int], context: int, shared: int, decoding: Decoding) -> Output:
    """Read an answer from the ids of a row, of which what is behind its end is padding."""
    end = backbone.tokenizer.eos_token_id
    ids = list(row[: row.index(end)]) if end in row else list(row)
    is_ended, num_tokens = end in row, len(ids) + (end in row)
    text = _decoded(backbone, ids)
    places = [place for stop in decoding.stop if (place := text.find(stop)) >= 0]
    if places:
        is_ended, text = True, text[: min(places)]
        num_tokens = _num_until(backbone, ids, decoding.stop)
    return Output(text.strip(), num_tokens, context, shared, is_cut=not is_ended)


def _num_until(backbone: Backbone, ids: Sequence[int], stops: Sequence[str]) -> int:
    """Count the tokens up to the one with which a stop stands in the text: mostly all, as that one ended the row."""
    number = len(ids)
    while number > 1 and _has(backbone, ids[: number - 1], stops):
        number -= 1
    return number


def _has(backbone: Backbone, ids: Sequence[int], stops: Sequence[str]) -> bool:
    text = _decoded(backbone, ids)
    return any(stop in text for stop in stops)


def _decoded(backbone: Backbone, ids: Sequence[int]) -> str:
    text: str = backbone.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text


class Stop(StoppingCriteria):
    """Ends a row with the token that completes one of the texts in what was written.

    Args:
        backbone: Its tokenizer reads tokens.
        texts: What ends an answer.
        num_before: Tokens of a row that were not written.
    """

    def __init__(self, backbone: Backbone, texts: Sequence[str], num_before: int) -> None:
        self._backbone, self._texts, self._num_before = backbone, texts, num_before
        self._tail = 1 + max(len(text.encode()) for text in texts)  # a token has a byte at least
        self._known: dict[int, bool] = {}

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        """Tell of each row whether it ends now, (rows,) bool."""
        rows = input_ids[:, self._num_before :][:, -self._tail :].tolist()
        ends = [self._may_complete(row[-1]) and _has(self._backbone, row, self._texts) for row in rows]
        return torch.tensor(ends, device=input_ids.device)

    def _may_complete(self, token: int) -> bool:
        """Tell whether a token may bring a text's last character; most do not, and their rows are not read.

        Of a blank nothing is known, which is lost where a token is read alone, nor of a part of a character.
        """
        if token not in self._known:
            alone, last = _decoded(self._backbone, [token]), {text[-1] for text in self._texts}
            self._known[token] = " " in last or "\ufffd" in alone or not last.isdisjoint(alone)
        return self._known[token]


@contextmanager
def _plain_search(backbone: Backbone) -> Iterator[None]:
    """Search by our settings alone: a model's folder may bring others, to draw at random or to force tokens."""
    model: nn.Module = backbone.model
    before = model.generation_config
    setattr(model, "generation_config", GenerationConfig())  # noqa: B010 (no attribute that Module declares)
    head = backbone.model.get_output_embeddings().register_forward_pre_hook(_contiguous)
    try:
        yield
    finally:
        head.remove()
        setattr(model, "generation_config", before)  # noqa: B010


def _contiguous(_: nn.Module, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Copy the last tokens' states (rows, 1, d_model): of a slice, frozen weights would take one row at a time."""
    return tuple(state.contiguous() for state in states)


def _model(backbone: Backbone) -> GenerationMixin:
    model: Any = backbone.model
    if not isinstance(model, GenerationMixin):
        raise ModelError(f"'{backbone.name}' writes no text", hint="a task with answer choices")
    return model
