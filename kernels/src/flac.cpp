#include "flac.hpp"

#include <algorithm>

#include "flac_recipe.hpp"
#include "rangecoder.hpp"

namespace lmc::flac {
namespace {

struct Encode {
  RangeEncoder coder;
  int operator()(int bit, uint32_t p) {
    coder.encode(bit, p);
    return bit;
  }
};

struct Decode {
  RangeDecoder coder;
  int operator()(int, uint32_t p) {
    const int bit = coder.decode(p);
    require(!coder.damaged());
    return bit;
  }
};

constexpr size_t kProbe = 12;  // frames that rules are tried on, or more
constexpr int kMostParts = 6;

// A recipe begins with five bytes: the rules.
std::vector<uint8_t> to_bytes(const Rules& r) {
  return {static_cast<uint8_t>(r.rice), static_cast<uint8_t>(r.most_partitions), static_cast<uint8_t>(r.linear),
          static_cast<uint8_t>(r.parts), static_cast<uint8_t>(r.most_order)};
}

Rules to_rules(const uint8_t* bytes) {
  require(bytes[0] < kRiceRules && bytes[1] < 16 && bytes[2] < kLinearRules && bytes[3] >= 1 &&
          bytes[3] <= kMostParts && bytes[4] <= kMaxOrder);
  return {static_cast<RiceRule>(bytes[0]), bytes[1], static_cast<LinearRule>(bytes[2]), bytes[3], bytes[4]};
}

// The frames, read again for each trial of rules: so they take no memory.
class Source {
 public:
  Source(const uint8_t* data, int channels, int bits, const Sound& sound)
      : data_(data), channels_(channels), bits_(bits), sound_(sound) {
    starts_.push_back(0);
    for (const uint32_t size : sound.frames.sizes) starts_.push_back(starts_.back() + size);
    left_.assign(sound.frames.blocks.size() + 1, 0);
    for (size_t i = sound.frames.blocks.size(); i-- > 0;) left_[i] = left_[i + 1] + sound.frames.blocks[i];
  }

  struct Description {
    std::vector<uint8_t> bytes;
    bool exact;  // coefficients are as the rules say
  };
  // The recipe of every so manieth frame.
  Description describe(const Rules& rules, size_t step = 1) const {
    Encode bits;
    Recipe<Encode> recipe(bits, true, rules, channels_, bits_);
    Frame frame;
    for (size_t i = (step - 1) / 2; i < sound_.frames.blocks.size(); i += step) {
      read_frame(data_ + starts_[i], sound_.frames.sizes[i], bits_, frame);
      recipe.frame(frame, nullptr, left_[i], nullptr);
    }
    std::vector<uint8_t> out = to_bytes(rules), coded = std::move(bits.coder).bytes();
    out.insert(out.end(), coded.begin(), coded.end());
    return {std::move(out), recipe.exact()};
  }
  // That of a few frames.
  Description probe(const Rules& rules) const { return describe(rules, sound_.frames.blocks.size() / kProbe + 1); }

 private:
  const uint8_t* data_;
  const int channels_, bits_;
  const Sound& sound_;
  std::vector<size_t> starts_;
  std::vector<uint64_t> left_;
};

// The rules that give the shortest recipe of a few frames. seen: the largest orders.
Rules find_rules(const Source& source, const Rules& seen) {
  Rules best = seen;
  size_t least = source.probe(best).bytes.size();
  bool exact = false;
  const auto attempt = [&](const Rules& rules) {
    const auto found = source.probe(rules);
    if (found.bytes.size() >= least) return;
    least = found.bytes.size();
    exact = found.exact;
    best = rules;
  };
  for (const RiceRule rice : {kLibflac15, kFfmpeg}) {
    Rules rules = best;
    rules.rice = rice;
    attempt(rules);
  }
  if (seen.most_order == 0) return best;
  const Rules plain = best;
  exact = false;
  const auto attempt_linear = [&](int linear, int parts, int order) {
    if (exact) return;
    Rules rules = plain;
    rules.linear = static_cast<LinearRule>(linear);
    rules.parts = parts;
    rules.most_order = order;
    attempt(rules);
  };
  // The writer may try larger orders than it takes: libFLAC's levels try up to 8 or 12.
  std::vector<int> orders{seen.most_order};
  for (const int usual : {8, 12}) {
    if (usual > seen.most_order) orders.push_back(usual);
  }
  attempt_linear(kLibflac14, 1, seen.most_order);
  for (const int parts : {3, 2}) {
    for (const int order : orders) attempt_linear(kLibflac14, parts, order);
  }
  attempt_linear(kFfmpegLinear, 1, seen.most_order);
  for (const int kind : {0, int{kFine}, kFine | kInOrder, int{kInOrder}}) {
    for (const int order : orders) attempt_linear(kLibflac13 + kind, 1, order);
  }
  return best;
}

}  // namespace

std::optional<Sound> read(const uint8_t* data, size_t size, int channels, int bits, size_t most) {
  Sound sound;
  sound.samples.resize(static_cast<size_t>(channels));
  Rules seen;
  Frame frame;
  size_t count = 0;
  try {
    while (sound.size + 1 < size && data[sound.size] == 0xFF && (data[sound.size + 1] & 0xFE) == 0xF8) {
      const size_t bytes = read_frame(data + sound.size, size - sound.size, bits, frame);
      count += static_cast<size_t>(channels) * frame.header.block;
      require(frame.header.channels() == channels && count <= most);
      to_samples(frame, bits, sound.samples.data());
      for (int c = 0; c < channels; ++c) {
        const Subframe& s = frame.subframes[c];
        if (s.kind >= kFixed) seen.most_partitions = std::max(seen.most_partitions, s.partition_order);
        if (s.kind == kLinear) seen.most_order = std::max(seen.most_order, s.order);
      }
      sound.size += bytes;
      sound.frames.sizes.push_back(static_cast<uint32_t>(bytes));
      sound.frames.blocks.push_back(frame.header.block);
    }
    require(!sound.frames.blocks.empty());
    const Source source(data, channels, bits, sound);
    sound.recipe = source.describe(find_rules(source, seen)).bytes;
  } catch (const Bad&) {
    return std::nullopt;
  }
  return sound;
}

std::optional<Frames> write(const uint8_t* recipe, size_t size, const int32_t* const* samples, int channels, int bits,
                            size_t count) {
  const int64_t low = -(int64_t{1} << (bits - 1)), high = ~low;
  bool fit = true;
  for (int c = 0; c < channels; ++c) {
    for (size_t i = 0; i < count; ++i) fit &= samples[c][i] >= low && samples[c][i] <= high;
  }
  Frames out;
  try {
    require(fit && size >= 5);
    const Rules rules = to_rules(recipe);
    Decode in{RangeDecoder(recipe + 5, size - 5)};
    Recipe<Decode> how(in, false, rules, channels, bits);
    BitWriter bytes;
    Frame frame;
    std::vector<const int32_t*> at(samples, samples + channels);
    while (count > 0) {
      const size_t start = bytes.size();
      how.frame(frame, at.data(), count, &bytes);
      out.sizes.push_back(static_cast<uint32_t>(bytes.size() - start));
      out.blocks.push_back(frame.header.block);
      count -= frame.header.block;
      for (const int32_t*& channel : at) channel += frame.header.block;
    }
    out.bytes = std::move(bytes.bytes());
  } catch (const Bad&) {
    return std::nullopt;
  }
  return out;
}

}  // namespace lmc::flac
