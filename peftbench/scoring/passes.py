"""The shapes of forward passes from token counts alone: of a training step, and of scoring before it runs."""

from collections.abc import Sequence
from dataclasses import dataclass

from peftbench.models.shapes import Sizes
from peftbench.scoring import cloze, packing, prefill, tree
from peftbench.scoring.batches import first_batch
from peftbench.scoring.encoding import Encoded
from peftbench.scoring.work import Blocks, Pass, rows_of


@dataclass(frozen=True)
class Prompt:
    """Token counts of a prompt with its choices.

    Args:
        context: Tokens that all choices share, virtual tokens left out.
        choices: Tokens of each choice behind the context, the last one included.
        answers: How many of them are answer tokens.
        num_fed: Tokens of the choices that are fed where they share what they begin with; none of them is its choice's
            last.
        num_predicting: Tokens that predict then: one for the first tokens of all choices, then those of the choices.
        rows: Tokens of each row that an encoder-only model runs; of these `context` is what stands around an answer,
            `num_fed` all beside one such context, and in each row one token predicts.
    """

    context: int
    choices: tuple[int, ...]
    answers: tuple[int, ...]
    num_fed: int
    num_predicting: int
    rows: tuple[int, ...] = ()

    @classmethod
    def of(cls, encoded: Encoded) -> "Prompt":
        """Count the tokens of an encoded prompt."""
        if encoded.cloze is not None:
            return cls._in_rows(encoded, [len(row.ids) for row in cloze.rows(encoded)])
        choices = tuple(map(len, encoded.choices))
        answers = tuple(count - start for count, start in zip(choices, encoded.starts, strict=True))
        trie = tree.branches(encoded)
        return cls(len(encoded.context), choices, answers, len(trie.ids), trie.num_predicting)

    @classmethod
    def _in_rows(cls, encoded: Encoded, rows: Sequence[int]) -> "Prompt":
        fed, around = encoded.num_fed(0), encoded.num_around
        return cls(around, fed, fed, sum(rows) - around, len(rows), tuple(rows))

    def only(self, choice: int) -> "Prompt":
        """Return the prompt with one of its choices."""
        length, answer = self.choices[choice], self.answers[choice]
        if self.rows:
            rows = [self.context + number for number in rows_of((length,))]
            return Prompt(self.context, (length,), (answer,), sum(rows) - self.context, len(rows), tuple(rows))
        return Prompt(self.context, (length,), (answer,), length - 1, answer)

    @property
    def cost(self) -> int:
        """What batches are filled by."""
        return self.context + self.num_fed

    @property
    def num_alike(self) -> int:
        """Tokens that would be fed more if choices did not share what they begin with, a decoder's start left out.

        An encoder-only model's would share rows of one token alone then.
        """
        if self.rows:
            return sum(self.context + number for number in rows_of(self.choices)) - sum(self.rows)
        return sum(self.choices) - len(self.choices) - self.num_fed


