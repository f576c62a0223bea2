"""What `--format json` gives, field by field: of `peftbench report`, `compare`, `advise` and `decide`.

`money` is there where prices were given, and nowhere else.

Scores, with chance and intervals, are fractions of 1; FLOPs, bytes, seconds and parameters are plain numbers; null is
what is absent. docs/report.schema.json, and those of the other three are made from here.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field, TypeAdapter, create_model

# pydantic asks for this one below Python 3.12.
from typing_extensions import TypedDict

from peftbench.report.rows.field import Field as RowField
from peftbench.report.rows.field import TaskField
from peftbench.report.rows.fields import FIELDS, ON_TASK

SCHEMA_VERSION = 2
"""Changes when a field goes away or changes its meaning; new fields may come without. Each command has its own."""


def _is(description: str) -> Any:
    return Field(description=description)


class Strict(TypedDict):
    """An object without other fields."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]


class MetricFields(Strict):
    """What scores are."""

    name: Annotated[str, _is("as tasks name it")]
    title: str
    unit: Annotated[str, _is("of a hundred times a score, as tables show it")]
    higher_is_better: bool


class TaskFields(Strict):
    """A task as it was evaluated: the same rows, templates and number of examples."""

    name: str
    chance: Annotated[float, _is("score of guessing; of written answers that of empty ones")]
    num_examples: int
    sha256: Annotated[str, _is("of its rows and templates; empty where published")]
    is_mixture: Annotated[bool, _is("whether it is several tasks mixed, to tune on and start from")]


class CostFields(Strict):
    """A cost, mean over the row's tasks of the mean over seeds."""

    name: str
    value: Annotated[float | int | None, _is("null where it could not be had; `reason` says why")]
    unit: Annotated[str, _is("FLOPs, bytes or seconds")]
    kind: Literal["estimated", "counted", "traced", "measured"]
    convention: Annotated[str, _is("how it was counted")]
    reason: str | None


def _described(kind: Any, description: str) -> Any:
    return Annotated[kind, _is(description)] if description else kind


def _object(name: str, description: str, fields: Sequence[RowField | TaskField], further: Mapping[str, Any]) -> Any:
    """Describe an object without other fields, whose fields stand in a list elsewhere."""
    # What stands beside another metric is not in each row; a factory keeps a default out of the schema.
    definitions: dict[str, Any] = {
        field.name: (_described(field.type, field.about), Field(default_factory=float) if field.is_beside else ...)
        for field in fields
        if field.type
    }
    definitions |= {field: (kind, ...) for field, kind in further.items()}
    return create_model(name, __config__=ConfigDict(extra="forbid"), __doc__=description, **definitions)


SpreadFields = _object(
    "SpreadFields",
    "A row on one task.",
    ON_TASK,
    {},
)
RowFields = _object(
    "RowFields",
    "One way of learning on one model with one number of shots; scores are means over the table's tasks.",
    FIELDS,
    {"tasks": list[SpreadFields], "costs": list[CostFields]},  # type: ignore[valid-type]
)


class PricedFields(Strict):
    """An amount of money."""

    name: Annotated[str, _is("what is paid: input, cached_input, cache_writes, ..., or the total")]
    value: Annotated[float | None, _is("null where it could not be had; `reason` says why")]
    currency: str
    convention: Annotated[str, _is("its formula with its numbers; of a total, where the prices stand")]
    reason: str | None
    kind: Literal["priced"]


class QuoteFields(Strict):
    """What an offer for a strategy comes to."""

    strategy: str
    offer: Annotated[str, _is("whom the money goes to, and whether shots are cached")]
    is_cached: bool
    is_hosted: Annotated[bool, _is("whether answers are paid by the hour and not by the token")]
    items: list[PricedFields]
    total: PricedFields


class UnpricedFields(Strict):
    """A strategy without an offer."""

    strategy: str


class OfferFields(Strict):
    """An offer for a strategy."""

    strategy: str
    offer: str


class PointFields(Strict):
    """From how many queries on a tuned offer costs no more than a prompted one; null where it never does."""

    tuned: OfferFields
    prompted: OfferFields
    queries: Annotated[int | None, _is("over the days")]
    queries_per_day: int | None


class MoneyFields(Strict):
    """What strategies cost by the prices that were given."""

    prices: Annotated[str, _is("the file, or genai:MODEL")]
    currency: str
    num_queries: int
    queries_per_day: float
    days: int
    cache_hit_rate: float | None
    quotes: Annotated[list[QuoteFields], _is("the cheapest first")]
    break_evens: list[PointFields]
    unpriced: Annotated[list[UnpricedFields], _is("that no offer is for")]
    findings: Annotated[list[str], _is("which line decides, and what is uncertain")]
    conventions: list[str]


class TableFields(Strict):
    """Rows that all cover the same tasks."""

    title: str
    metric: Annotated[MetricFields, _is("of all its scores")]
    tasks: list[TaskFields]
    rows: list[RowFields]  # type: ignore[valid-type]
    money: NotRequired[MoneyFields]


