"""Where a project's tier asks for a second factor at sign-in, its requests are seen and decided with one only (P1)."""

from __future__ import annotations

from fastapi import Request

from tre_orchestrator.catalogue.models import PolicyProfile
from tre_orchestrator.errors import NotFound, refuse_if
from tre_orchestrator.governance.load import find
from tre_orchestrator.governance.people import why_not_person
from tre_orchestrator.web.sight import seen_project
from tre_orchestrator.web.site import site_of
from tre_orchestrator.web.visitors import Signed


def factor_given(request: Request, who: Signed) -> None:
    """Refuse a session without the second factor that the tier of the project in the address asks for."""
    name = request.path_params.get("project")
    if name is None:
        return
    site = site_of(request)
    with site.db.read() as session:
        try:
            project = seen_project(session, name, who)
        except NotFound:  # the page itself says so, in the same words for everything that is not there
            return
        profile = find(session, PolicyProfile, project.spec.profile)
    policy = profile.spec.policy(project.spec.tier) if profile else None
    needed = policy is None or policy.mfa
    refuse_if(why_not_person(who.person, site.clock(), mfa=who.identity.mfa, needs_mfa=needed))
