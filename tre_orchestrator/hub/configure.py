"""The hub's whole configuration, from the TRE's settings. Nothing else configures it.

Reached over a unix socket only. Nobody is an administrator, no unnamed server, no proxy of its own, PKCE required; our
three services have a token and a few scopes each; a browser's own rights end at signing in to the gate.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tre_orchestrator.catalogue.names import NAME_PATTERN
from tre_orchestrator.errors import Unavailable
from tre_orchestrator.governance.secrets import HUB_COOKIE, required_secret
from tre_orchestrator.hub.api import service_token
from tre_orchestrator.hub.authenticator import LinkAuthenticator, OidcAuthenticator
from tre_orchestrator.hub.logs import LOGGING, log_request
from tre_orchestrator.hub.proxy import StaticProxy
from tre_orchestrator.hub.spawner import WorkspaceSpawner
from tre_orchestrator.ops.logs import configure_logs
from tre_orchestrator.settings import Settings

GATE_CALLBACK = "/gate/callback"
AFTER_SIGN_IN = "/gate/login"
TEMPLATES = Path(__file__).parent / "templates"
OIDC_SECRET = "oidc-client-secret"  # pragma: allowlist secret
COOKIE_MINUTES = 15
"""How long a browser is signed in at the hub itself: the time to get from there to the gate."""

SCOPES: dict[str, list[str]] = {
    "web": ["start:servers", "delete:servers", "read:servers", "read:users:name"],
    "controller": ["delete:servers", "read:servers", "read:users:name"],
}


def configure(c: Any, settings: Settings) -> None:
    """Fill JupyterHub's configuration object; raises `TreError` when a secret is missing."""
    _hub(c.JupyterHub, settings)
    _people(c, settings)
    _services(c.JupyterHub, settings)
    c.Spawner.server_token_scopes = ["users:activity!user"]
    c.Spawner.start_timeout = 300
    c.Spawner.http_timeout = 120
    c.Spawner.poll_interval = 2
    c.Spawner.consecutive_failure_limit = 0


def _hub(hub: Any, settings: Settings) -> None:
    folder = settings.state_dir / "hub"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    socket = settings.run_dir / "hub.sock"
    url = f"http+unix://{quote(str(socket), safe='')}"
    hub.hub_bind_url = url
    hub.hub_connect_url = url
    hub.hub_socket_mode = 0o600
    hub.bind_url = settings.people_origin + "/"
    hub.public_url = settings.people_origin + "/"
    hub.db_url = f"sqlite:///{folder / 'jupyterhub.sqlite'}"
    hub.upgrade_db = True
    hub.cookie_secret = required_secret(settings.keys_dir, HUB_COOKIE)
    hub.cookie_max_age_days = COOKIE_MINUTES / (24 * 60)
    hub.oauth_require_pkce = True
    hub.oauth_token_expires_in = COOKIE_MINUTES * 60
    hub.proxy_class = StaticProxy
    hub.spawner_class = WorkspaceSpawner
    hub.allow_named_servers = True
    hub.default_url = AFTER_SIGN_IN
    hub.redirect_to_server = False
    hub.cleanup_servers = False
    hub.shutdown_on_logout = False
    hub.authenticate_prometheus = False
    hub.template_paths = [str(TEMPLATES)]
    hub.log_level = settings.log_level.upper()
    hub.logging_config = LOGGING
    hub.tornado_settings = {"slow_spawn_timeout": 1, "log_function": log_request}
    hub.load_roles = [
        {"name": "user", "scopes": ["access:services!service=gate", "read:users:name!user", "read:users:groups!user"]},
        *({"name": f"tre-{name}", "scopes": scopes, "services": [name]} for name, scopes in SCOPES.items()),
    ]


def _people(c: Any, settings: Settings) -> None:
    c.Authenticator.allow_all = True
    c.Authenticator.admin_users = set()
    c.Authenticator.any_allow_config = True
    c.Authenticator.manage_groups = True
    c.Authenticator.enable_auth_state = False
    c.Authenticator.username_pattern = NAME_PATTERN
    c.Authenticator.refresh_pre_spawn = True
    c.Authenticator.auth_refresh_strict = True
    c.Authenticator.auth_refresh_age = 30
    if settings.oidc is None:
        c.JupyterHub.authenticator_class = LinkAuthenticator
        return
    c.JupyterHub.authenticator_class = OidcAuthenticator
    for key, value in settings.oidc.items():
        setattr(c.OidcAuthenticator, key, value.split() if key == "scope" else value)
    c.OidcAuthenticator.client_secret = _client_secret(settings.keys_dir / OIDC_SECRET)
    c.OidcAuthenticator.oauth_callback_url = settings.people_origin + "/hub/oauth_callback"
    c.OidcAuthenticator.userdata_from_id_token = True
    c.OidcAuthenticator.enable_pkce = True


def _client_secret(path: Path) -> str:
    """The provider's secret for this TRE, from a file that only its owner can read."""
    try:
        if path.stat().st_mode & 0o077:
            raise Unavailable("secret-open", f"Others can read {path}. Run `chmod 600 {path}` and replace the secret.")
        value = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Unavailable(
            "secret-missing", f"The identity provider's client secret is missing: put it into {path}, mode 0600."
        ) from error
    if not value:
        raise Unavailable("secret-missing", f"{path} is empty. Put the identity provider's client secret into it.")
    return value


def _services(hub: Any, settings: Settings) -> None:
    hub.services = [
        {
            "name": "gate",
            "api_token": service_token(settings, "gate"),
            "oauth_client_id": "service-gate",
            "oauth_redirect_uri": settings.people_origin + GATE_CALLBACK,
            "oauth_no_confirm": True,
            "oauth_client_allowed_scopes": [],
        },
        {"name": "web", "api_token": service_token(settings, "web")},
        {"name": "controller", "api_token": service_token(settings, "controller")},
    ]


def prepare_process(settings: Settings) -> None:
    """Log as the other processes do; give an account without an entry in the password file a name, as the hub needs."""
    configure_logs("hub", settings.log_level)
    os.environ.setdefault("LOGNAME", "tre")
