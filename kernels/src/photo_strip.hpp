// One strip of a picture, coded pixel by pixel in slanted order: what the encoder and the decoder share.
//
// Included by each variant of photo_*.cpp in a namespace of its own: no #pragma once. ARITHMETIC.md, "Photos",
// defines all of it.

// ---- least squares -------------------------------------------------------------------------------

// The features of a channel: own neighbours, then of each other channel the current sample, if it is
// coded before, and neighbours. Sets: from many taps and long windows to few and short.
constexpr int kChannels = 3;  // at most
constexpr int kFeatures = 48;
constexpr int kSets = 4;
struct Set {
  int own, before, after;  // neighbours of: this channel, each channel coded before it, each coded after
};
constexpr Set kSetOf[kSets] = {{20, 10, 6}, {12, 6, 2}, {6, 2, 1}, {10, 4, 1}};
constexpr int kFadeAlong[kSets] = {5, 4, 3, 2}, kFadeDown[kSets] = {3, 2, 1, 1};
constexpr int kEvery[kSets] = {4, 2, 1, 1};  // pixels of a row between two solutions

inline int taps(int set, int channels, int channel) {
  return kSetOf[set].own + channel * (1 + kSetOf[set].before) + (channels - 1 - channel) * kSetOf[set].after;
}

// How many inputs `look` gives the network: neighbours, errors, other channels, predictions, scales, place.
constexpr int inputs_of(int channels, int channel) {
  const int neighbours = static_cast<int>(sizeof kNear / sizeof *kNear);
  return neighbours + 6 + 8 * channel + 4 * (channels - 1 - channel) + 2 * kSets + 5 + 4 + 2;
}
static_assert(inputs_of(kChannels, kChannels - 1) <= kInputs && inputs_of(kChannels, 0) <= kInputs, "room");

// ---- distributions -------------------------------------------------------------------------------

constexpr int kPlain = kSets + 1;        // single logistics beside the mixture
constexpr int kMaps = 8, kLast = 2;
constexpr int kMixed = 16;               // inputs of the mixer: mixture, logistics, maps, a constant
constexpr int kSelections = 5;
constexpr int kNodes = 48, kLevels = 16;
constexpr int kMapSize[kMaps] = {kLevels, 49, 81, 64, kLevels * 8, 512, 125, 256};
constexpr int kLastSize[kLast] = {kLevels, 81};
constexpr int kSelectionSize[kSelections] = {kNodes, 3 * kLevels, 49, 81, 1};
constexpr int32_t kFirstWeights[kMixed] = {20000, 4000, 4000, 4000, 4000, 4000, 4000, 4000,
                                           4000,  4000, 4000, 4000, 4000, 0,    0,    0};

using PixelMixer = mixer::Mixer<kSelections, kMixed, 22, 10>;

// What a channel's coding learns.
struct Learned {
  explicit Learned(const mixer::Tables& t) : mix(kSelectionSize, kFirstWeights, kNodes) {
    for (int i = 0; i < kMaps; ++i) maps.emplace_back(t, static_cast<size_t>(kNodes) * kMapSize[i], 255);
    for (int i = 0; i < kLast; ++i) last.emplace_back(t, static_cast<size_t>(kNodes) * kLastSize[i], 1000);
  }
  PixelMixer mix;
  std::vector<mixer::ProbabilityMap> maps, last;
};

// What is known of a sample before it is coded.
struct Site {
  int x, y;
  int32_t base;                      // what the features are relative to
  int64_t by_set[kSets];             // predictions, 1/64
  int32_t error_of[kSets];           // mean errors of the sets near by, 1/64
  int64_t centre;                    // the prediction that joins them, 1/64
  int32_t scale;                     // its mean error near by and a half, 1/64
  int32_t context[kMaps];
  int32_t level, west_north, earlier;
};

// Planes that all channels of a strip look at.
struct Surroundings {
  Surroundings(const Shape& s)
      : shape(s) {
    for (int c = 0; c < s.channels; ++c) {
      value.emplace_back(s.height, s.width, 1 << (s.depth - 1));
      error.emplace_back(s.height, s.width, 0);
      size.emplace_back(s.height, s.width, 128);
      for (int k = 0; k < kSets; ++k) size_of.emplace_back(s.height, s.width, 128);
    }
  }
  Shape shape;
  std::vector<Plane> value, error, size, size_of;  // error signed, of the joined prediction, 1/64
};

