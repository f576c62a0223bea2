"""Use what was learned: rows in, predictions out in their order; memory does not grow with the number of rows."""

import itertools
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from peftbench.adapters import saved
from peftbench.adapters.peft import write
from peftbench.adapters.side_by_side import SideBySide
from peftbench.errors import MethodError, PeftbenchError, RecordError
from peftbench.flow import usage
from peftbench.flow.usage import Usage
from peftbench.learners import classify, icl, pet_folder
from peftbench.learners.classify import ClassifierPredictor
from peftbench.learners.pet import PetPredictor
from peftbench.learners.predictor import Prompting
from peftbench.models import devices, foreign, sentence_backbone, sentence_model, source
from peftbench.models.backbone import Backbone
from peftbench.models.chat_template import chat_template
from peftbench.models.load import load as load_model
from peftbench.scoring.encoding import cut_input
from peftbench.scoring.generate import Output, generate
from peftbench.scoring.ranking import ChoiceScore, normalized
from peftbench.scoring.score import score
from peftbench.served import backbone as served
from peftbench.spec.cell import Server
from peftbench.store import fit
from peftbench.store.results import KNOWN
from peftbench.tasks.task import Example, Row
from peftbench.tasks.template import Template

Fields = dict[str, Any]
CHUNK = 512
"""Rows that are in memory at once."""


@dataclass(frozen=True)
class Prediction:
    """What came out for one row.

    Args:
        row: Its number in the input, from 1.
        adapter: Name of the adapter that answered; None where it was the only one.
        answer: The class, or the choice's text where rows bring their own choices, or what was written; None where
            `fault` says why.
        scores: Choice -> log-probability per token, in nats; none where answers are written.
        is_cut: Of a written answer, whether it had not ended after `max_new_tokens`; None where answers are chosen.
    """

    row: int
    adapter: str | None
    answer: str | None
    scores: dict[str, float]
    fault: str | None = None
    is_cut: bool | None = None


class Scorer(Protocol):
    """What was learned, on its backbone."""

    def score(self, examples: Sequence[Example], numbers: Sequence[int]) -> list[list[ChoiceScore]]:
        """Score each example's choices; `numbers` has the number of each example's adapter."""
        ...


class AdapterScorer:
    """One adapter or several, which share forward passes.

    Args:
        backbone: With nothing attached.
        folders: The adapters'.
        usages: The usage of each.

    Raises:
        MethodError: An adapter is damaged, was made for other weights, or cannot share a batch.
    """

    def __init__(self, backbone: Backbone, folders: Sequence[Path], usages: Sequence[Usage]) -> None:
        self._backbone, self._usages = backbone, usages
        self._side_by_side = SideBySide(backbone, folders) if len(folders) > 1 else None
        if self._side_by_side is None:
            saved.load(folders[0], backbone)

    def score(self, examples: Sequence[Example], numbers: Sequence[int]) -> list[list[ChoiceScore]]:
        """Score each example's choices through its own adapter."""
        adapters = self._side_by_side
        limits = [self._usages[number].scoring.max_input_tokens for number in numbers]
        queries = [cut_input(self._backbone, *pair)[0] for pair in zip(examples, limits, strict=True)]
        scoring = self._usages[0].scoring.model_copy(update={"max_input_tokens": None})
        row_adapters = None if adapters is None else adapters.assigned(numbers)
        return score(self._backbone, queries, scoring, row_adapters=row_adapters).choices


class Prompts:
    """The shots of a record, fitted to what is asked at once.

    Args:
        backbone: The model that the record is of.
        template: Renders shots and queries.
        used: The record's usage.
    """

    def __init__(self, backbone: Backbone, template: Template, used: Usage) -> None:
        self._learn = partial(icl.learn, backbone, template, used.prompts(template), used.scoring)
        self._leaves_out, self._learned = used.icl.fit_shots, self._learn()

    def fit(self, examples: Sequence[Example]) -> Prompting:
        """Let the shots stand before these examples; what was left out for others before them is there again.

        Raises:
            ModelError: As `icl.fit`.
        """
        if self._leaves_out:
            self._learned = self._learn()
        icl.fit([self._learned], [examples])
        return self._learned


class PromptScorer:
    """The shots of a record before each query.

    Args:
        backbone: The model that the record is of.
        template: Renders shots and queries.
        used: The record's usage.
    """

    def __init__(self, backbone: Backbone, template: Template, used: Usage) -> None:
        self._prompts = Prompts(backbone, template, used)

    def score(self, examples: Sequence[Example], numbers: Sequence[int]) -> list[list[ChoiceScore]]:
        """Score each example's choices after the shots."""
        return self._prompts.fit(examples).score(examples).choices


