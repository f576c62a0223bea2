"""Drills with folders that strangers wrote: each is used, or refused in one line with a hint; nothing else comes out.

A drill takes a number of tries and a seed, and returns its tally. Try n of a seed is always the same folder.
"""

import contextlib
import json
import random
import shutil
import signal
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from peftbench import registry
from peftbench.adapters import starts
from peftbench.adapters.peft import read, write
from peftbench.errors import PeftbenchError
from peftbench.models.load import load
from peftbench.scoring.forward import choice_log_probs
from tests.adapters.random_adapters import save_random
from tests.drills.tally import Tally
from tests.scoring.prompts import encode_one
from tests.tiny import FAMILIES, tiny_backbone, tiny_folder

SECONDS = 30
DEEP = json.loads("[" * 200 + "]" * 200)
VALUES: list[Any] = [
    *(None, True, False, -1, 0, 1, 2, 3, 7, 10**6, 10**9, 10**30, -(10**30), 0.5, 1.5, -0.0, 1e308, 1e-320),
    *(float("nan"), float("inf"), "", "x", "0", "(", "(a+)+$", ".*", "\x1b[31m", "\ud800", "é", "a" * 5000, "../../x"),
    *([], [[]], [1], ["x"], [None], [1] * 50, {}, {"a": 1}, {"": {}}, {"x": [1]}, {"rope_type": "x"}, DEEP),
    *({"type": "x"}, {"__float__": "x"}, {"content": 3}, {"1": "x"}, {"quant_method": "x"}, "/dev/zero", "torch.nn"),
]
TEXTS = [
    *(b"", b"{", b"[]", b"null", b"3", b'"x"', b"{}", b"\xff\xfe{}", b"\x00" * 64, b"[" * 100_000, b'{"a":' * 50_000),
    *(b'{"a": "\xe9"}', b'{"a": ' + b"9" * 5000 + b"}", b'{"model_type": "llama", "model_type": []}', b"\xef\xbb\xbf"),
]
# Fields that a config may have and the tiny ones do not name.
FIELDS = [
    *("rope_parameters", "rope_scaling", "rope_theta", "hidden_act", "activation_function", "dtype", "torch_dtype"),
    *("quantization_config", "auto_map", "architectures", "transformers_weights", "layer_types", "sliding_window"),
    *("tie_word_embeddings", "is_encoder_decoder", "decoder_start_token_id", "use_bidirectional_attention"),
    *("attn_implementation", "_attn_implementation", "id2label", "num_labels", "pruned_heads", "base_model_tp_plan"),
    *("feed_forward_proj", "is_decoder", "chunk_size_feed_forward", "max_position_embeddings", "head_dim", "experts"),
    *(
        "no_rope_layers",
        "attention_bias",
        "scale_embedding",
        "n_inner",
        "text_config",
        "num_key_value_heads",
        "model_type",
    ),
]
SUMS = [b"\n", b"x\n", b"0" * 64 + b"\n", b"0" * 64 + b"  config.json\n", b"\xe9" * 64 + b"  x\n"]
SUMS += [b"0" * 64 + b"  " + b"x" * 5000, b"0" * 64 + b"  /dev/zero\n", b"0" * 64 + b"  ../../x\n"]
TOMLS = [b"tune = 3", b"[tune", b"[tune]\nlr = 'x'", b"[tune]\nlora = 3", b"[[tune]]", b"a = " + b"[" * 3000, b"\xff"]
TOMLS += [b"x = " + b"9" * 5000, b"[tune.lora]\nlr = nan", b"[tune]\nfoo = 1"]

Mutation = Callable[[Path, random.Random], str]


def models(tries: int, seed: int) -> Tally:
    """Load mutated model folders of all families, and run a prompt through those that load."""
    return _drill(tries, seed, _mutated_model, _use_model)


def adapters(tries: int, seed: int) -> Tally:
    """Start from mutated folders of the peft library, written here by each method that has a form there."""
    return _drill(tries, seed, _mutated_adapter, _use_adapter)


def checkpoints(tries: int, seed: int) -> Tally:
    """Start from mutated checkpoints of T-Few's authors."""
    return _drill(tries, seed, _mutated_checkpoint, _use_checkpoint)


