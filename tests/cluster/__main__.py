"""`python -m tests.cluster up|down|shell`: a cluster to try things on, which stays until it is taken down."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from tests.cluster.cluster import Cluster, kept_cluster
from tests.cluster.spaces import kept, remove_leftovers
from tre_orchestrator.errors import TreError

_USE = """
{name} is up.
  make cluster-shell   a shell on the node, where kubectl works and outside is 203.0.113.10
  make cluster-down    ends it and leaves nothing
One command: {enter} get nodes
Logs of its daemons: {folder}/log
"""


def up(cni: str = "cilium") -> int:
    """Start a cluster that outlives this command."""
    cluster = kept_cluster()
    if cluster is None:
        began = time.monotonic()
        cluster = Cluster.up(cni, keep=True, say=lambda words: print(f"[{time.monotonic() - began:3.0f} s] {words}"))
        print(f"[{time.monotonic() - began:3.0f} s] Pods can be created")
    print(
        _USE.format(
            name=cluster.spaces.name, folder=cluster.spaces.folder, enter=" ".join(cluster.node.kubectl_command)
        )
    )
    return 0


def down() -> int:
    """End it, and remove what dead clusters have left."""
    spaces = kept()
    if spaces:
        spaces.remove()
        print(f"{spaces.name} is gone")
    for name in remove_leftovers():
        print(f"Removed what was left of {name}")
    return 0


def shell() -> int:
    """An interactive shell on the node; its exit code."""
    cluster = kept_cluster()
    if cluster is None:
        print("No cluster is up. Run `make cluster-up`.", file=sys.stderr)
        return 1
    return subprocess.run([*_entering(cluster), os.environ.get("SHELL", "/bin/bash")], check=False).returncode


def _entering(cluster: Cluster) -> list[str]:
    path = f"PATH={cluster.programs}:{os.environ['PATH']}"
    return cluster.spaces.enter("env", f"KUBECONFIG={cluster.node.kubeconfig}", path)


if __name__ == "__main__":
    try:
        sys.exit({"up": up, "down": down, "shell": shell}[sys.argv[1]](*sys.argv[2:]))
    except TreError as error:
        print(error.sentence, file=sys.stderr)
        sys.exit(1)
