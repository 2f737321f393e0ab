"""What the checks find, what they leave alone, and that nothing unread ever passes (A3)."""

from __future__ import annotations

import csv
import io
import json
import pickle
import random
import zipfile
from collections.abc import Iterable

import magic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tre_orchestrator.airlock.checks.counts import is_count_header
from tre_orchestrator.airlock.checks.figures import is_mask
from tre_orchestrator.airlock.checks.identifiers import passes_nhs_check
from tre_orchestrator.airlock.checks.kinds import PARSED, Kind
from tre_orchestrator.airlock.checks.model import PER_RULE, Report, Rules, Verdict, masked
from tre_orchestrator.airlock.checks.scan import CHECKS, VERSIONS, scan

RULES = Rules(small_count=10, max_rows=100, max_bytes=1 << 20)
NHS = ("9434765919", "9990000018", "9990000026", "9990000034", "9990000042")


def look(path: str, data: bytes | str, rules: Rules = RULES) -> Report:
    raw = data.encode() if isinstance(data, str) else data
    return scan(path, raw, lambda content: str(magic.from_buffer(content, mime=True)), rules)


def found(report: Report) -> set[str]:
    return {finding.rule for finding in report.findings}


def table(header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(header)
    writer.writerows(rows)
    return out.getvalue()


GOOD = {
    "counts.csv": "sex,n,percent\nfemale,120,46.2\nmale,140,53.8\n",
    "counts.tsv": "sex\tn\nfemale\t120\nmale\t140\n",
    "semicolon.csv": "sex;n\nfemale;120\nmale;140\n",
    "masked.csv": "sex,n\nfemale,120\nmale,<10\nother,*\nunknown,[REDACTED]\n",
    "zero.csv": "sex,n\nfemale,120\nmale,0\n",
    "percent.csv": 'sex,"n (%)"\nfemale,120 (46.2%)\nmale,"1,140 (53.8)"\n',
    "years.csv": "sex,2019,2020\nfemale,120,130\nmale,140,150\n",
    "regression.csv": "term,estimate,p\n" + "".join(f"x{n},{n / 7:.4f},{n / 31:.3f}\n" for n in range(90)),
    "index.csv": ",age_band,n\n0,18-29,120\n1,30-39,140\n",
    "records.json": '[{"sex": "female", "n": 120}, {"sex": "male", "n": 140}]',
    "columns.json": '{"sex": ["female", "male"], "n": [120, 140]}',
    "frame.json": '{"n": {"female": 120, "male": 140}}',
    "bom.csv": "\ufeffsex,n\nfemale,120\n",
    "crlf.csv": "sex,n\r\nfemale,120\r\nmale,140\r\n",
}


@pytest.mark.parametrize("path", GOOD)
def test_a_clean_result_passes(path: str) -> None:
    report = look(path, GOOD[path])
    assert report.findings == ()
    assert report.verdict is Verdict.passed


BLOCKED: dict[str, tuple[bytes | str, str]] = {
    "small.csv": ("sex,n\nfemale,120\nother,3\n", "small-count"),
    "small_percent.csv": ('sex,"deaths, n (%)"\nfemale,3 (2.1%)\n', "small-count"),
    "any_column.csv": ("sex,result\nfemale,3 (2.1%)\n", "small-count"),
    "float.csv": ("sex,count\nfemale,3.0\n", "small-count"),
    "header.csv": ("sex,number of patients\nfemale,9\n", "small-count"),
    "suffix.csv": ("sex,deaths_n\nfemale,1\n", "small-count"),
    "describe.csv": (",bmi\ncount,3.0\nmean,24.5\n", "small-count"),
    "small.json": ('[{"sex": "female", "n": 3}]', "small-count"),
    "loose.json": ('{"result": {"total": 4, "other": "x"}}', "small-count"),
    "small.txt": ("The sample was small (n = 4).", "small-count"),
    "nino.csv": ("id,n\nAB 12 34 56 C,100\n", "national-insurance"),
    "birth.csv": ("sex,date_of_birth\nfemale,1956-04-03\n", "date-of-birth"),
    "birth.txt": ("DOB: 03/04/1956", "date-of-birth"),
    "postcodes.csv": ("area,n\nSW1A 1AA,100\nM1 1AE,100\nB33 8TH,100\n", "postcode"),
    "nhs.csv": (table(["x", "n"], [(number, 100) for number in NHS]), "nhs-number"),
    "nhs_float.csv": (table(["x", "n"], [(f"{number}.0", 100) for number in NHS]), "nhs-number"),
    "nhs_spaced.csv": (table(["x"], [(f"{n[:3]} {n[3:6]} {n[6:]}",) for n in NHS]), "nhs-number"),
    "nhs.json": (json.dumps([{"x": number, "n": 100} for number in NHS]), "nhs-number"),
    "nhs.txt": ("\n".join(NHS), "nhs-number"),
}


@pytest.mark.parametrize("path", BLOCKED)
def test_a_breach_is_stopped(path: str) -> None:
    data, rule = BLOCKED[path]
    report = look(path, data)
    assert {finding.rule for finding in report.findings if finding.verdict is Verdict.block} == {rule}


REVIEWED: dict[str, tuple[bytes | str, str]] = {
    "maybe.csv": ("sex,result\nfemale,120\nmale,3\n", "maybe-small-count"),
    "mixed.csv": ("sex,result\nfemale,120\nmale,3\nother,see note\n", "maybe-small-count"),
    "maybe.json": ('{"thing": {"x": 3, "y": "a"}}', "maybe-small-count"),
    "one_nhs.csv": (table(["x", "n"], [("9434765919", 100), ("1234567890", 100)]), "nhs-number"),
    "mail.csv": ("contact,n\nann@example.org,100\n", "e-mail"),
    "phone.csv": ("contact,n\n020 7946 0018,100\n", "phone"),
    "named.csv": ("patient_id,n\nx,100\n", "identifier-column"),
    "text.txt": ("The model converged.", "free-text"),
    "notes.csv": ("sex,notes\nfemale,she came in on a Monday with her two sons and a dog\n", "free-text"),
    "formula.csv": ('sex,n\n"=HYPERLINK(""http://x"")",100\n', "formula"),
    "hidden.csv": ("sex,n\nfe\u200bmale,100\n", "hidden-characters"),
    "turned.csv": ("sex,n\n\u202eelamef,100\n", "hidden-characters"),
    "blob.csv": ("sex,n\n" + "QUJD" * 80 + ",100\n", "encoded-data"),
    "ragged.csv": ("sex,n\nfemale,100,7\n", "unparsed"),
    "quote.csv": ('sex,n\n"female,100\n', "unparsed"),
    "headless.csv": ("1,120\n2,140\n", "unparsed"),
    "empty.csv": ("", "empty"),
    "blank.csv": ("\n\n", "unparsed"),
    "broken.json": ('{"n": 120', "unparsed"),
    "twice.json": ('{"n": 120, "n": 3}', "unparsed"),
    "nan.json": ('{"n": NaN}', "unparsed"),
    "deep.json": ("[" * 5000 + "]" * 5000, "unparsed"),
    "nested.json": ('{"a":' * 100 + "1" + "}" * 100, "unparsed"),
    "latin.csv": ("sex,n\nm\xe4nnlich,120\n".encode("latin-1"), "unparsed"),
    "nul.csv": (b"sex,n\nfem\x00ale,120\n", "unparsed"),
    "utf16.csv": ("sex,n\nfemale,120\n".encode("utf-16"), "unparsed"),
    "page.csv": ("<!DOCTYPE html><html><body>sex,n</body></html>", "type-differs"),
    "plot.svg": ('<svg xmlns="http://www.w3.org/2000/svg"/>', "unparsed"),
    "report.html": ("<html><body>120</body></html>", "unparsed"),
    "paper.pdf": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<<>>\nendobj\n", "unparsed"),
    "code.py": ("print(1)\n", "unparsed"),
    "book.ipynb": ('{"cells": [], "nbformat": 4}', "unparsed"),
    "not.png": ("hello", "type-differs"),
}


@pytest.mark.parametrize("path", REVIEWED)
def test_A3_what_is_doubtful_or_unread_needs_a_human(path: str) -> None:
    data, rule = REVIEWED[path]
    report = look(path, data)
    assert rule in found(report), report
    assert report.verdict is Verdict.review


def _zip() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        packed.writestr("a.csv", "n\n1\n")
    return out.getvalue()


CARRIERS = {
    "a.csv": _zip(), "b.xlsx": _zip(), "c.txt": pickle.dumps([1, 2]), "d.json": pickle.dumps({"a": 1}, protocol=0),
    "e.csv": b"PAR1" + b"\0" * 20 + b"PAR1", "f.txt": b"SQLite format 3\x00" + b"\0" * 100, "g.pkl": pickle.dumps(1),
    "h.csv": b"\x1f\x8b\x08" + b"\0" * 10, "i.txt": b"\x7fELF" + b"\0" * 60, "j.png": b"\x93NUMPY" + b"\0" * 60,
    "k.csv": b"\x89HDF\r\n\x1a\n", "l.exe": b"plain text", "m": b"plain text", "n.parquet": b"x", "o.csv": b"X\n\0\0",
    "p.csv": b"ARROW1\0\0", "q.csv": b"7z\xbc\xaf\x27\x1c", "r.txt": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
}  # fmt: skip


@pytest.mark.parametrize("path", CARRIERS)
def test_a_kind_that_carries_data_or_is_not_on_the_list_is_stopped(path: str) -> None:
    report = look(path, CARRIERS[path])
    assert found(report) == {"not-allowed"}
    assert report.verdict is Verdict.block


def test_size_and_rows_over_the_policys() -> None:
    assert look("a.csv", "n\n" + "100\n" * 300_000).verdict is Verdict.block
    rows = [(f"g{n}", 100 + n) for n in range(101)]
    assert found(look("a.csv", table(["group", "n"], rows))) == {"many-rows"}
    assert found(look("a.csv", table(["group", "n"], rows[:100]))) == set()


def test_row_level_tables_are_seen_for_what_they_are() -> None:
    rng = random.Random(1)
    people = [(rng.choice("FM"), rng.choice(["E11", "I10", "J45"]), rng.randint(18, 90)) for _ in range(60)]
    assert "repeated-combinations" in found(look("a.csv", table(["sex", "diagnosis", "age"], people)))
    numbered = [(n, f"x{n}", rng.random()) for n in range(1, 61)]
    assert "numbered-rows" in found(look("a.csv", table(["patient_id", "label", "bmi"], numbered)))
    assert "unlabelled-rows" in found(look("a.csv", table(["bmi"], [(rng.random() * 40,) for _ in range(30)])))
    assert "unlabelled-rows" in found(look("a.csv", table(["age", "weight"], [(20 + n, 300 - n) for n in range(30)])))
    dated = [(f"2024-01-{n:02}", 100 + n) for n in range(1, 31)]
    assert "dates-per-row" in found(look("a.csv", table(["day", "n"], dated)))


def test_a_crosstab_is_not_row_level() -> None:
    rows = [(sex, band, site, rng) for sex in "FM" for band in range(5) for site in "ABC" for rng in [120 + band]]
    report = look("a.csv", table(["sex", "band", "site", "n"], [(s, f"{b}0-{b}9", t, n) for s, b, t, n in rows]))
    assert report.findings == ()


@given(st.integers(0, 10**9 - 1))
@settings(max_examples=200)
def test_at_most_one_check_digit_fits(stem: int) -> None:
    fits = [digit for digit in range(10) if passes_nhs_check(f"{stem:09}{digit}")]
    assert len(fits) <= 1


def test_known_nhs_numbers() -> None:
    assert all(passes_nhs_check(number) for number in NHS)
    assert not any(passes_nhs_check(number) for number in ("9434765918", "943476591", "0000000000", "94347659190"))


def test_random_ten_digit_numbers_are_not_taken_for_nhs_numbers() -> None:
    rng = random.Random(7)
    report = look("a.csv", table(["value"], [(rng.randint(10**9, 10**10 - 1),) for _ in range(90)]))
    hits = [finding for finding in report.findings if finding.rule == "nhs-number"]
    assert all(finding.verdict is Verdict.review for finding in hits)


def test_nhs_numbers_hidden_among_other_numbers_are_found() -> None:
    rng = random.Random(7)
    rows = [(rng.randint(10**9, 10**10 - 1), number) for number in NHS * 4]
    report = look("a.csv", table(["value", "other"], rows))
    stopped = [finding for finding in report.findings if finding.verdict is Verdict.block]
    assert {(finding.rule, finding.column) for finding in stopped} == {("nhs-number", 2)}


def test_decimals_are_no_identifiers() -> None:
    report = look("a.csv", "term,estimate\nage,0.9434765919\nsex,9434765919.25\n")
    assert "nhs-number" not in found(report)


def test_places_are_those_that_people_count() -> None:
    report = look("a.csv", 'sex,n\n"fe\nmale",120\nother,3\n')
    finding = next(finding for finding in report.findings if finding.rule == "small-count")
    assert (finding.row, finding.column) == (3, 2)
    text = look("a.txt", "one\ntwo\nNHS 943 476 5919\n")
    assert [finding.line for finding in text.findings if finding.rule == "nhs-number"] == [3]


def test_many_breaches_are_counted_not_listed() -> None:
    report = look("a.csv", table(["group", "n"], [(f"g{n}", 3) for n in range(90)]))
    hits = [finding for finding in report.findings if finding.rule == "small-count"]
    assert len(hits) == PER_RULE + 1
    assert sum(finding.count for finding in hits) == 90


def test_R3_no_finding_holds_a_value_of_the_file() -> None:
    canaries = ("9434765919", "SW1A 1AA", "ann.canary@example.org", "AB123456C", "1956-04-03", "canary words here")
    rows = [(*canaries[:5], f"{canaries[5]} one two three four five six seven", 3)]
    for path, data in (
        ("a.csv", table(["canaryheader", "b", "c", "d", "dob", "e", "n"], rows)),
        ("a.txt", "\n".join(map(str, rows[0])) + "\nDOB: 1956-04-03 n=3"),
        ("a.json", json.dumps([dict(zip("abcdefg", rows[0], strict=True))])),
    ):
        report = look(path, data)
        assert report.findings
        text = str(report)
        assert not [canary for canary in (*canaries, "canary") if canary in text], path


@given(st.text(max_size=100))
def test_R3_a_masked_sample_has_no_letter_or_digit_of_the_value(value: str) -> None:
    sample = masked(value)
    assert len(sample) <= 24
    assert not [char for char in sample if char.isalnum() and char != "x"]


@given(
    st.binary(max_size=300), st.sampled_from(["a.csv", "a.tsv", "a.json", "a.txt", "a.png", "a.ipynb", "a.pdf", "a"])
)
@settings(max_examples=300, deadline=None)
def test_A3_only_what_decodes_and_parses_can_pass(data: bytes, path: str) -> None:
    report = look(path, data)
    if report.verdict is Verdict.passed:
        assert Kind(report.kind) in PARSED
        data.decode("utf-8-sig")
        assert b"\x00" not in data


@given(st.lists(st.lists(st.text(alphabet='ab1,"\n;= ', max_size=6), min_size=1, max_size=4), max_size=6))
@settings(max_examples=200, deadline=None)
def test_A3_a_table_with_rows_of_different_length_never_passes(rows: list[list[str]]) -> None:
    text = "".join(",".join(row) + "\n" for row in rows)
    report = look("a.csv", text)
    if report.verdict is Verdict.passed:
        delimiter = ";" if "," not in text.split("\n")[0] and ";" in text.split("\n")[0] else ","
        lengths = {len(row) for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if row}
        assert len(lengths) == 1


@given(st.integers(1, 9), st.sampled_from(["n", "count", "N", "Number of people", "events", "deaths_n", "Total"]))
def test_every_small_count_under_a_counts_header_is_found(count: int, header: str) -> None:
    assert "small-count" in found(look("a.csv", f"group,{header}\nx,120\ny,{count}\n"))


@pytest.mark.parametrize("header", ["age", "mean", "p value", "estimate", "year", "nation", "discount", "country"])
def test_other_headers_are_not_counts(header: str) -> None:
    assert not is_count_header(header)


@pytest.mark.parametrize("cell", ["", "<5", "< 10", "*", "c", "[REDACTED]", "-", "..", "NA", "suppressed", "≤7"])
def test_masks_are_known(cell: str) -> None:
    assert is_mask(cell)


def test_every_finding_belongs_to_a_named_check() -> None:
    examples = {path: data for path, (data, _) in (BLOCKED | REVIEWED).items()} | {"rows.csv": "n\n" + "100\n" * 101}
    seen = {finding.check for path, data in examples.items() for finding in look(path, data).findings}
    assert seen <= set(VERSIONS)
    assert {name for name, _ in CHECKS} - seen == {"path"}


@pytest.mark.parametrize(
    "cell", [" " * 400_000 + "x", "1 (1" + " " * 400_000, "9," * 200_000, "=" * 400_000, "- " * 200_000]
)
def test_no_cell_can_make_a_pattern_slow(cell: str) -> None:
    """A pattern with more than linear time would need hours for these and meet the tests' time limit."""
    report = look("a.csv", table(["group", cell], [("x", cell), (cell, "120")] * 15), Rules(10, 100, 64 << 20))
    assert report.verdict is not Verdict.passed
