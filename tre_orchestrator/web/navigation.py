"""Where a person can go: the same menu on every page, with what waits for them."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from tre_orchestrator.airlock.queues import queue
from tre_orchestrator.catalogue.models import Role
from tre_orchestrator.web.site import Site
from tre_orchestrator.web.visitors import Visitor


@dataclass(frozen=True, slots=True)
class MenuItem:
    """One entry of the menu; `count` is how many things wait there."""

    href: str
    text: str
    active: bool
    count: int = 0


def navigation(site: Site, who: Visitor | None, path: str, now: dt.datetime) -> list[MenuItem]:
    """The menu for this person; empty when nobody is signed in."""
    if who is None:
        return []
    items = [MenuItem("/", "Home", path == "/" or path.startswith("/projects"))]
    if who.is_(Role.analyst):
        items.append(_item("/requests", "My requests", path))
    if who.is_(Role.checker):
        with site.db.read() as session:
            waiting = sum(not line.own_review_in for line in queue(session, who.id, now))
        items.append(_item("/queue", "Queue", path, waiting))
    if who.organisations:
        items.append(_item("/datasets", "Datasets", path))
    if who.is_(Role.approver):
        items.append(_item("/approvals", "Approvals", path))
    if who.is_(Role.ops):
        items.append(_item("/ops", "Operations", path))
    return items


def _item(href: str, text: str, path: str, count: int = 0) -> MenuItem:
    return MenuItem(href, text, path == href or path.startswith(f"{href}/"), count)
