"""A trial: a plan on a model, with all settings resolved. It has an identity, and so perhaps a record already."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from peftbench import registry
from peftbench.errors import MethodError
from peftbench.flow import text_task
from peftbench.flow.plan import Plan
from peftbench.learners import learn, pet, sweep
from peftbench.learners.classify import Classifying
from peftbench.learners.learn import Learned, Learner
from peftbench.learners.pet import Pet
from peftbench.learners.progress import Watch
from peftbench.learners.tune import Tuning
from peftbench.models import chat_template, sentence_backbone, sentence_model, source
from peftbench.models.backbone import Backbone
from peftbench.models.load import load
from peftbench.models.unloaded import Unloaded
from peftbench.scoring.score import SCORER_VERSION
from peftbench.scoring.work import SelectionWork
from peftbench.selection import kmeans
from peftbench.served import backbone as remote
from peftbench.spec.cell import Cell, Scoring, Training
from peftbench.spec.decoding import Decoding
from peftbench.spec.settings import checked
from peftbench.store.record import identify
from peftbench.tasks.shots import LABEL_DRAW_VERSION, OWN_DRAW_VERSION, pool
from peftbench.tasks.task import Row

# Which fields of a cell make it this cell, so that a new field is put into one of these tables and a test asks for it.
ALWAYS = frozenset({"learner", "model", "revision", "shots", "seed", "templates", "limit", "method", "dtype"})
# Those that stand in an identity only where they are not at their defaults: an option that comes later, and is off,
# leaves the records that were made before it what they are.
WHEN_SET = frozenset({"draw", "fold", "icl", "load"})
# What these say depends on files or on the model: their contents, resolved, stand in the identity.
RESOLVED = frozenset({"task", "source_task", "method_config", "training", "start_from", "sweep", "scoring"})
# Where a cell runs, and how weights may be read, does not make it another cell.
NOT_IDENTITY = frozenset({"device", "device_map", "allow_pickle", "server"})


@dataclass(frozen=True)
class Trial:
    """A plan on its model: all that a run needs.

    Args:
        plan: What needs no model.
        backbone: The loaded model, with nothing attached between trials.
        scoring: How answer choices are scored.
        learner: How it learns from the shots, with its settings resolved.
        drawing: What it took that the model chose the shots; None where they were drawn.
    """

    plan: Plan
    backbone: Backbone
    scoring: Scoring
    learner: Learner
    drawing: SelectionWork | None = None

    @property
    def cell(self) -> Cell:
        """The cell that is tried."""
        return self.plan.cell

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What makes it this trial; equal identities give equal results.

        A file's path is not part of it, its rows are: an edited file at the same path is another trial. So for an
        adapter that tuning starts from.
        """
        cell = self.plan.cell
        always = cell.model_dump(mode="json", include=set(ALWAYS))
        when_set = cell.model_dump(mode="json", include=set(WHEN_SET), exclude_defaults=True)
        if cell.icl.embedder is not None:  # its contents, whatever its path
            when_set["icl"] |= {"embedder": self.embedder_sha256}
        metric = self.plan.task.metric
        when_set |= {} if metric == "accuracy" else {"metric": metric}
        return always | when_set | self._learner_identity | self._model_identity | {
            "fingerprint": self.backbone.fingerprint,
            "task": self.plan.task.name,
            "task_sha256": self.plan.task.sha256,
            "scoring": self.scoring.model_dump(mode="json"),
            "scorer_version": SCORER_VERSION,
            **self._source_identity,
            **({"chat_template_sha256": self.chat_template_sha256} if self.scoring.chat else {}),
            **({"draw_version": OWN_DRAW_VERSION} if self.plan.source.is_own and cell.shots else {}),
            **({"decoding": self.decoding.model_dump(mode="json")} if self.decoding is not None else {}),
            **({"label_draw_version": LABEL_DRAW_VERSION} if cell.icl.labels == "random" else {}),
        }  # fmt: skip

    @cached_property
    def decoding(self) -> Decoding | None:
        """How answers are written; None where they are chosen.

        Raises:
            ModelError: As `text_task.decoding`.
        """
        return text_task.decoding(self.plan.task, self.backbone)

    @property
    def chat_template_sha256(self) -> str | None:
        """SHA-256 of the template that prompts are written by; None where they are plain text.

        Raises:
            ModelError: The model has no chat template, or a faulty one.
        """
        return chat_template.chat_template(self.backbone).sha256 if self.scoring.chat else None

    @property
    def embedder(self) -> Path | None:
        """Folder of a sentence model that reads texts in place of the backbone; None where there is none."""
        learner = self.learner
        return learner.config.embedder if isinstance(learner, Classifying) else self.cell.icl.embedder

    @cached_property
    def embedder_sha256(self) -> str | None:
        """Fingerprint of the sentence model that shots are chosen or classified by; None where there is none.

        Raises:
            ModelError: The folder holds none.
        """
        folder = self.embedder
        return None if folder is None else sentence_model.fingerprint(folder)

    @property
    def remarks(self) -> list[str]:
        """What somebody should know about its model and its prompts, in words."""
        return [text for text in (self.backbone.remark, self._remark) if text]

    @property
    def _remark(self) -> str | None:
        """What somebody should know about its prompts, in words."""
        name = self.backbone.name
        if isinstance(self.learner, Classifying):
            return None
        if not self.scoring.chat:
            has_template = chat_template.source_of(self.backbone) is not None
            remark = f"{name} has a chat template, and prompts are plain text: --chat writes them as turns"
            return remark if has_template else None
        is_dated = chat_template.chat_template(self.backbone).is_dated
        date = f"{chat_template.DATE.day} {chat_template.DATE:%B %Y}"
        return f"the chat template of {name} can show the day's date: here it is {date}, always" if is_dated else None

    @property
    def _model_identity(self) -> dict[str, Any]:
        """What decides beside the weights what the model computes; the package vouches for embedded models' files."""
        sha256 = self.backbone.model_sha256
        return {} if sha256 is None else {"model_sha256": sha256}

    @property
    def _source_identity(self) -> dict[str, Any]:
        source = self.plan.source
        return (
            {} if self.cell.source_task is None else {"source_task": source.name, "source_task_sha256": source.sha256}
        )

    @property
    def _learner_identity(self) -> dict[str, Any]:
        learner = self.learner
        if isinstance(learner, Classifying):  # of a sentence model its contents, whatever its path
            embedder = {} if self.embedder is None else {"embedder": self.embedder_sha256}
            settings = learner.config.model_dump(mode="json", exclude={"embedder"})
            return {"method_config": settings | embedder, "training": None}
        if isinstance(learner, Pet):  # one table: the settings of the method that trains have names of their own
            settings = learner.config.model_dump(mode="json") | learner.tuning.config.model_dump(mode="json")
            return {"method_config": settings, "training": learner.tuning.training.model_dump(mode="json")}
        if not isinstance(learner, Tuning):
            return {"method_config": None, "training": None}
        return {
            **({"start_from": learner.start.sha256} if learner.start else {}),
            **({"sweep": f"{self.cell.sweep}, {sweep.BUDGET}"} if learner.sweep else {}),
            "method_config": learner.config.model_dump(mode="json"),
            "training": learner.training.model_dump(mode="json"),
        }

    @cached_property
    def id(self) -> str:
        """Id of its record."""
        return identify(self.identity)

    def check(self) -> None:
        """Find its faults before anything is computed.

        Raises:
            PeftbenchError: What would keep it from running.
        """
        learn.check(self.learner, self.backbone, self.scoring, self.plan.queries, self.decoding)

    def pool(self) -> tuple[list[Row], list[str]]:
        """List the rows that a model chooses shots from, and their texts under the first template that reads them."""
        rows, texts = [], []
        for row in pool(self.plan.source, self.cell.seed):
            template = next((template for template in self.plan.shot_templates if template.reads(row)), None)
            if template is not None:
                rows.append(row)
                texts.append(template.render(row).input)
        return rows, texts

    def drawn(self) -> "Trial":
        """Return the trial with its shots: itself, unless the model chooses them, which is done now.

        Raises:
            TaskError: As `selection.kmeans.choose`.
        """
        if self.cell.draw != "kmeans" or self.drawing is not None:
            return self
        rows, texts = self.pool()
        places, work = kmeans.choose(self.backbone, texts, self.cell.shots, self.cell.seed)
        plan = self.plan.after(tuple(rows[place] for place in places))
        return replace(self, plan=plan, learner=_resolved(plan.learner, plan, self.backbone), drawing=work)

    def learn(self, watch: Watch) -> Learned:
        """Learn from the shots; what is tuned stays attached to the backbone."""
        assert self.cell.draw != "kmeans" or self.drawing is not None, "the model has not chosen the shots"
        return learn.learn(self.learner, self.backbone, self.scoring, self.plan.queries, watch, self.plan.source.name)


