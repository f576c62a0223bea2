"""What scoring ran: tokens and the shapes of the forward passes, for the costs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Length:
    """Tokens of one prompt as the model takes them.

    Args:
        context: Tokens that all choices share, shots and virtual tokens included.
        choices: Tokens of each choice that are fed; a decoder-only model's last one is only predicted.
        shots: How many tokens of the context are the shots'.
    """

    context: int
    choices: tuple[int, ...]
    shots: int = 0


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


@dataclass(frozen=True)
class Work:
    """Tokens that went through the model, as run.

    Args:
        shared_tokens: What all prompts begin with, virtual tokens included; run once.
        context_tokens: The rest of the prompts' contexts.
        choice_tokens: Tokens of the choices that were fed.
        padding_tokens: Tokens run for nothing.
        cached: Whether prompts shared keys and values.
        passes: The forward passes.
        num_halvings: How often memory did not suffice, so that batches were made half as large.
    """

    shared_tokens: int = 0
    context_tokens: int = 0
    choice_tokens: int = 0
    padding_tokens: int = 0
    cached: bool = False
    passes: tuple[Pass, ...] = ()
    num_halvings: int = 0


def plus(a: Work, b: Work) -> Work:
    """Add up two pieces of work."""
    return Work(
        a.shared_tokens + b.shared_tokens,
        a.context_tokens + b.context_tokens,
        a.choice_tokens + b.choice_tokens,
        a.padding_tokens + b.padding_tokens,
        a.cached or b.cached,
        a.passes + b.passes,
        a.num_halvings + b.num_halvings,
    )
