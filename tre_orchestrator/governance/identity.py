"""How the gate tells the web application who is asking: a signed statement that lives 30 seconds.

The gate removes what a browser sends under that header and adds its own. Whoever cannot compute HMAC-SHA256 under
the machine's secret can neither make nor change one; an old one is refused, and so is one that claims a longer life.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import hmac
import json
from dataclasses import asdict, dataclass
from typing import Literal

from tre_orchestrator.catalogue.names import PersonId
from tre_orchestrator.errors import Refusal, Refused

HEADER = "X-Tre-Identity"
LIFE = dt.timedelta(seconds=30)
_SKEW = dt.timedelta(seconds=2)
_CONTEXT = b"tre-identity/1\n"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks, by which session or token, and until when this statement may be believed."""

    person: PersonId
    session_id: str
    csrf: str
    mfa: bool
    via: Literal["session", "token"]
    expires: dt.datetime


def identity(
    person: PersonId, session_id: str, csrf: str, *, mfa: bool, via: Literal["session", "token"], now: dt.datetime
) -> Identity:
    """A statement that lives from now for 30 seconds."""
    return Identity(person, session_id, csrf, mfa, via, now + LIFE)


def sign_identity(key: bytes, who: Identity) -> str:
    """The header's value: base64url(JSON) and its HMAC-SHA256, with a dot between."""
    claims = {**asdict(who), "expires": who.expires.astimezone(dt.UTC).isoformat()}
    body = base64.urlsafe_b64encode(json.dumps(claims, separators=(",", ":")).encode())
    return f"{body.decode()}.{_mac(key, body)}"


def verify_identity(key: bytes, header: str, now: dt.datetime) -> Identity:
    """The identity a header states; raises `Refused` when it is not ours, is damaged or is too old."""
    body, dot, mac = header.partition(".")
    if not dot or not header.isascii() or not hmac.compare_digest(_mac(key, body.encode()), mac):
        raise _refused()
    try:
        claims = json.loads(base64.b64decode(body, altchars=b"-_", validate=True))
        who = Identity(**{**claims, "expires": dt.datetime.fromisoformat(claims["expires"])})
    except (binascii.Error, ValueError, TypeError, KeyError) as error:
        raise _refused() from error
    if not now < who.expires <= now + LIFE + _SKEW:
        raise _refused()
    return who


def _mac(key: bytes, body: bytes) -> str:
    if len(key) < 32:
        raise ValueError("the identity key needs at least 32 bytes")
    return hmac.new(key, _CONTEXT + body, "sha256").hexdigest()


def _refused() -> Refused:
    return Refused([Refusal("identity", "This request did not come through the gate. Open the page again.")])
