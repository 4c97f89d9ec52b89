"""The public surface: `__all__` says what is public, the floors share their names and arguments, imports stay light."""

import ast
import importlib
import importlib.util
import inspect
import re
from pathlib import Path

import pytest

FLOORS = ("roikit.reference", "roikit.kernels", "roikit.ops")
FUNCTIONS = {
    "cell_anchors": "sizes, aspect_ratios, *, rounded, order, dtype",
    "grid_anchors": "cell_anchors, feature_size, stride, *, offset",
    "box_area": "boxes",
    "box_convert": "boxes, in_fmt, out_fmt",
    "clip_boxes_to_image": "boxes, size",
    "remove_small_boxes": "boxes, min_size",
    "masks_to_boxes": "masks, *, inclusive",
    "box_iou": "boxes1, boxes2",
    "generalized_box_iou": "boxes1, boxes2",
    "distance_box_iou": "boxes1, boxes2, eps",
    "complete_box_iou": "boxes1, boxes2, eps",
    "encode_boxes": "boxes, anchors, weights",
    "decode_boxes": "deltas, anchors, weights, *, clip",
    "encode_keypoints": "keypoints, boxes, size",
    "decode_keypoints": "maps, boxes",
    "match_boxes": "anchors, gt_boxes, high, low, *, allow_low_quality",
    "nms": "boxes, scores, iou_threshold",
    "batched_nms": "boxes, scores, idxs, iou_threshold",
    "nms_padded": "boxes, scores, iou_threshold, max_output",
    "box_iou_rotated": "boxes1, boxes2",
    "nms_rotated": "boxes, scores, iou_threshold",
    "batched_nms_rotated": "boxes, scores, idxs, iou_threshold",
    "roi_align_rotated": "input, boxes, output_size, spatial_scale, sampling_ratio",
    "encode_boxes_rotated": "boxes, anchors, weights",
    "decode_boxes_rotated": "deltas, anchors, weights, *, clip",
    "cell_anchors_rotated": "sizes, aspect_ratios, angles, *, dtype",
    "soft_nms": "boxes, scores, iou_threshold, *, sigma, min_score, method",
    "fast_nms": "boxes, scores, idxs, iou_threshold, *, top_k, cross_class",
    "matrix_nms": "boxes, scores, idxs, *, sigma, min_score, method",
    "roi_pool": "input, boxes, output_size, spatial_scale",
    "roi_align": "input, boxes, output_size, spatial_scale, sampling_ratio, aligned",
    "multiscale_roi_align": "features, boxes, output_size, scales, *, sampling_ratio, aligned, canonical_scale, "
                            "canonical_level",
    "ps_roi_align": "input, boxes, output_size, spatial_scale, sampling_ratio",
    "ps_roi_pool": "input, boxes, output_size, spatial_scale",
    "roi_warp": "input, boxes, output_size, spatial_scale, *, reduce",
    "deform_conv2d": "input, offset, weight, bias, stride, padding, dilation, mask",
    "paste_masks": "masks, boxes, image_size, *, threshold, rule",
    "paste_masks_rle": "masks, boxes, image_size, *, threshold, rule",
    "mask_targets": "masks, boxes, matched, size, *, rule, image_size",
}
EXTRA = {"roikit.kernels": {"out", "threads"}, "roikit.ops": {"device"}}


def arguments(function, without=()):
    listed, star = [], False
    for p in inspect.signature(function).parameters.values():
        if p.name in without:
            continue
        if p.kind is p.KEYWORD_ONLY and not star:
            listed, star = [*listed, "*"], True
        listed.append(p.name)
    return ", ".join(listed)


@pytest.mark.parametrize("floor", FLOORS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_has_the_same_arguments_on_every_floor(name, floor):
    function = getattr(importlib.import_module(floor), name)
    assert arguments(function, EXTRA.get(floor, ())) == FUNCTIONS[name]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_has_the_same_defaults_on_every_floor(name):
    def defaults(floor):
        parameters = inspect.signature(getattr(importlib.import_module(floor), name)).parameters.values()
        return {p.name: p.default for p in parameters
                if p.default is not p.empty and p.name not in {"dtype"} | EXTRA.get(floor, set())}

    reference = defaults(FLOORS[0])
    assert all(defaults(floor) == reference for floor in FLOORS[1:])


@pytest.mark.parametrize("module", ["roikit.kernels", "roikit.ops", "roikit.masks", "roikit.models", "roikit.data",
                                    "roikit.trainer", "roikit.reference", "roikit.export"])
def test_all_names_exist_and_are_documented(module):
    module = importlib.import_module(module)
    for name in module.__all__:
        thing = getattr(module, name)
        assert not callable(thing) or inspect.getdoc(thing), f"{module.__name__}.{name} has no docstring"


def test_every_public_name_of_roikit_resolves():
    import roikit

    for name in roikit.__all__:
        assert getattr(roikit, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    import roikit

    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        roikit.nothing  # noqa: B018


@pytest.mark.parametrize("module", ["roikit", "roikit.kernels", "roikit.masks", "roikit.reference", "roikit.cli"])
def test_importing_needs_no_torch_and_no_extra(module, run_python):
    run_python(f"import sys; sys.modules['torch'] = None; import {module}; "
               "assert not {m.split('.')[0] for m in sys.modules} & {'PIL', 'matplotlib', 'pycocotools', 'yaml'}")


def test_kernels_import_within_50_ms_of_numpy(run_python):
    code = "import time, numpy; t = time.perf_counter(); import roikit.kernels; print(time.perf_counter() - t)"
    times = [float(run_python(code)) for _ in range(5)]
    assert min(times) <= 0.05, times


@pytest.mark.parametrize("name", ["_core", "_cuda"])
def test_the_stub_of_a_compiled_module_names_what_it_has(name):
    if importlib.util.find_spec(f"roikit.{name}") is None:
        pytest.skip(f"roikit was built without {name}")
    module = importlib.import_module(f"roikit.{name}")
    stub = Path(module.__file__).parent / f"{name}.pyi"
    listed = {}
    for node in ast.parse(stub.read_text()).body:
        if isinstance(node, ast.FunctionDef):
            listed[node.name] = [a.arg for a in node.args.args]
        elif isinstance(node, (ast.ClassDef, ast.AnnAssign)):
            listed[node.name if isinstance(node, ast.ClassDef) else node.target.id] = None
    assert sorted(listed) == sorted(n for n in vars(module) if not n.startswith("__"))
    for function, expected in listed.items():
        if expected is not None:  # pybind11 writes the signature into the first line
            signature = getattr(module, function).__doc__.splitlines()[0]
            assert re.findall(r"(\w+): ", signature) == expected, function
