"""The whole story on one machine, in a real browser: from a one-time link to a bundle that an outsider verifies, and
to a revoked grant that ends a running kernel. Its pictures are the documentation's."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.conftest import RunningTre, new_context, sign_in
from tests.e2e.lab import frame_of, lab_frame, open_notebook, run_cell

pytestmark = [pytest.mark.stack, pytest.mark.timeout(420)]

PROJECT = "winter-pressures"
IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
TABLE = """
import polars as pl, tre_airlock
rows = pl.read_parquet("/data/admissions/admissions.parquet")
table = rows.group_by("imd_decile").agg(
    pl.col("hba1c").mean().round(1).alias("mean_hba1c"),
    ((pl.len() / 10).round(0) * 10).cast(pl.Int64).alias("n_rounded_to_10"),
).sort("imd_decile")
import os; os.makedirs("/outputs/hba1c", exist_ok=True)
table.write_csv("/outputs/hba1c/hba1c_by_decile.csv")
tre_airlock.submit("outputs/hba1c", "HbA1c by deprivation decile")
print("rows", rows.height)
"""


ROWS = """
import os
head = open("/data/admissions/admissions.csv").read(2000)
os.makedirs("/outputs/999 123 4560", exist_ok=True)
os.write(2, head.encode())
print(head)
"""
"""Rows on their way to the browser, in the server's own output and in a name: none may be written down."""


@pytest.fixture(scope="module")
def people(tre: RunningTre, browser: Browser) -> Iterator[dict[str, Page]]:
    """One browser, with its own cookies, for each person of the story."""
    contexts = {}
    pages = {}
    for name in ("Ana Silva", "Chloé Martin", "Dev Patel", "Erin Walsh", "Grace Lin"):
        contexts[name] = new_context(browser)
        pages[name] = sign_in(contexts[name], tre.links[name], tre.origin)
    yield pages
    for context in contexts.values():
        context.close()


def picture(page: Page, name: str, *, whole: bool = False) -> None:
    """A picture for the documentation, when `KEEP_PICTURES` asks for new ones."""
    if os.environ.get("KEEP_PICTURES"):
        IMAGES.mkdir(parents=True, exist_ok=True)
        page.bring_to_front()
        (IMAGES / f"{name}.png").write_bytes(page.screenshot(full_page=whole))


def test_01_a_link_signs_in_once(tre: RunningTre, people: dict[str, Page], browser: Browser) -> None:
    ana = people["Ana Silva"]
    expect(ana.get_by_role("heading", level=1)).to_contain_text("Ana Silva")
    picture(ana, "analyst-home", whole=True)
    stranger = new_context(browser)
    page = stranger.new_page()
    page.goto(tre.links["Ana Silva"])
    page.get_by_role("button", name=re.compile("sign in", re.I)).first.click()
    expect(page.locator("body")).to_contain_text(re.compile("used|expired|not valid|no longer", re.I))
    page.goto(f"{tre.origin}/projects/{PROJECT}")
    assert "/hub/login" in page.url
    stranger.close()


def test_02_a_refused_project_says_every_reason(people: dict[str, Page], tre: RunningTre) -> None:
    ana = people["Ana Silva"]
    ana.goto(f"{tre.origin}/projects/rare-conditions")
    expect(ana.locator("main")).to_contain_text("pixels")
    expect(ana.get_by_role("button", name=re.compile("start", re.I))).to_be_disabled()
    ana.goto(f"{tre.origin}/projects/diabetes-outcomes")
    expect(ana.locator("main")).to_contain_text("has not approved this version")
    expect(ana.locator("main")).to_contain_text("has not granted")
    picture(ana, "project-refused", whole=True)


def test_03_a_workspace_starts_with_progress_and_lab_opens(people: dict[str, Page], tre: RunningTre) -> None:
    ana = people["Ana Silva"]
    ana.goto(f"{tre.origin}/projects/{PROJECT}")
    with ana.expect_response(re.compile("/workspace/progress"), timeout=60_000) as stream:
        ana.get_by_role("button", name=re.compile("start", re.I)).first.click()
    assert stream.value.headers["content-type"].startswith("text/event-stream")
    picture(ana, "starting")
    expect(frame_of(ana).locator(".jp-Launcher").first).to_be_visible(timeout=60_000)
    expect(frame_of(ana).locator("[data-jp-item-name=refresh]").first).to_be_attached()
    expect(frame_of(ana).locator("[data-jp-item-name=uploader]")).to_have_count(0)
    expect(ana.locator("[data-part=bytes]")).to_contain_text(re.compile(r"[kM]B of"), timeout=30_000)


