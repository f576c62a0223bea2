"""Names of strangers as plain text: for each format one function, so that no name is a command of that format."""

import re

UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but tab and line feed, other line breaks, what turns the direction of text, half characters."""

TAG = re.compile("<(?=[a-zA-Z/!?])")
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
LATEX_SPECIAL = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "~": r"$\sim$",
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "[": "{[}",
}


def terminal(text: str) -> str:
    """Show characters that a terminal would obey, such as ESC and CR, as Python writes them; lines stay lines."""
    return UNSEEN.sub(lambda match: match.group().encode("unicode_escape").decode(), text)


def line(text: str) -> str:
    """Show a text on one line of a terminal."""
    return terminal(text).replace("\n", "\\n")


def markdown(text: str) -> str:
    """Write a text so that Markdown has no HTML, link or further line in it; our own bold and code stay."""
    for character, written in (("](", "]\\("), ("]:", "]\\:"), ("][", "]\\[")):
        text = text.replace(character, written)
    return TAG.sub("&lt;", line(text))


def latex(text: str) -> str:
    """Write a text so that each of its characters is set as it is; no line of it leaves a comment."""
    return "".join(LATEX_SPECIAL.get(character, character) for character in line(text))


def csv(value: object) -> object:
    """Write a text so that no spreadsheet takes it for a formula: an apostrophe before what would begin one."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
