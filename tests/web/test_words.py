"""Times, sizes and forms as people read and write them."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import FormData

from tre_orchestrator.airlock.forms import DraftForm, FileContext, Statistic
from tre_orchestrator.airlock.preview import Preview
from tre_orchestrator.airlock.views import FindingView
from tre_orchestrator.web import wording
from tre_orchestrator.web.painting import ROWS_SHOWN, painted
from tre_orchestrator.web.request_form import FILES_SHOWN, form_files, form_of, still_missing, values_of
from tre_orchestrator.web.visitors import Form

NOW = dt.datetime(2026, 11, 23, 9, 0, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "just now"),
        (-59, "just now"),
        (59, "in less than a minute"),
        (-60, "1 minute ago"),
        (-3 * 3600, "3 hours ago"),
        (2 * 86_400, "in 2 days"),
        (-40 * 86_400, "1 month ago"),
        (-800 * 86_400, "2 years ago"),
    ],
)
def test_relative_time(seconds: int, words: str) -> None:
    assert wording.relative(NOW + dt.timedelta(seconds=seconds), NOW) == words


def test_moment_is_absolute_utc_with_the_relative_beside_it() -> None:
    there = dt.datetime(2026, 11, 23, 11, 30, tzinfo=dt.timezone(dt.timedelta(hours=5)))
    html = str(wording.moment(there, NOW))
    assert "23 November 2026, 06:30 UTC" in html
    assert "(2 hours ago)" in html
    assert 'datetime="2026-11-23T06:30:00+00:00"' in html


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (1500, "1.5 kB"), (20_000_000, "20 MB"), (None, "unknown")],
)
def test_size(count: int | None, words: str) -> None:
    assert wording.size(count) == words


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "none"), (45, "45 seconds"), (300, "5 minutes"), (7200, "2 hours"), (86_400, "1 day")]
)
def test_duration(seconds: int, words: str) -> None:
    assert wording.duration(seconds) == words


@given(st.datetimes(timezones=st.just(dt.UTC)), st.datetimes(timezones=st.just(dt.UTC)))
def test_every_moment_has_words(value: dt.datetime, now: dt.datetime) -> None:
    words = wording.relative(value, now)
    assert words.endswith(" ago") or words.startswith("in ") or words == "just now"


LINE = st.text(st.characters(codec="utf-8", exclude_characters="\r\x00", exclude_categories=["Cs"]), max_size=40).map(
    str.strip
)
CONTEXT = st.builds(
    FileContext,
    statistic=st.none() | st.sampled_from(Statistic),
    population=LINE,
    n=st.none() | st.integers(0, 10_000_000_000),
    variables=st.lists(st.from_regex(r"[a-z]{1,9}", fullmatch=True), max_size=3).map(tuple),
    controls=LINE,
    relation=LINE,
)


@given(CONTEXT, CONTEXT, st.booleans())
def test_form_survives_the_way_through_html(common: FileContext, own: FileContext, supporting: bool) -> None:
    own = own.model_copy(update={"supporting": supporting})
    form = DraftForm(title="T", purpose="P", folder="f", defaults=common, files={"a.csv": own})
    files = form_files(form, (("a.csv", 3), ("b.csv", 4)))
    values = values_of(form, files) | {f"{file.key}.path": file.path for file in files}
    back = form_of(Form(FormData(list(values.items()))), DraftForm())
    assert back.context("a.csv") == form.context("a.csv")
    assert back.context("b.csv") == form.context("b.csv")
    assert (back.title, back.purpose, back.folder, back.defaults) == ("T", "P", "f", common)


def test_missing_things_are_named_once_with_their_files() -> None:
    lines = still_missing(DraftForm(title="T", purpose="P", folder="f"), (("a.csv", 1), ("b.csv", 2)))
    assert "Say what kind of output it is: a.csv, b.csv." in lines
    assert len(lines) == 6


def finding(**place: int) -> FindingView:
    where = {"row": None, "column": None, "line": None, **place}
    return FindingView(
        check="counts",
        check_version=1,
        rule="small",
        verdict="review",
        sentence="A small count",
        sample="",
        count=1,
        **where,
    )


TABLE = Preview("a.csv", "text/csv", "table", rows=(("sex", "n"), ("f", "120"), ("m", "3")))


def test_finding_is_painted_on_its_cell_row_or_column() -> None:
    cell = painted(TABLE, (finding(row=3, column=2),))
    assert [(row.number, [one.found for one in row.cells]) for row in cell.rows] == [
        (2, ["", ""]),
        (3, ["", "A small count"]),
    ]
    assert painted(TABLE, (finding(row=2),)).rows[0].found == "A small count"
    assert painted(TABLE, (finding(column=1),)).header[0].found == "A small count"
    text = painted(Preview("t", "text/plain", "text", lines=("a", "b")), (finding(line=2),))
    assert [row.found for row in text.rows] == ["", "A small count"]


def test_long_table_says_that_it_is_cut() -> None:
    long = Preview("a.csv", "text/csv", "table", rows=(("n",), *((str(n),) for n in range(ROWS_SHOWN + 5))))
    shown = painted(long, ())
    assert len(shown.rows) == ROWS_SHOWN
    assert f"the first {ROWS_SHOWN} rows" in shown.note


@pytest.mark.parametrize("kind", ["image", "nothing"])
def test_what_is_not_text_has_no_rows(kind: str) -> None:
    assert painted(Preview("x", "application/pdf", kind), ()).rows == ()


def test_what_was_said_of_files_that_were_not_shown_stays() -> None:
    paths = [f"f{n:03}.csv" for n in range(FILES_SHOWN + 5)]
    form = DraftForm(files={paths[-1]: FileContext(supporting=True)})
    shown = form_files(form, tuple((path, 1) for path in paths))
    assert paths[-1] not in {file.path for file in shown}
    fields = [(f"{file.key}.path", file.path) for file in shown]
    assert form_of(Form(FormData(fields)), form).context(paths[-1]).supporting
