"""Weight files of a model folder: which there are, whether they are whole, and their fingerprint."""

import json
import re
import struct
from pathlib import Path, PurePath
from typing import Any

from safetensors import SafetensorError, safe_open

from peftbench.errors import ModelError
from peftbench.models import fingerprints, foreign
from peftbench.store import digest

SAFE, PICKLE, SUMS = "model.safetensors", "pytorch_model.bin", "SHA256SUMS"
SUM = re.compile(r"([0-9a-fA-F]{64}) [ *](.+)")
# Files and fields by which transformers takes weights from elsewhere than `files` lists, on top or instead of those.
ADAPTER, ELSEWHERE = "adapter_config.json", "transformers_weights"
# Files beside the weights that decide what a model computes, as far as a folder has them: what tokenizers are made of.
DECIDING = ["config.json", "tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab*", "merges.txt"]
DECIDING += ["*.model", "*.tiktoken"]


def files(folder: Path, allow_pickle: bool) -> list[Path]:
    """List the weight files that transformers loads from a folder, so that no other ones are hashed.

    A single file goes before shards, safetensors go before pickles, and pickles are listed only where allowed.

    Raises:
        ModelError: None there, pickles that are not allowed, a shard is missing, or an adapter lies among them, which
            transformers would put on the model.
    """
    if (folder / ADAPTER).exists():
        raise ModelError(
            f"'{folder}' holds {ADAPTER}: transformers would put an adapter on the model, which no fingerprint covers",
            hint="a folder for the model, one for the adapter; `peftbench tune --start-from` goes on from an adapter",
        )
    for name in (SAFE, PICKLE) if allow_pickle else (SAFE,):
        if (folder / name).is_file():
            return [folder / name]
        index = folder / f"{name}.index.json"
        if index.is_file():
            return _shards(index, PurePath(name).suffix)
    if any(folder.glob("*.bin")):
        raise ModelError(
            f"'{folder}' has weights only as pickles (.bin), which can run code when loaded",
            hint="pass --allow-pickle if you trust them; they are then read by torch's weights_only loading",
        )
    hint = f"expected {SAFE} or its shards beside config.json; .bin weights need --allow-pickle"
    raise ModelError(f"'{folder}' has no weights", hint=hint)


def fingerprint(paths: list[Path]) -> str:
    """Hash the files' contents with SHA-256, in order; large files that are as they were are not read again."""
    return fingerprints.remembered(paths) or fingerprints.hashed(paths)


def model_sha256(folder: Path) -> str:
    """Hash what beside the weights decides what a model computes: its config and the files of its tokenizer.

    Returns:
        The SHA-256 of the lines that `sha256sum` writes for `DECIDING`, in the order of names.

    Raises:
        ModelError: One of them is no regular file.
    """
    with foreign.reading(folder):
        paths = {path.name: path for pattern in DECIDING for path in folder.glob(pattern) if not path.is_dir()}
        for path in paths.values():
            foreign.check_regular(path)
        return digest.of_sums({name: fingerprint([path]) for name, path in paths.items()})


def header(path: Path) -> dict[str, Any]:
    """Read a safetensors file's header: a length in eight bytes, then JSON with dtype and shape of each tensor."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        tensors: dict[str, Any] = json.loads(file.read(length))
    tensors.pop("__metadata__", None)
    return tensors


def check(paths: list[Path]) -> None:
    """Open each safetensors file and read its header.

    Raises:
        ModelError: A file is damaged or cut short.
    """
    for path in (path for path in paths if path.suffix == ".safetensors"):
        try:
            with safe_open(path, framework="pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise ModelError(f"weights file '{path}' is damaged: {error}", hint="copy or download it again") from None


def check_sums(folder: Path) -> None:
    """Compare files with the checksums that the folder brings along (SHA256SUMS, as embedded models do), if any.

    Raises:
        ModelError: A file is missing or is not the one that the checksum was made from, or a line is no checksum.
    """
    sums = folder / SUMS
    if not sums.exists():
        return
    for number, line in enumerate(foreign.read_text(sums).splitlines(), start=1):
        match = SUM.fullmatch(line)
        if match is None or PurePath(match[2]).is_absolute() or ".." in PurePath(match[2]).parts:
            hint = f"each line is a SHA-256, two spaces and a file of the folder; {foreign.COPY}"
            raise ModelError(f"'{sums}' is damaged: line {number} is no checksum", hint=hint)
        path = folder / match[2]
        with foreign.reading(sums):
            is_whole = path.is_file() and fingerprint([path]) == match[1].lower()
        if not is_whole:
            raise ModelError(
                f"'{path}' is damaged or was changed: its SHA-256 is not the one in {SUMS}",
                hint=f"copy or install it again; remove {SUMS} if you changed it on purpose",
            )


def _shards(index: Path, suffix: str) -> list[Path]:
    weight_map = foreign.read_object(index).get("weight_map")
    files = weight_map.values() if isinstance(weight_map, dict) else ()
    names = [name for name in files if isinstance(name, str) and name.endswith(suffix)]
    if not names or len(names) < len(files):
        hint = f"its weight_map says for each tensor in which {suffix} file it is; {foreign.COPY}"
        raise ModelError(f"weights index '{index}' is damaged", hint=hint)
    paths = [index.parent / name for name in sorted(set(names))]
    with foreign.reading(index):
        missing = [path.name for path in paths if not path.is_file()]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise ModelError(
            f"'{index.parent}' lacks weights file {', '.join(missing[:3])}{more}", hint="copy or download it again"
        )
    return paths