class Channel {
 public:
  Channel(Surroundings& around, int channel, const Network& network)
      : t_(mixer::tables()), avx2_(use_avx2()), s_(around), count_(s_.shape.channels), c_(channel), network_(network),
        stride_(Squares::padded(s_.shape.height)), features_(kFeatures * stride_), units_((kFeatures + 1) * stride_),
        predictions_(kSets * stride_),
        learned_(t_), most_((1 << s_.shape.depth) - 1),
        sites_(static_cast<size_t>(s_.shape.height)),
        inputs_(static_cast<size_t>(s_.shape.height + 16) * kInputs),
        outputs_(static_cast<size_t>(s_.shape.height + 16) * kUnit) {
    const auto add = [this](int channel, Offset at, int rank, int Set::* count) {
      feature_[n_] = {channel, at.dx + at.dy * s_.value[0].stride()};
      for (int k = 0; k < kSets; ++k)
        if (rank < kSetOf[k].*count) of_set_[k][in_set_[k]++] = n_;
      ++n_;
    };
    for (int k = 0; k < kSets; ++k)
      squares_.emplace_back(s_.shape.height, taps(k, count_, c_), kFadeAlong[k], kFadeDown[k], kEvery[k]);
    for (int i = 0; i < kSetOf[0].own; ++i) add(c_, kNear[i], i, &Set::own);
    for (int e = 0; e < count_; ++e) {
      if (e == c_) continue;
      if (e < c_) add(e, {0, 0}, -1, &Set::before);
      const auto which = e < c_ ? &Set::before : &Set::after;
      for (int i = 0; i < kSetOf[0].*which; ++i) add(e, kNear[i], i, which);
    }
  }

  // The rows y1, y1 - 1 .. y0 at x = t - kLag y: everything but the coding.
  void prepare(int t, int y0, int y1) {
    const int stride = s_.value[0].stride();
    for (int y = y0; y <= y1; ++y) {
      const int x = t - kLag * y;
      int32_t base[kChannels] = {};
      const int32_t* v[kChannels];
      for (int e = 0; e < count_; ++e) {
        v[e] = s_.value[static_cast<size_t>(e)].at(x, y);
        base[e] = (v[e][-1] + v[e][-stride]) >> 1;
      }
      for (int k = 0; k < n_; ++k)
        features_.data()[static_cast<size_t>(k) * stride_ + static_cast<size_t>(y)] = v[feature_[k].channel][feature_[k].offset] - base[feature_[k].channel];
      sites_[static_cast<size_t>(y - y0)].base = base[c_];
    }
    each([&](auto& set, int k) {
      const int32_t* rows[kFeatures];
      set.weigh(t, y0, y1);
      set.predict(y0, y1, chosen(rows, features_, k), predictions_.data() + static_cast<size_t>(k) * stride_);
    });
    for (int y = y0; y <= y1; ++y) look(sites_[static_cast<size_t>(y - y0)], t - kLag * y, y, inputs(y - y0));
  }
  void infer(int rows) { run(network_, inputs_.data(), rows, outputs_.data()); }

  uint8_t* inputs(int i) { return inputs_.data() + static_cast<size_t>(i) * kInputs; }
  const Site& site(int i) const { return sites_[static_cast<size_t>(i)]; }

  template <class Coder>
  int32_t code(Coder& coder, int i, int32_t value) {
    return decide(coder, sites_[static_cast<size_t>(i)], outputs_.data() + static_cast<size_t>(i) * kUnit, value);
  }

  // After the sample's value is known.
  void learn_from(int i, int32_t value) {
    const Site& site = sites_[static_cast<size_t>(i)];
    const int x = site.x, y = site.y;
    const int64_t v64 = int64_t{value} * 64;
    const int32_t error = static_cast<int32_t>(v64 - site.centre);
    s_.value[static_cast<size_t>(c_)].put(x, y, value);
    s_.error[static_cast<size_t>(c_)].put(x, y, error);
    s_.size[static_cast<size_t>(c_)].put(x, y, magnitude(error));
    for (int k = 0; k < kSets; ++k)
      s_.size_of[static_cast<size_t>(c_ * kSets + k)].put(x, y, magnitude(static_cast<int32_t>(v64 - site.by_set[k])));
    // Samples of quiet places count more: they are divided by the error to be expected there.
    const int32_t scale = (3 * site.scale + magnitude(error) + 32) >> 2;
    const int32_t inverse = (1 << 26) / scale, limit = 2 * scale;
    const auto unit = [inverse, limit](int32_t v) { return clamp32((clamp32(v, -limit, limit) * inverse) >> 16, -kFeatureLimit, kFeatureLimit); };
    for (int k = 0; k < n_; ++k) {
      const size_t at = static_cast<size_t>(k) * stride_ + static_cast<size_t>(y);
      units_[at] = unit(features_[at]);
    }
    units_[kFeatures * stride_ + static_cast<size_t>(y)] = unit(value - site.base);
  }
  // After all samples of the step are known; the next one begins with row `next`.
  void learn(int y0, int y1, int next) {
    each([&](auto& set, int k) {
      const int32_t* rows[kFeatures];
      set.learn(y0, y1, next, chosen(rows, units_, k), units_.data() + kFeatures * stride_);
    });
  }

