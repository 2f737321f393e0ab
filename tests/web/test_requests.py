"""From a folder of /outputs to a verified bundle, through the pages' own forms."""

from __future__ import annotations

import io
import re
import zipfile
from html import unescape
from pathlib import Path

import pytest

from tests.web.world import FILES, FORM, Requests, World, build, field_of
from tre_orchestrator.errors import NotFound
from tre_orchestrator.ledger import tre_verify
from tre_orchestrator.ledger.database import Database


@pytest.fixture
def requests(world: World) -> Requests:
    return Requests(world)


def test_folder_becomes_a_draft_with_what_the_notebook_prepared(requests: Requests) -> None:
    prepared = '{"title": "From the notebook", "context": "Made by notebook 3", "files": {"a.csv": "Counts by month"}}'
    address = requests.draft({"a.csv": "x,n\na,12\n", "request.yaml": prepared})
    html = unescape(requests.world.client("analyst").get(address).text)
    assert "From the notebook" in html
    assert "Counts by month" in html
    assert "a.csv" in html
    assert 'value="request.yaml"' not in html


def test_a_request_yaml_that_was_not_used_is_said_with_what_is_wrong_in_it(requests: Requests) -> None:
    address = requests.draft({"a.csv": "x,n\na,12\n", "request.yaml": '{"titel": "x"}'})
    html = unescape(requests.world.client("analyst").get(address).text)
    assert "The request.yaml in this folder was not used: titel" in html


def test_empty_folder_is_refused_with_what_to_do(requests: Requests) -> None:
    requests.world.run_workspace("ana-silva", "winter-pressures")
    answer = requests.post("analyst", "/projects/winter-pressures/requests", folder="nothing")
    assert answer.status_code == 403
    assert "There are no files in &#39;nothing&#39;" in answer.text
    assert 'value="nothing"' in answer.text


def test_without_a_workspace_there_is_nothing_to_ask_for(requests: Requests) -> None:
    html = requests.world.client("analyst").get("/projects/winter-pressures/requests/new").text
    assert "You have had no workspace here" in html
    answer = requests.post("analyst", "/projects/winter-pressures/requests", folder="tables")
    assert answer.status_code == 403


def test_incomplete_form_is_not_submitted_names_what_is_missing_and_keeps_what_was_typed(requests: Requests) -> None:
    address = requests.draft()
    version = field_of(requests.world.client("analyst").get(address).text, "version")
    fields = {"title": "Half a form", "folder": "tables", "d.population": "Adults", "version": version, "act": "submit"}
    answer = requests.post("analyst", f"{address}/form", **fields)
    assert answer.status_code == 403
    assert "Say what the outputs are for" in answer.text
    assert 'value="Half a form"' in answer.text
    assert 'value="Adults"' in answer.text


def test_number_that_is_none_is_refused_beside_the_typed_text(requests: Requests) -> None:
    address = requests.draft()
    version = field_of(requests.world.client("analyst").get(address).text, "version")
    answer = requests.post("analyst", f"{address}/form", **{**FORM, "d.n": "many", "version": version, "act": "save"})
    assert answer.status_code == 422
    assert "write a whole number" in answer.text
    assert 'value="many"' in answer.text


def test_file_described_on_its_own_and_supporting_file_keep_their_words(requests: Requests) -> None:
    address = requests.draft()
    client = requests.world.client("analyst")
    fields = {**FORM, "version": field_of(client.get(address).text, "version"), "act": "save"}
    paths = sorted(FILES)
    for index, path in enumerate(paths):
        fields[f"f{index}.path"] = path
    fields |= {"f0.own": "yes", "f0.population": "Only women", "f0.statistic": "quantiles", "f2.supporting": "yes"}
    assert requests.post("analyst", f"{address}/form", **fields).status_code == 303
    form = client.get(f"/api{address}").json()["form"]
    assert form["files"][paths[0]]["population"] == "Only women"
    assert form["files"][paths[2]]["supporting"] is True
    assert paths[1] not in form["files"]
    assert form["defaults"]["n"] == 18412
    html = client.get(address).text
    assert 'value="Only women"' in html


def test_stale_form_gets_409_and_the_fresh_state(requests: Requests) -> None:
    address = requests.draft()
    version = field_of(requests.world.client("analyst").get(address).text, "version")
    assert requests.post("analyst", f"{address}/form", **FORM, version=version, act="save").status_code == 303
    stale = {**FORM, "title": "Older words", "version": version, "act": "save"}
    answer = requests.post("analyst", f"{address}/form", **stale)
    assert answer.status_code == 409
    assert "changed since you opened it" in answer.text
    assert "Older words" not in answer.text
    assert FORM["title"] in answer.text


