"""Headers: what goes in, what comes out, and what the gate puts on every answer whatever the upstream said.

Pure functions over lists of pairs. To a workspace go four harmless headers and the inner token; from it come none but
the kind of content that the rule allows. Hub cookies carry the `__Host-` prefix in the browser, so a page on a
workspace's host can neither set nor replace one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from tre_orchestrator.gate.target import Target, parse

SESSION_COOKIE = "__Host-tre"
FRAME_COOKIE = "__Host-ws"
HUB_COOKIE_PREFIX = "__Host-hub-"
WEB_COOKIE_PREFIX = "__Host-web-"

CSRF_HEADER = "X-Tre-Csrf"
SERVER = "tre"
"""What every answer says of its server: nothing."""

HOP_BY_HOP = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_FROM_BROWSER_NEVER = frozenset({"authorization", "cookie", "forwarded", "x-original-url", "x-real-ip", "x-scheme"})
_NEVER_PREFIXES = ("x-tre-", "x-forwarded-", "sec-websocket-")
_TO_BROWSER_NEVER = frozenset(
    {"referrer-policy", "server", "set-cookie", "strict-transport-security", "x-frame-options", "x-powered-by"}
)
_TO_WORKSPACE = ("Accept", "Accept-Language", "Content-Type")

_CLOSED_FEATURES = (
    "accelerometer",
    "autoplay",
    "camera",
    "clipboard-read",
    "clipboard-write",
    "display-capture",
    "encrypted-media",
    "fullscreen",
    "geolocation",
    "gyroscope",
    "hid",
    "idle-detection",
    "local-fonts",
    "magnetometer",
    "microphone",
    "midi",
    "payment",
    "picture-in-picture",
    "publickey-credentials-get",
    "screen-wake-lock",
    "serial",
    "usb",
    "xr-spatial-tracking",
)
_PERMISSIONS = ", ".join(f"{feature}=()" for feature in _CLOSED_FEATURES)
_COOKIE_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

Pairs = list[tuple[str, str]]


def workspace_policy(people_origin: str, *, scripts_in_output: bool) -> str:
    """A workspace page's content security policy; `unsafe-inline` only where the tier lets scripts in output run."""
    scripts = "script-src 'self' 'unsafe-eval'" + (" 'unsafe-inline'" if scripts_in_output else "")
    return "; ".join(
        (
            "default-src 'self'",
            scripts,
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "connect-src 'self'",
            "webrtc 'block'",
            "object-src 'none'",
            "base-uri 'self'",
            "form-action 'self'",
            f"frame-ancestors {people_origin}",
            "sandbox allow-same-origin allow-scripts allow-forms allow-modals",
        )
    )


def workspace_headers(
    people_origin: str, *, scripts_in_output: bool = False, cache: str = "no-store"
) -> dict[str, str]:
    """Headers on every answer from a workspace's host.

    `Connection-Allowlist` (WICG) closes what no content security policy that browsers heed does: WebRTC, which would
    carry any number of bytes past the meter to any address, and connections opened ahead of use.
    """
    return {
        "Content-Security-Policy": workspace_policy(people_origin, scripts_in_output=scripts_in_output),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "X-DNS-Prefetch-Control": "off",
        "Permissions-Policy": _PERMISSIONS,
        "Connection-Allowlist": "(response-origin); webrtc=block",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Origin-Agent-Cluster": "?1",
        "Cache-Control": cache,
        "Server": SERVER,
    }


def people_headers(*, https: bool) -> Pairs:
    """Headers on every answer from the people's host. A second policy only narrows the page's own (CSP3, 8.1).

    `strict-origin` and not `no-referrer`: under the latter browsers send `Origin: null` with a form post.
    """
    pairs = [
        ("Content-Security-Policy", "frame-ancestors 'none'; object-src 'none'; base-uri 'self'"),
        ("X-Frame-Options", "DENY"),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "strict-origin"),
        ("Cross-Origin-Opener-Policy", "same-origin"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
        ("Server", SERVER),
    ]
    if https:
        pairs.append(("Strict-Transport-Security", "max-age=31536000; includeSubDomains"))
    return pairs


