"""How the kernels of the RoI ops are run, and their gradients registered.

An op whose features enter linearly, or at fixed winners, needs no derivative of its own: its gradient is a sum over the
same places, and the gradient of that samples them again. `register_linear` and `register_winners` say so to autograd.
"""

import torch

from roikit import _config, _core
from roikit.ops._derivatives import linear
from roikit.ops._launch import backend, launch, workspace
from roikit.ops._library import argument_names, autocast_boxes, register
from roikit.ops._maps import empty_map, stored_channels_last

ROIKIT = torch.ops.roikit


def roi_kernels(op, output, boxes, images):
    """`backend` for an op on RoIs (K, 1 + columns), whose output is ``output``.

    The CUDA kernels give 0 for a box that names no image. With ROIKIT_DEBUG=1 that is an error, in the words of the CPU
    kernels, and waits for the GPU.

    Raises:
        IndexError: an index is not whole, negative, or at least ``images``.
    """
    core = backend(output, op)
    if core is not _core and _config.debug():
        index = boxes[:, 0]
        wrong = index[~((index >= 0) & (index < images) & (index == index.floor()))]
        if len(wrong):
            raise IndexError(f"{op}: boxes must have a whole batch index in [0, {images}), got {wrong[0].item()}")
    return core


def add_up(core, op, grad, *arguments, scratch_for):
    """Run the kernel ``op`` of the module, which adds up gradients.

    On CUDA it gets the scratch that ``<op>_workspace`` asks for, given ``scratch_for``, and adds in one order where
    ``torch.use_deterministic_algorithms(True)`` asks for it.
    """
    if core is _core:
        getattr(core, op)(*arguments, launch(grad))
        return
    scratch = workspace(grad, getattr(core, f"{op}_workspace")(*scratch_for))
    getattr(core, op)(*arguments, launch(grad, scratch, deterministic=torch.are_deterministic_algorithms_enabled()))


def bins(maps, boxes, rows, columns):
    """Room for the bins (K, C, rows, columns) of maps (N, C, H_i, W_i), in their format."""
    return empty_map(maps[0], (boxes.shape[0], maps[0].shape[1], rows, columns), stored_channels_last(maps))


def bins_with_argmax(maps, boxes, rows, columns, with_argmax):
    """Also room for the winners of the bins, int32; of no rows where nobody wants them."""
    output = bins(maps, boxes, rows, columns)
    rows = boxes.shape[0] if with_argmax else 0
    return output, empty_map(output, (rows, *output.shape[1:]), stored_channels_last(maps), torch.int32)


def unpooled(grad, images, height, width, channels_last):
    """Room for the gradient (images, C, height, width), given that of the bins."""
    return empty_map(grad, (images, grad.shape[1], height, width), channels_last)


def one_map(function, tensors=1):
    """A forward pass of one map, (input, <tensors>, spatial_scale, <rest>), by the one of a pyramid's levels."""

    def of_one(input, *rest):
        return function([input], *rest[:tensors], [rest[tensors]], [], *rest[tensors + 1:])

    return of_one


def one_map_backward(function, tensors=1):
    """A backward pass, (grad, <tensors>, images, height, width, channels_last, spatial_scale, <rest>), likewise."""

    def of_one(grad, *rest):
        images, height, width, channels_last, scale, *rule = rest[tensors:]
        return function(grad, *rest[:tensors], images, [height], [width], channels_last, [scale], [], *rule)[0]

    return of_one


def _place(maps, names):
    """Where the gradient of a map, or of a list of maps, lies, as an operator with arguments of these names is told."""
    levels = maps if isinstance(maps, list) else [maps]
    height, width = [m.shape[2] for m in levels], [m.shape[3] for m in levels]
    place = levels[0].shape[0], *((height, width) if maps is levels else (height[0], width[0]))
    return (*place, stored_channels_last(levels)) if "channels_last" in names else place


def _shared(names, others):
    """The places among ``others`` of the names that stand there too, but for the tensors'."""
    return [others.index(name) for name in names if name in others and name not in ("argmax", "boxes")]


