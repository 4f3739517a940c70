"""Volume, diameters, uptake and shape of tumours."""

from TumorSegLib.measurements.tumour import Measurements, measure

__all__ = ["Measurements", "measure"]
