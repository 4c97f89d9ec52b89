"""The emulator itself: it runs barriers and warp operations as CUDA does, and notices the mistakes it is there for."""

import os
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PROGRAM = """
#include <cuda_runtime.h>
#include <cstdio>

{kernel}

int main() {{
  int* const out = new int[256]();
  cudaLaunchConfig_t config;
  config.gridDim = dim3({blocks}), config.blockDim = dim3({threads});
  try {{
    if (cudaLaunchKernelEx(&config, kernel, out) != cudaSuccess) std::puts("refused");
  }} catch (const std::exception& e) {{
    std::puts(e.what());
    return 0;
  }}
  for (int i = 0; i < 8; ++i) std::printf("%d ", out[i]);
}}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory, emulation):
    folder = tmp_path_factory.mktemp("emulation")

    def run(kernel, blocks=1, threads=64, *, checked=False):
        source, program = folder / "main.cpp", folder / "main"
        source.write_text(PROGRAM.format(kernel=kernel, blocks=blocks, threads=threads))
        flags = [*emulation.FLAGS, *(emulation.CHECKS if checked else ())]
        emulation.run([emulation.compiler(), *flags, f"-I{HERE / 'shim'}", str(source), "-o", str(program)])
        done = subprocess.run([str(program)], capture_output=True, text=True,
                              env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"})
        assert checked or done.returncode == 0, done.stderr
        return done.stderr if checked else done.stdout.strip()

    return run


REVERSE = """
__global__ void kernel(int* out) {{
  __shared__ int values[64];
  values[threadIdx.x] = threadIdx.x;
  {barrier}
  out[threadIdx.x] = values[63 - threadIdx.x];
}}
"""


def test_threads_meet_at_a_barrier(run):
    assert run(REVERSE.format(barrier="__syncthreads();")) == "63 62 61 60 59 58 57 56"


def test_a_missing_barrier_shows(run):
    assert run(REVERSE.format(barrier="")) != "63 62 61 60 59 58 57 56"


def test_a_barrier_that_some_threads_do_not_reach_is_an_error(run):
    text = run("__global__ void kernel(int* out) { if (threadIdx.x > 3) return; __syncthreads(); }")
    assert "60 of 64 threads left the kernel while the others wait" in text


def test_warp_operations(run):
    text = run("""
__global__ void kernel(int* out) {
  const int lane = threadIdx.x % 32;
  const unsigned odd = __ballot_sync(0xffffffffu, lane & 1);
  const int from_left = __shfl_up_sync(0xffffffffu, lane, 1), crossed = __shfl_xor_sync(0xffffffffu, lane, 5);
  const int largest = __reduce_max_sync(0xffffffffu, lane), first = __shfl_sync(0xffffffffu, lane, 3, 8);
  const int votes = __syncthreads_count(lane < 3);
  if (threadIdx.x != 40) return;
  const int all[8] = {int(odd & 15), from_left, crossed, largest, first, votes, __popc(odd), __ffs(odd)};
  for (int i = 0; i < 8; ++i) out[i] = all[i];
}""")
    assert text == "10 7 13 31 11 6 16 2"


def test_lanes_find_those_with_the_same_value(run):
    text = run("""
__global__ void kernel(int* out) {
  const int lane = threadIdx.x % 32;
  const unsigned same = __match_any_sync(0xffffffffu, lane % 9);
  if (threadIdx.x < 8) out[lane] = int(same >> 9);
}""")
    assert text == "262657 525314 1050628 2101256 4202512 16416 32832 65664"


def test_lanes_that_do_not_come_to_a_warp_operation_are_an_error(run):
    text = run("__global__ void kernel(int* out) { if (threadIdx.x < 5) __shfl_sync(0xffffffffu, 1, 0); }")
    assert "a warp operation that not all lanes" in text


def test_a_lane_that_the_mask_does_not_name_is_an_error(run):
    text = run("__global__ void kernel(int* out) { __syncwarp(1); }")
    assert "whose mask does not name it" in text


def test_every_block_and_thread_has_its_indices(run):
    text = run("__global__ void kernel(int* out) { atomicAdd(&out[blockIdx.x], int(threadIdx.x + gridDim.x)); }", 4, 32)
    assert text == "624 624 624 624 0 0 0 0"


def test_more_threads_than_a_block_may_have_are_refused(run):
    assert run("__global__ void kernel(int* out) {}", threads=1025).startswith("refused")


@pytest.mark.parametrize("kernel, word", [
    ("__global__ void kernel(int* out) { out[255 + threadIdx.x] = 1; }", "heap-buffer-overflow"),
    ("__global__ void kernel(int* out) { __shared__ int s[63]; s[threadIdx.x] = 1; out[0] = s[0]; }",
     "global-buffer-overflow"),
    ("struct alignas(16) Four { int v[4]; };\n__global__ void kernel(int* out) { "
     "*reinterpret_cast<Four*>(out + threadIdx.x) = Four{}; }", "misaligned address"),
])
def test_checked_kernels_notice_bad_accesses(run, kernel, word):
    assert word in run(kernel, checked=True)
