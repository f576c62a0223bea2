"""What scoring and training ran: tokens and the shapes of the forward passes, for the costs."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields

from peftbench.models.shapes import EncoderSizes


@dataclass(frozen=True)
class Blocks:
    """Blocks of shots, with which a context begins; the tokens of a block see no other block.

    Args:
        num_before: Tokens before the first shot, which are part of the first block.
        shots: Tokens of each block's shots.
    """

    num_before: int
    shots: tuple[int, ...]

    @property
    def spans(self) -> Iterator[tuple[int, int]]:
        """The index of each block's first token, and the one behind its last."""
        start, end = 0, self.num_before
        for size in self.shots:
            end += size
            yield start, end
            start = end

    @property
    def num_tokens(self) -> int:
        """Tokens of all blocks."""
        return self.num_before + sum(self.shots)


def rows_of(choices: Sequence[int]) -> tuple[int, ...]:
    """List, for each row that an encoder-only model runs, the tokens in the answer's place.

    Choices of one token share a row, and so do classes, which have none; one of k tokens takes k rows.

    Args:
        choices: Tokens of each choice.
    """
    short = [number for number in choices if number <= 1]
    return (*short[:1], *(number for number in choices if number > 1 for _ in range(number)))


@dataclass(frozen=True)
class Length:
    """Tokens of one prompt as the model takes them.

    Args:
        context: Tokens that all choices share, shots and virtual tokens included.
        choices: Tokens of each choice that are fed; a decoder-only model's last one is only predicted.
        shots: How many tokens of the context are the shots'.
        blocks: Where the context begins with blocks of shots that do not see each other: these.
        in_rows: Whether an encoder-only model runs it: the context once for each row (`rows_of`).
    """

    context: int
    choices: tuple[int, ...]
    shots: int = 0
    blocks: Blocks | None = None
    in_rows: bool = False

    @property
    def total(self) -> int:
        """Tokens that are run where the choices share the context, or of an encoder-only model their rows."""
        if self.in_rows:
            return sum(self.context + number for number in rows_of(self.choices))
        return self.context + sum(self.choices)


@dataclass(frozen=True)
class Pass:
    """The shape of one forward pass, padding included.

    Args:
        encoder_rows: 0 for decoder-only models.
        encoder_tokens: Tokens of a row.
        decoder_rows: Rows of the decoder, or of a decoder-only model.
        decoder_tokens: Tokens of a row that are run.
        cached_tokens: Tokens before them whose keys and values are read.
        head_tokens: Tokens that pass the LM head.
    """

    encoder_rows: int
    encoder_tokens: int
    decoder_rows: int
    decoder_tokens: int
    cached_tokens: int
    head_tokens: int

    @classmethod
    def of_decoder(cls, *, rows: int, tokens: int, head: int, cached: int = 0) -> "Pass":
        """Return the shape of a pass through a decoder-only model."""
        return cls(0, 0, rows, tokens, cached, head)

    @classmethod
    def of_encoder_decoder(
        cls, *, inputs: int, input_tokens: int, answers: int, answer_tokens: int, head: int
    ) -> "Pass":
        """Return the shape of a pass that encodes inputs and decodes answers, each a row."""
        return cls(inputs, input_tokens, answers, answer_tokens, 0, head)

    @property
    def num_tokens(self) -> int:
        """Tokens that are run, padding included."""
        return self.encoder_rows * self.encoder_tokens + self.decoder_rows * self.decoder_tokens


@dataclass(frozen=True)
class Usage:
    """What requests to a server took, as it says.

    Args:
        requests: How many.
        sent: Tokens of their prompts.
        cached: Those of them that the server took from its cache; None where it does not say.
        generated: Tokens that it generated.
        resumed: Prompts that were answered before the run was stopped; what they took is in the numbers above.
    """

    requests: int = 0
    sent: int = 0
    cached: int | None = 0
    generated: int = 0
    resumed: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            requests=self.requests + other.requests,
            sent=self.sent + other.sent,
            cached=None if self.cached is None or other.cached is None else self.cached + other.cached,
            generated=self.generated + other.generated,
            resumed=self.resumed + other.resumed,
        )


