#include "ffv1.hpp"

#include <algorithm>

#include "ffv1_parameters.hpp"
#include "ffv1_range.hpp"
#include "ffv1_slice.hpp"

namespace lmc::ffv1 {

namespace {

constexpr size_t kMostStates = size_t{1} << 27;  // bytes of all contexts of a stream
constexpr uint8_t kEnd = 129;                    // the state of the 0 that ends a run of the range coder

int coarser(int size, int by) { return (size + (1 << by) - 1) >> by; }

// A stream, packet by packet. Contexts last from key frame to key frame.
class Stream {
 public:
  Stream(std::string_view record, int width, int height) : width_(width), height_(height) {
    require(width >= 1 && width <= 1 << 16 && height >= 1 && height <= 1 << 16);
    if (!record.empty()) set(configuration(record));
  }

  // Versions 0 and 1 say in the first packet what others have a record for.
  void peek(std::string_view packet) {
    if (known_) return;
    RangeReader coder(packet, usual_);
    Fields fields;
    uint8_t state = 128;
    require(fields.flag(coder, state));
    set(old_parameters(coder, fields));
  }

  // Whether runs of the range coder end without a last 0, as the first writers of versions 0 and 1
  // had it.
  void end_at_once(bool is_so) { at_once_ = is_so; }
  bool is_old() const { return p_.version < 2; }

  const Shape& shape() const { return shape_; }
  size_t frame() const { return frame_; }  // samples

  void read(std::string_view packet, uint16_t* frame, size_t size, Fields& fields) {
    const std::vector<std::string_view> parts = slices_of(packet);
    begin(fields.other<RangeReader>(static_cast<int32_t>(parts.size())), size);
    for (size_t i = 0; i < parts.size(); ++i) {
      const std::string_view body = parts[i].substr(0, parts[i].size() - trailer());
      RangeReader coder(body, usual_);
      const Slice slice = header(coder, i, fields);
      if (p_.coder != 0) {
        RangeCodes<RangeReader> codes(coder, 0);
        samples(codes, slice, frame);
      } else {
        RiceReader codes(body.substr(std::min(coder.finish(), body.size())));
        samples(codes, slice, frame);
      }
      if (p_.checks != 0) fields.other<RangeReader>(static_cast<uint8_t>(parts[i][body.size() + 3]));
    }
  }

  std::vector<uint8_t> write(uint16_t* frame, size_t size, Fields& fields) {
    std::vector<uint8_t> packet;
    const int32_t count = fields.other<RangeWriter>(0);
    begin(count, size);
    for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
      std::vector<uint8_t> body;
      RangeWriter coder(body, usual_);
      const Slice slice = header(coder, i, fields);
      if (p_.coder != 0) {
        const size_t most = 4096 + 8 * 4 * static_cast<size_t>(slice.width) * static_cast<size_t>(slice.height);
        RangeCodes<RangeWriter> codes(coder, most);
        samples(codes, slice, frame);
        uint8_t state = kEnd;
        if (!at_once_) coder.bit(0, state);
        coder.finish();
      } else {
        coder.finish();
        RiceWriter codes;
        samples(codes, slice, frame);
        const std::vector<uint8_t>& coded = codes.finish();
        body.insert(body.end(), coded.begin(), coded.end());
      }
      if (p_.version > 1) add_trailer(body, fields);
      packet.insert(packet.end(), body.begin(), body.end());
    }
    require(fields.all_used());
    return packet;
  }

 private:
  struct Slice {
    size_t number;
    int x, y, width, height;
  };

  void set(Parameters p) {
    Shape shape;
    shape.bits = p.bits;
    shape.rgb = p.rgb;
    if (p.chroma) shape.coarse.assign(2, {p.right, p.down});
    if (p.alpha) shape.coarse.push_back({0, 0});
    require(p.columns <= width_ && p.rows <= height_ && p.columns * p.rows <= Parameters::kMostSlices);
    require(!known_ || shape == shape_);
    p_ = std::move(p);
    shape_ = shape;
    known_ = true;
    frame_ = 0;
    for (const auto& [right, down] : all_coarse()) {
      frame_ += static_cast<size_t>(coarser(width_, right)) * static_cast<size_t>(coarser(height_, down));
    }
  }

