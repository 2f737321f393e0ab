"""Lists, previews and words: what a person is shown, and that researcher content is shown as plain values only (A6)."""

from __future__ import annotations

import pytest

from tests.airlock.build import BEN, CHLOE, CLEAN, DAN, FAY, HEART, MIA, SMALL, Airlock
from tests.governance.build import ANA, ERIN, World, person
from tre_orchestrator.airlock import requests, reviews
from tre_orchestrator.airlock.comments import comment
from tre_orchestrator.airlock.preview import COLUMNS, ROWS, Preview, preview, read_file
from tre_orchestrator.airlock.views import RequestView
from tre_orchestrator.airlock.votes import Vote
from tre_orchestrator.errors import NotFound, Refused


def shown(air: Airlock, request: RequestView, path: str, who: str = CHLOE) -> Preview:
    with air.db.read() as session:
        return preview(session, air.store, HEART, request.id, path, who, air.now)


def test_a_queue_holds_what_a_checker_can_act_on_claims_first(air: Airlock) -> None:
    air.draft()
    air.blocked()
    first, second, third = air.awaiting(), air.at(minutes=1).awaiting(), air.in_review()
    released = air.released()
    air.act(reviews.claim, second, FAY)
    with air.db.read() as session:
        lines = {who: [line.id for line in requests.queue(session, who, air.now)] for who in (FAY, DAN, MIA, ANA, BEN)}
    assert lines[FAY] == [second.id, first.id, third.id]
    assert lines[DAN] == [first.id, third.id, second.id]
    assert lines[MIA] == lines[ANA] == lines[BEN] == []
    assert released.id not in lines[FAY]


def test_a_queue_leaves_out_a_checkers_own_projects_and_is_empty_without_accreditation(air: Airlock) -> None:
    air.awaiting()
    World(air.db, air.settings, air.now).apply(person(FAY, "checker", accredited="2026-01-01"))
    with air.db.read() as session:
        assert requests.queue(session, FAY, air.now) == ()
        assert len(requests.queue(session, DAN, air.now)) == 1


def test_a_line_counts_files_and_findings_of_the_current_turn(air: Airlock) -> None:
    request = air.awaiting({"a.csv": CLEAN, "b.csv": SMALL, "c.txt": b"words"})
    with air.db.read() as session:
        line = requests.mine(session, ANA, air.now)[0]
    assert (line.files, line.findings_block, line.findings_review, line.id) == (3, 1, 1, request.id)


def test_members_and_controllers_see_requests_but_nobody_elses_drafts(air: Airlock) -> None:
    draft, request = air.draft(), air.awaiting()
    with air.db.read() as session:
        seen = {
            who: [line.id for line in requests.of_project(session, HEART, who, air.now)]
            for who in (ANA, BEN, CHLOE, ERIN, "olu")
        }
    assert seen[ANA] == [request.id, draft.id]
    assert seen[BEN] == seen[CHLOE] == seen[ERIN] == [request.id]
    assert seen["olu"] == []
    for who in (BEN, CHLOE, "olu", "nobody"):
        with pytest.raises(NotFound):
            air.view(draft, who)


def test_a_table_is_shown_as_rows_numbered_as_in_the_findings(air: Airlock) -> None:
    request = air.blocked()
    seen = shown(air, request, "a.csv")
    finding = request.files[0].findings[0]
    assert seen.shows == "table"
    assert finding.row is not None
    assert finding.column is not None
    assert seen.rows[finding.row - 1][finding.column - 1] == "3"
    assert "3" not in finding.sample


def test_text_and_markup_are_lines_images_are_images_and_the_rest_is_not_shown(air: Airlock) -> None:
    page = b"<!DOCTYPE html><script>alert(1)</script>"
    png = b"\x89PNG\r\n\x1a\n" + b"\0" * 30
    files = {
        "a.html": page,
        "b.txt": b"one\r\ntwo",
        "c.png": png,
        "d.bin": b"\0\1",
        "e.svg": b"<svg/>",
        "f.csv": b"\xff",
    }
    request = air.awaiting(files)
    assert shown(air, request, "a.html").lines == (page.decode(),)
    assert shown(air, request, "b.txt").lines == ("one", "two")
    image = shown(air, request, "c.png")
    assert (image.shows, image.image) == ("image", "image/png")
    assert shown(air, request, "d.bin").shows == "nothing"
    assert shown(air, request, "e.svg").lines == ("<svg/>",)
    assert shown(air, request, "f.csv").shows == "nothing"


