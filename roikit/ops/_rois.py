"""How the kernels of the RoI ops are run: their module, room for what they fill, one map in place of a pyramid."""

import math

import torch

from roikit import _config, _core
from roikit.ops._launch import backend, launch, workspace
from roikit.ops._maps import empty_map, stored_channels_last


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

    On CUDA it adds in one order where ``torch.use_deterministic_algorithms(True)`` asks for it, and has the scratch
    that ``<op>_workspace`` asks for, given what ``scratch_for`` makes of whether it does.
    """
    if core is _core:
        getattr(core, op)(*arguments, launch(grad))
        return
    exact = torch.are_deterministic_algorithms_enabled()
    scratch = workspace(grad, getattr(core, f"{op}_workspace")(*scratch_for(exact)))
    getattr(core, op)(*arguments, launch(grad, scratch, deterministic=exact))


def bins(maps, boxes, rows, columns):
    """Room for the bins (K, C, rows, columns) of maps (N, C, H_i, W_i), in their format."""
    return empty_map(maps[0], (boxes.shape[0], maps[0].shape[1], rows, columns), stored_channels_last(maps))


def bins_with_argmax(maps, boxes, rows, columns, with_argmax):
    """Also room for the winners of the bins, int32; of no rows where nobody wants them."""
    channels_last, shape = stored_channels_last(maps), (maps[0].shape[1], rows, columns)
    output = empty_map(maps[0], (boxes.shape[0], *shape), channels_last)
    return output, empty_map(maps[0], (boxes.shape[0] if with_argmax else 0, *shape), channels_last, torch.int32)


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


def named_maps(module, x, names):
    """The maps of a dict by their names, for a ``module`` of this name.

    Raises:
        ValueError: one is missing.
    """
    if any(name not in x for name in names):
        raise ValueError(f"{module}: x must have the maps {names}, got {list(x)}")
    return [x[name] for name in names]


def scales_of_maps(module, features, image_shapes):
    """Map pixels an image pixel of each level, a power of two.

    Raises:
        ValueError: there are no images.
    """
    if not image_shapes:
        raise ValueError(f"{module}: image_shapes must not be empty")
    height = max(shape[0] for shape in image_shapes)
    return [2.0 ** round(math.log2(m.shape[-2] / height)) for m in features]
