// One strip of a plane through the frames, coded sample by sample in slanted order: what the encoder and the decoder share.
//
// Included by each variant of video_*.cpp in a namespace of its own: no #pragma once. ARITHMETIC.md, "Videos",
// defines all of it.

// ---- what was chosen -----------------------------------------------------------------------------

// The features of a set, and how its least squares forget. window: around the sample's like, in each earlier
// frame; coded: of each plane that was coded before this one; errors: of the last frame, around the like.
struct Set {
  int own, window[kReferences], coded, errors;
  int along, down, every;
};
constexpr int kSets = 5;
struct Effort {
  int references;
  Set set[kSets];
};
constexpr Effort kEffortOf[kEfforts] = {
    {1,
     {{10, {9}, 5, 5, 5, 3, 4},
      {6, {5}, 3, 1, 4, 2, 4},
      {3, {5}, 3, 0, 3, 2, 4},
      {2, {9}, 3, 1, 4, 3, 4},
      {6, {0}, 3, 0, 4, 2, 4}}},
    {3,
     {{16, {25, 9, 9}, 6, 9, 5, 3, 4},
      {10, {13, 5, 5}, 6, 5, 4, 3, 2},
      {6, {9, 1, 1}, 5, 1, 3, 2, 1},
      {2, {13, 9, 5}, 5, 1, 4, 3, 2},
      {12, {1, 0, 0}, 5, 0, 4, 2, 2}}},
};
constexpr Offset kWindow[] = {{0, 0},  {1, 0},   {0, 1},  {-1, 0},  {0, -1}, {1, 1},  {-1, 1},  {1, -1},  {-1, -1},
                              {2, 0},  {0, 2},   {-2, 0}, {0, -2},  {2, 1},  {1, 2},  {-1, 2},  {-2, 1},  {2, -1},
                              {1, -2}, {-2, -1}, {-1, -2}, {3, 0},  {0, 3},  {-3, 0}, {0, -3}, {2, 2},  {-2, 2},
                              {2, -2}, {-2, -2}, {3, 1}, {1, 3},  {-1, 3}, {-3, 1}, {3, -1}, {1, -3}, {-3, -1}, {-1, -3}};
constexpr Offset kCoded[] = {{0, 0}, {1, 0}, {0, 1}, {-1, 0}, {0, -1}, {1, 1}, {-1, 1}};  // a plane's samples around the same place
constexpr int kCodedFeatures = 6;                      // these and their errors, errors first

// What the network sees: errors of this frame, and of kWindow in the last two frames and in the last one's errors.
constexpr Offset kErrorsNear[] = {{-1, 0}, {0, -1}, {-1, -1}, {1, -1}, {-2, 0}, {0, -2}, {-2, -1}, {2, -1}, {-1, -2}, {1, -2}};
constexpr int kSeen[] = {21, 9, 0}, kErrorsSeen = 9, kCodedSeen = 3;
// And a large one: so many in all.
constexpr int kSeenWide[] = {37, 21, 13}, kErrorsSeenWide = 21, kCodedSeenWide = 7;

constexpr int kPlain = kSets + 3;        // distributions: of each set, and three of all together;
constexpr int kParts = kPlain + 1;       // and the network's
constexpr int kMaps = 9, kLast = 2;
constexpr int kMixed = 32;               // inputs of the mixer: mixture, distributions, maps, a constant
constexpr int kSelections = 6;
constexpr int kNodes = 48, kLevels = 16;
constexpr int kMapSize[kMaps] = {kLevels, 49, 81, 64, kLevels * 8, 512, 125, 256, 256};
constexpr int kLastSize[kLast] = {kLevels, 81};
constexpr int kSelectionSize[kSelections] = {kNodes, 3 * kLevels, 49, 81, 4 * kLevels, 1};
constexpr int32_t kFirstWeights[kMixed] = {20000, 3000, 3000, 3000, 3000, 3000, 3000, 3000, 3000,
                                           3000,  3000, 3000, 3000, 3000, 3000, 3000, 3000, 3000, 3000};
constexpr uint32_t kFlagLimit = 1000;

using SampleMixer = mixer::Mixer<kSelections, kMixed, 22, 10>;

