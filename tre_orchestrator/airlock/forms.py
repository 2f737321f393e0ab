"""The form of a request: what the author says about each file, and what is still missing before it may be submitted.

About a third of real rejections are missing context or counts, so an incomplete form is refused with the file and the
field named. The models are strict and bounded: they also read what a notebook wrote (`request.yaml`, hostile input).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Title = Annotated[str, StringConstraints(max_length=200, strip_whitespace=True)]
Words = Annotated[str, StringConstraints(max_length=2000, strip_whitespace=True)]
FolderPath = Annotated[str, StringConstraints(max_length=500)]
FilePath = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
Variable = Annotated[str, StringConstraints(min_length=1, max_length=100, strip_whitespace=True)]


class Statistic(StrEnum):
    """What kind of output a file is (classes of statistics after ACRO's statbarn, and what is not a statistic)."""

    frequencies = "frequencies"
    means_or_sums = "means-or-sums"
    quantiles = "quantiles"
    extremes = "extremes"
    shape = "shape"
    regression = "regression"
    test = "test"
    ratio = "ratio"
    survival = "survival"
    concentration = "concentration"
    model = "model"
    figure = "figure"
    text = "text"
    code = "code"
    other = "other"

    @property
    def label(self) -> str:
        """In words for the form."""
        return _STATISTICS[self]


_STATISTICS = {
    Statistic.frequencies: "Counts or percentages",
    Statistic.means_or_sums: "Means or sums",
    Statistic.quantiles: "Medians or other quantiles",
    Statistic.extremes: "Minimum, maximum or range",
    Statistic.shape: "Standard deviation, skewness or kurtosis",
    Statistic.regression: "Regression or correlation",
    Statistic.test: "Test of a hypothesis",
    Statistic.ratio: "Odds, risks or other ratios",
    Statistic.survival: "Survival or hazard table",
    Statistic.concentration: "Concentration (Gini and similar)",
    Statistic.model: "Fitted model",
    Statistic.figure: "Figure",
    Statistic.text: "Text without results about people",
    Statistic.code: "Code",
    Statistic.other: "Something else",
}
WITHOUT_COUNT = frozenset({Statistic.text, Statistic.code})
"""Kinds for which no number of people is asked."""


class Destination(StrEnum):
    """Where released bytes go; part of what is approved."""

    author_download = "author-download"

    @property
    def label(self) -> str:
        """In words for the form."""
        return "Download by the person who asks"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileContext(_Strict):
    """What the author says about one file. Everything may be empty in a draft; `missing` says what submitting needs."""

    statistic: Statistic | None = None
    population: Words = Field(default="", description="Who is counted: the people or events the numbers are about")
    n: int | None = Field(default=None, ge=0, le=10_000_000_000, description="How many of them")
    variables: tuple[Variable, ...] = Field(default=(), max_length=200)
    controls: Words = Field(default="", description="What was done against disclosure: rounding, suppression, …")
    relation: Words = Field(default="", description="How it relates to earlier outputs; 'none' if it does not")
    supporting: bool = Field(default=False, description="For the checkers only: never released")


class DraftForm(_Strict):
    """The whole form. `defaults` holds for every file that has no entry of its own in `files`."""

    title: Title = ""
    purpose: Words = Field(default="", description="What the outputs are for and why they can leave")
    folder: FolderPath = Field(default="", description="Folder below /outputs")
    destination: Destination = Destination.author_download
    defaults: FileContext = FileContext()
    files: dict[FilePath, FileContext] = Field(default_factory=dict, max_length=10_000)

    @property
    def collected_folder(self) -> str:
        """The folder as the courier takes it: below /outputs, "" for all of it. "/outputs/a" and "a" mean the same."""
        folder = self.folder.strip()
        for prefix in ("/outputs", "outputs"):
            if folder == prefix or folder.startswith(f"{prefix}/"):
                return folder[len(prefix) :].strip("/")
        return folder.strip("/")

    def context(self, path: str) -> FileContext:
        """What the form says about the file at `path`."""
        return self.files.get(path, self.defaults)


@dataclass(frozen=True, slots=True)
class Missing:
    """A field that is not filled in: of the request (`path` empty) or of one file."""

    path: str
    field: str
    sentence: str


def missing_in_context(context: FileContext, path: str) -> tuple[Missing, ...]:
    """What `context` still lacks for the file at `path`."""
    needs = [
        (context.statistic is None, "statistic", "say what kind of output it is"),
        (not context.population, "population", "say whom it is about"),
        (
            context.n is None and context.statistic not in WITHOUT_COUNT,
            "n",
            "say how many people or events",
        ),
        (not context.variables, "variables", "name the variables it uses"),
        (not context.controls, "controls", "say what was done against disclosure, or why nothing is needed"),
        (not context.relation, "relation", "say how it relates to earlier outputs ('none' if it does not)"),
    ]
    return tuple(Missing(path, field, f"{path}: {what}.") for lacks, field, what in needs if lacks)


def missing(form: DraftForm, paths: tuple[str, ...] = ()) -> tuple[Missing, ...]:
    """Everything the form lacks for being submitted with the files at `paths`; empty means complete.

    Without `paths` (the folder was not copied yet) only the fields of the request and the named files are looked at.
    """
    found = [
        Missing("", field, sentence)
        for lacks, field, sentence in (
            (not form.title, "title", "Give the request a title."),
            (not form.purpose, "purpose", "Say what the outputs are for and why they can leave."),
            (not form.folder, "folder", "Name a folder below /outputs."),
        )
        if lacks
    ]
    looked_at = paths or tuple(form.files)
    for path in sorted(looked_at):
        found.extend(missing_in_context(form.context(path), path))
    if paths and all(form.context(path).supporting for path in paths):
        found.append(Missing("", "files", "At least one file must be for release: all are marked as supporting."))
    return tuple(found)