@dataclass(frozen=True)
class Shapes:
    """The shapes in which a model, with what is attached to it, runs prompts.

    Args:
        sizes: The model's.
        num_virtual: Tokens of a soft prompt.
        num_members: Soft prompts of an ensemble: an example is run with each.
        num_before: Tokens of shots that stand before each prompt that is scored.
        blocks: Where blocks of these shots do not see each other: these.
    """

    sizes: Sizes
    num_virtual: int = 0
    num_members: int = 1
    num_before: int = 0
    blocks: Blocks | None = None

    def training(self, batch: Sequence[Prompt]) -> Pass:
        """Return the shape of a training step's batch; an ensemble's has each example once for each member."""
        contexts, fed = [prompt.context for prompt in batch], [prompt.num_fed for prompt in batch]
        if self.sizes.is_encoder_only:
            return self._in_rows(batch)
        rows = packing.rows(self.sizes, contexts, fed, self.num_virtual, self.num_members)
        return self._shape(batch, rows)

    def alone(self, prompt: Prompt) -> Pass:
        """Return the shape of one example whose choices share nothing but its context."""
        if self.sizes.is_encoder_decoder:
            return self._folded([prompt])
        if self.sizes.is_encoder_only:
            return self._in_rows([prompt], is_shared=False)
        fed = sum(prompt.choices) - len(prompt.choices)
        return Pass.of_decoder(rows=1, tokens=self.num_virtual + prompt.context + fed, head=fed + 1)

    def scoring(self, prompts: Sequence[Prompt], num_common: int, budget: int, *, cache: bool) -> list[Pass]:
        """List the passes that score prompts, if memory suffices.

        Args:
            prompts: In any order.
            num_common: Tokens with which all contexts begin alike.
            budget: Tokens per forward pass (`scoring.batches.token_budget`).
            cache: Whether choices share what they begin with, and a decoder-only model's prompts too.
        """
        prompts = [prompt for prompt in prompts for _ in range(self.num_members)]
        if self.sizes.is_encoder_only:
            batches = _batches(prompts, self._num_first, budget, padded=True)
            return [self._in_rows(batch, is_shared=cache) for batch in batches]
        if self.sizes.is_encoder_decoder or self.num_members > 1 or not cache:
            batches = _batches(prompts, self.num_before, budget, padded=True)
            if self.sizes.is_encoder_decoder:
                run = self._branched if cache else self._folded
            else:
                run = self._branched if self.num_members > 1 else self._plain
            return [run(batch) for batch in batches]
        skip = min(num_common, min(prompt.context for prompt in prompts) - 1)
        size = self.num_virtual + self.num_before + skip
        first = prefill.passes(self.num_virtual, size, budget, self.blocks)
        return first + [_packed(batch, skip, size) for batch in _batches(prompts, -skip, budget, padded=False)]

    @property
    def num_start(self) -> int:
        """Tokens from which a decoder of an encoder-decoder starts."""
        return self.sizes.num_start_tokens if self.sizes.is_encoder_decoder else 0

    @property
    def _num_first(self) -> int:
        return self.num_virtual + self.num_before

    def _in_rows(self, batch: Sequence[Prompt], *, is_shared: bool = True) -> Pass:
        """Return the shape of rows that are padded to the longest, in each of which one token predicts."""
        rows = [number for prompt in batch for number in (prompt.rows if is_shared else _unshared(prompt))]
        return Pass.of_decoder(rows=len(rows), tokens=self._num_first + max(rows), head=len(rows))

    def _folded(self, batch: Sequence[Prompt]) -> Pass:
        return Pass.of_encoder_decoder(
            inputs=len(batch),
            input_tokens=self._num_first + max(prompt.context for prompt in batch),
            answers=len(batch) * max(len(prompt.choices) for prompt in batch),
            answer_tokens=max(max(prompt.choices) for prompt in batch) + self.sizes.num_fed_more,
            head=sum(sum(prompt.choices) for prompt in batch),
        )

    def _branched(self, batch: Sequence[Prompt]) -> Pass:
        return self._shape(batch, [[index] for index in range(len(batch))])

    def _shape(self, batch: Sequence[Prompt], rows: Sequence[Sequence[int]]) -> Pass:
        contexts, fed = [prompt.context for prompt in batch], [prompt.num_fed for prompt in batch]
        head = sum(prompt.num_predicting for prompt in batch)
        return packing.shape(self.sizes, rows, contexts, fed, self._num_first, head)

    def _plain(self, batch: Sequence[Prompt]) -> Pass:
        longest = self._num_first + max(prompt.context + max(prompt.choices) - 1 for prompt in batch)
        rows, head = sum(len(prompt.choices) for prompt in batch), sum(sum(prompt.answers) for prompt in batch)
        return Pass.of_decoder(rows=rows, tokens=longest, head=head)


def _unshared(prompt: Prompt) -> list[int]:
    return [prompt.context + number for number in rows_of(prompt.choices)]


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