class WholeScorer:
    """A predictor that needs nothing else.

    Args:
        predictor: A classifier: a record's, which learned again from its shots, or one that was saved; or PET's models.
    """

    def __init__(self, predictor: ClassifierPredictor | PetPredictor) -> None:
        self._predictor = predictor

    def score(self, examples: Sequence[Example], numbers: Sequence[int]) -> list[list[ChoiceScore]]:
        """Score each example's choices by the probabilities of their classes."""
        return self._predictor.score(examples).choices


class Writer:
    """Writes answers, through one adapter or after the shots of a record.

    Args:
        backbone: With nothing attached.
        path: The adapter's folder, or the record.
        template: Renders shots and queries.
        used: What lies beside it.

    Raises:
        MethodError: The adapter is damaged, or was made for other weights.
    """

    def __init__(self, backbone: Backbone, path: Path, template: Template, used: Usage) -> None:
        assert used.decoding is not None
        self._backbone, self._scoring, self._decoding = backbone, used.scoring, used.decoding
        self._prompts: Prompts | None = None
        if path.is_dir():
            saved.load(path, backbone)
        else:
            self._prompts = Prompts(backbone, template, used)
            # Nobody knows how long an answer gets: the first shot's stands for it where shots are to fit.
            self._answers = template.render(used.rows()[0]).choices[:1]

    def write(self, examples: Sequence[Example]) -> list[Output]:
        """Write an answer to each example."""
        queries = [cut_input(self._backbone, example, self._scoring.max_input_tokens)[0] for example in examples]
        if self._prompts is None:
            return generate(self._backbone, queries, self._scoring, self._decoding)
        prompt = self._prompts.fit([replace(query, choices=self._answers) for query in queries])
        return prompt.generate(queries, self._decoding)


@dataclass(frozen=True)
class RowPredictor:
    """Predicts rows with adapters, or with shots in the prompt.

    Args:
        names: Of the adapters, by number.
        usages: What each does with rows.
        templates: The template of each.
        column: Of the rows: names each row's adapter; None where there is only one.
        scorer: Scores through all of them, or writes.
    """

    names: Sequence[str]
    usages: Sequence[Usage]
    templates: Sequence[Template]
    column: str | None
    scorer: Scorer | Writer

    def predict(self, rows: Iterable[Fields], first: int = 1) -> Iterator[list[Prediction]]:
        """Predict row after row, some hundred at a time.

        Args:
            rows: As their file has them; a label's column is not looked at.
            first: Number of the first one.
        """
        numbered = enumerate(rows, start=first)
        while chunk := list(itertools.islice(numbered, CHUNK)):
            yield self._chunk(chunk)

    def check(self, fields: Fields) -> None:
        """Check that a row has the columns that its template names; those of a table's first row are those of all.

        Raises:
            PeftbenchError: A column is not there; the hint names those that are.
        """
        if self.column is not None and self.column not in fields:
            raise RecordError(
                f"there is no column '{self.column}' that names each row's adapter",
                hint=f"--adapter-column NAME; columns: {', '.join(fields)}",
            )
        template = self.templates[0 if self.column is None else self._number(fields)]
        if template.absent(fields):
            template.query(Row(0, fields, 0))

    def _chunk(self, chunk: Sequence[tuple[int, Fields]]) -> list[Prediction]:
        predictions: dict[int, Prediction] = {}
        rendered: list[tuple[int, Example, int]] = []
        for row, fields in chunk:
            try:
                number = self._number(fields)
                rendered.append((row, self.templates[number].query(Row(row - 1, fields, 0)), number))
            except PeftbenchError as fault:
                predictions[row] = Prediction(row, None, None, {}, fault.message)
        for prediction in self._answers(rendered):
            predictions[prediction.row] = prediction
        return [predictions[row] for row, _ in chunk]

    def _number(self, fields: Fields) -> int:
        """Return the number of a row's adapter."""
        if self.column is None:
            return 0
        if self.column not in fields:
            raise RecordError(f"it has no column '{self.column}' that names its adapter (--adapter-column)")
        name = fields[self.column]
        if name not in self.names:
            raise RecordError(f"column '{self.column}' names no adapter: {name!r}; known: {', '.join(self.names)}")
        return self.names.index(str(name))

    def _answers(self, rendered: Sequence[tuple[int, Example, int]]) -> Iterator[Prediction]:
        """Answer rows together; where that fails, halves of them, until the rows that are at fault stand alone."""
        if not rendered:
            return
        try:
            predictions = self._predicted(rendered)
        except PeftbenchError as fault:
            if len(rendered) == 1:
                row, _, number = rendered[0]
                yield Prediction(row, self._name(number), None, {}, fault.message)
                return
            half = len(rendered) // 2
            yield from self._answers(rendered[:half])
            yield from self._answers(rendered[half:])
            return
        yield from predictions

    def _predicted(self, rendered: Sequence[tuple[int, Example, int]]) -> list[Prediction]:
        examples, numbers = [example for _, example, _ in rendered], [number for *_, number in rendered]
        if isinstance(self.scorer, Writer):
            outputs = self.scorer.write(examples)
            return [
                Prediction(row, self._name(number), output.text, {}, is_cut=output.is_cut)
                for (row, _, number), output in zip(rendered, outputs, strict=True)
            ]
        scores = self.scorer.score(examples, numbers)
        return [self._chosen(*part, choices) for part, choices in zip(rendered, scores, strict=True)]

    def _chosen(self, row: int, example: Example, number: int, choices: list[ChoiceScore]) -> Prediction:
        """Take the choice that ranks highest."""
        values = normalized(choices)
        best = values.index(max(values))
        classes = self.usages[number].classes
        answer = classes[best] if classes else example.choices[best]
        return Prediction(row, self._name(number), answer, dict(zip(example.choices, values, strict=True)))

    def _name(self, number: int) -> str | None:
        return None if self.column is None else self.names[number]


