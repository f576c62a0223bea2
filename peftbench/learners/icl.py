"""In-context learning: the shots, rendered with their answers, stand before each query."""

import bisect
from collections.abc import Callable, Sequence

from peftbench.errors import ModelError
from peftbench.learners.inputs import shorten
from peftbench.models.backbone import Backbone
from peftbench.models.encoding import Prompt, encode_all, join, num_virtual_tokens
from peftbench.models.scoring import Scores, score
from peftbench.recipe import IclOptions, Scoring
from peftbench.tasks.task import Example, Row
from peftbench.tasks.template import Template

# Tokens beside those of the shots and of the query's and the choice's bytes: opening, joining space, end.
SLACK = 16


class IclPredictor:
    """Scores queries after a prompt of shots.

    Args:
        backbone: The model, as it is.
        shots: The shots' texts, target included.
        options: Whether shots are left out where they do not all fit.
        scoring: How choices are scored; `end` is resolved.
        num_cut_tokens: Tokens that were already cut from the shots' inputs.
    """

    def __init__(
        self, backbone: Backbone, shots: Sequence[str], options: IclOptions, scoring: Scoring, num_cut_tokens: int
    ) -> None:
        self.num_shots = len(shots)
        self.num_cut_tokens = num_cut_tokens
        self._backbone, self._options, self._scoring = backbone, options, scoring
        self._shots = list(shots)

    @property
    def prompt_tokens(self) -> int:
        """Tokens that the shots and their separators take up in each prompt."""
        text = "".join(shot + self._scoring.separator for shot in self._shots[: self.num_shots])
        # Not the tokenizer itself: it warns of long texts.
        return len(self._backbone.tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids)

    def score(self, examples: Sequence[Example], progress: Callable[[int], None] | None = None) -> Scores:
        """Score each example's choices after the shots.

        With `fit_shots`, shots are first left out until the longest of these examples fits; they stay out.

        Raises:
            ModelError: A prompt is longer than the model's positions; the hint says how many shots fit. Also what
                `models.scoring.score` raises.
        """
        queries, num_cut = shorten(self._backbone, examples, self._scoring.max_input_tokens)
        self._fit(queries)
        scores = score(
            self._backbone,
            self._prompts(queries, self.num_shots),
            end=str(self._scoring.end),
            separator=self._scoring.separator,
            cache=self._scoring.cache,
            progress=progress,
        )
        self.num_cut_tokens += num_cut
        return scores

    def _prompts(self, queries: Sequence[Example], num_shots: int) -> list[Prompt]:
        shots = self._shots[:num_shots]
        return [Prompt(self._scoring.separator.join((*shots, query.input)), query.choices) for query in queries]

    def _fit(self, queries: Sequence[Example]) -> None:
        limit = self._backbone.max_positions
        if limit is None or not queries or self._surely_fit(queries, limit):
            return
        found = self._num_positions(queries, self.num_shots)
        if found <= limit:
            return
        counts = range(self.num_shots)
        num_fit = bisect.bisect_right(counts, limit, key=lambda count: self._num_positions(queries, count)) - 1
        if num_fit < 0 or not self._options.fit_shots:
            raise ModelError(
                f"{_plural(self.num_shots, 'shot')} and the longest query have {found:,} tokens, "
                f"and '{self._backbone.name}' takes {limit:,}",
                hint=_hint(num_fit),
            )
        self.num_shots = num_fit

    def _surely_fit(self, queries: Sequence[Example], limit: int) -> bool:
        """Whether all fit even if each byte were a token; then nothing needs to be tokenized to know."""
        longest = max(len((query.input + choice).encode()) for query in queries for choice in query.choices)
        return self.prompt_tokens + longest + num_virtual_tokens(self._backbone) + SLACK <= limit

    def _num_positions(self, queries: Sequence[Example], num_shots: int) -> int:
        """Count the positions that the longest prompt takes, its longest choice included."""
        encoded = encode_all(
            self._backbone,
            self._prompts(queries, num_shots),
            end=str(self._scoring.end),
            separator=self._scoring.separator,
        )
        return max(tokens.num_positions for tokens in encoded) + num_virtual_tokens(self._backbone)


def learn(
    backbone: Backbone, template: Template, shots: Sequence[Row], options: IclOptions, scoring: Scoring
) -> IclPredictor:
    """Write the shots as a prompt.

    input_1 target_1 <separator> ... input_k target_k <separator> query

    Args:
        backbone: The model; an encoder-decoder reads the whole prompt in its encoder.
        template: Renders shots and queries alike.
        shots: In the order in which they stand in the prompt; none is zero-shot.
        options: Whether shots are left out where they do not all fit.
        scoring: Separator and cut; each shot's input is cut like a query's.
    """
    examples, num_cut = shorten(backbone, [template.render(row) for row in shots], scoring.max_input_tokens)
    texts = [join(example.input, example.target) for example in examples]
    return IclPredictor(backbone, texts, options, scoring, num_cut)


def _hint(num_fit: int) -> str:
    if num_fit < 0:
        return "not even the query alone fits: --max-input-tokens cuts inputs"
    fit = f"{_plural(num_fit, 'shot')} would fit: --shots {num_fit}, or --fit-shots takes as many as fit"
    return f"{fit}; --max-input-tokens cuts inputs"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
