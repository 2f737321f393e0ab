"""Who may send a request: rules on `Sec-Fetch-*` and `Origin`, which a page's script cannot forge.

Workspace hosts and the people's host are one *site*, so cookies, even `SameSite=Strict` ones, travel between them.
Only `same-origin` tells our own page from a hostile workspace's. A browser that does not send these headers is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tre_orchestrator.errors import Refusal

SAFE_METHODS = frozenset({"GET", "HEAD"})
_FRAMES = frozenset({"iframe", "frame"})
_CROSS = Refusal("cross-origin", "This request came from another page than the one it acts on, so it was refused.")


@dataclass(frozen=True, slots=True)
class Fetch:
    """What the browser says about where a request comes from."""

    method: str
    site: str
    mode: str
    dest: str
    origin: str | None


def fetch_of(method: str, headers: Mapping[str, str]) -> Fetch:
    """Read a request's `Sec-Fetch-*` and `Origin` headers."""
    return Fetch(
        method,
        headers.get("Sec-Fetch-Site", ""),
        headers.get("Sec-Fetch-Mode", ""),
        headers.get("Sec-Fetch-Dest", ""),
        headers.get("Origin"),
    )


def why_not_write(fetch: Fetch, origin: str) -> Refusal | None:
    """Why this may not change anything at `origin`, or None. Reading is not judged here."""
    if fetch.method in SAFE_METHODS:
        return None
    if fetch.site == "same-origin" and fetch.origin == origin:
        return None
    return _CROSS


def why_not_in_workspace(fetch: Fetch, origin: str, *, page: bool) -> Refusal | None:
    """Why this may not reach the workspace at `origin`, or None.

    A page may be loaded by the portal's frame (same site) and by itself; everything else only by the workspace's own
    page. Never as a page of its own: the frame's surround shows whose data this is.
    """
    if page and fetch.mode == "navigate":
        if fetch.dest in _FRAMES and fetch.site in ("same-origin", "same-site"):
            return None
        return Refusal("not-framed", "A workspace opens inside its project's page only. Open it from the portal.")
    if fetch.site == "same-origin" and fetch.origin in (None, origin) and fetch.mode != "navigate":
        return None if fetch.method in SAFE_METHODS or fetch.origin == origin else _CROSS
    return _CROSS


def why_not_socket(fetch: Fetch, origin: str) -> Refusal | None:
    """Why a WebSocket may not be opened at `origin`, or None. Not every browser sends Sec-Fetch-Site with these."""
    return None if fetch.origin == origin and fetch.site in ("", "same-origin") else _CROSS


def why_not_enter(fetch: Fetch, people_origin: str) -> Refusal | None:
    """Why a ticket may not be handed in, or None: it comes as a form post of the portal's page into its frame."""
    if fetch.method == "POST" and fetch.origin == people_origin and fetch.site == "same-site":
        if fetch.mode == "navigate" and fetch.dest in _FRAMES:
            return None
        return Refusal("not-framed", "A workspace opens inside its project's page only. Open it from the portal.")
    return _CROSS
