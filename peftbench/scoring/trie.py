"""A trie over prompts: those that begin alike, such as after the same chosen shots, run these tokens once.

Prompts are put in the order of their tokens, so that those that begin alike are neighbours, and neighbours stand in one
row as long as the budget lasts: what they share stands there once, by the mask that choices already share a prompt with
(`scoring.tree`). So no choice sees other tokens, and no keys are held but for what all prompts begin with. What
neighbours in different rows share is run once in each row.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from transformers import DynamicCache

from peftbench.errors import RunError
from peftbench.models.backbone import Backbone
from peftbench.scoring import tree
from peftbench.scoring.batches import Batch, memory_for, token_budget
from peftbench.scoring.encoding import Encoded, num_common, num_virtual_tokens
from peftbench.scoring.forward import decoder_states, log_probs_at
from peftbench.scoring.tree import Answers, Tokens
from peftbench.scoring.work import Pass, Work


@dataclass
class Row:
    """Prompts in one row, depth first.

    Args:
        skip: How many tokens of each context are cached, and left out.
        prompts: Their indices.
        tokens: Of the row.
        answers: Of its prompts, by their place among them.
        num_context: Tokens of contexts that stand in it.
    """

    skip: int
    prompts: list[int] = field(default_factory=list)
    tokens: Tokens = field(default_factory=Tokens)
    answers: Answers = field(default_factory=Answers)
    num_context: int = 0
    _context: tuple[int, ...] = ()
    _path: list[int] = field(default_factory=list)
    """Index in the row of each token of the last prompt's context, but for those that are cached."""

    def num_more(self, encoded: Encoded) -> int:
        """Count the tokens that the row would grow by."""
        return len(encoded.context) - self._num_alike(encoded) + len(tree.branches(encoded).ids)

    def add(self, index: int, encoded: Encoded) -> None:
        """Append a prompt; it comes after those before it in the order of contexts."""
        alike, choices = self._num_alike(encoded), tree.branches(encoded)
        self._close(alike - self.skip)
        own, first = encoded.context[alike:], len(self.tokens.ids)
        self._path += range(first, first + len(own))
        self.tokens.add(own, range(alike, len(encoded.context)), [0] * len(own))
        start, depth = first + len(own), len(encoded.context)
        positions = [depth + further for further in choices.depths]
        self.tokens.add(choices.ids, positions, [start + end for end in choices.ends])
        self.answers.add_branches(0, start, choices, len(self.prompts))
        self.prompts.append(index)
        self.num_context += len(own)
        self._context = encoded.context

    def end(self) -> None:
        """Let no further prompt continue what stands in the row."""
        self._close(0)

    def _num_alike(self, encoded: Encoded) -> int:
        """Count the tokens shared with the last prompt; the last one is the prompt's own: it predicts the answer."""
        if not self.prompts:
            return self.skip
        return max(self.skip, min(num_common((self._context, encoded.context)), len(encoded.context) - 1))

    def _close(self, num_open: int) -> None:
        """Say of the tokens that what comes next does not continue where those end that continue them."""
        for token in self._path[num_open:]:
            self.tokens.ends[token] = len(self.tokens.ids)
        del self._path[num_open:]


def batches(backbone: Backbone, encoded: Sequence[Encoded], budget: int | None = None) -> Iterator[Batch]:
    """Run all prompts of a decoder-only model, a row at a time.

    Args:
        backbone: Without virtual tokens.
        encoded: At least one prompt.
        budget: Tokens of a row; None suits the device.

    Raises:
        RunError: Memory does not suffice for a row.
    """
    assert not backbone.is_encoder_decoder
    assert not num_virtual_tokens(backbone), "chosen shots stand in prompts without virtual tokens"
    contexts = [tokens.context for tokens in encoded]
    skip = min(num_common(contexts), min(map(len, contexts)) - 1)
    cache = DynamicCache()
    with memory_for(_too_large(backbone, skip)):
        if skip:
            decoder_states(backbone, [tree.shared_tokens(0, contexts[0][:skip])], cache=cache)
            prefill = Pass.of_decoder(rows=1, tokens=skip, head=0)
            yield [], [], Work(shared_tokens=skip, passes=(prefill,))
    for row in rows(encoded, skip, budget or token_budget(backbone)):
        with memory_for(_too_large(backbone, len(row.tokens.ids))):
            yield _run(backbone, row, encoded, cache if skip else None)


def rows(encoded: Sequence[Encoded], skip: int, budget: int) -> Iterator[Row]:
    """Lay prompts out in rows of no more tokens than the budget, or of one prompt that has more."""
    order = sorted(range(len(encoded)), key=lambda index: encoded[index].context)
    row = Row(skip)
    for index in order:
        if row.prompts and len(row.tokens.ids) + row.num_more(encoded[index]) > budget:
            row.end()
            yield row
            row = Row(skip)
        row.add(index, encoded[index])
    row.end()
    yield row


def _run(backbone: Backbone, row: Row, encoded: Sequence[Encoded], cache: DynamicCache | None) -> Batch:
    tokens, answers, skip = row.tokens, row.answers, row.skip
    hidden = decoder_states(backbone, [tokens], cache=cache, num_cached=skip)  # (1, tokens, d_model)
    if cache is not None:
        for layer in cache.layers:
            layer.crop(skip - layer.get_seq_length())
    sums = [[0.0] * len(encoded[index].choices) for index in row.prompts]
    picked = log_probs_at(backbone, hidden, answers).tolist()  # (answer tokens,)
    for value, prompt, choice in zip(picked, answers.prompts, answers.choices, strict=True):
        sums[prompt][choice] += value
    shape = Pass.of_decoder(rows=1, tokens=len(tokens.ids), cached=skip, head=answers.num_predicting)
    work = Work(
        context_tokens=row.num_context,
        choice_tokens=len(tokens.ids) - row.num_context,
        passes=(shape,),
        saved_tokens=sum(len(encoded[index].context) - skip for index in row.prompts) - row.num_context,
    )
    return row.prompts, sums, work


def _too_large(backbone: Backbone, num_tokens: int) -> RunError:
    return RunError(
        f"memory on {backbone.device_names} does not suffice for {num_tokens:,} tokens with '{backbone.name}'",
        hint="finished records are kept; --shots, --max-input-tokens or --dtype bfloat16 make it smaller",
    )
