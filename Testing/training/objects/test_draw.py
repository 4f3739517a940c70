"""Objects drawn from every source: they can be seen, and a sample depends on the seed alone."""

from __future__ import annotations

import numpy as np
import pytest

from Testing.training.objects.object_cases import any_configuration, write_suite
from training.config.objects import SOURCES
from training.objects import draw, shapes
from training.objects.draw import LARGEST_LESION, MOST_OF_A_SET, SURFACE_SEEN, ObjectSources, drawn_from, shares_of
from training.objects.library import Library, TrainingCase, read_library
from training.objects.patches import Frame
from training.objects.sample import LARGEST_SHARE, LEAST_VOXELS, edge_seen, is_visible
from TumorSegLib.errors import ArgumentError
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Volume

SHAPE = (16, 16, 16)
#: Those that the suite of tests has objects of.
DRAWN = [source for source in SOURCES if source != "suggested"]
CT, CT_WIDE, PET, MR = range(4)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    return read_library(write_suite(tmp_path_factory.mktemp("suite")), 1)


def sources(library: Library, objects: str = "") -> ObjectSources:
    configuration = any_configuration(objects)
    assert configuration.objects is not None
    return ObjectSources(library, configuration.objects, configuration.model.any_image_input.normalisation, SHAPE)


@pytest.mark.parametrize("source", DRAWN)
def test_a_source_gives_visible_objects_in_channels_that_are_given(library: Library, source: str) -> None:
    drawn, rng = sources(library), np.random.default_rng(5)
    samples = [drawn.draw(rng, source) for _ in range(6)]
    for sample in samples:
        assert sample.images.shape == (4, *SHAPE)
        assert (sample.images.dtype, sample.truth.dtype) == (np.float32, bool)
        assert np.isfinite(sample.images).all()
        assert LEAST_VOXELS <= sample.truth.sum() <= LARGEST_SHARE * sample.truth.size
        assert 1 <= sum(channel.any() for channel in sample.images) <= 4
    assert len({sample.truth.tobytes() for sample in samples}) == 6


@pytest.mark.parametrize("source", ["", *DRAWN])
def test_a_sample_depends_on_the_seed_alone(library: Library, source: str) -> None:
    drawn, again = sources(library), sources(library)
    again.draw(np.random.default_rng(1))  # what was drawn before does not matter
    first, second = (each.draw(np.random.default_rng([3, 0, 7]), source) for each in (drawn, again))
    assert np.array_equal(first.images, second.images)
    assert np.array_equal(first.truth, second.truth)
    other = drawn.draw(np.random.default_rng([3, 0, 8]), source)
    assert not np.array_equal(first.images, other.images)


@pytest.mark.parametrize("source", ["regions", "lesions", "synthetic"])
def test_some_objects_are_too_near_to_be_seen_whole(library: Library, source: str) -> None:
    drawn, rng = sources(library), np.random.default_rng(6)
    truths = [drawn.draw(rng, source).truth for _ in range(40)]
    cut = [truth for truth in truths if any(truth.take(end, axis).any() for axis in range(3) for end in (0, -1))]
    assert 3 <= len(cut) < 40
    assert max(truth.mean() for truth in cut) > 0.3


def test_contours_are_those_of_people(library: Library) -> None:
    """The ball of the sarcoma is brighter than all around it, the cube in the neck, too."""
    rng = np.random.default_rng(2)
    for source in ("sarcomas", "contours"):
        shares = []
        for _ in range(6):
            sample = sources(library, "roles = [1, 0, 0]").draw(rng, source)
            shown = [channel for channel in sample.images if channel.any()]
            inside = [abs(c[sample.truth].mean() - c[~sample.truth].mean()) / c.std() for c in shown]
            shares.append(max(inside))
        assert np.median(shares) > 0.7


def test_a_case_shows_as_many_images_as_asked_for_each_family_once(library: Library) -> None:
    rng = np.random.default_rng(0)
    one, two = sources(library, "roles = [1, 0, 0]"), sources(library, "roles = [0.001, 1, 0]")
    (case,) = library.sarcomas
    assert {len(one._roles(case, rng)) for _ in range(10)} == {1}
    assert [sorted(two._roles(case, rng)) for _ in range(10)].count(["ct", "pet"]) >= 9


def test_frequencies_decide_what_is_drawn() -> None:
    rng = np.random.default_rng(0)
    drawn = [drawn_from({"often": 3.0, "never": 0.0, "seldom": 1.0}, rng) for _ in range(400)]
    assert drawn.count("never") == 0
    assert 270 <= drawn.count("often") <= 330