def to_workspace(headers: Mapping[str, str], inner_token: str) -> dict[str, str]:
    """What a workspace gets to see of a request: no cookie, no token, no address, no host name."""
    kept = {name: headers[name] for name in _TO_WORKSPACE if name in headers}
    return {**kept, "Host": "localhost", "Authorization": f"token {inner_token}"}


def to_people(headers: Iterable[tuple[str, str]], *, host: str, peer: str, scheme: str, cookies: str) -> Pairs:
    """What hub and web get of a request: nothing a browser may not say, and our own word on where it came from."""
    kept = [
        (name, value)
        for name, value in headers
        if (low := name.lower()) == CSRF_HEADER.lower()
        or (
            low not in HOP_BY_HOP
            and low not in _FROM_BROWSER_NEVER
            and not low.startswith(_NEVER_PREFIXES)
            and "_" not in low
        )
    ]
    kept += [("Host", host), ("X-Forwarded-For", peer), ("X-Forwarded-Proto", scheme), ("X-Forwarded-Host", host)]
    if cookies:
        kept.append(("Cookie", cookies))
    return kept


def from_people(headers: Iterable[tuple[str, str]]) -> Pairs:
    """What hub and web may tell a browser. Cookies are judged apart; nobody may open us to other origins."""
    return [
        (name, value)
        for name, value in headers
        if (low := name.lower()) not in HOP_BY_HOP
        and low not in _TO_BROWSER_NEVER
        and not low.startswith("access-control-")
    ]


def location_from_workspace(value: str | None) -> str | None:
    """A redirect's target if it stays on the workspace's host, else None."""
    if value is None or not value.startswith("/"):
        return None
    target = parse(value)
    return target.forwarded() if isinstance(target, Target) else None


def cookies_of(headers: Iterable[str]) -> list[tuple[str, str]]:
    """The cookies of a request's `Cookie` headers, in order, doubles kept."""
    pairs = []
    for header in headers:
        for part in header.split(";"):
            name, equals, value = part.strip().partition("=")
            if equals and _COOKIE_NAME.fullmatch(name):
                pairs.append((name, value))
    return pairs


def cookie(headers: Iterable[str], name: str) -> str | None:
    """The value of the one cookie of this name; None when there is none, or more than one."""
    found = [value for key, value in cookies_of(headers) if key == name]
    return found[0] if len(found) == 1 else None


def cookies_for_hub(headers: Iterable[str]) -> str:
    """The hub's own cookies under their own names; whatever else the browser holds is left out."""
    pairs = [(name.removeprefix(HUB_COOKIE_PREFIX), value) for name, value in cookies_of(headers) if _is_hubs(name)]
    return "; ".join(f"{name}={value}" for name, value in pairs)


def cookies_for_web(headers: Iterable[str]) -> str:
    """The web application's own cookies, with their names as they are; sessions are the gate's business."""
    return "; ".join(f"{name}={value}" for name, value in cookies_of(headers) if name.startswith(WEB_COOKIE_PREFIX))


def _is_hubs(name: str) -> bool:
    return name.startswith(HUB_COOKIE_PREFIX) and name != HUB_COOKIE_PREFIX


def hub_cookie(set_cookie: str) -> str | None:
    """A `Set-Cookie` of the hub as the browser gets it: `__Host-`, Secure, for the whole host, never for script."""
    first, *attributes = [part.strip() for part in set_cookie.split(";")]
    name, equals, value = first.partition("=")
    if not equals or not _COOKIE_NAME.fullmatch(name):
        return None
    kept = [part for part in attributes if part.lower().startswith(("expires=", "max-age="))]
    return "; ".join([f"{HUB_COOKIE_PREFIX}{name}={value}", *kept, "Path=/", "Secure", "HttpOnly", "SameSite=Lax"])


def own_cookie(name: str, value: str, *, strict: bool, max_age: int | None = None) -> str:
    """A `Set-Cookie` of the gate's own; an empty value with `max_age=0` removes it."""
    life = [] if max_age is None else [f"Max-Age={max_age}"]
    return "; ".join(
        [f"{name}={value}", *life, "Path=/", "Secure", "HttpOnly", f"SameSite={'Strict' if strict else 'Lax'}"]
    )
