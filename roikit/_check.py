"""The one vocabulary of argument checks, for NumPy arrays and torch tensors alike.

Every check takes the op's and the argument's names and raises TypeError (kind) or ValueError (shape, value) with a
sentence that says: op, argument, rule, what came.
"""

import numbers

FLOATS = ("float16", "bfloat16", "float32", "float64")


def dtype_name(x):
    """"float32" for NumPy's and torch's float32 alike."""
    return str(x.dtype).removeprefix("torch.")


def shape_text(x):
    return "(" + ", ".join(str(n) for n in x.shape) + ("," if len(x.shape) == 1 else "") + ")"


def array(op, name, x):
    """``x`` is an array or a tensor: it has a shape and a dtype.

    They are read and not asked for: torch 2.4 compiles no hasattr of a tensor.
    """
    try:
        _ = x.shape, x.dtype
    except AttributeError:
        raise TypeError(f"{op}: {name} must be an array or a tensor, got {type(x).__name__}") from None


def tensor(op, name, x):
    """``x``, already known for an array, is torch's."""
    try:
        _ = x.is_cuda
    except AttributeError:
        raise TypeError(f"{op}: {name} must be a torch tensor, got {type(x).__name__}") from None


def dtype(op, name, x, allowed=FLOATS):
    if dtype_name(x) not in allowed:
        if type(x).__name__ == "Proxy":
            raise TypeError(f"{op}: {name} is a Proxy of torch.fx, which traces the ops as roikit.ops.{op}(...) or by "
                            "torch.fx.Tracer(autowrap_modules=(roikit.ops,))")
        listed = ", ".join(allowed[:-1]) + (" or " if len(allowed) > 1 else "") + allowed[-1]
        raise TypeError(f"{op}: {name} must be {listed}, got {dtype_name(x)}")


def rank(op, name, x, pattern):
    """``pattern`` is the shape in words, one entry an axis: ("N", "C", "H", "W")."""
    if len(x.shape) != len(pattern):
        raise ValueError(f"{op}: {name} must have shape ({', '.join(pattern)}), got {shape_text(x)}")


def map_shape(op, name, shape):
    """``shape`` is (N, C, H, W) in whole numbers of at least 0; returns it as a tuple."""
    if not isinstance(shape, (tuple, list)) or len(shape) != 4:
        raise ValueError(f"{op}: {name} must be (N, C, H, W), got {shape!r}")
    return tuple(whole(op, name, n, 0) for n in shape)


def boxes(op, name, x, columns=4):
    """``x`` is a floating (N, columns) array; ``columns`` is a number, or a tuple of those that will do."""
    array(op, name, x)
    dtype(op, name, x)
    allowed = columns if isinstance(columns, tuple) else (columns,)
    if len(x.shape) != 2 or x.shape[1] not in allowed:
        hint = ""
        if len(x.shape) == 2 and x.shape[0] in allowed:
            hint = f". Did you mean {name}.T?"
        shapes = " or ".join(f"(N, {n})" for n in allowed)
        raise ValueError(f"{op}: {name} must have shape {shapes}, got {shape_text(x)}{hint}")


def vector(op, name, x, length, of):
    """``x`` is one-dimensional and has one entry for each of ``of``'s rows."""
    if len(x.shape) != 1 or x.shape[0] != length:
        raise ValueError(f"{op}: {name} must have shape ({length},), one entry for each row of "
                         f"{of}, got {shape_text(x)}")


def same_device(op, **tensors):
    """All of the named are tensors, and on one device."""
    for name, x in tensors.items():
        tensor(op, name, x)
    (first, x), *rest = tensors.items()
    for name, y in rest:
        if y.device != x.device:
            raise ValueError(f"{op}: {first} and {name} must be on the same device, "
                             f"got {x.device} and {y.device}")


def symbolic(x):
    """Whether ``x`` is torch's stand-in for a size that an exported program leaves open, of which nothing is known."""
    # Numbers first: torch 2.4 compiles no look at the name of a type.
    return type(x) is not int and type(x) is not float and type(x).__name__ in ("SymInt", "SymFloat")


def number(op, name, x):
    """``x`` is a real number, not a bool and not NaN; returns it as a float."""
    if type(x) is float and x == x or symbolic(x):  # the common case, without a look at abstract classes
        return x
    if isinstance(x, bool) or not isinstance(x, numbers.Real):
        raise TypeError(f"{op}: {name} must be a number, got {type(x).__name__}")
    if x != x:
        raise ValueError(f"{op}: {name} must not be NaN")
    try:
        return float(x)
    except OverflowError:
        raise ValueError(f"{op}: {name} must be a number that a float holds, got {x}") from None


