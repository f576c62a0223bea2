"""Loading a backbone: weights, tokenizer, fingerprint and settings; what the file holds is what is used."""

import contextlib
import pickle
import tomllib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PreTrainedModel,
)
from transformers.utils import logging

from peftbench import registry
from peftbench.errors import ModelError
from peftbench.models import attention, devices, foreign, quantized, source, weights
from peftbench.models.backbone import Backbone, Pooling
from peftbench.models.family import Family
from peftbench.models.gguf import config as gguf_config
from peftbench.models.gguf import header, tensors
from peftbench.models.gguf import tokenizer as gguf_tokenizer
from peftbench.models.shapes import Sizes
from peftbench.models.threads import SMALL, THREADS

CONFIG = "config.json"
TOGETHER = "config and weights must be saved together"


@dataclass(frozen=True)
class Parts:
    """What a backbone is made of, as read from a folder or a file; see `Backbone`."""

    model: PreTrainedModel
    tokenizer: Any
    family: Family
    fingerprint: str
    model_sha256: str | None = None
    quantization: str | None = None
    has_head: bool = True
    pooling: Pooling = "first"
    placement: devices.Placement | None = None


@dataclass(frozen=True)
class Loading:
    """How weights are loaded; see `load`."""

    dtype: torch.dtype
    device: str
    device_map: str | None
    bits: quantized.Bits | None
    allow_pickle: bool

    @property
    def is_placed(self) -> bool:
        """Whether weights are read to where they stay."""
        return self.device_map is not None or self.bits is not None


def load(
    name: str,
    *,
    revision: str | None = None,
    device: str = "auto",
    dtype: str = "float32",
    allow_pickle: bool = False,
    device_map: str | None = None,
    bits: quantized.Bits | None = None,
) -> Backbone:
    """Load a backbone, frozen and in eval mode, and set torch's threads to suit its size.

    Args:
        name: Embedded or packaged name, local folder in the Hugging Face layout, GGUF file, or hub id.
        revision: Branch, tag or commit of a hub id.
        device: "auto" (a GPU where there is one), or any device of torch.
        dtype: "float32", "bfloat16" or "float16".
        allow_pickle: Read .bin weights where there are no safetensors, by torch's weights_only loading.
        device_map: Spread the model over devices: "auto", "balanced", or a JSON file of module -> device.
        bits: Pack the layers' matrices by bitsandbytes: "4bit", "8bit"; None: they are of `dtype`.

    Raises:
        ModelError: Nothing of that name, no or damaged weights, weights that do not fit the config, an unknown
            family, no fast tokenizer, an unknown device, a device map that cannot be used, a model that cannot be
            packed.
        MethodError: A package is missing.
    """
    if device_map is not None:
        devices.check(device_map, device)
    if bits is not None:
        quantized.check(bits)
    place = None if device_map is not None else devices.find(device)
    loading = Loading(getattr(torch, dtype), device, device_map, bits, allow_pickle)
    path = source.find(name, revision, allow_pickle)
    tables = read_tables(source.settings(name, path))
    if header.is_gguf(path):
        parts = _from_file(path, loading)
    else:
        is_embedded = name in registry.embedded_models()  # its checksums cover all files
        parts = _from_folder(path, loading, is_embedded)
    THREADS.suit(parts.model.num_parameters())
    backbone = Backbone(
        name=name,
        revision=revision,
        fingerprint=parts.fingerprint,
        model_sha256=parts.model_sha256,
        quantization=parts.quantization,
        model=parts.model if loading.is_placed else parts.model.to(place),
        tokenizer=parts.tokenizer,
        family=parts.family,
        tables=tables,
        has_head=parts.has_head,
        pooling=parts.pooling,
        is_packed=bits is not None,
    )
    if parts.placement is not None:  # now that all modules have the forward pass that hooks go around
        devices.dispatch(backbone.model, parts.placement)
    return backbone


