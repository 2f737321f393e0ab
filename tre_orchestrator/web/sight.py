"""Which projects a person may look at: their own, those that use their organisation's data, and by role.

Everybody else gets the same answer as for a project that does not exist (P3).
"""

from __future__ import annotations

from sqlalchemy.orm import Session

from tre_orchestrator.airlock.access import controls_data_of
from tre_orchestrator.catalogue.models import Project, Role
from tre_orchestrator.catalogue.names import is_name
from tre_orchestrator.errors import NotFound
from tre_orchestrator.governance.load import find, list_projects
from tre_orchestrator.governance.people import membership
from tre_orchestrator.web.visitors import Visitor

_SEES_ALL = (Role.approver, Role.ops, Role.checker)


def sees(session: Session, project: Project, who: Visitor) -> bool:
    """Whether this person may look at the project's page."""
    return (
        membership(project, who.id) is not None
        or any(who.is_(role) for role in _SEES_ALL)
        or controls_data_of(session, project, who.person)
    )


def seen_project(session: Session, name: str, who: Visitor) -> Project:
    """The project, if this person may look at it; raises `NotFound` otherwise."""
    project = find(session, Project, name) if is_name(name) else None
    if project is None or not sees(session, project, who):
        raise NotFound("no-project", f"There is no project '{name[:30]}', or you may not see it.")
    return project


def seen_projects(session: Session, who: Visitor) -> list[Project]:
    """Every project this person may look at, by name."""
    return [project for project in list_projects(session) if sees(session, project, who)]
