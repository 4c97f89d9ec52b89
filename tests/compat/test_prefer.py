"""install(prefer="roikit"): torchvision's operators run on roikit's kernels although its own binary is there.

Each test in a fresh interpreter: operators are registered once a process.
"""

import importlib.util

import pytest

needs_torchvision = pytest.mark.skipif(importlib.util.find_spec("torchvision") is None,
                                       reason="torchvision is not installed")

INSTALL = """
import roikit.ops
from roikit.compat.torchvision import install, uninstall
install(prefer="roikit")
"""
IMPORT = """
import torchvision
from torchvision.extension import _has_ops
assert _has_ops()
"""
INPUTS = """
import torch
g = torch.Generator().manual_seed(0)
corner = torch.rand(50, 2, generator=g) * 20
boxes = torch.cat([corner, corner + 1 + torch.rand(50, 2, generator=g) * 10], 1)
scores = torch.rand(50, generator=g)
maps = torch.rand(2, 50, 16, 16, generator=g)
rois = [boxes[:3], boxes[3:5]]
CALLS = {"roi_align": (5, 0.5, 2, True), "roi_pool": (5, 0.5), "ps_roi_align": (5, 0.5, 2), "ps_roi_pool": (5, 0.5)}

def answers(module):
    found = {"nms": module.ops.nms(boxes, scores, 0.5)}
    for name, arguments in CALLS.items():
        x = maps.clone().requires_grad_()
        found[name] = getattr(module.ops, name)(x, rois, *arguments)
        weights = torch.rand(found[name].shape, generator=torch.Generator().manual_seed(1))
        found[name + " gradient"], = torch.autograd.grad((found[name] * weights).sum(), x)
    x, offset, weight, bias, mask = (torch.rand(shape, generator=torch.Generator().manual_seed(2)).requires_grad_()
                                     for shape in ((2, 4, 8, 8), (2, 18, 6, 6), (6, 2, 3, 3), (6,), (2, 9, 6, 6)))
    for name, masks in (("deform_conv2d", [mask]), ("deform_conv2d without mask", [])):
        found[name] = module.ops.deform_conv2d(x, offset, weight, bias, mask=(masks or [None])[0])
        gradients = torch.autograd.grad(found[name].square().sum(), [x, offset, weight, bias, *masks])
        found |= {f"{name} gradient {i}": gradient for i, gradient in enumerate(gradients)}
    return found

def same(module):
    ours, theirs = answers(roikit), answers(module)
    return all(torch.equal(ours[name], theirs[name]) for name in ours)
"""


@needs_torchvision
@pytest.mark.parametrize("order", [INSTALL + IMPORT, IMPORT + INSTALL], ids=["before", "after"])
def test_operators_answer_as_roikits_with_torchvisions_gradients(run_python, binary, order):
    run_python("import warnings; warnings.simplefilter('error')\n" + binary + order + INSTALL + INPUTS
               + "assert same(torchvision)")


@needs_torchvision
def test_without_prefer_a_binary_is_left_alone(run_python, stand_in):
    run_python(stand_in + INSTALL.replace('prefer="roikit"', "") + IMPORT + INPUTS + """
assert torchvision.ops.nms(boxes, scores, 0.5).tolist() == [7] * 7
install()
assert torchvision.ops.roi_align(maps, rois, 5).eq(7).all()
""")


@needs_torchvision
@pytest.mark.parametrize("order", [INSTALL + IMPORT, IMPORT + INSTALL], ids=["before", "after"])
def test_uninstall_gives_the_binary_back_and_install_takes_it_again(run_python, binary, order):
    run_python(binary + order + INPUTS + """
ours = torchvision.ops.nms(boxes, scores, 0.5)
install()
assert torch.equal(torchvision.ops.nms(boxes, scores, 0.5), ours)
runs = []
calls = roikit.ops.nms
roikit.ops.nms = lambda *a: (runs.append(1), calls(*a))[1]
torchvision.ops.nms(boxes, scores, 0.5)
assert len(runs) == 1
uninstall()
uninstall()
torchvision.ops.nms(boxes, scores, 0.5)
assert len(runs) == 1
install(prefer="roikit")
torchvision.ops.nms(boxes, scores, 0.5)
assert len(runs) == 2
""")


@needs_torchvision
def test_uninstall_before_the_import_leaves_no_trace(run_python, stand_in):
    run_python(stand_in + INSTALL + "uninstall()" + IMPORT + INPUTS + """
assert torchvision.ops.nms(boxes, scores, 0.5).tolist() == [7] * 7
import sys
assert not [f for f in sys.meta_path if type(f).__module__.startswith("roikit")]
""")


@needs_torchvision
def test_torchvisions_autocast_and_fake_kernels_stay(run_python, binary):
    run_python(binary + INSTALL + IMPORT + INPUTS + """
with torch.autocast("cpu", dtype=torch.bfloat16):
    half = torchvision.ops.roi_align(maps.bfloat16(), [r.bfloat16() for r in rois], 5)
    assert half.dtype == torch.bfloat16
    kept = torchvision.ops.nms(boxes.bfloat16(), scores.bfloat16(), 0.5)
    assert torch.equal(kept, roikit.ops.nms(boxes.bfloat16().float(), scores.bfloat16().float(), 0.5))
meta = torchvision.ops.roi_align(maps.to("meta"), [r.to("meta") for r in rois], 3)
assert meta.shape == (5, 50, 3, 3)

@torch.compile(fullgraph=True, backend="aot_eager")
def both(x, rois, boxes, scores):
    return torchvision.ops.roi_align(x, rois, 5, 0.5, 2).sum() + torchvision.ops.nms(boxes, scores, 0.5).sum()

x = maps.clone().requires_grad_()
flat = torch.cat([torch.zeros(50, 1), boxes], 1)
both(x, flat, boxes, scores).backward()
y = maps.clone().requires_grad_()
roikit.ops.roi_align(y, flat, 5, 0.5, 2).sum().backward()
assert torch.equal(x.grad, y.grad)
""")


@needs_torchvision
def test_cuda_kernels_are_replaced_only_by_cuda_kernels(run_python, stand_in):
    run_python(stand_in + INSTALL + IMPORT + """
import importlib.util
lines = torch._C._dispatch_dump("torchvision::nms").splitlines()
count = lambda key: sum(line.startswith(key) for line in lines)
assert count("CPU") == 2
assert count("CUDA") == (2 if importlib.util.find_spec("roikit._cuda") else 1)
""")


@needs_torchvision
@pytest.mark.parametrize("prefer", [None, "roikit"])
def test_a_library_loaded_by_hand_counts_as_the_binary(run_python, stand_in, prefer):
    """torchvision's own does not load then; `install` fills in only what the library lacks."""
    run_python(stand_in + f"""
load()
def load():
    raise OSError("does not fit")
from roikit.compat.torchvision import install
install(prefer={prefer!r})
""" + IMPORT + INPUTS + f"""
import roikit.ops
kept = torchvision.ops.nms(boxes, scores, 0.5)
assert {"same(torchvision)" if prefer else "kept.tolist() == [7] * 7"}
""")


@needs_torchvision
def test_prefer_where_no_binary_loads(run_python):
    run_python(INSTALL + IMPORT + INPUTS + "assert same(torchvision); uninstall(); assert same(torchvision)")


def test_prefer_is_none_or_roikit(run_python):
    run_python("""
from roikit.compat.torchvision import install
for wrong in ("torchvision", True, ""):
    try:
        install(prefer=wrong)
    except ValueError as reason:
        assert "prefer must be None or 'roikit'" in str(reason)
    else:
        raise AssertionError(wrong)
""")
