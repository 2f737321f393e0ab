"""The allow-lists as a whole: every method on every kind of path, workspace and hub."""

from __future__ import annotations

import pytest

from tre_orchestrator.errors import Refusal
from tre_orchestrator.gate.policy import WORKSPACE_RULES, Reply, rule_for, why_not_hub
from tre_orchestrator.gate.target import Target, parse

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND")
KERNEL = "8a4f4e1a-9c38-4d0c-9b64-3f0f2f7d9c11"

OPEN: dict[str, tuple[str, str]] = {
    "/lab": ("GET", "page"),
    "/lab/": ("GET", "page"),
    "/lab/tree/outputs/a%20b.ipynb": ("GET", "page"),
    "/lab/workspaces/auto-a/tree/x": ("GET", "page"),
    "/lab/doc/x": ("GET", "page"),
    "/static/lab/main.1c7a5d29d1bfa5cd6eb1.js": ("GET", "lab_files"),
    "/static/favicons/favicon-busy-1.ico": ("GET", "server_files"),
    "/favicon.ico": ("GET", "server_files"),
    "/lab/api/themes/@jupyterlab/theme-light-extension/index.css": ("GET", "theme_files"),
    "/lab/extensions/jupyterlab_pygments/static/remoteEntry.js": ("GET", "extension_files"),
    "/kernelspecs/python3/logo-svg.svg": ("GET", "kernel_files"),
    "/api": ("GET", "json"),
    "/api/": ("GET", "json"),
    "/api/me": ("GET", "json"),
    "/api/status": ("GET", "json"),
    "/api/kernelspecs": ("GET", "json"),
    "/api/kernelspecs/python3": ("GET", "json"),
    "/api/kernels": ("GET POST", "json"),
    f"/api/kernels/{KERNEL}": ("GET DELETE", "json"),
    f"/api/kernels/{KERNEL}/interrupt": ("POST", "json"),
    f"/api/kernels/{KERNEL}/restart": ("POST", "json"),
    f"/api/kernels/{KERNEL}/channels": ("GET", "socket"),
    "/api/sessions": ("GET POST", "json"),
    f"/api/sessions/{KERNEL}": ("GET PATCH DELETE", "json"),
    "/api/contents": ("GET PUT POST PATCH DELETE", "contents"),
    "/api/contents/outputs/a.csv": ("GET PUT POST PATCH DELETE", "contents"),
    "/api/contents/a.ipynb/checkpoints/1": ("GET PUT POST PATCH DELETE", "contents"),
    "/api/events/subscribe": ("GET", "socket"),
    "/lab/api/settings": ("GET PUT", "json"),
    "/lab/api/settings/@jupyterlab/apputils-extension:themes": ("GET PUT", "json"),
    "/lab/api/workspaces/default": ("GET PUT POST DELETE", "json"),
    "/lab/api/translations/en": ("GET", "json"),
    "/lab/api/licenses/": ("GET", "json"),
}

CLOSED = [
    "/",
    "/files/data/lungs/a.csv",
    "/files/outputs/a.csv?download=1",
    "/nbconvert/html/a.ipynb",
    "/api/nbconvert",
    "/view/a.html",
    "/api/terminals",
    "/api/terminals/1",
    "/terminals/websocket/1",
    "/terminals/1",
    "/lsp/status",
    "/lsp/ws/pylsp",
    "/proxy/8080/",
    "/proxy/absolute/8080/",
    "/metrics",
    "/api/metrics",
    "/api/shutdown",
    "/api/spec.yaml",
    "/api/collaboration/session/x",
    "/api/collaboration/room/x",
    "/lab/api/extensions",
    "/lab/api/extensions/x",
    "/lab/api/build",
    "/lab/api/listings/@jupyterlab/extensionmanager-extension/listings.json",
    "/lab/static/main.js",
    "/static/components/x.js",
    "/static/lab",
    "/static/lab/",
    "/kernelspecs/python3/kernel.js",
    "/kernelspecs/python3/kernel.json",
    f"/api/kernels/{KERNEL}/channels/more",
    f"/api/kernels/{KERNEL}/shutdown",
    "/api/kernels/../contents",
    "/api/contentsx",
    "/labx",
    "/lab/treex",
    "/tree",
    "/login",
    "/logout",
    "/user/ana/heart/lab",
    "/hub/api/users",
    "/oauth_callback",
    "/voila/render/x",
    "/doc/tree/x",
    "/notebooks/a.ipynb",
    "/edit/a.py",
    "/custom/custom.css",
    "/.tre/enter",
    "/api/events",
    "/API/kernels",
    "/Lab",
]