 private:
  struct Feature {
    int channel, offset;
  };

  // Calls f(set, number) for each set.
  template <class F>
  void each(F&& f) {
    for (int k = 0; k < kSets; ++k) f(squares_[static_cast<size_t>(k)], k);
  }

  // The rows of a set's features.
  const int32_t* const* chosen(const int32_t** rows, const Buffer<int32_t>& from, int set) const {
    for (int i = 0; i < in_set_[set]; ++i) rows[i] = from.data() + static_cast<size_t>(of_set_[set][i]) * stride_;
    return rows;
  }

  void look(Site& s, int x, int y, uint8_t* in) {
    s.x = x;
    s.y = y;
    const int stride = s_.value[0].stride();
    const int32_t* v[kChannels];
    for (int e = 0; e < count_; ++e) v[e] = s_.value[static_cast<size_t>(e)].at(x, y);
    const int64_t from = int64_t{s.base} * 64, top = int64_t{most_} * 64;
    for (int k = 0; k < kSets; ++k) {
      const int64_t p = from + predictions_[static_cast<size_t>(k) * stride_ + static_cast<size_t>(y)];
      s.by_set[k] = p < 0 ? 0 : p > top ? top : p;
    }
    int64_t sum = 0, weights = 0;
    for (int k = 0; k < kSets; ++k) {
      s.error_of[k] = around(s_.size_of[static_cast<size_t>(c_ * kSets + k)].at(x, y), stride) >> 3;
      const int64_t m = s.error_of[k] + 16, w = (int64_t{1} << 36) / (m * m) + 1;
      sum += w * s.by_set[k];
      weights += w;
    }
    s.centre = sum / weights;
    s.scale = (around(s_.size[static_cast<size_t>(c_)].at(x, y), stride) >> 3) + 32;

    // The network's inputs: 8 stands for the scale, 64 for nothing.
    const int32_t inverse = (1 << 26) / s.scale, limit = 8 * s.scale;
    const auto scaled = [inverse, limit](int64_t d) {
      return clamp32((int64_t{clamp32(d, -limit, limit)} * inverse + (1 << 22)) >> 23, -64, 63);
    };
    uint8_t* const first = in;
    const auto give = [&in](int32_t value) { *in++ = static_cast<uint8_t>(value + 64); };
    for (const Offset& o : kNear) give(scaled(int64_t{v[c_][o.dx + o.dy * stride]} * 64 - s.centre));
    const int32_t* e = s_.error[static_cast<size_t>(c_)].at(x, y);
    const int near[6] = {-1, -stride, -stride - 1, 1 - stride, -2, -2 * stride};
    for (const int at : near) give(scaled(e[at]));
    int32_t earlier = 0;
    for (int o = 0; o < count_; ++o) {
      if (o == c_) continue;
      const int32_t* eo = s_.error[static_cast<size_t>(o)].at(x, y);
      if (o < c_) {
        const int32_t so = (around(s_.size[static_cast<size_t>(o)].at(x, y), stride) >> 3) + 32;
        const int32_t relative = clamp32(int64_t{eo[0]} * 8 / so, -64, 63);
        earlier += relative;
        give(relative);
        give(scaled(eo[0]));
        for (int i = 0; i < 4; ++i) give(scaled(int64_t{v[o][near[i]] - v[o][0]} * 64));
      } else {
        for (int i = 0; i < 2; ++i) give(scaled(int64_t{v[o][near[i]] - v[o][near[2]]} * 64));
      }
      give(scaled(eo[-1]));
      give(scaled(eo[-stride]));
    }
    const int32_t w = v[c_][-1], north = v[c_][-stride], corner = v[c_][-stride - 1];
    const int32_t low = w < north ? w : north, high = w < north ? north : w;
    const int32_t plane = w + north - corner;
    for (int k = 0; k < kSets; ++k) give(scaled(s.by_set[k] - s.centre));
    give(scaled(int64_t{clamp32(plane, low, high)} * 64 - s.centre));
    const int octaves = octaves8(s.scale);
    give(clamp32(octaves - 64, -64, 63));
    for (int k = 0; k < kSets; ++k) give(clamp32(octaves8(s.error_of[k] + 16) - octaves, -64, 63));
    const int32_t* size = s_.size[static_cast<size_t>(c_)].at(x, y);
    const int32_t wide = (size[-3] + size[-4] + size[-5] + size[-stride - 2] + size[2 - stride] + size[-2 * stride - 2] +
                          size[2 - 2 * stride] + size[-3 * stride]) >> 3;
    give(clamp32(octaves8(wide + 32) - octaves, -64, 63));
    give(clamp32((s.centre >> s_.shape.depth) - 32, -64, 63));
    give(static_cast<int32_t>(s.centre & 63) - 32);
    const int far[4] = {-stride - 2, 2 - stride, -2 * stride - 1, 1 - 2 * stride};
    for (const int at : far) give(scaled(e[at]));
    give(x % 2 != 0 ? 32 : -32);
    give(y % 2 != 0 ? 32 : -32);
    while (in < first + kInputs) *in++ = 64;

    // Contexts of the adaptive maps.
    s.level = clamp32((octaves - 40) >> 2, 0, kLevels - 1);
    const int west = first[20] - 64, above = first[21] - 64, diagonal = first[23] - 64;
    s.west_north = class_of(west, kSeven) * 7 + class_of(above, kSeven);
    s.earlier = class_of(c_ == 0 ? diagonal : earlier, kNine) * 9 +
                class_of(scaled(s.by_set[0] - s.centre) - scaled(s.by_set[2] - s.centre), kNine);
    s.context[0] = s.level;
    s.context[1] = s.west_north;
    s.context[2] = s.earlier;
    int pattern = 0;
    for (int i = 0; i < 6; ++i) pattern = pattern * 2 + (first[i] > 64);
    s.context[3] = pattern;
    s.context[4] = s.level * 8 + static_cast<int>((s.centre >> 3) & 7);
    s.context[5] = 0;  // set by each decision
    s.context[6] = class_of(scaled(s.by_set[1] - s.centre), kFive) * 25 +
                   class_of(first[0] - 64, kFive) * 5 + class_of(first[1] - 64, kFive);
    s.context[7] = (x % 8) * 32 + (y % 8) * 4 + (s.level >> 2);
  }

