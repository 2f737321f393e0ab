"""Path hygiene: a name in a request is one that every system and every reader shows as it is.

Refused: absolute paths, `..`, empty parts, characters that some systems do not allow in a name, control, invisible and
bidirectional characters, names that are not in Unicode's composed form, names of more than 255 bytes, depth over 16,
and hidden files (a `.git` folder holds deleted rows).
"""

from __future__ import annotations

import unicodedata

from tre_orchestrator.errors import Refusal

NAME_BYTES = 255
PATH_BYTES = 1024
DEPTH = 16
_FORBIDDEN = frozenset('\\:*?"<>|')
_UNSEEN = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})


def why_not_path(path: str) -> Refusal | None:
    """Why `path` may not name a file in a request, or None."""
    for wrong, sentence in _RULES:
        if wrong(path):
            return Refusal("odd-path", f"The name {_shown(path)} cannot be taken: {sentence}. Rename the file.")
    return None


def folded(path: str) -> str:
    """What a path looks like on a system that ignores case and compatibility forms: equal means mistakable."""
    return unicodedata.normalize("NFKC", path).casefold()


def _shown(path: str) -> str:
    return ascii(path[:80])


def _parts(path: str) -> list[str]:
    return path.split("/")


def _has_surrogate(path: str) -> bool:
    return any(unicodedata.category(character) == "Cs" for character in path)


_RULES = (
    (lambda path: not path or _has_surrogate(path), "it is empty or not UTF-8"),
    (lambda path: len(path.encode()) > PATH_BYTES, f"it is longer than {PATH_BYTES} bytes"),
    (lambda path: path.startswith("/"), "it is absolute"),
    (lambda path: any(character in _FORBIDDEN for character in path), 'it has one of the characters \\ : * ? " < > |'),
    (lambda path: any(part in ("", ".", "..") for part in _parts(path)), "a part of it is empty, '.' or '..'"),
    (lambda path: any(part.startswith((".", "-", "~")) for part in _parts(path)), "a part of it starts with . - or ~"),
    (lambda path: any(part != part.strip() for part in _parts(path)), "a part of it starts or ends with a space"),
    (lambda path: any(len(part.encode()) > NAME_BYTES for part in _parts(path)), f"a part is over {NAME_BYTES} bytes"),
    (lambda path: len(_parts(path)) > DEPTH, f"it is deeper than {DEPTH} folders"),
    (lambda path: any(unicodedata.category(character) in _UNSEEN for character in path), "it has invisible characters"),
    (lambda path: unicodedata.normalize("NFC", path) != path, "it is not in Unicode's composed form (NFC)"),
)
