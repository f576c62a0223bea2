"""Sentence models: an encoder that makes a vector of a text, in a folder as sentence-transformers saves it.

modules.json lists a Transformer, a Pooling and perhaps a Normalize. The encoder is loaded by transformers' AutoModel,
from safetensors and without any code of the folder. Vectors are compared by their cosine: Normalize changes nothing.

Shapes: hidden states (texts, tokens, d_model); vectors (texts, d_model) float32.
"""

import copy
import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path, PurePath
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from peftbench.errors import ModelError
from peftbench.models import foreign, weights
from peftbench.models.load import CONFIG, TOGETHER, quiet, read_tokenizer
from peftbench.models.shapes import EncoderSizes
from peftbench.models.source import MODULES
from peftbench.models.threads import SMALL

LENGTH, PROMPTS = "sentence_bert_config.json", "config_sentence_transformers.json"
LIBRARY = "sentence_transformers."
AFTER = "pooler"
"""Name of what comes after the hidden states, which is not run."""
FILES = (
    CONFIG, LENGTH, "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.txt",
)  # fmt: skip
"""Of an encoder, without its weights."""
LAYOUT = "what sentence-transformers saves: modules.json, config.json, model.safetensors, 1_Pooling/config.json"
POOLED = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "first"}
"""Field of a Pooling's config -> what it makes of the tokens' hidden states."""


class SentenceModel:
    """An encoder with its tokenizer, and how its hidden states become one vector.

    Args:
        name: Its folder.
        fingerprint: SHA-256 of all that decides its vectors.
        model: Gives last hidden states; on its device, in eval mode.
        tokenizer: Cuts texts to the length that the model was made for.
        pooling: "mean" over tokens, or the "first" one's.
        is_lower: Whether texts are put in lower case.
    """

    def __init__(
        self, name: str, fingerprint: str, model: Any, tokenizer: Any, pooling: str, *, is_lower: bool
    ) -> None:
        self.name, self.fingerprint = name, fingerprint
        self._model, self._tokenizer, self._pooling, self._is_lower = model, tokenizer, pooling, is_lower

    @property
    def device(self) -> torch.device:
        """The device that holds the weights."""
        device: torch.device = self._model.device
        return device

    @property
    def tokenizer(self) -> Any:
        """Cuts texts to the length that the model was made for."""
        return self._tokenizer

    @property
    def family(self) -> str:
        """The encoder's model_type."""
        return str(self._model.config.model_type)

    @cached_property
    def sizes(self) -> EncoderSizes:
        """What its FLOPs follow from: each token passes all linear layers."""
        config = self._model.config
        return EncoderSizes(
            num_weights=sum(layer.weight.numel() for layer in self._model.modules() if isinstance(layer, nn.Linear)),
            num_layers=config.num_hidden_layers,
            d_model=config.hidden_size,
            num_parameters=sum(parameter.numel() for parameter in self._model.parameters()),
        )

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokenize texts, cut, with what opens and ends each of them."""
        written = [text.lower() if self._is_lower else text for text in texts]
        hint = "another tokenizer, or other text"
        with foreign.reading(Path(self.name), fault="has a tokenizer that fails", hint=hint):
            encodings = self._tokenizer.backend_tokenizer.encode_batch(written)
        return [list(encoding.ids) for encoding in encodings]

    def pooled(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Compute the vector of each row of ids, (rows, d_model) float32.

        Raises:
            ModelError: The model gives no hidden states of a text by itself.
        """
        longest, device = max(map(len, rows)), self._model.device
        ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], device=device)
        seen = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows], device=device)
        hint = "an encoder such as all-MiniLM-L6-v2; or --select embedding alone, which takes the model's own states"
        with foreign.reading(Path(self.name), fault="gives no hidden states that can be pooled", hint=hint):
            hidden = self._model(input_ids=ids, attention_mask=seen).last_hidden_state.float()
        if self._pooling == "first":
            return hidden[:, 0]
        return (hidden * seen[..., None]).sum(1) / seen.sum(1, keepdim=True)

    def with_weights(self, state: Mapping[str, Tensor]) -> "SentenceModel":
        """Return the model with other weights of the same names; what comes after the states is left out."""
        model = copy.deepcopy(self._model)
        model.load_state_dict({name: value for name, value in state.items() if not name.startswith(AFTER)})
        digest = hashlib.sha256(self.fingerprint.encode())
        for name, value in sorted(model.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.cpu().contiguous().view(torch.uint8).numpy().tobytes())
        is_lower, model = self._is_lower, model.requires_grad_(False).eval()
        return SentenceModel(self.name, digest.hexdigest(), model, self._tokenizer, self._pooling, is_lower=is_lower)

    def save(self, folder: Path) -> None:
        """Write it as sentence-transformers does: its folder's files, with the weights that it has now.

        Args:
            folder: Is there, and empty.
        """
        source = Path(self.name)
        encoder, pooling = (place.relative_to(source) for place in _places(source))
        names = [*(encoder / name for name in FILES), pooling / CONFIG, Path(MODULES), Path(PROMPTS)]
        for name in names:
            if (source / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source / name, folder / name)
        tensors = {name: value.cpu().contiguous() for name, value in self._model.state_dict().items()}
        save_file(tensors, folder / encoder / weights.SAFE, metadata={"format": "pt"})


