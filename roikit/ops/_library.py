"""The operators of torch.ops.roikit: one place that knows how torch wants them registered.

Registered with Library.define and .impl: a call costs 3.4 us this way, 65 us through the custom_op decorator.
"""

import torch

from roikit.ops._derivatives import autograd_kernel, constant_kernel
from roikit.ops._launch import no_kernels
from roikit.ops._opaque import opaque

LIBRARY = torch.library.Library("roikit", "DEF")


def argument_names(schema):
    """The name of the operator, and those of its arguments."""
    name, arguments = schema.split(") ->")[0].split("(", 1)
    return name, [argument.split("=")[0].split()[-1] for argument in arguments.split(", ")]


def implement(name, function, key, with_keyset=False):
    """What ``torch.ops.roikit.<name>`` runs for one of the dispatcher's keys; with_keyset: their set comes first."""
    LIBRARY.impl(name, opaque(function), key, with_keyset=with_keyset)


def _refusal(name, key):
    def refuse(*arguments):
        raise no_kernels(name, key.lower())

    return refuse


def register(schema, kernel, fake, *, backward=None, setup_context=None, tangents=None, discrete=False):
    """Define ``torch.ops.roikit.<name>``.

    Args:
        schema: "name(Tensor x, ...) -> Tensor", as in torch.library.
        kernel: the implementation on real tensors of any device.
        fake: shapes, dtypes and strides of the results from those of the arguments.
        backward, setup_context: as in torch.library.register_autograd; without them, a result never requires grad.
        tangents: forward mode: by the name of an argument, the function (op, place, tangent, inputs, output) of its
            tangent and of its place that gives the tangents of the results, as they are given; None for that of a
            result which is a constant. A tangent of any other argument is an error, without ``backward`` of any at all.
        discrete: no result is ever floating: there is no tangent to lose, and none is looked for, which costs 4 us.

    Returns:
        The callable ``torch.ops.roikit.<name>``.
    """
    name = schema.split("(", 1)[0]
    LIBRARY.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    for key in ("CPU", "CUDA"):
        implement(name, kernel, key)
    for key in ("MPS", "XPU"):  # torch would list every kernel that it knows
        implement(name, _refusal(name, key), key)
    torch.library.register_fake(f"roikit::{name}", fake, lib=LIBRARY)
    if not discrete:
        op = getattr(torch.ops.roikit, name).default
        derivative = (constant_kernel(op) if backward is None
                      else autograd_kernel(op, backward, setup_context, tangents or {}))
        implement(name, derivative, "Autograd", with_keyset=True)
    return getattr(torch.ops.roikit, name)


def autocast_boxes(name):
    """Under autocast the op ``name`` (input, boxes, ...) keeps its features' dtype, and its boxes become float32."""
    for device in ("cpu", "cuda"):
        def rule(input, boxes, *rest, device=device):
            with torch.autocast(device, enabled=False):
                return getattr(torch.ops.roikit, name)(input, boxes.float(), *rest)

        implement(name, rule, f"Autocast{device.upper()}")
