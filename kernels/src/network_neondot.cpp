// The NEON variant with the dot product instructions (ARMv8.2).
#if defined(__aarch64__)
#include <arm_neon.h>

#include <cstring>

#include "network_kernels.hpp"

#pragma GCC push_options
#pragma GCC target("arch=armv8.2-a+dotprod")
namespace lmc {
namespace {

#define NAME "neondot"
constexpr int OFFSET = 0, GROUP = 1;
constexpr auto limit = nullptr;

struct Dot {
  int32x4_t all = vdupq_n_s32(0);
  inline void add(int8x16_t w, int8x16_t x) { all = vdotq_s32(all, w, x); }
  inline int32x4_t sum() const { return all; }
};

#include "neon_steps.hpp"

}  // namespace

const Kernels& kernels_neondot() { return table; }

}  // namespace lmc
#pragma GCC pop_options
#endif
