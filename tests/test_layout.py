"""The house rules that a machine can hold: who may import whom, one name on every floor, files of a readable size."""

import ast
import importlib
import inspect
import math
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OPS = ("anchors", "boxes", "box_codec", "matching", "nms", "roi_pool", "roi_align", "mask_paste", "mask_target",
       "ps_roi", "roi_warp", "keypoints", "rotated", "rotated_align", "rotated_codec", "soft_nms", "deform_conv")
FORMATS = ("rle", "polygon")
LONGEST = 400

# The public names: each op file with its functions, as every floor takes them, and its torch modules. Names, order and
# defaults of all arguments are held here.
MATRIX = {
    "anchors": ["cell_anchors(sizes, aspect_ratios, *, rounded=False, order='ratio', dtype=float32)",
                "grid_anchors(cell_anchors, feature_size, stride, *, offset=0.0)"],
    "boxes": ["box_area(boxes)", "box_convert(boxes, in_fmt, out_fmt)", "clip_boxes_to_image(boxes, size)",
              "remove_small_boxes(boxes, min_size)", "masks_to_boxes(masks, *, inclusive=True)",
              "box_iou(boxes1, boxes2)", "generalized_box_iou(boxes1, boxes2)",
              "distance_box_iou(boxes1, boxes2, eps=1e-7)", "complete_box_iou(boxes1, boxes2, eps=1e-7)"],
    "box_codec": ["encode_boxes(boxes, anchors, weights=(1, 1, 1, 1))",
                  "decode_boxes(deltas, anchors, weights=(1, 1, 1, 1), *, clip=log(1000 / 16))"],
    "matching": ["match_boxes(anchors, gt_boxes, high, low, *, allow_low_quality=True)"],
    "nms": ["nms(boxes, scores, iou_threshold)", "batched_nms(boxes, scores, idxs, iou_threshold)",
            "nms_padded(boxes, scores, iou_threshold, max_output)"],
    "soft_nms": ["soft_nms(boxes, scores, iou_threshold=0.3, *, sigma=0.5, min_score=1e-3, method='linear')",
                 "fast_nms(boxes, scores, idxs, iou_threshold, *, top_k=200, cross_class=False)",
                 "matrix_nms(boxes, scores, idxs, *, sigma=2.0, min_score=1e-3, method='gaussian')"],
    "roi_pool": ["roi_pool(input, boxes, output_size, spatial_scale=1.0)", "RoIPool(output_size, spatial_scale)"],
    "roi_align": ["roi_align(input, boxes, output_size, spatial_scale=1.0, sampling_ratio=-1, aligned=False, *, "
                  "rule='samples', reduce='mean')",
                  "multiscale_roi_align(features, boxes, output_size, scales, *, sampling_ratio=2, aligned=False, "
                  "canonical_scale=224, canonical_level=4, reduce='mean')",
                  "RoIAlign(output_size, spatial_scale, sampling_ratio, aligned=False, *, rule='samples', "
                  "reduce='mean')",
                  "MultiScaleRoIAlign(featmap_names, output_size, sampling_ratio, *, canonical_scale=224, "
                  "canonical_level=4, reduce='mean')"],
    "ps_roi": ["ps_roi_align(input, boxes, output_size, spatial_scale=1.0, sampling_ratio=-1)",
               "ps_roi_pool(input, boxes, output_size, spatial_scale=1.0)",
               "PSRoIAlign(output_size, spatial_scale, sampling_ratio)", "PSRoIPool(output_size, spatial_scale)"],
    "roi_warp": ["roi_warp(input, boxes, output_size, spatial_scale=1.0, *, reduce='max')"],
    "mask_paste": ["paste_masks(masks, boxes, image_size, *, threshold=0.5, rule='continuous')",
                   "paste_masks_rle(masks, boxes, image_size, *, threshold=0.5, rule='continuous')"],
    "mask_target": ["mask_targets(masks, boxes, matched, size, *, rule='soft', image_size=None)"],
    "keypoints": ["encode_keypoints(keypoints, boxes, size)", "decode_keypoints(maps, boxes)"],
    "rotated": ["box_iou_rotated(boxes1, boxes2)", "nms_rotated(boxes, scores, iou_threshold)",
                "batched_nms_rotated(boxes, scores, idxs, iou_threshold)"],
    "rotated_align": ["roi_align_rotated(input, boxes, output_size, spatial_scale=1.0, sampling_ratio=-1)",
                      "RoIAlignRotated(output_size, spatial_scale, sampling_ratio)"],
    "rotated_codec": ["encode_boxes_rotated(boxes, anchors, weights=(1, 1, 1, 1, 1))",
                      "decode_boxes_rotated(deltas, anchors, weights=(1, 1, 1, 1, 1), *, clip=log(1000 / 16))",
                      "cell_anchors_rotated(sizes, aspect_ratios, angles, *, dtype=float32)"],
    "deform_conv": ["deform_conv2d(input, offset, weight, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), "
                    "mask=None)",
                    "DeformConv2d(in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, "
                    "bias=True)"],
    "losses": ["sigmoid_focal_loss(inputs, targets, alpha=0.25, gamma=2, reduction='none')",
               "generalized_box_iou_loss(boxes1, boxes2, reduction='none', eps=1e-7)",
               "distance_box_iou_loss(boxes1, boxes2, reduction='none', eps=1e-7)",
               "complete_box_iou_loss(boxes1, boxes2, reduction='none', eps=1e-7)"],
}
# Arguments that a floor has besides.
OWN_ARGUMENTS = {"reference": set(), "kernels": {"out", "threads"}, "ops": {"device"}}
# The compiled entry points of a function in _core and in _cuda, where they are not one of its name in each.
ENTRIES = {
    "cell_anchors": ("cell_anchors", ""),  # a few numbers, computed on the host for every device
    "cell_anchors_rotated": ("cell_anchors", ""),
    **dict.fromkeys(("box_area", "box_convert", "clip_boxes_to_image", "remove_small_boxes", "masks_to_boxes"),
                    ("", "")),  # NumPy's and torch's own operations
    # On CUDA the boxes come in the order of their scores.
    "nms": ("nms", "nms_in_order"),
    "batched_nms": ("batched_nms", "batched_nms_in_order"),
    "nms_padded": ("nms", "nms_in_order"),
    "fast_nms": ("fast_nms", "fast_nms_in_order"),
    "matrix_nms": ("matrix_nms", "matrix_nms_in_order"),
    "nms_rotated": ("nms_rotated", "nms_rotated_in_order"),
    "batched_nms_rotated": ("batched_nms_rotated", "batched_nms_rotated_in_order"),
    "roi_pool": ("roi_pool roi_pool_backward", "roi_pool roi_pool_backward"),
    **dict.fromkeys(("roi_align", "multiscale_roi_align"),
                    ("roi_align roi_align_backward roi_align_max roi_align_max_backward",) * 2),
    "roi_align_rotated": ("roi_align_rotated roi_align_rotated_backward",) * 2,
    **dict.fromkeys(("ps_roi_align", "ps_roi_pool"), ("ps_roi ps_roi_backward",) * 2),
    "roi_warp": ("roi_warp roi_warp_backward", "roi_warp roi_warp_backward"),
    "deform_conv2d": ("deform_conv2d deform_conv2d_backward",  # on CUDA torch multiplies the matrices
                      "deform_conv2d_columns deform_conv2d_gather deform_conv2d_keys deform_conv2d_positions "
                      "deform_conv2d_scatter"),
    "paste_masks_rle": ("paste_masks_rle", "paste_masks_rle_count paste_masks_rle_write"),
    "mask_targets": ("mask_targets mask_targets_of_runs", "mask_targets mask_targets_of_ends"),
}

