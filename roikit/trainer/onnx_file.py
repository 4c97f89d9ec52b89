"""A trained model as an ONNX file."""

import json
from pathlib import Path

import torch

from roikit.data import read_image
from roikit.data.remote import require_path
from roikit.data.transforms import image_tensor
from roikit.export import to_onnx
from roikit.trainer.trained import load_trained, still_transform

__all__ = ["export_onnx"]


def export_onnx(source, path, image, *, any_size=False, mask_format="soft", score_threshold=None, opset=None):
    """Write a trained model as an ONNX file and compare the two on an image.

    Args:
        source: checkpoint, exported weights, or the folder of a run; or the address of one.
        path: of the file, on this machine, in a folder that exists.
        image: file of an image, or its address; the ONNX file takes images of its size.
        any_size, opset: as in `roikit.export.to_onnx`.
        mask_format: "soft" or "bool".
        score_threshold: detections below are left out; default as trained.

    Returns:
        a `roikit.export.OnnxFile`. The file's metadata hold, as JSON, ``categories`` ([{"id", "name"}, ...] in the
        order of the labels 1, 2, ...) and ``per_image_normalize``: whether images have to be stretched as in training,
        which the file does not do (`roikit.data.transforms.PerImageNormalize`).

    Raises:
        FileNotFoundError, ImportError, ValueError: as `load_trained`, `roikit.data.read_image` and `to_onnx`.
    """
    if not Path(require_path(path)).absolute().parent.is_dir():
        raise FileNotFoundError(f"export: {path} must be in a folder that exists")
    trained = load_trained(source, "cpu", score_threshold=score_threshold)
    model = trained.model.to(memory_format=torch.contiguous_format)
    if trained.has_masks:
        model.mask_format = mask_format
    still, pixels = still_transform(trained.config), read_image(image)
    metadata = {"categories": json.dumps(trained.categories), "per_image_normalize": json.dumps(still is not None)}
    tensor = image_tensor(pixels if still is None else still.image(pixels))
    return to_onnx(model, [tensor], path, any_size=any_size, opset=opset, metadata=metadata)
