"""Forward mode and torch.func on every operator: right, an error that names it, or no floating result; never 0."""

import pytest
import torch
from torch.autograd import forward_ad
from torch.utils._pytree import tree_map

from roikit import masks, ops
from roikit.testing import catalogue

from .operators import BOXES, CASES, ROIKIT, WITHOUT, floating, random, recorded

# The fallback of vmap, in which jacrev runs an operator, asks for a rule that would be faster.
pytestmark = pytest.mark.filterwarnings("ignore:There is a performance drop")


MATCHED, BITMAPS = torch.tensor([1, 0, 1]), (random(2, 6, 6, seed=14) > 0.5).to(torch.uint8)
RUNS = [masks.encode(bitmap) for bitmap in BITMAPS.numpy()]


def around():
    """The functions around decisions with floating results, each of its boxes; two have other forms."""
    for name, function in catalogue.functions().items():
        boxes = [argument for argument, word in function.words.items() if word in ("boxes", "rotated_boxes")]
        given = tree_map(lambda x: x.double() if floating(x) else x, catalogue.as_tensors(function.arguments()))
        if name in WITHOUT and boxes and floating(getattr(ops, name)(**given)):
            yield name, (lambda x, name=name, given=given, boxes=boxes: getattr(ops, name)(**{**given, boxes[-1]: x}),
                         given[boxes[-1]])
    yield "mask_targets of runs", (lambda x: ops.mask_targets(RUNS, x, MATCHED, 3), BOXES)
    yield "paste_masks soft", (lambda x: ops.paste_masks(random(3, 4, 4, seed=16), x, (6, 6), threshold=None), BOXES)


AROUND = dict(around())


def leaves(x):
    """The tensors in an argument or in a result."""
    return [part for part in (x if isinstance(x, (list, tuple)) else [x]) if isinstance(part, torch.Tensor)]


def argument_names(name):
    return [argument.name for argument in getattr(ROIKIT, name).default._schema.arguments]


def refusal(name, place, reason):
    return rf"^{name}: {argument_names(name)[place]} must not have a tangent, as {reason}"


class Call:
    """One operator as a function of one of its arguments, which is a tuple of tensors."""

    def __init__(self, name, args, place):
        self.op, self.args, self.place = getattr(ROIKIT, name), args, place
        self.many = isinstance(args[place], list)
        self.at = tuple(leaves(args[place]))

    def results(self, *at):
        given = list(at) if self.many else at[0]
        return tuple(leaves(self.op(*self.args[: self.place], given, *self.args[self.place + 1 :])))

    def __call__(self, *at):
        return tuple(x for x in self.results(*at) if x.is_floating_point())

    def total(self, *at):
        return sum((x * x * x).sum() for x in self(*at))

    def slope(self, direction, step=1e-6):
        """Along the direction, by central differences."""
        ahead, behind = (self(*(x + s * v for x, v in zip(self.at, direction, strict=True))) for s in (step, -step))
        return [(a - b) / (2 * step) for a, b in zip(ahead, behind, strict=True)]


def floating_arguments(name, args):
    for place, (argument, x) in enumerate(zip(argument_names(name), args, strict=False)):
        if leaves(x) and all(part.is_floating_point() for part in leaves(x)):
            yield place, argument


def every_argument():
    for name, calls in CASES.items():
        for i, (args, right) in enumerate(calls):
            for place, argument in floating_arguments(name, args):
                is_right = None if right is None else argument in right
                yield pytest.param((name, args, place, is_right), id=f"{name}-{i}-{argument}")


def every_argument_without():
    for name, calls in WITHOUT.items():
        for i, args in enumerate(calls):
            for place, argument in floating_arguments(name, args):
                yield pytest.param((name, args, place), id=f"{name}-{i}-{argument}")


def on_device(placed, name, args, place):
    """The call, and what it says where the argument must not have a tangent."""
    args = tree_map(lambda x: placed(x)[0] if isinstance(x, torch.Tensor) else x, args)
    reason = "there is no second derivative by it" if name.endswith("_backward") else "forward mode knows no derivative"
    return Call(name, args, place), refusal(name, place, reason)


@pytest.fixture(params=every_argument())
def case(request, placed):
    name, args, place, right = request.param
    call, message = on_device(placed, name, args, place)
    return call, right, message


OF_MODELS = {"group_norm", "group_norm_backward"}  # for a CPU alone, and there when the models are: tests/models
OPERATORS = {n.removeprefix("roikit::") for n in torch._C._dispatch_get_all_op_names()
             if n.startswith("roikit::")} - OF_MODELS


def uncalled(called):
    """A sentence for each operator that is called neither by hand nor by an example."""
    return [f"no example of roikit/testing/table.py calls {name}: call it in CASES of tests/ops/operators.py"
            for name in sorted(OPERATORS - set(called))]