def check_together(names: Sequence[str], usages: Sequence[Usage]) -> None:
    """Check that adapters can answer in one batch.

    Raises:
        MethodError: They are of different models, their answers end differently, or are written, or some of their
            prompts are turns and some are not.
    """
    writing = [name for name, used in zip(names, usages, strict=True) if used.decoding is not None]
    if writing and len(usages) > 1:
        raise MethodError(
            f"adapters of one batch give one of several choices, and '{writing[0]}' writes its answers",
            hint="predict with each of them by itself",
        )
    for name, other in zip(names, usages, strict=True):
        if (other.fingerprint, other.load) != (usages[0].fingerprint, usages[0].load):
            raise MethodError(
                f"adapters of one batch share a model: '{names[0]}' is of {usages[0].model}, '{name}' of {other.model}",
                hint="predict with each of them by itself",
            )
        if other.scoring.end != usages[0].scoring.end:
            raise MethodError(
                f"adapters of one batch score answers alike: '{names[0]}' ends them with {usages[0].scoring.end} and "
                f"'{name}' with {other.scoring.end}",
                hint="predict with each of them by itself",
            )
        if _turns(other) != _turns(usages[0]):
            raise MethodError(
                f"adapters of one batch have prompts alike: '{names[0]}' and '{name}' differ in --chat or --system",
                hint="predict with each of them by itself",
            )


def _turns(used: Usage) -> tuple[bool, str | None]:
    return used.scoring.chat, used.scoring.system


def open_usage(path: Path) -> Usage:
    """Read what lies beside an adapter, or beside an in-context record.

    Args:
        path: An adapter's folder, or a record's file or its prompt's.

    Raises:
        RecordError: Nothing there, damaged, or not what its record was written with.
    """
    foreign.check_name(str(path), RecordError)
    if path.is_dir():
        if (path / write.CONFIG).exists() and not (path / usage.FILE).exists():
            command = f"peftbench tune --start-from {shlex.quote(str(path))}"
            raise RecordError(
                f"'{path}' is an adapter of the peft library, which says nothing of templates and answer choices",
                hint=f"`{command}` with your rows; --set num_steps=0 changes nothing in it",
            )
        used = usage.read(path / usage.FILE)
    else:
        beside = path.parent.parent / "prompts" / path.name
        used = usage.read(beside if path.parent.name == "records" else path)
    fit.check(path)
    return used


def _known(record: Path) -> Path:
    """Name the file of served models that are known: that of the record's results, or of what `decide --keep` wrote."""
    places = [parent / KNOWN for parent in record.absolute().parents[:3]] + [Path("results") / KNOWN]
    return next((path for path in places if path.is_file()), places[-1])


