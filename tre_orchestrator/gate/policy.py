"""What may be asked of a workspace and of the hub, as two tables; whatever no row names is closed.

`Reply` says what kind of answer a row may give: the gate sends only that kind on, because everything a workspace says
is written by whoever controls it. Files of Lab come from the host's read-only copy, never from the workspace.
Closed on purpose (workspaces.md, "Gate"): /files, /nbconvert, /view, /terminals, /lsp, /proxy, /metrics, shutdown,
extension management, collaboration.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from tre_orchestrator.errors import Refusal
from tre_orchestrator.gate.target import Target

_ID = r"[0-9A-Za-z][0-9A-Za-z-]{0,63}"
READ = frozenset({"GET"})


class Reply(Enum):
    """Where the answer comes from, and of which kind it may be."""

    page = "an HTML page from the workspace"
    json = "JSON from the workspace"
    contents = "JSON from the contents API, with its caps"
    socket = "a WebSocket to the workspace"
    lab_files = "a file below share/jupyter/lab/static"
    theme_files = "a file below share/jupyter/lab/themes"
    extension_files = "a file below share/jupyter/labextensions"
    kernel_files = "a file below share/jupyter/kernels"
    server_files = "a file below jupyter_server/static"


@dataclass(frozen=True, slots=True)
class Rule:
    """One open way: its name (for logs and metrics), methods, and a pattern over the decoded path."""

    name: str
    methods: frozenset[str]
    pattern: re.Pattern[str]
    reply: Reply


def _rule(name: str, methods: str, pattern: str, reply: Reply) -> Rule:
    return Rule(name, frozenset(methods.split()), re.compile(pattern), reply)


WORKSPACE_RULES: tuple[Rule, ...] = (
    _rule("lab-files", "GET", r"static/lab/(?P<file>.+)", Reply.lab_files),
    _rule("server-files", "GET", r"static/(?P<file>(?:favicons|logo)/[^/]+)", Reply.server_files),
    _rule("favicon", "GET", r"(?P<file>favicon\.ico)", Reply.server_files),
    _rule("theme-files", "GET", r"lab/api/themes/(?P<file>.+)", Reply.theme_files),
    _rule("extension-files", "GET", r"lab/extensions/(?P<file>.+)", Reply.extension_files),
    _rule("kernel-files", "GET", r"kernelspecs/(?P<file>[^/]+/logo-[^/]+)", Reply.kernel_files),
    _rule("kernel-socket", "GET", rf"api/kernels/{_ID}/channels", Reply.socket),
    _rule("events-socket", "GET", r"api/events/subscribe", Reply.socket),
    _rule("page", "GET", r"lab(?:/(?:tree|workspaces|doc)(?:/.*)?)?/?", Reply.page),
    _rule("version", "GET", r"api/?", Reply.json),
    _rule("me", "GET", r"api/(?:me|status)", Reply.json),
    _rule("kernelspecs", "GET", rf"api/kernelspecs(?:/{_ID})?", Reply.json),
    _rule("kernels", "GET POST", r"api/kernels", Reply.json),
    _rule("kernel", "GET DELETE", rf"api/kernels/{_ID}", Reply.json),
    _rule("kernel-act", "POST", rf"api/kernels/{_ID}/(?:interrupt|restart)", Reply.json),
    _rule("sessions", "GET POST", r"api/sessions", Reply.json),
    _rule("session", "GET PATCH DELETE", rf"api/sessions/{_ID}", Reply.json),
    _rule("contents", "GET PUT POST PATCH DELETE", r"api/contents(?:/.*)?", Reply.contents),
    _rule("settings", "GET PUT", r"lab/api/settings(?:/.*)?", Reply.json),
    _rule("layouts", "GET PUT POST DELETE", r"lab/api/workspaces(?:/.*)?", Reply.json),
    _rule("translations", "GET", r"lab/api/translations(?:/[^/]*)?", Reply.json),
    _rule("licenses", "GET", r"lab/api/licenses/?", Reply.json),
)

HUB_RULES: tuple[tuple[frozenset[str], re.Pattern[str]], ...] = (
    (frozenset({"GET", "POST"}), re.compile(r"hub/login")),
    (READ, re.compile(r"hub/(?:logout|oauth_login|oauth_callback|logo|health)")),
    (READ, re.compile(r"hub/api/oauth2/authorize")),
    (READ, re.compile(r"hub/static/.+")),
)

_DOWNLOADS = ("files", "nbconvert", "view", "api/nbconvert")


def rule_for(method: str, target: Target) -> Rule | Refusal:
    """The row that opens this way into a workspace, or why it is closed."""
    text = target.text
    for rule in WORKSPACE_RULES:
        if rule.pattern.fullmatch(text) and method in rule.methods:
            return rule
    if any(text == way or text.startswith(f"{way}/") for way in _DOWNLOADS):
        return Refusal(
            "closed-download",
            "Files do not leave a workspace through the browser. Write them to /outputs and ask for their release.",
        )
    return Refusal("closed", "This way into a workspace is closed.")


def why_not_hub(method: str, target: Target) -> Refusal | None:
    """Why this may not be asked of the hub through the front door, or None."""
    if any(method in methods and pattern.fullmatch(target.text) for methods, pattern in HUB_RULES):
        return None
    return Refusal("closed-hub", "This page of the hub is closed here. Everything you need is on the portal's pages.")
