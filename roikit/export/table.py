"""Which op becomes what in ONNX."""

import importlib

import torch

import roikit.ops  # noqa: F401  defines torch.ops.roikit

__all__ = ["own_forms", "translations", "untranslated"]

_FILES = ("geometry", "keypoints", "rois", "suppression")


def translations():
    """The ONNX forms of roikit's ops, for ``torch.onnx.export(..., custom_translation_table=translations())``.

    Returns:
        dict from the overloads of torch.ops.roikit to functions that write opset 18. Ops of roikit that are composed of
        torch's (box_area, clip_boxes_to_image, the losses, ...) need no entry. An op that has neither (soft_nms, the
        rotated ops, ...) makes torch.onnx.export fail with its name.

    Raises:
        ImportError: onnx or onnxscript is missing.
    """
    return {getattr(torch.ops.roikit, name).default: getattr(file, name)
            for file in map(_file, _FILES) for name in file.__all__}


def own_forms():
    """Forms of torch's ops that, unlike torch's own, serve an image without detections."""
    return {torch.ops.aten.group_norm.default: _file("norm").group_norm}


def _file(name):
    try:
        return importlib.import_module(f"roikit.export.{name}")
    except ImportError as error:
        if (error.name or "").split(".")[0] not in ("onnx", "onnxscript"):
            raise
        raise ImportError(f'roikit.export needs {error.name}: pip install "roikit[onnx]"', name=error.name) from None


def untranslated(program, table):
    """The names of the ops of an exported program that neither torch nor the table has an ONNX form of."""
    known = {"aten", "prim", "prims", "_operator"}
    names = set()
    for module in program.graph_module.modules():
        for node in getattr(module, "graph", torch.fx.Graph()).nodes:
            op = node.target
            if isinstance(op, torch._ops.OpOverload) and op.namespace not in known and op not in table:
                names.add(f"{op.namespace}.{op._schema.name.split('::')[-1]}")
    return sorted(names)
