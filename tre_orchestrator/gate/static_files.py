"""Lab's files, served by the gate from the host's read-only copy of the environment, never from the workspace.

Only regular files found when the index was made are known; a name that is not in it, however it is written, is
nothing. So a script that an analyst put in the place of a Lab file, or as an extension, is not what a browser gets.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from tre_orchestrator.gate.policy import Reply

_KINDS = {
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".html": "text/plain; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".gif": "image/gif",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".ttf": "font/ttf",
    ".eot": "application/vnd.ms-fontobject",
    ".wasm": "application/wasm",
}
_HASHED = re.compile(r"\.[0-9a-f]{16,}\.")
_FOREVER = "private, max-age=31536000, immutable"
_REVALIDATE = "private, no-cache"


@dataclass(frozen=True, slots=True)
class StaticFile:
    """One file: where it is, what it is, and how long a browser may keep it."""

    path: Path
    kind: str
    cache: str


@dataclass(frozen=True, slots=True)
class StaticFiles:
    """Every file that may be served, by kind of rule and relative name."""

    files: dict[tuple[Reply, str], StaticFile]

    def find(self, reply: Reply, name: str) -> StaticFile | None:
        """The file of this name, or None."""
        return self.files.get((reply, name))


def index(environment: Path) -> StaticFiles:
    """Index an environment's files of Lab, themes, extensions, kernel logos and the server's icons."""
    share = environment / "share" / "jupyter"
    files = {
        **_below(Reply.lab_files, share / "lab" / "static"),
        **_below(Reply.theme_files, share / "lab" / "themes"),
        **_below(Reply.extension_files, share / "labextensions"),
        **_below(Reply.kernel_files, share / "kernels"),
    }
    for packages in sorted((environment / "lib").glob("python3.*/site-packages")):
        files.update(_below(Reply.server_files, packages / "jupyter_server" / "static"))
    return StaticFiles(files)


def _below(reply: Reply, root: Path) -> dict[tuple[Reply, str], StaticFile]:
    found = {}
    for folder, _folders, names in os.walk(root, followlinks=False):
        for name in names:
            path = Path(folder) / name
            kind = _KINDS.get(path.suffix.lower())
            if kind is None or path.is_symlink() or not path.is_file():
                continue
            cache = _FOREVER if _HASHED.search(name) else _REVALIDATE
            found[(reply, path.relative_to(root).as_posix())] = StaticFile(path, kind, cache)
    return found