// ---- what is known -------------------------------------------------------------------------------

// What the coding of a plane's strip learns, and keeps from frame to frame.
struct Learned {
  explicit Learned(const mixer::Tables& t) : mix(kSelectionSize, kFirstWeights, kNodes) {
    for (int i = 0; i < kMaps; ++i) maps.emplace_back(t, static_cast<size_t>(kNodes) * kMapSize[i], 255);
    for (int i = 0; i < kLast; ++i) last.emplace_back(t, static_cast<size_t>(kNodes) * kLastSize[i], 1000);
    for (auto& flag : flags) flag.value = uint32_t{1} << 31;
  }
  SampleMixer mix;
  std::vector<mixer::ProbabilityMap> maps, last;
  mixer::Adaptive flags[8];
};

// What all strips of a frame look at: earlier frames, the newest first, and vectors into them.
struct Earlier {
  int count = 0;
  const Reference* plane[kReferences][kPlanes] = {};
  const Field* field[kReferences] = {};
  const Bordered<int32_t>* errors[kPlanes] = {};  // of the last frame, 1/64
};

// A plane that was coded before, as another one sees it: means over the luma that one of its samples stands for.
struct Coded {
  Bordered<int32_t> value, error;
};

// What is known of a sample before it is coded.
struct Site {
  int x, y;
  int32_t base;                      // what the features are relative to
  const uint16_t* like[kReferences];
  const int32_t* told;               // the last frame's errors there, if there is one
  int64_t by_set[kSets];             // predictions, 1/64
  int32_t error_of[kSets];           // mean errors of the sets near by, 1/64
  int64_t centre;                    // the prediction that joins them, 1/64
  int32_t scale;                     // its mean error near by and a half, 1/64
  int32_t past;                      // the last frame's mean error there, 1/64
  int32_t share[kParts];
  int32_t context[kMaps];
  int32_t level, past_level, west_north, earlier;
  int flag;                          // context of 'like the last frame', or -1: not asked
};

class Channel {
 public:
  // top: the strip's first row in the plane.
  // networks: none, or one for each number of planes that a channel sees.
  Channel(const Shape& shape, int plane, int top, int height, const Network* networks)
      : t_(mixer::tables()), avx2_(use_avx2()), effort_(kEffortOf[shape.effort]), shape_(shape.plane[plane]), c_(plane),
        depth_(shape.depth), seen_(static_cast<size_t>(shape.inputs)), top_(top), height_(height), width_(shape_.width), most_((1 << shape.depth) - 1), stride_(Squares::padded(height)),
        value_(height, width_, 1 << (shape.depth - 1)), error_(height, width_, 0), size_(height, width_, 128),
        learned_(t_), sites_(static_cast<size_t>(height)) {
    // The first plane, and the one before this: luma and, for the second plane of chroma, the first one.
    if (plane > 0) coded_.push_back(coded_plane());
    if (plane == 2 && shape.plane[1].width == width_ && shape.plane[1].height == shape_.height) coded_.push_back(coded_plane());
    if (networks != nullptr) network_ = networks + coded_.size();
    parts_ = network_ != nullptr ? kParts : kPlain;
    for (int k = 0; k < kSets; ++k) {
      size_of_.emplace_back(height, width_, 128);
      const Set& s = effort_.set[k];
      int n = 0;
      const auto add = [&](int count, int all) {  // of `all` features the first `count`
        for (int i = 0; i < count; ++i) of_set_[k][in_set_[k]++] = n + i;
        n += all;
      };
      const Set& widest = effort_.set[0];
      add(s.own, widest.own);
      for (int r = 0; r < effort_.references; ++r) add(s.window[r], widest.window[r]);
      for (size_t i = 0; i < coded_.size(); ++i) add(s.coded, widest.coded);
      add(s.errors, widest.errors);
      n_ = n;
      squares_.emplace_back(height, in_set_[k], s.along, s.down, s.every);
    }
    for (int k = 0; k < parts_; ++k) luck_.emplace_back(height, width_, 0);
    features_ = Buffer<int32_t>(static_cast<size_t>(n_) * stride_);
    units_ = Buffer<int32_t>(static_cast<size_t>(n_ + 1) * stride_);
    predictions_ = Buffer<int64_t>(kSets * stride_);
    const auto rows = static_cast<size_t>(height + 16);
    inputs_ = Buffer<uint8_t>(rows * seen_);
    outputs_ = Buffer<int32_t>(rows * layers::kUnit);
  }

