"""What researchers write and submit never runs in the portal's origin (A6)."""

from __future__ import annotations

import pytest

from tests.web.world import FORM, Requests, World, field_of


@pytest.fixture
def requests(world: World) -> Requests:
    return Requests(world)


HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>{{7*7}}'


def test_A6_what_researchers_write_is_text_on_every_page(requests: Requests) -> None:
    files = {
        "table.csv": f"{HOSTILE.replace(',', '').replace(chr(34), '')},n\n<b>cell</b>,120\n<svg onload=alert(3)>,130\n",
        "words.txt": f"{HOSTILE}\n",
        "it's & co.txt": "x\n",
    }
    changed = {"title": HOSTILE, "purpose": HOSTILE, "d.population": HOSTILE, "d.controls": HOSTILE}
    address = requests.checked(files, **changed)
    requests.post("analyst", f"{address}/comment", text=HOSTILE)
    seen = 0
    for who, place in (
        ("analyst", address),
        ("analyst", "/"),
        ("analyst", "/requests"),
        ("checker", requests.review_of(address)),
        ("checker", "/queue"),
        ("controller", "/projects/winter-pressures"),
    ):
        html = requests.world.client(who).get(place).text
        seen += html.count("&lt;script&gt;alert(1)")
        for raw in ("<script>alert", "<img src=x", "<b>cell", "<svg onload", "it's & co", "49}}"):
            assert raw not in html, (place, raw)
    assert seen > 8


def test_A6_hostile_file_name_is_refused_as_text(requests: Requests) -> None:
    address = requests.draft({"<i>name.txt": "x"})
    version = field_of(requests.world.client("analyst").get(address).text, "version")
    answer = requests.post("analyst", f"{address}/form", **{**FORM, "version": version, "act": "submit"})
    assert answer.status_code == 403
    assert "&lt;i&gt;name.txt" in answer.text
    assert "<i>name" not in answer.text


def test_A6_hostile_image_name_and_kind_is_not_served(requests: Requests) -> None:
    address = requests.checked({"page.html": "<script>alert(1)</script>", "ok.csv": "a,n\nx,20\n"})
    files = requests.world.client("checker").get(f"/api{address}").json()["files"]
    for file in files:
        answer = requests.world.client("checker").get(f"{address}/images/{file['id']}")
        assert answer.status_code == 404, file["path"]


def test_image_is_served_under_its_checked_type_with_a_closed_policy(requests: Requests) -> None:
    png = b"\x89PNG\r\n\x1a\n" + bytes(40)
    requests.world.courier.files = {}
    address = requests.draft({"plot.csv": "a,n\nx,20\n"})
    requests.world.courier.files = {"plot.png": png}
    version = field_of(requests.world.client("analyst").get(address).text, "version")
    assert (
        requests.post("analyst", f"{address}/form", **{**FORM, "version": version, "act": "submit"}).status_code == 303
    )
    requests.advance()
    (file,) = requests.world.client("checker").get(f"/api{address}").json()["files"]
    place = f"{address}/images/{file['id']}"
    answer = requests.world.client("checker").get(place)
    assert (answer.status_code, answer.headers["content-type"], answer.content) == (200, "image/png", png)
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert requests.world.client("controller").get(place).status_code == 404
    assert requests.world.client("other analyst").get(place).status_code == 404


def test_A6_a_checker_gets_all_of_a_file_as_an_attachment_that_nothing_opens(requests: Requests) -> None:
    content = "a,n\n" + "<script>alert(1)</script>,200\n" * 3000
    address = requests.checked({"page.csv": content})
    (file,) = requests.world.client("checker").get(f"/api{address}").json()["files"]
    place = f"{address}/files/{file['id']}"
    page = requests.world.client("checker").get(address.replace("/projects/", "/queue/").replace("/requests/", "/"))
    assert f'href="{place}"' in page.text
    answer = requests.world.client("checker").get(place)
    assert (answer.status_code, answer.text) == (200, content)
    assert answer.headers["content-disposition"].startswith("attachment;")
    assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    for other in ("analyst", "controller"):
        assert requests.world.client(other).get(place).status_code == 404
    assert requests.world.client("checker").get(f"{address}/files/{file['id'] + 99}").status_code == 404
