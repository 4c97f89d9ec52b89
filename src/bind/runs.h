// Run lengths that a CPU kernel has made, as many as it found.
#pragma once

#include <pybind11/numpy.h>

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "bind/bind.h"

namespace roikit {

#if !ROIKIT_ON_CUDA
// Hands the runs over to NumPy without a copy.
inline py::array_t<uint32_t> owned(std::vector<uint32_t>&& runs) {
  auto kept = std::make_unique<std::vector<uint32_t>>(std::move(runs));
  std::vector<uint32_t>* const data = kept.get();
  py::capsule owner(kept.release(), [](void* p) { delete static_cast<std::vector<uint32_t>*>(p); });
  return py::array_t<uint32_t>(py::ssize_t(data->size()), data->data(), owner);
}
#endif

}  // namespace roikit
