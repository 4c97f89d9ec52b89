"""Training, evaluation and prediction; ``roikit.train`` and its siblings live here."""

import importlib

__all__ = ["ConfigError", "IncompleteRun", "NonFiniteLoss", "TrainConfig", "analyse", "coco_scores", "evaluate",
           "export_onnx", "load_config", "panoptic_quality", "pixel_quality", "predict", "preset_names", "quantize",
           "train"]

_HOME = {
    "ConfigError": "fields",
    "IncompleteRun": "failures",
    "NonFiniteLoss": "step",
    "TrainConfig": "config",
    "analyse": "analysis",
    "coco_scores": "scores",
    "evaluate": "evaluation",
    "export_onnx": "onnx_file",
    "load_config": "config",
    "panoptic_quality": "map_files",
    "pixel_quality": "map_files",
    "predict": "prediction",
    "preset_names": "config",
    "quantize": "int8",
    "train": "loop",
}


def __getattr__(name):
    # Scoring ready results and the build report must not wait for torch.
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *__all__])
