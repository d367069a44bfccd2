// Runs one variant over many shapes and prints a hash a case, to be compared with another variant's.
// Usage: check VARIANT
#include <algorithm>
#include <cstdio>
#include <initializer_list>

#include "../random_model.hpp"

using namespace lmc;

namespace {

long long values = 0, logits_seen = 0;  // compared so far

struct Hash {
  uint64_t h = 14695981039346656037u;
  template <class T>
  void add(const T* p, size_t n) {
    for (size_t i = 0; i < n; ++i) h = (h ^ static_cast<uint64_t>(p[i])) * 1099511628211u;
    values += static_cast<long long>(n);
  }
  template <class T>
  void one(T v) { add(&v, 1); }
};

void report(const char* name, int a, int b, const Hash& h) {
  std::printf("%s %d %d %016llx\n", name, a, b, static_cast<unsigned long long>(h.h));
}

// Numbers of all sizes in [low, high], the ends among them.
std::vector<int32_t> numbers(Generator& g, int64_t low, int64_t high, size_t n) {
  std::vector<int32_t> out;
  for (size_t i = 0; i < n; ++i) {
    const int64_t kind = g.ints(0, 15, 1)[0];
    const int64_t v = g.ints(low, high, 1)[0] >> (kind < 8 ? 0 : g.ints(0, 30, 1)[0]);
    out.push_back(static_cast<int32_t>(kind == 0 ? low : kind == 1 ? high : v < low ? low : v));
  }
  return out;
}

int room(int32_t peak) { return 30 - bits(static_cast<uint32_t>(peak > 1 ? peak : 1)); }

void steps(const Kernels& k, Generator& g, int n, Hash& h) {
  const auto small = numbers(g, -LIMIT, LIMIT, n);
  const auto any = numbers(g, -INT32_MAX, INT32_MAX, n);
  const int32_t peak = k.peak(small.data(), n);
  h.one(peak);
  for (int s : {0, 1, 7}) {
    auto x = small;
    for (int32_t& v : x) v >>= 6 - (s < 6 ? s : 6);
    h.one(k.squares(x.data(), n, s));
  }
  auto z = small;
  h.one(k.gain(z.data(), any.data(), n, 31 - bits(static_cast<uint32_t>(peak > 1 ? peak : 1))));
  h.add(z.data(), n);
  if (n % 32 == 0) {
    for (int shift : {0, 5, 13, 27}) {
      auto x = small;
      for (int32_t& v : x) v >>= shift;
      const int32_t p = std::max(1, k.peak(x.data(), n));
      const int nb = 31 - bits(static_cast<uint32_t>(p));
      const auto reciprocal = static_cast<int32_t>((int64_t{127} << 54) / (p << nb));
      std::vector<uint8_t> q(n);
      for (int offset : {0, 128}) {
        k.narrow(x.data(), n, nb, reciprocal, offset, q.data());
        h.add(q.data(), n);
      }
    }
  }
  z = small;
  h.one(k.silu(z.data(), n, sigmoid_table()));
  h.add(z.data(), n);
  const auto other = numbers(g, -LIMIT, LIMIT, n);
  h.one(k.product(z.data(), room(k.peak(z.data(), n)), other.data(), room(k.peak(other.data(), n)), n));
  h.add(z.data(), n);
  for (int32_t factor : {1, 1 << 20, 1 << 30, INT32_MAX}) {
    for (int down = -40; down <= 40; down += 5) {
      k.finish(any.data(), n, factor, down, z.data());
      h.add(z.data(), n);
    }
  }
  const int half = n / 2;
  if (half % TILE == 0) {
    auto y = small;
    const int shift = static_cast<int>(g.ints(0, 20, 1)[0]);
    for (int32_t& v : y) v >>= shift;
    const auto c = numbers(g, -(1 << 30), 1 << 30, half), s = numbers(g, -(1 << 30), 1 << 30, half);
    h.one(k.turn(y.data(), half, room(k.peak(y.data(), n)), c.data(), s.data(), z.data()));
    h.add(z.data(), n);
  }
}

// Pairs of weights have opposite signs, so that a variant that spills has nothing to spill.
void multiply(const Kernels& k, Generator& g, int outputs, int inputs, bool bias, std::initializer_list<int> rows_of) {
  Matrix m;
  m.n = outputs;
  m.kp = round_up(inputs, 32);
  m.tiles = round_up((outputs + TILE - 1) / TILE, k.group);
  const Buffer<int8_t> packed(static_cast<size_t>(m.tiles) * TILE * m.kp);
  m.packed = packed.data();
  m.correction = Buffer<int32_t>(m.tiles * TILE);
  m.scale = Buffer<int32_t>(m.tiles * TILE);
  if (bias) m.bias = Buffer<int32_t>(m.tiles * TILE);
  m.spill_at.assign(m.tiles + 1, 0);
  for (int n = 0; n < outputs; ++n) {
    const bool full = g.ints(0, 3, 1)[0] == 0;
    const auto w = g.ints(full ? 126 : 0, 127, inputs);
    int total = 0;
    for (int c = 0; c < inputs; ++c) {
      const auto v = static_cast<int8_t>(c % 2 ? -w[c] : w[c]);
      m.packed[(static_cast<size_t>(n / TILE) * m.kp + c / 4 * 4) * TILE + n % TILE * 4 + c % 4] = v;
      total += v;
    }
    m.correction[n] = -k.offset * total;
    m.scale[n] = static_cast<int32_t>(g.ints(0, (1 << 24) - 1, 1)[0]) << 7;
    if (bias) m.bias[n] = static_cast<int32_t>(g.ints(-LIMIT, LIMIT, 1)[0]);
  }
  m.up = 30 - bits(static_cast<uint64_t>(127) * 127 * inputs);
  for (int rows : rows_of) {
    Acts a;
    a.kp = m.kp;
    a.q = Buffer<uint8_t>(static_cast<size_t>(rows) * m.kp);
    const auto x = g.ints(-127, 127, static_cast<size_t>(rows) * m.kp);
    for (size_t i = 0; i < x.size(); ++i) {
      const int kind = static_cast<int>(i) / m.kp % 5;  // among them the largest sums
      const int64_t v = kind == 4 ? (i % 2 ? -127 : 127) : x[i];
      a.q[i] = static_cast<uint8_t>(v + k.offset);
    }
    for (int r = 0; r < rows; ++r) {
      a.scale.push_back(static_cast<int32_t>(g.ints(1 << 29, INT32_MAX, 1)[0]));
      a.exponent.push_back(static_cast<int>(g.ints(10, 60, 1)[0]));
    }
    for (int exponent : {0, 33}) {
      m.exponent = exponent;
      for (bool add : {false, true}) {
        if (add && outputs % TILE) continue;
        const size_t stride = outputs + 3;
        std::vector<int32_t> out = numbers(g, -LIMIT, LIMIT, rows * stride);
        const int middle = m.tiles / k.group / 2 * k.group;
        k.matmul(m, a, rows, 0, middle, out.data(), stride, add);
        k.matmul(m, a, rows, middle, m.tiles, out.data(), stride, add);
        Hash h;
        h.add(out.data(), out.size());
        report("matmul", rows, outputs * 10000 + inputs, h);
      }
    }
  }
}

void attention(const Kernels& k, Generator& g, int head_dim, int tiles, int count) {
  const TileShape shape{head_dim};
  std::vector<std::vector<uint8_t>> store;
  std::vector<const uint8_t*> at;
  for (int t = 0; t < tiles; ++t) {
    std::vector<uint8_t> tile;
    for (int64_t v : g.ints(-127, 127, shape.key_scales())) {
      tile.push_back(static_cast<uint8_t>(t % 7 == 3 ? (v < 0 ? -127 : 127) : v));
    }
    for (int i = 0; i < 2 * TILE; ++i) {
      const auto scale = static_cast<int32_t>(g.ints(0, INT32_MAX, 1)[0]) >> g.ints(0, 12, 1)[0];
      const auto* p = reinterpret_cast<const uint8_t*>(&scale);
      tile.insert(tile.end(), p, p + 4);
    }
    store.push_back(tile);
  }
  for (const auto& tile : store) at.push_back(tile.data());
  std::vector<int8_t> queries;
  for (int64_t v : g.ints(-127, 127, count * head_dim)) queries.push_back(static_cast<int8_t>(v));
  const size_t stride = static_cast<size_t>(tiles) * TILE;
  std::vector<int32_t> s(count * stride);
  std::vector<int16_t> weights(count * stride);
  Hash h;
  k.dots(at.data(), tiles, head_dim, queries.data(), count, s.data(), stride);
  h.add(s.data(), s.size());
  const int up = 30 - bits(static_cast<uint64_t>(head_dim) * 127 * 127);
  for (int j = 0; j < count; ++j) {
    int32_t* row = s.data() + j * stride;
    const auto query = static_cast<int32_t>(g.ints(1 << 29, INT32_MAX, 1)[0]);
    const int down = static_cast<int>(g.ints(-3, 20, 1)[0]), all = static_cast<int>(stride);
    const int from = j % 2 ? 0 : static_cast<int>(g.ints(0, TILE - 1, 1)[0]);
    const int32_t largest = k.scores(row, at.data(), tiles, head_dim, up, query, down, from,
                                     all - static_cast<int>(g.ints(0, 15, 1)[0] % (all - from)));
    h.one(largest);
    h.add(row, stride);
    int32_t total = 0;
    const int32_t peak = k.weigh(row, at.data(), tiles, head_dim, largest, &total);
    h.one(total);
    h.one(peak);
    h.add(row, stride);
    const int b = std::min(15, 24 - bits(static_cast<uint64_t>(stride - 1)));
    const int moved = bits(static_cast<uint32_t>(std::max(peak, 1))) - b;
    k.round(row, static_cast<int>(stride), b, moved, weights.data() + j * stride);
  }
  h.add(weights.data(), weights.size());
  std::vector<int32_t> acc(count * head_dim);
  k.mix(at.data(), tiles, head_dim, weights.data(), stride, count, acc.data());
  h.add(acc.data(), acc.size());
  report("attention", head_dim, tiles * 10 + count, h);
}

// `step` rows a call in turn: the anchor and more into lane 0, then all lanes.
void network(const char* variant, const Config& c, uint64_t seed, int wild, int lanes, int window, int anchor,
             int rows, int step) {
  const Model model(c, seed, wild);
  Network network(model.tensors, c, 1, variant);
  Cache cache(network, lanes, window, anchor, 64);
  Generator g{seed + 77};
  Hash h;
  const long long before = values;
  std::vector<int32_t> logits(static_cast<size_t>(rows + step) * c.vocab);
  for (int lane = 0; lane < lanes; ++lane) {
    const int all = lane == 0 ? rows : rows / 2;
    for (int i = 0; i < all; i += step) {
      const int n = std::min(step, all - i);
      std::vector<int32_t> tokens, at(n, lane);
      for (int64_t t : g.ints(0, c.vocab + c.extra - 1, n)) tokens.push_back(static_cast<int32_t>(t));
      network.forward(cache, n, at.data(), tokens.data(), logits.data());
      h.add(logits.data(), static_cast<size_t>(n) * c.vocab);
    }
  }
  if (lanes > 1) {  // one row of every lane in a call
    std::vector<int32_t> tokens, at;
    for (int64_t t : g.ints(0, c.vocab + c.extra - 1, lanes)) tokens.push_back(static_cast<int32_t>(t));
    for (int i = 0; i < lanes; ++i) at.push_back(i);
    logits.resize(static_cast<size_t>(lanes) * c.vocab);
    network.forward(cache, lanes, at.data(), tokens.data(), logits.data());
    h.add(logits.data(), logits.size());
  }
  logits_seen += values - before;
  report("network", static_cast<int>(seed), step, h);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const Kernels& k = kernels_by_name(argv[1]);
  Generator g{2024};
  for (int n = 16; n <= 16 * 20; n += 16) {
    Hash h;
    for (int i = 0; i < 4; ++i) steps(k, g, n, h);
    report("steps", n, 4, h);
  }
  const auto rows = {1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19,
                     20, 21, 23, 24, 25, 27, 28, 29, 31, 32, 33, 39, 47, 48, 49, 63, 64, 65};
  multiply(k, g, 16, 32, true, rows);
  multiply(k, g, 37, 45, false, rows);
  multiply(k, g, 80, 100, true, {1, 2, 3, 5, 8, 13, 17, 65});
  for (int outputs = 1; outputs <= 49; outputs += 4) multiply(k, g, outputs, 33 + outputs, outputs % 3 == 0, {1, 7, 17});
  for (int inputs : {1, 4, 5, 31, 32, 63, 64, 65, 127, 128, 129, 1000, 2049}) multiply(k, g, 33, inputs, true, {1, 6, 11});
  for (int head_dim : {32, 64, 96, 128, 256}) {
    for (int count = 1; count <= 4; ++count) {
      for (int tiles : {1, 2, 3, 5, 16}) attention(k, g, head_dim, tiles, count);
    }
  }
  for (int count = 1; count <= 4; ++count) attention(k, g, 64, 257, count);

  const char* v = argv[1];
  for (int step : {1, 2, 3, 5, 8, 13, 17, 64}) network(v, {48, 2, 4, 2, 32, 72, 101, 2, 42950}, 1, 0, 3, 16, 5, 65, step);
  network(v, {80, 2, 6, 2, 64, 200, 259, 3, 42950}, 2, 0, 2, 50, 21, 90, 33);    // three queries a key
  network(v, {100, 2, 5, 1, 32, 130, 77, 0, 42950}, 3, 0, 1, 64, 0, 70, 7);      // five, odd widths
  network(v, {64, 1, 2, 2, 128, 96, 64, 1, 42950}, 4, 0, 4, 30, 16, 40, 11);     // one
  network(v, {33, 2, 7, 1, 96, 31, 50, 1, 0}, 5, 0, 1, 40, 7, 60, 19);           // seven
  network(v, {48, 1, 4, 1, 256, 65, 17, 1, 42950}, 6, 0, 1, 20, 3, 40, 6);
  network(v, {32, 1, 2, 1, 32, 32, 40, 0, 42950}, 7, 0, 1, 2000, 40, 1100, 64);  // many keys
  network(v, {256, 2, 8, 2, 32, 700, 500, 2, 42950}, 8, 0, 1, 64, 8, 40, 40);    // wide
  for (uint64_t seed = 20; seed < 60; ++seed) {
    network(v, {48, 2, 4, 2, 32, 72, 101, 2, 42950}, seed, 20, 1, 8, 2, 12, 12);  // wild exponents
  }
  std::printf("%lld values, %lld of them logits\n", values, logits_seen);
  return 0;
}
