"""The files of a folder that the peft library wrote, and what no method here takes from it."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from peftbench.adapters.peft.write import CONFIG, NOTE, TENSORS
from peftbench.errors import MethodError
from peftbench.methods.parts.peft_adapter import PeftAdapter
from peftbench.methods.parts.peft_form import PREFIX

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


def fields(path: Path) -> dict[str, Any]:
    """Read adapter_config.json.

    Raises:
        MethodError: It is damaged.
    """
    try:
        fields = json.loads((path / CONFIG).read_text(encoding="utf-8"))
        if not isinstance(fields, dict):
            raise ValueError("not an object")
    except (OSError, ValueError) as error:
        raise MethodError(f"'{path / CONFIG}' is damaged: {error}", hint="copy the folder again") from None
    return fields


def tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
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
    try:
        with safe_open(file, "pt") as opened:
            note = json.loads((opened.metadata() or {}).get(NOTE, "{}"))
            names = list(opened.keys())
            return {name.removeprefix(PREFIX): opened.get_tensor(name).float() for name in names}, note
    except (SafetensorError, OSError, ValueError) as error:
        raise MethodError(f"'{file}' is damaged: {error}", hint="copy the folder again") from None


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
            raise adapter.refused(f"it has {name} = {shown if len(shown) < 60 else '{...}'}", FOLD)
