"""JupyterHub's authenticators: one-time links and passwords, or an OpenID Connect provider.

Both admit a person only while they are valid (P1), ask again on every refresh, hand out groups = projects, and make
nobody an administrator. The reason for a refusal is the sentence that the sign-in page shows.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from jupyterhub.apihandlers import APIHandler
from jupyterhub.auth import Authenticator
from oauthenticator.generic import GenericOAuthenticator
from tornado import web

from tre_orchestrator.catalogue.names import PersonId, ProjectName
from tre_orchestrator.errors import Invalid, Refusal, Refused, TreError
from tre_orchestrator.governance.credentials import redeem_login_link
from tre_orchestrator.governance.passwords import check_password
from tre_orchestrator.hub import runtime
from tre_orchestrator.hub.checks import PasswordChecks
from tre_orchestrator.hub.signins import Record, SignIns, claimed_person, groups_of, has_claim
from tre_orchestrator.workspaces import lifecycle

SIGN_INS = SignIns()
CHECKS = PasswordChecks()
_TOKEN_MAX = 200
_START_HEARS_SECONDS = 10.0
"""How long a stop waits for the start that it ended to tell its page so."""


async def admit(handler: Any, person: PersonId, *, mfa: bool) -> dict[str, Any]:
    """The hub's model of a person who proved who they are; raises `HTTPError` with the reason when they may not."""
    here = runtime.current()
    now = here.clock()
    groups = await here.quick(lambda: _groups(person))
    if hasattr(handler, "_session_id"):
        del handler._session_id
    SIGN_INS.add(handler.set_session_cookie(), Record(person, mfa, now))
    return {"name": person, "groups": groups, "admin": False}


async def still_valid(name: str) -> dict[str, Any] | bool:
    """The refreshed groups of a person, or False when they are no valid person any more."""
    try:
        groups = await runtime.current().quick(lambda: _groups(PersonId(name)))
    except TreError:
        return False
    return {"name": name, "groups": groups, "admin": False}


def _groups(person: PersonId) -> list[str]:
    here = runtime.current()
    with here.db.read() as session:
        return groups_of(session, person, here.clock())


def _refused(error: TreError) -> web.HTTPError:
    return web.HTTPError(error.status if error.status >= 400 else 403, error.sentence.replace("%", "%%"))


class LinkAuthenticator(Authenticator):  # type: ignore[misc]
    """One-time links (`token`) and passwords (`username`, `password`)."""

    async def authenticate(self, handler: Any, data: dict[str, str]) -> dict[str, Any]:
        """Who this form signs in; raises `HTTPError` with the reason otherwise."""
        here = runtime.current()
        try:
            if token := data.get("token", "").strip():
                person = await here.quick(lambda: _redeem(token))
            else:
                name, password = data.get("username", "").strip().lower(), data.get("password", "")
                if not name or not password:
                    raise Invalid("sign-in-empty", "Enter your user name and password, or a one-time code.", status=403)
                address = handler.request.headers.get("X-Forwarded-For", "")  # the gate's word, and nobody else's
                person = await CHECKS.run(
                    address, lambda: check_password(here.db, name, password, here.clock(), address=address)
                )
            return await admit(handler, person, mfa=False)
        except TreError as error:
            raise _refused(error) from error

    async def refresh_user(self, user: Any, handler: Any = None) -> dict[str, Any] | bool:
        """Ask again whether this is a valid person."""
        return await still_valid(user.name)

    def get_handlers(self, app: Any) -> list[tuple[str, Any]]:
        """JupyterHub's own, and ours for our services."""
        return [*super().get_handlers(app), *SERVICE_HANDLERS]