  const PlaneShape& shape() const { return shape_; }
  int top() const { return top_; }
  int height() const { return height_; }
  int32_t value(int x, int y) { return *value_.at(x, y); }
  int32_t error(int x, int y) { return *error_.at(x, y); }
  std::vector<Coded>& coded() { return coded_; }

  // A frame is for the least squares a picture of its own; what else was learned stays.
  void begin(const Earlier& earlier) {
    earlier_ = earlier;
    for (auto& squares : squares_) squares.clear();
    units_.fill(0);  // of rows that have not begun
    value_.clear(), error_.clear(), size_.clear();
    for (auto& plane : size_of_) plane.clear();
    for (auto& plane : luck_) plane.clear();
  }

  // The rows y1, y1 - 1 .. y0 at x = t - kLag y: everything but the coding.
  void prepare(int t, int y0, int y1) {
    for (int y = y0; y <= y1; ++y) gather(sites_[static_cast<size_t>(y - y0)], t - kLag * y, y);
    for (int k = 0; k < kSets; ++k) {
      const int32_t* rows[kTaps];
      squares_[static_cast<size_t>(k)].weigh(t, y0, y1);
      squares_[static_cast<size_t>(k)].predict(y0, y1, chosen(rows, features_, k), predictions_.data() + static_cast<size_t>(k) * stride_);
    }
    for (int y = y0; y <= y1; ++y) look(sites_[static_cast<size_t>(y - y0)], inputs_.data() + static_cast<size_t>(y - y0) * seen_);
    if (network_ != nullptr) run(*network_, inputs_.data(), y1 - y0 + 1, outputs_.data());
  }
  // Whether a sample takes more than the flag.
  bool asked(int i, int32_t value) const {
    const Site& s = sites_[static_cast<size_t>(i)];
    return s.flag < 0 || value != s.like[0][0];
  }
  // What a training is to see of a sample.
  Row row(int i, int32_t value, int32_t cost) const {
    const Site& s = sites_[static_cast<size_t>(i)];
    Row row{{}, static_cast<int32_t>(s.centre), s.scale, value, cost};
    std::memcpy(row.inputs, inputs_.data() + static_cast<size_t>(i) * seen_, seen_);
    return row;
  }

  template <class Coder>
  int32_t code(Coder& coder, int i, int32_t value) {
    const Site& s = sites_[static_cast<size_t>(i)];
    if (s.flag >= 0) {
      mixer::Adaptive& cell = learned_.flags[s.flag];
      const uint32_t p = cell.p22() * 4;
      const int bit = coder(value == s.like[0][0], p < 16 ? 16 : p > (1u << 24) - 16 ? (1u << 24) - 16 : p);
      cell.update(t_, bit, kFlagLimit);
      if (bit) {
        for (int32_t& mass : mass_) mass = 0;
        return s.like[0][0];
      }
    }
    return decide(coder, sites_[static_cast<size_t>(i)], outputs_.data() + static_cast<size_t>(i) * layers::kUnit, value);
  }

  // After the sample's value is known.
  void learn_from(int i, int32_t value) {
    const Site& s = sites_[static_cast<size_t>(i)];
    const int x = s.x, y = s.y;
    const int64_t v64 = int64_t{value} * 64;
    const int32_t error = static_cast<int32_t>(v64 - s.centre);
    value_.put(x, y, value);
    error_.put(x, y, error);
    size_.put(x, y, magnitude(error));
    for (int k = 0; k < kSets; ++k)
      size_of_[static_cast<size_t>(k)].put(x, y, magnitude(static_cast<int32_t>(v64 - s.by_set[k])));
    for (int k = 0; k < parts_; ++k) luck_[static_cast<size_t>(k)].put(x, y, mass_[k]);
    // Samples of quiet places count more: they are divided by the error to be expected there.
    const int32_t scale = (3 * s.scale + magnitude(error) + 32) >> 2;
    const int32_t inverse = (1 << 26) / scale, limit = 2 * scale;
    const auto unit = [inverse, limit](int32_t v) { return clamp32((clamp32(v, -limit, limit) * inverse) >> 16, -kFeatureLimit, kFeatureLimit); };
    for (int k = 0; k < n_; ++k) {
      const size_t at = static_cast<size_t>(k) * stride_ + static_cast<size_t>(y);
      units_[at] = unit(features_[at]);
    }
    units_[static_cast<size_t>(n_) * stride_ + static_cast<size_t>(y)] = unit(value - s.base);
  }
  // After all samples of the step are known; the next one begins with row `next`.
  void learn(int y0, int y1, int next) {
    for (int k = 0; k < kSets; ++k) {
      const int32_t* rows[kTaps];
      squares_[static_cast<size_t>(k)].learn(y0, y1, next, chosen(rows, units_, k), units_.data() + static_cast<size_t>(n_) * stride_);
    }
  }

