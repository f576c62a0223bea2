"""Our adapters in the layout of the peft library, for the methods that have a form there (`PEFT` in their files)."""

import json
from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import save_file

from peftbench import registry
from peftbench.adapters import saved
from peftbench.errors import MethodError
from peftbench.methods.parts.peft_form import Exported, outside
from peftbench.models.backbone import Backbone

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
NOTE = "peftbench"
"""Name in the tensors' metadata of what the adapter was here: it goes where the tensors go, and peft leaves it out."""


README = """---
base_model: {card.model}
library_name: peft
---

# {card.method} on {card.model}

An adapter in the layout of the peft library ({kind}), written by peftbench; of the model whose weights have the SHA-256
{card.fingerprint}.
"""


def export(adapter: Path, backbone: Backbone, out: Path) -> str:
    """Write an adapter as a folder that `peft.PeftModel.from_pretrained` loads.

    Args:
        adapter: Folder of one that was saved here.
        backbone: Its model, with nothing attached; so it is left.
        out: Folder that is not there yet; it is there whole or not at all.

    Returns:
        The peft_type.

    Raises:
        MethodError: peft has no such form, or the folder is there already or cannot be written.
    """
    card = saved.read(adapter)
    try:
        names = saved.load(adapter, backbone)
        with saved.new_folder(out) as temporary:
            exported = _exported(backbone, card.method, names)
            _write(temporary, backbone, card, exported)
            kind = str(exported.fields["peft_type"])
            text = README.format(card=card, kind=kind) + _dequantized(backbone) + _without_opening(backbone)
            (temporary / "README.md").write_text(text, encoding="utf-8")
            return kind
    finally:
        backbone.detach_all()


def source(backbone: Backbone) -> str:
    """Write from where transformers loads the model: the arguments of its `from_pretrained`."""
    path = backbone.model.name_or_path
    return f"{str(Path(path).parent)!r}, gguf_file={Path(path).name!r}" if backbone.quantization else repr(path)


def _write(folder: Path, backbone: Backbone, card: saved.Card, exported: Exported) -> None:
    task = "SEQ_2_SEQ_LM" if backbone.is_encoder_decoder else "CAUSAL_LM"
    fields = {"base_model_name_or_path": card.model, "task_type": task, "inference_mode": True, **exported.fields}
    (folder / CONFIG).write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")
    plain = {name: tensor.detach().float().cpu().contiguous().clone() for name, tensor in exported.tensors.items()}
    note = {"method": card.method, "config": card.config, "fingerprint": backbone.fingerprint}
    note |= {} if backbone.model_sha256 is None else {"model_sha256": backbone.model_sha256}
    save_file(plain, folder / TENSORS, metadata={"format": "pt", NOTE: json.dumps(note)})


def _exported(backbone: Backbone, method: str, names: Sequence[str]) -> Exported:
    if method.startswith(registry.PEFT):
        raise MethodError(
            f"an adapter of {method} is kept in the layout of peftbench only",
            hint="`peftbench predict` uses it as it is",
        )
    if backbone.sizes.is_encoder_only:
        raise MethodError(
            f"'{backbone.name}' is an encoder-only model, of which no adapter is written in peft's layout",
            hint="`peftbench predict` uses it as it is; --to merged, where the method can be folded",
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


def _dequantized(backbone: Backbone) -> str:
    """Describe how a model that lies in a GGUF file is loaded."""
    if not backbone.quantization:
        return ""
    return (
        f"\nThe model is a GGUF file ({backbone.quantization}), dequantised:\n"
        f"`AutoModelForCausalLM.from_pretrained({source(backbone)})`.\n"
    )


def _without_opening(backbone: Backbone) -> str:
    """Describe how inputs begin where the prefix is the beginning of a text."""
    if not backbone.num_positions_before:
        return ""
    return "\nThe prefix is the beginning of a text: inputs go on with it, without a token that opens a text.\n"