def number_from(op, name, x, least):
    """``x`` is a finite number of at least ``least``; returns it as a float."""
    value = number(op, name, x)
    if not least <= value < float("inf"):
        raise ValueError(f"{op}: {name} must be finite and at least {least}, got {x}")
    return value


def positive(op, name, x):
    value = number(op, name, x)
    if not 0 < value < float("inf"):
        raise ValueError(f"{op}: {name} must be positive and finite, got {x}")
    return value


def whole(op, name, x, least=None):
    """``x`` is a whole number of at least ``least``; returns it as an int."""
    if symbolic(x):
        return x
    if type(x) is not int and (isinstance(x, bool) or not isinstance(x, numbers.Integral)):
        raise TypeError(f"{op}: {name} must be a whole number, got {type(x).__name__}")
    if least is not None and x < least:
        raise ValueError(f"{op}: {name} must be at least {least}, got {x}")
    if not -2**63 <= x < 2**63:
        raise ValueError(f"{op}: {name} must fit into 64 bits, got {x}")
    return int(x)


def pair(op, name, x, least=1):
    """A whole number or two of them, as (height, width)."""
    if type(x) is int or isinstance(x, numbers.Integral):
        x = (x, x)
    if not isinstance(x, (tuple, list)) or len(x) != 2:
        raise TypeError(f"{op}: {name} must be a whole number or two of them, got {x!r}")
    return tuple(whole(op, name, v, least) for v in x)


def channels_of_bins(op, channels, rows, columns):
    """Every bin of rows x columns has channels of its own, as many as the others."""
    if channels % (rows * columns):
        raise ValueError(f"{op}: input must have a multiple of {rows} * {columns} channels, got {channels}")


def choice(op, name, x, allowed):
    if x not in allowed:
        raise ValueError(f"{op}: {name} must be one of {', '.join(map(repr, allowed))}, got {x!r}")


def sequence(op, name, xs):
    """``xs`` has a length and is no text; a tensor without axes has the method and no length."""
    try:
        fits = not isinstance(xs, str) and len(xs) >= 0
    except TypeError:
        fits = False
    if not fits:
        raise TypeError(f"{op}: {name} must be a sequence of numbers, got {type(xs).__name__}")


def positives(op, name, xs, count=None):
    """``xs`` is a sequence of positive finite numbers, ``count`` of them where given; returns a list of floats."""
    sequence(op, name, xs)
    if count is not None and len(xs) != count:
        raise ValueError(f"{op}: {name} must have {count} numbers, got {len(xs)}")
    return [positive(op, name, x) for x in xs]


def finites(op, name, xs):
    """``xs`` is a sequence of finite numbers; returns a list of floats."""
    sequence(op, name, xs)
    values = [number(op, name, x) for x in xs]
    for value in values:
        if abs(value) == float("inf"):
            raise ValueError(f"{op}: {name} must be finite, got {value}")
    return values


def two_numbers(op, name, x):
    """A number or two of them, as floats (y, x)."""
    if not isinstance(x, (tuple, list)):
        x = (x, x)
    if len(x) != 2:
        raise ValueError(f"{op}: {name} must be a number or two of them, got {x!r}")
    return tuple(number(op, name, v) for v in x)


def deltas(op, name, x, columns=4):
    """``x`` is a floating (N, columns * C) array with C at least 1."""
    array(op, name, x)
    dtype(op, name, x)
    if len(x.shape) != 2 or x.shape[1] % columns or x.shape[1] == 0:
        raise ValueError(f"{op}: {name} must have shape (N, {columns} C), got {shape_text(x)}")


def same_rows(op, **arrays):
    """Two named arrays have as many rows."""
    (first, x), (second, y) = arrays.items()
    if x.shape[0] != y.shape[0]:
        raise ValueError(f"{op}: {first} and {second} must have as many rows, got {x.shape[0]} and "
                         f"{y.shape[0]}")


def keypoints(op, name, x, pattern):
    """``x`` has the shape in words, its numbers as they are; the axes H and W have at least one entry."""
    if len(x.shape) != len(pattern) or any(n == 0 if axis in ("H", "W") else n != axis and not isinstance(axis, str)
                                           for n, axis in zip(x.shape, pattern, strict=True)):
        rule = " with H and W at least 1" if "H" in pattern else ""
        raise ValueError(f"{op}: {name} must have shape ({', '.join(map(str, pattern))}){rule}, got {shape_text(x)}")


