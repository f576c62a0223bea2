"""Penn Treebank tokens in lower case without punctuation, on which the E2E challenge's ROUGE-L, CIDEr, METEOR count.

The challenge's script tokenises with Stanford's PTBTokenizer, which needs Java. Here it is nltk's Treebank tokeniser,
after what it leaves to a splitter of sentences: a full stop inside of a text stands by itself, except after initials
("U.S."); dashes and quotation marks are ASCII's; a pound sign is "#".

Differs: of 5,323 texts of E2E none has other tokens than by Stanford's, of 12,586 of DART none, of 4,911 of WebNLG's
test set 4 %: there "Mr." and "Inc." keep their full stop, and "8.3m" is two tokens.
"""

import re
from functools import cache, lru_cache
from typing import Any

from peftbench.metrics.text import Outputs, References

PACKAGES = ("pycocoevalcap", "nltk")
"""What metrics on these tokens count with."""
PUNCTUATION = frozenset(["''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"])
# Pound sign, en and em dash, single and double quotation marks.
_SIGNS = {0xA3: " # ", 0x2013: " -- ", 0x2014: " -- ", 0x2018: "'", 0x2019: "'", 0x201C: '"', 0x201D: '"'}
_STOP = re.compile(r"""(?<![\s.][^\W\d_])\.(?=\.*(?:[\s"')\]]|$))|(?<!\w)\.(?=\w)""")
_HYPHEN = re.compile(r"(?<=\w)-(?!\w)|(?<!\w)-(?!\d)")

Captions = dict[int, list[str]]


@lru_cache(maxsize=20_000)
def tokens(text: str) -> tuple[str, ...]:
    """Tokenise a text: "It's £20-25." -> it 's # 20-25."""
    # A word before the text lets its first letter be an initial, a full stop after it is split off from any word.
    separated = _HYPHEN.sub(" - ", _STOP.sub(" . ", f" {text.lower()}").translate(_SIGNS))
    return tuple(token for token in _treebank().tokenize(f"{separated} .") if token not in PUNCTUATION)


@cache
def _treebank() -> Any:
    from nltk.tokenize import NLTKWordTokenizer

    return NLTKWordTokenizer()


def captions(outputs: Outputs, references: References) -> tuple[Captions, Captions]:
    """Tokenise references and outputs for pycocoevalcap, in its order: example -> texts of tokens and blanks."""
    theirs = {number: [" ".join(tokens(text)) for text in texts] for number, texts in enumerate(references)}
    return theirs, {number: [" ".join(tokens(output))] for number, output in enumerate(outputs)}
