"""A project's page: what it is for, who and what is in it, where it stands, and every reason why one cannot start."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from tre_orchestrator.airlock.queues import of_project
from tre_orchestrator.catalogue.models import Dataset
from tre_orchestrator.catalogue.names import ProjectName
from tre_orchestrator.governance.facts import decide_now, project_status
from tre_orchestrator.governance.load import find
from tre_orchestrator.governance.people import membership
from tre_orchestrator.web.render import page
from tre_orchestrator.web.sight import seen_project
from tre_orchestrator.web.site import site_of
from tre_orchestrator.web.visitors import Signed
from tre_orchestrator.workspaces.lifecycle import workspace_of

router = APIRouter(prefix="/projects/{project}")


@router.get("")
def project_page(request: Request, project: str, who: Signed) -> HTMLResponse:
    """The page; its tag changes with what decides about starting."""
    site = site_of(request)
    now = site.clock()
    with site.db.read() as session:
        declared = seen_project(session, project, who)
        name = ProjectName(declared.metadata.name)
        status = project_status(session, site.settings, name, now)
        is_member = membership(declared, who.id) is not None
        decision = decide_now(session, site.settings, name, who.id, now, mfa=who.identity.mfa) if is_member else None
        workspace = workspace_of(session, who.id, name) if is_member else None
        requests = of_project(session, name, who.id, now)
        titles = {
            use.name: found.spec.title for use in declared.spec.datasets if (found := find(session, Dataset, use.name))
        }
    reasons = decision.refusals if decision else status.refusals
    watch = "|".join([*(reason.code for reason in reasons), workspace.state if workspace else ""])
    return page(
        request,
        "project.html",
        project=declared,
        spec=declared.spec,
        status=status,
        decision=decision,
        is_member=is_member,
        workspace=workspace,
        requests=requests,
        titles=titles,
        watch=watch,
        trail=[{"text": "Home", "href": "/"}, {"text": declared.spec.title}],
    )