STANDARD = {"__future__", "bisect", "collections", "contextlib", "dataclasses", "functools", "importlib", "itertools",
            "math", "numbers", "os", "platform", "sys", "typing", "warnings"}
COMPILED = {"roikit._core", "roikit._rle", "roikit._polygon"}
PRIVATE = {"roikit._check", "roikit._config"}
# folder: (roots that its files may import, besides the standard library and the folder itself)
MAY_IMPORT = {
    "reference": {"numpy"},
    "kernels": {"numpy", "roikit.errors"} | COMPILED | PRIVATE,
    "ops": {"numpy", "torch", "ctypes", "roikit.errors", "roikit._cuda"} | COMPILED | PRIVATE,
    "masks": {"numpy", "roikit._rle", "roikit._polygon", "roikit.errors"},
    "models": {"torch", "roikit.ops", "roikit.masks", "roikit.errors"},
    "data": {"numpy", "torch", "PIL", "roikit.masks", "roikit.errors"},
    "export": {"numpy", "torch", "onnx", "onnxscript", "onnxruntime", "roikit.ops", "roikit.models", "roikit.errors"},
}
MAY_NOT_IMPORT = {  # folders with a free hand but for these
    "compat": {"roikit._", "roikit.reference"},
    "testing": {"roikit._"},
    "trainer": {"roikit._", "roikit.reference"},
    "bench": {"roikit._", "roikit.reference"},
}


