"""What turns rows into predictions, as a run leaves it behind: model, wordings, shots, and how answers are scored."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from peftbench import registry
from peftbench.classifiers.base import ClassifierConfig
from peftbench.errors import RecordError
from peftbench.flow.trial import Trial
from peftbench.learners import distil
from peftbench.learners.classify import Classifying
from peftbench.learners.icl import Icl
from peftbench.learners.learn import Distilled, Ensembled, Learned, Prompted, Tuned
from peftbench.learners.pet import Pet
from peftbench.learners.tune import Tuning
from peftbench.spec.cell import IclOptions, Scoring
from peftbench.spec.decoding import Decoding
from peftbench.spec.settings import Settings
from peftbench.store.seal import FIELD, broken, sealed
from peftbench.tasks.schema import Wording
from peftbench.tasks.task import Row
from peftbench.tasks.template import Template
from peftbench.tasks.text_template import TextTemplate
from peftbench.tasks.wording import template_of

FORMAT_VERSION = 3
"""Version 1 had no digest; the random labels of versions 1 and 2 were drawn otherwise."""
FILE = "usage.json"


class Shot(Settings):
    """A row that stands in the prompt, with the index of its answer."""

    id: int
    fields: dict[str, Any]
    label: int

    @classmethod
    def of(cls, row: Row) -> "Shot":
        """Write a row."""
        return cls(id=row.id, fields=dict(row.fields), label=row.label)

    @property
    def row(self) -> Row:
        """The row that was written."""
        return Row(self.id, self.fields, self.label)


class NumberedWording(Wording):
    """A template, with its number in the task."""

    index: int


class Usage(Settings):
    """All that a prediction needs beside the model's weights and an adapter.

    Args:
        model: As the user wrote it; `fingerprint` is what counts.
        model_sha256: Of its config and tokenizer; None for embedded models.
        task: Name of the task.
        label: Name of the label's column, which inputs do not see.
        references: Columns of the references, where answers are written; inputs do not see them, either.
        classes: Names of the classes; None where each row brings its own choices.
        templates: Those that were evaluated, in their order.
        scoring: How answers are scored; `end` is resolved.
        shots: In-context learning: the rows before the query, or those that shots are chosen from.
        num_chosen: In-context learning: how many are chosen for each query; None where all stand before all queries.
        icl: In-context learning: its options.
        calibration_rows: In-context learning: the rows that calibration reads, where it reads any.
        seed: In-context learning: what other orders and random labels of the shots follow from.
        classifier: Name of the classifier that learns from the shots' embeddings; None for prompts and adapters.
        classifier_config: Its settings.
        embedder_sha256: Of the sentence model that shots are chosen or classified by; None where there is none.
        chat_template_sha256: Of the template that writes prompts as turns; None where they are plain text.
        decoding: How answers are written; None where they are chosen.
        before: With a chat template: for each template of the task, what stood before the query in each of its prompts;
            to be read, it is written anew from the shots.
    """

    format_version: int = FORMAT_VERSION
    model: str
    revision: str | None
    fingerprint: str
    model_sha256: str | None = None
    dtype: Literal["float32", "bfloat16", "float16"]
    load: Literal["4bit", "8bit"] | None = None
    task: str
    label: str
    references: tuple[str, ...] = ()
    classes: tuple[str, ...] | None
    templates: Annotated[tuple[NumberedWording, ...], Field(min_length=1)]
    scoring: Scoring
    shots: tuple[Shot, ...] = ()
    num_chosen: Annotated[int, Field(ge=1)] | None = None
    calibration_rows: tuple[Shot, ...] = ()
    icl: IclOptions = IclOptions()
    seed: int = 0
    classifier: str | None = None
    classifier_config: dict[str, Any] = {}
    embedder_sha256: str | None = None
    chat_template_sha256: str | None = None
    decoding: Decoding | None = None
    before: tuple[tuple[str, ...], ...] = ()

    @model_validator(mode="after")
    def _shots_can_be_chosen(self) -> "Usage":
        if (self.num_chosen is not None) != self.icl.is_chosen or (self.num_chosen or 0) > len(self.shots):
            raise ValueError("num_chosen shots of those there are go with a selector")
        return self

    @model_validator(mode="after")
    def _classifier_is_one(self) -> "Usage":
        if self.classifier is not None and not (registry.is_classifier(self.classifier) and self.shots):
            raise ValueError("a classifier is one of the registry's, and learns from shots")
        if self.classifier is not None:
            registry.classifier(self.classifier).Config.model_validate(self.classifier_config)
        return self

    @model_validator(mode="after")
    def _calibration_has_its_rows(self) -> "Usage":
        if self.icl.calibrates_by_rows != bool(self.calibration_rows):
            raise ValueError("calibration_rows go with an option that reads them")
        return self

    def text(self) -> str:
        """Write it as the JSON of its file, with its digest; of turns and chosen shots only where there are any."""
        absent = set() if self.scoring.chat else {"chat_template_sha256", "before"}
        unset = ("num_chosen", "embedder_sha256", "decoding", "load")
        absent |= {name for name in unset if getattr(self, name) is None}
        absent |= {name for name in ("calibration_rows", "references") if not getattr(self, name)}
        absent |= set() if self.classifier else {"classifier", "classifier_config"}
        return sealed(self.model_dump_json(indent=2, exclude=absent))

    def alone(self) -> dict[str, "Usage"]:
        """Describe for each template how it is used without shots in the prompt: by the folder of its own adapter.

        What stands before the shots is in the adapter, as they are.
        """
        bare = [wording.model_copy(update={"description": ""}) for wording in self.templates]
        return {
            f"template-{wording.index}": self.model_copy(
                update={"templates": (wording,), "shots": (), "icl": IclOptions()}
            )
            for wording in bare
        }

    def template(self, number: int | None) -> Template:
        """Build a template by its number in the task, or the first one.

        Raises:
            RecordError: There is no such template.
        """
        known = {wording.index: wording for wording in self.templates}
        if number is not None and number not in known:
            raise RecordError(
                f"template {number} of '{self.task}' was not evaluated with it",
                hint="known: " + ", ".join(f"{index} ({wording.name})" for index, wording in known.items()),
            )
        wording = self.templates[0] if number is None else known[number]
        # What was written before `references` were kept has the column that holds them as its label's.
        columns = () if self.decoding is None else self.references or (self.label,)
        return template_of(wording, wording.index, self.label, references=columns)

    def rows(self) -> list[Row]:
        """Return the shots as rows."""
        return [shot.row for shot in self.shots]

    @property
    def is_prompted(self) -> bool:
        """Whether shots stand before a query, and their description before them."""
        return bool(self.shots) and self.classifier is None

    @property
    def embedder(self) -> Path | None:
        """Folder of the sentence model that reads texts; None where there is none."""
        return self.icl.embedder if self.classifier is None else self.config.embedder

    @property
    def config(self) -> ClassifierConfig:
        """Settings of the classifier."""
        assert self.classifier is not None, "no classifier"
        return registry.classifier(self.classifier).Config.model_validate(self.classifier_config)

    def classifying(self, template: Template) -> Classifying:
        """Return what classifying did, with one template."""
        assert self.classifier is not None, "no classifier"
        return Classifying(self.classifier, self.config, (template,), tuple(self.rows()), self.seed)

    def prompts(self, template: Template) -> Icl:
        """Return what in-context learning did, with one template."""
        calibration_rows = tuple(shot.row for shot in self.calibration_rows)
        return Icl((template,), tuple(self.rows()), self.icl, self.seed, self.num_chosen, calibration_rows)


def of(trial: Trial) -> Usage:
    """Describe what a trial does with rows."""
    cell, plan, backbone = trial.cell, trial.plan, trial.backbone
    learner = trial.learner
    shots = () if isinstance(learner, Tuning | Pet) else learner.shots
    templates, scoring = plan.templates, trial.scoring
    if isinstance(learner, Pet) and learner.config.distil:
        templates, scoring = learner.patterns[:1], distil.scoring_of(scoring)
    elif isinstance(learner, Pet):
        templates = learner.patterns
    return Usage(
        model=backbone.name,
        revision=backbone.revision,
        fingerprint=backbone.fingerprint,
        model_sha256=backbone.model_sha256,
        dtype=cell.dtype,
        load=cell.load,
        task=plan.task.name,
        label=templates[0].label,
        references=templates[0].columns if isinstance(templates[0], TextTemplate) else (),
        classes=plan.task.classes,
        templates=tuple(
            NumberedWording.model_validate({"name": t.name, "index": t.index, "text": t.text} | _rest(t))
            for t in templates
        ),
        scoring=scoring,
        shots=tuple(map(Shot.of, shots)),
        num_chosen=learner.num_chosen if isinstance(learner, Icl) else None,
        calibration_rows=tuple(map(Shot.of, learner.calibration_rows)) if isinstance(learner, Icl) else (),
        classifier=learner.classifier if isinstance(learner, Classifying) else None,
        classifier_config=learner.config.model_dump(mode="json") if isinstance(learner, Classifying) else {},
        # The prompt that a prefix comes from says the same.
        icl=cell.icl.model_copy(update={"as_prefix": False}),
        seed=cell.seed,
        embedder_sha256=trial.embedder_sha256,
        chat_template_sha256=trial.chat_template_sha256,
        decoding=trial.decoding,
    )


def _rest(template: Template) -> dict[str, Any]:
    """Return what a wording says beside name, number and text; where answers are written, nothing."""
    return {} if template.is_text else {"choices": template.choices, **template.more}


def prompt(trial: Trial, learned: Learned) -> str | None:
    """Write what prompts of shots, or a classifier of them, leave beside their record; None for other trials."""
    if isinstance(learned, Tuned | Ensembled | Distilled) or not trial.cell.shots:
        return None
    before: tuple[tuple[str, ...], ...] = ()
    if trial.scoring.chat and isinstance(learned, Prompted):
        before = tuple(predictor.before for predictor in learned.predictors)
    return of(trial).model_copy(update={"before": before}).text()


def beside_adapters(trial: Trial) -> dict[str, dict[str, str]]:
    """Write what lies beside each adapter of a trial: folder of the adapter -> name of the file -> its text."""
    usage = of(trial)
    if isinstance(trial.learner, Classifying) and len(usage.templates) > 1:
        parts = [usage.model_copy(update={"templates": (wording,)}) for wording in usage.templates]
        return {f"template-{part.templates[0].index}": {FILE: part.text()} for part in parts}
    if trial.cell.learner == "tune":
        return {"": {FILE: usage.text()}}
    return {folder: {FILE: alone.text()} for folder, alone in usage.alone().items()}


def read(path: Path) -> Usage:
    """Read what a run left.

    Raises:
        RecordError: No such file, or a damaged one.
    """
    hint = "it is written by `peftbench tune` beside the adapter, by `peftbench icl` beside the record; run that again"
    try:
        text = path.read_text(encoding="utf-8")
        table = json.loads(text)
        if fault := broken(text, table, is_needed=table.get("format_version") != 1):
            raise RecordError(f"'{path}' {fault}", hint=hint)
        usage = Usage.model_validate_json(json.dumps({name: table[name] for name in table if name != FIELD}))
    except OSError as error:
        raise RecordError(f"cannot read '{path}': {error.strerror}", hint=hint) from None
    except ValidationError as faults:
        raise RecordError(f"'{path}' is damaged: {faults.error_count()} faulty fields", hint=hint) from None
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise RecordError(f"'{path}' is damaged: {error}", hint=hint) from None
    if usage.icl.labels == "random" and usage.format_version < 3:
        raise RecordError(f"'{path}' is of a version that drew random labels otherwise", hint=hint)
    return usage
