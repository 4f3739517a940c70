"""The automatic engine from images to masks, with networks whose answer is known."""

from __future__ import annotations

import json
import weakref

import numpy as np
import pytest
import torch
from torch import nn

from Testing.fakes import noise_volume, rotation, tiny_network, tiny_spec
from Testing.unit.engines.click_cases import WithoutMemory, distance
from TumorSegLib.engines.auto.engine import WINDOWS_PER_PASS, AutoEngine
from TumorSegLib.engines.placement import Placement
from TumorSegLib.engines.runtime import ON_CPU, Runtime
from TumorSegLib.errors import Cancelled, ResourceError, RoleError
from TumorSegLib.evaluation.metrics import dice
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Volume
from TumorSegLib.protocols import Result
from TumorSegLib.session.session import Session

FLOAT32 = Runtime(torch.device("cpu"), torch.float32)
TURN = rotation((0.3, -0.2, 0.6), mirror=True)
OBLIQUE = Grid.from_spacing((20, 23, 26), (1, 1, 1), (-30, 12, 5), TURN)


class Threshold(nn.Module):
    """Foreground where the first channel exceeds 1 in network units: 80 HU, SUV 1.72."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(8.0))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (images[:, :1] - 1) * self.slope


class Hungry(Threshold):
    """Runs out of memory on windows of more voxels than it can take; the engine's copies of it are itself."""

    def __init__(self, most: int, error: Exception) -> None:
        super().__init__()
        self.most, self.error = most, error
        self.sizes: list[tuple[int, ...]] = []
        self.refused: list[weakref.ref[torch.Tensor]] = []
        self.alive = 0

    def __deepcopy__(self, _: object) -> Hungry:
        return self

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.alive = max(self.alive, sum(reference() is not None for reference in self.refused))
        self.sizes.append(tuple(images.shape[2:]))
        if images[0, 0].numel() > self.most:
            self.refused.append(weakref.ref(images))
            raise self.error
        return super().forward(images)


TORCH_ERROR = RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried")


def engine(network=None, spec=None, **changes) -> AutoEngine:
    return AutoEngine(spec or tiny_spec(**changes), network or Threshold(), FLOAT32)


def ball(grid: Grid, centre, radius: float, role: str = "ct", inside=150.0, outside=-50.0) -> Volume:
    """A sphere in world coordinates with an edge one millimetre wide."""
    depth = radius - distance(grid, [grid.to_ijk(centre)])
    return Volume(grid, outside + (inside - outside) * np.clip(0.5 + depth, 0, 1), role)


def wrong(result: Result, image: Volume) -> int:
    """Number of voxels on the wrong side of the threshold, except those that float16 rounds to a probability of 0.5."""
    certain = np.abs(image.array - 80) > 0.05
    return int(((result.mask.array == 1) != (image.array > 80))[certain].sum())


@pytest.mark.parametrize("shape", [(20, 23, 26), (5, 7, 40), (3, 1, 2)], ids=["larger", "partly smaller", "tiny"])
def test_an_image_at_the_spacing_of_the_model_is_not_resampled(shape):
    grid = Grid.from_spacing(shape, (1, 1, 1), (-30, 12, 5), TURN)
    image = noise_volume(grid)
    result = engine().segment({"ct": image})
    assert wrong(result, image) == 0
    expected = 1 / (1 + np.exp(-8 * ((image.array + 20) / 100 - 1)))
    assert result.probability.array == pytest.approx(expected, abs=3e-4)
    assert result.mask.grid is result.probability.grid is grid
    assert result.probability.role == "probability"
    assert result.uncertainty is None


def test_a_small_image_is_padded_with_the_fill_values():
    class Recorder(Threshold):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            windows.append(images.clone())
            return super().forward(images)

    windows: list[torch.Tensor] = []
    image = noise_volume(Grid.from_spacing((4, 16, 9), (1, 1, 1)))
    spec = tiny_spec("two", ["ct", "pet"], optional=["pet"])
    engine(Recorder(), spec).segment({"ct": image})
    (window,) = windows
    expected = np.full((16, 16, 16), -1.4, np.float32)
    expected[6:10, :, 3:12] = (image.array + 20) / 100
    assert window[0, 0].numpy() == pytest.approx(expected)
    assert not window[0, 1].any()


