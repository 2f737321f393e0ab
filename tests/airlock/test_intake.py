"""Handing a folder in: what is taken, what is refused, and that the form is complete (A2 after the courier)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.airlock.build import CLEAN, CONTEXT, FORM, HEART, WORKSPACE, Airlock, Collected, Folder
from tests.governance.build import ANA, ERIN, GRACE, World, profile
from tre_orchestrator.airlock import requests
from tre_orchestrator.airlock.forms import DraftForm, FileContext, Statistic, missing
from tre_orchestrator.airlock.requests import submit
from tre_orchestrator.airlock.states import State
from tre_orchestrator.airlock.tables import FileRow
from tre_orchestrator.airlock.views import RequestView
from tre_orchestrator.catalogue.names import WorkspaceId
from tre_orchestrator.errors import Refused, Stale, Unavailable
from tre_orchestrator.governance.grants import revoke
from tre_orchestrator.governance.tables import GrantRow


def test_the_folder_is_asked_for_below_outputs_and_the_notebooks_own_files_stay_out(air: Airlock) -> None:
    folder = Folder({"a.csv": CLEAN, "request.yaml": b"title: x", ".ipynb_checkpoints/a-checkpoint.csv": b"x"})
    request = air.submit(air.draft(), folder)
    assert folder.asked == [(WORKSPACE, "tables")]
    assert [file.path for file in request.files] == ["a.csv"]


@pytest.mark.parametrize(
    ("given", "asked"),
    [("/outputs/a/b", "a/b"), ("outputs/a", "a"), ("a/", "a"), ("/outputs", ""), ("outputsy", "outputsy"), ("/a", "a")],
)
def test_a_folder_can_be_named_as_the_notebook_sees_it(given: str, asked: str) -> None:
    assert DraftForm(folder=given).collected_folder == asked


def test_an_incomplete_form_names_every_field_and_file(air: Airlock) -> None:
    form = FORM.model_copy(update={"defaults": FileContext(), "files": {"a.csv": CONTEXT}})
    draft = air.draft(form)
    with pytest.raises(Refused) as refused:
        air.submit(draft, {"a.csv": CLEAN, "b.csv": CLEAN})
    assert [reason.sentence.split(":")[0] for reason in refused.value.refusals] == ["b.csv"] * 6
    back = air.view(draft)
    assert back.state is State.draft
    assert back.listing == (("a.csv", len(CLEAN)), ("b.csv", len(CLEAN)))
    assert {lack.field for lack in back.missing} == {
        "statistic", "population", "n", "variables", "controls", "relation",
    }  # fmt: skip


def test_an_empty_form_is_refused_before_the_workspace_is_read(air: Airlock) -> None:
    folder = Folder({"a.csv": CLEAN})
    with pytest.raises(Refused) as refused:
        air.submit(air.draft(DraftForm()), folder)
    assert len(refused.value.refusals) == 3
    assert not folder.asked


def test_a_text_needs_no_count_of_people() -> None:
    context = CONTEXT.model_copy(update={"statistic": Statistic.code, "n": None})
    assert not missing(FORM.model_copy(update={"defaults": context}), ("a.py",))


def test_supporting_files_only_are_nothing_to_release(air: Airlock) -> None:
    form = FORM.model_copy(update={"files": {"a.csv": CONTEXT.model_copy(update={"supporting": True})}})
    with pytest.raises(Refused, match="supporting"):
        air.submit(air.draft(form), {"a.csv": CLEAN})


ODD = [
    "../a.csv", "/a.csv", "a//b.csv", "a\\b.csv", ".git/config", "a/../b.csv", "-rf.csv", "a\u202eb.csv",
    "a\u200bb.csv", "a\nb.csv", "a\x00b.csv", "e\u0301.csv", "a" * 256 + ".csv", "x/" * 17 + "a.csv", "a:b.csv",
    "a .csv/ b.csv", "", 'a"b.csv', "\ud800.csv", "a|b", "~a", "a*.csv",
]  # fmt: skip


@pytest.mark.parametrize("path", ODD)
def test_A2_an_odd_name_refuses_the_whole_folder(air: Airlock, path: str) -> None:
    draft = air.draft()
    with pytest.raises(Refused) as refused:
        air.submit(draft, {"a.csv": CLEAN, path: CLEAN})
    assert refused.value.code == "odd-path"
    assert air.view(draft).state is State.draft
    assert refused.value.sentence in air.view(draft).problem


@pytest.mark.parametrize("path", ["A.CSV", "ａ.csv", "a.csv"])
def test_A2_two_names_that_look_alike_are_refused(air: Airlock, path: str) -> None:
    class Twice(Folder):
        def collect(self, workspace: WorkspaceId, folder: str) -> Iterator[Collected]:
            for name in ("a.csv", path):
                yield Collected(name, len(CLEAN), iter([CLEAN]))

    with pytest.raises(Refused, match="look the same"):
        air.submit(air.draft(), Twice({}))


def test_an_empty_folder_a_big_file_and_too_many_files_are_refused(air: Airlock) -> None:
    with pytest.raises(Refused, match="no file"):
        air.submit(air.draft(), {})
    with pytest.raises(Refused, match="16 MiB"):
        air.submit(air.draft(), {"a.csv": b"x" * ((16 << 20) + 1)})
    with pytest.raises(Refused, match="100 files"):
        air.submit(air.draft(), {f"{number}.csv": CLEAN for number in range(101)})


def test_a_courier_that_dies_gives_the_draft_back(air: Airlock) -> None:
    class Dies(Folder):
        def collect(self, workspace: WorkspaceId, folder: str) -> Iterator[Collected]:
            yield Collected("a.csv", 5, iter([b"x"]))
            raise Unavailable("gone", "The workspace ended while it was read.")

    draft = air.draft()
    with pytest.raises(Unavailable):
        air.submit(draft, Dies({}))
    back = air.view(draft)
    assert (back.state, back.problem) == (State.draft, "The workspace ended while it was read.")
    assert air.submit(back, {"a.csv": CLEAN}).state is State.checking


def test_a_request_withdrawn_while_it_is_copied_stays_withdrawn(air: Airlock) -> None:
    draft = air.draft()

    class Slow(Folder):
        def collect(self, workspace: WorkspaceId, folder: str) -> Iterator[Collected]:
            assert air.view(draft).state is State.submitted
            air.act(requests.withdraw, draft, ANA)
            yield from super().collect(workspace, folder)

    with pytest.raises(Stale):
        air.submit(draft, Slow({"a.csv": CLEAN}))
    assert air.view(draft).state is State.withdrawn
    with air.db.read() as session:
        assert not session.query(FileRow).count()


def test_two_submissions_at_once_make_one(air: Airlock) -> None:
    draft = air.draft()

    class Again(Folder):
        def collect(self, workspace: WorkspaceId, folder: str) -> Iterator[Collected]:
            with pytest.raises(Stale):
                air.submit(draft, {"b.csv": CLEAN}, version=draft.version)
            yield from super().collect(workspace, folder)

    done = air.submit(draft, Again({"a.csv": CLEAN}))
    assert [file.path for file in done.files] == ["a.csv"]


def test_D2_nothing_is_taken_from_a_project_that_may_not_work(air: Airlock) -> None:
    draft = air.draft()
    folder = Folder({"a.csv": CLEAN})
    with air.db.write() as session:
        revoke(session, session.query(GrantRow).one().id, ERIN, "Over", air.now)
    with pytest.raises(Refused) as refused:
        air.submit(draft, folder)
    assert not folder.asked
    assert any("grant" in reason.code for reason in refused.value.refusals)


def test_P1_a_tier_that_asks_for_a_second_factor_asks_for_it_at_submission(air: Airlock) -> None:
    draft = air.draft()
    World(air.db, air.settings, air.now).apply(profile(**{"1": {"mfa": True}}))
    World(air.db, air.settings, air.now).approve(GRACE)
    folder = Folder({"a.csv": CLEAN})

    def send(mfa: bool) -> RequestView:
        return submit(
            air.db, air.settings, air.store, folder, HEART, draft.id, ANA, air.now,
            version=1, workspace=WORKSPACE, mfa=mfa,
        )  # fmt: skip

    with pytest.raises(Refused) as refused:
        send(mfa=False)
    assert refused.value.code == "mfa-needed"
    assert not folder.asked
    assert send(mfa=True).state is State.checking


def test_only_members_write_drafts_and_only_authors_change_them(air: Airlock) -> None:
    with pytest.raises(Refused, match="members"):
        air.draft(who="chloe-martin")
    draft = air.draft()
    with pytest.raises(Refused), air.db.write() as session:
        requests.update_draft(session, HEART, draft.id, "ben-okafor", FORM, air.now, version=1)


def test_a_second_submission_keeps_nothing_of_the_first_list(air: Airlock) -> None:
    back = air.returned()
    again = air.submit(back, {"b.csv": CLEAN})
    assert [file.path for file in again.files] == ["b.csv"]
    assert again.turn == 3