def fingerprint(folder: Path) -> str:
    """Hash all that decides the vectors of a sentence model: its weights, config, tokenizer and pooling.

    Raises:
        ModelError: It is no folder, or no sentence model.
    """
    encoder, pooling = _parts(folder)
    parts = [weights.fingerprint(weights.files(encoder, allow_pickle=False)), weights.model_sha256(encoder), pooling]
    return hashlib.sha256(json.dumps([*parts, _max_tokens(encoder)]).encode()).hexdigest()


@lru_cache(maxsize=1)
def load(folder: Path, device: torch.device) -> SentenceModel:
    """Load a sentence model, frozen and in eval mode; the last one stays in memory.

    Raises:
        ModelError: It is no folder, no sentence model, or a damaged one.
    """
    encoder, pooling = _parts(folder)
    foreign.check_folder(encoder)
    paths = weights.files(encoder, allow_pickle=False)
    weights.check(paths)
    table = foreign.read_object(encoder / CONFIG)
    foreign.check_limits(encoder / CONFIG, table)
    with quiet():
        tokenizer = read_tokenizer(encoder)
        model = _model(encoder, paths).to(device)
    max_tokens, is_lower = _max_tokens(encoder)
    tokenizer.backend_tokenizer.enable_truncation(max_tokens or getattr(model.config, "max_position_embeddings", 512))
    return SentenceModel(str(folder), fingerprint(folder), model, tokenizer, pooling, is_lower=is_lower)


def _parts(folder: Path) -> tuple[Path, str]:
    """Return the encoder's folder, and how its states are pooled.

    Raises:
        ModelError: As `_places`; a pooling that is not read here.
    """
    encoder, pooling = _places(folder)
    return encoder, _pooling(pooling / CONFIG)


def _places(folder: Path) -> tuple[Path, Path]:
    """Return the folders of the encoder and of the pooling.

    Raises:
        ModelError: What modules.json lists is not read here.
    """
    foreign.check_name(str(folder))
    if not folder.is_dir():
        raise ModelError(f"--embedder '{folder}' is no folder", hint=LAYOUT)
    path = folder / MODULES
    if not path.is_file():
        raise ModelError(f"'{folder}' is no sentence model: it has no {MODULES}", hint=LAYOUT)
    text = foreign.read_text(path)
    with foreign.reading(path):
        modules = [(_kind(str(module["type"])), PurePath(module["path"])) for module in json.loads(text)]
    kinds = [kind for kind, _ in modules]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        message = f"'{path}' lists {foreign.line(', '.join(kinds) or 'nothing')}"
        raise ModelError(message, hint="read are a Transformer, a Pooling, and perhaps a Normalize after it")
    if any(place.is_absolute() or ".." in place.parts for _, place in modules):
        raise ModelError(f"'{path}' names a place outside of its folder", hint=foreign.COPY)
    _check_prompts(folder)
    encoder, pooling = (folder / place for _, place in modules[:2])
    return encoder, pooling