def test_a_large_set_is_drawn_less_often_per_case() -> None:
    large = [TrainingCase(f"large{n}", {}, [], "large") for n in range(4 * MOST_OF_A_SET)]
    small = [TrainingCase(f"small{n}", {}, [], "small") for n in range(MOST_OF_A_SET // 2)]
    shares = shares_of([*large, *small])
    assert shares.sum() == pytest.approx(1)
    np.testing.assert_allclose(shares[: len(large)], shares[-1] / 4)
    assert shares[: len(large)].sum() == pytest.approx(2 / 3)


def test_without_other_sets_images_of_sarcomas_are_taken_and_a_source_without_contours_is_an_error(
    library: Library,
) -> None:
    alone = sources(Library(library.sarcomas, []))
    assert is_visible(alone.draw(np.random.default_rng(0), "lesions").truth)
    with pytest.raises(ArgumentError, match="the source 'contours' has no contours"):
        alone.draw(np.random.default_rng(0), "contours")


def test_visible_objects_have_enough_voxels_and_an_outside() -> None:
    truth = np.zeros((10, 10, 10), dtype=bool)
    truth.ravel()[:19] = True
    assert not is_visible(truth)
    truth.ravel()[19] = True
    assert is_visible(truth)
    truth.ravel()[:950] = True
    assert is_visible(truth)
    truth.ravel()[950] = True
    assert not is_visible(truth)


@pytest.mark.parametrize(
    ("objects", "words"),
    [
        ("sources = { sarcomas = 1, moons = 1 }", "sources = .*must give frequencies of sarcomas, contours"),
        ("sources = { sarcomas = 0 }", "sources = .*must give frequencies"),
        ("next_prompts = { box = 1 }", "next_prompts = .*frequencies of click, scribble, lasso"),
        ("starts = { empty = -1 }", "starts = .*frequencies of empty, corrupted, near"),
        ("roles = [0, 1, 1]", "roles = .*the first above 0"),
        ("most_rounds = 0", "most_rounds"),
        ("clicks = 3", "unknown .*clicks"),
    ],
)
def test_impossible_settings_are_refused(objects: str, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        any_configuration(objects)


def test_a_model_of_any_image_and_its_section_go_together() -> None:
    with pytest.raises(ArgumentError, match=r"input of type 'any image' and a section \[objects\].* go together"):
        any_configuration("", "[objects]\n", "")
    with pytest.raises(ArgumentError, match=r"has its prompts in section \[objects\], not in \[clicks\]"):
        any_configuration("", "[data]", "[clicks]\n[data]")


def test_the_surface_of_an_object_is_seen_where_an_image_shows_a_step() -> None:
    truth = np.zeros((24, 24, 24), dtype=bool)
    truth[6:18, 6:18, 6:18] = True
    noise = np.random.default_rng(0).normal(0, 0.4, truth.shape).astype(np.float32)
    absent = np.zeros_like(noise)
    assert edge_seen(np.stack([noise + 1.5 * truth, absent]), truth) == 1
    assert edge_seen(np.stack([noise, noise[::-1]]), truth) < 0.1
    half = noise.copy()
    half[:, :, :12] += 1.5 * truth[:, :, :12]  # bright as far as the middle, and then like what is around
    assert 0.3 < edge_seen(half[None], truth) < 0.7
    assert edge_seen(np.stack([half, noise - 1.5 * truth]), truth) == 1  # the better one of two images counts
    assert edge_seen(noise[None], np.ones_like(truth)) == 0  # no surface lies in the patch


def test_most_regions_and_lesions_show_their_surface_and_leave_most_of_the_patch(library: Library) -> None:
    drawn, rng = sources(library), np.random.default_rng(4)
    for source in ("regions", "lesions"):
        samples = [drawn.draw(rng, source) for _ in range(30)]
        good = [edge_seen(s.images, s.truth) > SURFACE_SEEN and s.truth.mean() < LARGEST_LESION for s in samples]
        assert sum(good) >= 20, source


def test_lesions_are_seen_in_thick_slices_as_often_as_these_are_drawn(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Means over four slices change little from one slice to the next, along one axis alone."""
    drawn, shares = sources(library), []
    monkeypatch.setattr(shapes, "THICKNESS", (4, 4))
    monkeypatch.setattr(shapes, "ACROSS_K", 1.0)
    for often in (0.0, 1.0):
        monkeypatch.setattr(shapes, "THICK", often)
        rng, ratios = np.random.default_rng(3), []
        for _ in range(8):
            image = max(drawn.draw(rng, "lesions").images, key=np.std)
            across, within = (np.abs(np.diff(image, axis=axis)).mean() for axis in (0, 1))
            ratios.append(across / within)
        shares.append(np.median(ratios))
    assert shares[1] < 0.8 * shares[0]


def test_lesions_lie_in_lungs_as_often_as_asked(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """The only voxel of a lung is the first of the image: where it is taken, nothing but air is seen."""
    drawn, (case,) = sources(library), library.sarcomas
    monkeypatch.setitem(case.__dict__, "lung", np.zeros((1, 3), dtype=int))
    centres: list[np.ndarray] = []
    around = Frame.around
    monkeypatch.setattr(
        draw.Frame, "around", lambda grid, centre, *rest: centres.append(centre) or around(grid, centre, *rest)
    )
    for often, share in ((0.0, 0.0), (1.0, 1.0), (0.5, 0.5)):
        monkeypatch.setattr(draw, "IN_LUNG", often)
        centres.clear()
        rng = np.random.default_rng(0)
        for _ in range(100):
            drawn._suggested(case, "lesions", rng)
        assert np.mean([not centre.any() for centre in centres]) == pytest.approx(share, abs=0.12)


def test_lungs_are_aerated_tissue_but_not_the_air_outside() -> None:
    ct = np.full((40, 40, 40), -1000, np.float32)
    ct[5:35, 5:35, 5:35] = 40
    ct[10:30, 10:30, 10:30] = -850
    images = {"ct": Volume(Grid.from_spacing((40, 40, 40), (1, 1, 1)), ct, "ct")}
    lung = TrainingCase("chest", images, [], "set").lung
    assert len(lung) == 8
    assert len(lung) == 8
    assert (lung >= 10).all()
    assert (lung < 30).all()
    bare = TrainingCase("head", {"mr": images["ct"]}, [], "set")
    assert bare.lung.shape == (0, 3)
