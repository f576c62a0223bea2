"""What a server says of itself, on the pages that it has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from peftbench.models import foreign
from peftbench.served.client import Client
from peftbench.served.dialects.base import number

MODEL_PAGES, SERVER_PAGES = ("/model_info", "/get_model_info"), ("/server_info", "/get_server_info")
"""SGLang's: as they are called now, and as they were."""


@dataclass(frozen=True)
class Description:
    """What a server says of itself; None where it does not say.

    Args:
        kind: "llama.cpp", "vllm" or "sglang", by the pages that it has; "unknown".
        models: Names of the models that it serves.
        model: Name of the one that was asked for, as a list of models has it: llama.cpp's own, whatever was typed.
        max_positions: Tokens of a prompt and its answer.
    """

    kind: str
    version: str | None
    models: tuple[str, ...]
    model: str | None
    quantization: str | None
    max_positions: int | None
    num_parameters: int | None

    @classmethod
    def of(cls, client: Client, name: str) -> "Description":
        """Ask a server what it is.

        Args:
            client: The server.
            name: Of the model; one server may have several, a model and its adapters, say.

        Raises:
            ModelError: It does not answer.
        """
        listed = _table(client.get("/v1/models")).get("data")
        models = [_table(model) for model in listed] if isinstance(listed, list) else []
        first = next((model for model in models if model.get("id") == name), models[0] if models else {})
        meta, props = _table(first.get("meta")), _table(client.get("/props"))
        info: Mapping[str, Any] = {}
        kind, version = "unknown", None
        if "default_generation_settings" in props:
            kind, version = "llama.cpp", props.get("build_info")
        elif info := _page(client, MODEL_PAGES):
            kind, version = "sglang", _page(client, SERVER_PAGES).get("version")
        elif release := _table(client.get("/version")):
            kind, version = "vllm", release.get("version")
        n_ctx = _table(props.get("default_generation_settings")).get("n_ctx")
        return cls(
            kind=kind,
            version=_text(version),
            models=tuple(text for model in models if (text := _text(model.get("id")))),
            model=_text(first.get("id")),
            quantization=_text(props.get("model_ftype") or meta.get("ftype") or info.get("quantization")),
            max_positions=_count(n_ctx) or _count(first.get("max_model_len")) or _count(info.get("max_model_len")),
            num_parameters=_count(meta.get("n_params")),
        )


def _page(client: Client, paths: Sequence[str]) -> Mapping[str, Any]:
    """Read the first of some pages that is there."""
    return next((page for path in paths if (page := _table(client.get(path)))), {})


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return foreign.line(value) if isinstance(value, str) and value else None


def _count(value: Any) -> int | None:
    return number(value) or None
