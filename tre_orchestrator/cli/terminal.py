"""What `tre` says to people goes through here, so that a command in a sentence can be typed as it stands: `tre` where
that is this program, else the path by which it was called, such as `.venv/bin/tre`.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from functools import cache
from pathlib import Path
from typing import Any

from rich.console import Console

_NAMED = re.compile(r"`tre(?= [a-z]|`)")


class _Console(Console):
    """A console that names commands as they can be typed here."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print like rich."""
        super().print(*(as_typed(one) if isinstance(one, str) else one for one in objects), **options)


console = _Console(highlight=False, soft_wrap=True)


def as_typed(sentence: str) -> str:
    """`sentence` with every command of ours in it named as it can be typed here."""
    return _NAMED.sub(lambda _: f"`{program(sys.argv[0])}", sentence)


@cache
def program(called: str) -> str:
    """How to call this program again, when it was called as `called`."""
    path = Path(called)
    if path.name == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m tre_orchestrator.cli"
    found = shutil.which("tre")
    if path.name != "tre" or not path.exists() or (found and Path(found).samefile(path)):
        return "tre"
    near = os.path.relpath(path)
    return shlex.quote(str(path.absolute()) if near.startswith("..") else near)