class ReportFields(Strict):
    """A whole report."""

    schema_version: Literal[2]
    tables: list[TableFields]
    findings: Annotated[list[str], _is("what follows from the rows, and what must not be read into them")]
    conventions: Annotated[list[str], _is("how the numbers were had")]


class SideFields(Strict):
    """One side of a comparison."""

    name: Annotated[str, _is("a record's id, or METHOD@MODEL:SHOTS with what tells it from other rows")]
    title: str
    records: Annotated[list[str], _is("ids")]


class LineFields(Strict):
    """The comparison on one task, or on the mean over tasks."""

    task: Annotated[str | None, _is("null for the mean")]
    sha256: Annotated[str | None, _is("of the task's rows and templates; null for the mean")]
    num_examples: Annotated[int, _is("that both sides answered")]
    num_templates: Annotated[int | None, _is("under which both did; null for the mean")]
    num_seeds: Annotated[int | None, _is("of the side that draws shots; null for the mean")]
    metric: MetricFields
    score_a: Annotated[float, _is("mean over templates and seeds of the metric over examples, x 100 as shown")]
    score_b: float
    difference: Annotated[float, _is("score_b - score_a")]
    interval: Annotated[tuple[float, float] | None, _is("95 %; null where all draws of the difference are equal")]
    p_value: Annotated[float, _is("two-sided")]
    p_corrected: Annotated[float, _is("by Holm over the tasks; of the mean, and of a single task, p_value itself")]
    test: Literal["exact McNemar", "sign-flip permutation", "approximate randomisation"]
    num_a_ahead: Annotated[
        int | None, _is("examples that A gets right under more templates and seeds than B; null of written answers")
    ]
    num_b_ahead: int | None
    is_stratified: Annotated[bool, _is("whether rows are drawn within each label, whose counts are fixed")]
    is_different: Annotated[bool, _is("whether p_corrected is below alpha")]


class ComparisonFields(Strict):
    """What `peftbench compare A B` found."""

    schema_version: Literal[2]
    a: SideFields
    b: SideFields
    tasks: list[LineFields]
    mean: Annotated[LineFields | None, _is("over tasks; null where there is one, or where their metrics differ")]
    is_different: Annotated[bool | None, _is("of the mean, or of the only task; null where metrics differ")]
    verdict: Annotated[str, _is("one sentence")]
    alpha: float
    confidence: Annotated[float, _is("of the intervals")]
    correction: Annotated[Literal["Holm"] | None, _is("null where there is one task")]
    num_draws: Annotated[int, _is("of the bootstrap, and of the permutation test")]
    paired: Annotated[str, _is("what stands beside what")]
    findings: Annotated[list[str], _is("what must not be read into it")]
    conventions: list[str]


class ChoiceFields(Strict):
    """A row of the report, as something to choose."""

    method: str
    variant: str
    model: str
    shots: str
    score: Annotated[float, _is("mean over tasks of the median over templates x seeds")]
    score_interval: tuple[float, float] | None
    is_enough: Annotated[Literal["yes", "unclear", "no"], _is("whether it is shown to be good enough, or not to be")]
    total_flops: Annotated[float | int | None, _is("training and all queries")]
    cached_total_flops: Annotated[
        float | int | None, _is("with the shots' keys and values in a cache; null but for ICL")
    ]
    is_estimated: Annotated[bool, _is("whether a part of it is estimated by the paper's rule")]


class PickFields(Strict):
    """The cheapest that is good enough; null where there is none."""

    model: Annotated[str | None, _is("on which it has to be; null for any")]
    uncached: ChoiceFields | None
    cached: Annotated[ChoiceFields | None, _is("where the shots' keys and values are in a cache")]


class BreakEvenFields(Strict):
    """Queries after which training has paid for itself; null where that never happens."""

    tuned: str
    icl: str
    uncached_queries: int | None
    cached_queries: int | None


class CrossingFields(Strict):
    """Where a tuned learning curve comes out above a prompted one, and stays there."""

    tuned: str
    prompted: str
    num_examples: Annotated[list[int], _is("numbers of labelled examples that both ran")]
    leads: Annotated[list[float], _is("tuned minus prompted at each of them, as scores")]
    ahead_from: Annotated[float | None, _is("examples; 0: from the fewest on; null: not with the most either")]
    interval: Annotated[
        tuple[float | None, float | None] | None, _is("95 %, of the same; null where none can be computed")
    ]


class AdviceTableFields(Strict):
    """What one table of the report says about the decision."""

    title: str
    metric: Annotated[MetricFields, _is("of all its scores")]
    num_queries: int
    min_score: float | None
    has_enough_evidence: bool
    lacking: Annotated[list[str], _is("why the evidence is not enough")]
    run_next: Annotated[list[str], _is("commands")]
    answer: Annotated[list[str], _is("in words")]
    cheapest: Annotated[list[PickFields], _is("over all, then on each model")]
    choices: Annotated[list[ChoiceFields], _is("all rows, cheapest first")]
    break_evens: list[BreakEvenFields]
    learning_curves: Annotated[list[CrossingFields], _is("none where rows do not differ in the number of examples")]
    caveats: Annotated[list[str], _is("what is uncertain all the same")]
    conventions: list[str]
    money: NotRequired[MoneyFields]