def trials(plans: Sequence[Plan], served: Path | None = None) -> list[Trial]:
    """Find the model that plans share, and resolve what depends on it; its weights are loaded when they are needed.

    Args:
        plans: At least one.
        served: File of the served models that are known already.

    Raises:
        ModelError: There is no such model. Where its weights are damaged, that is raised by whatever needs them first.
        MethodError: Settings in the model's folder are faulty.
    """
    cell = plans[0].cell
    if cell.server is not None:
        return on(remote.load(cell.model, cell.server, served), plans)
    if _reads_only(cell):
        return on(sentence_backbone.load(cell.model, cell.device), plans)
    return on(Unloaded(cell.model, cell.revision, cell.allow_pickle, lambda: _loaded(cell)), plans)


def _loaded(cell: Cell) -> Backbone:
    """Load a cell's model."""
    return load(
        cell.model,
        revision=cell.revision,
        device=cell.device,
        dtype=cell.dtype,
        allow_pickle=cell.allow_pickle,
        device_map=cell.device_map,
        bits=cell.load,
    )


def _reads_only(cell: Cell) -> bool:
    """Whether a classifier reads texts by a sentence model, which is no model for anything else."""
    return registry.is_classifier(cell.method) and source.is_sentence_model(cell.model)


def on(backbone: Backbone, plans: Sequence[Plan]) -> list[Trial]:
    """Resolve what depends on a model that is loaded.

    Raises:
        MethodError: Settings in the model's folder are faulty.
    """
    return [
        Trial(
            plan,
            backbone,
            text_task.scoring(plan.cell, plan.task, backbone).resolved(
                is_encoder_decoder=backbone.is_encoder_decoder, is_encoder_only=backbone.sizes.is_encoder_only
            ),
            _resolved(plan.learner, plan, backbone),
        )
        for plan in plans
    ]


