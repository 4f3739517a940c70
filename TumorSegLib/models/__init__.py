"""Model folders: what stands in them, where they are, how they are downloaded."""

from TumorSegLib.models.folder import ModelFolder, read_model_folder
from TumorSegLib.models.registry import find_model, list_models
from TumorSegLib.models.spec import ModelSpec

__all__ = ["ModelFolder", "ModelSpec", "find_model", "list_models", "read_model_folder"]
