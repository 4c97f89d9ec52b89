"""A detector, or a segmenter, as an ONNX file, compared with the model itself."""

import copy
import importlib.util
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from roikit.errors import RoikitWarning, naming
from roikit.export.segmenter import compare_classes
from roikit.export.table import own_forms, translations, untranslated
from roikit.models import YOLACT, Detector, ImageTransform, PanopticFPN, Segmenter
from roikit.models.parts.inference_layer import refuse_prepared

__all__ = ["OnnxFile", "to_onnx", "without_resizing"]

# What rounding may make of scores and masks; of boxes and keypoints, as a share of the image's longer side.
_TOLERANCE = 1e-4
# Of a hundred keypoints so many are compared: between two cells that are nearly alike rounding decides.
_KEYPOINTS = 95
# With fewer pixels a side the coarsest map has a single cell, and torch.export makes a case of its own of that.
_LEAST_SIZE = 65


@dataclass(frozen=True)
class OnnxFile:
    """What `to_onnx` wrote.

    Attributes:
        path: the file.
        opset: its version of the standard operators.
        inputs: from the name of each input to its shape, "height" and "width" where any size will do; float32 images
            in [0, 1].
        outputs: the names of the outputs: "boxes" (D, 4) in pixels of the image as given, "labels" (D,) int64,
            "scores" (D,), "masks" (D, 1, H, W) where the model has masks, "keypoints" (D, K, 3) and "keypoints_scores"
            (D, K) where it has keypoints; of a segmenter "classes" (H, W) int64 and, with `give_logits`, "logits"
            (num_classes, H, W). With several images "boxes_0", "boxes_1", ...
        detections: how many each example image has; empty for a segmenter.
        differences: from the name of each output but the labels to the largest difference from the detector itself on
            the example images, boxes and keypoints in pixels, of keypoints without the 5 in 100 that differ most; NaN
            where the detections are not the same ones; of a segmenter the part of the pixels whose class differs. None
            where onnxruntime is missing.
    """

    path: Path
    opset: int
    inputs: dict[str, tuple[int | str, ...]]
    outputs: tuple[str, ...]
    detections: tuple[int, ...]
    differences: dict[str, float] | None

    def text(self) -> str:
        """In a few lines."""
        sizes = ", ".join(f"{name} ({', '.join(map(str, shape))})" for name, shape in self.inputs.items())
        lines = [f"{self.path}: opset {self.opset}, {self.path.stat().st_size / 2**20:.1f} MiB",
                 f"in: {sizes}, float32 in [0, 1]", f"out: {', '.join(self.outputs)}"]
        if self.differences is None:
            lines.append("not compared with the model: onnxruntime is not installed")
        else:
            found = ", ".join(f"{name} {value:.1e}" for name, value in self.differences.items())
            what = f"detector, {sum(self.detections)} detections" if self.detections else "model"
            lines.append(f"against the {what}: {found}")
        return "\n".join(lines)


class _Flat(nn.Module):
    """A detector that takes images as arguments and gives its tensors one after the other."""

    def __init__(self, model: Detector) -> None:
        super().__init__()
        self.model = model

    def forward(self, *images: Tensor) -> tuple[Tensor, ...]:
        return tuple(value for found in self.model(list(images)) for value in found.values())


class _AsGiven(ImageTransform):
    """Images keep their sizes."""

    def _resize(self, image: Tensor) -> Tensor:
        return image


def without_resizing(model: Detector) -> Detector:
    """The detector with the same weights that takes images as large as they are, say for sizes left open in an export.

    Args:
        model: a detector of `roikit.models` with its `ImageTransform`; left as it is, and its parts are shared.
    """
    kind = type(model.transform)
    if kind is not ImageTransform:
        raise TypeError(f"without_resizing: model.transform must be an ImageTransform, got {kind.__name__}")
    twin = copy.copy(model)
    twin._modules = dict(model._modules)
    transform = _AsGiven(model.transform.config, model.transform.geometry)
    for name, buffer in model.transform.named_buffers():
        setattr(transform, name, buffer)
    twin._modules["transform"] = transform.train(model.training)
    return twin


