"""Detectors and ops in ONNX: files that onnxruntime and other runtimes execute without roikit or torch.

`to_onnx` writes a detector of `roikit.models`; `translations` serves torch.onnx.export on any model that calls
roikit.ops. torch.export.export needs nothing from here: after ``import roikit.ops`` it takes roikit's models and ops,
and programs that it saved can be loaded.

Needs torch 2.7 or newer, onnx and onnxscript: ``pip install "roikit[onnx]"``.
"""

from roikit.export.detector import OnnxFile, to_onnx, without_resizing
from roikit.export.table import translations

__all__ = ["OnnxFile", "to_onnx", "translations", "without_resizing"]