@pytest.mark.parametrize("direction", [np.eye(3), TURN], ids=["straight", "oblique and mirrored"])
@pytest.mark.parametrize("spacing", [(2.3, 2.3, 2.3), (0.6, 0.6, 0.6), (0.7, 0.7, 3.0)], ids=str)
def test_at_another_spacing_the_tumour_keeps_its_place(spacing, direction):
    shape = tuple(int(36 / s) for s in spacing[::-1])
    grid = Grid.from_spacing(shape, spacing, (7, -80, 200), direction)
    centre = grid.to_ras((np.array(grid.size) - 1) * (0.5, 0.4, 0.6))
    image = ball(grid, centre, 9)
    result = engine().segment({"ct": image})
    truth = image.array > 80
    assert result.mask.grid is grid
    assert dice(result.mask.array.astype(bool), truth) > 0.95
    found = grid.to_ras(np.argwhere(result.mask.array)[:, ::-1].mean(axis=0))
    assert np.linalg.norm(found - centre) < 0.5


def test_the_result_is_on_the_grid_of_the_first_image():
    ct_grid = OBLIQUE
    pet_grid = Grid.from_spacing((14, 16, 18), (1.5, 1.5, 1.5), ct_grid.origin, TURN)
    spec = tiny_spec("two", ["ct", "pet"])
    centre = ct_grid.to_ras((12, 11, 10))
    ct, pet = ball(ct_grid, centre, 7), ball(pet_grid, centre, 7, "pet", 5, 1)
    for images, other in (({"ct": ct, "pet": pet}, "pet"), ({"pet": pet, "ct": ct}, "ct")):
        first = next(iter(images.values()))
        result = engine(spec=spec).segment(images)
        assert result.mask.grid is first.grid
        assert result.info["resampled_roles"] == [other]
        assert dice(result.mask.array.astype(bool), first.array > np.mean([first.array.min(), first.array.max()])) > 0.9


