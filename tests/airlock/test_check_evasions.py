"""Ways around the checks: a count, a person or a formula in another dress is found, nothing half-read passes."""

from __future__ import annotations

import json
import random

import pytest

from tests.airlock.test_checks import NHS, found, look, table
from tre_orchestrator.airlock.checks.model import PER_RULE, Rules, Verdict
from tre_orchestrator.demo.data import admissions

WIDE = Rules(small_count=10, max_rows=5000, max_bytes=64 << 20)


def blocks(path: str, data: bytes | str) -> set[str]:
    return {finding.rule for finding in look(path, data, WIDE).findings if finding.verdict is Verdict.block}


SMALL = [
    "3*", "*3", "3†", "3e0", "3E+00", "30e-1", "0.3e1", "3.", "3,0", "+3", "~3", "≈3", "(3)", "'3", '="3"', "３", "³",
    "٣", "3\u200b", "\u200b3", "3 / 120", "3/120", "3 of 120", "n=3", "N = 3", "3 (2.5%)", "3 (<0.1%)", "3 [2.5 %]",
    "3; 2.5%", "2.5% (3)", "2.5% (n=3)", "3/120 (2.5%)", "3 people", "3" + " " * 100, "3a", "1-4",
]  # fmt: skip


@pytest.mark.parametrize("cell", SMALL)
def test_a_small_count_is_found_in_any_dress(cell: str) -> None:
    assert "small-count" in blocks("a.csv", table(["sex", "n"], [("female", 120), ("male", cell)]))
    assert "small-count" in blocks("a.json", json.dumps([{"sex": "f", "n": "120"}, {"sex": "m", "n": cell}]))
    assert "small-count" in blocks("a.json", json.dumps({"n": cell, "x": "y"}))


@pytest.mark.parametrize("cell", ["n=3", "3 (2.5%)", "3/120", "3 of 120", "2.5% (3)", "3; 2.5%", "women, n = 3"])
def test_a_count_that_says_so_itself_is_found_in_any_column(cell: str) -> None:
    assert "small-count" in blocks("a.csv", table(["sex", "result"], [("female", "24.5"), ("male", cell)]))


@pytest.mark.parametrize("cell", ["120", "0", "120*", "1,200", "120 (3.4%)", "120/3400", "n=120", "1.2e3", "<10", "*"])
def test_a_large_count_in_the_same_dress_passes(cell: str) -> None:
    assert found(look("a.csv", table(["sex", "n"], [("female", 120), ("male", cell)]))) == set()


def test_a_header_that_gives_a_small_count_is_found() -> None:
    assert "small-count" in blocks("a.csv", table(["term", "women (n=3)"], [("age", "1.24"), ("bmi", "2.25")]))


@pytest.mark.parametrize("header", ["n" + " " * 300, "nPatients", "patient_count", "Anzahl", "size", "ｎ", "n\u200b"])
def test_a_column_of_counts_is_known_by_any_name(header: str) -> None:
    assert "small-count" in blocks("a.csv", table(["sex", header], [("female", 120), ("male", 3)]))


@pytest.mark.parametrize("cell", ["<5", "< 5", "≤4", "<=4", "fewer than 5"])
def test_a_mask_that_is_finer_than_the_policys_is_a_finding(cell: str) -> None:
    assert found(look("a.csv", table(["sex", "n"], [("female", 120), ("male", cell)]))) == {"narrow-mask"}


def test_a_long_table_with_the_name_of_the_number_in_another_column_is_read() -> None:
    rows = [("age", "mean", 54.21), ("age", "sd", 12.75), ("age", "n", 3), ("bmi", "mean", 24.5)]
    assert "small-count" in blocks("a.csv", table(["variable", "statistic", "value"], rows))


def test_a_count_in_running_text_is_found_in_any_dress() -> None:
    for text in ("We saw 3 (2.5%) deaths.", "3/120 died", "n = ３", "n\u200b=3", "3 of 120 died"):
        assert "small-count" in blocks("a.txt", text), text


def test_a_count_below_a_name_of_counts_in_json_is_found() -> None:
    assert "small-count" in blocks("a.json", json.dumps({"counts": {"f": {"yes": 3, "x": "y"}, "m": "none"}}))
    assert "small-count" in blocks("a.json", json.dumps({"n": 3.0, "x": "y"}))


