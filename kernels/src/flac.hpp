// FLAC frames taken apart into samples and a recipe, and written again bit for bit.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace lmc::flac {

struct Frames {
  std::vector<uint8_t> bytes;
  std::vector<uint32_t> sizes, blocks;  // bytes and samples of each
};

struct Sound {
  std::vector<std::vector<int32_t>> samples;  // [channel][time]
  std::vector<uint8_t> recipe;
  size_t size = 0;  // bytes of all frames
  Frames frames;    // without their bytes
};

// The frames that `data` begins with, of samples of `bits` (4 to 32) bits; none if the first is none,
// if one is damaged or has other channels, or if there are more than `most` samples (of all channels).
std::optional<Sound> read(const uint8_t* data, size_t size, int channels, int bits, size_t most);

// The frames of these samples ([channel][time], `count` of each channel) and this recipe; none if the
// recipe is damaged, or a sample has more bits.
std::optional<Frames> write(const uint8_t* recipe, size_t size, const int32_t* const* samples, int channels, int bits,
                            size_t count);

}  // namespace lmc::flac
