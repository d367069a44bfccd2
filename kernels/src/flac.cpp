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

constexpr size_t kProbe = 48;  // frames that rules are tried on
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

// The frames one after the other, read again for each trial of rules: they need no memory so.
class Source {
 public:
  Source(const uint8_t* data, int channels, int bits, const Sound& sound)
      : data_(data), channels_(channels), bits_(bits), sound_(sound) {
    for (const uint32_t block : sound.blocks) total_ += block;
  }

  // The recipe of the first frames, at most so many of them.
  std::vector<uint8_t> describe(const Rules& rules, size_t frames) const {
    Encode bits;
    Recipe<Encode> recipe(bits, true, rules, channels_, bits_);
    Frame frame;
    uint64_t left = total_;
    const uint8_t* at = data_;
    for (size_t i = 0; i < std::min(frames, sound_.blocks.size()); ++i) {
      read_frame(at, sound_.frame_sizes[i], bits_, frame);
      recipe.frame(frame, nullptr, left, nullptr);
      at += sound_.frame_sizes[i];
      left -= sound_.blocks[i];
    }
    std::vector<uint8_t> out = to_bytes(rules), coded = std::move(bits.coder).bytes();
    out.insert(out.end(), coded.begin(), coded.end());
    return out;
  }

 private:
  const uint8_t* data_;
  const int channels_, bits_;
  const Sound& sound_;
  uint64_t total_ = 0;
};

// The rules that give the shortest recipe of the first frames. seen: the largest orders.
Rules find_rules(const Source& source, Rules seen) {
  Rules best = seen;
  size_t least = source.describe(best, kProbe).size();
  const auto attempt = [&](const Rules& rules) {
    const size_t size = source.describe(rules, kProbe).size();
    if (size >= least) return false;
    least = size;
    best = rules;
    return true;
  };
  for (int rice = 1; rice < kRiceRules; ++rice) {
    Rules rules = best;
    rules.rice = static_cast<RiceRule>(rice);
    attempt(rules);
  }
  if (seen.most_order == 0) return best;
  const Rules plain = best;
  for (int linear = 1; linear < kLinearRules; ++linear) {
    for (const int order : {seen.most_order, 8, 12}) {
      if (order < seen.most_order || (order == seen.most_order && order != seen.most_order)) continue;
      Rules rules = plain;
      rules.linear = static_cast<LinearRule>(linear);
      rules.most_order = order;
      for (rules.parts = 1; rules.parts <= (linear == kLibflac14 ? 3 : 1); ++rules.parts) attempt(rules);
      if (linear != kLibflac13) break;
    }
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
      sound.frame_sizes.push_back(static_cast<uint32_t>(bytes));
      sound.blocks.push_back(frame.header.block);
    }
    require(!sound.blocks.empty());
    const Source source(data, channels, bits, sound);
    sound.recipe = source.describe(find_rules(source, seen), SIZE_MAX);
  } catch (const Bad&) {
    return std::nullopt;
  }
  return sound;
}

std::optional<std::vector<uint8_t>> write(const uint8_t* recipe, size_t size, const int32_t* const* samples,
                                          int channels, int bits, size_t count) {
  try {
    require(size >= 5);
    const Rules rules = to_rules(recipe);
    Decode in{RangeDecoder(recipe + 5, size - 5)};
    Recipe<Decode> how(in, false, rules, channels, bits);
    BitWriter out;
    Frame frame;
    std::vector<const int32_t*> at(samples, samples + channels);
    while (count > 0) {
      how.frame(frame, at.data(), count, &out);
      count -= frame.header.block;
      for (const int32_t*& channel : at) channel += frame.header.block;
    }
    return std::move(out.bytes());
  } catch (const Bad&) {
    return std::nullopt;
  }
}

}  // namespace lmc::flac
