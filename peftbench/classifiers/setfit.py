r"""SetFit: a sentence model is trained on pairs of shots, then logistic regression on its embeddings: no prompt.

    L(i, j) = (cos(e(x_i), e(x_j)) - [y_i = y_j])^2      over R pairs of one class and R of two classes for each shot
    p(c | x) = softmax_c(w_c e(x) + b_c)                  on the embeddings of the trained model

All weights of the encoder are trained, and kept: it is no PEFT method. The setfit library draws the pairs and trains;
R, the number of epochs, the batch size and the rate are the paper's, fixed before any score was seen.

Paper: 2209.11055, section 3.
Differs: embeddings have length 1, also of a sentence model that does not make them so; the library's head then reads
    them as they come. Where the folder has a Normalize, as all-MiniLM's, both are the same. The model's pooler, which
    embeddings do not pass, is not kept.
"""

import random
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field

from peftbench.classifiers import logistic_regression
from peftbench.classifiers.base import Array, Classifier, ClassifierConfig, Trained
from peftbench.classifiers.logistic_regression import Regression
from peftbench.errors import RunError
from peftbench.models import foreign
from peftbench.models.load import quiet
from peftbench.models.sentence_model import LAYOUT, SentenceModel
from peftbench.spec import limits

PAPER = "2209.11055"


class Config(ClassifierConfig):
    """Settings of SetFit.

    Args:
        num_iterations: R: pairs of one class for each shot, and as many of two classes.
        num_epochs: How often each pair is trained on.
        batch_size: Pairs of a step.
        lr: Peak learning rate of AdamW, after a warm-up of a tenth of the steps.
        C: Of the logistic regression: weight of the shots' loss against that of the weights' squares.
    """

    num_iterations: int = Field(20, ge=1, le=1000)
    num_epochs: int = Field(1, ge=1, le=100)
    batch_size: int = Field(16, ge=1, le=limits.MAX_BATCH_SIZE)
    lr: float = Field(2e-5, gt=0, le=1, allow_inf_nan=False)
    C: float = Field(1.0, gt=0, le=1e6, allow_inf_nan=False)


def num_trained(num_shots: int, config: Config) -> int:
    """Count the texts that training reads: two for each pair."""
    return 2 * 2 * config.num_iterations * num_shots * config.num_epochs


def train(encoder: SentenceModel, texts: Sequence[str], labels: Sequence[int], config: Config, seed: int) -> Trained:
    """Train a sentence model on pairs of texts.

    Args:
        encoder: Stays as it is.
        texts: Of the shots.
        labels: Of the shots, two different ones at least.
        config: The settings.
        seed: Orders the pairs; which they are follows from the texts alone.

    Returns:
        The trained model, and the tokens of each text of each pair.

    Raises:
        RunError: Training broke.
    """
    from setfit import SetFitModel, Trainer, TrainingArguments
    from setfit.logging import set_verbosity_error
    from transformers.trainer_callback import PrinterCallback, ProgressCallback

    set_verbosity_error()
    with _apart(seed), tempfile.TemporaryDirectory() as scratch:
        body = _body(encoder)
        arguments = TrainingArguments(
            output_dir=scratch, num_iterations=config.num_iterations, num_epochs=config.num_epochs,
            batch_size=config.batch_size, body_learning_rate=config.lr, seed=seed, show_progress_bar=False,
            report_to="none", logging_strategy="no", save_strategy="no", eval_strategy="no",
        )  # fmt: skip
        trainer = Trainer(SetFitModel(model_body=body, model_head=None), arguments)
        for printer in (PrinterCallback, ProgressCallback):  # stdout is for results
            trainer.remove_callback(printer)
        pairs, _ = trainer.get_dataset(list(texts), list(labels), arguments)
        trainer.train_embeddings(list(texts), list(labels), args=arguments)
    trained = encoder.with_weights(body[0].auto_model.state_dict())
    if not all(weight.isfinite().all() for weight in body.state_dict().values()):
        raise RunError(f"SetFit's training of '{encoder.name}' gave weights that are not finite", hint="--set lr=1e-5")
    tokens = {text: len(ids) for text, ids in zip(texts, encoder.ids(texts), strict=True)}
    read = [tokens[pair[side]] for pair in pairs for side in ("sentence_1", "sentence_2")]
    return Trained(trained, tuple(read) * config.num_epochs)


def fit(embeddings: Array, labels: Sequence[int], num_classes: int, config: Config) -> Regression:
    """Fit the head to the trained model's embeddings."""
    return logistic_regression.fit(embeddings, labels, num_classes, logistic_regression.Config(C=config.C))


def _body(encoder: SentenceModel) -> Any:
    """Load the folder of a sentence model, which was checked when it was read, as the library has it."""
    from sentence_transformers import SentenceTransformer

    with foreign.reading(Path(encoder.name), fault="holds no model that sentence-transformers loads", hint=LAYOUT):
        return SentenceTransformer(
            encoder.name, device=str(encoder.device), local_files_only=True, trust_remote_code=False
        )


@contextmanager
def _apart(seed: int) -> Iterator[None]:
    """Seed all generators inside, and leave them outside as they were; libraries print nothing."""
    states: tuple[Any, Any] = random.getstate(), np.random.get_state()
    with quiet(), warnings.catch_warnings(action="ignore"), torch.random.fork_rng():
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


CLASSIFIER = Classifier("setfit", "setfit", "setfit", True, Config, fit, train, num_trained)
