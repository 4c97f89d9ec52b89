#include "bind/codec.h"

namespace roikit {

void bind_rotated_codec(py::module_& module, const BoxCodecKernels& kernels) {
  bind_codec<5>(module, "_rotated", kernels);
}

}  // namespace roikit