 private:
  Coded coded_plane() const { return {{width_, height_, 1}, {width_, height_, 1}}; }

  // The rows of a set's features.
  const int32_t* const* chosen(const int32_t** rows, const Buffer<int32_t>& from, int set) const {
    for (int i = 0; i < in_set_[set]; ++i) rows[i] = from.data() + static_cast<size_t>(of_set_[set][i]) * stride_;
    return rows;
  }

  // The features.
  void gather(Site& s, int x, int y) {
    s.x = x;
    s.y = y;
    const Set& widest = effort_.set[0];
    const int stride = value_.stride();
    const int32_t* const v = value_.at(x, y);
    const int32_t base = s.base = (v[-1] + v[-stride]) >> 1;
    int32_t* to = features_.data() + y;
    const auto give = [&to, this](int32_t value) {
      *to = value;
      to += stride_;
    };
    for (int i = 0; i < widest.own; ++i) give(v[kNear[i].dx + kNear[i].dy * stride] - base);
    const int row = y + top_;
    for (int r = 0; r < effort_.references; ++r) {
      s.like[r] = nullptr;
      if (r < earlier_.count) {
        const Vector& by = earlier_.field[r]->of(x << shape_.right, row << shape_.down);
        const Reference& plane = *earlier_.plane[r][c_];
        s.like[r] = plane.at(x + (by.x >> shape_.right), row + (by.y >> shape_.down));
        for (int i = 0; i < widest.window[r]; ++i) give(s.like[r][kWindow[i].dx + kWindow[i].dy * plane.stride()] - base);
      } else {
        for (int i = 0; i < widest.window[r]; ++i) give(0);
      }
    }
    for (const Coded& coded : coded_) {
      const int side = coded.value.stride();
      const int32_t* const w = coded.value.at(x, y);
      const int32_t* const e = coded.error.at(x, y);
      const int32_t around = (w[-1] + w[-side]) >> 1;
      for (int i = 0; i < widest.coded; ++i) {
        const Offset& o = kCoded[i / 2];
        const int at = o.dx + o.dy * side;
        give(i % 2 == 0 ? e[at] >> 4 : w[at] - around);
      }
    }
    s.past = 128;
    s.told = nullptr;
    if (earlier_.count > 0) {
      const Vector& by = earlier_.field[0]->of(x << shape_.right, row << shape_.down);
      const Bordered<int32_t>& errors = *earlier_.errors[c_];
      const int at_x = clamp32(x + (by.x >> shape_.right), 0, width_ - 1), at_y = clamp32(row + (by.y >> shape_.down), 0, shape_.height - 1);
      const int32_t* const e = s.told = errors.at(at_x, at_y);
      const int side = errors.stride();
      for (int i = 0; i < widest.errors; ++i) give(e[kWindow[i].dx + kWindow[i].dy * side] >> 4);
      const auto size = [e, side](int dx, int dy) { return magnitude(e[dx + dy * side]); };
      s.past = (4 * size(0, 0) + 2 * (size(-1, 0) + size(1, 0) + size(0, -1) + size(0, 1)) + size(-1, -1) + size(1, -1) + size(-1, 1) + size(1, 1)) >> 4;
    } else {
      for (int i = 0; i < widest.errors; ++i) give(0);
    }
  }

