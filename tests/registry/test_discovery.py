"""Which distributions are found: what importlib.metadata would say, read faster."""

from __future__ import annotations

import importlib.metadata
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from pywatt_core.registry.discovery import normalised, scan

if TYPE_CHECKING:
    from pathlib import Path


def names(path: list[str]) -> list[tuple[str, str, str, str]]:
    return [(entry.name, entry.value, entry.distribution, entry.version) for entry in scan(path).entry_points]


def test_the_same_is_found_as_by_importlib_metadata() -> None:
    ours = sorted((entry.name, entry.value, entry.distribution) for entry in scan().entry_points if entry.group == "pywatt")
    theirs = sorted((entry.name, entry.value, entry.dist.name) for entry in importlib.metadata.entry_points(group="pywatt") if entry.dist)
    assert ours == theirs
    assert ours


def test_versions_of_all_distributions_are_those_of_importlib_metadata() -> None:
    versions = scan().versions
    theirs = {normalised(found.name): found.version for found in importlib.metadata.distributions() if found.name}
    assert versions == theirs


def test_name_and_version_come_from_the_headers_of_the_metadata(fake_site: Any) -> None:
    fake_site.install("Pywatt-Thing", name="thing", version="2.5")
    assert names([str(fake_site.folder)]) == [("thing", "pywatt_thing", "Pywatt-Thing", "2.5")]


def test_metadata_that_lacks_them_leaves_the_folders_name(fake_site: Any) -> None:
    fake_site.install("pywatt-thing", version="2.5")
    (fake_site.folder / "pywatt_thing-2.5.dist-info" / "METADATA").unlink()
    assert names([str(fake_site.folder)]) == [("thing", "pywatt_thing", "pywatt-thing", "2.5")]


def test_of_two_copies_of_a_distribution_the_first_on_the_path_wins(tmp_path: Path, fake_site: Any) -> None:
    editable = type(fake_site)(tmp_path / "editable")
    editable.install("pywatt-thing", version="2.0")
    fake_site.install("Pywatt_Thing", name="old", version="1.0")
    both = [str(editable.folder), str(fake_site.folder)]
    assert names(both) == [("thing", "pywatt_thing", "pywatt-thing", "2.0")]
    assert names(both[::-1]) == [("old", "pywatt_thing", "Pywatt_Thing", "1.0")]


def test_a_first_copy_without_our_entry_points_hides_the_second(tmp_path: Path, fake_site: Any) -> None:
    newer = type(fake_site)(tmp_path / "newer")
    newer.install("pywatt-thing", groups={"console_scripts": {"thing": "thing:main"}})
    fake_site.install("pywatt-thing")
    assert names([str(newer.folder), str(fake_site.folder)]) == []


def test_a_folder_that_stands_twice_on_the_path_is_read_once(tmp_path: Path, fake_site: Any) -> None:
    fake_site.install("pywatt-thing")
    link = tmp_path / "link"
    link.symlink_to(fake_site.folder)
    assert len(names([str(fake_site.folder), str(link), str(fake_site.folder)])) == 1


def test_places_that_are_no_folders_are_passed_over(fake_site: Any) -> None:
    fake_site.install("pywatt-thing")
    assert len(names(["/nowhere", str(fake_site.folder / "pywatt_thing.py"), str(fake_site.folder)])) == 1


def test_old_metadata_of_a_source_folder_is_read_too(fake_site: Any) -> None:
    folder = fake_site.folder / "pywatt_old.egg-info"
    folder.mkdir()
    (folder / "PKG-INFO").write_text("Name: pywatt-old\nVersion: 0.3\n")
    (folder / "entry_points.txt").write_text("[pywatt]\nold = pywatt_old:plugin [extra]\n")
    assert names([str(fake_site.folder)]) == [("old", "pywatt_old:plugin", "pywatt-old", "0.3")]


def test_comments_other_groups_and_odd_spacing_are_understood(fake_site: Any) -> None:
    fake_site.install("pywatt-thing")
    text = "# pywatt\n[console_scripts]\nx = y:z\n\n[ pywatt ]\n; no\n  one=pywatt_one : part.deep\nnonsense\n"
    text += "[pywatt2]\ntwo = b\n[pywatts]\nno = c\n"
    (fake_site.folder / "pywatt_thing-1.0.dist-info" / "entry_points.txt").write_text(text)
    found = scan([str(fake_site.folder)]).entry_points
    assert [(entry.group, entry.name, entry.value) for entry in found] == [
        ("pywatt", "one", "pywatt_one : part.deep"),
        ("pywatt", "nonsense", ""),
        ("pywatt2", "two", "b"),
    ]


def test_distributions_inside_a_zip_file_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "bundle.zip"
    with zipfile.ZipFile(archive, "w") as bundle:
        bundle.writestr("pywatt_zipped.py", "")
        bundle.writestr("pywatt_zipped-1.5.dist-info/METADATA", "Name: pywatt-zipped\nVersion: 1.5\n")
        bundle.writestr("pywatt_zipped-1.5.dist-info/entry_points.txt", "[pywatt]\nzipped = pywatt_zipped\n")
    assert names([str(archive)]) == [("zipped", "pywatt_zipped", "pywatt-zipped", "1.5")]
    monkeypatch.setattr(sys, "path", [*sys.path, str(archive)])
    assert "zipped" in [entry.name for entry in scan().entry_points]


def test_an_importer_of_its_own_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    class Bundled(importlib.metadata.Distribution):
        def read_text(self, filename: str) -> str | None:
            texts = {"METADATA": "Name: pywatt-bundled\nVersion: 4\n", "entry_points.txt": "[pywatt]\nbundled = pywatt_bundled\n"}
            return texts.get(filename)

        def locate_file(self, path: Any) -> Any:
            return path

    class Finder:
        @staticmethod
        def find_spec(*_arguments: object) -> None:
            return None

        @staticmethod
        def find_distributions(_context: object = None) -> list[Bundled]:
            return [Bundled()]

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder])
    assert [entry.version for entry in scan().entry_points if entry.name == "bundled"] == ["4"]
