"""Every op whose result size does not depend on the data can be captured in a CUDA graph and replayed on other data."""

import torch


def refill(inputs, others):
    with torch.no_grad():
        for x, y in zip(inputs, others, strict=True):
            x.copy_(y)


def capture(call, inputs):
    """The graph of ``call(*inputs)`` and its result, which a replay overwrites."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):  # loads modules, fills the allocator
            call(*inputs)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = call(*inputs)
    return graph, result


def check(case, cases, device):
    inputs = case.inputs(device)
    graph, result = capture(case.call, inputs)
    for seed in (0, 7, 8, 0):
        others = case.inputs(device, seed)
        expected = cases.on_host(case.call(*others))
        refill(inputs, others)
        graph.replay()
        cases.assert_same(case, cases.on_host(result), expected)


def test_replay_gives_what_a_call_gives(gpu, fixed_case, cases):
    check(fixed_case, cases, gpu)


def test_replay_of_the_deterministic_gradients(gpu, gradient_case, cases, deterministic):
    check(gradient_case, cases, gpu)


def test_new_data_is_data_of_the_same_shape(fixed_case, cases, device):
    """What the tests above rest on, also where there is no graph to replay."""
    inputs = fixed_case.inputs(device)
    for seed in (7, 8):
        others = fixed_case.inputs(device, seed)
        expected = cases.on_host(fixed_case.call(*others))
        refill(inputs, others)
        cases.assert_same(fixed_case, cases.on_host(fixed_case.call(*inputs)), expected)