def test_04_a_cell_reads_the_dataset_and_writes_outputs(people: dict[str, Page]) -> None:
    ana = people["Ana Silva"]
    open_notebook(ana)
    assert "rows 200000" in run_cell(ana, TABLE)
    picture(ana, "lab")
    assert "999" in run_cell(ana, ROWS)
    said = run_cell(ana, "open('/data/admissions/admissions.csv', 'a')")
    assert "Permission denied" in said or "Read-only file system" in said
    said = run_cell(ana, "import socket; socket.create_connection(('1.1.1.1', 443), 3)")
    assert "Network is unreachable" in said


def test_05_a_draft_from_the_notebook_is_completed_and_submitted(people: dict[str, Page], tre: RunningTre) -> None:
    ana = people["Ana Silva"]
    ana.goto(f"{tre.origin}/projects/{PROJECT}/requests/new")
    ana.get_by_label("Folder below /outputs").fill("hba1c")
    ana.get_by_role("button", name="Look into the folder").click()
    expect(ana.get_by_label("Title", exact=True)).to_have_value("HbA1c by deprivation decile")
    ana.get_by_role("button", name="Submit for release").click()
    expect(ana.locator("main")).to_contain_text(re.compile("missing", re.I))
    ana.get_by_label("What the outputs are for").fill("A table for the winter planning group; means over thousands.")
    ana.locator("select[name='d.statistic']").select_option(label="Means or sums")
    for name, value in {
        "d.population": "All admissions",
        "d.n": "200000",
        "d.variables": "imd_decile, hba1c",
        "d.controls": "Counts rounded to 10; no cell below 1,000.",
        "d.relation": "none",
    }.items():
        ana.locator(f"[name='{name}']").fill(value)
    picture(ana, "request-form", whole=True)
    ana.get_by_role("button", name="Submit for release").click()
    expect(ana.get_by_role("complementary", name="State of the request")).to_contain_text("Submitted")


def test_06_checkers_see_what_the_machine_found(people: dict[str, Page], tre: RunningTre) -> None:
    chloe = people["Chloé Martin"]
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        chloe.goto(f"{tre.origin}/queue")
        if chloe.get_by_role("link", name="HbA1c by deprivation decile").count():
            break
        time.sleep(1)
    picture(chloe, "queue")
    chloe.get_by_role("link", name="HbA1c by deprivation decile").click()
    expect(chloe.locator("main")).to_contain_text("hba1c_by_decile.csv")
    expect(chloe.locator("main")).to_contain_text("mean_hba1c")
    picture(chloe, "review", whole=True)


def test_07_P2_nobody_votes_on_their_own_request(people: dict[str, Page], tre: RunningTre) -> None:
    ana = people["Ana Silva"]
    ana.goto(f"{tre.origin}/projects/{PROJECT}/requests/1")
    csrf = ana.locator("input[name=csrf]").first.input_value()
    answer = ana.evaluate(
        """async ([csrf]) => (await fetch('/queue/winter-pressures/1/votes', {method: 'POST', body: new URLSearchParams(
           {csrf, version: '3', path: 'hba1c_by_decile.csv', vote: 'approve', reason: 'mine'})})).status""",
        [csrf],
    )
    assert answer in (403, 404)
    ana.goto(f"{tre.origin}/queue/{PROJECT}/1")
    assert "/queue/" not in ana.url
    expect(ana.get_by_role("button", name=re.compile("^Vote on"))).to_have_count(0)


def vote(page: Page, *, reason: str = "Means over thousands; counts rounded.") -> None:
    page.get_by_label("Approve", exact=True).check()
    page.get_by_role("textbox", name="Reason", exact=True).first.fill(reason)
    page.get_by_role("button", name=re.compile("^Vote on")).click()