class AdviceFields(Strict):
    """What `peftbench advise` said."""

    schema_version: Literal[2]
    tables: list[AdviceTableFields]


class LeadFields(Strict):
    """An accuracy minus another one on the same rows."""

    difference: Annotated[float, _is("as it was seen")]
    interval: Annotated[tuple[float, float], _is("95 %, corrected for the choice of the best among several")]
    p_value: Annotated[float, _is("corrected likewise")]
    is_shown: Annotated[bool, _is("whether p_value is below 0.05")]
    detectable: Annotated[
        float | None, _is("true difference that the rows show in 80 of 100 cases; null where all answers are alike")
    ]
    num_more_rows: Annotated[
        int | None, _is("rows beside these that would show the difference that was seen; null where none are needed")
    ]


class BestFields(Strict):
    """The most accurate candidate of a side."""

    name: str
    records: Annotated[list[str], _is("ids")]
    num_candidates: Annotated[int, _is("among which it was chosen")]
    accuracy: Annotated[float, _is("as it was seen")]
    corrected_accuracy: Annotated[float, _is("for the choice, by bootstrap bias-corrected cross-validation")]
    corrected_interval: Annotated[tuple[float, float], _is("95 %")]


class MajorityFields(Strict):
    """What always giving the most frequent label is worth."""

    label: Annotated[int, _is("index of the choice")]
    name: Annotated[str | None, _is("of the choice; null where it is not known")]
    share: Annotated[float, _is("of rows that have it")]
    is_by_row: Annotated[bool, _is("whether it is known which rows those are")]
    best_minus_majority: Annotated[LeadFields, _is("p_value is one-sided")]


class CandidateFields(Strict):
    """A row of the report, as something to choose."""

    method: str
    variant: str
    model: str
    shots: str
    records: Annotated[list[str], _is("ids")]
    is_worse_than_best: Annotated[bool | None, _is("whether that is shown; null where it cannot be tested")]
    total_flops: Annotated[float | int | None, _is("training and all queries")]
    cached_total_flops: Annotated[
        float | int | None, _is("with the shots' keys and values in a cache; null but for ICL")
    ]
    is_estimated: Annotated[bool, _is("whether a part of it is estimated by the paper's rule")]
    accuracy: Annotated[float, _is("mean over rows, templates and seeds")]
    accuracy_interval: Annotated[tuple[float, float], _is("95 %, as if it were no choice among several")]
    by_seed: list[float]


class PairFields(Strict):
    """Queries after which the best tuned has paid for itself against the best prompted; null where it never does."""

    uncached_queries: int | None
    cached_queries: int | None


class ByQueriesFields(Strict):
    """What holds from a number of queries on, up to the next one of the list."""

    from_queries: int
    verdict: Literal["tune", "prompt", "either", "neither"]
    pick: Literal["tuned", "prompted"] | None
    text: str


class DecisionFields(Strict):
    """What `peftbench decide` found."""

    schema_version: Literal[1]
    task: str
    num_rows: int
    num_clusters: Annotated[int, _is("rows, those that belong together counted once")]
    num_queries: int
    verdict: Literal["tune", "prompt", "either", "neither"]
    answer: Annotated[list[str], _is("in words: the decision, and what evidence it lacks")]
    pick: Annotated[Literal["tuned", "prompted"] | None, _is("what to use; null for neither")]
    tuned: BestFields | None
    prompted: BestFields | None
    tuned_minus_prompted: LeadFields | None
    majority: Annotated[MajorityFields | None, _is("null where records do not say how often each label is right")]
    chance: Annotated[float, _is("accuracy of guessing")]
    candidates: Annotated[list[CandidateFields], _is("cheapest first")]
    break_even: PairFields | None
    learning_curves: Annotated[list[CrossingFields], _is("none where rows do not differ in the number of examples")]
    by_queries: list[ByQueriesFields]
    would_change: Annotated[list[str], _is("numbers on which the decision hangs, in words")]
    uncertain: Annotated[list[str], _is("in words")]
    conventions: list[str]
    run_next: Annotated[str | None, _is("a command")]
    money: NotRequired[Annotated[MoneyFields, _is("of the best prompted and the best tuned")]]


DOCUMENTS: dict[str, Any] = {
    "report": ReportFields,
    "compare": ComparisonFields,
    "advise": AdviceFields,
    "decide": DecisionFields,
}
"""Command -> what it gives."""


def json_schema(command: str) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of what a command gives."""
    return TypeAdapter(DOCUMENTS[command]).json_schema()


def check(command: str, text: str) -> None:
    """Make sure that a text is the JSON that a command gives.

    Raises:
        ValidationError: pydantic's; a field is missing, unknown or of another type.
    """
    TypeAdapter(DOCUMENTS[command]).validate_json(text, strict=True)
