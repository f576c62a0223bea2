"""In-context learning: the shots, rendered with their answers, stand before each query."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from peftbench import registry
from peftbench.errors import TaskError
from peftbench.learners.calibration import CalibratedPredictor, PriorPredictor
from peftbench.learners.chosen import ChosenPredictor
from peftbench.learners.ensemble import EnsemblePredictor
from peftbench.learners.fitting import SLACK, Fitting
from peftbench.learners.predictor import Prompting, Round, no_text
from peftbench.learners.scored import score_once
from peftbench.learners.shots_as_prefix import PrefixPredictor, check_prefix
from peftbench.models.backbone import Backbone
from peftbench.scoring import blocks
from peftbench.scoring.encoding import (
    Encoded,
    cut_input,
    encode,
    layout_of,
    num_shot_tokens,
    num_tokens,
    num_virtual_tokens,
)
from peftbench.scoring.generate import Output, check_writing, generate
from peftbench.scoring.layout import Shot
from peftbench.scoring.score import Scores
from peftbench.scoring.work import Blocks
from peftbench.spec.cell import IclOptions, Scoring
from peftbench.spec.decoding import Decoding
from peftbench.tasks.shots import ranks, relabel
from peftbench.tasks.task import Example, Row
from peftbench.tasks.template import Template

DEFAULT = IclOptions()


@dataclass(frozen=True)
class Icl:
    """In-context learning of a cell: what stands before its queries.

    Args:
        templates: Each has prompts of its own.
        shots: As drawn, or the rows that they are chosen from; none is zero-shot.
        options: Order and labels of the shots, whether some are left out where they do not all fit, and how answers
            are joined and calibrated: the mean of an ensemble as a whole, each prompt by itself before it votes.
        seed: Of the draw; other orders and random labels follow from it.
        num_chosen: How many shots are chosen for each query; None where all of them stand before all queries.
        calibration_rows: Rows that calibration reads in place of queries without content; none of it, or of none.
    """

    templates: tuple[Template, ...]
    shots: tuple[Row, ...] = ()
    options: IclOptions = DEFAULT
    seed: int = 0
    num_chosen: int | None = None
    calibration_rows: tuple[Row, ...] = ()

    def check(
        self,
        backbone: Backbone,
        scoring: Scoring,
        queries: Sequence[Sequence[Example]],
        decoding: Decoding | None = None,
    ) -> None:
        """Find what would keep prompts from fitting, or from being saved as a prefix; no model is run.

        Where a model chooses shots, whether they fit shows when it has.

        Raises:
            MethodError: Shots cannot be a prefix on this model, or stand in blocks.
            ModelError: As `fit`.
        """
        if self.options.attention == "block":
            blocks.check(backbone)
        if self.options.as_prefix:
            check_prefix(backbone)
        text = replace(self, options=self.options.model_copy(update={"as_prefix": False}))
        if self.options.is_chosen and registry.selector(self.options.select).embedder:
            for template, examples in zip(self.templates, queries, strict=True):
                learn(backbone, template, text, scoring).check_choices(examples)
        else:
            prompts = text.prompts(backbone, scoring, queries)
            if decoding is not None:
                for predictor, examples in zip(prompts, queries, strict=True):
                    shots = predictor.shown() if isinstance(predictor, IclPredictor) else ()
                    check_writing(backbone, examples, scoring, decoding, shots)

    def prompts(self, backbone: Backbone, scoring: Scoring, queries: Sequence[Sequence[Example]]) -> list[Prompting]:
        """Write a prompt of shots for each template, and see that it fits with the template's queries.

        Raises:
            ModelError: As `fit`.
        """
        prompts = [learn(backbone, template, self, scoring) for template in self.templates]
        fit(prompts, queries)
        return prompts


class IclPredictor(Fitting):
    """Scores queries after a prompt of shots.

    Args:
        backbone: The model, as it is.
        template: Name of the template that rendered the shots.
        shots: The shots in the order of the draw: the first ones stay where not all fit.
        places: Each shot's place in the prompt, as compared with the others'.
        options: Whether shots are left out where they do not all fit.
        scoring: How choices are scored.
        num_cut_tokens: Tokens that were cut from the shots' inputs.
        description: Text before the shots.
    """

    def __init__(
        self,
        backbone: Backbone,
        template: str,
        shots: Sequence[Shot],
        places: Sequence[int],
        options: IclOptions,
        scoring: Scoring,
        num_cut_tokens: int,
        description: str = "",
    ) -> None:
        super().__init__(backbone, template, options, len(shots), description)
        self.num_cut_tokens = num_cut_tokens
        self._scoring, self._shots, self._places = scoring, list(shots), list(places)

    @property
    def shot_tokens(self) -> int:
        """Tokens that the shots and what separates them take up in each prompt."""
        return num_shot_tokens(self._backbone, self._scoring, self.shown())

    @property
    def shot_bytes(self) -> int:
        """Bytes of the shots' text, UTF-8, with what separates them."""
        (with_shots,), without = self.before, layout_of(self._backbone, self._scoring).before
        return len(with_shots.encode()) - len(without.encode())

    @property
    def before(self) -> tuple[str, ...]:
        """What stands before a query: one text."""
        return (layout_of(self._backbone, self._scoring, self.shown()).before,)

    def shown(self, num_shots: int | None = None) -> list[Shot]:
        """Return the shots that stand before a query, in their order; the first one after the description."""
        chosen = sorted(range(self.num_shots if num_shots is None else num_shots), key=self._places.__getitem__)
        shots = [self._shots[shot] for shot in chosen]
        return [shots[0].after(self._description), *shots[1:]] if shots else []

    def score(self, examples: Sequence[Example], progress: Callable[[int], None] | None = None) -> Scores:
        """Score each example's choices after the shots; `fit` leaves out those that do not fit.

        Raises:
            ModelError: A prompt is longer than the model's positions. Also what `scoring.score.score` raises.
        """
        return score_once(self._backbone, examples, self._scoring, self.shown(), progress, self._block_shots)

    def generate(
        self, examples: Sequence[Example], decoding: Decoding, progress: Callable[[int], None] | None = None
    ) -> list[Output]:
        """Write an answer to each example after the shots, as `scoring.generate.generate`.

        Raises:
            MethodError: The shots stand in blocks.
        """
        if self._block_shots is not None:
            raise no_text("attention = block is of prompts whose choices are scored")
        return generate(self._backbone, examples, self._scoring, decoding, self.shown(), progress)

    def take(self, num_shots: int, examples: Sequence[Example]) -> None:
        """Go on with the first shots; where they stand in blocks, see that these end alike before all examples.

        Raises:
            ModelError: They do not, or too few fit.
        """
        super().take(num_shots, examples)
        self._blocks(examples)

    def rounds(self, examples: Sequence[Example]) -> list[Round]:
        """List what is scored of these examples: all of them after the shots."""
        return [Round(self.shot_tokens, examples, blocks=self._blocks(examples[:1]))]

    @property
    def _block_shots(self) -> int | None:
        """Shots of a block; None where each shot sees all those before it."""
        is_full = self._options.attention == "full" or not self.num_shots
        return None if is_full else self._options.block_shots

    def _blocks(self, examples: Sequence[Example]) -> Blocks | None:
        """Find the blocks of shots that stand before examples; None where there are none."""
        if self._block_shots is None:
            return None
        encoded = self._encoded(examples, self.num_shots)
        shots, number = self.shown(), self._block_shots
        return blocks.marked(self._backbone, examples, encoded, self._scoring, shots, number)[0].blocks

    def _encoded(self, examples: Sequence[Example], num_shots: int) -> list[Encoded]:
        return encode(self._backbone, examples, self._scoring, self.shown(num_shots))

    def _surely_fit(self, examples: Sequence[Example], limit: int) -> bool:
        """Whether all fit even if each byte were a token; then nothing needs to be tokenized to know."""
        queries = [cut_input(self._backbone, example, self._scoring.max_input_tokens)[0] for example in examples]
        longest = max(len((query.input + choice).encode()) for query in queries for choice in query.choices)
        layout = layout_of(self._backbone, self._scoring, self.shown())
        around = sum(num_tokens(self._backbone, text) for text in (layout.before, layout.between, layout.after))
        return around + longest + num_virtual_tokens(self._backbone) + SLACK <= limit