UNSURE = {
    "pipe.csv": "sex|n\nfemale|120\nmale|3\n",
    "tab.csv": "sex\tn\nfemale\t120\nmale\t3\n",
    "space.csv": "sex n\nfemale 120\nmale 3\n",
    "comma.tsv": "sex,n\nfemale,120\nmale,3\n",
    "inside.csv": "sex,x\nfemale|3,a\nmale|4,b\n",
    "lines.csv": 'sex,x\n"female\n3",a\n',
    "sep.csv": "sep=,\nsex,n\nfemale,120\n",
    "title.csv": "Table 1\nsex,n\nfemale,120\n",
    "ragged.csv": "sex,n\nfemale,120\nmale\n",
    "blocks.csv": "sex,n\nfemale,120\n\nage,x\nold,140\n",
    "two_headers.csv": ",age,bmi\n,mean,count\nfemale,54.2,120\nmale,55.1,140\n",
    "same_names.csv": "x,a,a\nfemale,54.2,120\n",
    "no_names.csv": "sex,,\nfemale,54.2,120\n",
    "masked_header.csv": "female,<5\nmale,120\n",
    "decimal_header.csv": "female,54.25\nmale,51.25\n",
    "marked_header.csv": "female,3*\nmale,120\n",
    "dated_header.csv": "female,2020-03-01\nmale,2020-03-02\n",
    "odd_bytes.csv": "sex,n\nm\ufffdnnlich,120\n",
    "long_name.csv": "sex," + "n " * 300 + "\nfemale,120\n",
    "utf7.csv": "sex,n\nfemale,120\n".encode("utf-16-be"),
}


@pytest.mark.parametrize("path", UNSURE)
def test_A3_a_table_that_may_be_split_wrongly_is_not_checked(path: str) -> None:
    report = look(path, UNSURE[path])
    assert "unparsed" in found(report), report
    assert report.verdict is not Verdict.passed


_RANDOM = random.Random(1)
PEOPLE = [
    {"sex": _RANDOM.choice("FM"), "diagnosis": _RANDOM.choice(["E11", "I10", "J45"]), "age": _RANDOM.randint(18, 90)}
    for _ in range(60)
]


def _orients() -> dict[str, object]:
    names = list(PEOPLE[0])
    return {
        "records": PEOPLE,
        "index": {str(n): row for n, row in enumerate(PEOPLE)},
        "columns": {name: {str(n): row[name] for n, row in enumerate(PEOPLE)} for name in names},
        "lists": {name: [row[name] for row in PEOPLE] for name in names},
        "split": {"columns": names, "index": list(range(60)), "data": [[*row.values()] for row in PEOPLE]},
        "table": {"schema": {"fields": names}, "data": PEOPLE},
        "nested": [{"person": {"sex": row["sex"], "more": {"d": row["diagnosis"]}}, "a": row["age"]} for row in PEOPLE],
        "with_lists": [{**row, "visits": [{"age": row["age"]}]} for row in PEOPLE],
        "pieces": {f"part{n}": PEOPLE[n * 15 : n * 15 + 15] for n in range(4)},
    }  # fmt: skip


@pytest.mark.parametrize("orient", _orients())
def test_records_about_people_are_seen_in_every_form_of_json(orient: str) -> None:
    report = look("a.json", json.dumps(_orients()[orient]), WIDE)
    assert {finding.rule for finding in report.findings if finding.check == "row-level"}, report


def test_columns_and_rows_exchanged_are_still_records() -> None:
    rows = [(name, *(row[name] for row in PEOPLE)) for name in PEOPLE[0]]
    report = look("a.csv", table(["what", *(f"p{n}" for n in range(60))], rows), WIDE)
    assert {finding.rule for finding in report.findings if finding.check == "row-level"}


@pytest.mark.parametrize(
    "dress",
    [
        "NHS{a}{b}{c}", "no{a}.{b}.{c}", "{a}.{b}.{c}", "{a}  {b}  {c}", "{a}–{b}–{c}", "{a}_{b}_{c}", "{a}/{b}/{c}",
        "({a}) {b} {c}", "{a}\u200b{b}\u200b{c}", "{a}\u00a0{b}\u00a0{c}", "ID_{a}{b}{c}", "{a}{b}{c}x",
    ],
)  # fmt: skip
def test_nhs_numbers_are_found_in_any_dress(dress: str) -> None:
    numbers = [dress.format(a=number[:3], b=number[3:6], c=number[6:]) for number in NHS]
    assert "nhs-number" in blocks("a.csv", table(["x", "n"], [(number, 100) for number in numbers]))
    assert "nhs-number" in blocks("a.txt", "\n".join(numbers))
    assert "nhs-number" in blocks("a.json", json.dumps({"a": {"b": [{"x": number} for number in numbers]}}))


def test_nhs_numbers_in_other_digits_or_spaced_out_are_found() -> None:
    wide = [number.translate({48 + n: 0xFF10 + n for n in range(10)}) for number in NHS]
    spaced = [" ".join(number) for number in NHS]
    scientific = [f"{number[0]}.{number[1:]}e+09" for number in NHS]
    for numbers in (wide, spaced, scientific):
        assert "nhs-number" in blocks("a.csv", table(["x", "n"], [(number, 100) for number in numbers]))