def load(
    paths: dict[str, Path],
    usages: Sequence[Usage],
    template: int | None,
    column: str,
    *,
    model: str | None = None,
    server: Server | None = None,
    device: str = "auto",
    device_map: str | None = None,
) -> RowPredictor:
    """Load the model and attach to it what was learned.

    Args:
        paths: Name -> an adapter's folder, or one record.
        usages: What lies beside each.
        template: Number of the template; None: the first of each.
        column: Of the rows: names the adapter, where there are several.
        model: Where the model is now; None: where it was.
        server: Who answers for a served model.
        device: As `models.load.load`.
        device_map: As `models.load.load`.

    Raises:
        PeftbenchError: No such template or model, weights that are others now, an adapter that cannot share a batch.
    """
    templates = [used.template(template) for used in usages]
    first = usages[0]
    name = model or first.model
    if first.classifier is not None and next(iter(paths.values())).is_dir():
        return _saved_classifier(paths, usages, templates, device)
    if first.classifier is not None and source.is_sentence_model(name):
        backbone: Backbone = sentence_backbone.load(name, device)
    elif server is None:
        weights: dict[str, Any] = {"revision": first.revision, "dtype": first.dtype, "bits": first.load}
        backbone = load_model(name, device=device, device_map=device_map, **weights)
    else:
        backbone = served.load(name, server, _known(*paths.values()))
    if backbone.fingerprint != first.fingerprint:
        raise MethodError(
            f"'{backbone.name}' has other weights ({backbone.fingerprint[:12]}) than it had when this was learned "
            f"({first.fingerprint[:12]})",
            hint="--model NAME says where those weights are",
        )
    if not backbone.has_config(first.model_sha256):
        raise MethodError(
            f"'{backbone.name}' has another config.json or tokenizer than it had when this was learned",
            hint="--model NAME says where the model is as it was; or learn again",
        )
    templates_of_turns = {used.chat_template_sha256 for used in usages} - {None}
    if templates_of_turns and templates_of_turns != {chat_template(backbone).sha256}:
        raise MethodError(
            f"'{backbone.name}' has another chat template than it had when this was learned",
            hint="--model NAME says where the model is as it was; or learn again",
        )
    folder = first.embedder
    if folder is not None and sentence_model.fingerprint(folder) != first.embedder_sha256:
        raise MethodError(
            f"the sentence model in '{folder}' is another one than texts were read by when this was learned",
            hint="put back what was there; or learn again",
        )
    scorer = _scorer(backbone, list(paths.values()), templates[0], usages)
    pairs = zip(templates, usages, strict=True)
    templates = [template.without_description() if used.is_prompted else template for template, used in pairs]
    return RowPredictor(list(paths), usages, templates, column if len(paths) > 1 else None, scorer)


def _scorer(
    backbone: Backbone, folders: Sequence[Path], template: Template, usages: Sequence[Usage]
) -> Scorer | Writer:
    """Put what was learned on its backbone."""
    first = usages[0]
    if first.decoding is not None:
        return Writer(backbone, folders[0], template, first)
    if any((path / pet_folder.CARD).is_file() for path in folders):
        return WholeScorer(_pet(folders, first, backbone))
    if folders[0].is_dir():
        return AdapterScorer(backbone, folders, usages)
    if first.classifier is None:
        return PromptScorer(backbone, template, first)
    (relearned,) = first.classifying(template).learn(backbone, first.scoring)
    return WholeScorer(relearned)


def _pet(folders: Sequence[Path], used: Usage, backbone: Backbone) -> PetPredictor:
    """Load PET's models, which answer by all templates, whichever one rows come in."""
    if len(folders) > 1:
        message = f"'{folders[0]}' and others: one is several models of PET, which answer by themselves"
        raise MethodError(message, hint="predict with each of them by itself")
    templates = {wording.index: used.template(wording.index) for wording in used.templates}
    return pet_folder.load(folders[0], backbone, templates, used.scoring)


def _saved_classifier(
    paths: dict[str, Path], usages: Sequence[Usage], templates: Sequence[Template], device: str
) -> RowPredictor:
    """Load a sentence model that was trained, with its head: it needs no other model."""
    if len(paths) > 1:
        message = f"'{next(iter(paths))}' is a trained sentence model, and no adapter that shares a model with others"
        raise MethodError(message, hint="predict with each of them by itself")
    (path,), (used,) = paths.values(), usages
    scorer = WholeScorer(classify.load(path, used.config, used.scoring, devices.find(device)))
    return RowPredictor(list(paths), usages, templates, None, scorer)
