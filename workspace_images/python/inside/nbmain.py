"""Starts JupyterLab inside a workspace on the listener handed in as file descriptor 3.

No port is opened and no hub is needed. Only what Lab uses is loaded: other server extensions, the terminals, the
converter and the raw file routes are not there. The inner token comes in JUPYTER_TOKEN, leaves the environment at
once and reaches neither page nor disk. Code in a notebook can still find it (the sandbox's own first process keeps its
environment): without the gate's socket it opens nothing.
"""

import os
import socket
import sys

LISTENER = 3

# jsonschema parses a grammar for internationalised addresses at import (1 s) when this package is there. Nothing that
# Jupyter validates has the formats "iri" and "iri-reference", so the import fails here, which jsonschema allows for.
sys.modules["rfc3987_syntax"] = None


def main():
    """Serve until a signal ends it."""
    token = os.environ.pop("JUPYTER_TOKEN", "")
    if not token:
        sys.exit("JUPYTER_TOKEN is missing: the workspace is not started without its inner token.")
    import process  # beside this file, like the two below

    process.hide_from_kernels()
    process.prepare_home(os.environ["HOME"])
    import jupyterlab.commands

    # Lab asks the package manager of Node.js for its registry at import: a process of 0.3 s for nothing.
    jupyterlab.commands._yarn_config = lambda _logger: {"yarn config": {}, "npm config": {}}
    import server

    app = server.WorkspaceServer(config=server.configuration(token), listener=socket.socket(fileno=LISTENER))
    app.initialize(argv=[], find_extensions=False)
    app.start()


if __name__ == "__main__":
    main()