def test_identifiers_written_with_escapes_in_json_are_found() -> None:
    escaped = ["".join(f"\\u{ord(digit):04x}" for digit in number) for number in NHS]
    assert "nhs-number" in blocks("a.json", "[" + ",".join(f'{{"x": "{number}"}}' for number in escaped) + "]")
    assert "nhs-number" in blocks("a.json", '{"a": {' + ",".join(f'"{number}": "x"' for number in escaped) + "}}")
    parted = {f"t{n}": [{f"c{n}": number}] for n, number in enumerate(NHS)}
    assert "nhs-number" in blocks("a.json", json.dumps(parted))


def test_postcodes_in_small_letters_and_from_the_demos_area_are_found() -> None:
    for codes in (
        ("sw1a 1aa", "m1 1ae", "b33 8th"),
        ("NX1 1AA", "NX2 2BB", "nx3 3dd"),
        ("SW1A-1AA", "M1  1AE", "B338TH"),
    ):
        assert "postcode" in blocks("a.csv", table(["area", "n"], [(code, 100) for code in codes]))


@pytest.mark.parametrize("name", ["dob", "DOB (dd/mm/yyyy)", "birth_date", "geburtsdatum", "Geb.-Datum", "patientDob"])
@pytest.mark.parametrize("date", ["1956-04-03", "03/04/1956", "19560403", "3 Apr 1956", "April 3, 1956"])
def test_columns_of_dates_of_birth_are_found(name: str, date: str) -> None:
    assert "date-of-birth" in blocks("a.csv", table(["sex", name], [("f", date)]))
    assert "date-of-birth" in blocks("a.json", json.dumps({"x": {name: date, "y": {"z": "w"}}}))


def test_A3_what_lies_beyond_a_cap_is_not_checked() -> None:
    padding = "0123456789\n" * 200_001
    assert "unparsed" in found(look("a.txt", padding + "\n".join(NHS), WIDE))
    assert "unparsed" in found(look("a.csv", "x\n" + "a@b.cd\n" * 200_001, WIDE))


def test_the_gravest_verdict_survives_the_cut_of_a_long_list() -> None:
    rows = [("x", 3) for _ in range(PER_RULE + 20)]
    doubtful = table(["a", "b"], [(f"d{n}", n % 9 + 1) for n in range(PER_RULE + 20)])
    cut = look("a.csv", doubtful + "n (%),3 (2%)\n")
    assert cut.verdict is Verdict.block
    many = json.dumps({f"t{n}": [{"n": 3, "x": "=1"}] for n in range(3000)} | {"z": rows})
    report = look("a.json", many, WIDE)
    assert report.verdict is Verdict.block
    assert len(report.findings) < 40 * PER_RULE
    assert sum(finding.count for finding in report.findings if finding.rule == "small-count") >= 3000


FORMULAS = ["=1+1", "@SUM(A1)", "+1+cmd|' /C calc'!A0", "-1+cmd|' /C calc'!A0", "\t=1", "\rx", "\tx", " =1", "\u00a0=1",
            "＝1+1", "x;=cmd|'/C calc'!A0", "+A1", "-(1)", "'=1"]  # fmt: skip


@pytest.mark.parametrize("cell", FORMULAS)
def test_what_a_spreadsheet_would_run_is_found(cell: str) -> None:
    assert "formula" in found(look("a.csv", table(["sex", "n"], [(cell, 120)])))
    tsv = "sex\tn\n" + '"' + cell.replace('"', '""') + '"' + "\t120\n"
    assert "formula" in found(look("a.tsv", tsv))
    assert "formula" in found(look("a.csv", table(["sex", cell], [("female", 120)])))


@pytest.mark.parametrize(
    "cell", ["-1.5", "+2.25", "-1.5 (-2.0, -0.5)", "-1.2e-05", "-3.5%", "-", "--", "-1.5 (-2.0 to -0.5)"]
)
def test_a_number_with_a_sign_is_no_formula(cell: str) -> None:
    assert "formula" not in found(look("a.csv", table(["term", "estimate"], [("age", cell), ("sex", "1.25")])))


@pytest.mark.parametrize(
    "left_out", [(), ("nhs_number", "date_of_birth", "postcode", "admission_date", "discharge_date")]
)
def test_rows_of_the_demos_own_data_are_found(left_out: tuple[str, ...]) -> None:
    head = admissions(rows=2000, patients=1200).head(50).drop(*left_out)
    for path, data in (("a.csv", head.write_csv()), ("a.json", head.write_json())):
        report = look(path, data, WIDE)
        assert {finding.rule for finding in report.findings if finding.check == "row-level"}, path
    assert "not-allowed" in blocks("a.parquet", b"PAR1" + b"\0" * 20 + b"PAR1")


def test_a_few_rows_about_people_are_found_by_their_dates_and_names() -> None:
    head = admissions(rows=2000, patients=1200).head(6)
    for columns in (["date_of_birth", "sex"], ["nhs_number", "sex"]):
        report = look("a.csv", head.select(columns).write_csv(), WIDE)
        assert {finding.rule for finding in report.findings if finding.check == "row-level"}, columns
