// Checks of views that several ops share. Each names the op that was called, and the argument.
//
// The Python faces have checked the arguments and said so in words; these guard the kernels against a caller that went
// round them. Source: this project's own.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

#include "core/view.h"

namespace roikit {

inline void require(bool rule, const char* op, const char* text) {
  if (!rule) throw std::invalid_argument(std::string(op) + ": " + text);
}

// Contiguous (N, columns).
inline void check_rows(const char* op, const char* name, const View& v, int64_t columns) {
  if (v.rank != 2 || v.shape[1] != columns || !v.contiguous())
    throw std::invalid_argument(std::string(op) + ": " + name + " must be contiguous (N, " + std::to_string(columns) +
                                ")");
}

// Contiguous (n,).
inline void check_vector(const char* op, const char* name, const View& v, int64_t n) {
  if (v.rank != 1 || v.shape[0] != n || !v.contiguous())
    throw std::invalid_argument(std::string(op) + ": " + name + " must be contiguous (" + std::to_string(n) + ",)");
}

// What is computed of every pair of two sets of boxes, of `columns` numbers each.
inline void check_pairs(const char* op, const View& boxes1, const View& boxes2, const View& out, int64_t columns) {
  check_rows(op, "boxes1", boxes1, columns);
  check_rows(op, "boxes2", boxes2, columns);
  require(out.size() == boxes1.shape[0] * boxes2.shape[0] && out.contiguous(), op, "out must be contiguous (N, M)");
}

// Boxes that are counted in 32 bits.
inline void check_boxes(const char* op, const View& boxes, int64_t columns) {
  check_rows(op, "boxes", boxes, columns);
  if (boxes.shape[0] > INT32_MAX)
    throw std::invalid_argument(std::string(op) + ": boxes must be at most 2147483647, got " +
                                std::to_string(boxes.shape[0]));
}

// What every suppression takes that writes the boxes it keeps. order: of each box its score, or of each rank its box.
inline void check_keep(const char* op, const View& boxes, int64_t columns, const char* name, const View& order,
                       const View& keep, const View& count) {
  check_boxes(op, boxes, columns);
  check_vector(op, name, order, boxes.shape[0]);
  require(keep.rank == 1 && keep.contiguous() && count.size() == 1, op, "keep must be contiguous (K,), count ()");
}

// A map as it is sampled, input or gradient, of either format.
inline void check_format(const char* op, const char* name, const View& v) {
  if (!v.contiguous() && !v.channels_last())
    throw std::invalid_argument(std::string(op) + ": " + name + " must be contiguous or channels_last");
}

// maps: input or gradient (N, C, H, W); bins: output or grad (K, C', PH, PW), of one dtype, all contiguous.
inline void check_planes(const char* op, const View& maps, const View& boxes, const View& bins) {
  check_rows(op, "boxes", boxes, 5);
  require(maps.rank == 4 && bins.rank == 4 && maps.contiguous() && bins.contiguous() && maps.dtype == bins.dtype &&
              bins.shape[0] == boxes.shape[0],
          op, "maps must be contiguous (N, C, H, W), bins contiguous (K, C, PH, PW) of their dtype");
  require(maps.shape[2] <= INT32_MAX && maps.shape[3] <= INT32_MAX, op, "H and W must be < 2^31");
}

}  // namespace roikit
