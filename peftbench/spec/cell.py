"""A cell says one run in full: model, task, learner, shots, seed, templates. It gives one record."""

import math
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_serializer, model_validator

from peftbench.spec import limits
from peftbench.spec.settings import Settings, Unfit

End = Literal["eos", "separator", "none"]


Answer = Literal["cloze", "head"]


Draw = Literal["plain", "balanced", "file", "kmeans"]


Select = Literal["random", "bm25", "embedding"]
"""How shots come before a query: the seed's draw before all of them, or chosen for each (`peftbench.selection`)."""


CalibrateBy = Literal["contextual", "batch", "domain"]
"""What the prompts read that say which answers a model leans to: no content, training rows, or words of theirs."""


Sweep = Literal["lr"]


MANY = 20
"""Shots from which on nobody asks for all orders."""


BLOCK_SHOTS = 16
"""Shots of a block, where attention is in blocks."""


CONTENT_FREE = ("N/A", "[MASK]")


class TaskSpec(Settings):
    """Which task: a name, a group, a path to a task TOML, or one's own rows.

    Args:
        name: Task name, or path to a TOML; with `template` given, the name that the record shows.
        train: File of training rows; replaces the task's own.
        test: File of test rows; replaces the task's own.
        template: Jinja "input ||| target" for rows without a task TOML.
        choices: Answer choices that go with `template`.
        label: The label's column, with `template`; None: the one that the template's target names.
        classes: How classes are written in that column, in the order of `choices`; None: as the choices are.
        data: Folder of tasks' rows: data/NAME/train and test, in .jsonl, .csv, .tsv or .parquet, in place of the hub's.
    """

    name: str
    train: Path | None = None
    test: Path | None = None
    template: str | None = None
    choices: tuple[str, ...] | None = None
    label: str | None = None
    classes: tuple[str, ...] | None = None
    data: Path | None = None


