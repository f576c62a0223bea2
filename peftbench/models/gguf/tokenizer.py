"""A GGUF file's tokenizer: byte-level BPE from its tokens and merges, split as the file prescribes."""

from collections.abc import Sequence
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from tokenizers.pre_tokenizers import PreTokenizer
from transformers import PreTrainedTokenizerFast

from peftbench.errors import ModelError
from peftbench.models import foreign
from peftbench.models.gguf.header import Header

KEY = "tokenizer.ggml."
CONTROL, USER_DEFINED = 3, 4
"""Types of tokens: special ones, and those that stand in texts and are never cut."""

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
WHOLE = ("llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral")
"""Of Llama 3's kind: a word that is a token is not merged up to it, and texts begin with BOS."""
# Name in the file -> by which expressions texts are split, one after the other, before merges.
SPLITS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("gpt-2", "olmo", "phi-2", "mpt", "jais"), (GPT2,)),
    **dict.fromkeys(("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone"), (DIGITS, GPT2)),
    **dict.fromkeys((*WHOLE, "smaug-bpe", "dbrx"), (LLAMA3,)),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen", "megrez", "stablelm2"), (QWEN2,)),
    "tekken": (TEKKEN,),
}


def tokenizer(header: Header) -> PreTrainedTokenizerFast:
    """Build the tokenizer, with the file's chat template.

    Raises:
        ModelError: Of a kind, or split in a way, that is not known here; or damaged.
    """
    entries = {key.removeprefix(KEY): value for key, value in header.metadata.items() if key.startswith(KEY)}
    splits = _splits(header, entries)
    with foreign.reading(header.path, fault="has no tokenizer that can be loaded"):
        core = Tokenizer(_bpe(entries))
        core.pre_tokenizer = pre_tokenizers.Sequence([*map(_split, splits), _bytes()])
        core.decoder = decoders.ByteLevel()
        _add(core, entries["tokens"], entries.get("token_type", ()))
        special = {name: _token(entries, key) for name, key in SPECIAL.items()}
        _open(core, entries, special)
        return PreTrainedTokenizerFast(
            tokenizer_object=core,
            chat_template=_chat_template(header),
            clean_up_tokenization_spaces=False,
            **special,
        )


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


def _splits(header: Header, entries: dict[str, Any]) -> tuple[str, ...]:
    kind, pre = entries.get("model"), entries.get("pre", "default")
    if kind != "gpt2":
        raise ModelError(
            f"'{header.path}' has a tokenizer of the kind {foreign.line(repr(kind))}, which is not read from GGUF",
            hint="known: gpt2 (byte-level BPE); a Hugging Face folder of the model works as well",
        )
    if pre not in SPLITS:
        raise ModelError(
            f"'{header.path}' splits texts in the way {foreign.line(repr(pre))}, which is not known here",
            hint=f"known: {', '.join(SPLITS)}; a Hugging Face folder of the model works as well",
        )
    return SPLITS[pre]


def _bpe(entries: dict[str, Any]) -> models.BPE:
    vocabulary = {token: index for index, token in enumerate(entries["tokens"])}
    if len(vocabulary) < len(entries["tokens"]):
        raise ValueError("a token is there twice")
    merges = [tuple(merge.split(" ")) for merge in entries["merges"]]
    return models.BPE(vocab=vocabulary, merges=merges, ignore_merges=entries.get("pre") in WHOLE)


def _split(expression: str) -> PreTokenizer:
    return pre_tokenizers.Split(Regex(expression), behavior="isolated")


def _bytes() -> PreTokenizer:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


def _add(core: Tokenizer, tokens: Sequence[str], types: Sequence[int]) -> None:
    """Add what is matched in texts before they are split."""
    for token, kind in zip(tokens, types, strict=False):
        if kind == CONTROL:
            core.add_special_tokens([AddedToken(token, normalized=False, special=True)])
        elif kind == USER_DEFINED:
            core.add_tokens([AddedToken(token, normalized=False, special=False)])


def _open(core: Tokenizer, entries: dict[str, Any], special: dict[str, Any]) -> None:
    """Let texts begin with BOS and end with EOS where the file says so."""
    begins = entries.get("add_bos_token", entries.get("pre") in WHOLE)
    ends = entries.get("add_eos_token", False)
    names = [name for name, is_used in (("bos_token", begins), ("$A", True), ("eos_token", ends)) if is_used]
    if len(names) > 1:
        template = [special.get(name, name) for name in names]
        if None in template:
            raise ValueError(f"texts begin or end with a {names[template.index(None)]}, and it has none")
        ids = [(token, core.token_to_id(token)) for token in template if token in special.values()]
        core.post_processor = processors.TemplateProcessing(single=template, special_tokens=ids)