def test_several_labels_keep_their_numbers_through_resampling():
    class Two(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            ct = images[:, :1]
            return torch.cat([20 * (0.6 - (ct - 1).abs()), 20 * (ct - 1.6)], dim=1)

    grid = Grid.from_spacing((24, 24, 24), (1.4, 1.4, 1.4), (3, 4, 5), TURN)
    middle = grid.to_ras((11.5, 11.5, 11.5))
    shell, core = ball(grid, middle, 12, inside=80, outside=-100), ball(grid, middle, 6, inside=120, outside=0)
    image = Volume(grid, shell.array + core.array, "ct")
    result = engine(Two(), labels={"rim": 1, "core": 2}).segment({"ct": image})
    assert dice(result.mask.array == 2, image.array > 140) > 0.9
    assert dice(result.mask.array == 1, (image.array > 20) & (image.array <= 140)) > 0.85
    assert set(np.unique(result.mask.array)) == {0, 1, 2}
    each = {name: result.probability_of(name).array for name in ("rim", "core")}
    assert np.abs(each["rim"] + each["core"] - result.probability.array).max() < 0.01
    assert dice(each["core"] > 0.5, result.mask_of("core").array > 0) > 0.95
    session = Session({"ct": image}, initial=result)
    assert session.segments == ("rim", "core")
    assert np.array_equal(session.mask_of("core").array, result.mask.array == 2)


@pytest.mark.parametrize("shape", [(9, 20, 7), (20, 22, 24)])
def test_each_of_several_labels_lies_where_it_is_in_images_smaller_than_a_window_too(shape):
    class Bright(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.cat([20 * n * (images[:, :1] - step) for n, step in ((1, 0.5), (2, 1.0))], dim=1)

    grid = Grid.from_spacing(shape, (1, 1, 1))
    array = np.full(shape, -20.0, np.float32)  # 0 after normalisation
    array[2:7, 3:12, 1:6] = 80
    array[4:6, 5:9, 2:4] = 180
    result = engine(Bright(), labels={"core": 2, "rim": 1}).segment({"ct": Volume(grid, array, "ct")})
    assert np.array_equal(result.mask_of("rim").array > 0, array == 80)
    assert np.array_equal(result.probability_of("rim").array > 0.5, array == 80)
    assert np.array_equal(result.probability_of("core").array > 0.5, array == 180)
    assert result.labels["core"].box == ((2, 4), (5, 9), (4, 6))


def test_mirroring_gives_the_uncertainty_on_the_user_s_grid():
    grid = Grid.from_spacing((12, 13, 14), (1.5, 1.5, 1.5), (0, 0, 0), TURN)
    image = ball(grid, grid.to_ras((6, 6, 6)), 6)
    plain = engine().segment({"ct": image})
    result = engine().segment({"ct": image}, mirror=True)
    assert result.uncertainty is not None
    assert result.uncertainty.grid is grid
    assert result.uncertainty.role == "uncertainty"
    assert 0 <= result.uncertainty.array.min() < 0.01
    assert 0.5 < result.uncertainty.array.max() <= 1
    assert result.info["mirror"] is True
    assert result.probability.array == pytest.approx(plain.probability.array, abs=2e-3)  # the network is symmetric


def test_info_is_json_with_windows_and_seconds():
    pet = Volume(Grid.from_spacing((20, 20, 20), (2, 2, 2), OBLIQUE.origin, TURN), np.ones((20, 20, 20)), "pet")
    spec = tiny_spec("two", ["ct", "pet"])
    info = json.loads(
        json.dumps(dict(engine(spec=spec).segment({"ct": noise_volume(OBLIQUE), "pet": pet}).info), allow_nan=False)
    )
    seconds = info.pop("seconds")
    assert info == {
        "model": "two",
        "version": "1.2.3",
        "weights_sha256": "",
        "roles": ["ct", "pet"],
        "resampled_roles": ["pet"],
        "device": "cpu",
        "precision": "float32",
        "backend": "torch",
        "threads": 1,
        "network_spacing_mm": pytest.approx([1, 1, 1]),
        "window": [16, 16, 16],
        "overlap": 0.5,
        "mirror": False,
        "windows": 2 * 2 * 3,
        "windows_skipped": 0,
        "notes": [],
    }
    assert seconds.keys() == {"prepare", "network", "restore"}
    assert min(seconds.values()) >= 0


def test_missing_roles_are_refused_before_the_network_runs():
    network = Hungry(0, RuntimeError("must not run"))
    with pytest.raises(RoleError, match="needs pet; its roles are ct, pet"):
        engine(network, roles=("ct", "pet")).segment({"ct": noise_volume(OBLIQUE)})
    assert network.sizes == []


def test_windows_of_air_are_skipped_and_are_not_tumour():
    air = {"ct": Volume(OBLIQUE, np.full(OBLIQUE.shape, -1000.0))}
    calls: list[int] = []
    with pytest.raises(Cancelled, match="of 12 windows"):
        engine().segment(air, cancel=lambda: calls.append(0) or len(calls) > 1)
    result = engine(nn.Identity()).segment(air)
    assert result.info["windows_skipped"] == result.info["windows"] == 12
    assert not result.mask.array.any()
    assert not result.probability.array.any()


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16], ids=str)
def test_a_real_network_runs_in_lower_precision(precision):
    spec = tiny_spec()
    image = {"ct": noise_volume(OBLIQUE)}
    exact = AutoEngine(spec, tiny_network(spec), FLOAT32).segment(image).probability.array
    rough = AutoEngine(spec, tiny_network(spec), Runtime(torch.device("cpu"), precision)).segment(image)
    assert rough.info["precision"] == str(precision).removeprefix("torch.")
    assert not np.array_equal(rough.probability.array, exact)
    assert rough.probability.array.dtype == np.float32
    assert rough.probability.array == pytest.approx(exact, abs=0.05)


@pytest.mark.parametrize(
    "error",
    [
        TORCH_ERROR,
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 911360 bytes."),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        MemoryError(),
    ],
    ids=["torch on Linux", "torch on Windows", "CUDA", "cuDNN", "numpy"],
)
def test_out_of_memory_leads_to_smaller_windows_and_the_same_result(error):
    image = noise_volume(Grid.from_spacing((40, 50, 64), (1, 1, 1)))
    network = Hungry(32 * 32 * 64, error)
    result = engine(network, patch=(64, 64, 64)).segment({"ct": image})
    assert network.sizes[:2] == [(64, 64, 64), (32, 32, 64)]
    assert result.info["window"] == [32, 32, 64]
    assert wrong(result, image) == 0
    assert network.alive == 0, "the window that was too large is still in memory"


