"""A GGUF file's header: metadata, and where which tensor lies; everything that a later step trusts is checked here.

Layout: "GGUF", version, number of tensors, number of metadata entries; the entries (key, type, value); for each tensor
its name, shape (fastest axis first), type and offset; then, aligned, the tensors' data. All little-endian.
"""

import math
import mmap
import re
import struct
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from peftbench.errors import ModelError
from peftbench.models import foreign

SUFFIX = ".gguf"
MAGIC, VERSIONS = b"GGUF", (2, 3)
NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
MAX_ENTRIES = 100_000
"""Metadata entries, and tensors; models in use have under 2,000."""
MAX_ITEMS = 5_000_000
"""Of one list; the largest vocabularies have 262,144 tokens and 514,906 merges."""
MAX_AXES, MAX_ALIGNMENT = 4, 1 << 20
SPLIT = re.compile(r"-\d{5}-of-\d{5}\.gguf")
MERGE = "merge the parts first: llama-gguf-split --merge FIRST_PART OUT.gguf"


@dataclass(frozen=True)
class Stored:
    """A tensor as it lies in the file.

    Args:
        shape: As in torch, fastest axis last.
        quantization: Name of its type: Q4_1, F32.
        type_id: Number of its type.
        start: Byte of the file at which it begins.
        num_bytes: Bytes that it takes.
    """

    shape: tuple[int, ...]
    quantization: str
    type_id: int
    start: int
    num_bytes: int


@dataclass(frozen=True)
class Header:
    """What stands before the weights.

    Args:
        metadata: Key -> value.
        tensors: Name in the file -> where and how it lies.
    """

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, Stored]

    @property
    def architecture(self) -> str:
        """The model's architecture, in llama.cpp's words."""
        return str(self.metadata["general.architecture"])

    @cached_property
    def quantization(self) -> str:
        """The type that most of the weights have: files name themselves by it."""
        values: Counter[str] = Counter()
        for tensor in self.tensors.values():
            values[tensor.quantization] += math.prod(tensor.shape)
        return values.most_common(1)[0][0]


def is_gguf(path: Path) -> bool:
    """Tell whether a path names a GGUF file; what is in it is not looked at."""
    return path.suffix.lower() == SUFFIX and not path.is_dir()


def library() -> Any:
    """Import the package that knows GGUF's types and names.

    Raises:
        ModelError: It is not installed.
    """
    try:
        import gguf
    except ImportError:
        raise ModelError(
            "a GGUF file needs the package gguf, which is not installed", hint="pip install 'peftbench[gguf]'"
        ) from None
    return gguf


def read(path: Path) -> Header:
    """Read and check a GGUF file's header; of the weights nothing is read.

    Raises:
        ModelError: The package gguf is missing, or the file is no GGUF file, a part of one, cut short or damaged.
    """
    gguf = library()
    foreign.check_regular(path)
    with foreign.reading(path), path.open("rb") as file:
        start = file.read(8)
        _check_start(path, start)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            reader = _Reader(data)
            metadata, num_tensors = _metadata(reader)
            _check_split(path, metadata)
            return Header(path, metadata, _tensors(reader, metadata, num_tensors, gguf))


def _check_start(path: Path, start: bytes) -> None:
    if start[:4] != MAGIC or len(start) < 8:
        raise ModelError(f"'{path}' is no GGUF file: it does not begin with GGUF", hint=foreign.COPY)
    (version,), (swapped,) = struct.unpack_from("<I", start, 4), struct.unpack_from(">I", start, 4)
    if version not in VERSIONS:
        order = "big-endian" if swapped in VERSIONS else f"GGUF version {version}"
        hint = f"little-endian GGUF of version {' or '.join(map(str, VERSIONS))} is read"
        raise ModelError(f"'{path}' is {order}, which is not read here", hint=hint)


def _check_split(path: Path, metadata: dict[str, Any]) -> None:
    num_parts = metadata.get("split.count", 0)
    if SPLIT.search(path.name) or (type(num_parts) is int and num_parts > 1):
        raise ModelError(f"'{path}' is one part of a model in several files", hint=MERGE)


