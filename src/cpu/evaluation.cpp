// Detections judged against objects: groups, and then classes, are dealt out to threads.
#include "core/evaluation.h"

#include <algorithm>
#include <vector>

#include "core/checks.h"
#include "cpu/parallel.h"

namespace roikit::cpu {
namespace {

// A few microseconds each.
constexpr int64_t kGroupGrain = 200;
constexpr int64_t kPointGrain = 20;
constexpr int64_t kCurveGrain = 4;

// Where the overlaps of each group begin. The starts ascend from 0 to the numbers of rows.
std::vector<int64_t> overlap_starts(const char* op, const View& starts, const View& known_starts, int64_t found,
                                    int64_t known, const View& overlaps) {
  require(starts.rank == 1 && starts.shape[0] >= 1 && starts.contiguous(), op, "starts must be contiguous (P + 1,)");
  check_vector(op, "known_starts", known_starts, starts.shape[0]);
  const int64_t groups = starts.shape[0] - 1;
  const int64_t *own = starts.as<int64_t>(), *theirs = known_starts.as<int64_t>();
  require(own[0] == 0 && theirs[0] == 0 && own[groups] == found && theirs[groups] == known, op,
          "starts must go from 0 to the number of rows");
  std::vector<int64_t> places(groups + 1, 0);
  for (int64_t p = 0; p < groups; ++p) {
    require(own[p] <= own[p + 1] && theirs[p] <= theirs[p + 1], op, "starts must not fall");
    places[p + 1] = places[p] + (own[p + 1] - own[p]) * (theirs[p + 1] - theirs[p]);
  }
  check_vector(op, "overlaps", overlaps, places[groups]);
  return places;
}

void check_shape(const char* op, const char* text, const View& v, std::initializer_list<int64_t> shape) {
  bool same = v.rank == int(shape.size()) && v.contiguous();
  for (int i = 0; same && i < v.rank; ++i) same = v.shape[i] == shape.begin()[i];
  require(same, op, text);
}

}  // namespace

void keypoint_similarity(const View& found, const View& known, const View& boxes, const View& areas,
                         const View& sigmas, const View& starts, const View& known_starts, const View& overlaps,
                         const Launch& launch) {
  const char* op = "keypoint_similarity";
  require(found.rank == 3 && known.rank == 3, op, "found must be (D, J, 3), known (G, J, 3)");
  const int64_t points = sigmas.size(), count = known.shape[0];
  check_shape(op, "found must be contiguous (D, J, 3)", found, {found.shape[0], points, 3});
  check_shape(op, "known must be contiguous (G, J, 3)", known, {count, points, 3});
  check_shape(op, "boxes must be contiguous (G, 4)", boxes, {count, 4});
  check_vector(op, "areas", areas, count);
  check_vector(op, "sigmas", sigmas, points);
  const auto places = overlap_starts(op, starts, known_starts, found.shape[0], count, overlaps);
  const int64_t *own = starts.as<int64_t>(), *theirs = known_starts.as<int64_t>();
  const double *dt = found.as<double>(), *gt = known.as<double>(), *box = boxes.as<double>();
  const double *area = areas.as<double>(), *sigma = sigmas.as<double>();
  double* out = overlaps.as<double>();
  parallel_for(starts.shape[0] - 1, kPointGrain, launch, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      double* to = out + places[p];
      for (int64_t d = own[p]; d < own[p + 1]; ++d)
        for (int64_t g = theirs[p]; g < theirs[p + 1]; ++g)
          *to++ = keypoint_similarity_of(dt + 3 * points * d, gt + 3 * points * g, box + 4 * g, area[g], sigma, points);
    }
  });
}

void match_groups(const View& overlaps, const View& starts, const View& known_starts, const View& ignored,
                  const View& crowds, const View& outside, const View& thresholds, const View& matched,
                  const View& outcome, const Launch& launch) {
  const char* op = "match_groups";
  require(ignored.rank == 2 && outside.rank == 2 && thresholds.rank == 1 && thresholds.contiguous(), op,
          "ignored must be (A, G), outside (A, D), thresholds contiguous (T,)");
  const int64_t ranges = ignored.shape[0], steps = thresholds.shape[0], found = outside.shape[1];
  const int64_t known = ignored.shape[1];
  check_shape(op, "ignored must be contiguous (A, G)", ignored, {ranges, known});
  check_shape(op, "outside must be contiguous (A, D)", outside, {ranges, found});
  check_vector(op, "crowds", crowds, known);
  check_shape(op, "matched must be contiguous (A, T, D)", matched, {ranges, steps, found});
  check_shape(op, "outcome must be contiguous (A, T, D)", outcome, {ranges, steps, found});
  const auto places = overlap_starts(op, starts, known_starts, found, known, overlaps);
  const int64_t *own = starts.as<int64_t>(), *theirs = known_starts.as<int64_t>();
  const double *all = overlaps.as<double>(), *threshold = thresholds.as<double>();
  const bool *is_ignored = ignored.as<bool>(), *is_crowd = crowds.as<bool>(), *is_outside = outside.as<bool>();
  int64_t* chosen = matched.as<int64_t>();
  int8_t* judged = outcome.as<int8_t>();
  parallel_for(starts.shape[0] - 1, kGroupGrain, launch, [&](int64_t begin, int64_t end) {
    std::vector<int64_t> order;
    std::vector<char> taken;
    for (int64_t p = begin; p < end; ++p) {
      const int64_t first = theirs[p], count = theirs[p + 1] - first;
      order.resize(count);
      for (int64_t a = 0; a < ranges; ++a) {
        const bool* skipped = is_ignored + a * known + first;
        int64_t at = 0;
        for (const bool later : {false, true})
          for (int64_t g = 0; g < count; ++g)
            if (skipped[g] == later) order[at++] = g;
        for (int64_t t = 0; t < steps; ++t) {
          taken.assign(count, 0);
          for (int64_t d = own[p]; d < own[p + 1]; ++d) {
            const int64_t place = (a * steps + t) * found + d;
            const int64_t best =
                best_object(all + places[p] + (d - own[p]) * count, order.data(), count, skipped, is_crowd + first,
                            reinterpret_cast<const bool*>(taken.data()), threshold[t]);
            chosen[place] = best < 0 ? -1 : first + best;
            if (best < 0) {
              judged[place] = is_outside[a * found + d] ? -1 : 0;
            } else {
              taken[best] = 1;
              judged[place] = skipped[best] ? -1 : 1;
            }
          }
        }
      }
    }
  });
}

