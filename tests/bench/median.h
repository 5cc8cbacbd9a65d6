// The middle one of some measurements. Pure.
#ifndef PARAMD_TESTS_BENCH_MEDIAN_H_
#define PARAMD_TESTS_BENCH_MEDIAN_H_

#include <algorithm>
#include <vector>

namespace paramd {

// `values` must not be empty; of an even number, the mean of the two in the middle.
inline double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

}  // namespace paramd

#endif  // PARAMD_TESTS_BENCH_MEDIAN_H_
