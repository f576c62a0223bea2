"""Bytes: of files as written, of tensors, of the tokens and the key-value cache that in-context learning keeps."""

import struct
from pathlib import Path

from peftbench.models.shapes import Sizes

TOKEN_BYTES = 4
"""Token ids are kept as int32."""


def file_bytes(path: Path) -> int:
    """Measure the bytes of a file, or of all files in a folder, as the file system gives their lengths.

    Raises:
        FileNotFoundError: There is nothing at `path`; a missing file is not an empty one.
    """
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size


def stored_tensor_bytes(path: Path) -> int:
    """Measure the bytes of the tensors in a safetensors file, without its header.

    Raises:
        FileNotFoundError: There is no such file.
    """
    with path.open("rb") as file:
        (header,) = struct.unpack("<Q", file.read(8))
    return file_bytes(path) - 8 - int(header)


def tensor_bytes(num_parameters: int, bytes_per_value: int = 4) -> int:
    """Count the raw bytes of parameters, without any file format around them."""
    return num_parameters * bytes_per_value


def icl_bytes(num_tokens: int) -> int:
    """Count what in-context learning must store: the shots' token ids as int32.

    Paper: 2205.05638, section 4.2: 41 shots of 98 tokens are 16,072 bytes ("16 kB").
    """
    return num_tokens * TOKEN_BYTES


def cache_bytes(sizes: Sizes, num_tokens: int, bytes_per_value: int = 4) -> int:
    """Count the keys and values of `num_tokens` decoder tokens, what cached in-context learning keeps instead.

    2 * layers * tokens * num_kv_heads * d_kv * bytes_per_value
    """
    return 2 * sizes.num_decoder_layers * num_tokens * sizes.num_kv_heads * sizes.d_kv * bytes_per_value
