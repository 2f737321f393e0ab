"""Turns plain data into a page. Every template escapes everything; nothing is marked safe but what `wording` builds.

A page gets the same frame whoever looks: who is signed in, where they can go, what waits there, and the outcome of
what they did last.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import Request
from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PackageLoader, PrefixLoader, Undefined
from markupsafe import Markup
from sqlalchemy import select
from starlette.responses import HTMLResponse

from tre_orchestrator.errors import TreError
from tre_orchestrator.governance.tables import CatalogueRow
from tre_orchestrator.web import wording
from tre_orchestrator.web.navigation import navigation
from tre_orchestrator.web.notices import NOTICES
from tre_orchestrator.web.site import Site, site_of
from tre_orchestrator.web.visitors import Visitor

_FOLDER = Path(__file__).parent
WATCH_HEADER = "X-Tre-Watch"
"""A page's tag: an open page compares it with its own and loads itself again when it differs."""


def page(
    request: Request,
    template: str,
    *,
    status_code: int = 200,
    problem: TreError | None = None,
    fields: Mapping[str, str] | None = None,
    watch: str | None = None,
    **values: Any,
) -> HTMLResponse:
    """The page of `template`. A `problem` is shown at its top and sets the status; `watch` is what it depends on.

    `fields` says which field of the page a problem's code is about: the summary links to it.
    """
    if watch is not None and problem is None and (answer := tag_only(request, watch)):
        return answer
    site = site_of(request)
    now = site.clock()
    who: Visitor | None = getattr(request.state, "visitor", None)
    context = {
        "settings": site.settings,
        "visitor": who,
        "csrf": who.identity.csrf if who else "",
        "items": navigation(site, who, request.url.path, now),
        "path": request.url.path,
        "notice": NOTICES.get(request.query_params.get("done", "")),
        "problem": problem,
        "reasons": getattr(problem, "refusals", ()),
        "fields": fields or {},
        "now": now,
        "moment": partial(wording.moment, now=now),
        "relative": partial(wording.relative, now=now),
        "full_name": _names(site),
        "watch": watch,
        **values,
    }
    html = _environment().get_template(template).render(context)
    return HTMLResponse(html, status_code=problem.status if problem else status_code, headers=_tagged(watch))


def tag_only(request: Request, watch: str) -> HTMLResponse | None:
    """The whole answer to an open page that only asks whether it is still right; None for everybody else.

    To be asked before anything is read that the tag does not depend on.
    """
    if WATCH_HEADER not in request.headers:
        return None
    return HTMLResponse(status_code=204, headers=_tagged(watch))


def _tagged(watch: str | None) -> dict[str, str]:
    return {} if watch is None else {WATCH_HEADER: quote(watch, safe="!~*'()")}


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=ChoiceLoader(
            [
                FileSystemLoader(_FOLDER / "templates"),
                PrefixLoader({"govuk_frontend_jinja": PackageLoader("govuk_frontend_jinja")}),
            ]
        ),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=_Undefined,
    )
    environment.filters.update(
        day=wording.day, clock=wording.clock, size=wording.size, duration=wording.duration, count=wording.count
    )
    return environment


_OPTIONAL_NAMES = frozenset(
    """caller dateInputItems describedBy effectiveValue errorId hasHint hintId isChecked itemDescribedBy itemHintId
    labelHtml listClasses role successBanner title typeClass undefined""".split()  # noqa: SIM905 - seventeen words
)
"""Names that the component library looks at without setting them."""


class _Undefined(Undefined):
    """A misspelt name in our templates fails; an option that the component library asks for in vain is empty."""

    __slots__ = ()

    def _refuse(self) -> None:
        optional = isinstance(self._undefined_obj, dict) or self._undefined_name in _OPTIONAL_NAMES
        if not optional:
            self._fail_with_undefined_error()

    def __str__(self) -> str:
        self._refuse()
        return super().__str__()

    def __bool__(self) -> bool:
        self._refuse()
        return False

    def __len__(self) -> int:
        self._refuse()
        return 0

    def __iter__(self) -> Iterator[Any]:
        self._refuse()
        return super().__iter__()


def _names(site: Site) -> Callable[[str], str | Markup]:
    """Person id → full name; all names are read once, when the page asks for the first."""
    known: dict[str, str] = {}

    def full_name(person: str) -> str:
        if not known:
            with site.db.read() as session:
                rows = session.execute(
                    select(CatalogueRow.name, CatalogueRow.document).where(CatalogueRow.kind == "Person")
                )
                known.update({name: document["spec"]["full_name"] for name, document in rows})
        return known.get(person, person)

    return full_name


def parse_day(text: str) -> dt.date | None:
    """A date from a form (YYYY-MM-DD), or None when it is none."""
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        return None