def test_every_operator_is_here():
    assert not (missing := uncalled([*CASES, *WITHOUT])), "\n".join(missing)
    assert len(OPERATORS) == len(CASES) + len(WITHOUT)
    said, = uncalled(OPERATORS - {"roi_warp_at"})
    assert said.startswith("no example of roikit/testing/table.py calls roi_warp_at: ")


def dual_tangents(call, direction):
    with forward_ad.dual_level():
        at = [forward_ad.make_dual(x, v) for x, v in zip(call.at, direction, strict=True)]
        return [forward_ad.unpack_dual(x).tangent for x in call(*at)]


def check_tangent(call, right, message):
    """``right`` is None where it may be either."""
    direction = tuple(torch.sin(31 * x + 1) for x in call.at)
    if right is None:
        try:
            torch.func.jvp(call, call.at, direction)
        except NotImplementedError:
            right = False
    if right is False:
        for find in (lambda: torch.func.jvp(call, call.at, direction), lambda: dual_tangents(call, direction)):
            with pytest.raises(NotImplementedError, match=message):
                find()
        return
    values, tangents = torch.func.jvp(call, call.at, direction)
    for mine, plain in zip(values, call(*call.at), strict=True):
        torch.testing.assert_close(mine, plain)
    for mine, other, slope in zip(tangents, dual_tangents(call, direction), call.slope(direction), strict=True):
        torch.testing.assert_close(mine, slope, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(mine, other)
        assert mine.numel() == 0 or mine.abs().max() > 1e-2


def test_a_tangent_is_right_or_an_error(case):
    check_tangent(*case)


@pytest.mark.parametrize("name", ["roi_warp", "box_iou"])
def test_operators_of_which_nothing_is_written_are_found_by_the_examples(name, placed):
    """As of a new op: they are called, and their tangents are right or an error."""
    found = recorded([catalogue.functions()[name]])
    assert set(found) == {op for op in CASES if op.startswith(name)}
    for operator, (args,) in found.items():
        for place, _ in floating_arguments(operator, args):
            call, message = on_device(placed, operator, args, place)
            check_tangent(call, None, message)


@pytest.mark.parametrize("case", list(every_argument_without()))
def test_a_tangent_of_a_decision_is_an_error_unless_no_result_could_have_one(case, placed):
    name, args, place = case
    call = Call(name, tree_map(lambda x: placed(x)[0] if isinstance(x, torch.Tensor) else x, args), place)
    direction = tuple(map(torch.ones_like, call.at))
    plain = call.results(*call.at)

    def tangents():
        return torch.func.jvp(call.results, call.at, direction)[0]

    def under_another_transform():
        return torch.func.grad(lambda s: s * torch.func.jvp(call.results, call.at, direction)[0][0].sum())(
            torch.ones((), dtype=torch.float64))

    with forward_ad.dual_level():
        at = [forward_ad.make_dual(x, v) for x, v in zip(call.at, direction, strict=True)]
        if any(x.is_floating_point() for x in plain):
            message = refusal(name, place, "the results have no derivative")
            with pytest.raises(NotImplementedError, match=message):
                call.results(*at)
        else:
            assert all(map(torch.equal, call.results(*at), plain))
    if any(x.is_floating_point() for x in plain):
        for find in (tangents, under_another_transform):
            with pytest.raises(NotImplementedError, match=message):
                find()
    else:
        assert all(map(torch.equal, tangents(), plain))


@pytest.mark.parametrize("case", list(every_argument_without()))
def test_a_decision_does_not_require_grad(case, placed):
    name, args, place = case
    call = Call(name, tree_map(lambda x: placed(x)[0] if isinstance(x, torch.Tensor) else x, args), place)
    found = call.results(*(x.clone().requires_grad_() for x in call.at))
    assert all(map(torch.equal, found, call.results(*call.at)))
    if any(x.is_floating_point() for x in found):
        assert not any(x.requires_grad for x in found)


@pytest.mark.parametrize("name", AROUND)
def test_the_functions_around_hide_no_tangent(name):
    function, boxes = AROUND[name]
    assert not any(x.requires_grad for x in leaves(function(boxes.clone().requires_grad_())))
    with pytest.raises(NotImplementedError, match=rf"^{name.split()[0]}: \w+ must not have a tangent"):
        torch.func.jvp(function, (boxes,), (boxes,))
    with forward_ad.dual_level(), pytest.raises(NotImplementedError, match="must not have a tangent"):
        function(forward_ad.make_dual(boxes, boxes))


@pytest.mark.parametrize("place", [0, 2], ids=["input", "weight"])
def test_a_second_derivative_that_there_is_not_is_said_to_be_none(place):
    call = Call("deform_conv2d", CASES["deform_conv2d"][0][0], place)
    at = tuple(x.clone().requires_grad_() for x in call.at)
    with pytest.raises(NotImplementedError, match="^deform_conv2d_backward: .* as there is no second derivative by it"):
        torch.func.hessian(call.total)(*call.at)
    with pytest.raises(NotImplementedError, match="^deform_conv2d: it can be differentiated once"):
        torch.autograd.grad(sum(g.sum() for g in torch.autograd.grad(call.total(*at), at, create_graph=True)), at)


def test_a_gradient_under_torch_func_is_that_of_autograd(case):
    call, _, _ = case
    places = tuple(range(len(call.at)))
    at = tuple(x.clone().requires_grad_() for x in call.at)
    try:
        expected = torch.autograd.grad(call.total(*at), at, materialize_grads=True)
    except NotImplementedError as reason:
        with pytest.raises(NotImplementedError, match=str(reason)[:30]):
            torch.func.grad(call.total, places)(*call.at)
        return
    for mine, theirs in zip(torch.func.grad(call.total, places)(*call.at), expected, strict=True):
        torch.testing.assert_close(mine, theirs)
    _, pull = torch.func.vjp(call.total, *call.at)
    for mine, theirs in zip(pull(torch.ones_like(call.total(*call.at))), expected, strict=True):
        torch.testing.assert_close(mine, theirs)


def jacobian(call):
    """Of all results by all entries of the argument, a row a result's entry."""
    at = tuple(x.clone().requires_grad_() for x in call.at)
    results = torch.cat([x.flatten() for x in call(*at)])
    rows = [torch.autograd.grad(r, at, retain_graph=True) for r in results]
    return torch.stack([torch.cat([g.flatten() for g in row]) for row in rows])


@pytest.mark.parametrize("name", ["roi_align", "roi_align_max", "roi_pool", "roi_warp", "box_iou", "encode_boxes"])
def test_jacobians_by_transforms(name, placed):
    args, right = CASES[name][0]
    call = Call(name, [placed(x)[0] if isinstance(x, torch.Tensor) else x for x in args], 0)
    expected = jacobian(call)
    for transform in (torch.func.jacrev, torch.func.jacfwd)[: 1 + bool(right)]:
        (found,) = transform(lambda x: call(x))(*call.at)
        torch.testing.assert_close(found.reshape(expected.shape), expected)


@pytest.mark.parametrize("name", ["roi_align", "ps_roi_align", "roi_pool", "roi_warp", "multiscale_roi_align",
                                  "roi_align_max", "multiscale_roi_align_max"])
def test_modes_nest(name, placed):
    """Either mode over either: the second derivatives of a sum of cubes."""
    args = tree_map(lambda x: placed(x)[0] if isinstance(x, torch.Tensor) else x, CASES[name][0][0])
    call = Call(name, args, 0)
    direction = tuple(torch.sin(31 * x + 1) for x in call.at)
    places = tuple(range(len(call.at)))
    at = tuple(x.clone().requires_grad_() for x in call.at)
    first = torch.autograd.grad(call.total(*at), at, create_graph=True)
    expected = torch.autograd.grad(sum((g * v).sum() for g, v in zip(first, direction, strict=True)), at)

    def along(*x):
        return torch.func.jvp(call.total, x, direction)[1]

    def slope(*x):
        return sum((g * v).sum() for g, v in zip(torch.func.grad(call.total, places)(*x), direction, strict=True))

    for found in (torch.func.jvp(torch.func.grad(call.total, places), call.at, direction)[1],
                  torch.func.grad(slope, places)(*call.at),
                  torch.func.grad(along, places)(*call.at),
                  torch.autograd.grad(along(*at), at)):
        for mine, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(mine, theirs)
    curvature = sum((g * v).sum() for g, v in zip(expected, direction, strict=True))
    torch.testing.assert_close(torch.func.jvp(along, call.at, direction)[1], curvature)


def test_a_tangent_of_several_arguments_is_the_sum():
    args, right = CASES["deform_conv2d"][0]
    places = [argument_names("deform_conv2d").index(name) for name in right]

    def of(*at):
        given = dict(zip(places, at, strict=True))
        return ROIKIT.deform_conv2d(*(given.get(i, x) for i, x in enumerate(args)))

    at = tuple(args[i] for i in places)
    direction = tuple(torch.cos(17 * x) for x in at)
    each = [Call("deform_conv2d", args, i).slope([v])[0] for i, v in zip(places, direction, strict=True)]
    torch.testing.assert_close(torch.func.jvp(of, at, direction)[1], sum(each), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["roi_align", "roi_align_max", "roi_pool", "multiscale_roi_align"])
def test_transforms_compile(name):
    args = CASES[name][0][0]
    call = Call(name, args, 0)
    direction = tuple(torch.sin(31 * x + 1) for x in call.at)
    for f in (lambda *x: torch.func.jvp(call, x, direction)[1], torch.func.grad(lambda *x: call.total(*x))):
        torch._dynamo.reset()
        for mine, eager in zip(leaves(torch.compile(f, fullgraph=True)(*call.at)), leaves(f(*call.at)), strict=True):
            torch.testing.assert_close(mine, eager)