  // The value as a walk down a tree of intervals, [low, high): at first quantiles of the network's
  // mixture, later halves, and at the open ends doubling steps.
  template <class Coder>
  int32_t decide(Coder& coder, Site& s, const int32_t* out, int32_t value) {
    Mixture net;
    net.set(s.centre, s.scale, out);
    Logistic plain[kPlain];
    for (int k = 0; k < kSets; ++k) plain[k].set(s.by_set[k], (s.error_of[k] * 3 >> 2) + 10);
    plain[kSets].set(s.centre, ((s.scale - 32) * 3 >> 2) + 10);

    int32_t low = 0, high = most_ + 1;
    uint64_t net_low = 0, net_high = net.all();
    uint32_t plain_low[kPlain] = {}, plain_high[kPlain];
    for (uint32_t& p : plain_high) p = 1 << 24;
    const int32_t band = s.level * 3;
    for (int depth = 0, path = 0; high - low > 1; ++depth) {
      const Question asked = question(depth, path, low, high, 0, most_ + 1, net.centre, net.scale, 1 << 16);
      const int32_t at = static_cast<int32_t>(asked.at);
      const int node = asked.node;
      // The maps do not fit into the nearest caches: what is known of the places is fetched ahead.
      for (int k = 0; k < kMaps; ++k)
        if (k != 5) learned_.maps[static_cast<size_t>(k)].prefetch(static_cast<size_t>(node * kMapSize[k] + s.context[k]));
      learned_.last[0].prefetch(static_cast<size_t>(node * kLastSize[0] + s.level));
      learned_.last[1].prefetch(static_cast<size_t>(node * kLastSize[1] + s.earlier));
      const int selected[kSelections] = {node, band + (depth < 2 ? 0 : depth < 5 ? 1 : 2), s.west_north, s.earlier, 0};
      learned_.mix.select(selected, node);
      alignas(32) int16_t x[kMixed] = {};
      const uint64_t net_at = net.below(t_, at);
      const int32_t logit = joint_opinion(t_, net_low, net_at, net_high, net.floor());
      x[0] = as_input(logit);
      uint32_t plain_at[kPlain];
      for (int k = 0; k < kPlain; ++k) {
        plain_at[k] = plain[k].below(t_, at);
        x[1 + k] = opinion(t_, plain_low[k], plain_at[k], plain_high[k]);
      }
      s.context[5] = high - low == 2 ? (at & 255) : high - low <= 4 ? 256 + (at & 127) : 384 + (at & 127);
      for (int k = 0; k < kMaps; ++k) {
        const uint32_t p = learned_.maps[static_cast<size_t>(k)].refine(static_cast<size_t>(node * kMapSize[k] + s.context[k]), logit);
        x[1 + kPlain + k] = t_.stretch[p >> 12];
      }
      x[1 + kPlain + kMaps] = 256;
      const int32_t mixed = learned_.mix.predict(avx2_, x);
      const uint32_t p0 = mixer::squash24(t_, mixed);
      const uint32_t p1 = learned_.last[0].refine(static_cast<size_t>(node * kLastSize[0] + s.level), mixed);
      const uint32_t p2 = learned_.last[1].refine(static_cast<size_t>(node * kLastSize[1] + s.earlier), mixed);

      const int bit = coder(Coder::kKnown ? value >= at : 0, settled(p0, p1, p2));

      learned_.mix.update(avx2_, t_, x, bit);
      for (auto& map : learned_.maps) map.update(t_, bit);
      for (auto& map : learned_.last) map.update(t_, bit);
      if (bit) {
        low = at;
        net_low = net_at;
        for (int k = 0; k < kPlain; ++k) plain_low[k] = plain_at[k];
      } else {
        high = at;
        net_high = net_at;
        for (int k = 0; k < kPlain; ++k) plain_high[k] = plain_at[k];
      }
      if (depth < 5) path = path * 2 + bit;  // of 16 bits a walk may be 40 steps long
    }
    return low;
  }

