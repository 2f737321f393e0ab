"""What a person or a program sees when the gate says no: a page, or a problem object (RFC 9457), with the same words.

Pages hold no script and no style of their own; they link one stylesheet that the gate itself serves on either host, so
they look finished when everything behind the gate is down.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from pathlib import Path

from aiohttp import web

from tre_orchestrator.errors import TreError

_FOLDER = Path(__file__).parent / "static"
OWN_FILES: dict[str, tuple[bytes, str]] = {
    "gate.css": ((_FOLDER / "gate.css").read_bytes(), "text/css; charset=utf-8"),
    "sign-in.js": ((_FOLDER / "sign-in.js").read_bytes(), "text/javascript; charset=utf-8"),
}
PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_TITLES = {401: "Sign in", 403: "Not allowed", 404: "Nothing here", 409: "Changed meanwhile", 503: "Not available now"}


def own_file(name: str) -> web.Response | None:
    """One of the gate's own files."""
    found = OWN_FILES.get(name)
    if found is None:
        return None
    body, kind = found
    return web.Response(body=body, headers={"Content-Type": kind, "Cache-Control": "public, max-age=300"})


def wants_page(headers: Mapping[str, str]) -> bool:
    """Whether a browser is going there, rather than a script or a program asking."""
    mode = headers.get("Sec-Fetch-Mode")
    if mode is not None:
        return mode == "navigate"
    return "text/html" in headers.get("Accept", "")


def problem(error: TreError) -> web.Response:
    """An error as a problem object."""
    return web.Response(
        status=error.status, body=json.dumps(error.problem()).encode(), content_type="application/problem+json"
    )


def error_page(error: TreError, *, style: str, link: tuple[str, str] | None = None) -> web.Response:
    """An error as a page. `style` is the stylesheet's address on this host, `link` an address and its words."""
    title = html.escape(_TITLES.get(error.status, "That did not work"))
    onward = ""
    if link is not None:
        onward = f'<p><a class="button" href="{html.escape(link[0])}">{html.escape(link[1])}</a></p>'
    body = _page(title, f"<h1>{title}</h1>\n<p>{html.escape(error.sentence)}</p>\n{onward}", style)
    return web.Response(status=error.status, body=body.encode(), content_type="text/html", charset="utf-8")


def sign_out_page(*, style: str) -> web.Response:
    """Asks before signing out, when the request did not come from our own page."""
    form = '<form method="post" action="/logout"><button class="button" type="submit">Sign out</button></form>'
    body = _page("Sign out", f"<h1>Sign out</h1>\n<p>Do you want to sign out here?</p>\n{form}", style)
    return web.Response(body=body.encode(), content_type="text/html", charset="utf-8")


def _page(title: str, main: str, style: str) -> str:
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}: Trusted Research Environment</title>
<link rel="stylesheet" href="{html.escape(style)}">
</head>
<body>
<header class="bar"><p>Trusted Research Environment</p></header>
<main id="main">
<div class="card">
{main}
</div>
</main>
</body>
</html>
"""
