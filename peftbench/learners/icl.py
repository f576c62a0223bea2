"""In-context learning: the shots, rendered with their answers, stand before each query."""

import bisect
from collections.abc import Callable, Sequence

from peftbench.errors import ModelError
from peftbench.learners.inputs import shorten
from peftbench.models.backbone import Backbone
from peftbench.models.encoding import Encoded, Prompt, encode_all, join, num_virtual_tokens
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
        template: Name of the template that rendered the shots.
        shots: The shots' texts, target included.
        options: Whether shots are left out where they do not all fit.
        scoring: How choices are scored; `end` is resolved.
        num_cut_tokens: Tokens that were already cut from the shots' inputs.
    """

    def __init__(
        self,
        backbone: Backbone,
        template: str,
        shots: Sequence[str],
        options: IclOptions,
        scoring: Scoring,
        num_cut_tokens: int,
    ) -> None:
        self.num_shots = len(shots)
        self.num_cut_tokens = num_cut_tokens
        self._backbone, self._template, self._options, self._scoring = backbone, template, options, scoring
        self._shots = list(shots)

    @property
    def prompt_tokens(self) -> int:
        """Tokens that the shots and their separators take up in each prompt."""
        text = "".join(shot + self._scoring.separator for shot in self._shots[: self.num_shots])
        # Not the tokenizer itself: it warns of long texts.
        return len(self._backbone.tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids)

    def score(self, examples: Sequence[Example], progress: Callable[[int], None] | None = None) -> Scores:
        """Score each example's choices after the shots; with `fit_shots`, after those that fit (see `fit`).

        Raises:
            ModelError: A prompt is longer than the model's positions; the hint says how many shots fit. Also what
                `models.scoring.score` raises.
        """
        fit([self], [examples])
        queries, num_cut = shorten(self._backbone, examples, self._scoring.max_input_tokens)
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

    def check_choices(self, examples: Sequence[Example]) -> None:
        """See that the model can tell the answer choices apart.

        Raises:
            ModelError: A choice without tokens, or two choices with the same tokens.
        """
        self._encoded(list({example.choices: example for example in examples}.values()), 0)

    def num_fitting(self, examples: Sequence[Example]) -> int:
        """Count the shots, from the first one on, with which the longest prompt fits; -1: it does not without any."""
        limit = self._backbone.max_positions
        queries, _ = shorten(self._backbone, examples, self._scoring.max_input_tokens)
        if limit is None or not queries or self._surely_fit(queries, limit):
            return self.num_shots
        if self._num_positions(queries, self.num_shots) <= limit:
            return self.num_shots
        counts = range(self.num_shots)
        return bisect.bisect_right(counts, limit, key=lambda count: self._num_positions(queries, count)) - 1

    def take(self, num_shots: int, examples: Sequence[Example]) -> None:
        """Go on with the first `num_shots` shots, as many as fit with these examples.

        Raises:
            ModelError: That is fewer than there were, and `fit_shots` does not allow it, or not even 0.
        """
        if num_shots < 0 or (num_shots < self.num_shots and not self._options.fit_shots):
            queries, _ = shorten(self._backbone, examples, self._scoring.max_input_tokens)
            raise ModelError(
                f"{_plural(self.num_shots, 'shot')} and the longest query have "
                f"{self._num_positions(queries, self.num_shots):,} tokens in template '{self._template}', "
                f"and '{self._backbone.name}' takes {self._backbone.max_positions:,}",
                hint=_hint(num_shots),
            )
        self.num_shots = num_shots

    def _prompts(self, queries: Sequence[Example], num_shots: int) -> list[Prompt]:
        shots = self._shots[:num_shots]
        return [Prompt(self._scoring.separator.join((*shots, query.input)), query.choices) for query in queries]

    def _encoded(self, queries: Sequence[Example], num_shots: int) -> list[Encoded]:
        prompts, scoring = self._prompts(queries, num_shots), self._scoring
        return encode_all(self._backbone, prompts, end=str(scoring.end), separator=scoring.separator)

    def _surely_fit(self, queries: Sequence[Example], limit: int) -> bool:
        """Whether all fit even if each byte were a token; then nothing needs to be tokenized to know."""
        longest = max(len((query.input + choice).encode()) for query in queries for choice in query.choices)
        return self.prompt_tokens + longest + num_virtual_tokens(self._backbone) + SLACK <= limit

    def _num_positions(self, queries: Sequence[Example], num_shots: int) -> int:
        """Count the positions that the longest prompt takes, its longest choice included."""
        longest = max(tokens.num_positions for tokens in self._encoded(queries, num_shots))
        return longest + num_virtual_tokens(self._backbone)


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
    return IclPredictor(backbone, template.name, texts, options, scoring, num_cut)


def fit(predictors: Sequence[IclPredictor], queries: Sequence[Sequence[Example]]) -> None:
    """See that the prompts of all templates fit the model, and their choices differ, before any of them is scored.

    With `fit_shots`, each predictor leaves out shots, the last ones first, until the longest of its queries fits; they
    stay out.

    Args:
        predictors: One for each template.
        queries: For each predictor, what it will score.

    Raises:
        ModelError: The hint says how many shots fit under every template. Also what `check_choices` raises.
    """
    for predictor, examples in zip(predictors, queries, strict=True):
        predictor.check_choices(examples)
    fitting = [predictor.num_fitting(examples) for predictor, examples in zip(predictors, queries, strict=True)]
    for index in sorted(range(len(fitting)), key=fitting.__getitem__):
        predictors[index].take(fitting[index], queries[index])


def _hint(num_fit: int) -> str:
    if num_fit < 0:
        return "not even the query alone fits: --max-input-tokens cuts inputs, for example --max-input-tokens 256"
    would = f"{_plural(num_fit, 'shot')} would fit: --shots {num_fit}, or --fit-shots takes as many as fit"
    return f"{would}; --max-input-tokens cuts inputs"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