DRILLS = {"model folders": models, "adapter folders": adapters, "checkpoints": checkpoints}


def _drill(tries: int, seed: int, mutated: Callable[[Path, random.Random], str], use: Callable[[Path], None]) -> Tally:
    tally = Tally()
    for number in range(tries):
        with tempfile.TemporaryDirectory() as place:
            what = mutated(Path(place) / "folder", random.Random(f"{seed} {number}"))
            note, fault = _outcome(Path(place) / "folder", use)
        tally.count(note)
        tally.add(f"try {number} of seed {seed}, {what}", fault)
    return tally


def _outcome(folder: Path, use: Callable[[Path], None]) -> tuple[str, str | None]:
    """Use a folder; return a note of what came out, and what of it should not."""
    started = time.monotonic()
    try:
        with _bounded(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            use(folder)
    except PeftbenchError as error:
        is_line = error.hint and len(error.message) <= 1000 and error.message.isprintable()
        return "refused", None if is_line else f"no line with a hint: {error.message!r}"
    except BaseException as error:  # a panic or what the clock raised
        if isinstance(error, KeyboardInterrupt):
            raise
        seconds = time.monotonic() - started
        return "tracebacks", f"{type(error).__name__}: {str(error).splitlines()[:1]} after {seconds:.0f} s"
    return "used", None


class TookTooLongError(BaseException):
    """No Exception: no library swallows it."""


@contextlib.contextmanager
def _bounded() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TookTooLongError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@cache
def _base(family: str) -> Path:
    return tiny_folder(family, Path(tempfile.mkdtemp(prefix=f"drill-{family}-")))


def _mutated_model(folder: Path, rng: random.Random) -> str:
    family = rng.choice(FAMILIES)
    shutil.copytree(_base(family), folder)
    return f"{family} {_mutate(folder, rng, MODEL)}"


def _use_model(folder: Path) -> None:
    backbone = load(str(folder), device="cpu", allow_pickle=True)
    backbone.settings("lora")
    text = "the premise says that\n" * 20  # long enough for a head that is shared
    prompt = encode_one(backbone, text, ["yes it does", "no"], end="eos", separator="", label=0)
    with torch.no_grad():
        choice_log_probs(backbone, [prompt])


@cache
def _backbone(family: str) -> Any:
    return tiny_backbone(family)


@cache
def _written(method: str, family: str) -> Path | None:
    """Write an adapter of a method in peft's layout; None where it has no form there."""
    place, backbone = Path(tempfile.mkdtemp(prefix="drill-adapter-")), _backbone(family)
    try:
        write.export(save_random(backbone, place / "ours", method), backbone, place / "peft")
    except PeftbenchError:
        return None
    finally:
        backbone.detach_all()
    return place / "peft"


def _mutated_adapter(folder: Path, rng: random.Random) -> str:
    forms = [name for name in registry.METHODS if (form := registry.method(name).PEFT) is not None and form.read]
    written, method, family = None, "", ""
    while written is None:
        method, family = rng.choice(forms), rng.choice(["llama", "t5", "gpt2"])
        written = _written(method, family)
    shutil.copytree(written, folder)
    (folder / "family").write_text(family)
    return f"{method} on {family}: {_mutate(folder, rng, ADAPTER)}"


def _use_adapter(folder: Path) -> None:
    backbone = _backbone((folder / "family").read_text())
    try:
        start = starts.read(folder, lambda: read.describe(backbone.name))
        method = registry.method(start.method)
        starts.load(start, backbone, method.attach(backbone, method.Config(**start.settings(start.method, {}))))
    finally:
        backbone.detach_all()


def _mutated_checkpoint(folder: Path, rng: random.Random) -> str:
    folder.mkdir()
    sites = [site for site in _backbone("t5").family.sites(_backbone("t5").sizes) if site.side == "output"]
    widths = {site.module: site.features for site in sites if site.role in ("k", "v", "ff_up")}
    table: dict[Any, Any] = {f"{name}.multi_lora_b": torch.ones(width, 1) for name, width in widths.items()}
    first = next(iter(table))
    odd = [3, None, "x", [torch.ones(2, 1)], torch.ones(7, 1, dtype=torch.int8), torch.ones(7), torch.ones(6, 2)]
    odd += [torch.ones(6, 1).to_sparse(), torch.ones(6, 1, device="meta"), torch.ones(6, 1, dtype=torch.complex64)]
    odd += [torch.ones(0, 1), torch.ones(99, 1)]
    change = rng.choice(["value", "value", "name", "whole", "bytes", "bytes"])
    if change == "value":
        table[first] = rng.choice(odd)
    if change == "name":
        table[rng.choice([3, None, "", "x\x1b[31m", "a" * 5000, "\udcff", (1, 2)])] = table.pop(first)
    torch.save(rng.choice([*VALUES, *odd]) if change == "whole" else table, folder / "checkpoint.pt")
    what = _mutate(folder, rng, [_text, _cut, _flip]) if change == "bytes" else ""
    return f"{change} {what}"


def _use_checkpoint(folder: Path) -> None:
    backbone = _backbone("t5")
    try:
        start = starts.read(folder / "checkpoint.pt")
        method = registry.method(start.method)
        starts.load(start, backbone, method.attach(backbone, method.Config(**start.settings(start.method, {}))))
    finally:
        backbone.detach_all()


def _mutate(folder: Path, rng: random.Random, mutations: list[Mutation]) -> str:
    return ", ".join(rng.choice(mutations)(folder, rng) for _ in range(rng.choice([1, 1, 1, 2])))


def _file(folder: Path, rng: random.Random) -> Path:
    return rng.choice(sorted(path for path in folder.iterdir() if path.is_file() and path.name != "family"))


def _remove(folder: Path, rng: random.Random) -> str:
    path = _file(folder, rng)
    path.unlink()
    return f"{path.name} removed"


def _text(folder: Path, rng: random.Random) -> str:
    path, text = _file(folder, rng), rng.choice(TEXTS)
    path.write_bytes(text)
    return f"{path.name} is {text[:20]!r}"


def _cut(folder: Path, rng: random.Random) -> str:
    path = _file(folder, rng)
    data = path.read_bytes()
    length = rng.randrange(len(data) + 1)
    path.write_bytes(data[:length])
    return f"{path.name} cut at {length}"


def _flip(folder: Path, rng: random.Random) -> str:
    path = _file(folder, rng)
    data = bytearray(path.read_bytes() or b"x")
    place = rng.randrange(min(len(data), 4000))
    data[place] ^= 1 << rng.randrange(8)
    path.write_bytes(data)
    return f"{path.name} flipped at {place}"


def _as_folder(folder: Path, rng: random.Random) -> str:
    path = _file(folder, rng)
    path.unlink()
    path.mkdir()
    return f"{path.name} is a folder"


def _swapped(folder: Path, rng: random.Random) -> str:
    path = _file(folder, rng)
    other = rng.choice(FAMILIES)
    if (_base(other) / path.name).is_file():
        shutil.copy(_base(other) / path.name, path)
    return f"{path.name} of {other}"


def _json_value(folder: Path, rng: random.Random) -> str:
    """Put a value of another kind at a random place of a JSON file."""
    path = rng.choice(sorted(folder.glob("*.json")) or [folder / "config.json"])
    try:
        table = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return "nothing"
    value, where, node = rng.choice(VALUES), [], table
    while isinstance(node, dict | list) and node:
        key = rng.choice(list(node) if isinstance(node, dict) else range(len(node)))
        where.append(key)
        if not isinstance(node[key], dict | list) or not node[key] or rng.random() < 0.4:
            node[key] = value
            break
        node = node[key]
    path.write_text(json.dumps(table))
    return f"{path.name} {where} = {str(value)[:40]!r}"


def _field(folder: Path, rng: random.Random) -> str:
    """Put a value at a field of the config, or add one that it does not have."""
    path = next(folder.glob("*config.json"), folder / "config.json")
    path = folder / "config.json" if (folder / "config.json").exists() else path
    try:
        table = json.loads(path.read_bytes())
        name = rng.choice([*table, *FIELDS] if path.name == "config.json" else [*table])
        table[name] = rng.choice(VALUES)
    except (OSError, ValueError, TypeError, RecursionError, IndexError):
        return "nothing"
    path.write_text(json.dumps(table))
    return f"{path.name} {name} = {str(table[name])[:40]!r}"


def _added(folder: Path, rng: random.Random) -> str:
    names = ["adapter_config.json", "special_tokens_map.json", "added_tokens.json", "generation_config.json"]
    names += ["model.safetensors.index.json", "chat_template.jinja", "vocab.json", "merges.txt", "tokenizer.model"]
    contents = {"SHA256SUMS": rng.choice(SUMS), "peftbench.toml": rng.choice(TOMLS)}
    name = rng.choice([*names, *contents, *contents])
    value = {"a": rng.choice(VALUES), rng.choice(["eos_token", "pad_token", "x"]): rng.choice(VALUES)}
    content = contents.get(name) or json.dumps(value).encode()
    (folder / name).write_bytes(content)
    return f"{name} added: {content[:40]!r}"


def _pickled(folder: Path, rng: random.Random) -> str:
    """Write the weights as a pickle, or what is none, in place of safetensors."""
    path = folder / "model.safetensors"
    try:
        tensors = load_file(path)
    except Exception:  # another mutation's
        return "nothing"
    path.unlink()
    contents = [tensors, tensors, tensors, list(tensors), {"x": 3}, {3: next(iter(tensors.values()))}, None, {}]
    contents.append({name: tensor.to("meta") for name, tensor in tensors.items()})
    torch.save(rng.choice(contents), folder / "pytorch_model.bin")
    return f"pickled, {_mutate(folder, rng, [_cut, _flip, _text])}" if rng.random() < 0.5 else "pickled"


def _index(folder: Path, rng: random.Random) -> str:
    name = rng.choice(VALUES)
    weight_map = rng.choice([name, {"x": name}, {"model.norm.weight": "model.safetensors", "x": name}])
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    if rng.random() < 0.7:
        (folder / "model.safetensors").unlink(missing_ok=True)
    return f"index of {str(weight_map)[:40]!r}"


def _tensors(folder: Path, rng: random.Random) -> str:
    """Take a tensor away, or change its shape, dtype or values; or the file's notes."""
    path = next(folder.glob("*.safetensors"), None)
    try:
        assert path is not None
        tensors = load_file(path)
        with safe_open(path, "pt") as opened:
            notes = dict(opened.metadata() or {})
    except Exception:  # another mutation's
        return "nothing"
    name = rng.choice(sorted(tensors))
    changes: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "shorter": lambda tensor: tensor[:-1].clone(),
        "flat": lambda tensor: tensor.flatten(),
        "scalar": lambda tensor: tensor.flatten()[0].clone(),
        "deeper": lambda tensor: tensor[None].clone(),
        "empty": lambda tensor: tensor.flatten()[:0].clone(),
        "whole numbers": lambda tensor: tensor.to(torch.int64),
        "complex": lambda tensor: tensor.to(torch.complex64),
        "nan": lambda tensor: torch.full_like(tensor, float("nan")),
    }
    change = rng.choice([*changes, "gone", "renamed", "notes", "notes"])
    if change in changes:
        tensors[name] = changes[change](tensors[name])
    elif change == "notes":
        note = {"method": rng.choice(["lora", "ia3", "x", 3]), "config": rng.choice(VALUES), "fingerprint": 3}
        note = rng.choice([note, {**note, "config": {"rank": rng.choice(VALUES), "roles": rng.choice(VALUES)}}])
        try:
            notes["peftbench"] = rng.choice([json.dumps(note), json.dumps(rng.choice(VALUES)), "{", "[" * 9999])
        except UnicodeEncodeError:
            return "nothing"
    else:
        tensor = tensors.pop(name)
        tensors |= {rng.choice(["x", "a" * 5000, name + ".x", "x." + name]): tensor} if change == "renamed" else {}
    save_file(tensors, path, metadata={"format": "pt", **notes})
    return f"{name} {change}"


EVERYWHERE: list[Mutation] = [_remove, _text, _cut, _flip, _as_folder, _json_value, _json_value, _field, _field, _field]
MODEL = [*EVERYWHERE, _swapped, _pickled, _added, _added, _index, _tensors, _json_value]
ADAPTER = [*EVERYWHERE, _tensors, _tensors, _field]