  const mixer::Tables& t_;
  bool avx2_;
  Surroundings& s_;
  int count_, c_;  // of channels, and which one
  const Network& network_;
  Feature feature_[kFeatures];
  int n_ = 0, of_set_[kSets][kFeatures], in_set_[kSets] = {};
  std::vector<Squares> squares_;
  size_t stride_;
  Buffer<int32_t> features_, units_;  // by feature, then by row; the last of units_ is the target
  Buffer<int64_t> predictions_;       // by set, then by row
  Learned learned_;
  int32_t most_;
  std::vector<Site> sites_;
  Buffer<uint8_t> inputs_;
  Buffer<int32_t> outputs_;
};

// All channels of a strip. `samples`: [height][width][channels].
class Strip {
 public:
  Strip(const Shape& shape, const Network* networks) : around_(shape) {
    for (int c = 0; c < shape.channels; ++c)
      channels_.push_back(std::make_unique<Channel>(around_, c, networks[shape.channels == 1 ? kNetworks - 1 : c]));
  }

  // Calls each(channel, its number, t, y0, y1) for one channel after another of each slanted line of pixels.
  template <class Each>
  bool walk(Each&& each) {
    const int height = around_.shape.height, width = around_.shape.width;
    for (int t = 0; t < width + kLag * (height - 1); ++t) {
      const int y0 = first_row(t);
      const int y1 = t / kLag < height - 1 ? t / kLag : height - 1;
      if (y0 > y1) continue;
      for (int c = 0; c < around_.shape.channels; ++c)
        if (!each(*channels_[static_cast<size_t>(c)], c, t, y0, y1)) return false;
    }
    return true;
  }

  template <class Coder>
  bool code(Coder& coder, uint16_t* samples, size_t stride, const Progress& progress) {
    size_t done = 0, told = 0;
    return walk([&](Channel& channel, int c, int t, int y0, int y1) {
      channel.prepare(t, y0, y1);
      channel.infer(y1 - y0 + 1);
      for (int y = y0; y <= y1; ++y) {
        const int place = (t - kLag * y) * around_.shape.channels + c;
        uint16_t& sample = samples[static_cast<size_t>(y) * stride + static_cast<size_t>(place)];
        const int32_t value = channel.code(coder, y - y0, sample);
        sample = static_cast<uint16_t>(value);
        channel.learn_from(y - y0, value);
      }
      channel.learn(y0, y1, first_row(t + 1));
      done += static_cast<size_t>(y1 - y0 + 1);
      if (done - told >= kTell) progress(told = done);
      return coder.right();
    });
  }

  // The first row that has a pixel at step t.
  int first_row(int t) const {
    const int width = around_.shape.width;
    return t < width ? 0 : (t - width) / kLag + 1;
  }

 private:
  Surroundings around_;
  std::vector<std::unique_ptr<Channel>> channels_;
};
