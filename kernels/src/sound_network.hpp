// The network of sounds: what it is shown of a moment, and the distribution that it answers with.
//
// Included by each variant of sound_*.cpp in a namespace of its own: no #pragma once. ARITHMETIC.md, "Sounds",
// defines all of it.

// Logistics with shares, as the network gives them.
class Foretold {
 public:
  // out: of the network; offsets and spreads are relative to a centre and a scale.
  void set(const int32_t* out, int64_t centre, int64_t scale) {
    int32_t best = out[2 * kComponents];
    for (int k = 1; k < kComponents; ++k) best = out[2 * kComponents + k] > best ? out[2 * kComponents + k] : best;
    int64_t weight[kComponents], total = 0, offsets = 0, scales = 0, rest = 1 << 16;
    for (int k = 0; k < kComponents; ++k) {
      const int64_t offset = (clamp64(out[k], -(1 << 13), 1 << 13) * scale + 128) >> 8;
      const int64_t spread = power(scale, clamp32(out[kComponents + k], -512, 384), 4, int64_t{1} << 33);
      const int32_t fall = out[2 * kComponents + k] - best;
      weight[k] = fall < -704 ? 1 : power(4096, fall, 1, 4096);
      part_[k].set(centre + offset, spread);
      total += weight[k];
      offsets += weight[k] * offset;
      scales += weight[k] * spread;
    }
    for (int k = kComponents - 1; k > 0; --k) rest -= share_[k] = (weight[k] << 16) / total;
    share_[0] = rest;
    centre_ = centre + offsets / total;
    scale_ = scales / total;
  }
  int64_t centre() const { return centre_; }
  int64_t scale() const { return scale_; }
  uint32_t below(const mixer::Tables& t, int64_t b) const {
    int64_t sum = 0;
    for (int k = 0; k < kComponents; ++k) sum += share_[k] * part_[k].below(t, b);
    return static_cast<uint32_t>(sum >> 16);
  }

 private:
  Logistic part_[kComponents];
  int64_t share_[kComponents] = {}, centre_ = 0, scale_ = 1;  // shares of 2^16
};

// Values relative to a scale, from -64 to 63: 16 stands for the scale.
class Scaled {
 public:
  explicit Scaled(int64_t scale) : limit_(4 * scale), inverse_((int64_t{1} << 40) / scale) {}
  int32_t operator()(int64_t d) const {
    return clamp32((clamp64(d, -limit_, limit_) * inverse_ + (int64_t{1} << 35)) >> 36, -64, 63);
  }

 private:
  int64_t limit_, inverse_;
};

// The errors of a channel, and how loud they were: logarithms of their sizes.
class Errors {
 public:
  Errors() : sums_(kRing) {}
  const int32_t* newest() const { return errors_.newest(); }
  void put(int64_t error, int32_t loud) {
    errors_.put(static_cast<int32_t>(error));
    const uint32_t sum = sums_[at_ & (kRing - 1)] + static_cast<uint32_t>(loud);
    sums_[++at_ & (kRing - 1)] = sum;
  }
  // The sum over `count` moments, of which the last one is `ago` moments ago, 1 or more.
  int32_t loud(int ago, int count) const {
    const size_t end = at_ - static_cast<size_t>(ago) + 1;
    return static_cast<int32_t>(sums_[end & (kRing - 1)] - sums_[(end - static_cast<size_t>(count)) & (kRing - 1)]);
  }

 private:
  static constexpr size_t kRing = 512;
  Past errors_;
  Buffer<uint32_t> sums_;
  size_t at_ = 0;
};