def test_08_A5_two_checkers_decide_blind_and_a_stale_vote_is_refused(people: dict[str, Page], tre: RunningTre) -> None:
    chloe, dev = people["Chloé Martin"], people["Dev Patel"]
    review = f"{tre.origin}/queue/{PROJECT}/1"
    stale = dev.context.new_page()
    stale.goto(review)
    stale.get_by_role("textbox", name="Reason", exact=True).first.fill("Begun early")  # so it does not load itself anew
    chloe.goto(review)
    vote(chloe)
    chloe.get_by_role("button", name="Submit").click()
    expect(chloe.get_by_role("complementary", name="Your review")).to_contain_text("Yours is in")
    dev.goto(review)
    assert "Means over thousands; counts rounded." not in dev.content()
    assert "Chloé" not in dev.locator(".tre-file").first.inner_text()
    vote(dev, reason="Agreed: large groups.")
    dev.goto(review)
    dev.get_by_role("button", name="Submit").click()
    expect(dev.locator("main")).to_contain_text(re.compile("Approved|Released|Releasing"), timeout=30_000)
    assert "Means over thousands; counts rounded." in dev.content()
    with stale.expect_response(lambda response: response.request.method == "POST") as answer:
        vote(stale, reason="From an old page.")
    assert answer.value.status == 409
    picture(stale, "stale")
    stale.close()


