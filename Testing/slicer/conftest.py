"""The test host, the module's logic and bare scenes, for tests of the Slicer module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from Testing.slicer.desk import Case, Desk
from Testing.slicer.module import TUMORSEG
from Testing.slicer.tiny import TINY

if TYPE_CHECKING:
    from Testing.slicer.host.host import Host


@pytest.fixture(scope="session")
def booted_host() -> Iterator[Host]:
    """Slicer's core and Qt, started once; tests take ``host``."""
    pytest.importorskip("slicer_core", reason="the wheel slicer-core is not installed", exc_type=ImportError)
    pytest.importorskip("PySide6", reason="the wheel PySide6-Essentials is not installed", exc_type=ImportError)
    from Testing.slicer.host.host import boot

    with boot() as host:
        yield host


@pytest.fixture
def host(booted_host: Host) -> Iterator[Host]:
    """The host with an empty scene; an exception in a slot, timer or observer fails the test at its end."""
    booted_host.activate()
    yield booted_host
    booted_host.clear()
    booted_host.raise_error()


@pytest.fixture
def tiny_panel(host: Host) -> Any:
    """The open panel of the module ``Tiny``."""
    return host.load_module(TINY)


@pytest.fixture
def qt(host: Host) -> Any:
    """The module ``qt``."""
    import qt

    return qt


@pytest.fixture
def case(host: Host) -> Iterator[Case]:
    """A phantom with the logic of the module, without a window."""
    made = Case(host.load_module(TUMORSEG, with_panel=False))
    yield made
    made.logic.close()


@pytest.fixture
def desk(host: Host) -> Desk:
    """A user at the open panel with a phantom chosen."""
    return Desk(host)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Any]:
    """An empty scene without the host."""
    from Testing.slicer.scene import empty_scene

    with empty_scene(tmp_path) as made:
        yield made


@pytest.fixture
def dropped() -> list[tuple[str, str]]:
    """Node and segment of the sessions that the store dropped."""
    return []


@pytest.fixture
def store(scene: Any, dropped: list[tuple[str, str]]) -> Iterator[Any]:
    """The sessions of the empty scene."""
    from Testing.slicer.scene import sessions

    made = sessions.Sessions(scene, lambda *key: dropped.append(key))
    yield made
    made.close()