def _from_folder(folder: Path, loading: Loading, is_embedded: bool) -> Parts:
    foreign.check_folder(folder)
    config = read_config(folder)
    family = registry.family(config.model_type)
    quantized.check_config(loading.bits, config, family.sizes(config), str(folder))
    _check_dtype(folder, family, loading.dtype)
    paths = weights.files(folder, loading.allow_pickle)
    weights.check(paths)
    weights.check_sums(folder)
    _check_bytes(folder, family, config, paths)
    model_sha256 = None if is_embedded else weights.model_sha256(folder)
    with quiet():
        placement = None if loading.device_map is None else _placement(folder, config, loading)
        model, has_head = _model(folder, family, config, paths, loading, placement)
        tokenizer = read_tokenizer(folder)
    _check_vocabulary(folder, config, tokenizer)
    _check_start(folder, family, config)
    return Parts(
        model,
        tokenizer,
        family,
        weights.fingerprint(paths),
        model_sha256,
        quantization=None if loading.bits is None else quantized.KINDS[loading.bits],
        has_head=has_head,
        pooling=_pooling(folder),
        placement=placement,
    )


def _from_file(path: Path, loading: Loading) -> Parts:
    """Load a GGUF file; its SHA-256 covers config and tokenizer, which lie in it.

    Raises:
        ModelError: It is damaged, or is to be packed, which it has been.
    """
    head = header.read(path)
    if loading.bits is not None:
        message = f"--load {loading.bits} packs the weights of a model's folder, and '{path}' is a GGUF file"
        raise ModelError(message, hint="without --load: it is read by itself; or the model that it was made of")
    config = _gguf_config(head)
    with quiet():
        tokenizer = gguf_tokenizer.tokenizer(head)
        model = tensors.model(head, config, loading.dtype)
    _check_vocabulary(path, config, tokenizer)
    family = registry.family(config.model_type)
    layers = family.layers(family.sizes(config))
    placement = None if loading.device_map is None else devices.plan(loading.device_map, model, layers)
    return Parts(model, tokenizer, family, weights.fingerprint([path]), None, head.quantization, placement=placement)


def read_config(folder: Path) -> Any:
    """Read the config of a model's folder or GGUF file; no code from the folder is run.

    Raises:
        ModelError: There is none, it is damaged, its values are out of bounds, or its family is unknown.
    """
    if header.is_gguf(folder):
        return _gguf_config(header.read(folder))
    path = folder / CONFIG
    if not path.exists():
        hint = "a model folder holds config.json, tokenizer.json and model.safetensors"
        for file in sorted(folder.glob(f"*{header.SUFFIX}"))[:1]:
            hint = f"name the file: {file}"
        raise ModelError(f"'{folder}' is no model folder: it has no config.json", hint=hint)
    table = foreign.read_object(path)
    model_type = table.get("model_type")
    if not isinstance(model_type, str) or model_type != foreign.line(model_type):
        raise ModelError(f"'{path}' is damaged: it has no model_type", hint=foreign.COPY)
    family = registry.family(model_type)
    foreign.check_limits(path, table)
    if weights.ELSEWHERE in table:
        hint = f"name the file {weights.SAFE}, and remove the field"
        raise ModelError(f"'{path}' names the weights' file ({weights.ELSEWHERE}), which is not read here", hint=hint)
    with quiet(), foreign.reading(path):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        family.sizes(config), family.max_positions(config), family.window(config)  # they interpret its values
        return config


def _gguf_config(head: header.Header) -> Any:
    table = gguf_config.table(head)
    with quiet(), foreign.reading(head.path):
        config = AutoConfig.for_model(**table)
        family = registry.family(config.model_type)
        family.sizes(config), family.max_positions(config), family.window(config)  # they interpret its values
        return config


def _check_dtype(folder: Path, family: Family, dtype: torch.dtype) -> None:
    """Refuse a type that a family's activations do not fit."""
    option = f"--dtype {str(dtype).removeprefix('torch.')}"
    if reason := family.UNDEFINED.get(option):
        raise ModelError(f"'{folder}' cannot be used with {option}: {reason}", hint="--dtype bfloat16, or float32")