@pytest.mark.parametrize(
    ("patch", "network", "batch", "sizes"),
    [
        ((48, 64, 64), "DynUNet", 1, [(48, 64, 64), (48, 32, 64), (32, 32, 64)]),
        ((96, 96, 96), "DynUNet", 1, [(96, 96, 96), (64, 64, 64), (32, 32, 64)]),
        ((160, 128, 128), "DynUNet", 1, [(160, 128, 128), (96, 128, 128), (96, 64, 64), (64, 64, 64), (32, 32, 64)]),
        ((64, 64, 64), "DynUNet", 4, [(64, 64, 64), (64, 64, 64), (32, 32, 64)]),
        ((16, 16, 16), "DynUNet", 1, [(16, 16, 16)]),
        ((96, 96, 96), "UNETR", 1, [(96, 96, 96)]),  # a network of fixed size
    ],
)
def test_windows_shrink_to_multiples_of_32_before_a_lack_of_memory_is_reported(
    monkeypatch, patch, network, batch, sizes
):
    monkeypatch.setitem(WINDOWS_PER_PASS, "cpu", batch)
    hungry = Hungry(0, TORCH_ERROR)
    smallest = str(sizes[-1]).replace("(", r"\(").replace(")", r"\)")
    words = rf"'tiny' on \(20, 23, 26\) voxels, even in tiles of {smallest}.*can't all"
    with pytest.raises(ResourceError, match=words):
        engine(hungry, tiny_spec(patch=patch, network=network)).segment({"ct": noise_volume(OBLIQUE)})
    assert hungry.sizes == sizes


def test_out_of_memory_on_a_device_falls_back_to_the_cpu_for_this_case_only():
    devices: list[str] = []
    image = {"ct": noise_volume(Grid.from_spacing((16, 16, 16), (1, 1, 1)))}
    runner = AutoEngine(tiny_spec(), WithoutMemory(devices), Runtime(torch.device("meta"), torch.bfloat16))
    for _ in range(2):
        result = runner.segment(image)
        assert (result.info["device"], result.info["precision"]) == ("cpu", "float32")
        assert result.info["notes"] == ["There was not enough memory on meta for tiny: it ran on the CPU, slower."]
        assert wrong(result, image["ct"]) == 0
    assert devices == ["meta", "cpu"] * 2


@pytest.mark.parametrize(
    "error", [MemoryError("Unable to allocate 9 GiB"), RuntimeError("Failed to allocate memory for image.")]
)
def test_out_of_memory_before_the_network_is_reported_as_such(error, monkeypatch):
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("TumorSegLib.engines.auto.engine.prepare", fail)
    with pytest.raises(ResourceError, match=r"not enough memory to run 'tiny': .*allocate"):
        engine().segment({"ct": noise_volume(OBLIQUE)})


def test_other_errors_of_a_network_are_not_taken_for_a_lack_of_memory():
    network = Hungry(0, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        engine(network, patch=(64, 64, 64)).segment({"ct": noise_volume(OBLIQUE)})
    assert len(network.sizes) == 1


def test_cancelling_leaves_the_engine_usable():
    runner, image = engine(), {"ct": noise_volume(OBLIQUE)}
    before = runner.segment(image)
    with pytest.raises(Cancelled, match="before it began"):
        runner.segment(image, cancel=lambda: True)
    reports: list[int] = []
    with pytest.raises(Cancelled, match="after 3 of 12 windows"):
        runner.segment(image, progress=lambda done, _: reports.append(done), cancel=lambda: len(reports) == 3)
    after = runner.segment(image, progress=lambda done, total: reports.append(total - done), cancel=lambda: False)
    assert np.array_equal(after.probability.array, before.probability.array)
    assert reports == [1, 2, 3, *range(11, -1, -1)]


def test_fallback_to_float32_does_not_keep_the_rounding_of_lower_precision():
    spec, image = tiny_spec(), {"ct": noise_volume(OBLIQUE)}
    network = tiny_network(spec)
    exact = AutoEngine(spec, network, FLOAT32).segment(image)
    placement = Placement(spec, network, Runtime(torch.device("cpu"), torch.bfloat16))
    assert next(placement.network(placement.wanted).parameters()).dtype is torch.bfloat16
    fallen = AutoEngine(spec, placement.network(ON_CPU), FLOAT32).segment(image)
    assert np.array_equal(fallen.probability.array, exact.probability.array)