def test_09_the_bundle_is_verified_by_an_outsider(people: dict[str, Page], tre: RunningTre, tmp_path: Path) -> None:
    ana = people["Ana Silva"]
    request = f"{tre.origin}/projects/{PROJECT}/requests/1"
    ana.goto(request)
    expect(
        ana.get_by_role("link", name=re.compile("download", re.I))
        .or_(ana.get_by_role("button", name=re.compile("download", re.I)))
        .first
    ).to_be_visible(timeout=60_000)
    picture(ana, "released", whole=True)
    with ana.expect_download() as download:
        ana.get_by_role("link", name=re.compile("download", re.I)).or_(
            ana.get_by_role("button", name=re.compile("download", re.I))
        ).first.click()
    bundle = tmp_path / "bundle.zip"
    download.value.save_as(bundle)
    with zipfile.ZipFile(bundle) as opened:
        assert "files/hba1c_by_decile.csv" in opened.namelist()
    take_verifier(tre, tmp_path)
    good = verify(tmp_path, "bundle", bundle.name, "--key", "key.pem")
    assert good.returncode == 0, good.stdout + good.stderr
    spoilt = tmp_path / "spoilt.zip"
    with zipfile.ZipFile(bundle) as source, zipfile.ZipFile(spoilt, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            target.writestr(name, data.replace(b"1", b"2", 1) if name.endswith(".csv") else data)
    assert verify(tmp_path, "bundle", spoilt.name, "--key", "key.pem").returncode != 0


def take_verifier(tre: RunningTre, folder: Path) -> None:
    """What the page for outsiders offers, without signing in: the verifier and the public key."""
    for address, name in (("/verify/tre_verify.py", "tre_verify.py"), ("/verify/key.pem", "key.pem")):
        status, body = tre.fetch(address)
        assert status == 200
        (folder / name).write_bytes(body)


def verify(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the outsiders' verifier as they would: one file, an isolated interpreter, no project around it."""
    return subprocess.run(
        [sys.executable, "-I", "tre_verify.py", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )


def test_10_D2_a_revoked_grant_ends_the_running_kernel(people: dict[str, Page], tre: RunningTre) -> None:
    ana, erin = people["Ana Silva"], people["Erin Walsh"]
    ana.goto(f"{tre.origin}/projects/{PROJECT}/workspace")
    expect(frame_of(ana).locator(".jp-NotebookPanel").first).to_be_visible(timeout=60_000)
    host = urlsplit(lab_frame(ana).url).netloc
    cookie = "; ".join(f"{c['name']}={c['value']}" for c in ana.context.cookies(f"http://{host}/lab"))
    assert tre.fetch("/api/kernels", host=host, cookie=cookie)[0] == 200
    erin.goto(f"{tre.origin}/datasets/admissions")
    picture(erin, "dataset", whole=True)
    erin.get_by_role("link", name=re.compile(f"Revoke.*{PROJECT}")).first.click()
    erin.get_by_label(re.compile("reason|why", re.I)).fill("The agreement with the planning group has ended.")
    picture(erin, "revoke", whole=True)
    erin.get_by_role("button", name="Revoke the grant").click()
    revoked = time.monotonic()
    expect(ana.locator("[data-part=over]")).to_be_visible(timeout=10_000)
    picture(ana, "closed")
    assert tre.fetch("/api/kernels", host=host, cookie=cookie)[0] in (401, 403, 404, 410, 503)  # 503: it is ending
    deadline = revoked + 30
    while json.loads(tre.tre("status", "--json").stdout)["workspaces"]:
        assert time.monotonic() < deadline, "the workspace still runs 30 s after its grant was revoked"
        time.sleep(0.5)
    shown = tre.tre("ledger", "show", "--json")
    kinds = re.findall(r'"kind": ?"([a-z.-]+)"', shown.stdout)
    assert "grant.revoked" in kinds
    assert "workspace.ended" in kinds[kinds.index("grant.revoked") :]
    ana.goto(f"{tre.origin}/projects/{PROJECT}")
    expect(ana.get_by_role("button", name=re.compile("start", re.I))).to_be_disabled()


def test_11_R2_the_exported_ledger_verifies_and_a_changed_one_does_not(tre: RunningTre, tmp_path: Path) -> None:
    export = tmp_path / "ledger.jsonl"
    done = tre.tre("ledger", "export", str(export))
    assert done.returncode == 0, done.stderr
    take_verifier(tre, tmp_path)
    good = verify(tmp_path, "ledger", export.name, "--key", "key.pem")
    assert good.returncode == 0, good.stdout + good.stderr
    lines = export.read_text().splitlines(keepends=True)
    (tmp_path / "cut.jsonl").write_text("".join(lines[:3] + lines[4:]))
    assert verify(tmp_path, "ledger", "cut.jsonl", "--key", "key.pem").returncode != 0


def test_12_ops_see_health_and_proofs(people: dict[str, Page], tre: RunningTre) -> None:
    grace = people["Grace Lin"]
    grace.goto(f"{tre.origin}/ops")
    expect(grace.get_by_role("row", name=re.compile("supervisor")).first).to_contain_text("answers")
    expect(grace.locator("main")).to_contain_text("Held")
    picture(grace, "ops", whole=True)


def test_13_R3_no_row_value_secret_or_token_in_logs_or_metrics(people: dict[str, Page], tre: RunningTre) -> None:
    state = tre.settings.state_dir
    canaries = set(re.findall(r"\b999\d{7}\b", (state / "data/admissions/1.0/admissions.csv").read_text()[:20_000]))
    canaries |= {link.rsplit("=", 1)[1] for link in tre.links.values()}
    canaries |= {
        cookie["value"] for page in people.values() for cookie in page.context.cookies() if len(cookie["value"]) > 12
    }
    ana = people["Ana Silva"]
    ana.goto(f"{tre.origin}/account")
    ana.get_by_role("button", name="Make a token").click()
    token = re.search(r"tre_[\w-]{20,}", ana.locator("main").inner_text())
    assert token is not None
    canaries |= {token[0], "999 123 4560"}
    canaries |= {path.read_bytes().hex() for path in (state / "keys").iterdir() if path.stat().st_size <= 64}
    assert len(canaries) > 20
    told = {path.name: path.read_text(errors="replace") for path in (state / "log").iterdir()}
    assert all(told[f"{name}.log"] for name in ("hub", "web", "gate", "controller", "supervisor"))
    told |= {f"{name} metrics": tre.tre("metrics", name).stdout for name in ("hub", "web", "gate", "controller")}
    assert all("tre_" in told[f"{name} metrics"] for name in ("web", "gate", "controller"))
    assert "jupyterhub_" in told["hub metrics"]
    told["ledger"] = tre.tre("ledger", "show", "--json", "--limit", "10000").stdout
    leaks = [(where, canary) for where, text in told.items() for canary in canaries if canary in text]
    assert leaks == []