def learn(backbone: Backbone, template: Template, icl: Icl, scoring: Scoring) -> Prompting:
    """Write the shots as a prompt, or as one prompt for each of them.

    input_1 target_1 <separator> ... input_k target_k <separator> query

    A template's description stands before the shots, and no longer in the queries; shots that the template makes
    nothing of are left out.

    Args:
        backbone: The model; an encoder-decoder reads the whole prompt in its encoder.
        template: Renders shots and queries alike.
        icl: The shots, and how they stand in the prompt.
        scoring: Separator and cut; each shot's input is cut like a query's.

    Raises:
        TaskError: The template makes nothing of any of the shots.
    """
    options, shots = icl.options, [row for row in icl.shots if template.reads(row)]
    if icl.shots and not shots:
        message = f"template '{template.name}' makes nothing of any of the {len(icl.shots)} shots"
        raise TaskError(message, hint="more of them with --shots, another seed, or another template with --templates")
    description = template.description if icl.shots else ""
    template = template.without_description() if icl.shots else template

    def calibrated(prompt: Prompting) -> Prompting:
        if options.calibrates_by_rows:
            return PriorPredictor(prompt, [template.render(row) for row in icl.calibration_rows if template.reads(row)])
        return CalibratedPredictor(prompt, template, options.content_free) if options.calibrate else prompt

    if icl.num_chosen is not None:
        selector = registry.selector(options.select)
        of_query = ChosenPredictor(
            backbone, template, shots, selector, options, scoring, icl.num_chosen, icl.seed, description
        )
        return calibrated(of_query)
    examples = [relabel(template.render(row), options.labels, icl.seed) for row in shots]
    cuts = [cut_input(backbone, example, scoring.max_input_tokens) for example in examples]
    written = [Shot(example.input, example.target, example.joint) for example, _ in cuts]
    if options.ensemble == "none":
        places = ranks(shots, options.order, icl.seed)
        num_cut = sum(num_cut for _, num_cut in cuts)
        prompt = IclPredictor(backbone, template.name, written, places, options, scoring, num_cut, description)
        return PrefixPredictor(backbone, prompt, prompt.shown, scoring) if options.as_prefix else calibrated(prompt)
    # A prompt that does not fit with its one shot is no zero-shot one: nothing is left out.
    whole = options.model_copy(update={"fit_shots": False})
    members: list[Prompting] = [
        IclPredictor(backbone, template.name, [shot], [0], whole, scoring, num_cut, description)
        for shot, (_, num_cut) in zip(written, cuts, strict=True)
    ]
    if options.ensemble == "mean":
        return calibrated(EnsemblePredictor(members, "mean"))
    return EnsemblePredictor([calibrated(member) for member in members], "vote")


def fit(predictors: Sequence[Prompting], queries: Sequence[Sequence[Example]]) -> None:
    """Check that the prompts of all templates fit the model, and their choices differ, before any of them is scored.

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