class _Reader:
    """Read values one behind the other, never beyond the end.

    Args:
        data: The whole file.
    """

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.position = data, 8

    def take(self, num_bytes: int) -> bytes:
        """Take the next bytes."""
        if num_bytes > len(self.data) - self.position:
            raise ValueError("it ends within its header")
        start = self.position
        self.position += num_bytes
        return self.data[start : self.position]

    def numbers(self, code: str, count: int = 1) -> tuple[Any, ...]:
        """Take numbers of one type, in struct's letters."""
        layout = f"<{count}{code}"
        return struct.unpack(layout, self.take(struct.calcsize(layout)))

    def text(self) -> str:
        """Take a string."""
        (length,) = self.numbers("Q")
        return self.take(length).decode("utf-8")

    def value(self, kind: int) -> Any:
        """Take a metadata value of a type."""
        if kind == ARRAY:
            inner, count = self.numbers("IQ")
            if count > MAX_ITEMS:
                raise ValueError(f"a list of {count:,} values")
            return [self.text() for _ in range(count)] if inner == STRING else list(self.numbers(_code(inner), count))
        return self.text() if kind == STRING else self.numbers(_code(kind))[0]


def _code(kind: int) -> str:
    if kind not in NUMBERS:
        raise ValueError(f"a metadata value of type {kind}")
    return NUMBERS[kind]


def _metadata(reader: _Reader) -> tuple[dict[str, Any], int]:
    num_tensors, num_entries = reader.numbers("QQ")
    if max(num_tensors, num_entries) > MAX_ENTRIES:
        raise ValueError(f"{num_tensors:,} tensors and {num_entries:,} metadata entries")
    metadata: dict[str, Any] = {}
    for _ in range(num_entries):
        key = reader.text()
        if key in metadata:
            raise ValueError(f"two values for {key}")
        metadata[key] = reader.value(*reader.numbers("I"))
    if not isinstance(metadata.get("general.architecture"), str):
        raise ValueError("it does not name its architecture")
    return metadata, num_tensors


def _tensors(reader: _Reader, metadata: dict[str, Any], num_tensors: int, gguf: Any) -> dict[str, Stored]:
    entries = {}
    for _ in range(num_tensors):
        name, (num_axes,) = reader.text(), reader.numbers("I")
        if name in entries or not 1 <= num_axes <= MAX_AXES:
            raise ValueError(f"tensor {name} is there twice, or has {num_axes} axes")
        entries[name] = (reader.numbers("Q", num_axes)[::-1], *reader.numbers("IQ"))
    alignment = metadata.get("general.alignment", 32)
    if type(alignment) is not int or not 1 <= alignment <= MAX_ALIGNMENT:
        raise ValueError(f"an alignment of {alignment}")
    start = -(-reader.position // alignment) * alignment
    tensors = {
        name: _stored(gguf, name, shape, type_id, start + offset) for name, (shape, type_id, offset) in entries.items()
    }
    size, needed = len(reader.data), sum(tensor.num_bytes for tensor in tensors.values())
    end = max((tensor.start + tensor.num_bytes for tensor in tensors.values()), default=0)
    if not tensors or max(end, start + needed) > size:
        raise ValueError(f"its tensors end at byte {max(end, start + needed):,} and it has {size:,} bytes")
    return tensors


def _stored(gguf: Any, name: str, shape: tuple[int, ...], type_id: int, start: int) -> Stored:
    try:
        kind = gguf.GGMLQuantizationType(type_id)
        block, block_bytes = gguf.GGML_QUANT_SIZES[kind]
    except (ValueError, KeyError):
        raise ValueError(f"tensor {name} has the unknown type {type_id}") from None
    if min(shape) < 1 or shape[-1] % block:
        raise ValueError(f"tensor {name} of shape {shape} does not consist of blocks of {block} values")
    return Stored(shape, kind.name, type_id, start, math.prod(shape) // block * block_bytes)


def read_tensor(header: Header, name: str) -> Any:
    """Read and dequantise a tensor.

    Returns:
        Array of the tensor's shape, float32.
    """
    import numpy as np

    gguf, stored = library(), header.tensors[name]
    kind = gguf.GGMLQuantizationType(stored.type_id)
    data = np.fromfile(header.path, np.uint8, stored.num_bytes, offset=stored.start)
    with foreign.reading(header.path), np.errstate(all="ignore"):
        values = gguf.dequantize(data.reshape(math.prod(stored.shape[:-1]), -1), kind)
    return np.ascontiguousarray(values, np.float32).reshape(stored.shape)