def python_files(folder):
    return sorted((ROOT / folder).rglob("*.py"))


def imports(path):
    """The full dotted names that a file imports, wherever in it."""
    package = ".".join(path.relative_to(ROOT).with_suffix("").parts[:-1])
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1] + [base]).rstrip(".")
            yield from (f"{base}.{alias.name}" for alias in node.names)


def under(name, root):
    return name == root or name.startswith(root + ".")


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_a_folder_imports_only_what_it_may(folder):
    allowed = MAY_IMPORT[folder] | STANDARD | {f"roikit.{folder}", "roikit._version"}
    if folder not in ("reference", "kernels", "ops"):
        import sys
        allowed |= set(sys.stdlib_module_names)
    wrong = [f"{path.relative_to(ROOT)} imports {name}" for path in python_files(f"roikit/{folder}")
             for name in imports(path) if not any(under(name, root) for root in allowed)]
    assert not wrong, wrong


@pytest.mark.parametrize("folder", MAY_NOT_IMPORT)
def test_a_folder_keeps_off_what_it_must_not_import(folder):
    wrong = [f"{path.relative_to(ROOT)} imports {name}" for path in python_files(f"roikit/{folder}")
             for name in imports(path) for root in MAY_NOT_IMPORT[folder]
             if name.startswith(root) and not under(name, "roikit._version")]
    assert not wrong, wrong


def test_sibling_ops_do_not_import_each_other():
    shared = re.compile(r"roikit\.ops\._\w+")
    wrong = [f"{path.name} imports {name}" for path in python_files("roikit/ops") if path.name != "__init__.py"
             for name in imports(path) if under(name, "roikit.ops") and not shared.match(name)]
    assert not wrong, wrong


INCLUDE = re.compile(r'^\s*#\s*include\s+[<"]([^>"]+)[>"]', re.M)
MAY_INCLUDE = {
    "core": r"core/|[a-z_]+$",
    "cpu": r"core/|cpu/|[a-z_]+$|immintrin\.h$|sys/mman\.h$",
    "cuda": r"core/|cuda/|cuda_|[a-z_]+$",
    "bind": r"core/|bind/|pybind11/|[a-z_]+$",
}


@pytest.mark.parametrize("folder", MAY_INCLUDE)
def test_a_source_folder_includes_only_what_it_may(folder):
    wrong = []
    for path in sorted((ROOT / "src" / folder).iterdir()):
        allowed = MAY_INCLUDE[folder]
        if path.name == "core_module.cpp":
            allowed += r"|cpu/simd\.h"
        if path.name == "cuda_module.cpp":
            allowed += r"|cuda/error\.h"
        wrong += [f"{folder}/{path.name} includes {name}" for name in INCLUDE.findall(path.read_text())
                  if not re.match(allowed, name)]
    assert not wrong, wrong


def test_kernels_own_no_memory_and_no_openmp():
    wrong = [f"{path.relative_to(ROOT)}: {word}" for path in sorted((ROOT / "src").rglob("*"))
             if path.suffix in (".h", ".cpp", ".cu", ".cuh")
             for word in re.findall(r"\b(?:malloc|calloc|cudaMalloc\w*|cudaDeviceSynchronize|cudaStreamSynchronize|"
                                    r"pragma omp)\b", path.read_text())]
    assert not wrong, wrong


