"""A segmenter as an ONNX file, compared with the segmenter itself."""

import importlib.util
import warnings

import torch

from roikit.errors import RoikitWarning

__all__ = ["compare_classes"]

# Between two classes that are nearly alike rounding decides.
_PIXELS = 0.9999
_TOLERANCE = 1e-4


def compare_classes(path, images, expected, keys):
    """The largest differences of a written segmenter from its own results on images.

    Args:
        path: of the file.
        images: its example images.
        expected: the segmenter's tensors, ``keys`` of one image after the other.
        keys: "classes" and perhaps "logits".

    Returns:
        dict: "classes", the part of an image's pixels that differ, and of "logits" the largest difference as a part of
        the largest logit; None where onnxruntime is missing.
    """
    if importlib.util.find_spec("onnxruntime") is None:
        return None
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    feed = {given.name: image.numpy() for given, image in zip(session.get_inputs(), images, strict=True)}
    got = [torch.from_numpy(value) for value in session.run(None, feed)]
    largest = dict.fromkeys(keys, 0.0)
    for place, (mine, its) in enumerate(zip(expected, got, strict=True)):
        key = keys[place % len(keys)]
        if key == "classes":
            off = (mine != its).float().mean().item()
        else:
            off = ((mine - its).abs().max() / mine.abs().max().clamp(min=1e-6)).item()
        largest[key] = max(largest[key], off)
    if largest.get("classes", 0.0) > 1 - _PIXELS or largest.get("logits", 0.0) > _TOLERANCE:
        told = ", ".join(f"{key} by {value:.1e}" for key, value in largest.items())
        warnings.warn(f"to_onnx: {path} does not agree with the model: {told}", RoikitWarning, stacklevel=3)
    return largest
