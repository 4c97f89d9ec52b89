// roikit._cuda: the same bindings as _core's, over the CUDA kernels. Imports without a GPU and without a driver.
#include <pybind11/pybind11.h>

#include "bind/ops.h"
#include "cuda/error.h"

PYBIND11_MODULE(_cuda, m) {
  using namespace roikit;
  m.doc() = "roikit's CUDA kernels. Use roikit.ops.";
  py::module_::import("roikit._core");  // registers View and Launch
  py::register_exception_translator([](std::exception_ptr error) {
    try {
      if (error) std::rethrow_exception(error);
    } catch (const cuda::CudaError& e) {
      py::set_error(py::module_::import("roikit.errors").attr("CudaError"), e.what());
    }
  });
  m.attr("runtime") = CUDART_VERSION;

  bind_ops(m);
}
