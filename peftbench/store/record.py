"""A record: everything that is known about one finished cell; written once, whole or not at all."""

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_serializer, model_validator

from peftbench.spec.cell import Fold

SCHEMA_VERSION = 3
SORTED = json.JSONEncoder(sort_keys=True, default=str)
Normalization = Literal["token", "char", "byte", "none"]
Count = Annotated[int, Field(ge=0)]
Numbers = Annotated[str, Field(pattern=r"^\d{1,9}( \d{1,9})*$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]
# No cost comes near: sums, squares and products with numbers of queries stay finite.
Amount = Annotated[float | int, Field(ge=0, le=1e60, allow_inf_nan=False)]


class Part(BaseModel):
    """A frozen part of a record; unknown fields are a fault."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Cost(Part):
    """One number with its unit, kind and convention; absent with a reason where it could not be had.

    Args:
        name: What it is, e.g. "inference_flops_per_example".
        kind: "estimated" by the paper's rule, "counted" in closed form from shapes, "traced" from the graph,
            "measured" by the clock or the file system.
        convention: How it was counted, in one sentence.
        reason: Why `value` is absent.
    """

    name: str
    value: Amount | None
    unit: str
    kind: Literal["estimated", "counted", "traced", "measured"]
    convention: str
    reason: str | None = None


class WrittenResult(Part):
    """Answers that were written under one template, and their value.

    Args:
        value: The task's metric.
        scale: What `value` is multiplied by where it is shown.
        statistics: For each example, in the order of the test rows, what the metric is made from: its value is a
            function of the sum over examples (`metrics.text`).
        num_tokens: Tokens that were written, those that ended answers included.
        num_empty: Answers without any text.
        num_cut: Answers that had not ended when they were as long as may be.
    """

    value: Finite
    scale: Finite
    statistics: list[list[Finite]]
    num_tokens: Count
    num_empty: Count
    num_cut: Count


class TemplateResult(Part):
    """Accuracy under one template, by each length normalisation of the choices' log-probabilities.

    Args:
        num_shots: Shots that were used with this template; None where the record does not say it for each.
        right: By log-probability per token, "1" or "0" for each example in the order of the test rows: right or wrong;
            None where the record does not say it.
        values: The task's metric by each length normalisation; None where that is accuracy.
        predictions: By log-probability per token, the index of each example's choice; None where `right` is enough.
        labels: The index of each example's right choice; None where `right` is enough.
        num_predicted: By log-probability per token, how often each choice was predicted, by its index; None where the
            record does not say it.
        num_labelled: How often each choice is right, by its index; None likewise.
        num_skipped: Test rows that the template makes nothing of, which are not among the examples; None for none.
        row_ids: Where a fold was tested, the position of each example among the rows that were split, separated by
            spaces; None where the examples are the test rows.
        written: Where answers were written: what they were worth; then nothing is said of choices.
    """

    template: int
    name: str
    num_examples: Annotated[int, Field(ge=1)]
    num_correct: dict[Normalization, Count]
    num_shots: int | None = None
    right: str | None = None
    values: dict[Normalization, float] | None = None
    predictions: list[int] | None = None
    labels: list[int] | None = None
    num_predicted: list[Count] | None = None
    num_labelled: list[Count] | None = None
    num_skipped: Count | None = None
    row_ids: Numbers | None = None
    written: WrittenResult | None = None

    @model_validator(mode="after")
    def _is_possible(self) -> "TemplateResult":
        if self.written is not None:
            return self._is_possibly_written(self.written)
        if "token" not in self.num_correct:
            raise ValueError("num_correct has no count by log-probability per token")
        if max(self.num_correct.values()) > self.num_examples:
            raise ValueError(f"more right answers than the {self.num_examples} examples")
        return self

    def _is_possibly_written(self, written: WrittenResult) -> "TemplateResult":
        if self.num_correct:
            raise ValueError("answers were written, and choices counted")
        if len(written.statistics) != self.num_examples or len(set(map(len, written.statistics))) != 1:
            raise ValueError(f"statistics are not as many for each of the {self.num_examples} examples")
        return self

    @model_serializer(mode="wrap")
    def _without_written(self, serialize: Any) -> dict[str, Any]:
        """Leave out `written` of choices: their records are as they always were."""
        table: dict[str, Any] = serialize(self)
        return {name: value for name, value in table.items() if (name, value) != ("written", None)}

    def value(self, normalization: Normalization = "token") -> float:
        """Return the value of the task's metric: a hundred times it is what tables show, in the metric's unit."""
        if self.written is not None:
            return self.written.value * self.written.scale / 100
        return self.accuracy(normalization) if self.values is None else self.values[normalization]

    def accuracy(self, normalization: Normalization = "token") -> float:
        """Return the share of right answers, 0 to 1."""
        return self.num_correct[normalization] / self.num_examples


class ServerInfo(Part):
    """The server that ran the backbone.

    Args:
        kind: "llama.cpp", "vllm", "sglang" or "unknown".
        version: As it says; None where it does not.
        dialect: How it was asked.
        noise: Largest difference, in nats, of a value that it was asked for again: after 192 tokens, from a cold cache,
            a warm one, and at once with others.
    """

    kind: str
    version: str | None
    dialect: str
    noise: float


class ModelInfo(Part):
    """The backbone that was run.

    Args:
        num_parameters: Of the frozen backbone; None of a served one whose server does not say, and nobody else.
        quantization: Type that most weights had in a GGUF file before they were dequantised: Q4_1; of a served model as
            its server says; NF4 or INT8 where `--load` packed them; None of others.
        weight_bytes: Of all tensors in memory, where `--load` packed them; None of others.
        server: Who ran it; None where it was loaded.
    """

    name: str
    revision: str | None
    fingerprint: str
    family: str
    is_encoder_decoder: bool
    num_parameters: int | None
    dtype: str
    device: str
    quantization: str | None = None
    weight_bytes: int | None = None
    server: ServerInfo | None = None


class TaskInfo(Part):
    """The task that was run.

    Args:
        sha256: Of its rows and templates.
        chance: The value of its metric by guessing.
        metric: Name in the registry.
        labels: Index of each test row's right choice, separated by spaces; None where the task does not say that its
            label counts are fixed, or where not all of its test rows were scored.
        clusters: Where folds are tested, the number of each row's cluster (see `tasks.folds`), of all rows in their
            order, separated by spaces; None where each row is its own.
        subsets: Name -> the places of its examples among those of each template, from 0, separated by spaces; None
            where there are no subsets, or where templates skip rows.
    """

    name: str
    family: str
    version: int
    sha256: str
    chance: float
    metric: str
    labels: Numbers | None = None
    clusters: Numbers | None = None
    subsets: dict[str, Numbers] | None = None

    @model_serializer(mode="wrap")
    def _without_subsets(self, serialize: Any) -> dict[str, Any]:
        """Leave out `subsets` of tasks without: their records are as they always were."""
        table: dict[str, Any] = serialize(self)
        return {name: value for name, value in table.items() if (name, value) != ("subsets", None)}


class SweepPoint(Part):
    """One learning rate of a sweep, and how it did on the shots that were held out.

    Args:
        accuracy: Share of right answers over held-out shots and templates, 0 to 1.
        loss: Mean of -log softmax(log p / length) at the right choice, in nats.
        reason: Why both are absent.
    """

    lr: float
    accuracy: float | None
    loss: float | None
    reason: str | None = None


class Sweep(Part):
    """A search for the learning rate, on the shots alone.

    Args:
        lr: The rate that was chosen: highest accuracy, then least loss, then lowest rate.
        num_folds: Parts of the shots, each of which was held out once.
        num_steps: Optimiser steps that it took, beside those of the training that followed.
        num_held_out: Held-out shots times templates: what each trial's numbers are over.
    """

    lr: float
    trials: list[SweepPoint]
    num_folds: int
    num_steps: int
    num_held_out: int


class StartingPoint(Part):
    """An adapter that tuning started from; what it took to make it is not among this record's costs.

    Args:
        path: As the user wrote it; `sha256`, of its tensors' file, is what counts.
        model: Name of the model that it was made for; None where it does not say.
    """

    path: str
    sha256: str
    model: str | None


class Learned(Part):
    """What the learner did.

    Args:
        num_shots: Shots that were used; fewer than asked where `fit_shots` took what fits, and then the fewest of all
            templates.
        shot_ids: Positions of the shots in the task's training rows; a template used the first `num_shots` of its own.
            None of them where each query has shots of its own.
        chosen_from: Number of rows that each query's shots were chosen from, the pool, or that the shots of all were;
            None where shots are drawn by chance.
        calibrated_by: Number of training rows, or texts of their words, that calibration read; None where it read
            none.
        embedder: Folder of the sentence model that shots were chosen by, or that a classifier's embeddings are of, as
            the user wrote it; None where there is none.
        method: Name of the method or the classifier; None for in-context learning.
        config: The method's resolved settings.
        training: The resolved training settings.
        num_trained_parameters: Values that were trained.
        num_saved_parameters: Values that are used and saved: fewer where a network was folded into them, or where the
            smallest were left out; None where the record does not say it.
        num_unreached_parameters: Values among the trained ones in tensors that no step had a gradient for.
        num_head_parameters: Values of a classification layer that was trained beside the method, and that none of
            these numbers counts; None where there was none.
        start_from: What training started from; None for the method's own start.
        sweep: How the learning rate was chosen; None where it was given.
    """

    learner: Literal["icl", "tune"]
    num_shots: int
    shot_ids: list[int]
    chosen_from: Count | None = None
    calibrated_by: Count | None = None
    embedder: str | None = None
    method: str | None = None
    config: dict[str, Any] | None = None
    training: dict[str, Any] | None = None
    num_trained_parameters: int = 0
    num_saved_parameters: int | None = None
    num_unreached_parameters: int | None = None
    num_head_parameters: int | None = None
    start_from: StartingPoint | None = None
    sweep: Sweep | None = None


class Files(Part):
    """SHA-256 of each file and folder that a record was written with; None where there is none.

    Args:
        scores: Of `scores/ID.parquet`.
        adapter: Of `adapters/ID/`, as `digest.of_folder`.
        prompt: Of `prompts/ID.json`.
    """

    scores: str
    adapter: str | None = None
    prompt: str | None = None


class Record(Part):
    """One cell's outcome.

    Args:
        id: First 16 hex digits of the SHA-256 of `identity`.
        identity: What makes this cell this cell: settings, data, weights, dtype, scorer's version.
        work: Token counts of what was run, padding and cut tokens included.
        versions: Versions of the packages that had a part in it.
        files: What was written with it; None of records before schema version 3, and of those not written yet.
    """

    schema_version: int = SCHEMA_VERSION
    id: str
    created_at: str
    identity: dict[str, Any]
    model: ModelInfo
    task: TaskInfo
    learned: Learned
    seed: int
    end: str
    results: Annotated[list[TemplateResult], Field(min_length=1)]
    costs: list[Cost]
    work: dict[str, int]
    versions: dict[str, str]
    files: Files | None = None

    @model_validator(mode="after")
    def _subsets_are_of_examples(self) -> "Record":
        places = [int(place) for text in (self.task.subsets or {}).values() for place in text.split()]
        if places and max(places) >= min(result.num_examples for result in self.results):
            raise ValueError("subsets name examples that are not there")
        if places and any(result.written is None for result in self.results):
            raise ValueError("subsets are of answers that were written")
        return self

    @field_validator("identity")
    @classmethod
    def _fold_is_one(cls, identity: dict[str, Any]) -> dict[str, Any]:
        if identity.get("fold") is not None:
            Fold.model_validate(identity["fold"], strict=True)
        return identity

    @property
    def ids(self) -> list[str]:
        """Ids of the records that it stands for: its own, or those of the folds that were joined."""
        return [self.id]

    @property
    def metric(self) -> str:
        """Name of the metric that its results hold.

        Records that were made before metrics were computed hold accuracies, whatever their task named.
        """
        is_old = any(result.values is None and result.written is None for result in self.results)
        return "accuracy" if is_old else self.task.metric

    @property
    def num_shots(self) -> list[int]:
        """Shots that were used with each template."""
        used = [result.num_shots for result in self.results]
        return [self.learned.num_shots if num_shots is None else num_shots for num_shots in used]

    def cost(self, name: str, kind: str) -> Cost | None:
        """Return the cost `name` of one kind, or None where the record has none."""
        return next((cost for cost in self.costs if (cost.name, cost.kind) == (name, kind)), None)


def identify(identity: Mapping[str, Any]) -> str:
    """Hash an identity, independent of the order of its keys."""
    return hashlib.sha256(SORTED.encode(identity).encode()).hexdigest()[:16]


def now() -> str:
    """Return the time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
