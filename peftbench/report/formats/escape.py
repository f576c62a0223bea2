"""Names of strangers as plain text: for each format one function, so that no name is a command of that format."""

import re

UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but tab and line feed, other line breaks, what turns the direction of text, half characters."""


def terminal(text: str) -> str:
    """Show characters that a terminal would obey, such as ESC and CR, as Python writes them; lines stay lines."""
    return UNSEEN.sub(lambda match: match.group().encode("unicode_escape").decode(), text)


def line(text: str) -> str:
    """Show a text on one line of a terminal."""
    return terminal(text).replace("\n", "\\n")
