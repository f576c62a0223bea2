"""A record: everything that is known about one finished cell; written once, whole or not at all."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import from_json

from peftbench.errors import RecordError

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = 2
Normalization = Literal["token", "char", "byte", "none"]


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
    value: float | int | None
    unit: str
    kind: Literal["estimated", "counted", "traced", "measured"]
    convention: str
    reason: str | None = None


class TemplateResult(Part):
    """Accuracy under one template, by each length normalisation of the choices' log-probabilities.

    Args:
        num_shots: Shots that were used with this template; None where the record does not say it for each.
        right: By log-probability per token, "1" or "0" for each example in the order of the test rows: right or wrong;
            None where the record does not say it.
    """

    template: int
    name: str
    num_examples: int
    num_correct: dict[Normalization, int]
    num_shots: int | None = None
    right: str | None = None

    def accuracy(self, normalization: Normalization = "token") -> float:
        """Give the share of right answers, 0 to 1."""
        return self.num_correct[normalization] / self.num_examples


class ModelInfo(Part):
    """The backbone that was run."""

    name: str
    revision: str | None
    fingerprint: str
    family: str
    is_encoder_decoder: bool
    num_parameters: int
    dtype: str
    device: str


class TaskInfo(Part):
    """The task that was run; `sha256` is over its rows and templates."""

    name: str
    family: str
    version: int
    sha256: str
    chance: float
    metric: str


class Trial(Part):
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
    trials: list[Trial]
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
        method: Name of the method; None for in-context learning.
        config: The method's resolved settings.
        training: The resolved training settings.
        num_trained_parameters: Values that were trained.
        num_saved_parameters: Values that are used and saved: fewer where a network was folded into them, or where the
            smallest were left out; None where the record does not say it.
        num_unreached_parameters: Values among the trained ones in tensors that no step had a gradient for.
        start_from: What training started from; None for the method's own start.
        sweep: How the learning rate was chosen; None where it was given.
    """

    learner: Literal["icl", "tune"]
    num_shots: int
    shot_ids: list[int]
    method: str | None = None
    config: dict[str, Any] | None = None
    training: dict[str, Any] | None = None
    num_trained_parameters: int = 0
    num_saved_parameters: int | None = None
    num_unreached_parameters: int | None = None
    start_from: StartingPoint | None = None
    sweep: Sweep | None = None


class Record(Part):
    """One cell's outcome.

    Args:
        id: First 16 hex digits of the SHA-256 of `identity`.
        identity: What makes this cell this cell: settings, data, weights, dtype, scorer's version.
        work: Token counts of what was run, padding and cut tokens included.
        versions: Versions of the packages that had a part in it.
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
    results: list[TemplateResult]
    costs: list[Cost]
    work: dict[str, int]
    versions: dict[str, str]

    @property
    def num_shots(self) -> list[int]:
        """Shots that were used with each template."""
        used = [result.num_shots for result in self.results]
        return [self.learned.num_shots if num_shots is None else num_shots for num_shots in used]

    def cost(self, name: str, kind: str) -> Cost | None:
        """Give the cost `name` of one kind, or None where the record has none."""
        return next((cost for cost in self.costs if (cost.name, cost.kind) == (name, kind)), None)


UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {
    # Version 2 adds the digest, and to each result its shots and which examples are right: absent in version 1.
    1: lambda table: table | {"schema_version": 2},
}
"""Schema version -> function that lifts a record's JSON to the next version."""


