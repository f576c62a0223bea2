"""The lab's tokenizer: a byte-level BPE that gives a common word one token wherever it stands in a line.

A plain byte-level BPE spells a word in two ways, " word" inside a line and "word" at its start, and so needs two
entries for it. Here a space is put before the text and after every newline, and the decoder takes both away again:
the map is one to one, any UTF-8 text survives the round trip, and a word needs one entry. A tokenizer with a mask
leaves that space out before a blank, punctuation or a newline, since text behind a mask begins with one of these: a
masked text differs from the text itself in the masked tokens alone. Frequent words enter the
vocabulary whole, without the merges that would lead to them (`ignore_merges`, as in Llama 3): a world of 1,200 words
would otherwise fill a small vocabulary with its prefixes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

PAD, EOS, UNK = "<pad>", "</s>", "<unk>"
BOS, MASK = "<s>", "<mask>"


def train_tokenizer(
    texts: Sequence[str],
    vocab_size: int,
    append_eos: bool,
    max_length: int,
    num_merges: int = 300,
    *,
    has_mask: bool = False,
) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE on texts.

    Args:
        texts: The text to count.
        vocab_size: Entries in all: 3 special tokens, the 256 bytes, the merges, then the most frequent words.
        append_eos: Whether encoding ends in `</s>`: T5 wants it, a causal model does not.
        max_length: Tokens that the model takes, kept in the tokenizer's settings.
        num_merges: Pieces of words, for text of another world.
        has_mask: Whether there is a mask, and texts begin with `<s>`, as an encoder wants them.

    Returns:
        A tokenizer with pad 0, eos 1 and unk 2 (bos 3 and mask 4), which `save_pretrained` writes without custom code.
    """
    special = [PAD, EOS, UNK, *([BOS, MASK] if has_mask else [])]
    bpe = Tokenizer(_with_words(_pieces(texts, num_merges, special), texts, vocab_size))
    _dress(bpe, has_mask)
    first, last = f"{BOS} " if has_mask else "", f" {EOS}" if append_eos else ""
    if first or last:
        bpe.post_processor = processors.TemplateProcessing(
            single=f"{first}$A{last}",
            pair=f"{first}$A{last} $B{last}",
            special_tokens=[(token, bpe.token_to_id(token)) for token in (first.strip(), last.strip()) if token],
        )
    masked = {"cls_token": BOS, "sep_token": EOS, "mask_token": MASK}
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token=PAD,
        eos_token=EOS,
        unk_token=UNK,
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
        **(masked if has_mask else {}),
    )


def _dress(bpe: Tokenizer, has_mask: bool = False) -> None:
    """Set a tokenizer's hidden spaces, its byte alphabet, and the decoder that takes both away."""
    first, last = (normalizers.Replace(Regex(place), "") for place in (r"^ (?=[\s.,;:!?])", " $"))
    masked = [first], [last]  # a blank before a mask is the mask's; what is behind it may begin without a blank
    before, after = masked if has_mask else ([], [])
    bpe.normalizer = normalizers.Sequence([normalizers.Prepend(" "), *before, normalizers.Replace("\n", "\n "), *after])
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False)
    bpe.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Replace("\n ", "\n"), decoders.Strip(" ", 1, 0)])


def _pieces(texts: Sequence[str], num_merges: int, special: list[str]) -> Tokenizer:
    """Train the bytes and their first merges."""
    bpe = Tokenizer(models.BPE())
    _dress(bpe)
    trainer = trainers.BpeTrainer(
        vocab_size=len(special) + 256 + num_merges,
        special_tokens=special,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return bpe


def _with_words(bpe: Tokenizer, texts: Sequence[str], vocab_size: int) -> models.BPE:
    """Add the most frequent words whole, in order of their count and then of the alphabet."""
    state = json.loads(bpe.to_str())["model"]
    vocab: dict[str, int] = state["vocab"]
    counts = Counter(
        word for text in texts for word, _ in bpe.pre_tokenizer.pre_tokenize_str(bpe.normalizer.normalize_str(text))
    )
    for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if len(vocab) < vocab_size:
            vocab.setdefault(word, len(vocab))
    merges = [tuple(merge) for merge in state["merges"]]
    return models.BPE(vocab=vocab, merges=merges, ignore_merges=True)
