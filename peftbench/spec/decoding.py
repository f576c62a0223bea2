"""How an answer is written, token by token."""

from pydantic import Field, field_validator

from peftbench.spec import limits
from peftbench.spec.settings import Settings


class DecodingOptions(Settings):
    """How an answer is written, as a task asks for it; names as transformers has them.

    Args:
        max_new_tokens: At most so many, with the token that ends the answer; None leaves it to that token.
        stop: Texts that end an answer, and are no part of it, beside the model's end token.
        num_beams: 1 takes the most probable token each time; else the best of so many beams.
        length_penalty: Beams are compared by log p / length^penalty.
        no_repeat_ngram_size: No n-gram of so many tokens is written twice; 0 for no such rule.

    Paper: 2106.09685, appendix D.3 (E2E by LoRA: 10 beams, length penalty 0.8, no repeated 4-grams).
    """

    max_new_tokens: int | None = Field(None, ge=1, le=limits.MAX_NEW_TOKENS)
    stop: tuple[str, ...] = Field((), max_length=limits.MAX_STOPS)
    num_beams: int = Field(1, ge=1, le=limits.MAX_BEAMS)
    length_penalty: float = Field(1.0, allow_inf_nan=False)
    no_repeat_ngram_size: int = Field(0, ge=0, le=limits.MAX_NEW_TOKENS)

    @field_validator("stop")
    @classmethod
    def _stops_are_texts(cls, stop: tuple[str, ...]) -> tuple[str, ...]:
        if not all(stop):
            raise ValueError("an empty text ends every answer before it begins")
        return stop


class Decoding(DecodingOptions):
    """How an answer is written: `DecodingOptions` with a limit."""

    max_new_tokens: int = Field(ge=1, le=limits.MAX_NEW_TOKENS)