def weights(plan: Plan) -> tuple[Any, ...]:
    """Return what decides which weights are loaded, and how."""
    return *plan.cell.weights, _reads_only(plan.cell)


def _resolved(learner: Learner, plan: Plan, backbone: Backbone) -> Learner:
    """Resolve training settings: command line > the model folder's settings > the method's defaults."""
    if isinstance(learner, Pet):
        return replace(learner, tuning=_resolved_pet(learner.tuning, plan, backbone))
    if not isinstance(learner, Tuning):
        return learner
    cell = plan.cell
    table = {**registry.method(learner.method).DEFAULTS, **backbone.settings(learner.method)}
    if cell.scoring.answer == "head":  # of classes the losses of answers are all this one, or push it up again
        table |= {"unlikelihood_loss": 0.0, "length_norm_loss": 0.0}
    table |= text_task.training(cell, plan.source)
    return replace(learner, training=_training(table, backbone))


def _resolved_pet(tuning: Tuning, plan: Plan, backbone: Backbone) -> Tuning:
    """Resolve the settings of PET's trainings, whose losses are PET's whatever a model's folder says."""
    defaults = {**registry.method(tuning.method).DEFAULTS, **pet.DEFAULTS}
    defaults |= pet.OF_FULL if tuning.method == pet.FULL else {}
    table = defaults | backbone.settings(tuning.method) | pet.LOSSES | plan.cell.training
    return replace(tuning, training=_training(table, backbone))


def _training(table: dict[str, Any], backbone: Backbone) -> Training:
    return checked(Training, table, f"training settings of '{backbone.name}'", MethodError)