  void look(Site& s, uint8_t* in) {
    const int x = s.x, y = s.y, stride = value_.stride();
    const int64_t from = int64_t{s.base} * 64, top = int64_t{most_} * 64;
    int64_t sum = 0, weights = 0;
    for (int k = 0; k < kSets; ++k) {
      const int64_t p = from + predictions_[static_cast<size_t>(k) * stride_ + static_cast<size_t>(y)];
      s.by_set[k] = p < 0 ? 0 : p > top ? top : p;
      s.error_of[k] = around(size_of_[static_cast<size_t>(k)].at(x, y), stride) >> 3;
      const int64_t m = s.error_of[k] + 16, w = (int64_t{1} << 36) / (m * m) + 1;
      sum += w * s.by_set[k];
      weights += w;
    }
    s.centre = sum / weights;
    s.scale = (around(size_.at(x, y), stride) >> 3) + 32;

    // Contexts of the adaptive maps; 8 stands for the scale.
    const int32_t inverse = (1 << 26) / s.scale, limit = 8 * s.scale;
    const auto scaled = [inverse, limit](int64_t d) {
      return clamp32((int64_t{clamp32(d, -limit, limit)} * inverse + (1 << 22)) >> 23, -64, 63);
    };
    const int32_t* const v = value_.at(x, y);
    const int32_t* const e = error_.at(x, y);
    s.level = clamp32((octaves8(s.scale) - 40) >> 2, 0, kLevels - 1);
    s.past_level = clamp32((octaves8(s.past + 16) - 32) >> 2, 0, kLevels - 1);
    int32_t told = scaled(e[1 - stride]);
    if (!coded_.empty()) {
      told = 0;
      for (const Coded& coded : coded_) told += clamp32(int64_t{*coded.error.at(x, y)} * 8 / s.scale, -64, 63);
    }
    const auto apart = [&](int set) { return scaled(s.by_set[set] - s.centre); };
    s.west_north = class_of(scaled(e[-1]), kSeven) * 7 + class_of(scaled(e[-stride]), kSeven);
    s.earlier = class_of(told, kNine) * 9 + class_of(apart(3), kNine);
    s.context[0] = s.level;
    s.context[1] = s.west_north;
    s.context[2] = s.earlier;
    int pattern = 0;
    for (int i = 0; i < 6; ++i) pattern = pattern * 2 + (int64_t{v[kNear[i].dx + kNear[i].dy * stride]} * 64 > s.centre);
    s.context[3] = pattern;
    s.context[4] = s.level * 8 + static_cast<int>((s.centre >> 3) & 7);
    s.context[5] = 0;  // set by each decision
    s.context[6] = class_of(apart(1), kFive) * 25 + class_of(apart(4), kFive) * 5 + class_of(apart(2), kFive);
    s.context[7] = s.past_level * kLevels + s.level;
    int32_t moved = 0;
    s.flag = -1;
    if (s.like[0] != nullptr) {
      const uint16_t* const like = s.like[0];
      const int side = earlier_.plane[0][c_]->stride();
      moved = scaled(int64_t{like[0]} * 64 - s.centre);
      const auto same = [&](int dx, int dy) { return v[dx + dy * stride] == like[dx + dy * side]; };
      if (same(-1, 0) && same(0, -1) && same(-1, -1) && same(1, -1))
        s.flag = same(-2, 0) + 2 * same(0, -2) + 4 * (earlier_.count > 1 && effort_.references > 1 && s.like[1][0] == like[0]);
    }
    s.context[8] = s.level * 16 + clamp32((moved >> 1) + 8, 0, 15);

    // Distributions that knew what lies around count more.
    int32_t log[kParts], best = INT32_MIN, best_plain = INT32_MIN;
    for (int k = 0; k < parts_; ++k) {
      log[k] = around(luck_[static_cast<size_t>(k)].at(x, y), stride) >> 2;
      best = log[k] > best ? log[k] : best;
      if (k < kPlain) best_plain = best;
    }
    for (int k = 0; k < parts_; ++k) {
      const int32_t fall = best - log[k];
      s.share[k] = fall > 11 * 4096 ? 1 : power(4096, -(fall * 64 / mixer::kLn2), 1, 4096);
    }

    // The network's inputs: 8 stands for the scale, 64 for nothing.
    uint8_t* const first = in;
    const auto give = [&in](int32_t value) { *in++ = static_cast<uint8_t>(clamp32(value, -64, 63) + 64); };
    for (const Offset& o : kNear) give(scaled(int64_t{v[o.dx + o.dy * stride]} * 64 - s.centre));
    for (const Offset& o : kErrorsNear) give(scaled(e[o.dx + o.dy * stride]));
    const auto give_likes = [&](const int* begin, const int* end) {  // of each earlier frame, those of kWindow
      for (int r = 0; r < kReferences; ++r) {
        const bool there = r < effort_.references && s.like[r] != nullptr;
        const int side = there ? earlier_.plane[r][c_]->stride() : 0;
        for (int i = begin[r]; i < end[r]; ++i) give(there ? scaled(int64_t{s.like[r][kWindow[i].dx + kWindow[i].dy * side]} * 64 - s.centre) : 0);
      }
    };
    const int side = earlier_.count > 0 ? earlier_.errors[c_]->stride() : 0;
    const auto give_told = [&](int begin, int end) {
      for (int i = begin; i < end; ++i) give(s.told != nullptr ? scaled(s.told[kWindow[i].dx + kWindow[i].dy * side]) : 0);
    };
    const auto give_coded = [&](int begin, int end) {
      for (const Coded& coded : coded_) {
        const int across = coded.value.stride();
        const int32_t* const w = coded.value.at(x, y);
        const int32_t* const seen = coded.error.at(x, y);
        const int32_t mean = (w[-1] + w[-across]) >> 1;
        for (int i = begin; i < end; ++i) {
          const int at = kCoded[i].dx + kCoded[i].dy * across;
          give(scaled(seen[at]));
          give(scaled(int64_t{w[at] - mean} * 64));
        }
      }
    };
    constexpr int kNone[kReferences] = {};
    give_likes(kNone, kSeen);
    give_told(0, kErrorsSeen);
    for (int k = 0; k < kSets; ++k) give(apart(k));
    const int octaves = octaves8(s.scale);
    give(octaves - 64);
    for (int k = 0; k < kSets; ++k) give(octaves8(s.error_of[k] + 16) - octaves);
    give(octaves8(s.past + 16) - octaves);
    const int32_t* const size = size_.at(x, y);
    const int32_t wide = (size[-3] + size[-4] + size[-5] + size[-stride - 2] + size[2 - stride] + size[-2 * stride - 2] +
                          size[2 - 2 * stride] + size[-3 * stride]) >> 3;
    give(octaves8(wide + 32) - octaves);
    for (int k = 0; k < kPlain; ++k) give(63 - ((best_plain - log[k]) >> 9));
    give(static_cast<int32_t>(s.centre >> depth_) - 32);
    give(static_cast<int32_t>(s.centre & 63) - 32);
    give_coded(0, kCodedSeen);
    while (in < first + kInputs) *in++ = 64;
    if (seen_ == kInputs) return;
    give_likes(kSeen, kSeenWide);
    give_told(kErrorsSeen, kErrorsSeenWide);
    give_coded(kCodedSeen, kCodedSeenWide);
    while (in < first + kWideInputs) *in++ = 64;
  }