  std::vector<std::pair<int, int>> all_coarse() const {
    std::vector<std::pair<int, int>> all = {{0, 0}};
    all.insert(all.end(), shape_.coarse.begin(), shape_.coarse.end());
    return all;
  }

  // Bytes behind a slice: its size; its state and a check.
  size_t trailer() const { return p_.version > 1 ? (p_.checks != 0 ? 8 : 3) : 0; }

  void add_trailer(std::vector<uint8_t>& body, Fields& fields) const {
    const size_t size = body.size();
    require(size < size_t{1} << 24);
    for (int shift = 16; shift >= 0; shift -= 8) body.push_back(static_cast<uint8_t>(size >> shift));
    if (p_.checks == 0) return;
    const int32_t state = fields.other<RangeWriter>(0);
    require(state >= 0 && state <= 255);
    body.push_back(static_cast<uint8_t>(state));
    const uint32_t check = flac::crc<uint32_t, 0x04C11DB7>(body.data(), body.size());
    for (int shift = 24; shift >= 0; shift -= 8) body.push_back(static_cast<uint8_t>(check >> shift));
  }

  // A packet's slices with their trailers, whose sizes lead from the last one to the first.
  std::vector<std::string_view> slices_of(std::string_view packet) const {
    if (p_.version < 2) return {packet};
    std::vector<std::string_view> parts;
    while (!packet.empty()) {
      require(packet.size() >= trailer() && parts.size() < Parameters::kMostSlices);
      const size_t at = packet.size() - trailer();
      const auto byte = [&](size_t i) { return static_cast<size_t>(static_cast<uint8_t>(packet[at + i])); };
      const size_t size = byte(0) << 16 | byte(1) << 8 | byte(2);
      require(size <= at);
      parts.push_back(packet.substr(at - size));
      packet = packet.substr(0, at - size);
    }
    std::reverse(parts.begin(), parts.end());
    return parts;
  }

  void begin(int32_t count, size_t size) {
    require(count >= 1 && count <= Parameters::kMostSlices);
    count_ = static_cast<size_t>(count);
    size_ = size;
    luma_left_ = static_cast<int64_t>(width_) * height_;
  }

  // What a slice says before its samples.
  template <typename Coder>
  Slice header(Coder& coder, size_t number, Fields& fields) {
    if (number == 0) {
      uint8_t state = 128;
      key_ = fields.flag(coder, state);
      if (key_ && (!known_ || p_.version < 2)) set(old_parameters(coder, fields));
      require(known_ && frame_ == size_);
      if (key_) {
        slices_.assign(count_, std::vector<Contexts>(static_cast<size_t>(p_.sets())));
        states_ = 0;
      }
      require(slices_.size() == count_);
    }
    if (p_.coder == 2) coder.use(p_.moves);
    Slice slice{number, 0, 0, width_, height_};
    std::vector<int> tables(static_cast<size_t>(p_.sets()), 0);
    if (p_.version > 1) {
      States states = fresh_states();
      int32_t grid[4];
      for (int32_t& each : grid) {
        each = fields.number(coder, states);
        require(each >= 0 && each < Parameters::kMostSlices);
      }
      const auto cut = [](int64_t i, int size, int of) { return static_cast<int>(i * size / of); };
      const int right = grid[0] + grid[2] + 1, low = grid[1] + grid[3] + 1;
      require(right <= p_.columns && low <= p_.rows);
      slice.x = cut(grid[0], width_, p_.columns);
      slice.y = cut(grid[1], height_, p_.rows);
      slice.width = cut(right, width_, p_.columns) - slice.x;
      slice.height = cut(low, height_, p_.rows) - slice.y;
      for (int& table : tables) {
        table = fields.number(coder, states);
        require(table >= 0 && table < static_cast<int>(p_.tables.size()));
      }
      // How fields of the picture lie, and the sides of a pixel.
      for (int i = 0; i < 3; ++i) fields.number(coder, states);
    }
    luma_left_ -= static_cast<int64_t>(slice.width) * slice.height;
    require(luma_left_ >= 0);  // slices share no samples, or work would have no bound
    for (size_t i = 0; i < tables.size(); ++i) prepare(slices_[number][i], tables[i]);
    if (p_.coder == 0 && p_.version == 3 && p_.micro > 1) {
      uint8_t state = kEnd;
      coder.bit(0, state);
    }
    return slice;
  }

