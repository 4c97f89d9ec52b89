"""Central differences: what the gradients of the specification are held to."""

import numpy as np


def central_difference(function, inputs, which, grad, step=1e-6):
    """The gradient of ``(grad * function(*inputs)).sum()`` by the input number ``which``, in float64."""
    result = np.zeros_like(inputs[which])
    for i in np.ndindex(result.shape):
        values = []
        for sign in (1, -1):
            moved = [x.copy() for x in inputs]
            moved[which][i] += sign * step
            values.append(function(*moved))
        result[i] = (grad * (values[0] - values[1])).sum() / (2 * step)
    return result
