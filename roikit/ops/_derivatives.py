"""The derivatives of an operator: reverse and forward mode, eagerly, compiled, and under the transforms of torch.func.

torch.library.register_autograd has reverse mode alone. Its kernel does not see a tangent, so that the result of an
operator under torch.func.jvp or in a dual level counts as a constant, and torch.func.grad refuses the operator.
"""

import torch
from torch._functorch.utils import enable_single_level_autograd_function
from torch.autograd import forward_ad
from torch.autograd.function import Function, _SingleLevelFunction

from roikit.ops._opaque import opaque

# Why a tangent is refused.
_CONSTANT = "the results have no derivative; detach it"
_ONCE = "there is no second derivative by it; detach it"
_REVERSE_ONLY = "forward mode knows no derivative by it; detach it, or differentiate in reverse mode"


def linear(op, place, tangent, inputs, output):
    """The tangent of an operator that is linear in the argument at ``place``: itself, of the tangent."""
    return op(*inputs[:place], tangent, *inputs[place + 1 :])


def constant_kernel(op):
    """What the dispatcher calls for the overload ``op`` at its key Autograd, where its results have no derivative.

    They do not require grad. A tangent is an error where a result could have one, that is, is floating.
    """
    names = _names(op)

    def kernel(keyset, *args):
        if _forward_mode() and (found := _with_tangents(args)):
            primals, given = found
            output = op(*primals)
            if any(x.is_floating_point() for x in _listed(output)):
                _refuse(op._opname, next(name for name, t in zip(names, given, strict=False) if t is not None),
                        _CONSTANT)
            return output
        return _below(op, keyset, args)

    return kernel


def autograd_kernel(op, backward, setup_context, tangents):
    """What the dispatcher calls for the overload ``op`` at its key Autograd, the set of keys first.

    Args:
        backward, setup_context: as in torch.library.register_autograd.
        tangents: as in `roikit.ops._library.register`.
    """
    eager, level = (_function(op, base, backward, setup_context) for base in (Function, _SingleLevelFunction))
    names = _names(op)

    def kernel(keyset, *args):
        if _forward_mode() and (found := _with_tangents(args)):
            primals, given = found
            output = op(*primals)
            return _dual(output, _tangent(op, names, tangents, primals, given, output))
        if torch.is_grad_enabled() and _requires_grad(args):
            if not torch._C._are_functorch_transforms_active():
                return _applied(eager, args, keyset)
            # The dispatcher calls once for each nested transform, so that a graph of this one alone is right.
            with enable_single_level_autograd_function():
                return _applied(level, args, keyset)
        return _below(op, keyset, args)

    return kernel


def transformed(*tensors):
    """Whether a transform of torch.func is at work, or a tensor has a tangent: an autograd.Function that has reverse
    mode alone fails there. A tensor may be None."""
    if torch._C._are_functorch_transforms_active():
        return True
    return forward_ad._current_level >= 0 and any(forward_ad.unpack_dual(t).tangent is not None
                                                  for t in tensors if t is not None)


def _names(op):
    return [argument.name for argument in op._schema.arguments]


def _forward_mode():
    """Whether an argument may have a tangent."""
    if forward_ad._current_level < 0 and not torch._C._are_functorch_transforms_active():
        return False
    return torch._C._is_fwd_grad_enabled()


def _below(op, keyset, args):
    with torch._C._AutoDispatchBelowAutograd():
        return op.redispatch(keyset & torch._C._after_autograd_keyset, *args)


def _requires_grad(args):
    for x in args:
        if isinstance(x, torch.Tensor):
            if x.requires_grad:
                return True
        elif _tensors(x) and any(part.requires_grad for part in x):
            return True
    return False


def _around(op, keyset, args):
    """`_below`, where the transforms around this one differentiate: inside a Function nobody else does."""
    with torch.enable_grad(), forward_ad._set_fwd_grad_enabled(True):
        return _below(op, keyset, args)


def _tensors(x):
    return isinstance(x, list) and any(isinstance(part, torch.Tensor) for part in x)