class Training(Settings):
    """How a method's parameters are trained; the values here are T-Few's for (IA)^3.

    Args:
        optimizer: Adafactor, as T-Few; the methods' rates were chosen for it, and AdamW takes the same ones.
        lr: Peak learning rate, reached after warm-up, then decayed linearly to zero.
        num_steps: Optimiser steps.
        batch_size: Examples per step; each comes with all its answer choices.
        weight_decay: Pulls all that is trained towards zero, (IA)^3's vectors and norms too, whose neutral value is 1.
        warmup_ratio: Share of the steps in which the rate rises: 0.06 is 60 of 1000.
        scale_parameter: Adafactor only: scale each step by the parameter's root mean square. It shrinks the first
            steps of zero-initialised parameters a thousandfold (1e-3 is its floor).
        max_grad_norm: Global gradient norm above which gradients are scaled down.
        lm_loss: Weight of L_LM; 0 leaves the loss out.
        unlikelihood_loss: Weight of L_UL.
        length_norm_loss: Weight of L_LN.
        loss_form: "paper" for the equations, "t-few" for what the authors' code computes.
        label_smoothing: Share of L_LM's target that all tokens of the vocabulary have alike; it goes with L_LM alone.
        stop: "plateau" ends training before `num_steps` where its loss has not fallen by 1 % for 100 steps
            (`learners.plateau` has the rule). The rate decays by `num_steps` all the same, so that a training that is
            stopped ends at a higher rate than one of so few steps; so does a schedule of the method's own.
        activation_checkpointing: Keep what enters each layer alone, and compute the rest again in the backward pass:
            less memory, a second forward pass through the layers that are run backward, the same gradients.
        accumulate: Cut each batch into so many parts, which are run one after another and whose gradients are added
            up: less memory, and the batch, the steps and the gradients stay what they are. (Elsewhere "gradient
            accumulation" may mean batches that are so many times as large.) A model's own dropout draws differently.
        train_backbone: Train all of the model's own parameters beside the method's; all of it is saved.
        backbone_lr: Their peak learning rate.

    Paper: 2205.05638, section 3.2 (losses) and appendix (optimisation); 1512.00567, section 7 (label smoothing);
        2103.10385, section 4 (the model trained with the prompt).
    """

    optimizer: Literal["adafactor", "adamw"] = "adafactor"
    lr: float = Field(3e-3, gt=0, allow_inf_nan=False)
    num_steps: int = Field(1000, ge=0, le=limits.MAX_STEPS_OF_TRAINING)
    batch_size: int = Field(8, ge=1, le=limits.MAX_BATCH_SIZE)
    warmup_ratio: float = Field(0.06, ge=0, le=1)
    weight_decay: float = Field(0.0, ge=0)
    scale_parameter: bool = True
    max_grad_norm: float = Field(1.0, gt=0)
    lm_loss: float = Field(1.0, ge=0)
    unlikelihood_loss: float = Field(1.0, ge=0)
    length_norm_loss: float = Field(1.0, ge=0)
    loss_form: Literal["paper", "t-few"] = "paper"
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    stop: Literal["never", "plateau"] = "never"
    activation_checkpointing: bool = False
    accumulate: int = Field(1, ge=1, le=limits.MAX_BATCH_SIZE)
    train_backbone: bool = False
    backbone_lr: float = Field(1e-5, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _rate_of_what_is_trained(self) -> "Training":
        if self.backbone_lr != 1e-5 and not self.train_backbone:
            raise ValueError("backbone_lr goes with train_backbone, which is off")
        return self

    @model_validator(mode="after")
    def _parts_of_a_batch(self) -> "Training":
        if self.accumulate > self.batch_size:
            raise ValueError(f"accumulate = {self.accumulate} parts of a batch of {self.batch_size}; at most so many")
        return self

    @model_validator(mode="after")
    def _some_loss(self) -> "Training":
        if not (self.lm_loss or self.unlikelihood_loss or self.length_norm_loss):
            raise ValueError("all three losses are off; give at least one of them a weight")
        if self.label_smoothing and (self.unlikelihood_loss or self.length_norm_loss):
            message = "label_smoothing is of L_LM, and losses over the answer choices are on"
            raise ValueError(f"{message}: unlikelihood_loss = 0, length_norm_loss = 0")
        return self

    @model_serializer(mode="wrap")
    def _without_what_is_off(self, serialize: Any) -> dict[str, Any]:
        """Leave out what came later where it is off: it does not make another training of those before it."""
        table: dict[str, Any] = serialize(self)
        off = UNLESS_SET | ({} if self.train_backbone else {"backbone_lr": self.backbone_lr})
        return {name: value for name, value in table.items() if (name, value) not in off.items()}


UNLESS_SET: dict[str, Any] = {
    "stop": "never",
    "label_smoothing": 0.0,
    "activation_checkpointing": False,
    "accumulate": 1,
    "train_backbone": False,
}
"""Settings of training that are in no identity where they are off: others had ids before them."""


LATER = ("select", "embedder", "pool", "calibrate_by", "attention", "block_shots")
"""Options of in-context learning that are in no identity where they are off: others had ids before them."""


class IclOptions(Settings):
    """Options of in-context learning.

    Args:
        fit_shots: Take as many shots as the model's positions hold, where they do not hold all; recorded.
        order: Which order the shots stand in: 0 is that of the draw, each other number another one.
        labels: Labels that the shots show; the queries keep theirs. "random" draws from the answer choices, "flipped"
            takes the next choice, and the first for the last.
        ensemble: One prompt that holds all shots ("none"), or one for each shot, whose answers are joined: "mean" of
            the probabilities of each choice, or majority "vote".
        calibrate: Divide each choice's probability by the one that it has whatever is asked (`learners.calibration`).
        calibrate_by: How that is estimated: from queries without content ("contextual"), from training rows that are no
            shots ("batch"), or from random words of such rows ("domain").
        content_free: What stands in place of a row's texts where there is no content.
        as_prefix: Save the shots' keys and values as an adapter of prefix tuning, and answer with it.
        select: "random" draws shots, the same for all queries (`Cell.draw` says how); any other name chooses for each
            query those training rows that are most like it.
        embedder: Folder of a sentence model that "embedding" compares texts by; None for the model's own states.
        pool: How many rows `Cell.draw` draws for shots to be chosen from; None for all training rows.
        attention: "full", or in blocks that do not see each other, while the query sees them all ("block").
        block_shots: Shots of a block.

    Paper: 2102.09690 (orders, calibration), 2309.17249 and 2305.19148 (calibration by batch and by domain), 2202.12837
        (labels), 2205.05638, appendix F (ensemble), 2101.06804 (shots chosen for each query), 2405.00200
        (blocks).
    """

    fit_shots: bool = False
    order: int = Field(0, ge=0, lt=limits.MAX_ORDERS)
    labels: Literal["gold", "random", "flipped"] = "gold"
    ensemble: Literal["none", "mean", "vote"] = "none"
    calibrate: bool = False
    calibrate_by: CalibrateBy = "contextual"
    content_free: tuple[str, ...] = Field(CONTENT_FREE, min_length=1)
    as_prefix: bool = False
    select: Select = "random"
    embedder: Path | None = None
    pool: int | None = Field(None, ge=1, le=limits.MAX_SHOTS)
    attention: Literal["full", "block"] = "full"
    block_shots: int = Field(BLOCK_SHOTS, ge=1, le=limits.MAX_SHOTS)

    @property
    def is_chosen(self) -> bool:
        """Whether each query has shots of its own."""
        return self.select != "random"

    @property
    def calibrates_by_rows(self) -> bool:
        """Whether training rows say which answers the model leans to."""
        return self.calibrate and self.calibrate_by != "contextual"

    @model_serializer(mode="wrap")
    def _without_later(self, serialize: Any) -> dict[str, Any]:
        """Leave out what came later and is off, so that options are written down as they always were."""
        table: dict[str, Any] = serialize(self)
        off = {name: IclOptions.model_fields[name].default for name in LATER}
        on = {"block_shots": self.block_shots} if self.attention == "block" else {}  # a default of now, too
        return {name: value for name, value in table.items() if name not in off or value != off[name]} | on

    def faults(self, shots: int) -> list[str]:
        """List what cannot be done with so many shots, or not together."""
        num_orders, is_many = math.factorial(min(shots, MANY)), self.ensemble != "none"
        by, calibrated = f"select = {self.select}", f"calibrate_by = {self.calibrate_by}"
        is_by_rows = self.calibrate_by != "contextual"
        faults = {
            f"labels = {self.labels} without a shot to relabel": self.labels != "gold" and not shots,
            f"ensemble = {self.ensemble} is of one-shot prompts, and there is no shot": is_many and not shots,
            "without shots there is nothing to save as a prefix": self.as_prefix and not shots,
            "a prefix is one prompt, and an ensemble is many": self.as_prefix and is_many,
            "a prefix is an adapter like any other, and nothing calibrates those": self.as_prefix and self.calibrate,
            "an ensemble's prompts have one shot each, which has no order": self.order > 0 and is_many,
            f"shots = {shots} can stand in no more than {num_orders} orders": self.order >= num_orders > 1,
            f"shots = {shots} can stand in one order only": self.order >= num_orders == 1,
            "content_free goes with calibrate, which is off": self.content_free != CONTENT_FREE and not self.calibrate,
            f"{calibrated} goes with calibrate, which is off": is_by_rows and not self.calibrate,
            f"content_free goes with calibrate_by = contextual, and {calibrated} reads training rows": is_by_rows
            and self.content_free != CONTENT_FREE,
            f"{calibrated} is of prompts with the same shots, and {by} makes one for each query": is_by_rows
            and self.is_chosen,
            "embedder goes with select = embedding": self.embedder is not None and self.select != "embedding",
            f"{by} chooses shots, and there is none": self.is_chosen and not shots,
            f"pool = {self.pool} rows to choose from, and {by} chooses none": bool(self.pool) and not self.is_chosen,
            f"shots = {shots} cannot be chosen from pool = {self.pool} rows": shots > (self.pool or shots),
            **self._block_faults(shots),
            f"a prefix is one prompt, and {by} makes one for each query": self.as_prefix and self.is_chosen,
            f"an ensemble has a prompt for each shot, and with {by} queries share none": is_many and self.is_chosen,
        }
        return [text for text, is_so in faults.items() if is_so]

    def _block_faults(self, shots: int) -> dict[str, bool]:
        """List what does not go with blocks of shots, and whether it is so."""
        is_block, by = self.attention == "block", f"select = {self.select}"
        return {
            "block_shots goes with attention = block": self.block_shots != BLOCK_SHOTS and not is_block,
            "attention = block puts shots into blocks, and there is none": is_block and not shots,
            "an ensemble's prompts have one shot each, which is one block": is_block and self.ensemble != "none",
            "as_prefix saves what attention = full computes": is_block and self.as_prefix,
            f"blocks are run once for all queries, and with {by} each has its own shots": is_block and self.is_chosen,
        }


SEPARATOR = "\n\n"
OFF = {"chat": False, "system": None, "answer": None, "pll": True}
"""Settings of scoring that came later, as they are where they are off."""


class _ScoringFields(Settings):
    separator: str = SEPARATOR
    max_input_tokens: int | None = Field(None, ge=1)
    cache: bool = True
    chat: bool = False
    system: str | None = None
    answer: Answer | None = None
    pll: bool = True

    @model_validator(mode="after")
    def _turns(self) -> "_ScoringFields":
        end = getattr(self, "end", None)
        faults = {
            "system goes with chat, which is off": self.system is not None and not self.chat,
            "turns of a conversation have no separator": self.chat and self.separator != SEPARATOR,
            "pll says how answers in their place are scored, and answer = head has none": self.answer == "head"
            and not self.pll,
            'end = "separator" goes with plain text, and chat is on': self.chat and end == "separator",
        }
        if any(faults.values()):
            raise ValueError("; ".join(text for text, is_so in faults.items() if is_so))
        return self

    @model_serializer(mode="wrap")
    def _without_chat(self, serialize: Any) -> dict[str, Any]:
        """Leave out what came later and is off: plain text is written down as it always was."""
        table: dict[str, Any] = serialize(self)
        return {name: value for name, value in table.items() if name not in OFF or value != OFF[name]}


class Scoring(_ScoringFields):
    """How answer choices are scored; the same for both learners.

    Args:
        end: What closes an answer and is scored with it; in a conversation "eos" is the token that ends the turn.
        separator: The text between shots.
        max_input_tokens: Cut each example's input to this many tokens (T-Few: 256); None cuts nothing.
        cache: Whether prompts share the keys and values of the tokens that they have in common.
        chat: Whether prompts are turns of the model's chat template: user, the input; assistant, the answer.
        system: What the conversation begins with; None leaves it to the template.
        answer: How an encoder-only model answers: "cloze", in the answer's place in the text, or "head", by a layer on
            the text's pooled state, which is trained (`scoring.cloze`). None for other models.
        pll: Whether answers of several tokens are scored in their place, each token by itself; else they are refused.
    """

    end: End


class ScoringOptions(_ScoringFields):
    """Scoring as it is asked for, before the kind of model is known.

    Args:
        end: None takes the model kind's own: "eos" for encoder-decoders (as T-Few), "none" for decoder-only models (as
            lm-evaluation-harness). The other fields are those of `Scoring`.
    """

    end: End | None = None

    def resolved(self, *, is_encoder_decoder: bool, is_encoder_only: bool = False) -> Scoring:
        """Choose the end and the way to answer where none was asked for."""
        end = self.end or ("eos" if is_encoder_decoder else "none")
        answer = self.answer or ("cloze" if is_encoder_only else None)
        return Scoring.model_validate({**self.model_dump(), "end": end, "answer": answer})


class Fold(Settings):
    """One part of a task's training rows: it is tested by what is learned from the other parts.

    Args:
        index: Which part, from 0.
        of: How many there are.
        group: Column of rows that belong together: those with one value stand in one part.
    """

    index: int = Field(ge=0)
    of: int = Field(ge=2, le=limits.MAX_FOLDS)
    group: str | None = None

    @model_validator(mode="after")
    def _index_is_one_of_them(self) -> "Fold":
        if self.index >= self.of:
            raise ValueError(f"fold {self.index} of {self.of}: they are counted from 0")
        return self


LOOPBACK = "http://127.0.0.1:8080"
"""Where llama.cpp's server is, if nobody says otherwise."""


class Server(Settings):
    """A server that answers for a model which is not loaded here.

    Args:
        url: Its address, with or without /v1; by default on this machine.
        tokenizer: The served model's: a folder, a GGUF file, a name of `list models` or a hub id; None: by the
            model's name.
        config: The served model's shapes, to count its FLOPs: as `cost --model` takes them; None leaves them absent.
        dialect: How it is asked; None: a probe finds out.
        concurrency: Requests at once.
        key_variable: Environment variable that holds its key; None where it wants none.
    """

    url: str = LOOPBACK
    tokenizer: str | None = None
    config: str | None = None
    dialect: Literal["next-token", "echo", "sglang"] | None = None
    concurrency: int = Field(8, ge=1, le=limits.MAX_CONCURRENCY)
    key_variable: str | None = None

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, url: str) -> str:
        if re.search("[@?#]", url):  # not shown: what stands there may be a key
            message = "an address has no user, password or query, which would stand in messages"
            raise Unfit(message, hint="the address alone; --key-variable names the environment variable with the key")
        if not re.fullmatch(r"https?://[^\s/]+(/\S*)?", url):
            raise Unfit(f"'{url[:80]}' is no address such as {LOOPBACK}", hint="http://HOST:PORT, or https://HOST")
        return url.rstrip("/").removesuffix("/v1")


