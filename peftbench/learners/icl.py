"""In-context learning: the shots, rendered with their answers, stand before each query."""

import bisect
from collections.abc import Callable, Sequence
from dataclasses import replace

from peftbench.errors import ModelError
from peftbench.learners.calibration import CalibratedPredictor
from peftbench.learners.ensemble import EnsemblePredictor
from peftbench.learners.inputs import shorten
from peftbench.learners.predictor import Prompting
from peftbench.learners.shots_as_prefix import PrefixPredictor
from peftbench.models.backbone import Backbone
from peftbench.scoring.encoding import Encoded, Prompt, encode_all, join, num_positions, num_virtual_tokens
from peftbench.scoring.score import Scores, score
from peftbench.spec.cell import IclOptions, Scoring
from peftbench.tasks.shots import ranks, relabel
from peftbench.tasks.task import Example, Row
from peftbench.tasks.template import Template

# Tokens beside those of the shots and of the query's and the choice's bytes: opening, joining space, end.
SLACK = 16


class IclPredictor:
    """Scores queries after a prompt of shots.

    Args:
        backbone: The model, as it is.
        template: Name of the template that rendered the shots.
        shots: The shots' texts, target included, in the order of the draw: the first ones stay where not all fit.
        places: Each shot's place in the prompt, as compared with the others'.
        options: Whether shots are left out where they do not all fit.
        scoring: How choices are scored; `end` is resolved.
        num_cut_tokens: Tokens that were already cut from the shots' inputs.
    """

    def __init__(
        self,
        backbone: Backbone,
        template: str,
        shots: Sequence[str],
        places: Sequence[int],
        options: IclOptions,
        scoring: Scoring,
        num_cut_tokens: int,
    ) -> None:
        self.num_shots = len(shots)
        self.num_cut_tokens = num_cut_tokens
        self._backbone, self._template, self._options, self._scoring = backbone, template, options, scoring
        self._shots, self._places = list(shots), list(places)

    @property
    def prompt_tokens(self) -> int:
        """Tokens that the shots and their separators take up in each prompt."""
        # Not the tokenizer itself: it warns of long texts.
        return len(self._backbone.tokenizer.backend_tokenizer.encode(self.text(), add_special_tokens=False).ids)

    @property
    def prompt_bytes(self) -> int:
        """Bytes of the shots' text, UTF-8, separators included."""
        return len(self.text().encode())

    def text(self, num_shots: int | None = None) -> str:
        """Write what stands before a query: the shots in their order, each with a separator after it."""
        shown = sorted(range(self.num_shots if num_shots is None else num_shots), key=self._places.__getitem__)
        return "".join(self._shots[shot] + self._scoring.separator for shot in shown)

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
        shots = self.prompt_tokens
        return replace(scores, lengths=[replace(length, shots=shots) for length in scores.lengths])

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
        text = self.text(num_shots)
        return [Prompt(text + query.input, query.choices) for query in queries]

    def _encoded(self, queries: Sequence[Example], num_shots: int) -> list[Encoded]:
        prompts, scoring = self._prompts(queries, num_shots), self._scoring
        return encode_all(self._backbone, prompts, end=str(scoring.end), separator=scoring.separator)

    def _surely_fit(self, queries: Sequence[Example], limit: int) -> bool:
        """Whether all fit even if each byte were a token; then nothing needs to be tokenized to know."""
        longest = max(len((query.input + choice).encode()) for query in queries for choice in query.choices)
        return self.prompt_tokens + longest + num_virtual_tokens(self._backbone) + SLACK <= limit

    def _num_positions(self, queries: Sequence[Example], num_shots: int) -> int:
        """Count the positions that the longest prompt takes, its longest choice included."""
        return max(num_positions(self._backbone, tokens) for tokens in self._encoded(queries, num_shots))


def learn(
    backbone: Backbone, template: Template, shots: Sequence[Row], options: IclOptions, scoring: Scoring, seed: int = 0
) -> Prompting:
    """Write the shots as a prompt, or as one prompt for each of them.

    input_1 target_1 <separator> ... input_k target_k <separator> query

    Args:
        backbone: The model; an encoder-decoder reads the whole prompt in its encoder.
        template: Renders shots and queries alike.
        shots: As drawn; none is zero-shot.
        options: Order and labels of the shots, whether some are left out where they do not all fit, and how answers
            are joined and calibrated: the mean of an ensemble as a whole, each prompt by itself before it votes.
        scoring: Separator and cut; each shot's input is cut like a query's.
        seed: Of the draw; other orders and random labels follow from it.
    """
    examples = [relabel(template.render(row), options.labels, seed) for row in shots]
    short = [shorten(backbone, [example], scoring.max_input_tokens) for example in examples]
    texts = [join(example.input, example.target) for (example,), _ in short]
    cuts = [num_cut for _, num_cut in short]

    def calibrated(prompt: Prompting) -> Prompting:
        return CalibratedPredictor(prompt, template, options.content_free) if options.calibrate else prompt

    if options.ensemble == "none":
        places = ranks(shots, options.order, seed)
        prompt = IclPredictor(backbone, template.name, texts, places, options, scoring, sum(cuts))
        return PrefixPredictor(backbone, prompt, prompt.text, scoring) if options.as_prefix else calibrated(prompt)
    # A prompt that does not fit with its one shot is no zero-shot one: nothing is left out.
    whole = options.model_copy(update={"fit_shots": False})
    members: list[Prompting] = [
        IclPredictor(backbone, template.name, [text], [0], whole, scoring, num_cut)
        for text, num_cut in zip(texts, cuts, strict=True)
    ]
    if options.ensemble == "mean":
        return calibrated(EnsemblePredictor(members, "mean"))
    return EnsemblePredictor([calibrated(member) for member in members], "vote")


def fit(predictors: Sequence[Prompting], queries: Sequence[Sequence[Example]]) -> None:
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
    if not num_fit:
        return "not even one shot fits beside the query: --shots 0; --max-input-tokens cuts inputs"
    would = f"{_plural(num_fit, 'shot')} would fit: --shots {num_fit}, or --fit-shots takes as many as fit"
    return f"{would}; --max-input-tokens cuts inputs"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