void precision_recall(const View& outcome, const View& order, const View& class_starts, const View& ranks,
                      const View& limits, const View& totals, const View& recalls, const View& precision,
                      const View& recall, const Launch& launch) {
  const char* op = "precision_recall";
  require(outcome.rank == 3 && class_starts.rank == 1 && class_starts.shape[0] >= 1, op,
          "outcome must be (A, T, D), class_starts (K + 1,)");
  const int64_t ranges = outcome.shape[0], steps = outcome.shape[1], found = outcome.shape[2];
  const int64_t classes = class_starts.shape[0] - 1, cuts = limits.size(), places = recalls.size();
  check_shape(op, "outcome must be contiguous (A, T, D)", outcome, {ranges, steps, found});
  check_vector(op, "class_starts", class_starts, classes + 1);
  check_vector(op, "order", order, found);
  check_vector(op, "ranks", ranks, found);
  check_vector(op, "limits", limits, cuts);
  check_vector(op, "recalls", recalls, places);
  check_shape(op, "totals must be contiguous (A, K)", totals, {ranges, classes});
  check_shape(op, "precision must be contiguous (T, R, K, A, M)", precision, {steps, places, classes, ranges, cuts});
  check_shape(op, "recall must be contiguous (T, K, A, M)", recall, {steps, classes, ranges, cuts});
  const int64_t *row_at = order.as<int64_t>(), *start = class_starts.as<int64_t>(), *rank = ranks.as<int64_t>();
  const int64_t *limit = limits.as<int64_t>(), *total_of = totals.as<int64_t>();
  const double* wanted = recalls.as<double>();
  const int8_t* judged = outcome.as<int8_t>();
  double *precisions = precision.as<double>(), *reached = recall.as<double>();
  require(start[0] == 0 && start[classes] == found, op, "class_starts must go from 0 to the number of rows");
  for (int64_t i = 0; i < found; ++i) require(row_at[i] >= 0 && row_at[i] < found, op, "order must hold rows");
  for (int64_t k = 0; k < classes; ++k) require(start[k] <= start[k + 1], op, "class_starts must not fall");
  parallel_for(classes * ranges * cuts, kCurveGrain, launch, [&](int64_t begin, int64_t end) {
    std::vector<int64_t> rows;
    std::vector<double> found_part, right_part;
    for (int64_t item = begin; item < end; ++item) {
      const int64_t m = item % cuts, a = item / cuts % ranges, k = item / cuts / ranges;
      const double total = double(total_of[a * classes + k]);
      rows.clear();
      for (int64_t i = start[k]; i < start[k + 1]; ++i)
        if (rank[row_at[i]] < limit[m]) rows.push_back(row_at[i]);
      const int64_t count = int64_t(rows.size());
      found_part.resize(count);
      right_part.resize(count);
      for (int64_t t = 0; t < steps; ++t) {
        const auto at = [&](int64_t r) { return (((t * places + r) * classes + k) * ranges + a) * cuts + m; };
        const int64_t last = ((t * classes + k) * ranges + a) * cuts + m;
        if (total <= 0) {
          for (int64_t r = 0; r < places; ++r) precisions[at(r)] = -1;
          reached[last] = -1;
          continue;
        }
        const int8_t* own = judged + (a * steps + t) * found;
        double right = 0, wrong = 0;
        for (int64_t i = 0; i < count; ++i) {
          const int8_t one = own[rows[i]];
          right += one > 0;
          wrong += one == 0;
          found_part[i] = right / total;
          right_part[i] = right / (wrong + right + kEvaluationSpacing);
        }
        for (int64_t i = count - 1; i > 0; --i) right_part[i - 1] = std::max(right_part[i - 1], right_part[i]);
        reached[last] = count ? found_part[count - 1] : 0;
        int64_t i = 0;
        for (int64_t r = 0; r < places; ++r) {
          while (i < count && found_part[i] < wanted[r]) ++i;
          precisions[at(r)] = i < count ? right_part[i] : 0;
        }
      }
    }
  });
}

}  // namespace roikit::cpu
