"""Who asks. The gate's signed statement is checked on every request, and so is whether the person is valid now (P1).

A request that came around the gate has no statement and is nobody. Rules about what a person may do are not here: the
packages below decide, this module only says who it is and which pages are worth showing them.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from starlette.datastructures import FormData

from tre_orchestrator.catalogue.models import Person, Role
from tre_orchestrator.catalogue.names import PersonId
from tre_orchestrator.errors import Refusal, Refused, TreError, refuse_if
from tre_orchestrator.governance.identity import HEADER, Identity, verify_identity
from tre_orchestrator.governance.load import find_person
from tre_orchestrator.governance.people import has_role, why_not_person
from tre_orchestrator.web.site import site_of

CSRF_FIELD = "csrf"
CSRF_HEADER = "X-Tre-Csrf"
_FIELDS_MAX = 20_000


class SignInError(TreError):
    """Nobody is signed in here."""

    status = 401

    def __init__(self) -> None:
        super().__init__("sign-in", "Nobody is signed in here. Sign in, then try again.")


@dataclass(frozen=True, slots=True)
class Visitor:
    """A signed-in, valid person."""

    identity: Identity
    person: Person

    @property
    def id(self) -> PersonId:
        """The person's name in the catalogue."""
        return self.identity.person

    def is_(self, role: Role) -> bool:
        """Whether the person holds this role."""
        return has_role(self.person, role)

    @property
    def organisations(self) -> tuple[str, ...]:
        """The organisations on whose data this person decides."""
        return self.person.spec.controller_of


def visitor(request: Request) -> Visitor:
    """The person who asks; raises `SignInError`, or `Refused` when they are not valid now."""
    header = request.headers.get(HEADER)
    if header is None:
        raise SignInError
    site = site_of(request)
    now = site.clock()
    identity = verify_identity(site.identity_key, header, now)
    with site.db.read() as session:
        person = find_person(session, identity.person)
    refuse_if(why_not_person(person, now))
    assert person is not None
    found = Visitor(identity, person)
    request.state.visitor = found
    return found


def visitor_or_none(request: Request) -> Visitor | None:
    """The person who asks, or None when nobody is signed in: for pages that are public."""
    return visitor(request) if HEADER in request.headers else None


Signed = Annotated[Visitor, Depends(visitor)]
Anyone = Annotated[Visitor | None, Depends(visitor_or_none)]


def with_role(role: Role) -> Callable[[Visitor], Visitor]:
    """A dependency that lets only holders of this role in."""

    def check(who: Signed) -> Visitor:
        if not who.is_(role):
            sentence = f"This is for people with the role {role}, which you do not hold. Ask ops if you should."
            raise Refused([Refusal("role-needed", sentence)])
        return who

    return check


Ops = Annotated[Visitor, Depends(with_role(Role.ops))]
Checker = Annotated[Visitor, Depends(with_role(Role.checker))]
Approver = Annotated[Visitor, Depends(with_role(Role.approver))]


def controller(who: Signed) -> Visitor:
    """Lets only people in who decide for an organisation."""
    if not who.organisations:
        sentence = "This is for people who decide on data for an organisation, and you do not."
        raise Refused([Refusal("role-needed", sentence)])
    return who


Controller = Annotated[Visitor, Depends(controller)]


@dataclass(frozen=True, slots=True)
class Form:
    """A form that was posted from our own page."""

    data: FormData

    def text(self, name: str) -> str:
        """The field's text without white space around it; empty when it is absent."""
        value = self.data.get(name)
        return value.replace("\r\n", "\n").strip() if isinstance(value, str) else ""

    def exact(self, name: str) -> str:
        """The field as it was sent: for values that we put there ourselves."""
        value = self.data.get(name)
        return value if isinstance(value, str) else ""

    def number(self, name: str) -> int | None:
        """The field as a whole number, or None when it is none. Thousands separators are understood."""
        digits = self.text(name).replace(",", "").replace(" ", "").replace("_", "")
        return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 19 else None

    def ticked(self, name: str) -> bool:
        """Whether a checkbox was ticked."""
        return bool(self.text(name))


async def posted_form(request: Request, who: Signed) -> Form:
    """The posted form; raises `Refused` when it lacks this session's token."""
    data = await request.form(max_files=0, max_fields=_FIELDS_MAX)
    token = data.get(CSRF_FIELD)
    _check_token(who, token if isinstance(token, str) else "")
    return Form(data)


def checked_write(request: Request, who: Signed) -> Visitor:
    """For the API: a browser's session must also send its token in a header; a person's own API token is enough."""
    if who.identity.via == "session":
        _check_token(who, request.headers.get(CSRF_HEADER, ""))
    return who


Posted = Annotated[Form, Depends(posted_form)]
Writer = Annotated[Visitor, Depends(checked_write)]


def _check_token(who: Visitor, token: str) -> None:
    expected = who.identity.csrf
    if not expected or not hmac.compare_digest(expected.encode(), token.encode("utf-8", "surrogatepass")):
        sentence = "The page you sent this from is not of this session. Go back, reload the page and send it again."
        raise Refused([Refusal("csrf", sentence)])
