"""The request target, read once and refused when it is odd, so that policy and upstream can never read it differently.

Refused: anything but an absolute path (absolute-form, authority-form, `*`), empty and dot segments, encoded slashes and
backslashes, control characters, malformed or doubled percent-encoding, bytes that are not UTF-8, fragments. What is
forwarded is not what came in but the canonical encoding of what was judged.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote_plus, unquote_to_bytes

from tre_orchestrator.errors import Refusal

MAX_LENGTH = 8000
_SEGMENT_SAFE = "!$&'()*+,;=:@-._~"
_PLAIN = re.compile(r"(?:/[A-Za-z0-9!$&'()*+,;=:@\-._~]+)+/?")
_PATH = re.compile(r"/[!-~]*")
_QUERY = re.compile(r"[!-~]*")
_BAD_IN_QUERY = re.compile(r'[#"<>]|%(?![0-9A-Fa-f]{2})')
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_STILL_ENCODED = re.compile(r"%[0-9A-Fa-f]{2}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class Target:
    """A clean target: decoded segments (an empty last one means a final slash), the path to forward, the raw query."""

    segments: tuple[str, ...]
    path: str
    query: str

    @property
    def text(self) -> str:
        """The decoded path without its first slash: what rules match against."""
        return "/".join(self.segments)

    def values(self, name: str) -> list[str]:
        """The decoded values of a query parameter."""
        return [unquote_plus(value) for key, value in _pairs(self.query) if unquote_plus(key) == name]

    def forwarded(self, drop: frozenset[str] = frozenset()) -> str:
        """Path and query for the upstream, without the query parameters in `drop`."""
        kept = "&".join(
            f"{key}={value}" if value else key for key, value in _pairs(self.query) if unquote_plus(key) not in drop
        )
        return f"{self.path}?{kept}" if kept else self.path


def parse(raw: str) -> Target | Refusal:
    """The clean form of a raw request target, or why it is refused."""
    path, _mark, query = raw.partition("?")
    if len(raw) > MAX_LENGTH:
        return _odd("it is too long")
    if not _PATH.fullmatch(path) or not _QUERY.fullmatch(query) or _BAD_IN_QUERY.search(query):
        return _odd("it is not a plain path and query")
    if _PLAIN.fullmatch(path):
        segments = tuple(path[1:].split("/"))
        if "." in segments or ".." in segments:
            return _odd("it has dot segments")
        return Target(segments, path, query)
    return _decoded(path, query)


def _decoded(path: str, query: str) -> Target | Refusal:
    if path == "/":
        return Target(("",), "/", query)
    if "\\" in path or "#" in path or _BAD_PERCENT.search(path):
        return _odd("it has characters that no path of ours has")
    raw_segments = path[1:].split("/")
    if "" in raw_segments[:-1]:
        return _odd("it has empty segments")
    segments = []
    for raw in raw_segments:
        try:
            segment = unquote_to_bytes(raw).decode("utf-8")
        except UnicodeDecodeError:
            return _odd("it is not UTF-8")
        if segment in (".", ".."):
            return _odd("it has dot segments")
        if "/" in segment or "\\" in segment or _CONTROL.search(segment) or _STILL_ENCODED.search(segment):
            return _odd("it hides a separator or a control character")
        segments.append(segment)
    clean = "/" + "/".join(quote(segment, safe=_SEGMENT_SAFE) for segment in segments)
    return Target(tuple(segments), clean, query)


def _pairs(query: str) -> list[tuple[str, str]]:
    pairs = []
    for part in query.split("&"):
        if part:
            key, _equals, value = part.partition("=")
            pairs.append((key, value))
    return pairs


def _odd(why: str) -> Refusal:
    return Refusal("odd-target", f"The address of this request was refused: {why}.")
