"""What torch.compile leaves alone."""

import torch

# A part of torch that is loaded with it, unlike torch._dynamo, whose import takes seconds. None: this torch has it not.
_frames = getattr(getattr(torch._C, "_dynamo", None), "eval_frame", None)


def opaque(function):
    """The function, which torch.compile then neither looks into nor compiles, nor what it calls.

    After a graph break torch.compile takes up every Python function that runs, those that torch's dispatcher calls
    included. torch.compiler.disable costs 0.7 us a call, a mark on the code nothing. Where torch has no mark that holds
    for what the function calls as well (2.4 has none), a frame around it costs 0.07 us. These are torch's private
    names: where they are gone the function stays as it is, and torch.compile tries it in vain.
    """
    if hasattr(_frames, "set_code_exec_strategy"):
        skip = _frames._FrameAction.SKIP
        _frames.set_code_exec_strategy(function.__code__, _frames._FrameExecStrategy(skip, skip))
        return function
    if not (hasattr(_frames, "set_eval_frame") and hasattr(_frames, "skip_code")):
        return function

    def plain(*args, **kwargs):
        compiling = _frames.set_eval_frame(None)
        try:
            return function(*args, **kwargs)
        finally:
            _frames.set_eval_frame(compiling)

    _frames.skip_code(plain.__code__)
    return plain


def skipped(function):
    """The function, which torch.compile does not compile; what it calls is compiled as ever.

    Where torch cannot tell the two apart (2.4 cannot), it is left to torch.compile.
    """
    if not hasattr(_frames, "set_code_exec_strategy"):
        return function
    action = _frames._FrameAction
    _frames.set_code_exec_strategy(function.__code__, _frames._FrameExecStrategy(action.SKIP, action.DEFAULT))
    return function
