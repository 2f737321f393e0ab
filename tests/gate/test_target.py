"""The request target: odd ones are refused, and what is forwarded says the same to every reader."""

from __future__ import annotations

from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine
from yarl import URL

from tre_orchestrator.errors import Refusal
from tre_orchestrator.gate.target import MAX_LENGTH, Target, parse

ODD = [
    "",
    "*",
    "lab",
    "http://evil.example/lab",
    "//evil.example/lab",
    "/lab//tree",
    "/./lab",
    "/lab/..",
    "/lab/../api",
    "/lab/%2e%2e/api",
    "/lab/%2E./api",
    "/lab/.%2e",
    "/%2e",
    "/api/contents/a%2fb",
    "/api/contents/a%2Fb",
    "/api/contents/a%5cb",
    "/api/contents/a\\b",
    "/api/contents/a%00b",
    "/api/contents/a%0d%0aX: y",
    "/api/contents/a%7f",
    "/api/contents/%c2%85",
    "/api/contents/%e2%80%a8",
    "/api/contents/%ff",
    "/api/contents/%zz",
    "/api/contents/%",
    "/api/contents/%2",
    "/api/contents/a%252fb",
    "/api/contents/a%252e%252e",
    "/lab#x",
    "/lab?a#b",
    "/lab?a=%zz",
    "/lab?a=<script>",
    "/lab tree",
    "/lab\x00",
    "/l\u00e4b",
    "/" + "a" * MAX_LENGTH,
]


@pytest.mark.parametrize("raw", ODD)
def test_odd_targets_are_refused(raw: str) -> None:
    assert isinstance(parse(raw), Refusal)


@pytest.mark.parametrize(
    ("raw", "text", "path"),
    [
        ("/", "", "/"),
        ("/lab", "lab", "/lab"),
        ("/lab/", "lab/", "/lab/"),
        ("/api/contents/My%20notes.ipynb", "api/contents/My notes.ipynb", "/api/contents/My%20notes.ipynb"),
        ("/api/contents/100%25.csv", "api/contents/100%.csv", "/api/contents/100%25.csv"),
        ("/api/contents/%C3%A4.txt", "api/contents/ä.txt", "/api/contents/%C3%A4.txt"),
        ("/%6cab", "lab", "/lab"),
        ("/lab/api/settings/@jupyterlab/apputils-extension:themes", None, None),
    ],
)
def test_plain_targets_pass_in_canonical_form(raw: str, text: str | None, path: str | None) -> None:
    target = parse(raw)
    assert isinstance(target, Target)
    assert target.text == (raw[1:] if text is None else text)
    assert target.path == (raw if path is None else path)


def test_query_parameters_are_read_and_dropped_decoded() -> None:
    target = parse("/api/kernels/1/channels?session_id=a%20b&tok%65n=x&token=y&flag")
    assert isinstance(target, Target)
    assert target.values("session_id") == ["a b"]
    assert target.forwarded(frozenset({"token"})) == "/api/kernels/1/channels?session_id=a%20b&flag"


@given(st.text(max_size=60))
def test_law_any_text_is_refused_or_clean(raw: str) -> None:
    judge(parse("/" + raw))
    judge(parse(raw))


ALPHABET = st.text(alphabet="ab/.%2eEfF5cC0dD?&=#\\;: \x00ä", max_size=40)


@given(ALPHABET)
def test_law_texts_of_dangerous_characters_are_refused_or_clean(raw: str) -> None:
    judge(parse("/" + raw))


@given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=4))
def test_law_encoded_names_come_through_or_are_refused(names: list[str]) -> None:
    try:
        raw = "/" + "/".join(quote(name, safe="") for name in names)
    except UnicodeEncodeError:
        return
    target = parse(raw)
    judge(target)
    if isinstance(target, Target):
        assert target.segments == tuple(names)


def judge(target: Target | Refusal) -> None:
    """What a clean target promises."""
    if isinstance(target, Refusal):
        return
    assert target.path.startswith("/")
    assert not target.path.startswith("//")
    assert target.path.isascii()
    assert "" not in target.segments[:-1]
    for segment in target.segments:
        assert segment not in (".", "..")
        assert not set(segment) & {"/", "\\", "\x00", "\r", "\n"}
    again = parse(target.forwarded())
    assert isinstance(again, Target)
    assert (again.segments, again.path) == (target.segments, target.path)
    # three other readers see the same path in what is forwarded
    assert unquote(target.path) == "/" + target.text
    line = RequestStartLine("GET", target.forwarded(), "HTTP/1.1")
    assert HTTPServerRequest(start_line=line, headers=HTTPHeaders({"Host": "localhost"})).path == target.path
    assert URL("http://localhost" + target.forwarded(), encoded=True).raw_path == target.path