  void prepare(Contexts& contexts, int table) {
    if (!key_) {
      require(contexts.table == table);
      return;
    }
    const auto count = static_cast<size_t>(p_.tables[static_cast<size_t>(table)].contexts);
    states_ += count * sizeof(States);
    require(states_ <= kMostStates);
    contexts.table = table;
    if (p_.coder == 0) {
      contexts.rice.assign(count, Rice());
    } else if (!p_.starts[static_cast<size_t>(table)].empty()) {
      contexts.states = p_.starts[static_cast<size_t>(table)];
    } else {
      contexts.states.assign(count, fresh_states());
    }
  }

  template <typename Codes>
  void samples(Codes& codes, const Slice& slice, uint16_t* frame) {
    std::vector<Area> areas;
    for (const auto& [right, down] : all_coarse()) {
      const auto stride = static_cast<size_t>(coarser(width_, right));
      const auto rows = static_cast<size_t>(coarser(height_, down));
      const auto x = static_cast<size_t>(slice.x >> right), y = static_cast<size_t>(slice.y >> down);
      areas.push_back({frame + y * stride + x, stride, coarser(slice.width, right), coarser(slice.height, down)});
      frame += stride * rows;
    }
    std::vector<Contexts>& sets = slices_[slice.number];
    if (p_.rgb) {
      code_colours(codes, areas, sets, p_);
      return;
    }
    for (size_t i = 0; i < areas.size(); ++i) {
      const bool is_alpha = p_.alpha && i + 1 == areas.size();
      Contexts& contexts = sets[i == 0 ? 0 : is_alpha ? 2 : 1];
      code_plane(codes, areas[i], contexts, p_.tables[static_cast<size_t>(contexts.table)], p_.bits, p_.coder == 0);
    }
  }

  const int width_, height_;
  const Transitions usual_ = Transitions::usual();
  bool known_ = false, key_ = false, at_once_ = false;
  Parameters p_;
  Shape shape_;
  size_t frame_ = 0;                           // samples of a frame
  std::vector<std::vector<Contexts>> slices_;  // [slice][set]
  size_t count_ = 0, size_ = 0, states_ = 0;
  int64_t luma_left_ = 0;
};

void put_number(std::vector<uint8_t>& out, uint64_t value) {
  for (; value >= 128; value >>= 7) out.push_back(static_cast<uint8_t>(value | 128));
  out.push_back(static_cast<uint8_t>(value));
}

// How a stream's packets end, and their fields, as bytes: 0 for those of the packet before, or their count and 1, and the fields.
class SideWriter {
 public:
  void add(const std::vector<int32_t>& fields) {
    if (fields == last_) {
      out_.push_back(0);
      return;
    }
    put_number(out_, fields.size() + 1);
    for (const int32_t field : fields) {
      put_number(out_, static_cast<uint32_t>(field) << 1 ^ static_cast<uint32_t>(field >> 31));
    }
    last_ = fields;
  }
  std::vector<uint8_t>& bytes() { return out_; }

