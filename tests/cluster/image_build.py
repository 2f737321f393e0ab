"""Images for the cluster's pods, from Debian packages and the folders below `images/`; no registry takes part.

`images/NAME/Containerfile` is built by buildah in a folder that holds the definition's own files, `base.tar` with the
Debian packages that `packages` names, and programs compiled from its `.c` files. The result is an archive that
`ctr images import`, `kind load image-archive` and `docker load` read; its tag is the hash of the definition.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.cluster.cache import HERE, cache_dir, digest, find, made
from tre_orchestrator.errors import Unavailable

DEBIAN = "bookworm"
NAMES = ("pause", "probe")

_LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*")


@dataclass(frozen=True, slots=True)
class Image:
    """One image: its name in a pod's manifest, and the archive to import."""

    name: str
    reference: str
    archive: Path


def image(name: str) -> Image:
    """The image of this name, whether or not it has been built."""
    files = [path for path in (HERE / "images" / name).rglob("*") if path.is_file()]
    tag = digest(files, DEBIAN)
    return Image(name, f"localhost/tre-test/{name}:{tag}", cache_dir() / f"image-{name}-{tag}" / "image.tar")


def find_images() -> list[Image]:
    """Every image; raises `Unavailable` when one has not been built."""
    images = [image(name) for name in NAMES]
    for one in images:
        find(one.archive.parent, f"image '{one.name}'")
    return images


def build_images(say: Callable[[str], None]) -> list[Image]:
    """Build those that are not there; raises `Unavailable` with the last words of the tool that failed."""
    for name in NAMES:
        one = image(name)
        if made(one.archive.parent, partial(_build, one, say)):
            say(f"Image '{name}' is {one.archive.stat().st_size // 1_000_000} MB")
        else:
            say(f"Image '{name}' is there")
    return [image(name) for name in NAMES]


def _build(one: Image, say: Callable[[str], None], folder: Path) -> None:
    work = folder / "work"
    shutil.copytree(HERE / "images" / one.name, work)
    for source in work.glob("*.c"):
        _run(["gcc", "-O2", "-static", "-s", "-o", str(source.with_suffix("")), str(source)], f"compile {source.name}")
    packages = work / "packages"
    if packages.exists():
        say(f"Fetching Debian packages for image '{one.name}' (about a minute)")
        leave_out = [f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT]
        wanted = "--include=" + ",".join(packages.read_text(encoding="utf-8").split())
        base = str(work / "base.tar")
        _run(["mmdebstrap", "--quiet", "--variant=minbase", wanted, *leave_out, DEBIAN, base], "fetch Debian packages")
    say(f"Building image '{one.name}'")
    # Its own storage: nothing stays in this machine's, and two builders do not meet.
    buildah = ["buildah", "--root", f"{work}/storage", "--runroot", f"{work}/run", "--storage-driver", "vfs"]
    # No namespaces of a container's own: they are not to be had everywhere, and the definition is ours.
    how = ["--isolation", "chroot", "--network", "host", "--layers=false", "--squash"]
    # Its network settings too: else an empty /etc/cni appears on the machine.
    (work / "containers.conf").write_text(f'[network]\nnetwork_config_dir = "{work}/network"\n', encoding="utf-8")
    settings = str(work / "containers.conf")
    _run([*buildah, "bud", *how, "-t", one.reference, str(work)], f"build image '{one.name}'", CONTAINERS_CONF=settings)
    archive = f"docker-archive:{folder / 'image.tar'}:{one.reference}"
    _run([*buildah, "push", "-q", one.reference, archive], f"write image '{one.name}'", CONTAINERS_CONF=settings)
    shutil.rmtree(work)


def _run(command: list[str], what: str, **environment: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, check=False)
    except FileNotFoundError as error:
        raise Unavailable(
            "cluster-build", f"There is no {command[0]} to {what}: run `make cluster-build`, which installs it."
        ) from error
    if done.returncode:
        words = " / ".join((done.stderr or done.stdout).strip().splitlines()[-3:])
        raise Unavailable("cluster-build", f"Could not {what}: {words}")