class OidcAuthenticator(GenericOAuthenticator):  # type: ignore[misc]
    """An OpenID Connect provider; claims come from the ID token of the token endpoint's own answer."""

    async def token_to_user(self, token_info: dict[str, Any]) -> dict[str, Any]:
        """The claims of the ID token. What is wrong with it is not repeated: it may hold the token."""
        try:
            return dict(await super().token_to_user(token_info))
        except (web.HTTPError, ValueError, TypeError) as error:
            raise Refused(
                [Refusal("id-token", "Your organisation's sign-in gave no readable answer. Try again, or tell ops.")]
            ) from error

    def user_info_to_username(self, user_info: dict[str, Any]) -> str:
        """The person whom the claims name."""
        return claimed_person(user_info, self.username_claim)

    async def update_auth_model(self, auth_model: dict[str, Any]) -> dict[str, Any]:
        """Keep the claims that are needed to admit; everything else is dropped."""
        claims = auth_model["auth_state"][self.user_auth_state_key]
        settings = runtime.current().settings
        return {
            "name": auth_model["name"],
            "admin": False,
            "auth_state": {self.user_auth_state_key: {}},
            "mfa": has_claim(claims, settings.mfa_claim),
        }

    async def authenticate(self, handler: Any, data: Any = None, **_ignored: Any) -> dict[str, Any]:
        """Who the provider says it is; raises `HTTPError` with the reason when they may not sign in."""
        try:
            model = await super().authenticate(handler, data)
            return await admit(handler, PersonId(model["name"]), mfa=bool(model["mfa"]))
        except TreError as error:
            raise _refused(error) from error

    async def refresh_user(self, user: Any, handler: Any = None, **_ignored: Any) -> dict[str, Any] | bool:
        """Ask again whether this is a valid person."""
        return await still_valid(user.name)

    def get_handlers(self, app: Any) -> list[tuple[str, Any]]:
        """OAuth's own, and ours for our services."""
        return [*super().get_handlers(app), *SERVICE_HANDLERS]


def _redeem(token: str) -> PersonId:
    here = runtime.current()
    with here.db.write() as session:
        return redeem_login_link(session, token[:_TOKEN_MAX], here.clock())


class SignInHandler(APIHandler):  # type: ignore[misc]
    """For the gate: what the sign-in behind a session of the hub proved."""

    def get(self, session_id: str) -> None:
        """The person and whether a second factor was proven; 404 when it was not a moment ago."""
        _only(self, "gate")
        record = SIGN_INS.of(session_id, runtime.current().clock())
        if record is None:
            raise web.HTTPError(404, "No sign-in of the last minutes made this session.")
        self.finish(json.dumps({"person": record.person, "mfa": record.mfa}))


class PersonHandler(APIHandler):  # type: ignore[misc]
    """For the web application: make the hub know a person of the catalogue, and nobody else."""

    async def put(self, name: str) -> None:
        """Add the person as a user without any special right; knowing them already is no error."""
        _only(self, "web")
        refreshed = await still_valid(name)
        if refreshed is False or refreshed is True:
            raise web.HTTPError(404, "This is no valid person of the catalogue.")
        await self.auth_to_user({**refreshed, "auth_state": None})
        self.set_status(204)


class StopHandler(APIHandler):  # type: ignore[misc]
    """For the web application: end a person's workspace because they asked, whatever the hub believes of it."""

    async def post(self, name: str, project: str) -> None:
        """End it, a start under way included; one that does not run is no error."""
        _only(self, "web")
        user = self.find_user(name)
        spawner = user.spawners[project] if user is not None and project in user.spawners else None
        if spawner is not None:
            spawner.why_end = lifecycle.ASKED
        try:
            await runtime.current().long(lambda: _stop(PersonId(name), ProjectName(project)))
        except TreError as error:
            raise _refused(error) from error
        if spawner is not None and (start := spawner._spawn_future) is not None:
            await asyncio.wait([start], timeout=_START_HEARS_SECONDS)
        self.set_status(204)


def _stop(person: PersonId, project: ProjectName) -> None:
    here = runtime.current()
    with here.db.read() as session:
        view = lifecycle.workspace_of(session, person, project)
    if view is not None:
        lifecycle.end(here.db, here.settings, here.backend, view.id, lifecycle.ASKED, here.clock())


def _only(handler: APIHandler, service: str) -> None:
    """Refuse everybody but this service of ours, proven by its own token."""
    caller = handler.current_user
    if caller is None or getattr(caller, "kind", "") != "service" or caller.name != service:
        raise web.HTTPError(403, "This is for another part of the TRE.")


SERVICE_HANDLERS: list[tuple[str, Any]] = [
    (r"/api/tre/sign-ins/([0-9a-f]{32})", SignInHandler),
    (r"/api/tre/people/([a-z][a-z0-9-]{0,29})", PersonHandler),
    (r"/api/tre/people/([a-z][a-z0-9-]{0,29})/stops/([a-z][a-z0-9-]{0,29})", StopHandler),
]
