// The mixture of logistics that a network of photos or videos gives.
//
// Included by each of their variants in a namespace of its own: no #pragma once. ARITHMETIC.md, "Photos", "Network",
// defines it.

// The network's mixture of logistics.
struct Mixture {
  Logistic part[kComponents];
  uint32_t weight[kComponents];
  uint64_t total = 0;
  int64_t centre = 0;
  int32_t scale = 1;

  // out: of the network; relative to a centre and a scale in units of 1/64.
  void set(int64_t from, int32_t unit, const int32_t* out) {
    int32_t best = out[2 * kComponents];
    for (int k = 1; k < kComponents; ++k) best = out[2 * kComponents + k] > best ? out[2 * kComponents + k] : best;
    int64_t centres = 0, scales = 0;
    for (int k = 0; k < kComponents; ++k) {
      const int64_t offset = (int64_t{clamp32(out[k], -(1 << 13), 1 << 13)} * unit + 128) >> 8;
      const int32_t spread = power(unit, clamp32(out[kComponents + k], -512, 256), 4, 1 << 23);
      part[k].set(from + offset, spread);
      const int32_t fall = best - out[2 * kComponents + k];
      weight[k] = fall > 11 * 64 ? 1 : static_cast<uint32_t>(power(4096, -fall, 1, 4096));
      total += weight[k];
      centres += static_cast<int64_t>(weight[k]) * offset;
      scales += static_cast<int64_t>(weight[k]) * spread;
    }
    centre = from + centres / static_cast<int64_t>(total);
    scale = static_cast<int32_t>(scales / static_cast<int64_t>(total));
  }
  uint64_t below(const mixer::Tables& t, int32_t b) const {
    uint64_t sum = 0;
    for (int k = 0; k < kComponents; ++k) sum += uint64_t{weight[k]} * part[k].below(t, b);
    return sum;
  }
  uint64_t all() const { return total << 24; }
  uint64_t floor() const { return total; }  // 2^-24
};