def _check_bytes(folder: Path, family: Family, config: Any, paths: list[Path]) -> None:
    """Refuse a config of far more parameters than the files have bytes, before memory is taken for them.

    What does not fit and is small is told by `_check_complete`, which names the tensors.
    """
    with foreign.reading(folder / CONFIG):
        sizes = family.sizes(config)
        sites = [site for site in family.sites(sizes) if site.side == "output" and site.role != "norm"]
        linear = sum(site.features * site.in_features for site in sites)
        num_parameters = linear + sizes.vocab_size * sizes.d_model + sizes.num_other_parameters
    num_bytes = sum(path.stat().st_size for path in paths)
    if num_parameters > max(2 * num_bytes, SMALL):
        raise ModelError(
            f"the weights in '{folder}' do not fit its config.json ({num_parameters:,} parameters in {num_bytes:,} "
            "bytes)",
            hint=TOGETHER,
        )


def _check_vocabulary(folder: Path, config: Any, tokenizer: Any) -> None:
    """Refuse a tokenizer that makes tokens without an embedding; added ones may have none: few texts hold them."""
    ids = {*tokenizer.backend_tokenizer.get_vocab(with_added_tokens=False).values(), *tokenizer("").input_ids}
    ids |= {tokenizer.bos_token_id, tokenizer.eos_token_id} - {None}
    if max(ids, default=0) >= config.vocab_size:
        raise ModelError(
            f"the tokenizer in '{folder}' has a token {max(ids)}, and the model has {config.vocab_size} tokens",
            hint="model and tokenizer must be saved together",
        )


def _check_start(folder: Path, family: Family, config: Any) -> None:
    """Refuse an encoder-decoder whose decoder starts from what is none of its tokens."""
    for token in family.start(config) if config.is_encoder_decoder else ():
        if type(token) is not int or not 0 <= token < config.vocab_size:
            raise ModelError(
                f"'{folder / CONFIG}' starts the decoder from {foreign.line(repr(token))}, which is none of its tokens",
                hint=f"decoder_start_token_id from 0 to {config.vocab_size - 1}; {foreign.COPY}",
            )


def auto_class(sizes: Sizes) -> Any:
    """Return the class by which transformers builds a kind of model with its head."""
    if sizes.is_encoder_only:
        return AutoModelForMaskedLM
    return AutoModelForSeq2SeqLM if sizes.is_encoder_decoder else AutoModelForCausalLM


def _placement(folder: Path, config: Any, loading: Loading) -> devices.Placement:
    """Choose where modules go before weights are read, so that each is read to where it stays."""
    family = registry.family(config.model_type)
    sizes = family.sizes(config)
    with torch.device("meta"), foreign.reading(folder / CONFIG):
        empty = auto_class(sizes).from_config(config, dtype=loading.dtype)
    assert loading.device_map is not None
    return devices.plan(loading.device_map, empty, family.layers(sizes))


def _model(
    folder: Path,
    family: Family,
    config: Any,
    paths: list[Path],
    loading: Loading,
    placement: devices.Placement | None,
) -> tuple[PreTrainedModel, bool]:
    """Load a model, and tell whether it has its head: an encoder may come without one, and has an empty one then."""
    auto = auto_class(family.sizes(config))
    with foreign.reading(folder, fault="holds no model that can be loaded", hint=TOGETHER), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The following device_map keys")  # tensors that are in no module
        try:
            model, loading_info = auto.from_pretrained(
                folder,
                config=config,
                dtype=loading.dtype,
                attn_implementation=attention.NAME,
                trust_remote_code=False,
                use_safetensors=paths[0].suffix == ".safetensors",
                weights_only=True,
                ignore_mismatched_sizes=True,  # they are listed and refused below
                output_loading_info=True,
                device_map={"": devices.find(loading.device)} if loading.bits and placement is None else placement,
                quantization_config=quantized.config(loading.bits, loading.dtype),
            )
        except pickle.UnpicklingError:
            hint = "convert it to safetensors where you trust it"
            raise ModelError(f"the pickle in '{folder}' holds more than tensors and is not loaded", hint=hint) from None
    has_head = _has_head(family, model, loading_info)
    _check_complete(folder, family, loading_info, has_head=has_head)
    for name in () if has_head else family.HEADS:
        setattr(model, name, nn.Identity())
    if placement is not None:
        devices.release(model)
    if loading.bits is not None:
        quantized.settle(model)
    return model, has_head