def register_linear(forward, backward):
    """Define an op on RoIs that is linear in its features, and its gradient.

    Args:
        forward: schema, kernel and fake, as in `register`, of
            op(input, boxes, <rule>, pooled_height, pooled_width, <more of the rule>) -> bins.
        backward: of op_backward(grad, boxes, images, height, width, <channels_last>, <the same rule>) -> gradient.
            Both may take a list of maps, with heights and widths. The rule's arguments have one name in both.
    """
    op, names = argument_names(forward[0])
    back, back_names = argument_names(backward[0])
    rule, back_rule = _shared(back_names, names), names[2:]

    def context(ctx, inputs, output):
        ctx.save_for_backward(inputs[1])
        ctx.place, ctx.rule = _place(inputs[0], back_names), [inputs[i] for i in rule]

    def gradient(ctx, grad):
        found = getattr(ROIKIT, back)(grad, ctx.saved_tensors[0], *ctx.place, *ctx.rule)
        return found, *(None,) * (len(names) - 1)

    def back_context(ctx, inputs, output):
        ctx.save_for_backward(inputs[1])
        given = dict(zip(back_names, inputs, strict=True))
        given["pooled_height"], given["pooled_width"] = inputs[0].shape[2:]
        ctx.rule = [given[name] for name in back_rule]

    def back_gradient(ctx, grad):
        again = getattr(ROIKIT, op)(grad, ctx.saved_tensors[0], *ctx.rule)
        return again, *(None,) * (len(back_names) - 1)

    register(*forward, backward=gradient, setup_context=context, tangents={names[0]: linear})
    register(*backward, backward=back_gradient, setup_context=back_context, tangents={"grad": linear})
    autocast_boxes(op)


def register_winners(forward, backward, at):
    """Define an op on RoIs that gives of each bin one value, and its gradient, which the winners alone receive.

    Args:
        forward: schema, kernel and fake, as in `register`, of
            op(input, boxes, <rule>, pooled_height, pooled_width, <rule>, <with_argmax>) -> (bins, argmax).
        backward: of op_backward(grad, argmax, boxes, images, height, width, <channels_last>, <rule>) -> gradient.
        at: the function (maps, argmax, boxes, <rule>) of the values of maps where the winners are.
    """
    op, names = argument_names(forward[0])
    back, back_names = argument_names(backward[0])
    rule, back_rule = _shared(back_names, names), _shared(names, back_names)
    asks = "with_argmax" in names

    def winners(inputs, output):
        """The argmax, found anew where the call did not ask: a compiler does not say that a transform will."""
        if not asks or (*inputs, True)[len(names) - 1]:  # not by the lengths, which torch.export may not know
            return output[1]
        return getattr(ROIKIT, op)(*inputs[: len(names) - 1], True)[1]

    def context(ctx, inputs, output):
        ctx.save_for_backward(winners(inputs, output), inputs[1])
        ctx.set_materialize_grads(False)  # else argmax gets a gradient of zeros, as large as it is
        ctx.place, ctx.rule = _place(inputs[0], back_names), [inputs[i] for i in rule]

    def gradient(ctx, grad, _):
        found = None if grad is None else getattr(ROIKIT, back)(grad, *ctx.saved_tensors, *ctx.place, *ctx.rule)
        return found, *(None,) * (len(names) - 1)

    def tangent(_, place, tangent, inputs, output):
        return at(tangent, winners(inputs, output), inputs[1], *(inputs[i] for i in rule)), None

    def back_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs[1:3])
        ctx.rule = [inputs[i] for i in back_rule]

    def back_gradient(ctx, grad):
        return at(grad, *ctx.saved_tensors, *ctx.rule), *(None,) * (len(back_names) - 1)

    register(*forward, backward=gradient, setup_context=context, tangents={names[0]: tangent})
    register(*backward, backward=back_gradient, setup_context=back_context, tangents={"grad": linear})
    autocast_boxes(op)


def register_at(at, backward):
    """Define the operator at given winners of an op that `register_winners` defines.

    Args:
        at: schema, kernel and fake of op_at(input, argmax, boxes, <rule>) -> values.
        backward: as for `register_winners`.
    """
    (_, names), (back, back_names) = argument_names(at[0]), argument_names(backward[0])

    def context(ctx, inputs, output):
        maps, argmax, boxes, *ctx.rule = inputs
        ctx.save_for_backward(argmax, boxes)
        ctx.place = _place(maps, back_names)

    def gradient(ctx, grad):
        found = getattr(ROIKIT, back)(grad, *ctx.saved_tensors, *ctx.place, *ctx.rule)
        return found, *(None,) * (len(names) - 1)

    register(*at, backward=gradient, setup_context=context, tangents={names[0]: linear})
