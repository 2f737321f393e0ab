"""The contents API is how the editor opens and saves files; these caps keep it from being a download or an upload.

Reading: text and notebooks up to a size, base64 for images only. Writing: text and notebooks up to a size, never
base64, never in chunks. A workspace can lie about what a file is, so size is the control and the rest a fence; bytes
are metered on top.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tre_orchestrator.errors import Refusal

Judge = Callable[[], Refusal | None]

MIB = 1024 * 1024
MAX_NOTEBOOK = 8 * MIB
MAX_FILE = 2 * MIB
MAX_BODY = MAX_NOTEBOOK
"""Bytes of JSON, either way. A notebook carries its pictures; other files are text that a person reads."""

_WRITABLE_FORMATS = (None, "text", "json")


def why_not_read(body: bytes) -> Refusal | None:
    """Why this answer of the contents API may not go to the browser, or None."""
    if len(body) > MAX_NOTEBOOK:
        return too_big()
    model = _object(body)
    if model is None:
        return None if _is_list(body) else _not_contents()
    if model.get("content") is None:
        return None
    kind = model.get("type")
    if kind in ("directory", "notebook"):
        return None
    if len(body) > MAX_FILE:
        return too_big()
    if model.get("format") == "base64" and not str(model.get("mimetype") or "").startswith("image/"):
        return Refusal(
            "closed-download", "Binary files do not open in the browser. Read it in a cell, or ask for its release."
        )
    return None


def why_not_save(method: str, body: bytes) -> Refusal | None:
    """Why this write to the contents API is refused, or None."""
    if method not in ("PUT", "POST", "PATCH") or not body:
        return None
    model = _object(body)
    if model is None:
        return _not_contents()
    if "chunk" in model or model.get("format") not in _WRITABLE_FORMATS:
        return Refusal("closed-upload", "Files come in by the import airlock only; uploading in the browser is closed.")
    if model.get("type") != "notebook" and len(body) > MAX_FILE:
        return too_big()
    return None


def too_big() -> Refusal:
    """The refusal of a file over the caps."""
    return Refusal(
        "too-big",
        f"Only notebooks up to {MAX_NOTEBOOK // MIB} MiB and text up to {MAX_FILE // MIB} MiB open in the browser. "
        "Clear large outputs, or read the file in a cell.",
    )


def _not_contents() -> Refusal:
    return Refusal("not-contents", "This is not what the contents API sends or takes.")


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(body, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Objects as parsers read them; a key that stands twice could mean two things to two readers."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _is_list(body: bytes) -> bool:
    """Whether this is a list, as the answer for checkpoints is."""
    try:
        return isinstance(json.loads(body), list)
    except (ValueError, RecursionError):
        return False
