"""The RoI ops and their gradients, registered together.

An op whose features enter linearly, or at fixed winners, needs no derivative of its own: its gradient is a sum over the
same places, and the gradient of that samples them again. So each says here only how it is run, forwards and backwards.
"""

import torch

from roikit.ops._derivatives import linear
from roikit.ops._library import argument_names, autocast_boxes, register
from roikit.ops._maps import stored_channels_last

ROIKIT = torch.ops.roikit


def _place(names):
    """The function that tells of a map where its gradient lies, for an operator with arguments of these names."""
    if "heights" in names:
        return lambda maps: (maps[0].shape[0], [m.shape[2] for m in maps], [m.shape[3] for m in maps],
                             stored_channels_last(maps))
    if "channels_last" in names:
        return lambda x: (x.shape[0], x.shape[2], x.shape[3], stored_channels_last([x]))
    return lambda x: (x.shape[0], x.shape[2], x.shape[3])


def _shared(names, others):
    """Of each of the names that is among ``others`` too, its place there; not of boxes and argmax."""
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
    place, rule, back_rule = _place(back_names), _shared(back_names, names), names[2:]

    def context(ctx, inputs, output):
        ctx.save_for_backward(inputs[1])
        ctx.place, ctx.rule = place(inputs[0]), [inputs[i] for i in rule]

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
    place, rule, back_rule = _place(back_names), _shared(back_names, names), _shared(names, back_names)
    asks = "with_argmax" in names

    def winners(inputs, output):
        """The argmax, found anew where the call did not ask: a compiler does not say that a transform will."""
        if not asks or (*inputs, True)[len(names) - 1]:  # not by the lengths, which torch.export may not know
            return output[1]
        return getattr(ROIKIT, op)(*inputs[: len(names) - 1], True)[1]

    def context(ctx, inputs, output):
        ctx.save_for_backward(winners(inputs, output), inputs[1])
        ctx.set_materialize_grads(False)  # else argmax gets a gradient of zeros, as large as it is
        ctx.place, ctx.rule = place(inputs[0]), [inputs[i] for i in rule]

    def gradient(ctx, grad, _):
        found = None if grad is None else getattr(ROIKIT, back)(grad, *ctx.saved_tensors, *ctx.place, *ctx.rule)
        return found, *(None,) * (len(names) - 1)

    def of_tangent(_, position, tangent, inputs, output):
        return at(tangent, winners(inputs, output), inputs[1], *(inputs[i] for i in rule)), None

    def back_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs[1:3])
        ctx.rule = [inputs[i] for i in back_rule]

    def back_gradient(ctx, grad):
        return at(grad, *ctx.saved_tensors, *ctx.rule), *(None,) * (len(back_names) - 1)

    register(*forward, backward=gradient, setup_context=context, tangents={names[0]: of_tangent})
    register(*backward, backward=back_gradient, setup_context=back_context, tangents={"grad": linear})
    autocast_boxes(op)


def register_at(at, backward):
    """Define the operator at given winners of an op that `register_winners` defines.

    Args:
        at: schema, kernel and fake of op_at(input, argmax, boxes, <rule>) -> values.
        backward: as for `register_winners`.
    """
    (_, names), (back, back_names) = argument_names(at[0]), argument_names(backward[0])
    place = _place(back_names)

    def context(ctx, inputs, output):
        maps, argmax, boxes, *ctx.rule = inputs
        ctx.save_for_backward(argmax, boxes)
        ctx.place = place(maps)

    def gradient(ctx, grad):
        found = getattr(ROIKIT, back)(grad, *ctx.saved_tensors, *ctx.place, *ctx.rule)
        return found, *(None,) * (len(names) - 1)

    register(*at, backward=gradient, setup_context=context, tangents={names[0]: linear})
