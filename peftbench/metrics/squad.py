"""SQuAD's normalisation of answers, under which exact match, token F1 and containment compare.

Lower case; without punctuation (ASCII's), which leaves no blank behind; without the words a, an, the; single blanks.

Paper: 1606.05250, section 6.1. MRQA's shared task (1910.09753) scores its sets of other domains under the same.
"""

import re
import string

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalized(text: str) -> str:
    """Normalise an answer: "The U.S., twice" -> "us twice"."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())
