"""The gradients that roikit gives to the operators of a torchvision whose own are in a binary that does not load."""

CODE = """
import torch
from roikit.compat.torchvision.operators import KERNELS, SCHEMAS, register_gradients

library = torch.library.Library("torchvision", "FRAGMENT")
for schema in SCHEMAS:
    name = schema.split("(", 1)[0]
    library.define(schema)
    if name in KERNELS:
        library.impl(name, KERNELS[name], "CPU")
register_gradients(library)
x, rois = torch.rand(1, 4, 8, 8).double(), torch.tensor([[0, 1.0, 1, 5, 5]]).double()
weight = torch.rand(3, 4, 1, 1).double()
offset, mask = torch.zeros(1, 2, 8, 8).double(), torch.ones(1, 1, 8, 8).double()
calls = {
    "roi_align": (x, rois, 1.0, 2, 2, 2, False), "roi_pool": (x, rois, 1.0, 2, 2),
    "ps_roi_align": (x, rois, 1.0, 2, 2, 2), "ps_roi_pool": (x, rois, 1.0, 2, 2),
    "deform_conv2d": (x, weight, offset, mask, weight[:, 0, 0, 0], 1, 1, 0, 0, 1, 1, 1, 1, True),
}
for name, (_, *rest) in calls.items():
    def f(x):
        found = getattr(torch.ops.torchvision, name)(x, *rest)
        return (found if isinstance(found, torch.Tensor) else found[0]).square().sum()

    leaf = x.clone().requires_grad_()
    assert torch.equal(torch.func.grad(f)(x), torch.autograd.grad(f(leaf), leaf)[0]), name
    try:
        torch.func.jvp(f, (x,), (x,))
    except NotImplementedError as reason:
        print(reason)
"""


def test_a_tangent_is_an_error_and_a_gradient_right(run_python):
    lines = run_python(CODE).splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool", "deform_conv2d"]
    assert all("input must not have a tangent" in line for line in lines)
