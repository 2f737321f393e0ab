"""The files of a request, painted for its checkers and its author; raster images are the only bytes shown as they are.

An image is sent under its own checked type, with a policy that lets nothing in it act (A6). A checker can fetch the
whole of any file as an attachment: a preview shows its beginning only.
"""

from __future__ import annotations

from urllib.parse import quote

from fastapi import APIRouter, Depends, Request
from sqlalchemy.orm import Session
from starlette.responses import StreamingResponse

from tre_orchestrator.airlock.preview import preview, read_file
from tre_orchestrator.airlock.reading import view
from tre_orchestrator.airlock.views import RequestView
from tre_orchestrator.airlock.visibility import Side
from tre_orchestrator.errors import NotFound
from tre_orchestrator.web.factor import factor_given
from tre_orchestrator.web.painting import Painted, painted
from tre_orchestrator.web.security import DOWNLOAD_POLICY
from tre_orchestrator.web.site import Site, site_of
from tre_orchestrator.web.visitors import Signed, Visitor

router = APIRouter(dependencies=[Depends(factor_given)])


OPEN_AT_ONCE = 12
"""Files painted without being asked for; each other one has a link."""


def file_views(session: Session, site: Site, seen: RequestView, who: Visitor, asked_for: str) -> dict[str, Painted]:
    """What can be shown of the first files of a request that was opened for this person, and of the one asked for."""
    now = site.clock()
    chosen = [file for number, file in enumerate(seen.files) if number < OPEN_AT_ONCE or str(file.id) == asked_for]
    return {
        file.path: painted(preview(session, site.store, seen.project, seen.id, file.path, who.id, now), file.findings)
        for file in chosen
    }


@router.get("/projects/{project}/requests/{request_id}/images/{file_id}")
def image(request: Request, project: str, request_id: int, file_id: int, who: Signed) -> StreamingResponse:
    """A raster image of a request, looked up through it (P3)."""
    site = site_of(request)
    now = site.clock()
    with site.db.read() as session:
        seen = view(session, project, request_id, who.id, now)
        path = next((file.path for file in seen.files if file.id == file_id), "")
        shown = preview(session, site.store, project, request_id, path, who.id, now)
        if not shown.image:
            raise NotFound("no-image", "There is no image here.")
        chunks = read_file(session, site.store, project, request_id, path, who.id, now)
    return StreamingResponse(chunks, media_type=shown.image, headers={"Content-Disposition": "inline"})


@router.get("/projects/{project}/requests/{request_id}/files/{file_id}")
def whole_file(request: Request, project: str, request_id: int, file_id: int, who: Signed) -> StreamingResponse:
    """All verified bytes of a file, for a checker of its request, as an attachment that no browser opens (P3, A6)."""
    site = site_of(request)
    now = site.clock()
    with site.db.read() as session:
        seen = view(session, project, request_id, who.id, now)
        file = next((file for file in seen.files if file.id == file_id), None)
        if seen.side is not Side.checker or file is None:
            raise NotFound("no-file", "There is no such file, or you may not see it.")
        chunks = read_file(session, site.store, project, request_id, file.path, who.id, now)
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(file.path.rpartition('/')[2], safe='')}",
        "Content-Length": str(file.size),
        "Content-Security-Policy": DOWNLOAD_POLICY,
        "Cross-Origin-Resource-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }
    return StreamingResponse(chunks, media_type="application/octet-stream", headers=headers)
