// The NEON variant for every 64-bit ARM.
#if defined(__aarch64__)
#include <arm_neon.h>

#include <cstring>

#include "network_kernels.hpp"

namespace lmc {
namespace {

#define NAME "neon"
constexpr int OFFSET = 0, GROUP = 1;
constexpr auto limit = nullptr;

// Two products of int8 fit 16 bits (2 * 127^2 < 2^15); pairs of those are added in 32 bits.
struct Dot {
  int32x4_t low = vdupq_n_s32(0), high = vdupq_n_s32(0);  // two partial sums for each output
  inline void add(int8x16_t w, int8x16_t x) {
    low = vpadalq_s16(low, vmull_s8(vget_low_s8(w), vget_low_s8(x)));
    high = vpadalq_s16(high, vmull_high_s8(w, x));
  }
  inline int32x4_t sum() const { return vpaddq_s32(low, high); }
};

#include "neon_steps.hpp"

}  // namespace

const Kernels& kernels_neon() { return table; }

}  // namespace lmc
#endif
