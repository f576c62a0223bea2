"""An encoder as a rival of prompts and of what is tuned: it reads a text and writes none; a query is one pass of it.

What is learned on it, in the order of its time: a logistic regression on its embeddings, which takes seconds; a layer
on its pooled state with LoRA beside it; SetFit, which trains all of it. A sentence model that is installed is compared
without being asked for, by the regression alone.
"""

import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from peftbench import registry
from peftbench.decision.strategies import Strategy
from peftbench.errors import ModelError
from peftbench.learners.progress import SILENT, Watch
from peftbench.models import foreign, source
from peftbench.models.load import CONFIG, read_config, read_tables
from peftbench.spec.packages import require

NONE = "none"
REGRESSION, SETFIT = "logistic_regression", "setfit"


@dataclass(frozen=True)
class Encoder:
    """An encoder that is compared.

    Args:
        name: Of a packaged sentence model, of a folder, or a hub id.
        is_asked_for: Whether somebody named it; else it is installed, and only what takes seconds is run.
        is_sentence_model: Whether it makes embeddings in its own way, and SetFit can train it.
        has_family: Whether a layer and LoRA can be trained on it: the family of models is known.
        has_own_steps: Whether its own settings say how many steps a training has.
        max_input_tokens: Texts are cut to so many; None cuts nothing.
    """

    name: str
    is_asked_for: bool
    is_sentence_model: bool
    has_family: bool
    has_own_steps: bool = False
    max_input_tokens: int | None = None

    @property
    def remark(self) -> str:
        """Why it is compared, and what of it is not."""
        if not self.is_asked_for:
            return (
                f"{self.name} is installed: logistic regression on its embeddings is compared, too, which takes "
                f"seconds (--encoder {self.name}: a layer with LoRA and SetFit besides; --encoder {NONE}: nothing)"
            )
        left_out = {
            "a layer with LoRA (the family of its config.json is not known here)": not self.has_family,
            f"SetFit (pip install 'peftbench[{SETFIT}]')": self.is_sentence_model and not _has(SETFIT),
            "SetFit (it is no sentence model)": not self.is_sentence_model,
        }
        missing = "; ".join(text for text, is_missing in left_out.items() if is_missing)
        return f"on {self.name} there is no {missing}" if missing else ""

    def quick(self, num_rows: int, num_steps: int) -> list[Strategy]:
        """List what takes seconds, or a minute.

        Args:
            num_rows: Of the smallest training part.
            num_steps: Of training, where it brings none of its own.
        """
        strategies = [self._strategy(f"logistic regression on {self.name}", method=REGRESSION, shots=num_rows)]
        if self.is_asked_for and self.has_family:
            training = {} if self.has_own_steps else {"num_steps": num_steps}
            name = f"a layer and lora on {self.name}"
            strategies.append(self._strategy(name, method="lora", shots=num_rows, training=training, answer="head"))
        return strategies

    def slow(self, num_rows: int) -> list[Strategy]:
        """List what takes minutes: SetFit."""
        if not (self.is_asked_for and self.is_sentence_model and _has(SETFIT)):
            return []
        return [self._strategy(f"SetFit on {self.name}", method=SETFIT, shots=num_rows)]

    def _strategy(self, name: str, answer: str | None = None, **fields: Any) -> Strategy:
        scoring = {"max_input_tokens": self.max_input_tokens, "answer": answer}
        return Strategy(name, {"model": self.name, "learner": "tune", "scoring": scoring, **fields})


def find(name: str | None, max_input_tokens: int | None = None, watch: Watch = SILENT) -> Encoder | None:
    """Find the encoder that is compared: the one that is named, else the sentence model that is installed.

    Args:
        name: None where nobody named one; `NONE` for none at all.
        max_input_tokens: Texts are cut to so many; None cuts nothing.
        watch: Is told why it is compared, and what of it is not.

    Raises:
        ModelError: There is none of this name, or it writes its answers.
        MethodError: scikit-learn is missing.
    """
    if name == NONE:
        return None
    if name is None:
        installed = [packaged for packaged in registry.SENTENCE_MODELS.values() if packaged.path()]
        encoder = _read(installed[0].name, is_asked_for=False) if installed and _has("sklearn") else None
    else:
        require("scikit-learn", "baselines", "--encoder")
        encoder = _read(name, is_asked_for=True)
    if encoder is None:
        return None
    if encoder.remark:
        watch.say(encoder.remark)
    return replace(encoder, max_input_tokens=max_input_tokens)


def _read(name: str, *, is_asked_for: bool) -> Encoder:
    is_sentence_model, path = source.is_sentence_model(name), source.find(name)
    has_family = not is_sentence_model or _model_type(path) in registry.FAMILIES
    if has_family:
        _check_reads(name, path)
    tune = read_tables(source.settings(name, path)).get("tune", {})
    return Encoder(name, is_asked_for, is_sentence_model, has_family, has_own_steps="num_steps" in tune)


def _model_type(path: Path) -> str | None:
    """Read the family of a sentence model; None where its encoder has a folder of its own."""
    config = path / CONFIG
    return foreign.read_object(config).get("model_type") if config.is_file() else None


def _check_reads(name: str, path: Path) -> None:
    config = read_config(path)
    if not registry.family(config.model_type).sizes(config).is_encoder_only:
        raise ModelError(
            f"--encoder '{name}' writes its answers, and an encoder does nothing but read",
            hint=f"a sentence model, or a BERT, RoBERTa, DeBERTa or ModernBERT; --encoder {NONE} for none",
        )


def _has(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
