#include "quantiles.hpp"

#include "mixer_tables.hpp"

namespace lmc {
namespace {

struct Tables {
  int32_t power[64], quantile[31];
  Tables() {
    // 2^(1/64) by repeated square roots, units of 2^-62; then powers.
    using u128 = unsigned __int128;
    const auto root = [](u128 v) {
      u128 r = 0;
      for (int bit = 63; bit >= 0; --bit) {
        const u128 next = r | u128{1} << bit;
        if (next * next <= v) r = next;
      }
      return r;
    };
    u128 step = u128{1} << 63;  // 2 in units of 2^-62
    for (int i = 0; i < 6; ++i) step = root(step << 62);
    u128 v = u128{1} << 62;
    for (int32_t& p : power) {
      p = static_cast<int32_t>((v + (u128{1} << 45)) >> 46);
      v = v * step >> 62;
    }
    for (int depth = 0; depth < 5; ++depth)
      for (int path = 0; path < 1 << depth; ++path)
        quantile[(1 << depth) - 1 + path] =
            mixer::stretch24(mixer::tables(), static_cast<uint32_t>(2 * path + 1) << (23 - depth));
  }
};
const Tables& numbers() {
  static const Tables instance;
  return instance;
}

}  // namespace

int32_t power2(int e) { return numbers().power[e]; }
int32_t quantile(int depth, int path) { return numbers().quantile[(1 << depth) - 1 + path]; }

}  // namespace lmc
