"""A PostgreSQL server of the tests' own: fresh, on a unix socket only, gone afterwards."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def server_programs() -> Path | None:
    """The folder with the newest installed server's programs, or None."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


@contextmanager
def postgres_server() -> Iterator[str]:
    """Run a server and give its SQLAlchemy URL. PostgreSQL refuses to run as root: then it runs as its own user."""
    programs = server_programs()
    if programs is None:
        raise RuntimeError("PostgreSQL's server is not installed: run `make test`, or apt-get install postgresql")
    owner = pwd.getpwnam("postgres") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    folder = Path(tempfile.mkdtemp(prefix="tre-pg-", dir="/tmp"))
    os.chown(folder, owner.pw_uid, owner.pw_gid)

    def run(*arguments: str) -> None:
        subprocess.run(
            arguments,
            check=True,
            user=owner.pw_uid,
            group=owner.pw_gid,
            extra_groups=[],
            cwd=folder,
            env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
            stdout=subprocess.DEVNULL,
        )

    data = str(folder / "data")
    run(str(programs / "initdb"), "-D", data, "-U", "tre", "--auth=trust", "--no-sync", "-E", "UTF8")
    options = f"-c listen_addresses= -c unix_socket_directories={folder} -c max_connections=200"
    run(str(programs / "pg_ctl"), "-D", data, "-w", "-l", str(folder / "log"), "-o", options, "start")
    try:
        yield f"postgresql+psycopg://tre@/postgres?host={folder}"
    finally:
        run(str(programs / "pg_ctl"), "-D", data, "-w", "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)