@dataclass(frozen=True)
class Work:
    """Tokens that scoring put through the model, as run.

    Args:
        shared_tokens: What all prompts begin with, virtual tokens included; run once.
        context_tokens: The rest of the prompts' contexts.
        choice_tokens: Tokens of the choices that were fed, those with which several begin once.
        padding_tokens: Tokens run for nothing.
        cut_tokens: Tokens that `max_input_tokens` cut from inputs, and that were not run.
        passes: The forward passes.
        num_halvings: How often memory did not suffice, so that batches were made half as large.
        saved_tokens: Tokens of contexts that were not run because prompts in a row begin alike, beside `shared_tokens`.
        usage: What was asked of a server, which does not say how many tokens it ran.
    """

    shared_tokens: int = 0
    context_tokens: int = 0
    choice_tokens: int = 0
    padding_tokens: int = 0
    cut_tokens: int = 0
    passes: tuple[Pass, ...] = ()
    num_halvings: int = 0
    saved_tokens: int = 0
    usage: Usage = Usage()

    def __add__(self, other: "Work") -> "Work":
        return Work(*(getattr(self, item.name) + getattr(other, item.name) for item in fields(Work)))


@dataclass
class TrainingWork:
    """Examples and batches that training put through the model, forward and backward.

    Args:
        lengths: Length of an example -> how often one of it was trained on.
        prepared: Length of an example -> how often one of it was run by itself before the first step, with the
            gradients of a step.
        passes: Shape of a step's batch, or of a part of it, padding included -> how many there were.
        frozen: Shape of a pass through the frozen layers alone (`scoring.frozen`) -> how many there were.
        num_frozen: Frozen layers of the encoder, and of the decoder: the lowest ones, which steps do not run.
        num_shared_tokens: Virtual tokens that examples of a row had in common, and tokens that choices of an example
            had: `lengths` has them once for each.
        num_steps: Optimiser steps.
        is_checkpointed: Whether the layers that are run backward were run forward a second time.
    """

    lengths: Counter[Length] = field(default_factory=Counter)
    prepared: Counter[Length] = field(default_factory=Counter)
    passes: Counter[Pass] = field(default_factory=Counter)
    frozen: Counter[Pass] = field(default_factory=Counter)
    num_frozen: tuple[int, int] = (0, 0)
    num_shared_tokens: int = 0
    num_steps: int = 0
    is_checkpointed: bool = False

    def add_pass(self, lengths: Iterable[Length], shape: Pass, num_shared_tokens: int = 0) -> None:
        """Count the batch of one step, or a part of it."""
        self.lengths.update(lengths)
        self.passes[shape] += 1
        self.num_shared_tokens += num_shared_tokens

    def __iadd__(self, other: "TrainingWork") -> "TrainingWork":
        self.lengths += other.lengths
        self.prepared += other.prepared
        self.passes += other.passes
        self.frozen += other.frozen
        self.num_frozen = max(self.num_frozen, other.num_frozen)  # one method's: none, before it has begun
        self.num_shared_tokens += other.num_shared_tokens
        self.num_steps += other.num_steps
        self.is_checkpointed |= other.is_checkpointed
        return self

    @property
    def num_tokens(self) -> int:
        """Tokens that were trained on, padding left out."""
        return sum(times * length.total for length, times in self.lengths.items())

    @property
    def num_padding_tokens(self) -> int:
        """Tokens run for nothing."""
        num_run = sum(times * shape.num_tokens for shape, times in self.passes.items())
        return num_run - (self.num_tokens - self.num_shared_tokens)


@dataclass
class ForwardWork:
    """Examples that learning put through the model forward alone, with nothing attached.

    Args:
        lengths: Length of an example -> how often one of it was scored.
        passes: The forward passes.
    """

    lengths: Counter[Length] = field(default_factory=Counter)
    passes: Counter[Pass] = field(default_factory=Counter)

    def add(self, lengths: Iterable[Length], passes: Iterable[Pass]) -> None:
        """Count examples, and the passes that scored them."""
        self.lengths.update(lengths)
        self.passes.update(passes)


@dataclass
class SweepWork:
    """What a sweep put through the model beside the training that followed.

    Args:
        training: All of its trainings; of those that broke, what they ran until then.
        held_out: Length of a held-out example -> how often one of it was scored.
        passes: The forward passes that scored them. Scoring that broke is in neither of the two.
    """

    training: TrainingWork = field(default_factory=TrainingWork)
    held_out: Counter[Length] = field(default_factory=Counter)
    passes: list[Pass] = field(default_factory=list)


@dataclass(frozen=True)
class SelectionWork:
    """What it took to choose shots for queries under one template.

    Args:
        index_bytes: Bytes of the index.
        index_seconds: Wall time of making it.
        seconds: Wall time of choosing for all queries.
        index_tokens: Tokens of each text that a model read to make it; nothing where no model did.
        query_tokens: Tokens of each query that it read to compare it; likewise.
        num_multiplied: Numbers of the index that each query is multiplied with.
        reader: Sizes of the model that read texts; None where the backbone did, or none.
    """

    index_bytes: int
    index_seconds: float
    seconds: float
    index_tokens: tuple[int, ...] = ()
    query_tokens: tuple[int, ...] = ()
    num_multiplied: int = 0
    reader: EncoderSizes | None = None
