"""Files of suggested objects: what is written is read and drawn, and what does not fit is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from Testing.training.objects.object_cases import any_configuration, write_suite
from training.objects.draw import ObjectSources
from training.objects.library import Contour, Library, TrainingCase, read_library
from training.objects.suggestions import (
    PackedContours,
    Suggestions,
    read_suggestions,
    suggestion_files,
    with_suggestions,
    write_suggestions,
)
from TumorSegLib.errors import ArgumentError, ReadError
from TumorSegLib.geometry.grid import Grid

SHAPE = (16, 16, 16)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_suite(tmp_path_factory.mktemp("suite"))


@pytest.fixture(scope="module")
def library(root: Path) -> Library:
    return read_library(root, 1)


def ball(corner: tuple[int, int, int], role: str, size: int = 7) -> Contour:
    inside = np.linalg.norm(np.indices((size, size, size + 2)) - size // 2, axis=0) <= size // 2
    return Contour(inside, corner, role)


def suggestions(case: TrainingCase, *contours: Contour) -> Suggestions:
    return Suggestions(case.name, case.grid, "boxes", "0" * 64, 2, PackedContours(contours))


@pytest.fixture
def written(library: Library, tmp_path: Path) -> Path:
    """A folder with two objects of the case a, on CT and on PET."""
    write_suggestions(
        tmp_path / "a.npz", suggestions(library.sarcomas[0], ball((3, 4, 5), "ct"), ball((9, 8, 7), "pet"))
    )
    return tmp_path


def test_what_is_written_is_read(library: Library, written: Path) -> None:
    case = library.sarcomas[0]
    found = read_suggestions(written / "a.npz", case)
    assert (found.case, found.grid, found.model, found.weights, found.slabs) == ("a", case.grid, "boxes", "0" * 64, 2)
    assert [(c.corner, c.role) for c in found.contours] == [((3, 4, 5), "ct"), ((9, 8, 7), "pet")]
    assert all(np.array_equal(contour.array, ball((0, 0, 0), "").array) for contour in found.contours)
    assert found.contours[-1].role == found.contours[:][1].role == "pet"
    with pytest.raises(IndexError):
        found.contours[2]
    assert found.contours.bits.nbytes == 2 * -(-7 * 7 * 9 // 8)


def test_files_of_cases_of_one_name_are_numbered(library: Library) -> None:
    cases = [library.sarcomas[0], library.contours[0], library.sarcomas[0]]
    assert [path.name for path in suggestion_files(Path(), cases)] == ["a.npz", "n1.npz", "a_2.npz"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda found: replace(found, case="b"), "is of the case 'b', not of 'a'"),
        (lambda found: replace(found, grid=Grid.from_spacing((20, 22, 24), (2, 2, 2.5))), "has a grid of .*2.5"),
        (
            lambda found: replace(found, contours=PackedContours([ball((19, 2, 2), "ct")])),
            "contours outside the images",
        ),
        (
            lambda found: replace(found, contours=PackedContours([ball((2, 2, 2), "mr_t2")])),
            "of the image 'mr_t2'",
        ),
    ],
)
def test_a_file_that_does_not_fit_its_case_is_refused(
    library: Library, written: Path, change: Callable[[Suggestions], Suggestions], words: str
) -> None:
    case = library.sarcomas[0]
    write_suggestions(written / "a.npz", change(read_suggestions(written / "a.npz", case)))
    with pytest.raises(ReadError, match=rf"a\.npz: .*{words}"):
        read_suggestions(written / "a.npz", case)


@pytest.mark.parametrize("content", [b"", b"not an archive", None])
def test_a_damaged_file_is_refused(library: Library, written: Path, content: bytes | None) -> None:
    path = written / "a.npz"
    path.write_bytes(path.read_bytes()[:-700] if content is None else content)
    with pytest.raises(ReadError, match=r"a\.npz: no file of suggested objects .*; delete it, and make it again"):
        read_suggestions(path, library.sarcomas[0])


def test_bits_that_do_not_go_with_the_shapes_are_refused() -> None:
    packed = PackedContours([ball((0, 0, 0), "ct")])
    with pytest.raises(ValueError, match="do not go together"):
        PackedContours.of(packed.corners, packed.shapes + 1, packed.roles, packed.bits)


def test_a_folder_must_exist_and_have_files_of_training_cases_alone(library: Library, written: Path) -> None:
    with pytest.raises(ArgumentError, match=r"\[objects\] suggested = '.*nowhere': there is no such folder"):
        with_suggestions(library, written / "nowhere")
    (written / "empty").mkdir()
    with pytest.raises(ArgumentError, match=r"suggested = '.*empty': has no suggested objects"):
        with_suggestions(library, written / "empty")
    (written / ".0a1b2c3d.npz").touch()  # one that is being written
    assert [case.name for case in with_suggestions(library, written).suggested] == ["a"]
    (written / "a.npz").rename(written / "n3.npz")  # a case that tests
    with pytest.raises(ReadError, match=r"n3\.npz: is of no case that may train"):
        with_suggestions(library, written)


def test_suggested_objects_are_drawn_in_the_image_they_were_found_in(
    root: Path, library: Library, written: Path
) -> None:
    configuration = any_configuration(f"suggested = '{written}'\nroles = [1, 0, 0]\nsources = {{ suggested = 1 }}")
    sources = ObjectSources.read(configuration, root)
    (case,) = sources.library.suggested
    assert case.name == "a"
    rng = np.random.default_rng(0)
    assert {tuple(sources._roles(case, rng, role)) for role in ("ct", "pet") for _ in range(8)} == {("ct",), ("pet",)}
    voxels = [int(sources.draw(rng).truth.sum()) for _ in range(8)]
    assert min(voxels) >= 20
    assert library.suggested == ()


def test_the_source_needs_a_folder(root: Path) -> None:
    with pytest.raises(ArgumentError, match='the source suggested needs suggested = "FOLDER"'):
        any_configuration("sources = { suggested = 1 }")
    with pytest.raises(ArgumentError, match=r"suggested = 'nowhere': there is no such folder"):
        ObjectSources.read(any_configuration("suggested = 'nowhere'"), root)
