"""What this process does to itself and to the home folder before the server starts."""

import ctypes
import os
import shutil
from pathlib import Path

PR_SET_DUMPABLE = 4
"""prctl(2): with 0, other processes of the same account cannot read this one's memory or environment in /proc."""

LINKS = {"data": "/data", "outputs": "/outputs", "shared": "/shared", "imports": "/imports", "software": "/software"}
"""So that the file browser, whose root is the home folder, shows every place there is."""


def hide_from_kernels():
    """Keep the inner token out of sight of code in notebooks, which runs under the same account."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_DUMPABLE) failed")


def prepare_home(home):
    """Put a welcome into an empty home folder, and the links that are missing."""
    folder = Path(home)
    is_new = all(entry.name.startswith(".") or entry.name == "lost+found" for entry in folder.iterdir())
    for name, target in LINKS.items():
        link = folder / name
        if os.path.isdir(target) and not os.path.lexists(link):
            link.symlink_to(target)
    if is_new:
        shutil.copyfile(Path(__file__).with_name("welcome.md"), folder / "README.md")
