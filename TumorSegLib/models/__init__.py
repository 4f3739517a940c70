"""Model folders: what stands in them, where they are, how they are downloaded."""

from TumorSegLib.models.registry import ModelFolder, ModelSpec, find_model, list_models, read_model_folder

__all__ = ["ModelFolder", "ModelSpec", "find_model", "list_models", "read_model_folder"]
