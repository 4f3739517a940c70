"""The click engine: inputs of its network, errors, and real networks in sessions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from Testing.fakes import noise_volume, rotation, tiny_network, tiny_spec
from Testing.unit.engines.click_cases import (
    CPU,
    GRIDS,
    ROLES,
    WithoutMemory,
    blank,
    block,
    distance,
    engine_of,
    everything,
    hot,
    images_on,
    images_with,
    nothing,
    recorded,
    refined,
    spacings,
    spec_of,
    the_same,
)
from TumorSegLib.engines.clicks.engine import ClickEngine
from TumorSegLib.engines.inputs import prepare
from TumorSegLib.engines.runtime import Runtime
from TumorSegLib.errors import ArgumentError, Cancelled, GeometryError, ResourceError
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Volume
from TumorSegLib.prompts.types import Click, Prompts
from TumorSegLib.session.session import Session


def test_channels_are_images_previous_probability_and_nearness() -> None:
    """The images have the order of the model, not of the caller."""
    grid = Grid.from_spacing((16, 16, 16), (2, 2, 2), (5, 6, 7), rotation((0.4, 0.1, 0.2)))
    images, inputs, spec = images_on(grid), [], spec_of()
    start = np.random.default_rng(0).integers(0, 256, grid.shape).astype(np.uint8)
    prompts = Click((3, 4, 5)), Click((12, 9, 2), False), Click((6, 11, 13))
    in_other_order = {"pet": images["pet"], "ct": images["ct"]}
    for given in (images, in_other_order):
        refined(engine_of(recorded(the_same, inputs), spec), given, start, *prompts)
        ct, pet, previous, positive, negative = inputs.pop()
        assert np.array_equal(np.stack([ct, pet]), prepare(images, spec).array)
        assert previous == pytest.approx(start / 255, abs=1e-6)
        assert positive == pytest.approx(np.exp(-distance(grid, [(3, 4, 5), (6, 11, 13)]) / 10), abs=1e-5)
        assert negative == pytest.approx(np.exp(-distance(grid, [(12, 9, 2)]) / 10), abs=1e-5)


def test_nearness_is_in_millimetres_at_every_spacing() -> None:
    """Within thick slices and across them, and in the coarse patch."""
    grid, inputs = Grid.from_spacing((20, 64, 64), (1, 1, 4)), []
    engine = engine_of(recorded(everything, inputs), spec_of(1.0))
    refined(engine, images_with(grid, blank(grid) > 0), blank(grid), Click((32, 32, 10)))
    assert spacings(inputs)[:2] == [1.0, 2.0]
    for channels, step in zip(inputs, (1.0, 2.0)):
        k, j, i = np.unravel_index(channels[-2].argmax(), channels[-2].shape)
        far = channels[-2][:, j, i], channels[-2][k, :, i], channels[-2][k, j, :]
        for line in far:
            assert -10 * np.log(line[1] / line[0]) == pytest.approx(-step, abs=0.12)
        assert not channels[-1].any()


def test_pet_on_a_grid_of_its_own() -> None:
    grid = Grid.from_spacing((32, 32, 32), (1, 1, 1))
    turned = rotation((0, 0, 0.5))
    other = Grid.from_spacing((26, 26, 26), (2, 2, 2), np.array([16, 16, 16]) - turned @ [25, 25, 25], turned)
    middle = grid.to_ijk(other.to_ras((13, 13, 13)))
    near = np.linalg.norm(np.stack(np.meshgrid(*[np.arange(26)] * 3, indexing="ij"), -1) - 13, axis=-1) * 2
    images = {"ct": noise_volume(grid), "pet": Volume(other, np.where(near < 6.5, 10, 0.5), "pet")}
    after, _ = refined(engine_of(hot), images, blank(grid), Click(tuple(int(n) for n in np.rint(middle))))
    far = distance(grid, [middle])
    assert (after[far < 4.5] >= 128).all()
    assert (after[far > 8.5] < 128).all()


@pytest.mark.parametrize(
    ("raised", "expected", "words"),
    [
        (RuntimeError("CUDA error: out of memory"), ResourceError, "not enough memory to run 'tiny'"),
        (RuntimeError("sizes do not match"), RuntimeError, r"^sizes do not match$"),
    ],
)
def test_only_a_lack_of_memory_is_reported_as_one(raised: Exception, expected: type[Exception], words: str) -> None:
    def fail(_: torch.Tensor) -> torch.Tensor:
        raise raised

    with pytest.raises(expected, match=words):
        refined(engine_of(fail), images_on(GRIDS["oblique"]), blank(GRIDS["oblique"]), Click((9, 9, 9)))


@pytest.mark.parametrize("when", [1, 2, 3])
def test_cancelling_before_a_run_of_the_network_changes_nothing(when: int) -> None:
    grid = Grid.from_spacing((40, 40, 40), (1, 1, 1))
    rod, inputs, calls = block(grid, (4, 36), (18, 22), (18, 22)), [], []

    engine, click = engine_of(recorded(hot, inputs), spec_of(1.0)), Click((20, 20, 20))
    session = Session(images_with(grid, rod), clicks=engine)
    with pytest.raises(Cancelled, match="nothing was changed"):
        session.add_click(click, cancel=lambda: calls.append(0) or len(calls) == when)
    assert len(inputs) == when - 1
    assert (session.mask.array.any(), len(session.prompts), session.can_undo) == (False, 0, False)
    session.add_click(click, cancel=lambda: calls.append(0) is not None)
    assert len(calls) == when + 3
    assert session.mask.array.any()


def test_corrections_without_a_prompt_or_with_another_probability_are_refused() -> None:
    engine, prompts = engine_of(nothing), Prompts((Click((9, 9, 9)),))
    prepared = engine.prepare(images_on(GRIDS["as the model"]))
    with pytest.raises(ArgumentError, match="at least one prompt"):
        engine.refine(prepared, np.zeros((20, 22, 24), np.uint8), Prompts())
    with pytest.raises(GeometryError, match=r"shape \(20, 22, 23\), the first image \(20, 22, 24\)"):
        engine.refine(prepared, np.zeros((20, 22, 23), np.uint8), prompts)
    with pytest.raises(ArgumentError, match="float32; uint8 is needed"):
        engine.refine(prepared, np.zeros((20, 22, 24), np.float32), prompts)


def test_out_of_memory_on_a_device_falls_back_to_the_cpu_for_this_case_only() -> None:
    devices: list[str] = []
    grid = GRIDS["as the model"]
    engine = ClickEngine(spec_of(), WithoutMemory(devices), Runtime(torch.device("meta"), torch.bfloat16))
    for _ in range(2):
        devices.clear()
        prepared = engine.prepare(images_on(grid))
        infos = [engine.refine(prepared, blank(grid), Prompts((Click((9, 9, 9)),))).info for _ in range(2)]
        for info in infos:
            assert (info.device, info.precision) == ("cpu", "float32")
            assert info.notes == ("There was not enough memory on meta for tiny: it ran on the CPU, slower.",)
        assert devices[0] == "meta"
        assert set(devices[1:]) == {"cpu"}
    assert engine.info.device == "meta"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("labels", [{"tumour": 1}, {"core": 1, "oedema": 2}])
def test_a_real_network_in_a_session(dtype: torch.dtype, labels: dict[str, int]) -> None:
    """With random weights: clicks constrain the mask, every edit can be undone."""
    grid = GRIDS["oblique"]
    spec = tiny_spec(roles=ROLES, kind="clicks", spacing_mm=(2.0, 2.0, 2.0), labels=labels, weights_sha256="ab" * 32)
    engine = ClickEngine(spec, tiny_network(spec), Runtime(CPU, dtype))
    session = Session(images_on(grid), clicks=engine)
    masks = [session.mask.array]
    for click in (Click((8, 8, 8)), Click((12, 9, 10), False), Click((3, 18, 15))):
        edit = session.add_click(click)
        masks.append(session.mask.array)
        for prompt in session.prompts.items:
            assert isinstance(prompt, Click)
            assert session.mask.array[prompt.ijk[::-1]] == prompt.positive
        assert set(edit.info["seconds"]) == {"encode", "network", "paste"}
        assert edit.info["precision"] == str(dtype).removeprefix("torch.")
        assert (edit.info["model"], edit.info["version"], edit.info["device"]) == ("tiny", "1.2.3", "cpu")
        assert (edit.info["weights_sha256"], edit.info["roles"]) == ("ab" * 32, ["ct", "pet"])
    for mask in reversed(masks[:-1]):
        session.undo()
        assert np.array_equal(session.mask.array, mask)
