"""The operators of torch.ops.roikit: one place that knows how torch wants them registered.

Registered with Library.define and .impl: a call costs 3.4 us this way, 65 us through the custom_op decorator.
"""

import torch

from roikit.ops._launch import no_kernels

LIBRARY = torch.library.Library("roikit", "DEF")

# A part of torch that is loaded with it, unlike torch._dynamo, whose import takes seconds.
_frames = torch._C._dynamo.eval_frame


def opaque(function):
    """The function, which torch.compile then neither looks into nor compiles, nor what it calls.

    After a graph break torch.compile takes up every Python function that runs, those that torch's dispatcher calls
    included. torch.compiler.disable costs 0.7 us a call, a mark on the code nothing. Where torch has no mark that holds
    for what the function calls as well (2.4 has none), a frame around it costs 0.07 us.
    """
    if hasattr(_frames, "set_code_exec_strategy"):
        skip = _frames._FrameAction.SKIP
        _frames.set_code_exec_strategy(function.__code__, _frames._FrameExecStrategy(skip, skip))
        return function

    def plain(*args, **kwargs):
        compiling = _frames.set_eval_frame(None)
        try:
            return function(*args, **kwargs)
        finally:
            _frames.set_eval_frame(compiling)

    _frames.skip_code(plain.__code__)
    return plain


def implement(name, function, key):
    """What ``torch.ops.roikit.<name>`` runs for one of the dispatcher's keys."""
    LIBRARY.impl(name, opaque(function), key)


def _refusal(name, key):
    def refuse(*arguments):
        raise no_kernels(name, key.lower())

    return refuse


def register(schema, kernel, fake, *, backward=None, setup_context=None):
    """Define ``torch.ops.roikit.<name>``.

    Args:
        schema: "name(Tensor x, ...) -> Tensor", as in torch.library.
        kernel: the implementation on real tensors of any device.
        fake: shapes, dtypes and strides of the results from those of the arguments.
        backward, setup_context: as in torch.library.register_autograd; without them, a result never requires grad.

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
    if backward is not None:
        torch.library.register_autograd(f"roikit::{name}", opaque(backward), lib=LIBRARY,
                                        setup_context=setup_context and opaque(setup_context))
    return getattr(torch.ops.roikit, name)


def autocast_boxes(name):
    """Under autocast the op ``name`` (input, boxes, ...) keeps its features' dtype, and its boxes become float32."""
    for device in ("cpu", "cuda"):
        def rule(input, boxes, *rest, device=device):
            with torch.autocast(device, enabled=False):
                return getattr(torch.ops.roikit, name)(input, boxes.float(), *rest)

        implement(name, rule, f"Autocast{device.upper()}")
