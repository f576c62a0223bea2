"""Our adapters in the layout of the peft library, for the methods that have a form there (`PEFT` in their files)."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from peftbench import registry
from peftbench.errors import MethodError
from peftbench.methods.parts.peft_form import Exported, outside
from peftbench.models.backbone import Backbone

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
NOTE = "peftbench"
"""Name in the tensors' metadata of what the adapter was here: it goes where the tensors go, and peft leaves it out."""


def write(
    folder: Path, backbone: Backbone, method: str, config: Mapping[str, Any], names: Sequence[str], model: str
) -> str:
    """Write a folder that `peft.PeftModel.from_pretrained` loads.

    Args:
        folder: Where; it is there.
        backbone: With the adapter attached, and nothing else.
        method: Its name.
        config: Its settings.
        names: Full names of its parameters.
        model: Name of the model.

    Returns:
        The peft_type.

    Raises:
        MethodError: peft has no such form.
    """
    exported = _exported(backbone, method, names)
    task = "SEQ_2_SEQ_LM" if backbone.is_encoder_decoder else "CAUSAL_LM"
    table = {"base_model_name_or_path": model, "task_type": task, "inference_mode": True, **exported.fields}
    (folder / CONFIG).write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
    plain = {name: tensor.detach().float().cpu().contiguous().clone() for name, tensor in exported.tensors.items()}
    note = {"method": method, "config": dict(config), "fingerprint": backbone.fingerprint}
    save_file(plain, folder / TENSORS, metadata={"format": "pt", NOTE: json.dumps(note)})
    return str(exported.fields["peft_type"])


def _exported(backbone: Backbone, method: str, names: Sequence[str]) -> Exported:
    if method.startswith(registry.PEFT):
        raise MethodError(
            f"an adapter of {method} is kept in the layout of peftbench only",
            hint="`peftbench predict` uses it as it is",
        )
    form = registry.method(method).PEFT
    exported = None if form is None else form.write(backbone, names)
    if exported is None:
        misfit = (outside(backbone, names) or list(names))[0]
        raise MethodError(
            f"peft has no form for what this {method} adapter does at '{misfit}'",
            hint="`peftbench predict` uses it as it is; --to merged, where the method can be folded",
        )
    return exported
