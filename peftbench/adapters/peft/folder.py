"""The files of a folder that the peft library wrote, and what no method here takes from it."""

import json
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from safetensors import safe_open
from torch import Tensor

from peftbench.adapters.peft.write import CONFIG, NOTE, TENSORS
from peftbench.errors import MethodError
from peftbench.methods.parts.peft_adapter import PeftAdapter
from peftbench.methods.parts.peft_form import PREFIX
from peftbench.models import foreign
from peftbench.spec.settings import checked

# Fields of peft's configs that do not change what a trained adapter computes, or that are looked at below.
HARMLESS = {
    *("auto_mapping", "base_model_name_or_path", "revision", "inference_mode", "peft_type", "peft_version"),
    *("task_type", "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "feedforward_modules"),
    *("r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern", "lora_dropout", "init_lora_weights"),
    *("fan_in_fan_out", "megatron_core", "qalora_group_size", "init_ia3_weights", "init_weights", "token_dim"),
    *("num_virtual_tokens", "num_transformer_submodules", "num_attention_heads", "num_layers", "prompt_tuning_init"),
    *("prompt_tuning_init_text", "tokenizer_name_or_path", "tokenizer_kwargs", "encoder_reparameterization_type"),
    *("encoder_hidden_size", "encoder_num_layers", "encoder_dropout", "target_r", "init_r", "tinit", "tfinal"),
    *("deltaT", "beta1", "beta2", "orth_reg_weight", "total_step"),
}
FOLD = "fold it into its model with peft's merge_and_unload, and tune that model"
# Starts that peft takes out of the model's own weights when it loads the adapter again.
REWRITING = ("pissa", "olora", "corda", "loftq", "lora_ga")


MAX_TEXT = 1000
"""Characters of a name in a config."""
AGAIN = "copy the folder again"


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("it has characters that cannot be printed")
    return text


Text = Annotated[str, Field(max_length=MAX_TEXT), AfterValidator(_printable)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Number = Annotated[float, Field(allow_inf_nan=False)]


class Fields(BaseModel):
    """The fields of adapter_config.json that are used here; peft has more."""

    model_config: ClassVar[ConfigDict] = ConfigDict(strict=True, extra="ignore")

    peft_type: Text | None = None
    task_type: Text | None = None
    base_model_name_or_path: Text | None = None
    lora_alpha: Number = 8
    alpha_pattern: dict[Text, Number] | None = None
    init_r: Count = 12
    target_r: Count = 8
    num_virtual_tokens: Count | None = None


class Note(BaseModel):
    """What this package leaves with the tensors of an adapter that it writes."""

    model_config: ClassVar[ConfigDict] = ConfigDict(strict=True, extra="ignore")

    method: str | None = None
    config: dict[str, Any] = {}
    fingerprint: str | None = None
    model_sha256: str | None = None


def fields(path: Path) -> dict[str, Any]:
    """Read adapter_config.json.

    Raises:
        MethodError: It is damaged, or a field that is used here has a value of another kind.
    """
    table = foreign.read_object(path / CONFIG, MethodError)
    checked(Fields, table, f"'{path / CONFIG}'", MethodError)
    return table


def tensors(path: Path) -> tuple[dict[str, Tensor], Note]:
    """Read the tensors as float32, by peft's names, and the note that this package left with them.

    Raises:
        MethodError: None there, or damaged.
    """
    file = path / TENSORS
    if not file.is_file():
        raise MethodError(
            f"peft adapter '{path}' has no {TENSORS}",
            hint="pickles (.bin) are not read: save it again with peft's save_pretrained",
        )
    with foreign.reading(file, MethodError, hint=AGAIN), safe_open(file, "pt") as opened:
        note = json.loads((opened.metadata() or {}).get(NOTE, "{}"))
        values = {name.removeprefix(PREFIX): opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    for name, value in values.items():
        if not (value.is_floating_point() and value.numel() and name.isprintable() and len(name) <= MAX_TEXT):
            what = f"'{foreign.line(name)}' holds no floating-point numbers, or is no name of a tensor"
            raise MethodError(f"'{file}' is damaged: {what}", hint=AGAIN)
    if not values:
        raise MethodError(f"'{file}' is damaged: it holds no tensor", hint=AGAIN)
    if not isinstance(note, dict):
        raise MethodError(f"'{file}' is damaged: its note is no table", hint=AGAIN)
    checked_note = checked(Note, note, f"note in '{file}'", MethodError)
    return {name: value.float() for name, value in values.items()}, checked_note


def check(adapter: PeftAdapter) -> None:
    """Refuse what peft would compute and no method here does.

    Raises:
        MethodError: Names it.
    """
    expected = "SEQ_2_SEQ_LM" if adapter.base.is_encoder_decoder else "CAUSAL_LM"
    if adapter.fields.get("task_type") not in (None, expected):
        raise adapter.refused(
            f"its task_type is {adapter.fields['task_type']}", f"adapters of {expected} go on a model of this kind"
        )
    start = str(adapter.fields.get("init_lora_weights"))
    if start.startswith(REWRITING):
        raise adapter.refused(
            f"init_lora_weights = {start} rewrites the model's own weights",
            FOLD,
        )
    for name, value in adapter.fields.items():
        if name not in HARMLESS and value not in (None, False, 0, "", "none", [], {}):
            shown = json.dumps(value)
            raise adapter.refused(f"it has {foreign.line(name)} = {shown if len(shown) < 60 else '{...}'}", FOLD)
