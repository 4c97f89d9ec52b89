"""Group and batch normalisation with an addition and a ReLU behind them, in as few passes as there can be: operators of
models.

On a CPU a kernel does all three, and their gradients. It takes means and variances of blocks and joins them in double,
where torch's own takes the variance of channels-last maps as a difference of two large numbers. Where somebody looks at
the single operations - a compiler or an export, a transform, a second derivative - and on other devices, it is torch's
operations.
"""

import torch
from torch.nn import functional as F

from roikit import _core
from roikit.ops._derivatives import transformed
from roikit.ops._launch import launch, no_kernels, view
from roikit.ops._library import register

# The dtypes of maps that have kernels, and that of the weights beside them.
_WEIGHTS = {torch.float32: torch.float32, torch.float64: torch.float64, torch.bfloat16: torch.float32}


def group_norm(x, groups, weight, bias, eps=1e-5, onto=None, relu=False, *, overwrite=False):
    """relu(group_norm(x) + onto).

    Args:
        x: (N, C, H, W) maps. Any memory format; contiguous and channels-last ones keep theirs.
        groups: how many groups of channels have a mean and a variance each; divides C.
        weight, bias: (C,), or None.
        eps: added to the variance.
        onto: a map like x that is added, or None.
        relu: whether a ReLU comes last.
        overwrite: whether the result may lie where x lies, where there is no gradient.

    Returns:
        (N, C, H, W) in the dtype of x. With u the unit roundoff of the dtype in which is added up, no value differs
        from the exact one by more than u (|weight| (150 (d + 1) + 2 |mean| rate) + 4 (|bias| + |onto|)), d its distance
        from the mean in deviations and rate 1 / sqrt(variance + eps), and by what the dtype of x rounds. The bits are
        the same for any number of threads and at every vector level; those of the two formats differ. A gradient is
        differentiable again, by torch's operations.

    Source: Wu and He, ECCV 2018, arXiv:1803.08494.
    """
    if not _has_kernel(x, weight, bias, onto):
        return _by_torch(x, groups, weight, bias, eps, onto, relu)
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, weight, bias, onto)):
        return _Norm.apply(x, weight, bias, onto, groups, eps, relu, False)[0]
    if overwrite and _form(x) is not None:
        return _forward(x, weight, bias, onto, groups, eps, relu, x, len(x))[0]
    return torch.ops.roikit.group_norm(x, weight, bias, onto, groups, eps, relu, False)[0]


def batch_norm(x, weight, bias, eps=1e-5, onto=None, relu=False):
    """relu(batch_norm(x) + onto) with the means and variances of each channel of all images, and what they are.

    Args:
        As `group_norm`; for `has_batch_norm` of them.

    Returns:
        (N, C, H, W) as `group_norm` gives it; means and rates, (C,), which have no gradients.

    Source: Ioffe and Szegedy, ICML 2015, arXiv:1502.03167.
    """
    out, mean, rate = _Norm.apply(x, weight, bias, onto, x.shape[1], eps, relu, True)
    return out, mean[0], rate[0]


def has_batch_norm(x, weight, bias, onto=None):
    """Whether `batch_norm` takes these: maps on a CPU with two values a channel or more, weights, and nobody who looks
    at the single operations."""
    return _has_kernel(x, weight, bias, onto) and x.shape[1] > 0 and x.numel() > x.shape[1]


def _has_kernel(x, weight, bias, onto):
    """Whether the kernel takes these, and nobody looks at the single operations."""
    if torch.compiler.is_compiling() or type(x) is not torch.Tensor or not x.is_cpu or x.dim() != 4 or not x.numel():
        return False
    if weight is None or bias is None or not weight.dtype == bias.dtype == _WEIGHTS.get(x.dtype):
        return False
    if onto is not None and (type(onto) is not torch.Tensor or onto.dtype != x.dtype or onto.shape != x.shape):
        return False
    return not torch.jit.is_tracing() and not transformed(x, weight, bias, onto)


