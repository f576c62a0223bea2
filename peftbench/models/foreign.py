"""Files that strangers wrote, model folders and adapters: a fault in one becomes one line with its path and a hint.

Libraries answer a damaged file by exceptions of any class. `reading` goes around each call of theirs, and around what
interprets the values of a stranger's file; exceptions of other code are bugs and keep their traceback.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peftbench.errors import ModelError, PeftbenchError
from peftbench.spec import limits, values

MAX_BYTES = 256 * 2**20
"""Of a text file; the largest tokenizer.json in use, Gemma 3's, has 33 MB."""
MAX_TEXT = 200
"""Characters of a stranger's text in a message."""
SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
"""An escape in JSON, by which alone half a character comes into a table."""
COPY = "copy or download it again"

LAYERS, HEADS, WIDTH, TOKENS = (1, 1_000), (1, 10_000), (1, 1_000_000), (1, 100_000_000)
NUM_LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "num_decoder_layers", "encoder_layers", "decoder_layers")
LIMITS: dict[str, tuple[int, int]] = {
    **dict.fromkeys(NUM_LAYERS, LAYERS),
    **dict.fromkeys(("num_attention_heads", "num_key_value_heads", "n_head", "num_heads"), HEADS),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), HEADS),
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "d_kv", "head_dim", "word_embed_proj_dim"), WIDTH),
    **dict.fromkeys(("intermediate_size", "n_inner", "d_ff", "ffn_dim", "encoder_ffn_dim", "decoder_ffn_dim"), WIDTH),
    **dict.fromkeys(("vocab_size", "max_position_embeddings", "n_positions", "sliding_window"), TOKENS),
    **dict.fromkeys(("relative_attention_num_buckets", "relative_attention_max_distance"), TOKENS),
    "num_labels": (0, 100_000),
}
"""Field of a config.json, in any family's words -> least and greatest value; the weights' files bound their product."""

SHARES = ("dropout", "dropout_rate", "pdrop", "layerdrop", "rotary_pct", "partial_rotary_factor")
"""How the names of fields end that are shares of 1."""


@contextmanager
def reading(
    path: Path, error: type[PeftbenchError] = ModelError, *, fault: str = "is damaged", hint: str = COPY
) -> Iterator[None]:
    """Turn whatever goes wrong inside the block into one line about `path`.

    Args:
        path: The file, or the folder where a library reads several.
        error: Class of the error.
        fault: What it means for the file, between its path and what the library said.
        hint: What would work.

    Raises:
        PeftbenchError: As `error`; those from inside go through as they are.
    """
    try:
        yield
    except PeftbenchError:
        raise
    except BaseException as raised:
        # What the Rust libraries raise where they panic is no Exception; all others of that kind end the program.
        if not isinstance(raised, Exception) and type(raised).__name__ != "PanicException":
            raise
        what = "cannot be read" if isinstance(raised, OSError) and fault == "is damaged" else fault
        raise error(f"'{path}' {what}: {reason(raised)}", hint=hint) from raised


def reason(raised: BaseException) -> str:
    """Write what a library said, on one line of printable characters."""
    text = raised.strerror if isinstance(raised, OSError) and raised.strerror else str(raised)
    if not text or not isinstance(raised, OSError | ValueError | RuntimeError) or isinstance(raised, RecursionError):
        text = f"{type(raised).__name__}: {text}".removesuffix(": ")
    return line(text)


def line(text: str) -> str:
    """Write a stranger's text on one line of printable characters and bounded length."""
    words = "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))
    return words if len(words) <= MAX_TEXT else f"{words[:MAX_TEXT]}..."


def check_name(name: str, error: type[PeftbenchError] = ModelError) -> None:
    """Refuse what can be the name of no file, or is no text.

    Raises:
        PeftbenchError: As `error`: a part between slashes is too long, or there are bytes that are no UTF-8.
    """
    try:
        longest = values.longest_name(name)
    except UnicodeEncodeError:
        raise error(f"the name {name!r} is no UTF-8", hint="rename the file or folder") from None
    if len(longest.encode()) > limits.MAX_NAME_BYTES or "\0" in name:
        start = repr(longest[:40])
        raise error(f"{start}... is no name of a file: {len(longest):,} characters", hint="a path, or a shorter name")


def read_text(path: Path, error: type[PeftbenchError] = ModelError) -> str:
    """Read a text file of bounded size.

    Raises:
        PeftbenchError: As `error`: no regular file, larger than `MAX_BYTES`, no UTF-8.
    """
    with reading(path, error):
        check_regular(path, error)
        check_bytes(path, error)
        return path.read_text(encoding="utf-8")


def check_regular(path: Path, error: type[PeftbenchError] = ModelError) -> None:
    """Refuse a folder, pipe or device, which a library might read for ever."""
    if path.exists() and not path.is_file():
        raise error(f"'{path}' is no regular file", hint=COPY)


def check_folder(folder: Path, error: type[PeftbenchError] = ModelError) -> None:
    """Refuse a folder with a pipe or device in it: libraries look for files of many names."""
    with reading(folder, error):
        for path in folder.iterdir():
            if not path.is_dir():
                check_regular(path, error)


def check_bytes(path: Path, error: type[PeftbenchError] = ModelError) -> None:
    """Refuse a text file that is too large."""
    if path.stat().st_size > MAX_BYTES:
        raise error(f"'{path}' has {path.stat().st_size:,} bytes", hint=f"at most {MAX_BYTES:,} are read")


def read_object(path: Path, error: type[PeftbenchError] = ModelError) -> dict[str, Any]:
    """Read a JSON object of bounded size and depth, whose strings are text.

    Raises:
        PeftbenchError: As `error`: anything else.
    """
    text = read_text(path, error)
    with reading(path, error):
        table = json.loads(text)
        if SURROGATE.search(text):  # two of them may be one character; a lone one is no text
            json.dumps(table, ensure_ascii=False).encode()
    if not isinstance(table, dict):
        raise error(f"'{path}' is damaged: no JSON object but {_kind(table)}", hint=COPY)
    check_depth(path, table, error)
    return table


def check_depth(path: Path, table: Any, error: type[PeftbenchError] = ModelError) -> None:
    """Refuse lists and tables that lie in each other more than `limits.MAX_DEPTH` deep."""
    level, depth = [table], 0
    while level := [value for value in level if isinstance(value, dict | list)]:
        depth += 1
        if depth > limits.MAX_DEPTH:
            raise error(f"'{path}' is nested too deep", hint=f"at most {limits.MAX_DEPTH} levels are read")
        level = [inner for value in level for inner in (value.values() if isinstance(value, dict) else value)]


def check_limits(path: Path, config: Mapping[str, Any]) -> None:
    """Refuse sizes in a config.json that are no whole numbers or outside of `LIMITS`, and shares outside of 0 to 1.

    Raises:
        ModelError: Names the field.
    """
    for name, (least, most) in LIMITS.items():
        value = config.get(name)
        if value is not None and (type(value) is not int or not least <= value <= most):
            raise ModelError(
                f"'{path}' has {name} = {line(repr(value))}", hint=f"a whole number from {least:,} to {most:,}"
            )
    for name, value in config.items():
        if value is not None and name.endswith(SHARES) and (type(value) not in (int, float) or not 0 <= value <= 1):
            raise ModelError(f"'{path}' has {line(name)} = {line(repr(value))}", hint="a number from 0 to 1")


def _kind(value: Any) -> str:
    kinds = {list: "a list", str: "a string", bool: "true or false", int: "a number", float: "a number"}
    return kinds.get(type(value), "null")