def test_a_large_table_is_cut_and_says_so(air: Airlock) -> None:
    wide = ",".join(f"c{n}" for n in range(200)) + "\n" + "\n".join(",".join("9" * 200) for _ in range(2000))
    seen = shown(air, air.awaiting({"a.csv": wide.encode()}), "a.csv")
    assert (len(seen.rows), len(seen.rows[0]), seen.cut) == (ROWS, COLUMNS, True)


def test_exact_bytes_are_for_the_author_and_checkers_through_the_right_parents(air: Airlock) -> None:
    request = air.awaiting()
    with air.db.read() as session:
        for who in (ANA, CHLOE):
            assert b"".join(read_file(session, air.store, HEART, request.id, "a.csv", who, air.now)) == CLEAN
        for who, project, path in (
            (BEN, HEART, "a.csv"), (ERIN, HEART, "a.csv"), ("olu", HEART, "a.csv"), (CHLOE, "lungs-study", "a.csv"),
            (CHLOE, HEART, "b.csv"), (CHLOE, HEART, "../a.csv"),
        ):  # fmt: skip
            with pytest.raises(NotFound):
                read_file(session, air.store, project, request.id, path, who, air.now)


def test_comments_reach_the_right_people_at_the_right_time(air: Airlock) -> None:
    request = air.awaiting()
    for who, words, public in ((CHLOE, "private", False), (CHLOE, "public", True), (ANA, "from me", False)):
        with air.db.write() as session:
            comment(session, HEART, request.id, who, words, air.now, public=public, path="a.csv")
    blind = {who: [c.text for c in air.view(request, who).comments] for who in (ANA, BEN, CHLOE, DAN)}
    assert blind == {
        ANA: ["from me"], BEN: ["from me"], CHLOE: ["private", "public", "from me"], DAN: ["from me"],
    }  # fmt: skip
    air.review(request, CHLOE)
    air.review(request, DAN, Vote.request_changes, "Round")
    revealed = {who: [c.text for c in air.view(request, who).comments] for who in (ANA, DAN)}
    assert revealed == {ANA: ["from me"], DAN: ["private", "public", "from me"]}
    air.act(reviews.return_, request, DAN, "Round the counts")
    ended = {who: [c.text for c in air.view(request, who).comments] for who in (ANA, DAN)}
    assert ended == {
        ANA: ["public", "from me", "Round the counts"], DAN: ["private", "public", "from me", "Round the counts"],
    }  # fmt: skip


def test_a_comment_needs_words_a_known_file_and_a_live_request(air: Airlock) -> None:
    request = air.awaiting()
    with pytest.raises(Refused), air.db.write() as session:
        comment(session, HEART, request.id, ANA, "  ", air.now)
    with pytest.raises(NotFound), air.db.write() as session:
        comment(session, HEART, request.id, ANA, "x", air.now, path="b.csv")
    with pytest.raises(Refused), air.db.write() as session:
        comment(session, HEART, request.id, BEN, "x", air.now)
    air.act(requests.withdraw, request, ANA)
    with pytest.raises(Refused), air.db.write() as session:
        comment(session, HEART, request.id, ANA, "x", air.now)


def test_a_claim_is_shown_to_checkers_and_ends_by_itself(air: Airlock) -> None:
    request = air.awaiting()
    air.act(reviews.claim, request, CHLOE)
    assert air.view(request, DAN).claimed_by == CHLOE
    assert air.view(request, ANA).claimed_by == ""
    assert air.at(hours=5).view(request, DAN).claimed_by == ""
    air.vote(request, "a.csv", DAN)  # a claim is no lock