def allowed(method: str, path: str) -> str | None:
    target = parse(path)
    if isinstance(target, Refusal):
        return None
    found = rule_for(method, target)
    return None if isinstance(found, Refusal) else found.reply.name


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", OPEN)
def test_open_ways_take_their_methods_and_no_other(path: str, method: str) -> None:
    methods, reply = OPEN[path]
    assert allowed(method, path) == (reply if method in methods.split() else None)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", CLOSED)
def test_every_other_way_is_closed_for_every_method(path: str, method: str) -> None:
    assert allowed(method, path) is None


def test_every_rule_is_walked_by_the_matrix() -> None:
    walked = set()
    for path in OPEN:
        target = parse(path)
        assert isinstance(target, Target)
        walked |= {rule.name for rule in WORKSPACE_RULES if rule.pattern.fullmatch(target.text)}
    assert walked == {rule.name for rule in WORKSPACE_RULES}


def test_rules_do_not_overlap_in_kind() -> None:
    for path in OPEN:
        target = parse(path)
        assert isinstance(target, Target)
        kinds = {rule.reply for rule in WORKSPACE_RULES if rule.pattern.fullmatch(target.text)}
        assert len(kinds) == 1, path


def test_a_refused_download_says_the_way_out() -> None:
    target = parse("/files/outputs/a.csv")
    assert isinstance(target, Target)
    refusal = rule_for("GET", target)
    assert isinstance(refusal, Refusal)
    assert (refusal.code, "release" in refusal.sentence) == ("closed-download", True)


HUB_OPEN = {
    "/hub/login": "GET POST",
    "/hub/logout": "GET",
    "/hub/oauth_login": "GET",
    "/hub/oauth_callback": "GET",
    "/hub/api/oauth2/authorize": "GET",
    "/hub/static/css/style.min.css": "GET",
    "/hub/logo": "GET",
    "/hub/health": "GET",
}
HUB_CLOSED = [
    "/hub",
    "/hub/",
    "/hub/home",
    "/hub/spawn",
    "/hub/spawn/ana-silva/heart",
    "/hub/token",
    "/hub/admin",
    "/hub/metrics",
    "/hub/api",
    "/hub/api/",
    "/hub/api/user",
    "/hub/api/users",
    "/hub/api/users/ana-silva/servers/heart",
    "/hub/api/oauth2/token",
    "/hub/api/oauth2/authorize/x",
    "/hub/api/authorizations/token",
    "/hub/api/shutdown",
    "/hub/api/tre/sign-ins/0123456789abcdef0123456789abcdef",
    "/hub/api/tre/people/ana-silva",
    "/hub/login/x",
    "/hub/Login",
    "/hub/security/csp-report",
    "/hub/user/ana-silva/heart",
    "/hub/static/",
]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", [*HUB_OPEN, *HUB_CLOSED])
def test_of_the_hub_only_signing_in_is_open(path: str, method: str) -> None:
    target = parse(path)
    assert isinstance(target, Target)
    assert (why_not_hub(method, target) is None) == (method in HUB_OPEN.get(path, "").split())


def test_replies_that_reach_the_workspace_are_pages_json_and_sockets_only() -> None:
    assert {reply for reply in Reply if not reply.name.endswith("_files")} == {
        Reply.page,
        Reply.json,
        Reply.contents,
        Reply.socket,
    }
