// How writers of FLAC choose Rice parameters and partitions: integer functions of the residual.
//
// libFLAC (set_partitioned_rice_ and find_best_partition_order_ of stream_encoder.c, in the versions
// to 1.4 and from 1.5 on) and FFmpeg (flacenc.c) differ in the parameter of a mean and in the
// estimate of the bits; both try partition orders from the largest down and keep the cheapest.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "flac_frame.hpp"

namespace lmc::flac {

enum RiceRule { kLibflac, kLibflac15, kFfmpeg, kRiceRules };

class RiceGuess {
 public:
  // The residual behind the first `order` samples. most: the largest partition order that is tried;
  // wide: parameters may be as large as 30, else 14.
  void find(const std::vector<int32_t>& residual, int order, RiceRule rule, int most, bool wide) {
    const uint32_t n = static_cast<uint32_t>(residual.size()), first = static_cast<uint32_t>(order);
    rule_ = rule;
    limit_ = wide ? 30 : 14;
    top_ = std::min(most, __builtin_ctz(n | 1u << 15));
    if (rule == kFfmpeg) {
      if (order > 0) top_ = std::min(top_, length_of(n / first) - 1);
    } else {
      while (top_ > 0 && (n >> top_) <= first) --top_;
    }
    top_ = std::max(top_, 0);
    n_ = n;
    first_ = first;
    sum(residual);
    best_ = top_;
    uint64_t least = UINT64_MAX;
    for (int order_here = top_; order_here >= 0; --order_here) {
      const uint64_t cost = bits(order_here);
      if (cost < least) {
        least = cost;
        best_ = order_here;
      }
    }
  }

  int partition_order() const { return best_; }

  // The parameter of a partition, for any order of partitions that the block allows.
  int parameter(const std::vector<int32_t>& residual, int partition_order, uint32_t p) const {
    const uint32_t count = samples(partition_order, p);
    if (partition_order <= top_) return parameter_of(level(partition_order)[p], count);
    uint64_t total = 0;
    const size_t end = (size_t{p} + 1) * (n_ >> partition_order);
    for (size_t i = end - count; i < end; ++i) total += weight(residual[i]);
    return parameter_of(total, count);
  }

 private:
  // FFmpeg adds folded residuals, libFLAC magnitudes.
  uint64_t weight(int32_t r) const {
    const uint64_t size = static_cast<uint64_t>(r < 0 ? -int64_t{r} : r);
    return rule_ == kFfmpeg ? 2 * size - (r < 0) : size;
  }
  uint32_t samples(int partition_order, uint32_t p) const {
    const uint32_t part = n_ >> partition_order;
    return p == 0 ? part - std::min(part, first_) : part;
  }
  const uint64_t* level(int partition_order) const { return sums_.data() + (size_t{1} << partition_order); }
  uint64_t* level(int partition_order) { return sums_.data() + (size_t{1} << partition_order); }

  // sums_[2^o + p]: of partition p of order o.
  void sum(const std::vector<int32_t>& residual) {
    sums_.assign(size_t{2} << top_, 0);
    const size_t part = n_ >> top_;
    for (size_t p = 0, i = first_; p < size_t{1} << top_; ++p) {
      uint64_t total = 0;
      for (; i < (p + 1) * part; ++i) total += weight(residual[i]);
      level(top_)[p] = total;
    }
    for (size_t i = (size_t{1} << top_) - 1; i > 0; --i) sums_[i] = sums_[2 * i] + sums_[2 * i + 1];
  }

  int parameter_of(uint64_t total, uint32_t count) const {
    if (count == 0) return 0;
    int k = 0;
    if (rule_ == kLibflac) {
      while (k < limit_ && (uint64_t{count} << k) < total) ++k;
    } else if (rule_ == kLibflac15) {
      k = total < 2 ? 0 : length_of(((total - 1) * (0x40000 / count)) >> 18);
    } else {
      const uint64_t half = count >> 1;
      k = total <= half ? 0 : std::max(0, length_of((total - half) / count) - 1);
    }
    return std::min(k, limit_);
  }

  uint64_t bits(int partition_order) const {
    uint64_t all = 0;
    for (uint32_t p = 0; p < 1u << partition_order; ++p) {
      const uint32_t count = samples(partition_order, p);
      const uint64_t total = level(partition_order)[p];
      const int k = parameter_of(total, count);
      const uint64_t half = count >> 1, plain = uint64_t{count} * static_cast<uint64_t>(k + 1);
      all += 4 + plain;
      if (rule_ == kFfmpeg) {
        all += (total - half) >> k;
      } else {
        all += (k > 0 ? total >> (k - 1) : total << 1) - half;
      }
    }
    return all;
  }

  RiceRule rule_ = kLibflac;
  int limit_ = 14, top_ = 0, best_ = 0;
  uint32_t n_ = 0, first_ = 0;
  std::vector<uint64_t> sums_;
};

}  // namespace lmc::flac
