// Which instruction sets the loops outside the network's kernels may use.
#pragma once
#include <cstdlib>
#include <cstring>

namespace lmc {

// True where AVX2 runs and LMC_KERNELS does not ask for less.
inline bool use_avx2() {
#if defined(__x86_64__)
  static const bool yes = [] {
    const char* forced = std::getenv("LMC_KERNELS");
    if (forced != nullptr && std::strcmp(forced, "scalar") == 0) return false;
    return __builtin_cpu_supports("avx2") != 0;
  }();
  return yes;
#else
  return false;
#endif
}

#if defined(__x86_64__)
// What the variants named avx512 and avx512vnni need.
inline bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512dq");
}
inline bool has_avx512vnni() { return has_avx512() && __builtin_cpu_supports("avx512vnni"); }
#endif

// True where AVX-512 runs and LMC_KERNELS does not ask for less.
inline bool use_avx512() {
#if defined(__x86_64__)
  static const bool yes = [] {
    const char* forced = std::getenv("LMC_KERNELS");
    if (forced != nullptr && std::strcmp(forced, "avx2") == 0) return false;
    return use_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw");
  }();
  return yes;
#else
  return false;
#endif
}

}  // namespace lmc
