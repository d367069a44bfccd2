// What every video_*.cpp compiles for its instructions: frames one after another, each with its strips side by side.

#include "decisions.hpp"
#include "logistic.hpp"
#include "layers_run.hpp"
#include "mixture.hpp"
#include "squares.hpp"
#include "video_strip.hpp"

constexpr int kErrorBorder = 2;  // what a window of errors reaches

class Clip {
 public:
  Clip(const Shape& shape, const Network* networks) : shape_(shape), references_(kEffortOf[shape.effort].references) {
    for (int i = 0; i < shape.strips; ++i) strips_.push_back(std::make_unique<Strip>(shape, i, networks));
    for (int c = 0; c < shape.planes; ++c) errors_.emplace_back(shape.plane[c].width, shape.plane[c].height, kErrorBorder);
    now_ = errors_;
  }

  // coders: one for each strip. find: whether vectors are to be found, or are read.
  template <class Coder>
  bool code(Coder& vectors, std::vector<Coder>& coders, uint16_t* samples, int threads, const Progress& progress) {
    const int most = most_threads(threads);
    Pool pool(most);
    FieldCoder fields;
    const PlaneShape& luma = shape_.plane[0];
    std::atomic<size_t> done{0}, told{0};
    std::atomic<bool> right{true};
    const auto tell = [&](size_t count) {
      const size_t now = done += count;
      size_t before = told;
      if (now - before >= kTell && told.compare_exchange_strong(before, now)) progress(now);
    };
    for (int f = 0; f < shape_.frames; ++f, samples += shape_.frame_samples()) {
      Earlier earlier;
      std::vector<Field> found;
      earlier.count = f < references_ ? f : references_;
      for (int r = 0; r < earlier.count; ++r) found.emplace_back(luma.width, luma.height);
      if constexpr (Coder::kKnown) {
        if (earlier.count > 0) {
          Reference now(luma.width, luma.height, 0);
          copy(samples, luma, now);
          const auto find = [&](int r) {
            search(now, history_[static_cast<size_t>(r)][0], luma.width, luma.height, shape_.depth, found[static_cast<size_t>(r)], r > 0 ? &found[0] : nullptr, r + 1);
          };
          find(0);
          pool.run(earlier.count - 1, [&](int r, int) { find(r + 1); });
        }
      }
      for (int r = 0; r < earlier.count; ++r) {
        if (!fields.code(vectors, found[static_cast<size_t>(r)], r) || !vectors.right()) return false;
        earlier.field[r] = &found[static_cast<size_t>(r)];
        for (int c = 0; c < shape_.planes; ++c) earlier.plane[r][c] = &history_[static_cast<size_t>(r)][static_cast<size_t>(c)];
      }
      for (int c = 0; c < shape_.planes; ++c) earlier.errors[c] = &errors_[static_cast<size_t>(c)];
      pool.run(shape_.strips, [&](int i, int) {
        if (!strips_[static_cast<size_t>(i)]->code(coders[static_cast<size_t>(i)], earlier, samples, now_.data(), tell)) right = false;
      });
      if (!right) return false;
      remember(samples);
    }
    return true;
  }

 private:
  int most_threads(int threads) const {
    const int all = threads > 0 ? threads : static_cast<int>(std::thread::hardware_concurrency());
    return std::max(1, std::min(all, shape_.strips));
  }
  static void copy(const uint16_t* from, const PlaneShape& shape, Reference& to) {
    for (int y = 0; y < shape.height; ++y) std::memcpy(to.at(0, y), from + static_cast<size_t>(y) * static_cast<size_t>(shape.width), static_cast<size_t>(shape.width) * sizeof *from);
    to.extend();
  }
  void remember(const uint16_t* samples) {
    std::vector<Reference> planes;
    for (int c = 0; c < shape_.planes; ++c) {
      const PlaneShape& p = shape_.plane[c];
      planes.emplace_back(p.width, p.height, kBorderOfReference);
      copy(samples, p, planes.back());
      samples += static_cast<size_t>(p.width) * static_cast<size_t>(p.height);
      now_[static_cast<size_t>(c)].extend();
    }
    std::swap(errors_, now_);
    history_.insert(history_.begin(), std::move(planes));
    if (history_.size() > static_cast<size_t>(references_)) history_.pop_back();
  }

  const Shape& shape_;
  int references_;
  std::vector<std::unique_ptr<Strip>> strips_;
  std::vector<std::vector<Reference>> history_;     // the newest frame first
  std::vector<Bordered<int32_t>> errors_, now_;     // of the last frame, and of this one
};

std::vector<std::vector<uint8_t>> encode(const Shape& shape, const Network* networks, const uint16_t* samples, int threads, const Progress& progress) {
  std::vector<RangeEncoder> coders(static_cast<size_t>(shape.strips) + 1);
  std::vector<Encoding> strips;
  for (int i = 0; i < shape.strips; ++i) strips.push_back({coders[static_cast<size_t>(i) + 1]});
  Encoding vectors{coders[0]};
  Clip(shape, networks).code(vectors, strips, const_cast<uint16_t*>(samples), threads, progress);  // written with what they hold
  std::vector<std::vector<uint8_t>> out;
  for (RangeEncoder& coder : coders) out.push_back(std::move(coder).bytes());
  return out;
}

bool decode(const Shape& shape, const Network* networks, const std::vector<std::pair<const uint8_t*, size_t>>& payloads,
            uint16_t* samples, int threads, const Progress& progress) {
  std::vector<RangeDecoder> coders;
  for (const auto& [data, size] : payloads) coders.emplace_back(data, size);
  std::vector<Decoding> strips;
  for (int i = 0; i < shape.strips; ++i) strips.push_back({coders[static_cast<size_t>(i) + 1]});
  Decoding vectors{coders[0]};
  if (!Clip(shape, networks).code(vectors, strips, samples, threads, progress)) return false;
  for (const RangeDecoder& coder : coders)
    if (coder.damaged()) return false;
  return true;
}

// Instead of a coder: adds up costs, and keeps what is known of samples.
struct Recording {
  int every;
  std::vector<std::vector<Row>> rows{kPlanes};
  int64_t cost = 0;
  size_t seen = 0;
  static constexpr bool kKnown = true;
  int operator()(int bit, uint32_t p) {
    const mixer::Tables& t = mixer::tables();
    cost += mixer::log24(t, 1 << 24) - mixer::log24(t, bit ? p : (1 << 24) - p);
    return bit;
  }
  bool right() const { return true; }
};
template <>
constexpr bool recording<Recording> = true;

std::vector<std::vector<Row>> record(const Shape& shape, const uint16_t* samples, int every) {
  std::vector<Recording> strips(static_cast<size_t>(shape.strips), Recording{every});
  Recording vectors{1};
  Clip(shape, nullptr).code(vectors, strips, const_cast<uint16_t*>(samples), 1, [](size_t) {});
  std::vector<std::vector<Row>> planes(static_cast<size_t>(shape.planes));
  for (const Recording& strip : strips)
    for (size_t c = 0; c < planes.size(); ++c) planes[c].insert(planes[c].end(), strip.rows[c].begin(), strip.rows[c].end());
  return planes;
}
