from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tre_orchestrator.catalogue.models import Person, Project
from tre_orchestrator.catalogue.read import CatalogueErrors, parse_documents, read_path

PERSON = """\
apiVersion: tre.dev/v1alpha1
kind: Person
metadata: {name: ana-silva}
spec:
  full_name: Ana Silva
  email: ana@example.org
  organisation: Here
"""
PROJECT = """\
apiVersion: tre.dev/v1alpha1
kind: Project
metadata:
  name: heart
spec:
  title: Heart
  purpose: Learn
  tier: 1
  members:
    - person: ana-silva
  start: 2026-01-01
  end: 2026-12-31
"""


def faults_of(path: Path) -> list[str]:
    with pytest.raises(CatalogueErrors) as caught:
        read_path(path)
    return [str(fault).removeprefix(f"{path}") for fault in caught.value.faults]


def write(folder: Path, text: str, name: str = "a.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_objects_come_with_the_place_of_each_field(tmp_path: Path) -> None:
    path = write(tmp_path, PERSON + "---\n" + PROJECT)
    person, project = read_path(path)
    assert isinstance(person.obj, Person)
    assert isinstance(project.obj, Project)
    assert project.obj.spec.end == dt.date(2026, 12, 31)
    assert (person.line, project.line) == (1, 9)
    assert project.line_of("spec.members[0].person") == 18
    assert project.line_of("spec.members[0].until") == 18
    assert project.line_of("spec.tier") == 16
    assert project.name == "Project/heart"


def test_every_error_of_every_document_is_told_with_file_line_field_and_reason(tmp_path: Path) -> None:
    text = (
        PROJECT.replace("tier: 1", "tier: 7").replace("  purpose: Learn\n", "  colour: red\n")
        + "---\n"
        + PERSON.replace("ana-silva", "Ana_Silva")
    )
    path = write(tmp_path, text)
    assert faults_of(path) == [
        ":5: spec.purpose: is missing",
        ":8: spec.tier: input should be less than or equal to 4",
        ":7: spec.colour: is not known here; check the spelling",
        ":16: metadata.name: 'Ana_Silva' is no valid name: a letter first, "
        "then lower-case letters, digits, single hyphens",
    ]


def test_a_folder_is_read_whole_and_errors_come_from_all_its_files(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    write(tmp_path, PERSON.replace("kind: Person", "kind: Persona"))
    write(tmp_path / "more", PROJECT + "  extra: 1\n", "b.yml")
    write(tmp_path, "not: [read", "notes.txt")
    assert faults_of(tmp_path) == [
        "/a.yaml:2: kind: must be one of Project, Dataset, Person, PolicyProfile",
        "/more/b.yml:13: spec.extra: is not known here; check the spelling",
    ]


def test_links_to_other_folders_are_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    inside = tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    write(outside, "broken: [")
    write(inside, PERSON)
    (inside / "link").symlink_to(outside)
    assert [located.name for located in read_path(inside)] == ["Person/ana-silva"]


def test_an_object_declared_twice_names_both_places(tmp_path: Path) -> None:
    write(tmp_path, PERSON)
    write(tmp_path, PERSON, "b.yaml")
    assert faults_of(tmp_path) == [
        f"/b.yaml:3: metadata.name: Person/ana-silva is declared before at {tmp_path}/a.yaml:1"
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a: 1\na: 2\n", ":2: a: stands twice; first in line 1"),
        ("a: [1, 2\nb: 3\n", ":2: is not YAML: expected ',' or ']', but got ':'"),
        (
            "a: !!python/object/apply:os.system [id]\n",
            ":1: kind: must be one of Project, Dataset, Person, PolicyProfile",
        ),
        ("a: !!binary aGk=\n", ":1: a: the tag tag:yaml.org,2002:binary is not allowed"),
        ("kind: !Secret x\n", ":1: kind: the tag !Secret is not allowed"),
        ("d: 2026-02-31\n", ":1: d: '2026-02-31' is not a valid value (day is out of range for month)"),
        ("- 1\n- 2\n", ":1: must be an object with apiVersion, kind, metadata and spec"),
        ("? [a, b]\n: 1\n", ":1: a key must be one word"),
        ("[" * 100, ":1: is nested more than 20 levels deep"),
        ("a: \x01\n", ":1: is not YAML: unacceptable character #x0001: special characters are not allowed\n"),
    ],
)
def test_text_that_is_no_catalogue_is_refused_with_its_line(tmp_path: Path, text: str, fault: str) -> None:
    assert any(found.startswith(fault) for found in faults_of(write(tmp_path, text)))


def test_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"a: 1\nb: \xff\n")
    assert faults_of(path) == [":2: is not UTF-8 text"]


def test_numbers_that_should_be_text_are_explained(tmp_path: Path) -> None:
    path = write(tmp_path, PROJECT + "  datasets: [{name: lungs, version: 1.0}]\n")
    assert faults_of(path) == [':13: spec.datasets[0].version: must be text; put it in quotes: "1.0"']


def test_nested_aliases_cannot_fill_the_memory(tmp_path: Path) -> None:
    laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    for level in range(1, 10):
        laughs += f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n"
    (fault,) = faults_of(write(tmp_path, laughs))
    assert "aliases" in fault or "too large" in fault


def test_an_alias_that_holds_itself_is_refused(tmp_path: Path) -> None:
    (fault,) = faults_of(write(tmp_path, "a: &a [*a]\n"))
    assert "too large when its aliases are written out" in fault


def test_a_plain_alias_is_written_out(tmp_path: Path) -> None:
    text = PROJECT.replace("title: Heart", "title: &words Heart").replace("purpose: Learn", "purpose: *words")
    (project,) = read_path(write(tmp_path, text))
    assert isinstance(project.obj, Project)
    assert project.obj.spec.purpose == "Heart"


def test_a_file_that_is_too_long_is_refused_unread(tmp_path: Path) -> None:
    path = write(tmp_path, "#" * ((1 << 20) + 1))
    assert faults_of(path) == [": is longer than 1048576 bytes; divide it"]


@pytest.mark.parametrize("name", ["absent", ""])
def test_a_path_without_catalogue_is_told(tmp_path: Path, name: str) -> None:
    (fault,) = faults_of(tmp_path / name if name else tmp_path)
    assert fault in (": there is no such file or folder", ": holds no .yaml file")


def test_documents_from_a_client_are_placed_by_their_name() -> None:
    with pytest.raises(CatalogueErrors) as caught:
        parse_documents([{"kind": "Person", "metadata": {"name": "bo"}}, 7])
    assert [str(fault) for fault in caught.value.faults] == [
        "Person/bo: apiVersion: is missing",
        "Person/bo: spec: is missing",
        "documents[1]: must be an object with apiVersion, kind, metadata and spec",
    ]
    assert caught.value.problem()["errors"][0] == {  # type: ignore[index]
        "object": "Person/bo",
        "line": None,
        "field": "apiVersion",
        "reason": "is missing",
    }


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(alphabet=st.sampled_from(list("ab:-[]{}&*!|>\n \"'#,?%0\t")), max_size=60))
def test_any_text_is_read_or_refused_never_worse(tmp_path: Path, text: str) -> None:
    with pytest.raises(CatalogueErrors):
        read_path(write(tmp_path, text))
