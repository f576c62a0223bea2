"""What makes two records one row of a table: equal settings, whatever the task and the seed."""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from peftbench.store.record import Record

# A row pools seeds and averages over tasks. `limit` shows as n, and `templates` by their number, beside the accuracy.
NOT_SETTING = {"seed", "task", "task_sha256", "metric", "limit"}
# These have columns of their own.
IN_COLUMNS = {"learner", "model", "method", "shots"}
PREFIX = "ICL->prefix"
"""In-context learning by the shots' saved keys and values."""
LOSSES = {"lm_loss": "L_LM", "unlikelihood_loss": "L_UL", "length_norm_loss": "L_LN"}
"""Setting that weighs a loss -> the loss's name in 2205.05638, section 3.2."""
BESIDE = {
    "layer_norms", "bias", "chat", "select", "pool", "attention", "embedder", "source_task", "answer", "train_backbone",
    "load", "distil", "method",
}  # fmt: skip
"""Settings that are shown even where all rows have them: they train some of the model beside the method, tell what
stands in a prompt, that another model reads, how an encoder-only model answers, that weights are packed, or what
answers and trains in an ensemble."""
VERSIONS = {"draw_version", "label_draw_version", "chat_template_sha256", "source_task_sha256"}
"""Follow from the other settings, but for records of before: they are shown where nothing else tells rows apart."""
OFF = (None, False, "none")
FINGERPRINT = re.compile(r"[0-9a-f]{64}")
MAX_CHARS = 40
"""Of a text that a table shows: a system prompt may be a page."""
SET = ("method_config", "training")
"""Tables of an identity whose fields are typed as --set KEY=VALUE."""
NEGATED = {"cache": "--no-cache", "pll": "--no-pll"}
"""Settings that are on unless an option turns them off."""


@dataclass(frozen=True)
class Setting:
    """One setting of a record.

    Args:
        path: Where the identity has it: ("method_config", "rank"), or ("dtype",).
        value: As it was resolved; as JSON has it.
    """

    path: tuple[str, ...]
    value: Any

    @property
    def name(self) -> str:
        """The last part of the path: rank."""
        return self.path[-1]

    @property
    def text(self) -> str:
        """Name and value as tables show them: rank=8."""
        return f"{self.name}={shown(self.value)}"

    @property
    def short(self) -> str:
        """The value alone, or the name of what is on or off, for where there is little room."""
        if isinstance(self.value, bool):
            return self.name if self.value else f"no {self.name}"
        return shown(self.value)

    @property
    def words(self) -> list[str]:
        """What the command line takes for a setting of `options.of_record`: ["--set", "rank=8"]; nothing for null."""
        option = f"--{self.name.replace('_', '-')}"
        if self.value is None:
            return []
        if self.path[0] in SET and self.name != "embedder":
            return ["--set", f"{self.name}={typed(self.value)}"]
        if self.name in NEGATED:
            return [] if self.value else [NEGATED[self.name]]
        if isinstance(self.value, bool):
            return [option] if self.value else []
        if self.name == "content_free":
            return [word for text in self.value for word in (option, text)]
        if isinstance(self.value, list):
            return [option, ",".join(map(str, self.value))]
        return [option, str(self.value).replace("\n", "\\n")]


def key(record: Record) -> str:
    """Return the text that records of one row share."""
    return json.dumps(table(record), sort_keys=True)


def table(record: Record) -> dict[str, Any]:
    """Return what records of one row share: their identity without what a row pools, and how they learned."""
    shared = {name: value for name, value in _pooled(record.identity).items() if name not in NOT_SETTING}
    return shared | {"as": method(record)}