  // The value as a walk down a tree of intervals, [low, high): at first quantiles of the mixture, later halves,
  // and at the open ends doubling steps.
  template <class Coder>
  int32_t decide(Coder& coder, Site& s, const int32_t* out, int32_t value) {
    Logistic part[kPlain];
    for (int k = 0; k < kSets; ++k) part[k].set(s.by_set[k], (s.error_of[k] * 3 >> 2) + 10);
    const int32_t joined = (s.scale - 32 + s.past) >> 1;
    for (int k = 0; k < 3; ++k) part[kSets + k].set(s.centre, (joined * 3 >> (3 - k)) + 8);
    uint64_t total = 0;
    int64_t centres = 0, scales = 0;
    for (int k = 0; k < kPlain; ++k) {
      total += static_cast<uint64_t>(s.share[k]);
      centres += s.share[k] * (part[k].centre - s.centre);
      scales += int64_t{s.share[k]} * part[k].scale;
    }
    Mixture net;
    if (network_ != nullptr) {
      net.set(s.centre, s.scale, out);
      total += static_cast<uint64_t>(s.share[kPlain]);
      centres += s.share[kPlain] * (net.centre - s.centre);
      scales += int64_t{s.share[kPlain]} * net.scale;
    }
    const int64_t centre = s.centre + centres / static_cast<int64_t>(total);
    const int32_t scale = static_cast<int32_t>(scales / static_cast<int64_t>(total));

    int32_t low = 0, high = most_ + 1;
    uint64_t all_low = 0, all_high = total << 24;
    uint32_t part_low[kParts] = {}, part_high[kParts];
    for (uint32_t& p : part_high) p = 1 << 24;
    for (int depth = 0, path = 0; high - low > 1; ++depth) {
      const Question asked = question(depth, path, low, high, 0, most_ + 1, centre, scale, 1 << 16);
      const int32_t at = static_cast<int32_t>(asked.at);
      const int node = asked.node;
      // The maps do not fit into the nearest caches: what is known of the places is fetched ahead.
      for (int k = 0; k < kMaps; ++k)
        if (k != 5) learned_.maps[static_cast<size_t>(k)].prefetch(static_cast<size_t>(node * kMapSize[k] + s.context[k]));
      learned_.last[0].prefetch(static_cast<size_t>(node * kLastSize[0] + s.level));
      learned_.last[1].prefetch(static_cast<size_t>(node * kLastSize[1] + s.earlier));
      const int stage = depth < 2 ? 0 : depth < 5 ? 1 : 2;
      const int selected[kSelections] = {node, s.level * 3 + stage, s.west_north, s.earlier, s.past_level * 4 + (depth < 1 ? 0 : depth < 3 ? 1 : depth < 5 ? 2 : 3), 0};
      learned_.mix.select(selected, node);
      alignas(64) int16_t x[kMixed] = {};
      uint64_t all_at = 0;
      uint32_t part_at[kParts];
      for (int k = 0; k < parts_; ++k) {
        const uint32_t b = part_at[k] = k < kPlain ? part[k].below(t_, at) : static_cast<uint32_t>(net.below(t_, at) / net.total);
        all_at += static_cast<uint64_t>(s.share[k]) * b;
        x[1 + k] = opinion(t_, part_low[k], b, part_high[k]);
      }
      const int32_t logit = joint_opinion(t_, all_low, all_at, all_high, total);
      x[0] = as_input(logit);
      s.context[5] = high - low == 2 ? (at & 255) : high - low <= 4 ? 256 + (at & 127) : 384 + (at & 127);
      for (int k = 0; k < kMaps; ++k) {
        const uint32_t p = learned_.maps[static_cast<size_t>(k)].refine(static_cast<size_t>(node * kMapSize[k] + s.context[k]), logit);
        x[1 + kParts + k] = t_.stretch[p >> 12];
      }
      x[1 + kParts + kMaps] = 256;
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
        all_low = all_at;
        for (int k = 0; k < parts_; ++k) part_low[k] = part_at[k];
      } else {
        high = at;
        all_high = all_at;
        for (int k = 0; k < parts_; ++k) part_high[k] = part_at[k];
      }
      if (depth < 5) path = path * 2 + bit;
    }
    for (int k = 0; k < parts_; ++k)
      mass_[k] = mixer::log24(t_, (part_high[k] > part_low[k] ? part_high[k] - part_low[k] : 0) + 4) - 16 * mixer::kLn2;
    return low;
  }

  const mixer::Tables& t_;
  bool avx2_;
  const Effort& effort_;
  PlaneShape shape_;  // of the whole plane
  int c_, depth_;
  size_t seen_;       // inputs
  int top_, height_, width_;
  int32_t most_;
  size_t stride_;
  Plane value_, error_, size_;               // error signed, of the joined prediction, 1/64
  std::vector<Plane> size_of_, luck_;        // luck: logarithms of what each distribution gave the value
  std::vector<Coded> coded_;
  Earlier earlier_;
  int n_ = 0, of_set_[kSets][kTaps], in_set_[kSets] = {};
  std::vector<Squares> squares_;
  Buffer<int32_t> features_, units_;         // by feature, then by row; the last of units_ is the target
  Buffer<int64_t> predictions_;              // by set, then by row
  Learned learned_;
  std::vector<Site> sites_;
  const Network* network_ = nullptr;
  int parts_;                                // distributions
  Buffer<uint8_t> inputs_;
  Buffer<int32_t> outputs_;
  int32_t mass_[kParts] = {};
};

