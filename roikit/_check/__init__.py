"""The one vocabulary of argument checks, for NumPy arrays and torch tensors alike.

Every check takes the op's and the argument's names and raises TypeError (kind) or ValueError (shape, value) with a
sentence that says: op, argument, rule, what came.

What an op checks beyond it stands in `roikit._check.<op>`, once for both faces. So no check here has an op's name.
"""

import numbers

FLOATS = ("float16", "bfloat16", "float32", "float64")
INTEGERS = ("uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64")


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


def box_array(op, name, x, columns=4):
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


def candidates(op, boxes, scores, columns=4):
    """``boxes`` is a floating (N, columns) array, ``scores`` a floating (N,) one."""
    box_array(op, "boxes", boxes, columns)
    array(op, "scores", scores)
    dtype(op, "scores", scores)
    vector(op, "scores", scores, boxes.shape[0], "boxes")


def classes(op, name, x, n):
    """``x`` holds an integer for each of n boxes."""
    array(op, name, x)
    if dtype_name(x) not in INTEGERS:
        raise TypeError(f"{op}: {name} must be integers, got {dtype_name(x)}")
    vector(op, name, x, n, "boxes")


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


def pooling(op, output_size, spatial_scale):
    """How boxes are pooled: returns map pixels an input pixel, and the rows and columns of bins."""
    rows, columns = pair(op, "output_size", output_size)
    return positive(op, "spatial_scale", spatial_scale), rows, columns


def sampling(op, ratio):
    """``ratio`` samples a bin along each axis, or 0 or less for as many as it has pixels; returns it as an int."""
    return grid_size(op, "sampling_ratio", ratio, None)


def choice(op, name, x, allowed):
    if x not in allowed:
        raise ValueError(f"{op}: {name} must be one of {', '.join(map(repr, allowed))}, got {x!r}")


def real_dtype(op, dtype, allowed):
    """``dtype`` is one of ``allowed``: the library's float32 and float64."""
    if dtype not in allowed:
        raise TypeError(f"{op}: dtype must be float32 or float64, got {dtype}")


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


def same_rows(op, **arrays):
    """Two named arrays have as many rows."""
    (first, x), (second, y) = arrays.items()
    if x.shape[0] != y.shape[0]:
        raise ValueError(f"{op}: {first} and {second} must have as many rows, got {x.shape[0]} and "
                         f"{y.shape[0]}")


def grid_size(op, name, x, least=1):
    """``x`` cells or samples along a side, a number that float32 has exactly; returns it as an int."""
    if whole(op, name, x, least) > 2**24:
        raise ValueError(f"{op}: {name} must be at most 16777216, got {x}")
    return int(x)