def _kind(type: str) -> str:
    """Return the last part of a class's name; the whole where it is no class of the library, which would import it."""
    return type.rpartition(".")[2] if type.startswith(LIBRARY) else type


def _check_prompts(folder: Path) -> None:
    path = folder / PROMPTS
    prompt = foreign.read_object(path).get("default_prompt_name") if path.exists() else None
    if prompt is not None:
        message = f"'{path}' puts the prompt {foreign.line(repr(prompt))} before texts, which is not done here"
        raise ModelError(message, hint="remove default_prompt_name, or another sentence model")


def _pooling(path: Path) -> str:
    modes = {name for name, value in foreign.read_object(path).items() if name.startswith("pooling_mode") and value}
    if len(modes) != 1 or not modes <= POOLED.keys():
        message = f"'{path}' pools by {foreign.line(', '.join(sorted(modes)) or 'nothing')}"
        raise ModelError(message, hint=f"exactly one of {', '.join(POOLED)} is read")
    return POOLED[modes.pop()]


def _max_tokens(encoder: Path) -> tuple[int | None, bool]:
    """Return to how many tokens texts are cut, and whether they are put in lower case."""
    path = encoder / LENGTH
    table = foreign.read_object(path) if path.exists() else {}
    most, is_lower = table.get("max_seq_length"), table.get("do_lower_case", False)
    if not (most is None or (type(most) is int and 3 <= most <= 1_000_000)) or type(is_lower) is not bool:
        hint = "max_seq_length from 3 to 1,000,000 or null, do_lower_case true or false"
        raise ModelError(f"'{path}' has a value that cannot be", hint=hint)
    return most, is_lower


def _model(encoder: Path, paths: Sequence[Path]) -> Any:
    with foreign.reading(encoder, fault="holds no model that can be loaded", hint=LAYOUT):
        config = AutoConfig.from_pretrained(encoder, trust_remote_code=False)
        if config.is_encoder_decoder:
            raise ModelError(f"'{encoder}' holds an encoder-decoder, whose states cannot be pooled", hint=LAYOUT)
        _check_bytes(encoder, config, sum(path.stat().st_size for path in paths))
        model, loading_info = AutoModel.from_pretrained(
            encoder,
            config=config,
            dtype=torch.float32,
            attn_implementation="eager",
            trust_remote_code=False,
            use_safetensors=True,
            weights_only=True,
            ignore_mismatched_sizes=True,  # they are listed and refused below
            output_loading_info=True,
        )
    keys = [*loading_info["missing_keys"], *loading_info["mismatched_keys"]]
    lacking = {key if isinstance(key, str) else key[0] for key in keys}
    lacking = {name for name in lacking if not name.startswith(AFTER)}
    if lacking:
        names = foreign.line(", ".join(sorted(lacking)[:3]))
        raise ModelError(f"the weights in '{encoder}' do not fit its config.json (missing: {names})", hint=TOGETHER)
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    return model.requires_grad_(False).eval()


def _check_bytes(encoder: Path, config: Any, num_bytes: int) -> None:
    """Refuse a config of far more parameters than the files have bytes, before memory is taken for them."""
    with torch.device("meta"):
        empty = AutoModel.from_config(config, trust_remote_code=False)
    num_parameters = sum(parameter.numel() for parameter in empty.parameters())
    if num_parameters > max(2 * num_bytes, SMALL):
        counts = f"{num_parameters:,} parameters in {num_bytes:,} bytes"
        raise ModelError(f"the weights in '{encoder}' do not fit its config.json ({counts})", hint=TOGETHER)