def to_onnx(model: Detector | Segmenter, images: Sequence[Tensor], path: str | os.PathLike, *, any_size: bool = False,
            opset: int | None = None, metadata: dict[str, str] | None = None) -> OnnxFile:
    """Write a detector with its whole result, from images to pasted masks, or a segmenter, as an ONNX file.

    Args:
        model: a detector or segmenter of `roikit.models` in evaluation mode, on the CPU, float32, with ``mask_format``
            "soft" or "bool". Not one of `prepare_for_inference`.
        images: as for the model. The file takes as many images of the same sizes; with what they show, only the
            comparison at the end has to do: images with detections say more.
        path: of the file; its folder must exist. Weights of more than 2 GB go into a second file beside it.
        any_size: the file takes one image of any size above 64 pixels a side, and does not resize it as the model
            would: the detector is that of `without_resizing`.
        opset: 18 or newer; default: the one that this torch recommends.
        metadata: strings that the file keeps, say the names of classes.

    Returns:
        An `OnnxFile`. Where onnxruntime is installed, the file has run on the images.

    Raises:
        ImportError: onnx or onnxscript is missing.
        TypeError, ValueError: the model is none of the above, or a model with an op that has no ONNX form.

    Warns:
        RoikitWarning: a difference is above 1e-4 (of boxes and keypoints: 1e-4 of the image's longer side, of the
        keypoints' scores: 1e-4 of the largest), or the detections of model and file are not the same.
    """
    _check(model, images, any_size)
    images = [image.contiguous() for image in images]  # torch.export trips over the guards of others
    if any_size:
        model = without_resizing(model)
    table = translations() | own_forms()
    flat = _Flat(model).eval()
    with torch.no_grad():
        found = model(list(images))
        program = torch.export.export(flat, tuple(images), strict=False, dynamic_shapes=_open_sizes(any_size))
    if missing := untranslated(program, table):
        raise ValueError(f"to_onnx: model has ops without an ONNX form: {', '.join(missing)}")
    keys = tuple(found[0])
    expected = tuple(one[key] for one in found for key in keys)
    several = len(images) > 1
    inputs = [f"image_{i}" if several else "image" for i in range(len(images))]
    outputs = [f"{key}_{i}" if several else key for i in range(len(images)) for key in keys]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's own deprecations
        onnx_program = torch.onnx.export(program, dynamo=True, custom_translation_table=table, input_names=inputs,
                                         output_names=outputs, opset_version=opset, verbose=False)
    onnx_program.model.graph.sort()  # torch's optimizer leaves nodes before those that they need
    onnx_program.model.metadata_props.update(metadata or {})
    path = Path(path)
    with naming(path):
        onnx_program.save(path)
    boxed = "boxes" in keys
    differences = (compare if boxed else compare_classes)(path, images, expected, keys)
    shapes = [(image.shape[0], *(("height", "width") if any_size else image.shape[1:])) for image in images]
    return OnnxFile(path, onnx_program.model.opset_imports[""], dict(zip(inputs, shapes, strict=True)), tuple(outputs),
                    tuple(len(boxes) for boxes in expected[::len(keys)]) if boxed else (), differences)


def _open_sizes(any_size):
    if not any_size:
        return None
    # Without names of their own: torch cannot prove of those that a map's share of the image is the same at every size.
    return (({1: torch.export.Dim.DYNAMIC(min=_LEAST_SIZE), 2: torch.export.Dim.DYNAMIC(min=_LEAST_SIZE)},),)


