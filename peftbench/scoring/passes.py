"""The shapes of forward passes from token counts alone: of a training step, and of scoring before it runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from peftbench.models.shapes import Sizes
from peftbench.scoring import packing
from peftbench.scoring.batches import first_batch
from peftbench.scoring.encoding import Encoded
from peftbench.scoring.work import Pass


@dataclass(frozen=True)
class Prompt:
    """Token counts of a prompt with its choices.

    Args:
        context: Tokens that all choices share, virtual tokens left out.
        choices: Tokens of each choice behind the context, the last one included.
        answers: How many of them are answer tokens.
    """

    context: int
    choices: tuple[int, ...]
    answers: tuple[int, ...]

    @classmethod
    def of(cls, encoded: Encoded) -> "Prompt":
        """Count the tokens of an encoded prompt."""
        choices = tuple(map(len, encoded.choices))
        answers = tuple(count - start for count, start in zip(choices, encoded.starts, strict=True))
        return cls(len(encoded.context), choices, answers)

    def only(self, choice: int) -> "Prompt":
        """Return the prompt with one of its choices."""
        return Prompt(self.context, (self.choices[choice],), (self.answers[choice],))

    @cached_property
    def num_fed(self) -> int:
        """Tokens of the choices that a decoder-only model is fed: all but each one's last."""
        return sum(self.choices) - len(self.choices)

    @cached_property
    def cost(self) -> int:
        """What batches are filled by."""
        return self.context + sum(self.choices)

    @cached_property
    def num_predicting(self) -> int:
        """Tokens of a decoder-only model that predict: one for the first tokens of all choices, then each."""
        starts = [count - answer for count, answer in zip(self.choices, self.answers, strict=True)]
        behind = sum(count - max(start, 1) for count, start in zip(self.choices, starts, strict=True))
        return (0 in starts) + behind


@dataclass(frozen=True)
class Shapes:
    """The shapes in which a model, with what is attached to it, runs prompts.

    Args:
        sizes: The model's.
        num_virtual: Tokens of a soft prompt.
        num_members: Soft prompts of an ensemble: an example is run with each.
        num_before: Tokens of shots that stand before each prompt that is scored.
    """

    sizes: Sizes
    num_virtual: int = 0
    num_members: int = 1
    num_before: int = 0

    def training(self, batch: Sequence[Prompt]) -> Pass:
        """Return the shape of a training step's batch; an ensemble's has each example once for each member."""
        if self.sizes.is_encoder_decoder:
            return self._folded(batch)
        own = batch[:: self.num_members]
        tokens = [prompt.context + prompt.num_fed for prompt in own]
        rows = packing.spread(tokens, self.num_virtual, self.sizes)
        longest = self.num_virtual + max(sum(tokens[prompt] for prompt in row) for row in rows)
        head = sum(prompt.num_predicting for prompt in batch)
        return Pass.of_decoder(rows=self.num_members * len(rows), tokens=longest, head=head)

    def scoring(self, prompts: Sequence[Prompt], num_common: int, budget: int, *, cache: bool) -> list[Pass]:
        """List the passes that score prompts, if memory suffices.

        Args:
            prompts: In any order.
            num_common: Tokens with which all contexts begin alike.
            budget: Tokens per forward pass (`scoring.batches.token_budget`).
            cache: Whether a decoder-only model's prompts share what they begin with.
        """
        prompts = [prompt for prompt in prompts for _ in range(self.num_members)]
        if self.sizes.is_encoder_decoder or self.num_members > 1 or not cache:
            batches = _batches(prompts, self.num_before, budget, padded=True)
            is_plain = not self.sizes.is_encoder_decoder and self.num_members == 1
            run = self._folded if self.sizes.is_encoder_decoder else self._plain if is_plain else self._branched
            return [run(batch) for batch in batches]
        skip = min(num_common, min(prompt.context for prompt in prompts) - 1)
        size = self.num_virtual + self.num_before + skip
        prefill = [Pass.of_decoder(rows=1, tokens=size, head=0)] if size else []
        return prefill + [_packed(batch, skip, size) for batch in _batches(prompts, -skip, budget, padded=False)]

    @property
    def _num_first(self) -> int:
        return self.num_virtual + self.num_before

    def _folded(self, batch: Sequence[Prompt]) -> Pass:
        return Pass.of_encoder_decoder(
            inputs=len(batch),
            input_tokens=self._num_first + max(prompt.context for prompt in batch),
            answers=len(batch) * max(len(prompt.choices) for prompt in batch),
            answer_tokens=max(max(prompt.choices) for prompt in batch) + self.sizes.num_fed_more,
            head=sum(sum(prompt.choices) for prompt in batch),
        )

    def _branched(self, batch: Sequence[Prompt]) -> Pass:
        longest = self._num_first + max(prompt.context + prompt.num_fed for prompt in batch)
        return Pass.of_decoder(rows=len(batch), tokens=longest, head=sum(prompt.num_predicting for prompt in batch))

    def _plain(self, batch: Sequence[Prompt]) -> Pass:
        longest = self._num_first + max(prompt.context + max(prompt.choices) - 1 for prompt in batch)
        rows, head = sum(len(prompt.choices) for prompt in batch), sum(sum(prompt.answers) for prompt in batch)
        return Pass.of_decoder(rows=rows, tokens=longest, head=head)


def _packed(batch: Sequence[Prompt], skip: int, num_cached: int) -> Pass:
    tokens = sum(prompt.context - skip + prompt.num_fed for prompt in batch)
    head = sum(prompt.num_predicting for prompt in batch)
    return Pass.of_decoder(rows=1, tokens=tokens, cached=num_cached, head=head)


def _batches(prompts: Sequence[Prompt], num_more: int, budget: int, *, padded: bool) -> list[list[Prompt]]:
    """Cut prompts, each of which has `num_more` tokens more, into batches, the longest first."""
    costs = [prompt.cost + num_more for prompt in prompts]
    order = sorted(range(len(prompts)), key=costs.__getitem__, reverse=True)
    batches = []
    while order:
        indices = first_batch(order, costs, budget, padded=padded)
        batches.append([prompts[index] for index in indices])
        order = order[len(indices) :]
    return batches
