"""Model folders: their content, where they are found, and how published models are downloaded."""

from TumorSegLib.models.folder import ModelFolder, read_model_folder
from TumorSegLib.models.registry import find_model, list_models
from TumorSegLib.models.spec import ModelSpec

__all__ = ["ModelFolder", "ModelSpec", "find_model", "list_models", "read_model_folder"]