SERVED = "served:"
"""What the names of served models begin with."""


class Cell(Settings):
    """One run: (model, task, learner, shots, seed), all its templates inside. It gives one record.

    Args:
        seed: Draws the shots, and splits the rows into folds.
        draw: How shots are drawn from the training rows; see `tasks.shots.draw`, and for "kmeans", by which the model
            chooses them, `selection.kmeans`.
        fold: Which part of the training rows is tested, in place of test rows; None for the test rows.
        source_task: Task that is tuned on, where it is not `task`, whose test rows are answered.
        start_from: Adapter whose values tuning starts from: a folder (ours, or the peft library's), or a
            checkpoint file of T-Few's authors.
        sweep: Choose the learning rate by cross-validation on the shots, before all of them are trained on.
        server: Who answers for a model called served:NAME; None of models that are loaded here.
        device_map: Spread the model over devices: "auto", "balanced", or a JSON file of module -> device; None: one.
        load: Pack the layers' matrices into so many bits, by bitsandbytes; None: they are of `dtype`.
    """

    learner: Literal["icl", "tune"]
    model: str
    revision: str | None = None
    task: TaskSpec
    shots: int = Field(32, ge=0, le=limits.MAX_SHOTS)
    seed: int = Field(0, ge=0, le=limits.MAX_SEED)
    templates: tuple[int, ...] | None = None
    limit: int | None = Field(None, ge=1)
    draw: Draw = "plain"
    fold: Fold | None = None
    source_task: TaskSpec | None = None
    method: str | None = None
    method_config: dict[str, Any] = {}
    training: dict[str, Any] = {}
    start_from: Path | None = None
    sweep: Sweep | None = None
    icl: IclOptions = IclOptions()
    scoring: ScoringOptions = ScoringOptions()
    server: Server | None = None
    device: str = "auto"
    device_map: str | None = None
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    load: Literal["4bit", "8bit"] | None = None
    allow_pickle: bool = False

    @property
    def weights(self) -> tuple[Any, ...]:
        """What decides which weights are loaded, and how and where: cells that have it in common share a model."""
        where = self.device, self.device_map, self.server
        return self.model, self.revision, self.dtype, self.load, self.allow_pickle, *where

    @property
    def learning(self) -> str:
        """What is learned, as JSON: cells of tuning that have it in common differ in what is asked alone."""
        learned = {"task": self.source_task or self.task, "source_task": None, "limit": None}
        return self.model_copy(update=learned).model_dump_json()

    @model_validator(mode="after")
    def _method_goes_with_tune(self) -> "Cell":
        if (self.learner == "tune") != (self.method is not None):
            raise ValueError("learner 'tune' needs a method, and learner 'icl' takes none")
        if self.learner == "tune" and not self.shots:
            raise ValueError("tuning needs at least one shot; `icl` with shots = 0 is zero-shot")
        if self.learner == "tune" and self.icl != IclOptions():
            raise ValueError("options of icl go with learner 'icl'")
        if self.learner == "icl" and self.scoring.answer == "head":
            raise Unfit("answer = head is a layer that is trained, and icl trains nothing", hint="learner 'tune'")
        if self.learner == "icl" and (self.start_from or self.sweep):
            raise ValueError("start_from and sweep go with learner 'tune'")
        if self.sweep and self.shots < 2:
            raise ValueError("a sweep sets some shots aside to choose by: it takes 2 shots or more")
        return self

    @model_validator(mode="after")
    def _another_task_is_tuned_on(self) -> "Cell":
        faults = {
            "a prompt shows rows of the task that it asks: what is learned on another task goes with learner 'tune'": (
                self.learner == "icl"
            ),
            "folds test the rows of the task that is tuned on, and transfer those of another": self.fold is not None,
            f"'{self.task.name}' is tuned on, and transfer goes to another task": self.source_task == self.task,
        }
        if self.source_task is not None and any(faults.values()):
            raise ValueError("; ".join(text for text, is_so in faults.items() if is_so))
        return self

    @model_validator(mode="after")
    def _served_models_answer_and_no_more(self) -> "Cell":
        is_named = self.model.startswith(SERVED)
        if self.server is None and not is_named:
            return self
        faults = self._unserved()
        if faults:
            raise Unfit("; ".join(faults), hint=next(iter(faults.values())))
        return self

    def _unserved(self) -> dict[str, str]:
        """List what of this cell no server does, each with what would do."""
        states = "hidden states, which a server does not give"
        masks = "an encoder's masks, which a server does not give"
        cached = "keys and values, which a server does not give"
        options, is_tuned, is_named = self.icl, self.learner == "tune", self.model.startswith(SERVED)
        own_states = options.select == "embedding" and options.embedder is None
        no_server = f"model = {self.model} is on a server, and server does not say which"
        no_weights = "a server gives no weights to tune: learner 'tune' needs a model that is loaded here"
        loadable = "without it, or with the same weights loaded here: --model FOLDER"
        faults = [
            (self.server is None and not is_tuned, no_server, "server: http://HOST:PORT"),
            (not is_named, f"server answers for {SERVED}NAME, and model = {self.model}", f"{SERVED}{self.model}"),
            (is_tuned, no_weights, "learner 'icl' prompts it; 'tune' takes the same weights from a folder or the hub"),
            (options.attention == "block", f"attention = block keeps {cached}", loadable),
            (options.as_prefix, f"as_prefix saves {cached}", loadable),
            (self.draw == "kmeans", f"draw = kmeans reads {states}", "draw = plain or balanced"),
            (own_states, f"select = embedding reads {states}", "--embedder FOLDER reads texts in its place; or bm25"),
            (self.scoring.answer is not None or not self.scoring.pll, f"answer and pll read {masks}", "without them"),
            (self.device_map is not None, "device_map spreads weights, and a server has its own", "without it"),
            (
                self.dtype != "float32" or self.revision is not None or self.load is not None,
                "dtype, revision and load are the server's",
                "without them: the server was started with its own",
            ),
        ]
        return {text: hint for is_so, text, hint in faults if is_so}

    @model_validator(mode="after")
    def _folds_are_what_is_tested(self) -> "Cell":
        faults = {
            "folds are tested, and the rows of task.test would not be used": self.task.test is not None,
            "folds test each row, and limit would leave some out": self.limit is not None,
            "folds set rows aside, and draw = file says which rows are the shots": self.draw == "file",
        }
        if self.fold is not None and any(faults.values()):
            raise ValueError("; ".join(text for text, is_so in faults.items() if is_so))
        return self

    @field_validator("method_config")
    @classmethod
    def _settings_are_sizes_of_models(cls, config: dict[str, Any]) -> dict[str, Any]:
        for name, value in config.items():
            if isinstance(value, int) and abs(value) > limits.MAX_SETTING:
                raise ValueError(f"{name} = {value:,}, and {limits.MAX_SETTING:,} is the most")
        return config

    @model_validator(mode="after")
    def _options_go_with_shots(self) -> "Cell":
        faults = self.icl.faults(self.shots)
        if self.icl.as_prefix and self.scoring.chat:
            faults.append(
                "as_prefix goes with plain text: a query's turn after a prefix would open a conversation again"
            )
        if self.icl.attention == "block" and not self.scoring.cache:
            faults.append("attention = block keeps the keys and values of blocks, and cache is off")
        if self.icl.pool is not None and self.draw == "kmeans":
            faults.append("the model draws with draw = kmeans, and draws no pool")
        if self.icl.is_chosen and self.icl.pool is None:
            faults += self._choosing_faults()
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def _choosing_faults(self) -> list[str]:
        """List what says of shots that are chosen from all rows for each query that something is drawn."""
        by, is_seeded = f"select = {self.icl.select}", self.icl.labels == "random" or self.icl.order > 0
        faults = {
            f"draw = {self.draw} and {by} both say which rows are shots": self.draw != "plain",
            f"{by} draws nothing, so that seed = {self.seed} would give what seed = 0 gives": self.seed > 0
            and self.fold is None
            and not is_seeded,
        }
        return [text for text, is_so in faults.items() if is_so]
