#include "bind/codec.h"

namespace roikit {

void bind_box_codec(py::module_& module, const BoxCodecKernels& kernels) { bind_codec<4>(module, "", kernels); }

}  // namespace roikit
