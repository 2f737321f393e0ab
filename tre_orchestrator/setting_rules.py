"""What a setting must look like before anything starts: host names, the identity provider, the second factor.

Pure rules that raise `ValueError` with the words for the person; `settings.Settings` asks them. No value is repeated:
somebody may have put a secret in the wrong place.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import urlsplit

OIDC_REQUIRED = ("authorize_url", "client_id", "token_url", "username_claim")
OIDC_OPTIONAL = ("login_service", "logout_redirect_url", "scope")
_OIDC_ADDRESSES = ("authorize_url", "token_url", "logout_redirect_url")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_SITE_MAX = 253 - len("a234567890123456.lab.")
_CLAIM = re.compile(r"[A-Za-z0-9_.:/-]+=\S.*")


def check_site(site: str) -> str:
    """A host name in lower case with a dot in it, below which workspaces have theirs (RFC 1123, 2.1)."""
    labels = site.split(".")
    if len(site) > _SITE_MAX or len(labels) < 2 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(
            "it must be a host name in lower case with a dot in it, such as tre.example.org; no scheme, port or slash"
        )
    if labels[-1].isdigit():
        raise ValueError("it must be a host name, not an address: each workspace has a name below it")
    return site


def check_mfa_claim(claim: str) -> str:
    """`claim=value`."""
    if not _CLAIM.fullmatch(claim):
        raise ValueError("it must be claim=value, such as amr=mfa")
    return claim


def check_oidc(oidc: dict[str, str]) -> dict[str, str]:
    """The identity provider's settings: all that are needed, none that are unknown, and no address without TLS.

    The claims come from the token endpoint's own answer and are believed because of its TLS (OpenID Connect Core,
    3.1.3.7), so an address without it would let anybody on the way sign in as anybody.
    """
    if unknown := sorted(set(oidc) - {*OIDC_REQUIRED, *OIDC_OPTIONAL}):
        known = ", ".join([*OIDC_REQUIRED, *OIDC_OPTIONAL])
        raise ValueError(
            f"it has unknown keys: {', '.join(unknown)}. It takes {known}; the client secret has a file of its own"
        )
    if missing := [key for key in OIDC_REQUIRED if not oidc.get(key, "").strip()]:
        raise ValueError(f"{missing[0]} is missing; it needs {', '.join(OIDC_REQUIRED)}")
    for key in _OIDC_ADDRESSES:
        if key in oidc and not _is_safe_address(oidc[key]):
            raise ValueError(f"{key} must be an https:// address (http:// only on this machine itself)")
    if "scope" in oidc and "openid" not in oidc["scope"].split():
        raise ValueError("scope must name openid, else the provider does not say who signs in")
    return oidc


def _is_safe_address(value: str) -> bool:
    try:
        parts = urlsplit(value)
        host = parts.hostname or ""
        parts.port  # noqa: B018 - raises when it is none
    except ValueError:
        return False
    if not host or parts.username is not None or parts.fragment or re.search(r"\s", value):
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host))


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
