"""A GGUF file's tokenizer: byte-level BPE, split as the file prescribes, or SentencePiece's BPE from its scores."""

from collections.abc import Sequence
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from peftbench.errors import ModelError
from peftbench.models import foreign
from peftbench.models.gguf.header import Header

KEY = "tokenizer.ggml."
BYTES, PIECES, SPACE = "gpt2", "llama", "\N{LOWER ONE EIGHTH BLOCK}"
NORMAL, CONTROL, USER_DEFINED = 1, 3, 4
"""Types of tokens: of texts, special ones, and those that stand in texts and are never cut."""
MAX_PIECE = 256
"""Characters of a token that is made by merging; SentencePiece makes none above 16 unless told to."""
MAX_ADDED = 20_000
"""Tokens that are matched before texts are cut; models in use have under 7,000."""

SPECIAL = {
    "bos_token": "bos_token_id",
    "eos_token": "eos_token_id",
    "unk_token": "unknown_token_id",
    "pad_token": "padding_token_id",
}
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
LLAMA3 = rf"{CONTRACTIONS}|{WORDS}|\p{{N}}{{1,3}}|{REST}"
QWEN2 = rf"{CONTRACTIONS}|{WORDS}|\p{{N}}|{REST}"
TEKKEN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*|\p{{N}}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
DIGITS = r"\p{N}"
LLAMA3_NAMES = ("llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral")
WHOLE = (*LLAMA3_NAMES, "tekken")
"""Where a word that is a token is not merged up to it, and texts begin with BOS unless the file says otherwise."""
# Name in the file -> by which expressions texts are split, one after the other, before merges.
SPLITS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("gpt-2", "olmo", "phi-2", "mpt", "jais"), (GPT2,)),
    **dict.fromkeys(("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone"), (DIGITS, GPT2)),
    **dict.fromkeys((*LLAMA3_NAMES, "smaug-bpe", "dbrx"), (LLAMA3,)),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen", "megrez", "stablelm2"), (QWEN2,)),
    "tekken": (TEKKEN,),
}


def tokenizer(header: Header) -> PreTrainedTokenizerFast:
    """Build the tokenizer, with the file's chat template.

    Raises:
        ModelError: Of a kind, or split in a way, that is not known here; or damaged.
    """
    entries = {key.removeprefix(KEY): value for key, value in header.metadata.items() if key.startswith(KEY)}
    _check(header, entries)
    with foreign.reading(header.path, fault="has no tokenizer that can be loaded"):
        core = _byte_level(entries) if entries["model"] == BYTES else _sentencepiece(entries)
        _add(core, entries["tokens"], entries.get("token_type", ()))
        special = {name: _token(entries, key) for name, key in SPECIAL.items()}
        _open(core, entries, special)
        return PreTrainedTokenizerFast(
            tokenizer_object=core,
            chat_template=_chat_template(header),
            clean_up_tokenization_spaces=False,
            **special,
        )


def _check(header: Header, entries: dict[str, Any]) -> None:
    kind, pre = entries.get("model"), entries.get("pre", "default")
    if kind not in (BYTES, PIECES):
        raise ModelError(
            f"'{header.path}' has a tokenizer of the kind {foreign.line(repr(kind))}, which is not read from GGUF",
            hint=f"known: {BYTES} (byte-level BPE), {PIECES} (SentencePiece); other ones work as a Hugging Face folder",
        )
    if pre not in SPLITS if kind == BYTES else pre != "default":
        raise ModelError(
            f"'{header.path}' splits texts in the way {foreign.line(repr(pre))}, which is not known here",
            hint=f"known: {', '.join(SPLITS)}; other ones work as a Hugging Face folder",
        )


def _vocabulary(entries: dict[str, Any]) -> dict[str, int]:
    vocabulary = {token: index for index, token in enumerate(entries["tokens"])}
    if len(vocabulary) < len(entries["tokens"]):
        raise ValueError("a token is there twice")
    return vocabulary