@pytest.mark.parametrize("op", OPS)
def test_an_op_has_its_name_on_every_floor(op):
    places = [f"roikit/reference/{op}.py", f"roikit/kernels/{op}.py", f"roikit/ops/{op}.py", f"src/core/{op}.h",
              f"src/cpu/{op}.cpp", f"src/cuda/{op}.cu", f"src/bind/{op}.cpp", f"tests/reference/test_{op}.py",
              f"tests/kernels/test_{op}.py", f"tests/ops/test_{op}.py", f"benchmarks/bench_{op}.py",
              f"docs/ops/{op}.md"]
    missing = [place for place in places if not (ROOT / place).is_file()]
    assert not missing, f"{op} is missing {missing}"


def arguments(function, without=frozenset()):
    """(name, kind, default) of each argument; a dtype by its name."""
    return [(p.name, p.kind, str(getattr(p.default, "__name__", p.default)).removeprefix("torch.")
             if p.name == "dtype" else p.default)
            for p in inspect.signature(function).parameters.values() if p.name not in without]


def on_a_floor(floor, file, wanted):
    """What is wrong with a function on a floor, or None."""
    package, name = importlib.import_module(f"roikit.{floor}"), wanted.__name__
    function = getattr(package, name, None)
    if function is None or name not in package.__all__:
        return f"roikit.{floor} does not export it"
    if function.__module__ != f"roikit.{floor}.{file}":
        return f"it lives in {function.__module__}, not in roikit.{floor}.{file}"
    if arguments(function, OWN_ARGUMENTS[floor]) != arguments(wanted):
        return f"it takes {inspect.signature(function)} on the floor of {floor}"
    return None


def entry_points(device):
    """What src/bind defines for a device: the lines of a file count that no #if ROIKIT_ON_CUDA leaves out."""
    names = set()
    for path in (ROOT / "src/bind").glob("*.cpp"):
        counts = [True]
        for line in path.read_text().splitlines():
            if line.startswith("#if"):
                counts.append((device == "cuda") != line.startswith("#if !"))
            elif line.startswith("#else"):
                counts.append(not counts.pop())
            elif line.startswith("#endif"):
                counts.pop()
            elif all(counts):
                names.update(re.findall(r'def\(module, "(\w+)"', line))
    return names


def holes(matrix):
    """The matrix as text, a line for each function, and the list of its holes."""
    compiled = {"_core": entry_points("cpu"), "_cuda": entry_points("cuda")}
    columns = [*OWN_ARGUMENTS, *compiled]
    picture, found = [f"{'':13}{'':26}" + "".join(f"{column:11}" for column in columns)], []
    for file, lines in matrix.items():
        for line in lines:
            room = {}
            exec(f"def {line}: ...", {"log": math.log, "float32": "float32"}, room)
            (name, wanted), = room.items()
            torch_only = file == "losses" or name[0].isupper()
            cells = {floor: "-" if torch_only and floor != "ops" else on_a_floor(floor, file, wanted)
                     for floor in OWN_ARGUMENTS}
            entries = ("", "") if torch_only else ENTRIES.get(name, (name, name))
            for (module, has), listed in zip(compiled.items(), entries, strict=True):
                missing = [entry for entry in listed.split() if entry not in has]
                cells[module] = f"src/bind defines no {' and no '.join(missing)} for {module}" if missing else (
                    None if listed else "-")
            words = {None: "x", "-": "-"}
            picture.append(f"{file:13}{name:26}" + "".join(f"{words.get(cells[c], 'HOLE'):11}" for c in columns))
            found += [f"{line}: {cell}" for cell in cells.values() if cell not in words]
    return "\n".join(["", *picture, "", *found]), found


def test_every_op_file_has_its_line_in_the_matrix():
    assert sorted(MATRIX) == sorted((*OPS, "losses"))


def test_the_matrix_of_functions_and_floors_has_no_hole():
    picture, found = holes(MATRIX)
    assert not found, picture


