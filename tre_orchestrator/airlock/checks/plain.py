"""Text as the checks compare it: compatibility forms undone, what nobody sees taken out, every digit one of 0 to 9.

Full-width and other scripts' digits, no-break spaces, zero-width characters and combining marks hide a value from a
pattern, not from a reader. Lines stay lines, so that places stay true.
"""

from __future__ import annotations

import re
import unicodedata

_UNSEEN = frozenset({"Cf", "Mn", "Me"})
_DASHES = re.compile("[\u2010-\u2015\u2212]")


def plain(text: str) -> str:
    """The text in its plainest form; ASCII comes back as it is."""
    if text.isascii():
        return text
    folded = _DASHES.sub("-", unicodedata.normalize("NFKC", text))
    return folded if folded.isascii() else "".join(map(_plain, folded))


def _plain(char: str) -> str:
    if char.isascii():
        return char
    category = unicodedata.category(char)
    if category in _UNSEEN:
        return ""
    if category == "Nd":
        return str(unicodedata.decimal(char))
    return " " if category == "Zs" else char