// Whether a coder only keeps what a training is to see (video_variant.hpp).
template <class Coder>
constexpr bool recording = false;

// All planes of a strip.
class Strip {
 public:
  Strip(const Shape& shape, int number, const Network* networks) : shape_(shape) {
    const int top = first_row(shape, number), bottom = first_row(shape, number + 1);
    for (int c = 0; c < shape.planes; ++c) {
      const PlaneShape& p = shape.plane[c];
      const int first = top >> p.down, last = (bottom + (1 << p.down) - 1) >> p.down;
      channels_.push_back(std::make_unique<Channel>(shape, c, first, last - first, networks));
    }
  }
  // A frame's samples in this strip, one plane after another; errors: where they are to be kept. False on damage.
  template <class Coder, class Tell>
  bool code(Coder& coder, const Earlier& earlier, uint16_t* frame, Bordered<int32_t>* errors, Tell&& tell) {
    for (int c = 0; c < shape_.planes; ++c) {
      Channel& channel = *channels_[static_cast<size_t>(c)];
      size_t which = 0;
      for (Coded& coded : channel.coded()) see(coded, channel, *channels_[which++]);
      channel.begin(earlier);
      const int width = channel.shape().width, height = channel.height(), top = channel.top();
      const auto first = [width](int t) { return t < width ? 0 : (t - width) / kLag + 1; };
      for (int t = 0; t < width + kLag * (height - 1); ++t) {
        const int y0 = first(t), y1 = t / kLag < height - 1 ? t / kLag : height - 1;
        if (y0 > y1) continue;
        channel.prepare(t, y0, y1);
        for (int y = y0; y <= y1; ++y) {
          uint16_t& sample = frame[static_cast<size_t>(top + y) * static_cast<size_t>(width) + static_cast<size_t>(t - kLag * y)];
          if constexpr (recording<Coder>) coder.cost = 0;
          const int32_t value = channel.code(coder, y - y0, sample);
          if constexpr (recording<Coder>) {
            if (channel.asked(y - y0, value) && ++coder.seen % static_cast<size_t>(coder.every) == 0)
              coder.rows[static_cast<size_t>(c)].push_back(channel.row(y - y0, value, static_cast<int32_t>(coder.cost)));
          }
          sample = static_cast<uint16_t>(value);
          channel.learn_from(y - y0, value);
        }
        channel.learn(y0, y1, first(t + 1));
        if (!coder.right()) return false;
        tell(static_cast<size_t>(y1 - y0 + 1));
      }
      for (int y = 0; y < height; ++y)
        for (int x = 0; x < width; ++x) *errors[c].at(x, top + y) = channel.error(x, y);
      frame += static_cast<size_t>(width) * static_cast<size_t>(channel.shape().height);
    }
    return true;
  }

 private:
  // How a channel sees one that is coded before it.
  static void see(Coded& to, Channel& channel, Channel& from) {
    const int right = channel.shape().right - from.shape().right, down = channel.shape().down - from.shape().down;
    const int width = channel.shape().width, height = channel.height();
    for (int y = 0; y < height; ++y) {
      for (int x = 0; x < width; ++x) {
        int32_t value = 0, error = 0;
        for (int i = 0; i < 1 << down; ++i) {
          for (int j = 0; j < 1 << right; ++j) {
            const int at_x = std::min((x << right) + j, from.shape().width - 1), at_y = std::min((y << down) + i, from.height() - 1);
            value += from.value(at_x, at_y);
            error += from.error(at_x, at_y);
          }
        }
        *to.value.at(x, y) = value >> (right + down);
        *to.error.at(x, y) = error >> (right + down);
      }
    }
    to.value.extend();
    to.error.extend();
  }

  const Shape& shape_;
  std::vector<std::unique_ptr<Channel>> channels_;
};