@pytest.mark.parametrize("file, line, told", [
    ("nms", "nns(boxes)", ["roikit.reference does not export it", "roikit.kernels does not export it",
                           "roikit.ops does not export it", "no nns for _core", "no nns for _cuda"]),
    ("nms", "soft_nms(boxes, scores, iou_threshold=0.3, *, sigma=0.5, min_score=1e-3, method='linear')",
     [f"it lives in roikit.{floor}.soft_nms" for floor in OWN_ARGUMENTS]),
    ("roi_warp", "roi_warp(input, boxes, output_size, spatial_scale=1.0, *, reduce='mean')",
     [f"on the floor of {floor}" for floor in OWN_ARGUMENTS]),
    ("roi_pool", "RoIPool(output_size, spatial_scale=1.0)", ["on the floor of ops"]),
])
def test_the_matrix_shows_its_holes(file, line, told):
    picture, found = holes({file: [line]})
    assert len(found) == len(told) == picture.count("HOLE")
    assert all(words in hole for words, hole in zip(told, found, strict=True)), picture


@pytest.mark.parametrize("name", FORMATS)
def test_a_mask_format_has_its_name_on_every_floor(name):
    places = [f"roikit/reference/{name}.py", f"roikit/masks/{name}.py", f"src/cython/{name}.pyx",
              f"roikit/_{name}.pyi", f"tests/reference/test_{name}.py", f"tests/masks/test_{name}.py",
              f"benchmarks/bench_{name}.py", f"docs/ops/{name}.md"]
    missing = [place for place in places if not (ROOT / place).is_file()]
    assert not missing, f"{name} is missing {missing}"


def test_a_cuda_source_is_an_op_or_a_part_of_one():
    stems = [p.stem for p in (ROOT / "src/cuda").glob("*.cu")]
    wrong = [stem for stem in stems if not any(stem == op or stem.startswith(f"{op}_") for op in OPS)]
    assert not wrong, f"{wrong} are no op, nor <op>_<part>"


def test_no_folder_has_two_sources_with_one_stem():
    for folder in ("core", "cpu", "cuda", "bind", "cython"):
        stems = [p.stem for p in (ROOT / "src" / folder).iterdir() if p.suffix in (".cpp", ".cu", ".pyx")]
        assert len(stems) == len(set(stems)), (folder, stems)


def test_source_files_can_be_read_in_one_sitting():
    files = [p for folder in ("roikit", "src", "tests", "benchmarks") for p in sorted((ROOT / folder).rglob("*"))
             if p.suffix in (".py", ".pyx", ".pyi", ".h", ".cpp", ".cu", ".cuh")] + [ROOT / "setup.py"]
    long = {str(p.relative_to(ROOT)): n for p in files if (n := len(p.read_text().splitlines())) > LONGEST}
    assert not long, long


def test_each_core_header_names_its_source():
    for path in sorted((ROOT / "src/core").glob("*.h")):
        comment = "".join(line for line in path.read_text().split("#pragma once")[0].splitlines(True))
        assert "Source:" in comment, f"src/core/{path.name} does not say where its mathematics comes from"


def test_parts_of_detectors_know_no_system():
    """A system is a configuration and at most one file of its own; what systems share asks for the name of none."""
    systems = re.compile(r"cascade|hybrid|htc|interleaved|iterative|integral|yolact|panoptic|"
                         r"keypoint_?rcnn(?!heads|predictor)", re.I)  # torchvision names layers after it
    shared = [path for room in ("parts", "bodies", "necks", "proposals", "roi")
              for path in python_files(f"roikit/models/{room}")]
    assert len(shared) > 20
    for path in shared:
        found = [word for word in systems.findall(path.read_text())]
        assert not found, f"{path.relative_to(ROOT)} names {found}"
        upward = [name for name in imports(path) if under(name, "roikit.models") and name.split(".")[2] not in (
            "configs", "parts", "bodies", "necks", "proposals", "roi")]
        assert not upward, f"{path.relative_to(ROOT)} imports {upward}"


def test_no_file_holds_loose_ends():
    words = re.compile(r"\b(?:TODO|FIXME|XXX)\b")
    wrong = [str(p.relative_to(ROOT)) for folder in ("roikit", "src", "benchmarks", "docs")
             for p in sorted((ROOT / folder).rglob("*"))
             if p.suffix in (".py", ".pyx", ".h", ".cpp", ".cu", ".cuh", ".md") and words.search(p.read_text())]
    assert not wrong, wrong
