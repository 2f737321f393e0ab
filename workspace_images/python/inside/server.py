"""The server that Lab talks to, and its whole configuration.

The switches here make the way that is meant the easy one. They are no controls: code in a notebook runs beside this
server under the same account. What must hold is held outside, by the gate and the sandbox.
"""

import os
from pathlib import Path

from jupyter_server.serverapp import ServerApp
from traitlets import Any
from traitlets.config import Config

ENVIRONMENT = Path(os.environ.get("VIRTUAL_ENV", "/opt/env"))
STATE = ".local/share/tre-lab"
MIB = 1024 * 1024
JAVASCRIPT = "@jupyterlab/javascript-extension"


class WorkspaceServer(ServerApp):
    """A Jupyter server on a listener that exists already, with the routes that Lab needs and no others."""

    name = "tre-workspace"
    default_services = (
        "api",
        "auth",
        "config",
        "contents",
        "events",
        "kernels",
        "kernelspecs",
        "security",
        "sessions",
    )
    no_browser_open_file = True
    listener = Any()

    def _find_http_port(self):
        """There is a listener; no port is looked for."""

    def _bind_http_server(self):
        self.listener.setblocking(False)
        self.listener.set_inheritable(False)
        self.http_server.add_socket(self.listener)

    def write_server_info_file(self):
        """Not written: it holds the token."""


def configuration(token):
    """Everything that is set, in one place. `token` is what the gate must send."""
    c = Config()
    home = os.environ["HOME"]
    c.ServerApp.root_dir = home
    c.ServerApp.base_url = "/"
    c.ServerApp.default_url = "/lab"
    c.ServerApp.open_browser = False
    c.ServerApp.jpserver_extensions = {"jupyterlab": True}
    c.ServerApp.contents_manager_class = "contents.WorkspaceContents"
    c.ServerApp.terminals_enabled = False
    c.ServerApp.quit_button = False
    c.ServerApp.allow_external_kernels = False
    c.ServerApp.allow_unauthenticated_access = False
    c.ServerApp.allow_remote_access = True  # which host names are right is checked by the gate, the only client
    c.ServerApp.max_body_size = 32 * MIB
    c.ServerApp.max_buffer_size = 32 * MIB
    c.ServerApp.log_level = "WARN"
    c.ServerApp.tornado_settings = {"page_config_hook": page_config}
    c.IdentityProvider.token = token
    c.PasswordIdentityProvider.allow_password_change = False
    c.ContentsManager.allow_hidden = False
    c.FileContentsManager.delete_to_trash = False
    c.KernelManager.transport = "ipc"
    c.MultiKernelManager.default_kernel_name = "python3"
    c.ZMQChannelsWebsocketConnection.iopub_data_rate_limit = 4 * MIB
    c.LabApp.log_level = "WARN"
    c.LabApp.extension_manager = "readonly"
    c.LabApp.lock_all_plugins = True
    c.LabApp.news_url = None
    c.LabApp.check_for_updates_class = "jupyterlab.NeverCheckForUpdate"
    c.LabApp.labextensions_path = [str(ENVIRONMENT / "share/jupyter/labextensions")]
    c.LabApp.extra_labextensions_path = []
    c.LabApp.app_dir = str(ENVIRONMENT / "share/jupyter/lab")
    c.LabApp.user_settings_dir = f"{home}/{STATE}/user-settings"
    c.LabApp.workspaces_dir = f"{home}/{STATE}/workspaces"
    return c


def page_config(_handler, config):
    """The page's own settings: no token in it, and scripts in notebook output only where the project may."""
    config["token"] = ""
    config["terminalsAvailable"] = False
    if os.environ.get("TRE_SCRIPTS_IN_OUTPUT") != "1":
        config["disabledExtensions"] = [*config.get("disabledExtensions", []), JAVASCRIPT]
    return config
