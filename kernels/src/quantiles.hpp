// Powers of two and the quantiles of the logistic distribution, for walks down a tree of intervals.
#pragma once
#include <cstdint>

namespace lmc {

int32_t power2(int e);                  // 2^16 2^(e / 64), 0 <= e < 64
int32_t quantile(int depth, int path);  // at (2 path + 1) / 2^(depth + 1), 2^-12; depth < 5

}  // namespace lmc