def _function(op, base, backward, setup_context):
    """Reverse mode as an autograd.Function of what `_applied` hands it."""
    takes_lists, gives_list = (any(str(x.type) == "List[Tensor]" for x in part)
                               for part in (op._schema.arguments, op._schema.returns))
    call = _below if base is Function else _around

    def run(ctx, *flat):
        *flat, sizes, keyset = flat
        args = _folded(flat, sizes)
        ctx.sizes, ctx.needs_input_grad = sizes, _folded(ctx.needs_input_grad[:-2], sizes)
        output = call(op, keyset, args)
        if setup_context is not None:
            with torch._C._AutoDispatchBelowAutograd():
                setup_context(ctx, args, output)
        return tuple(output) if gives_list else output

    def run_backward(ctx, *grads):
        found = backward(ctx, list(grads)) if gives_list else backward(ctx, *grads)
        found = found if isinstance(found, tuple) else (found,)
        if ctx.sizes is not None:
            found = [g for size, part in zip(ctx.sizes, found, strict=True)
                     for g in ((part,) if size is None else (None,) * size if part is None else part)]
        return (*found, None, None)

    return type(f"{op._opname}_derivative", (base,),
                {"forward": staticmethod(run), "backward": staticmethod(opaque(run_backward)),
                 "takes_lists": takes_lists, "gives_list": gives_list})


def _applied(function, args, keyset):
    """The function of the arguments: of each tensor in a list by itself, as autograd looks into no list."""
    flat, sizes = args, None
    if function.takes_lists:
        sizes = [len(x) if _tensors(x) else None for x in args]
        flat = [part for x in args for part in (x if _tensors(x) else (x,))]
    output = function.apply(*flat, sizes, keyset)
    return list(output) if function.gives_list else output


def _folded(flat, sizes):
    """What `_applied` made flat, with its lists again."""
    if sizes is None:
        return flat
    parts = iter(flat)
    return [next(parts) if size is None else [next(parts) for _ in range(size)] for size in sizes]


def _with_tangents(args):
    """The arguments without their tangents, and these, None for an argument that has none; None where not one has."""
    primals, tangents = [], []
    for x in args:
        tangent = None
        if isinstance(x, torch.Tensor):
            x, tangent = forward_ad.unpack_dual(x, level=0)
        elif _tensors(x):
            x, found = map(list, zip(*(forward_ad.unpack_dual(part, level=0) for part in x), strict=True))
            if any(t is not None for t in found):
                tangent = [torch.zeros_like(part) if t is None else t for part, t in zip(x, found, strict=True)]
        primals.append(x)
        tangents.append(tangent)
    return None if all(t is None for t in tangents) else (primals, tangents)


def _tangent(op, names, rules, primals, given, output):
    """The sum over the arguments that have a tangent: one for each result, None where that is a constant."""
    total = None
    for place, (name, tangent) in enumerate(zip(names, given, strict=False)):
        if tangent is None:
            continue
        if name not in rules:
            second = op._opname.endswith("_backward")
            _refuse(op._opname, name, _ONCE if second else _REVERSE_ONLY)
        part = _listed(rules[name](op, place, tangent, primals, output))
        total = part if total is None else [a if b is None else a + b for a, b in zip(total, part, strict=True)]
    return total


def refuse_tangent(op, name, x):
    """What `constant_kernel` refuses, for a function that runs a kernel by itself: of its argument ``name``, ``x``."""
    if _forward_mode() and forward_ad.unpack_dual(x, level=0).tangent is not None:
        _refuse(op, name, _CONSTANT)


def _refuse(op, name, reason):
    raise NotImplementedError(f"{op}: {name} must not have a tangent, as {reason}")


def _listed(x):
    return list(x) if isinstance(x, (tuple, list)) else [x]


def _dual(output, tangents):
    """The results with their tangents, in the form in which they came."""
    if isinstance(output, torch.Tensor):
        return forward_ad.make_dual(output, tangents[0], level=0)
    return type(output)(x if t is None else forward_ad.make_dual(x, t, level=0)
                        for x, t in zip(output, tangents, strict=True))
