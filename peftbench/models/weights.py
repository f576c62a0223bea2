"""Weight files of a model folder: which there are, whether they are whole, and their fingerprint."""

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from peftbench.errors import ModelError

SAFE, PICKLE, SUMS = "model.safetensors", "pytorch_model.bin", "SHA256SUMS"


def files(folder: Path, allow_pickle: bool) -> list[Path]:
    """List the weight files of a folder: safetensors, single or sharded; pickles only where allowed.

    Raises:
        ModelError: None there, pickles that are not allowed, or a shard is missing.
    """
    for name in (SAFE, PICKLE) if allow_pickle else (SAFE,):
        index = folder / f"{name}.index.json"
        if index.is_file():
            return _shards(index)
        if (folder / name).is_file():
            return [folder / name]
    if any(folder.glob("*.bin")):
        raise ModelError(
            f"'{folder}' has weights only as pickles (.bin), which can run code when loaded",
            hint="pass --allow-pickle if you trust them; they are then read by torch's weights_only loading",
        )
    hint = f"expected {SAFE} or its shards beside config.json; .bin weights need --allow-pickle"
    raise ModelError(f"'{folder}' has no weights", hint=hint)


def fingerprint(paths: list[Path]) -> str:
    """Hash the files' contents with SHA-256, in order, without reading a whole file into memory."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()


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
        ModelError: A file is missing or is not the one that the checksum was made from.
    """
    sums = folder / SUMS
    lines = sums.read_text(encoding="utf-8").splitlines() if sums.is_file() else []
    for digest, name in (line.split(maxsplit=1) for line in lines):
        path = folder / name
        if not path.is_file() or fingerprint([path]) != digest:
            raise ModelError(
                f"'{path}' is damaged or was changed: its SHA-256 is not the one in {SUMS}",
                hint=f"copy or install it again; remove {SUMS} if you changed it on purpose",
            )


def _shards(index: Path) -> list[Path]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ModelError(f"weights index '{index}' is damaged", hint="copy or download it again") from None
    paths = [index.parent / name for name in names]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise ModelError(f"'{index.parent}' lacks weights file {', '.join(missing)}", hint="copy or download it again")
    return paths