def _check(model, images, any_size):
    if not isinstance(model, Detector | Segmenter):
        raise TypeError("to_onnx: model must be a detector or a segmenter of roikit.models, got "
                        f"{type(model).__name__}")
    refuse_prepared("to_onnx", model)
    if model.training:
        raise ValueError("to_onnx: model must be in evaluation mode; call model.eval()")
    if getattr(model, "mask_format", "soft") not in ("soft", "bool"):
        raise ValueError(f"to_onnx: mask_format must be one of soft, bool, got {model.mask_format!r}")
    if isinstance(model, YOLACT):  # its masks are made by an op that ONNX has no operators for
        raise ValueError("to_onnx: model has ops without an ONNX form: roikit.assemble_masks, of the masks of "
                         f"{type(model).__name__}")
    selection = getattr(getattr(getattr(model, "roi_heads", None), "box", None), "selection", None)
    if selection is not None and selection.kind == "soft_nms":  # a loop over the classes: torch.export does not get far
        raise ValueError("to_onnx: model has ops without an ONNX form: roikit.soft_nms, of roi_heads.box.selection")
    if isinstance(model, PanopticFPN):  # segments are as many as there are, in a loop over the detections
        raise ValueError("to_onnx: model must not merge things and stuff, which has no ONNX form, as its part panoptic "
                         "does; one of its configuration with panoptic=None takes its weights but those of "
                         "sem_seg_head")
    if any_size and getattr(model, "window", None) is not None:
        raise ValueError("to_onnx: any_size looks at an image as a whole, and model.window asks for sliding windows; "
                         "set it to None")
    if isinstance(model, Detector) and model.geometry.numbers != 4:
        raise ValueError("to_onnx: model has ops without an ONNX form: those of rotated boxes, of roi_heads.geometry")
    if len(images) == 0:
        raise ValueError("to_onnx: images must not be empty")
    if any_size and (len(images) > 1 or min(images[0].shape[1:]) < _LEAST_SIZE):
        raise ValueError(f"to_onnx: any_size needs one image with sides of at least {_LEAST_SIZE} pixels, got "
                         f"{', '.join(str(tuple(image.shape)) for image in images)}")
    for name, tensor in [*model.named_parameters(), *((f"images[{i}]", image) for i, image in enumerate(images))]:
        if tensor.device.type != "cpu" or tensor.dtype != torch.float32:
            raise ValueError(f"to_onnx: model and images must be float32 on the CPU, got {name} of {tensor.dtype} on "
                             f"{tensor.device}")


def compare(path, images, expected, keys):
    """As `OnnxFile.differences`, with a warning where they are large."""
    if importlib.util.find_spec("onnxruntime") is None:
        return None
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    feed = {given.name: image.numpy() for given, image in zip(session.get_inputs(), images, strict=True)}
    got = [torch.from_numpy(value) for value in session.run(None, feed)]
    largest = dict.fromkeys((key for key in keys if key != "labels"), 0.0)
    wrong = []
    for i, image in enumerate(images):
        rows = slice(i * len(keys), (i + 1) * len(keys))
        mine, its = dict(zip(keys, expected[rows], strict=True)), dict(zip(keys, got[rows], strict=True))
        if not torch.equal(mine["labels"], its["labels"]):
            wrong.append(f"image {i}: {len(its['labels'])} detections for the model's {len(mine['labels'])}, or others")
            largest = dict.fromkeys(largest, float("nan"))
            continue
        for key in largest:
            if mine[key].numel() == 0:
                continue
            off = (mine[key].double() - its[key].double()).abs()
            far = off.amax(-1).quantile(_KEYPOINTS / 100).item() if key == "keypoints" else off.max().item()
            largest[key] = max(far, largest[key]) if largest[key] == largest[key] else largest[key]
            unit = max(image.shape[1:]) if key in ("boxes", "keypoints") else 1
            if key == "keypoints_scores":
                unit = max(mine[key].abs().max().item(), 1)
            if not far <= _TOLERANCE * unit:
                wrong.append(f"image {i}: {key} differ by {far:.1e}")
    if wrong:
        warnings.warn(f"to_onnx: {path} does not agree with the model: {'; '.join(wrong)}", RoikitWarning, stacklevel=3)
    return largest