 private:
  std::vector<uint8_t> out_;
  std::vector<int32_t> last_;
};

class SideReader {
 public:
  explicit SideReader(std::string_view bytes) : bytes_(bytes) {}
  const std::vector<int32_t>& next() {
    const uint64_t count = number();
    if (count == 0) return last_;
    require(count - 1 <= bytes_.size());
    last_.clear();
    for (uint64_t i = 1; i < count; ++i) {
      const auto folded = static_cast<uint32_t>(number());
      last_.push_back(static_cast<int32_t>(folded >> 1 ^ (0u - (folded & 1))));
    }
    return last_;
  }
  bool at_end() const { return bytes_.empty(); }

 private:
  uint64_t number() {
    uint64_t value = 0;
    for (int shift = 0; shift < 35; shift += 7) {
      require(!bytes_.empty());
      const auto byte = static_cast<uint8_t>(bytes_[0]);
      bytes_.remove_prefix(1);
      value |= static_cast<uint64_t>(byte & 127) << shift;
      if (byte < 128) {
        require(value >> 32 == 0);
        return value;
      }
    }
    throw Bad();
  }

  std::string_view bytes_;
  std::vector<int32_t> last_;
};

// Whether the packets come back only if runs end at once. Most packets do in both ways.
bool ends_at_once(const std::vector<std::string_view>& packets, Taken& taken, size_t frame, int width, int height) {
  for (const bool at_once : {false, true}) {
    Stream stream({}, width, height);
    stream.end_at_once(at_once);
    SideReader side({reinterpret_cast<const char*>(taken.side.data()), taken.side.size()});
    uint16_t* samples = taken.samples.data();
    const bool all = std::all_of(packets.begin(), packets.end(), [&](std::string_view packet) {
      Fields fields(side.next());
      const std::vector<uint8_t> again = stream.write(samples, frame, fields);
      samples += frame;
      return packet == std::string_view(reinterpret_cast<const char*>(again.data()), again.size());
    });
    if (all) return at_once;
  }
  throw Bad();
}

}  // namespace

std::optional<Taken> take(const std::vector<std::string_view>& packets, std::string_view record, int width, int height,
                          size_t most) try {
  require(!packets.empty());
  Stream stream(record, width, height);
  stream.peek(packets[0]);
  require(packets.size() <= most / stream.frame());
  Taken taken;
  taken.shape = stream.shape();
  taken.samples.resize(packets.size() * stream.frame());
  SideWriter side;
  for (size_t i = 0; i < packets.size(); ++i) {
    Fields fields;
    stream.read(packets[i], taken.samples.data() + i * stream.frame(), stream.frame(), fields);
    side.add(fields.values());
  }
  taken.side = std::move(side.bytes());
  const bool at_once = stream.is_old() && ends_at_once(packets, taken, stream.frame(), width, height);
  taken.side.insert(taken.side.begin(), at_once);
  return taken;
} catch (const Bad&) {
  return std::nullopt;
} catch (const flac::Bad&) {
  return std::nullopt;
}

std::optional<std::vector<std::vector<uint8_t>>> give(const uint16_t* samples, size_t frames, size_t frame,
                                                      const Shape& shape, std::string_view side,
                                                      std::string_view record, int width, int height) try {
  require(std::all_of(samples, samples + frames * frame, [&](uint16_t v) { return v >> shape.bits == 0; }));
  require(!side.empty() && static_cast<uint8_t>(side[0]) <= 1);
  Stream stream(record, width, height);
  stream.end_at_once(side[0] != 0);
  SideReader reader(side.substr(1));
  std::vector<std::vector<uint8_t>> packets;
  // One walk reads and writes samples; this one writes none.
  auto* const values = const_cast<uint16_t*>(samples);
  for (size_t i = 0; i < frames; ++i) {
    Fields fields(reader.next());
    packets.push_back(stream.write(values + i * frame, frame, fields));
    require(stream.shape() == shape);
  }
  require(reader.at_end());
  return packets;
} catch (const Bad&) {
  return std::nullopt;
}

}  // namespace lmc::ffv1
