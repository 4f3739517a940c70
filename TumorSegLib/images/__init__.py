"""Images and masks: roles, normalisation, resampling, display windows."""

from TumorSegLib.images.image_set import ImageSet
from TumorSegLib.images.volume import Images, Mask, Volume

__all__ = ["ImageSet", "Images", "Mask", "Volume"]
