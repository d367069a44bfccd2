// The tables of ARITHMETIC.md, made by integer code.
#include <array>

#include "network_kernels.hpp"

namespace lmc {
namespace {

using Big = unsigned __int128;

uint64_t product60(uint64_t a, uint64_t b) { return static_cast<uint64_t>((static_cast<Big>(a) * b) >> 60); }

std::array<int32_t, 4098> make_sine() {
  constexpr uint64_t HALF_PI = 0x1921FB54442D1846;  // Q60
  std::array<int32_t, 4098> table{};
  for (uint64_t i = 0; i <= 4096; ++i) {
    const uint64_t x = static_cast<uint64_t>((static_cast<Big>(i) * HALF_PI) >> 12);
    uint64_t term = x, total = 0;
    for (uint64_t n = 1; term; n += 2) {
      total = n % 4 == 1 ? total + term : total - term;
      term = product60(product60(term, x), x) / ((n + 1) * (n + 2));
    }
    table[i] = static_cast<int32_t>((total + (1 << 29)) >> 30);
  }
  table[4097] = table[4096];
  return table;
}

std::array<int32_t, 1025> make_sigmoid() {
  constexpr uint64_t ONE60 = uint64_t{1} << 60;
  uint64_t step = 0;  // exp(-1/64)
  uint64_t term = ONE60;
  for (uint64_t n = 1; term; ++n) {
    step = n % 2 ? step + term : step - term;
    term = (term >> 6) / n;
  }
  std::array<uint32_t, 1026> value{};
  uint64_t power = ONE60;
  for (int i = 0; i <= 1024; ++i) {
    const uint64_t below = (uint64_t{1} << 40) + (power >> 20);
    const uint64_t g = ((uint64_t{1} << 56) + below / 2) / below;
    value[i] = static_cast<uint32_t>(g < 65535 ? g : 65535);
    power = product60(power, step);
  }
  value[1025] = value[1024];
  std::array<int32_t, 1025> table{};
  for (int i = 0; i <= 1024; ++i) table[i] = static_cast<int32_t>(value[i] << 16 | (value[i + 1] - value[i]));
  return table;
}

}  // namespace

const int32_t* sine_table() {
  static const auto table = make_sine();
  return table.data();
}

const int32_t* sigmoid_table() {
  static const auto table = make_sigmoid();
  return table.data();
}

}  // namespace lmc