def _by_torch(x, groups, weight, bias, eps, onto, relu):
    if x.device.type == "cpu":  # see above
        x = x.contiguous()
    out = torch.group_norm(x, groups, weight, bias, eps, torch.backends.cudnn.enabled)
    if onto is not None:
        out = out + onto
    return out.relu() if relu else out


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, onto, groups, eps, relu, joint):
        out, mean, rate = torch.ops.roikit.group_norm(x, weight, bias, onto, groups, eps, relu, joint)
        ctx.mark_non_differentiable(mean, rate)
        # What passed is known from x, but where something was added.
        ctx.save_for_backward(x, weight, bias, mean, rate, out if relu and onto is not None else None)
        ctx.rest, ctx.relu, ctx.added = (groups, eps, joint), relu, onto is not None
        return out, mean, rate

    @staticmethod
    def backward(ctx, grad, *_):
        x, weight, bias, mean, rate, out = ctx.saved_tensors
        if torch.is_grad_enabled() or torch._C._functorch.is_legacy_batchedtensor(grad):
            found = _differentiable(grad, x, weight, bias, out, *ctx.rest, ctx.relu)
        else:
            found = torch.ops.roikit.group_norm_backward(grad, x, out, weight, bias, mean, rate, ctx.relu)
        own, of_weight, of_bias, of_sum = found
        return own, of_weight, of_bias, (of_sum if ctx.relu else grad) if ctx.added else None, None, None, None, None


def _differentiable(grad, x, weight, bias, out, groups, eps, joint, relu):
    """The gradients by operations that can be differentiated again."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        own = [t.detach().requires_grad_() if not t.requires_grad else t for t in (x, weight, bias)]
        laid = own[0].contiguous()
        normed = (F.batch_norm(laid, None, None, *own[1:], True, 0.0, eps) if joint
                  else torch.group_norm(laid, groups, *own[1:], eps))
        if relu:
            grad = grad * ((normed if out is None else out) > 0)
        return *torch.autograd.grad(normed, own, grad, create_graph=again), grad


def _form(x):
    """The memory format of maps, None for one that kernels do not take."""
    if x.is_contiguous():
        return torch.contiguous_format
    return torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else None


def _laid(x):
    """x in a format that kernels take, and that format."""
    form = _form(x) or torch.contiguous_format
    return x.contiguous(memory_format=form), form


def _fake(x, weight, bias, onto, groups, eps, relu, joint):
    rows = 1 if joint else len(x)
    return (torch.empty_like(x, memory_format=_laid(x)[1]), weight.new_empty(rows, groups),
            weight.new_empty(rows, groups))


def _kernel(x, weight, bias, onto, groups, eps, relu, joint):
    if not x.is_cpu:
        raise no_kernels("group_norm", x.device.type)
    x, form = _laid(x)
    rows = 1 if joint else len(x)
    return _forward(x, weight, bias, onto, groups, eps, relu, torch.empty_like(x, memory_format=form), rows)


def _forward(x, weight, bias, onto, groups, eps, relu, out, rows):
    onto = x.new_empty(0) if onto is None else onto.contiguous(memory_format=_form(x))
    weight, bias = weight.contiguous(), bias.contiguous()
    mean, rate = ((weight.new_empty if x.numel() else weight.new_zeros)((rows, groups)) for _ in range(2))
    _core.group_norm(view(x), view(weight), view(bias), groups, eps, view(onto), relu, view(out), view(mean),
                     view(rate), launch(x))
    return out, mean, rate


def _fake_backward(grad, x, out, weight, bias, mean, rate, relu):
    own = torch.empty_like(x, memory_format=_laid(x)[1])
    return (own, torch.empty_like(weight, memory_format=torch.contiguous_format),
            torch.empty_like(bias, memory_format=torch.contiguous_format),
            x.new_empty(0) if out is None else torch.empty_like(own))


def _kernel_backward(grad, x, out, weight, bias, mean, rate, relu):
    if not x.is_cpu:
        raise no_kernels("group_norm_backward", x.device.type)
    x, form = _laid(x)
    found = _fake_backward(grad, x, out, weight, bias, mean, rate, relu)
    own, of_weight, of_bias, of_sum = found
    grad, weight, bias = grad.contiguous(memory_format=form), weight.contiguous(), bias.contiguous()
    out = of_sum if out is None else out.contiguous(memory_format=form)
    _core.group_norm_backward(view(grad), view(x), view(out), view(weight), view(bias), view(mean), view(rate), relu,
                              view(own), view(of_sum), view(of_weight), view(of_bias), launch(x))
    return found


register("group_norm(Tensor x, Tensor weight, Tensor bias, Tensor? onto, int groups, float eps, bool relu, "
         "bool joint) -> (Tensor, Tensor, Tensor)", _kernel, _fake)
register("group_norm_backward(Tensor grad, Tensor x, Tensor? out, Tensor weight, Tensor bias, Tensor mean, "
         "Tensor rate, bool relu) -> (Tensor, Tensor, Tensor, Tensor)", _kernel_backward, _fake_backward)
