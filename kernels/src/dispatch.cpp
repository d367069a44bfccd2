// Chooses the kernels at run time.
#include <cstdlib>
#include <stdexcept>

#include "dispatch.hpp"
#include "network_kernels.hpp"
#if defined(__x86_64__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#if defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace lmc {

const Kernels& kernels_scalar();
#if defined(__x86_64__)
const Kernels& kernels_avx2();
const Kernels& kernels_avx512vnni();
const Kernels& kernels_amx();
#elif defined(__aarch64__)
const Kernels& kernels_neon();
const Kernels& kernels_neondot();
#endif

namespace {

struct Variant {
  const Kernels& (*table)();
  bool runs;
};

#if defined(__x86_64__)
// Linux wants to be asked before a process uses the tiles.
bool has_amx() {
  constexpr long REQUEST = 0x1023, TILE_DATA = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  static const bool yes = has_avx512vnni() && __builtin_cpu_supports("amx-int8") &&
                          syscall(SYS_arch_prctl, REQUEST, TILE_DATA) == 0;
  return yes;
}
#endif

// From the slowest to the fastest.
std::vector<Variant> variants() {
  std::vector<Variant> all{{kernels_scalar, true}};
#if defined(__x86_64__)
  __builtin_cpu_init();
  all.push_back({kernels_avx2, __builtin_cpu_supports("avx2") != 0});
  all.push_back({kernels_avx512vnni, has_avx512vnni()});
  all.push_back({kernels_amx, has_amx()});
#elif defined(__aarch64__)
  all.push_back({kernels_neon, true});
  all.push_back({kernels_neondot, (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0});
#endif
  return all;
}

}  // namespace

std::vector<std::string> kernel_names() {
  std::vector<std::string> names;
  for (const Variant& v : variants()) {
    if (v.runs) names.emplace_back(v.table().name);
  }
  return names;
}

const Kernels& kernels_by_name(const std::string& name) {
  std::string wanted = name;
  if (wanted.empty()) {
    const char* forced = std::getenv("LMC_KERNELS");
    if (forced) wanted = forced;
  }
  const Kernels* found = nullptr;
  for (const Variant& v : variants()) {
    const bool same = wanted == v.table().name;
    if (same && !v.runs) throw std::invalid_argument("this processor cannot run the kernels '" + wanted + "'");
    if (same || (wanted.empty() && v.runs)) found = &v.table();
  }
  if (!found) throw std::invalid_argument("no kernels are called '" + wanted + "' here");
  return *found;
}

}  // namespace lmc