def test_an_open_page_of_a_draft_does_not_look_into_the_folder_again(requests: Requests) -> None:
    address = requests.draft()
    client, courier = requests.world.client("analyst"), requests.world.courier
    tag = client.get(address).headers["X-Tre-Watch"]
    before = courier.calls
    asked = client.get(address, headers={"X-Tre-Watch": "1"})
    assert (asked.status_code, asked.text, asked.headers["X-Tre-Watch"]) == (204, "", tag)
    assert courier.calls == before


def test_a_draft_shows_what_lies_in_the_folder_now_also_after_a_check_stopped_it(requests: Requests) -> None:
    address = requests.draft({"a.csv": "month,n\n1,12\n"})
    requests.world.courier.files = {"renamed.csv": b"month,n\n1,12\n"}
    html = requests.world.client("analyst").get(address).text
    assert 'value="renamed.csv"' in html
    assert 'value="a.csv"' not in html


def test_a_folder_that_is_gone_is_said_beside_the_typed_text(
    requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = requests.draft()
    version = field_of(requests.world.client("analyst").get(address).text, "version")

    def gone(*_: object) -> None:
        raise NotFound("no-folder", "There is no folder 'tabels' in /outputs.")

    monkeypatch.setattr(requests.world.courier, "collect", gone)
    answer = requests.post("analyst", f"{address}/form", **FORM, version=version, act="submit")
    assert answer.status_code == 404
    assert "There is no folder" in answer.text
    assert FORM["title"] in answer.text


def test_submitted_files_are_shown_with_findings_in_their_place(requests: Requests) -> None:
    address = requests.checked()
    html = requests.world.client("checker").get(requests.review_of(address)).text
    assert re.search(r'<td class="is-found" title="[^"]+">3<span', html)
    assert "Row 3, column 2." in html
    assert "Admissions rise in winter." in html


def test_A5_votes_stay_unseen_until_the_reviews_are_in(requests: Requests) -> None:
    address = requests.checked()
    place = requests.review_of(address)
    requests.review(address, "checker", "request-changes")
    other = requests.world.client("second checker")
    for html in (other.get(place).text, requests.world.client("analyst").get(address).text):
        assert "Checked against the policy" not in html
        assert "Chloé Martin" not in html
    assert "1 of 2 reviews are in" in other.get(place).text
    assert "Your vote:" in requests.world.client("checker").get(place).text
    json = other.get(f"/api{address}").json()
    assert [file["votes"] for file in json["files"]] == [[], [], []]
    requests.review(address, "second checker")
    html = other.get(place).text
    assert "Chloé Martin" in html
    assert "Checked against the policy" in html
    assert "Chloé Martin" not in requests.world.client("analyst").get(address).text


def test_P2_author_and_member_cannot_vote(requests: Requests) -> None:
    address = requests.checked()
    place = requests.review_of(address)
    for who in ("analyst", "other analyst", "controller", "ops"):
        answer = requests.post(who, f"{place}/votes", path="notes.txt", vote="approve", version="3", reason="x")
        assert answer.status_code in (403, 404), who
    assert requests.world.client("checker").get(f"/api{address}").json()["reviews_in"] == 0


def test_second_vote_is_refused(requests: Requests) -> None:
    address = requests.checked()
    place = requests.review_of(address)
    html = requests.world.client("checker").get(place).text
    fields = {"path": "notes.txt", "vote": "approve", "reason": "read", "version": field_of(html, "version")}
    assert requests.post("checker", f"{place}/votes", **fields).status_code == 303
    answer = requests.post("checker", f"{place}/votes", **fields)
    assert answer.status_code == 403
    assert "You voted on this file" in answer.text


def test_vote_against_the_checks_needs_a_reason_and_keeps_the_choice(requests: Requests) -> None:
    address = requests.checked()
    place = requests.review_of(address)
    version = field_of(requests.world.client("checker").get(place).text, "version")
    answer = requests.post("checker", f"{place}/votes", path="notes.txt", vote="approve", version=version)
    assert answer.status_code == 403
    assert "goes against what the checks found" in answer.text
    assert re.search(r'value="approve" checked', answer.text)
    no_choice = requests.post("checker", f"{place}/votes", path="notes.txt", version=version)
    assert no_choice.status_code == 422


def test_stale_vote_gets_409_and_the_fresh_state(requests: Requests) -> None:
    address = requests.checked()
    place = requests.review_of(address)
    answer = requests.post("checker", f"{place}/votes", path="notes.txt", vote="approve", reason="x", version="1")
    assert answer.status_code == 409
    assert "changed since you opened it" in answer.text
    assert "Waiting for review" in answer.text


def test_review_cannot_be_handed_in_before_every_file_has_a_vote(requests: Requests) -> None:
    address = requests.checked()
    place = requests.review_of(address)
    html = requests.world.client("checker").get(place).text
    assert "Vote on 3 files more, then submit your review." in html
    answer = requests.post("checker", f"{place}/review", version=field_of(html, "version"))
    assert answer.status_code == 403
    assert "Vote on &#39;notes.txt&#39; first." in answer.text


def test_returned_request_shows_its_author_the_comments_and_can_be_submitted_again(requests: Requests) -> None:
    address = requests.checked()
    place = requests.review_of(address)
    requests.review(address, "checker", "request-changes")
    requests.review(address, "second checker")
    version = field_of(requests.world.client("checker").get(place).text, "version")
    assert requests.post("checker", f"{place}/return", version=version).status_code == 403
    answer = requests.post("checker", f"{place}/return", version=version, reason="Round the counts to fives.")
    assert answer.status_code == 303
    html = requests.world.client("analyst").get(address).text
    assert "Round the counts to fives." in html
    assert "Submit for release" in html
    assert "Chloé Martin" not in html


def test_rejected_request_is_over_and_says_why(requests: Requests) -> None:
    address = requests.checked()
    place = requests.review_of(address)
    requests.review(address, "checker", "request-changes")
    requests.review(address, "second checker", "request-changes")
    version = field_of(requests.world.client("checker").get(place).text, "version")
    requests.post("checker", f"{place}/reject", version=version, reason="Rows of people.")
    html = requests.world.client("analyst").get(address).text
    assert "Rejected" in html
    assert "Rows of people." in html
    assert "Submit for release" not in html


def test_withdrawn_request_is_over(requests: Requests) -> None:
    address = requests.checked()
    version = field_of(requests.world.client("analyst").get(address).text, "version")
    assert requests.post("analyst", f"{address}/withdraw", version=version).status_code == 303
    assert "Withdrawn" in requests.world.client("analyst").get(address).text
    assert "Nothing waits" in requests.world.client("checker").get("/queue").text


def test_A1_released_bundle_is_downloaded_by_its_author_only_and_verifies(requests: Requests, tmp_path: Path) -> None:
    address = requests.released()
    for who in ("other analyst", "checker", "controller", "other controller", "ops"):
        assert requests.post(who, f"{address}/bundle/download").status_code in (403, 404), who
    answer = requests.post("analyst", f"{address}/bundle/download")
    assert answer.status_code == 200
    assert answer.headers["content-disposition"] == 'attachment; filename="winter-pressures-request-1.zip"'
    names = zipfile.ZipFile(io.BytesIO(answer.content)).namelist()
    assert "files/admissions-by-month.csv" in names
    bundle, key = tmp_path / "b.zip", tmp_path / "key.pem"
    bundle.write_bytes(answer.content)
    key.write_text(requests.world.client(None).get("/verify/key.pem").text)
    assert tre_verify.main(["bundle", str(bundle), "--key", str(key)]) == 0
    assert "Bundle downloaded" in requests.world.client("analyst").get(address).text


def test_A7_revoked_release_cannot_be_downloaded_and_says_why(requests: Requests) -> None:
    address = requests.released()
    place = requests.review_of(address)
    version = field_of(requests.world.client("checker").get(place).text, "version")
    assert requests.post("checker", f"{place}/revoke", version=version, reason="A count was wrong").status_code == 303
    answer = requests.post("analyst", f"{address}/bundle/download")
    assert answer.status_code == 403
    assert "A count was wrong" in answer.text
    assert "Download the bundle</button>" not in requests.world.client("analyst").get(address).text


def test_queue_counts_what_waits_and_filters_by_project(requests: Requests) -> None:
    requests.checked()
    client = requests.world.client("checker")
    assert "1 request waits for checkers" in client.get("/queue").text
    assert re.search(r'tre-nav__count">1<', client.get("/").text)
    assert "0 requests wait" in client.get("/queue?project=survey-methods").text
    claim = requests.review_of("/projects/winter-pressures/requests/1")
    version = field_of(client.get(claim).text, "version")
    assert requests.post("checker", f"{claim}/claim", version=version).status_code == 303
    assert "claimed by Chloé Martin" in requests.world.client("second checker").get("/queue").text


def test_whole_way_on_every_database(db: Database, state_dir: Path) -> None:
    requests = Requests(build(state_dir, db))
    answer = requests.post("analyst", f"{requests.released()}/bundle/download")
    assert answer.content.startswith(b"PK")
    assert "1 more reason" in requests.world.client("analyst").get("/").text
