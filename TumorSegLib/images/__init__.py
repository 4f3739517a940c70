"""Images and masks: roles, normalisation, resampling, display windows."""

from TumorSegLib.images.volume import Images, Mask, Volume

__all__ = ["Images", "Mask", "Volume"]