def _pooling(folder: Path) -> Pooling:
    """Tell which state of a text stands for it: as a sentence model's folder says, else the first token's."""
    path = folder / "1_Pooling" / CONFIG
    if not path.is_file():
        return "first"
    return "mean" if foreign.read_object(path).get("pooling_mode_mean_tokens") is True else "first"


def _has_head(family: Family, model: PreTrainedModel, loading_info: dict[str, Any]) -> bool:
    """Tell whether anything of the head was there, but for the embeddings, which it may share."""
    own = {name for name, _ in model.named_parameters() if name.startswith(family.head_names)}
    return not own or not own <= set(loading_info["missing_keys"])


def _check_complete(folder: Path, family: Family, loading_info: dict[str, Any], *, has_head: bool) -> None:
    """Refuse weights that are not exactly the model's: what is missing would be random, what is too much ignored."""
    faults = []
    ignored = {"unexpected": family.UNREAD, "missing": () if has_head else family.head_names}
    for kind in ("missing", "unexpected", "mismatched"):
        names = sorted(key if isinstance(key, str) else key[0] for key in loading_info[f"{kind}_keys"])
        names = [name for name in names if not name.startswith(ignored.get(kind, ()))]
        if names:
            faults.append(f"{kind}: {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}")
    if faults:
        raise ModelError(
            f"the weights in '{folder}' do not fit its config.json ({foreign.line('; '.join(faults))})",
            hint=TOGETHER,
        )


def read_tokenizer(folder: Path) -> Any:
    """Read a folder's fast tokenizer, which neither cuts nor pads.

    Raises:
        ModelError: There is none, it is damaged, or it is no fast one.
    """
    hint = "a tokenizer.json and its tokenizer_config.json, as transformers' save_pretrained writes them"
    for name in ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"):
        if (folder / name).exists():
            foreign.read_object(folder / name)
    for name in ("tokenizer.json", "chat_template.jinja"):
        if (folder / name).is_file():
            foreign.check_bytes(folder / name)
    with foreign.reading(folder, fault="has no tokenizer that can be loaded", hint=hint):
        tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True, trust_remote_code=False)
        tokenizer("\N{TEST TUBE}")  # some faults come out only where it is used, and some by what it does not know
        num_tokens = len(tokenizer("a 1", add_special_tokens=False).input_ids)
    if not num_tokens:  # transformers makes an empty one where tokenizer.json is missing and the config names its class
        raise ModelError(f"the tokenizer in '{folder}' makes no tokens of a text", hint=hint)
    if not tokenizer.is_fast:
        raise ModelError(
            f"the tokenizer in '{folder}' gives no character offsets",
            hint="a tokenizer.json (a fast tokenizer) is needed",
        )
    # It is called directly: a stored truncation would cut prompts in silence.
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    return tokenizer


def read_tables(path: Path) -> dict[str, Any]:
    """Read a model's own settings, peftbench.toml; none where there is no such file.

    Raises:
        ModelError: It is damaged.
    """
    if not path.exists():
        return {}
    text = foreign.read_text(path)
    hint = "[tune] and [tune.METHOD] with settings of `peftbench tune`"
    with foreign.reading(path, fault="is not valid TOML", hint=hint):
        tables = tomllib.loads(text)
    foreign.check_depth(path, tables)
    tune = tables.get("tune", {})
    methods = {name: value for name, value in tune.items() if registry.is_method(name)} if type(tune) is dict else {}
    faulty = [name for name, value in {"tune": tune, **methods}.items() if type(value) is not dict]
    if faulty:
        raise ModelError(f"'{path}': '{faulty[0]}' is no table", hint=hint)
    return tables


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' bars and warnings away: what they warn of is an error here, or handled."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