def _byte_level(entries: dict[str, Any]) -> Tokenizer:
    """Build a BPE over bytes, each spelled as a letter, whose merges the file lists."""
    merges = [tuple(merge.split(" ")) for merge in entries["merges"]]
    is_whole = entries["pre"] in WHOLE
    core = Tokenizer(models.BPE(vocab=_vocabulary(entries), merges=merges, ignore_merges=is_whole))
    splits = [pre_tokenizers.Split(Regex(split), behavior="isolated") for split in SPLITS[entries["pre"]]]
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [*splits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    core.decoder = decoders.ByteLevel()
    return core


def _sentencepiece(entries: dict[str, Any]) -> Tokenizer:
    """Build a BPE over characters that falls back to bytes: of two neighbours, those that make the best piece merge."""
    if entries.get("remove_extra_whitespaces"):
        raise ValueError("it removes white space from texts")
    unknown = _token(entries, "unknown_token_id")
    vocabulary = _vocabulary(entries)
    core = Tokenizer(
        models.BPE(
            vocab=vocabulary, merges=_merges(entries, vocabulary), unk_token=unknown, fuse_unk=True, byte_fallback=True
        )
    )
    begins = entries.get("add_space_prefix", True)
    space = normalizers.Replace(" ", SPACE)
    core.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), space]) if begins else space
    strip = [decoders.Strip(content=" ", left=1)] if begins else []
    core.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *strip])
    return core


def _merges(entries: dict[str, Any], vocabulary: dict[str, int]) -> list[tuple[str, str]]:
    """List all pairs of pieces that make a piece, the best piece first."""
    tokens, scores = entries["tokens"], entries["scores"]
    types = entries.get("token_type") or [NORMAL] * len(tokens)
    ranked = [index for index, kind in enumerate(types) if kind == NORMAL]
    ranked.sort(key=lambda index: -scores[index])
    if any(len(tokens[index]) > MAX_PIECE for index in ranked):
        raise ValueError(f"a piece has more than {MAX_PIECE} characters")
    pairs = ((tokens[index][:cut], tokens[index][cut:]) for index in ranked for cut in range(1, len(tokens[index])))
    return [(left, right) for left, right in pairs if left in vocabulary and right in vocabulary]


def _token(entries: dict[str, Any], key: str) -> str | None:
    index = entries.get(key)
    if index is None:
        return None
    if type(index) is not int or not 0 <= index < len(entries["tokens"]):
        raise ValueError(f"{key} is {index!r}, and it has {len(entries['tokens']):,} tokens")
    return str(entries["tokens"][index])


def _chat_template(header: Header) -> str | None:
    template = header.metadata.get("tokenizer.chat_template")
    if template is not None and not isinstance(template, str):
        raise ValueError("the chat template is no text")
    return template


def _add(core: Tokenizer, tokens: Sequence[str], types: Sequence[int]) -> None:
    """Add what is matched in texts before they are split; each kind at once, as each call builds its index again."""
    kinds = list(zip(tokens, types, strict=False))
    special = [AddedToken(token, normalized=False, special=True) for token, kind in kinds if kind == CONTROL]
    plain = [AddedToken(token, normalized=False, special=False) for token, kind in kinds if kind == USER_DEFINED]
    if len(special) + len(plain) > MAX_ADDED:
        raise ValueError(f"{len(special) + len(plain):,} special tokens")
    core.add_special_tokens(special)
    core.add_tokens(plain)


def _open(core: Tokenizer, entries: dict[str, Any], special: dict[str, Any]) -> None:
    """Let texts begin with BOS and end with EOS where the file says so."""
    begins = entries.get("add_bos_token", entries["model"] == PIECES or entries.get("pre") in WHOLE)
    ends = entries.get("add_eos_token", False)
    names = [name for name, is_used in (("bos_token", begins), ("$A", True), ("eos_token", ends)) if is_used]
    if len(names) > 1:
        template = [special.get(name, name) for name in names]
        if None in template:
            raise ValueError(f"texts begin or end with a {names[template.index(None)]}, and it has none")
        ids = [(token, core.token_to_id(token)) for token in template if token in special.values()]
        core.post_processor = processors.TemplateProcessing(single=template, special_tokens=ids)
