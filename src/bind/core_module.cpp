// roikit._core: the vocabulary (View, Launch) and the CPU kernels.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include "bind/ops.h"
#include "cpu/simd.h"

#if defined(__clang__)
#define ROIKIT_COMPILER "clang " __clang_version__
#else
#define ROIKIT_COMPILER "gcc " __VERSION__
#endif

namespace roikit {
namespace {

DType dtype_of(const py::dtype& d) {
  const char kind = d.kind();
  const auto size = d.itemsize();
  if (kind == 'f' && size == 2) return DType::f16;
  if (kind == 'f' && size == 4) return DType::f32;
  if (kind == 'f' && size == 8) return DType::f64;
  if (kind == 'u' && size == 1) return DType::u8;
  if (kind == 'b') return DType::b8;
  if (kind == 'i' && size == 1) return DType::i8;
  if (kind == 'i' && size == 4) return DType::i32;
  if (kind == 'u' && size == 4) return DType::u32;
  if (kind == 'i' && size == 8) return DType::i64;
  throw py::type_error("roikit: no kernel takes arrays of dtype " + std::string(py::str(py::object(d))));
}

View view_of_array(const py::array& a) {
  if (a.ndim() > kMaxRank) throw py::value_error("roikit: arrays have at most 5 axes here");
  View v;
  v.data = const_cast<void*>(a.data());
  v.dtype = dtype_of(a.dtype());
  v.rank = int(a.ndim());
  for (int i = 0; i < v.rank; ++i) {
    v.shape[i] = a.shape(i);
    if (a.strides(i) % a.itemsize() != 0) throw py::value_error("roikit: strides must be whole elements");
    v.stride[i] = a.strides(i) / a.itemsize();
  }
  return v;
}

View view_of_pointer(uintptr_t data, DType dtype, const py::tuple& shape, const py::tuple& stride) {
  if (shape.size() > size_t(kMaxRank) || shape.size() != stride.size())
    throw py::value_error("roikit: a view takes at most 5 sizes and as many strides");
  View v;
  v.data = reinterpret_cast<void*>(data);
  v.dtype = dtype;
  v.rank = int(shape.size());
  for (int i = 0; i < v.rank; ++i) {
    v.shape[i] = shape[i].cast<int64_t>();
    v.stride[i] = stride[i].cast<int64_t>();
  }
  return v;
}

}  // namespace
}  // namespace roikit

PYBIND11_MODULE(_core, m) {
  using namespace roikit;
  m.doc() = "roikit's CPU kernels. Use roikit.kernels or roikit.ops; nothing here checks its arguments in words.";

  py::enum_<DType> dtype(m, "DType");
  for (int i = 0; i < kDTypes; ++i) dtype.value(dtype_name(DType(i)), DType(i));
  py::enum_<Simd>(m, "Simd").value("base", Simd::base).value("v3", Simd::v3).value("v4", Simd::v4);
  py::class_<View>(m, "View")
      .def(py::init(&view_of_array), py::arg("array"), py::keep_alive<1, 2>())  // the view may outlive its name
      .def(py::init(&view_of_pointer), py::arg("data"), py::arg("dtype"), py::arg("shape"), py::arg("stride"));
  py::class_<Launch>(m, "Launch")
      .def(py::init([](int threads, uintptr_t team, Simd simd, bool huge_pages, int device, uintptr_t stream,
                       uintptr_t workspace, int64_t workspace_bytes, bool deterministic) {
             return Launch{threads, reinterpret_cast<Team>(team), simd, huge_pages, device,
                           reinterpret_cast<void*>(stream), reinterpret_cast<void*>(workspace), workspace_bytes,
                           deterministic};
           }),
           py::kw_only(), py::arg("threads") = 1, py::arg("team") = 0, py::arg("simd") = Simd::base,
           py::arg("huge_pages") = false, py::arg("device") = 0, py::arg("stream") = 0, py::arg("workspace") = 0,
           py::arg("workspace_bytes") = 0, py::arg("deterministic") = false);

  m.attr("compiler") = ROIKIT_COMPILER;
  m.attr("cuda_build") = ROIKIT_CUDA_BUILD;
  m.def("best_simd", &cpu::best_simd, "The highest SIMD level that this processor runs.");

  bind_ops(m);
}