def whole(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out of an identity which fold was tested, as all folds of a split share it: how many, and the group."""
    fold = identity.get("fold") or {}
    of_split = {"folds": fold.get("of"), "group": fold.get("group")}
    rest = {name: value for name, value in identity.items() if name != "fold"}
    return rest | {name: value for name, value in of_split.items() if value is not None}


def method(record: Record) -> str:
    """Name how it learned: zero-shot, ICL, or the method that tuned."""
    if record.learned.method:
        return record.learned.method
    if record.identity.get("icl", {}).get("as_prefix"):
        return PREFIX
    return "ICL" if shots(record) else "zero-shot"


def shots(record: Record) -> int:
    """Return the number of shots that were asked for."""
    return int(record.identity.get("shots", record.learned.num_shots))


def order(record: Record) -> int:
    """Return the number of the order in which the shots stood; 0 is that of the draw."""
    return int(record.identity.get("icl", {}).get("order", 0))


def icl(record: Record) -> dict[str, Any]:
    """Return the options of in-context learning as they are typed: a sentence model by its folder."""
    options = dict(record.identity.get("icl", {}))
    return options | ({"embedder": record.learned.embedder} if record.learned.embedder else {})


def method_config(record: Record) -> dict[str, Any]:
    """Return the method's settings as they are typed: a sentence model by its folder."""
    options = dict(record.identity.get("method_config") or {})
    return options | ({"embedder": record.learned.embedder} if "embedder" in options else {})


def is_chosen(record: Record) -> bool:
    """Return whether each query had shots of its own."""
    return "select" in record.identity.get("icl", {})


def differences(records: Sequence[Record]) -> list[tuple[Setting, ...]]:
    """Find for rows of the same method, model and shots what tells them apart.

    Args:
        records: One record of each such row.

    Returns:
        For each row the settings that are not the same in all of them, and those that are always shown; mostly none for
        a single row.
    """
    tables = [{setting.path: setting for setting in _settings(_pooled(record.identity))} for record in records]
    paths = list(dict.fromkeys(path for table in tables for path in table))
    unlike = [path for path in paths if len({_shown(table, path) for table in tables}) > 1]
    plain = [path for path in unlike if path[-1] not in VERSIONS]
    if len({tuple(_shown(table, path) for path in plain) for table in tables}) == len(tables):
        unlike = plain
    beside = [path for path in paths if path not in unlike and path[-1] in BESIDE]
    unlike += [path for path in beside if tables[0][path].value not in OFF]
    return [tuple(table[path] for path in unlike if path in table) for table in tables]


def sort_key(settings: Sequence[Setting]) -> list[tuple[float, str]]:
    """Order rows by the names of their settings, numbers by what they are worth: rank=8 before rank=64."""
    return [part for setting in settings for part in ((-1.0, setting.name), *_parts(setting.value))]


def losses(settings: Sequence[Setting], record: Record) -> dict[str, float]:
    """Return the weights of all losses where some of them tell the row apart; else nothing."""
    if not any(setting.name in LOSSES for setting in settings):
        return {}
    return {name: record.identity["training"][name] for name in LOSSES}


def loss_sum(weights: Mapping[str, float]) -> str:
    """Write the sum of losses that was minimised: L_LM + 0.5 L_UL."""
    terms = [(weights[setting], name) for setting, name in LOSSES.items() if weights[setting]]
    return " + ".join(name if weight == 1 else f"{weight:g} {name}" for weight, name in terms)


def label(settings: Sequence[Setting], weights: Mapping[str, float]) -> str:
    """Write settings as people read them, the sum of losses in place of their weights.

    Args:
        settings: Of a row.
        weights: Of the losses, where some of them are among the settings.
    """
    texts = [_read(setting) for setting in settings if setting.name not in LOSSES]
    return ", ".join([loss_sum(weights), *texts] if weights else texts)


def _read(setting: Setting) -> str:
    """Write a setting in a row's name: "32 shots, by bm25, of 64 rows"."""
    phrases = {
        "select": f"by {setting.value}",
        "pool": f"of {setting.value} rows",
        "source_task": f"tuned on {setting.value}",
        "load": f"{str(setting.value).removesuffix('bit')}-bit weights",
    }
    return phrases.get(setting.name, setting.text)


def shown(value: Any) -> str:
    """Write a value for a table: six digits of a number, the beginning of a fingerprint or of a long text."""
    if value is None:
        return "default"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, str):
        return value[:8] if FINGERPRINT.fullmatch(value) else _beginning(value)
    if isinstance(value, list) and value:
        return ",".join(map(shown, value))
    return json.dumps(value)


def _beginning(text: str) -> str:
    """Return a text, or of a long one its beginning and a digest that tells it from others with the same one."""
    digest = sha256(text.encode()).hexdigest()[:8]
    return text if len(text) <= MAX_CHARS else f"{text[:MAX_CHARS]}... ({digest})"


def typed(value: Any) -> str:
    """Write a value as `--set` reads it, with all its digits: TOML, where a word needs no quotes."""
    return value if isinstance(value, str) and _is_word(value) else toml(value)


def toml(value: Any) -> str:
    """Write a value as TOML; TOML has no null, so what is absent stays away."""
    if isinstance(value, Mapping):
        return f"{{ {', '.join(assignments(value))} }}"
    return f"[{', '.join(map(toml, value))}]" if isinstance(value, list) else json.dumps(value)


def assignments(table: Mapping[str, Any]) -> list[str]:
    """Write a table's lines of TOML."""
    names = {name: name if re.fullmatch(r"[\w-]+", name) else json.dumps(name) for name in table}
    return [f"{names[name]} = {toml(value)}" for name, value in table.items() if value is not None]


def _is_word(text: str) -> bool:
    """Return whether `--set` reads a text as itself: it is no TOML, and has no blanks to lose."""
    try:
        tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text == text.strip() != ""
    return False


def _pooled(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the order of the shots: a row pools orders as it pools seeds."""
    options = {name: value for name, value in identity.get("icl", {}).items() if name not in ("order", "as_prefix")}
    return {name: value for name, value in identity.items() if name != "icl"} | ({"icl": options} if options else {})


def _settings(nested: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[Setting]:
    """List nested settings with their paths."""
    for name, value in nested.items():
        if not path and name in NOT_SETTING | IN_COLUMNS:
            continue
        if isinstance(value, Mapping):
            yield from _settings(value, (*path, name))
        else:
            yield Setting((*path, name), value)


def _shown(table: Mapping[tuple[str, ...], Setting], path: tuple[str, ...]) -> str:
    return shown(table[path].value if path in table else None)


def _parts(value: Any) -> list[tuple[float, str]]:
    if isinstance(value, list):
        return [part for item in value for part in _parts(item)]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return [(value, "")]
    return [(-1.0, shown(value))]
