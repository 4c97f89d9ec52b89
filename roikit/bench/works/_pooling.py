"""What the works of pooling share: their cases, forward and backward, and the peers beside them."""

from contextlib import contextmanager
from dataclasses import dataclass

import torch

import roikit.ops as ops

from .. import inputs
from ..work import Cost, Work, forward, plain, size_of

P2, C4 = (256, inputs.HEIGHT // 4, inputs.WIDTH // 4), (1024, inputs.HEIGHT // 16, inputs.WIDTH // 16)


@dataclass
class Case:
    """
    Attributes:
        label: what follows the op's name in the table.
        shapes: (channels, height, width) of each map.
        rois: (K, 5) of all images.
        size: bins a side.
        samples: a side of a bin; 0 is adaptive, None where the op has none.
        last: channels_last.
        goals: the CPU's, of the forward and of both.
        devices, quick: as of a Work.
    """

    label: str
    shapes: list
    rois: torch.Tensor
    size: int = 7
    scale: float = 0.25
    samples: int | None = 2
    images: int = 1
    dtype: torch.dtype = torch.float32
    last: bool = False
    goals: tuple = (None, None)
    cuda_goal: float | None = None
    devices: tuple = ("cpu", "cuda")
    quick: bool = True

    def make(self, device):
        """The gradient of the output, the maps as leaves, the RoIs."""
        g = torch.Generator(device).manual_seed(0)
        form = torch.channels_last if self.last else torch.contiguous_format
        maps = [torch.randn(self.images, *shape, device=device, generator=g).to(self.dtype)
                .contiguous(memory_format=form).requires_grad_() for shape in self.shapes]
        shape = len(self.rois), self.shapes[0][0], self.size, self.size
        gradient = torch.randn(shape, device=device, generator=g).to(self.dtype)
        return gradient.contiguous(memory_format=form), *maps, self.rois.to(device)

    def goal(self, backward):
        return {device: ("ratio", least) for device, least in
                (("cpu", self.goals[backward]), ("cuda", self.cuda_goal)) if least}


def with_backward(call):
    """Forward and backward of ``call(*maps, rois)``; the inputs are the output's gradient, the maps, the RoIs."""
    return plain(lambda gradient, *given: torch.autograd.grad(call(*given), given[:-1], gradient))


def without_gradient(call):
    return forward(lambda gradient, *given: call(*given))


def backward_alone(call, deterministic=False, fill=False):
    """A rival: the graph is made once, and its backward is timed."""
    def prepare(gradient, *given):
        output = call(*given)

        def run():
            if not deterministic:
                return torch.autograd.grad(output, given[:-1], gradient, retain_graph=True)
            with deterministic_mode(fill):
                return torch.autograd.grad(output, given[:-1], gradient, retain_graph=True)
        return run
    return prepare


@contextmanager
def deterministic_mode(fill):
    """torch's deterministic mode; ``fill``: with its filling of fresh memory, which is not part of an algorithm."""
    before, filled = torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = fill
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.utils.deterministic.fill_uninitialized_memory = filled


def takes(tv, dtype, device):
    """Whether torchvision's roi_align has a kernel for the dtype."""
    try:
        tv.ops.roi_align(torch.ones(1, 1, 4, 4, device=device, dtype=dtype),
                         torch.zeros(1, 5, device=device, dtype=dtype), 1)
        return True
    except RuntimeError:  # NotImplementedError is one
        return False


def in_dtype(prepare, dtype):
    """A rival in another dtype, RoIs included; the conversion is not timed."""
    def convert(*given):
        return prepare(*(x.detach().to(dtype).requires_grad_(x.requires_grad) for x in given))
    return convert


def rows(op, name, case, call, libraries, device):
    """The works of a case of ``call(library)(*maps, rois)``."""
    note, other = "", case.dtype
    if "torchvision" in libraries and not takes(libraries["torchvision"], case.dtype, device):
        other, note = torch.float16, "torchvision in float16, boxes too"
    ours = call(ops)
    rivals = {peer: call(library) for peer, library in libraries.items()}
    dtype = "" if case.dtype == torch.float32 else f" {str(case.dtype).removeprefix('torch.')}"
    label = f"{name} {case.label}{dtype}"
    taps = 4 * max(case.samples, 1) ** 2 if case.samples is not None else 1
    operations = taps * len(case.rois) * case.shapes[0][0] * case.size**2
    arithmetic = f"; {taps} operations a value of the output"
    argmax = 0 if case.samples is not None else 4  # int32, beside each value

    def fwd(given, out):
        return Cost(size_of(given[1:]), size_of(out) + argmax * out.numel(), operations)

    def both(given, grads):
        values, gradient = given[0].numel(), size_of(given[0])
        return Cost(size_of(given[1:]) + gradient + argmax * values, gradient + argmax * values + size_of(grads),
                    2 * operations)

    def bwd(given, grads):
        return Cost(size_of(given[0]) + size_of(given[-1]) + argmax * given[0].numel(), size_of(grads), operations)

    if other == case.dtype:
        def peers(wrap):
            return {peer: wrap(rival) for peer, rival in rivals.items()}
    else:
        def peers(wrap):
            return {peer: in_dtype(wrap(rival), other) for peer, rival in rivals.items()}

    places = {"devices": case.devices, "quick": case.quick}
    kept = ", argmax written and read" if argmax else ""
    yield Work(op, f"{label} fwd", case.make, without_gradient(ours), peers(without_gradient), fwd,
               f"maps read whole, output written{kept}{arithmetic}", case.goal(False), note=note, **places)
    yield Work(op, f"{label} fwd+bwd", case.make, with_backward(ours), peers(with_backward), both,
               f"maps and gradient read, output and maps' gradients written{kept}{arithmetic}, forward and backward",
               case.goal(True), note=note, **places)
    if device == "cuda" and case.dtype == torch.float32 and not case.last and case.samples != 0:
        for words, fill in (("", False), (", filled", True)):  # the CPU's backward is deterministic anyway
            yield Work(op, f"{label} bwd, deterministic{words}", case.make, backward_alone(ours, True, fill),
                       {"roikit fast": backward_alone(ours)}, bwd,
                       f"gradient read, maps' gradients written{arithmetic}", {"cuda": ("ratio", 1 / 1.5)},
                       ("cuda",), case.quick and not fill,
                       note="torch fills fresh memory" if fill else "against roikit's fast backward")
