"""The engines of a session and the images prepared for them."""

from __future__ import annotations

from typing import Any

from TumorSegLib.errors import ArgumentError
from TumorSegLib.images.image_set import ImageSet
from TumorSegLib.prompts.constraints import CONSTRAINT_RADIUS_MM, nearest_mm
from TumorSegLib.protocols import AutoSegmenter, BoxOptions, BoxSegmenter, ClickSegmenter, check_kinds


class EngineSet:
    """At most one engine of each kind. Images are prepared when an engine is first asked for."""

    def __init__(
        self,
        images: ImageSet,
        auto: AutoSegmenter | None,
        clicks: ClickSegmenter[Any] | None,
        box: BoxSegmenter[Any] | None,
    ) -> None:
        """Raises :class:`ModelError` if an engine is of another kind."""
        check_kinds(auto=auto, clicks=clicks, box=box)
        self._images = images
        self._auto, self._clicks, self._box = auto, clicks, box
        self._prepared: Any = None
        self._slices: dict[tuple[str, str], Any] = {}

    def has(
        self, auto: AutoSegmenter | None, clicks: ClickSegmenter[Any] | None, box: BoxSegmenter[Any] | None
    ) -> bool:
        """Whether these engines, as far as they are given, are those of the set."""
        pairs = (auto, self._auto), (clicks, self._clicks), (box, self._box)
        return all(given is None or given is current for given, current in pairs)

    def replace(
        self, auto: AutoSegmenter | None, clicks: ClickSegmenter[Any] | None, box: BoxSegmenter[Any] | None
    ) -> None:
        """Takes the engines given in place of those of their kind; raises :class:`ModelError` for another kind."""
        check_kinds(auto=auto, clicks=clicks, box=box)
        if clicks is not None and clicks is not self._clicks:
            self._clicks, self._prepared = clicks, None
        if box is not None and box is not self._box:
            self._box, self._slices = box, {}
        self._auto = auto or self._auto

    def auto(self) -> AutoSegmenter:
        """The automatic engine; raises :class:`ArgumentError` if there is none."""
        if self._auto is None:
            raise ArgumentError("this session has no automatic engine; give one as Session(..., auto=...)")
        return self._auto

    def clicks(self) -> tuple[ClickSegmenter[Any], Any]:
        """The click engine and the images prepared for it.

        Raises:
            ArgumentError: there is no click engine, or the images show nothing.
            RoleError: the images are not what its model takes.
        """
        if self._clicks is None:
            raise ArgumentError("this session has no click engine; give one as Session(..., clicks=...)")
        if self._prepared is None:
            self._images.check_visible()
            self._prepared = self._clicks.prepare(self._images)
        return self._clicks, self._prepared

    @property
    def reach_mm(self) -> float:
        """How far clicks and scribbles decide: with models of any image to the nearest neighbours, else 3 mm."""
        any_image = self._clicks is not None and self._clicks.spec.takes_shapes
        return nearest_mm(self._images.grid) if any_image else CONSTRAINT_RADIUS_MM

    @property
    def boxes_by_clicks(self) -> bool:
        """Whether the click engine answers boxes, because there is no box engine and it can."""
        return self._box is None and self._clicks is not None and self._clicks.spec.takes_shapes

    def box(self, options: BoxOptions) -> tuple[BoxSegmenter[Any], Any]:
        """The box engine and the image prepared for it with these options; that for other options is dropped.

        Raises:
            ArgumentError: there is no box engine, or the images show nothing.
            RoleError: there is no image of the role.
        """
        if self._box is None:
            raise ArgumentError("this session has no box engine; give one as Session(..., box=...)")
        key = options.role or self._images.reference, options.ct_window
        if key not in self._slices:
            self._images.check_visible()
            self._slices = {key: self._box.prepare(self._images, options)}
        return self._box, self._slices[key]