def identify(identity: Mapping[str, Any]) -> str:
    """Hash an identity, independent of the order of its keys."""
    text = json.dumps(identity, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


SEAL, END = ',\n  "digest": "', "\n}"


def sealed(text: str) -> str:
    """Add the SHA-256 of a JSON object's text, as its last field: an edited file is told by it."""
    return f'{text.removesuffix(END)}{SEAL}{hashlib.sha256(text.encode()).hexdigest()}"{END}\n'


def _is_unbroken(text: str) -> bool:
    head, _, tail = text.rpartition(SEAL)
    return text == sealed(head + END) if tail else False


def now() -> str:
    """Give the time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class Store:
    """A results folder: `records/ID.json`, the scores of each example in `scores/ID.parquet`, and what was learned.

    That is `adapters/ID/` of tuning, or `prompts/ID.json` of in-context learning with shots.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.records = root / "records"
        self.scores = root / "scores"
        self.adapters = root / "adapters"
        self.prompts = root / "prompts"

    def check_writable(self) -> None:
        """Make sure that results can be written, before anything is computed.

        Raises:
            RecordError: The folder cannot be made or written.
        """
        try:
            for folder in (self.records, self.scores, self.adapters):
                # In what is there already: input that turns out to be wrong must leave no folders behind.
                nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
                with tempfile.TemporaryFile(dir=nearest):
                    pass
        except OSError as error:
            hint = "give a folder that you may write with --results DIR"
            raise RecordError(f"cannot write results to '{self.root}': {error.strerror}", hint=hint) from None

    def find(self, record_id: str) -> Record | None:
        """Give the record with this id, or None.

        Raises:
            RecordError: The file is there and damaged.
        """
        path = self.records / f"{record_id}.json"
        return _read(path) if path.exists() else None

    def all(self) -> list[Record]:
        """Give all records, oldest first.

        Raises:
            RecordError: Some files are damaged; all of them are named.
        """
        records, faults = self.readable()
        if faults:
            raise RecordError("; ".join(fault.message for fault in faults), hint=faults[0].hint)
        return records

    def readable(self) -> tuple[list[Record], list[RecordError]]:
        """Give the records that are whole, oldest first, and for each other file what is wrong with it."""
        records, faults = [], []
        for path in sorted(self.records.glob("*.json")):
            try:
                records.append(_read(path))
            except RecordError as error:
                faults.append(error)
        return sorted(records, key=lambda record: (record.created_at, record.id)), faults

    def read_scores(self, record_id: str) -> "pd.DataFrame":
        """Give the stored scores, one row per (template, example, choice)."""
        import pandas as pd

        return pd.read_parquet(self.scores / f"{record_id}.parquet")

    def write(self, record: Record, scores: "pd.DataFrame", prompt: str | None = None) -> Path:
        """Write the scores, then the record: a record that is there is complete.

        Args:
            record: Of a finished cell.
            scores: One row per (template, example, choice).
            prompt: In-context learning: what stood before the queries, for those to come.

        Raises:
            RecordError: The disk is full or the folder went away; no half-written file stays.
        """
        path = self.records / f"{record.id}.json"
        try:
            with replacing(self.scores / f"{record.id}.parquet") as temporary:
                scores.to_parquet(temporary, index=False, compression="zstd")
            if prompt is not None:
                with replacing(self.prompts / f"{record.id}.json") as temporary:
                    temporary.write_text(prompt, encoding="utf-8")
            with replacing(path) as temporary:
                temporary.write_text(sealed(record.model_dump_json(indent=2)), encoding="utf-8")
        except OSError as error:
            raise RecordError(
                f"cannot write '{path}': {error.strerror}", hint="nothing half-written was left"
            ) from None
        return path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` that takes its place when the block ends well, and goes away otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _read(path: Path) -> Record:
    hint = "remove the file, or type the command that made it again, with --force"
    try:
        text = path.read_text(encoding="utf-8")
        # Twice as fast as json.loads.
        table = from_json(text)
        version = table["schema_version"]
        if version > SCHEMA_VERSION:
            raise RecordError(
                f"record '{path}' has schema version {version}; this peftbench reads up to {SCHEMA_VERSION}",
                hint="update peftbench",
            )
        if table.pop("digest", None) is not None and not _is_unbroken(text):
            raise RecordError(f"record '{path}' was edited: its digest is not that of its content", hint=hint)
        for step in range(version, SCHEMA_VERSION):
            table = UPGRADES[step](table)
        return Record.model_validate(table)
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = f"{error.error_count()} faulty fields" if isinstance(error, ValidationError) else str(error)
        raise RecordError(f"record '{path}' is damaged: {why}", hint=hint) from None
