"""What a notebook leaves beside its files is hostile input: it fills in a form, or is left aside with the reason."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.airlock.build import CLEAN, WORKSPACE, Folder
from tre_orchestrator.airlock.drafts import BYTES_MAX, look_into, read_draft
from tre_orchestrator.airlock.drafts import Folder as Seen
from tre_orchestrator.airlock.forms import DraftForm
from tre_orchestrator.errors import Invalid


def look(files: Mapping[str, bytes]) -> Seen:
    return look_into(Folder(files), WORKSPACE, "/outputs/figs")


def test_what_the_helper_writes_becomes_a_draft() -> None:
    said = {"title": "Figure 2", "context": "Survival", "files": {"a.csv": "counts", "b.png": ""}}
    seen = look({"a.csv": CLEAN, "b.png": b"x", "request.yaml": json.dumps(said, indent=2).encode()})
    assert seen.problem == ""
    assert (seen.form.title, seen.form.purpose) == ("Figure 2", "Survival\na.csv: counts")
    assert seen.form.folder == "/outputs/figs"
    assert seen.files == (("a.csv", len(CLEAN)), ("b.png", 1))


def test_a_whole_context_can_be_given_for_a_file() -> None:
    text = "title: T\nfiles:\n  a.csv: {statistic: frequencies, n: 260, variables: [sex], population: adults}\n"
    form = read_draft(text.encode(), "figs")
    assert form.context("a.csv").n == 260


def test_a_folder_without_a_form_is_an_empty_draft() -> None:
    seen = look({"a.csv": CLEAN, ".ipynb_checkpoints/a.csv": b"x"})
    assert seen.form == DraftForm(folder="/outputs/figs")
    assert seen.files == (("a.csv", len(CLEAN)),)


BOMB = b"a: &a [x,x]\nb: &b [*a,*a,*a]\ntitle: *b\n"
HOSTILE = {
    "alias": BOMB,
    "anchor used in a merge": b"x: &x {title: a}\n<<: *x\n",
    "python object": b"title: !!python/object/apply:os.system ['true']\n",
    "unknown tag": b"title: !thing x\n",
    "key twice": b"title: a\ntitle: b\n",
    "unknown key": b"title: a\nproject: other\n",
    "author": b"author: chloe-martin\n",
    "state": b"state: approved\n",
    "a list": b"[1, 2]\n",
    "a scalar": b"hello\n",
    "nothing": b"",
    "two documents": b"title: a\n---\ntitle: b\n",
    "not text": b"\xff\xfe\x00",
    "too large": b"title: " + b"x" * BYTES_MAX,
    "long title": b"title: " + b"x" * 201,
    "deep": b"[" * 3000,
    "number as title": b"title: 12\n",
    "negative n": b"files: {a.csv: {n: -1}}\n",
    "binary": b"title: !!binary aGVsbG8=\n",
    "a set": b"title: !!set {a, b}\n",
    "unknown statistic": b"files: {a.csv: {statistic: magic}}\n",
    "destination": b"destination: elsewhere\n",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_form_is_left_aside_and_the_reason_shown(what: str) -> None:
    seen = look({"a.csv": CLEAN, "request.yaml": HOSTILE[what]})
    assert seen.problem.startswith("The request.yaml in this folder was not used:")
    assert len(seen.problem) < 400
    assert seen.form == DraftForm(folder="/outputs/figs")
    assert seen.files == (("a.csv", len(CLEAN)),)


@given(st.binary(max_size=500))
def test_any_bytes_give_a_form_or_a_reason(data: bytes) -> None:
    said: list[str] = []
    try:
        read_draft(data, "figs")
    except Invalid as error:
        said.append(error.sentence)
    assert all(sentence.isprintable() for sentence in said)


def test_a_reason_shows_no_control_character_of_the_form() -> None:
    with pytest.raises(Invalid) as invalid:
        read_draft(b'files: {"\\e[31m": {statistic: magic}}', "figs")
    assert invalid.value.sentence.isprintable()


def test_a_form_in_a_folder_below_is_a_file_like_any_other() -> None:
    assert look({"sub/request.yaml": b"title: x"}).files == (("sub/request.yaml", 8),)
