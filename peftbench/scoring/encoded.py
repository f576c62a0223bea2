"""An example as token ids, and how texts become such."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peftbench.models import foreign
from peftbench.models.backbone import Backbone
from peftbench.scoring.work import Blocks


@dataclass(frozen=True)
class Cloze:
    """What stands around an answer's place beside the context, and how the answer is taken apart there.

    Args:
        after: What stands behind the place.
        words: Of each choice, the word that each of its tokens belongs to.
        mask: Id of the token that stands for one that is not shown.
        is_class: Whether the text has no such place, and is one of several classes: `context` is all of it, and each
            choice is the number of a class.
    """

    after: tuple[int, ...]
    words: tuple[tuple[int, ...], ...]
    mask: int
    is_class: bool = False


@dataclass(frozen=True)
class SoftLabel:
    """What teachers say of an example's choices.

    Args:
        probabilities: Of each choice, at this temperature.
        temperature: What logits are divided by.
    """

    probabilities: tuple[float, ...]
    temperature: float


@dataclass(frozen=True)
class Encoded:
    """An example as token ids.

    Args:
        context: What all choices share: the longest common token prefix, never into an answer token; for an
            encoder-decoder the encoder's ids.
        choices: The rest of each choice; for an encoder-decoder the decoder's targets.
        starts: How many of choices[c] are not yet answer tokens.
        label: Index of the right choice.
        num_cut_tokens: Tokens that `max_input_tokens` cut from the input.
        blocks: Where the context begins with blocks of shots that do not see each other: these (`scoring.blocks`).
        cloze: Where an encoder-only model predicts the answer in its place (`scoring.cloze`): what else stands there.
            `context` is what stands before the answer's place then, and `choices` what stands in it.
        soft_label: What it is trained towards in place of the right choice; None where that is known.
    """

    context: tuple[int, ...]
    choices: tuple[tuple[int, ...], ...]
    starts: tuple[int, ...]
    label: int = 0
    num_cut_tokens: int = 0
    blocks: Blocks | None = None
    cloze: Cloze | None = None
    soft_label: SoftLabel | None = None

    @property
    def num_around(self) -> int:
        """Tokens that stand around an answer."""
        return len(self.context) + (len(self.cloze.after) if self.cloze else 0)

    def num_fed(self, more: int) -> tuple[int, ...]:
        """Count the tokens that are fed of each choice: `more` than it has (`Sizes.num_fed_more`), none of a class."""
        is_class = self.cloze is not None and self.cloze.is_class
        return tuple(0 if is_class else len(ids) + more for ids in self.choices)


def tokenized(backbone: Backbone, texts: Sequence[str], *, special: bool = False) -> list[Any]:
    """Tokenize texts, with the tokens that the tokenizer opens and ends a text by where `special` is set.

    Raises:
        ModelError: The tokenizer gives up: a stranger's regular expression may take more steps than it is granted.
    """
    # Not the tokenizer itself: it warns of long texts.
    core = backbone.tokenizer.backend_tokenizer
    hint = "another tokenizer, or other text"
    with foreign.reading(Path(backbone.name), fault="has a tokenizer that fails", hint=hint):
        encodings: list[Any] = core.encode_batch(list(texts), add_special_tokens=special)
    return encodings


def num_common(sequences: Sequence[Any]) -> int:
    """Count the elements with which all sequences (lists of ids, or texts) begin alike."""
    first, last = min(sequences), max(sequences)
    pairs = enumerate(zip(first, last, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(first), len(last)))
