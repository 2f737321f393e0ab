"""Files in Lab: text, notebooks and images can be opened and text saved. Data goes out by the airlock, not by here."""

from jupyter_server.base.handlers import AuthenticatedFileHandler
from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager
from tornado import web

READ_MIB = 8
WRITE_MIB = 16


class NoDownloads(AuthenticatedFileHandler):
    """The raw route of the file browser's downloads."""

    @web.authenticated
    def get(self, path):
        """Refuse."""
        raise web.HTTPError(403, "Files leave a project by a request in the portal, not by download.")

    head = get


class WorkspaceContents(AsyncLargeFileManager):
    """Jupyter's file manager without binary downloads, uploads and very large files."""

    files_handler_class = NoDownloads

    async def get(self, path, content=True, type=None, format=None, **more):
        """A file or folder; raises 403 for what the browser has no use for."""
        model = await super().get(path, content=content, type=type, format=format, **more)
        if not content or model["type"] == "directory":
            return model
        is_image = (model.get("mimetype") or "").startswith("image/")
        if model.get("format") == "base64" and not is_image:
            raise web.HTTPError(403, "Binary files are not shown in the browser. Open this one in a notebook.")
        if (model.get("size") or 0) > READ_MIB * 1024 * 1024:
            raise web.HTTPError(403, f"Files above {READ_MIB} MiB are not shown in the browser. Use a notebook.")
        return model

    async def save(self, model, path=""):
        """Save text or a notebook; raises 403 for uploads."""
        if model.get("chunk") is not None or model.get("format") == "base64":
            raise web.HTTPError(403, "Uploads are closed. Files come into a project by an import in the portal.")
        text = model.get("content")
        if isinstance(text, str) and len(text) > WRITE_MIB * 1024 * 1024:
            raise web.HTTPError(413, f"The editor saves up to {WRITE_MIB} MiB. Write larger files from a notebook.")
        return await super().save(model, path)
