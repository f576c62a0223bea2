"""How an answer is written, token by token."""

from pydantic import Field

from peftbench.spec import limits
from peftbench.spec.settings import Settings


class Decoding(Settings):
    """How an answer is written; names as transformers has them.

    Args:
        max_new_tokens: At most so many; with the token that ends the answer.
        stop: Texts that end an answer, and are no part of it, beside the model's end token.
        num_beams: 1 takes the most probable token each time; else the best of so many beams.
        length_penalty: Beams are compared by log p / length^penalty.
        no_repeat_ngram_size: No n-gram of so many tokens is written twice; 0 for no such rule.

    Paper: 2106.09685, appendix D.3 (E2E by LoRA: 10 beams, length penalty 0.8, no repeated 4-grams).
    """

    max_new_tokens: int = Field(ge=1, le=limits.MAX_NEW_TOKENS)
    stop: tuple[str, ...] = ()
    num_beams: int = Field(1, ge=1, le=limits.MAX_BEAMS)
    length_penalty: float = Field(1.0, allow_inf_nan=False)
    no_repeat_ngram_size: int = Field(0, ge=0, le=limits.MAX_NEW_TOKENS)