def grid_size(op, name, x, least=1):
    """``x`` cells or samples along a side, a number that float32 has exactly; returns it as an int."""
    if whole(op, name, x, least) > 2**24:
        raise ValueError(f"{op}: {name} must be at most 16777216, got {x}")
    return int(x)


def sampling(op, ratio):
    """``ratio`` samples a bin along each axis, or 0 or less for as many as it has pixels; returns it as an int."""
    return grid_size(op, "sampling_ratio", ratio, None)


def deform_conv(op, input, offset, weight, bias, stride, padding, dilation, mask, casts=False):
    """The arguments of a deformable convolution fit each other.

    Args:
        casts: all that is not float64 will be cast to float32; else all have the dtype of the input.

    Returns:
        stride, padding, dilation as (y, x), and the shape (N, O, OH, OW) of the output.
    """
    rule = pair(op, "stride", stride), pair(op, "padding", padding, 0), pair(op, "dilation", dilation)
    given = {"input": input, "offset": offset, "weight": weight, "bias": bias, "mask": mask}
    for name, x in given.items():
        if x is not None or name in ("input", "offset", "weight"):
            array(op, name, x)
            first = dtype_name(input)
            dtype(op, name, x, FLOATS if name == "input" else FLOATS[:3] if casts and first != "float64" else (first,))
    rank(op, "input", input, ("N", "C", "H", "W"))
    rank(op, "weight", weight, ("O", "C / groups", "KH", "KW"))
    (images, channels), outputs, kernel = input.shape[:2], weight.shape[0], tuple(weight.shape[2:])
    if 0 in tuple(weight.shape) or channels == 0 or channels % weight.shape[1]:
        raise ValueError(f"{op}: weight must have shape (O, C / groups, KH, KW), none of them 0, for input "
                         f"{shape_text(input)}, got {shape_text(weight)}")
    groups = channels // weight.shape[1]
    if outputs % groups:
        raise ValueError(f"{op}: weight must have a multiple of {groups} outputs, one share a group, got {outputs}")
    if bias is not None:
        vector(op, "bias", bias, outputs, "weight")
    size = [(n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, k, s, p, d in zip(input.shape[2:], kernel, *rule, strict=True)]
    if min(size) < 1:
        raise ValueError(f"{op}: input {shape_text(input)} is too small for a kernel of {kernel[0]} x {kernel[1]} with "
                         f"padding {rule[1]} and dilation {rule[2]}")
    taps = kernel[0] * kernel[1]
    rank(op, "offset", offset, ("N", "2 * DG * KH * KW", "OH", "OW"))
    shared = offset.shape[1] // (2 * taps)
    if (offset.shape[1] % (2 * taps) or shared == 0 or channels % shared
            or (offset.shape[0], *offset.shape[2:]) != (images, *size)):
        raise ValueError(f"{op}: offset must have shape ({images}, 2 * DG * {taps}, {size[0]}, {size[1]}) with DG "
                         f"dividing {channels} channels, got {shape_text(offset)}")
    if mask is not None and tuple(mask.shape) != (images, shared * taps, *size):
        raise ValueError(f"{op}: mask must have shape ({images}, {shared * taps}, {size[0]}, {size[1]}), got "
                         f"{shape_text(mask)}")
    return *rule, (images, outputs, *size)


def align_rule(op, rule, sampling_ratio, reduce="mean"):
    """How a bin is made: "integral", which takes no sampling_ratio, or of samples their "mean" or "max"."""
    choice(op, "rule", rule, ("samples", "integral"))
    choice(op, "reduce", reduce, ("mean", "max"))
    if rule == "integral" and whole(op, "sampling_ratio", sampling_ratio) > 0:
        raise ValueError(f"{op}: sampling_ratio must be at most 0 with rule='integral', got {sampling_ratio}")
    if rule == "integral" and reduce == "max":
        raise ValueError(f"{op}: reduce must be 'mean' with rule='integral', which has no samples, got 'max'")
    if reduce == "max" and whole(op, "sampling_ratio", sampling_ratio) > 2**15:
        raise ValueError(f"{op}: sampling_ratio must be at most 32768 with reduce='max', got {sampling_ratio}")
    return "integral" if rule == "integral" else reduce
