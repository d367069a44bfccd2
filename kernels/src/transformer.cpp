#include "transformer.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <stdexcept>

#include "engine_checks.hpp"

namespace lmc {
namespace {

constexpr int PASS_ROWS = 128;   // rows of one pass; bounds the buffers
constexpr int SPILL_ROWS = 6;    // from so many rows on, spilled weights are applied by vectors
constexpr int ATTEND_ROWS = 4;   // rows of one lane in one attention task
constexpr int EVERYBODY = -1;    // all workers of the pool
constexpr int PART_ROWS = 12;    // fewest rows that a worker takes for itself

// floor(sqrt(v)), bit by bit, without branches that nobody could foresee
uint64_t square_root(uint64_t v) {
  uint64_t root = 0;
  for (uint64_t bit = uint64_t{1} << 62; bit; bit >>= 2) {
    const uint64_t fits = -static_cast<uint64_t>(v >= root + bit);
    v -= (root + bit) & fits;
    root = (root >> 1) + (bit & fits);
  }
  return root;
}

int32_t sine(uint64_t phase) {
  const int32_t* table = sine_table();
  const int quarter = static_cast<int>(phase >> 62);
  uint64_t a = (phase >> 30) & 0xFFFFFFFF;
  if (quarter & 1) a = (uint64_t{1} << 32) - a;
  const size_t i = a >> 20;
  const int64_t f = static_cast<int64_t>(a & 0xFFFFF);
  const int64_t step = (table[i + 1] - table[i]) * f + (1 << 19);
  const int32_t value = table[i] + static_cast<int32_t>(step >> 20);
  return quarter & 2 ? -value : value;
}

// Lets the outputs take turns, so that no sum waits for the one before.
void interleave(std::vector<Spill>& spill) {
  std::vector<std::pair<int, Spill>> turns;
  int turn = 0;
  for (size_t i = 0; i < spill.size(); ++i) {
    turn = i > 0 && spill[i].n == spill[i - 1].n ? turn + 1 : 0;
    turns.emplace_back(turn, spill[i]);
  }
  std::stable_sort(turns.begin(), turns.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  for (size_t i = 0; i < spill.size(); ++i) spill[i] = turns[i].second;
}

// The depth (Kernels::limit) at which a matrix takes least time, guessed from some of its rows: more
// products for one widening, but also more weights to spill. In units of the inner loop at depth 1,
// measured on Zen 3.
int best_depth(const Kernels& kernels, const int8_t* w, int columns, int n) {
  constexpr int SAMPLES = 64;
  constexpr double LOOP[] = {1.0, 0.81, 0.72}, SPILLED = 12;
  std::vector<int8_t> row(round_up(columns, 32));
  double costs[3];
  for (int i = 0; i < 3; ++i) {
    std::vector<Spill> spill;
    for (int j = 0; j < SAMPLES; ++j) {
      std::memcpy(row.data(), w + static_cast<size_t>(int64_t{n} * j / SAMPLES) * columns, columns);
      kernels.limit(1 << i, row.data(), static_cast<int>(row.size()), 0, spill);
    }
    costs[i] = LOOP[i] + SPILLED * 2 * static_cast<double>(spill.size()) / (double{SAMPLES} * columns);
  }
  return 1 << (std::min_element(costs, costs + 3) - costs);
}

// Packs rows of w (order[i]: row of w that is output i, -1: none; source: columns). Throws when a sum
// could overflow.
Matrix pack(const Kernels& kernels, Pool& pool, Arena& arena, const std::string& name, const int8_t* w, int columns,
            const std::vector<int>& order, const int32_t* source, int k, const int32_t* scale, int exponent,
            const int32_t* bias) {
  Matrix m;
  m.n = static_cast<int>(order.size());
  m.kp = round_up(k, 32);
  m.tiles = round_up((m.n + TILE - 1) / TILE, kernels.group);
  m.exponent = exponent;
  if (kernels.limit) m.depth = best_depth(kernels, w, columns, *std::max_element(order.begin(), order.end()) + 1);
  const size_t outputs = static_cast<size_t>(m.tiles) * TILE;
  m.packed = arena.take(outputs * m.kp);
  m.correction = Buffer<int32_t>(outputs);
  m.scale = Buffer<int32_t>(outputs);
  if (bias) m.bias = Buffer<int32_t>(outputs);
  bool in_place = k <= columns;  // whether `source` is 0, 1, 2, ...
  for (int c = 0; source && in_place && c < k; ++c) in_place = source[c] == c;
  std::vector<int64_t> weights(m.tiles, 0);  // the largest sums of magnitudes
  std::vector<std::vector<Spill>> spill(m.tiles);
  pool.run(m.tiles, [&](int tile, int) {
    std::vector<int8_t> rows(static_cast<size_t>(TILE) * m.kp), row(m.kp);
    for (int i = 0; i < TILE; ++i) {
      const size_t n = static_cast<size_t>(tile) * TILE + i;
      if (n >= order.size() || order[n] < 0) continue;
      const int8_t* from = w + static_cast<size_t>(order[n]) * columns;
      if (in_place) {
        std::memcpy(row.data(), from, k);
      } else {
        for (int c = 0; c < k; ++c) row[c] = from[source[c]];
      }
      int magnitude = 0, total = 0;
      for (int c = 0; c < k; ++c) magnitude += std::abs(row[c]);
      weights[tile] = std::max(weights[tile], int64_t{magnitude});
      if (kernels.limit) kernels.limit(m.depth, row.data(), m.kp, i, spill[tile]);
      for (int c = 0; c < k; ++c) total += row[c];
      std::memcpy(rows.data() + static_cast<size_t>(i) * m.kp, row.data(), m.kp);
      m.correction[n] = -kernels.offset * total;
      m.scale[n] = scale[order[n]] << 7;
      if (bias) m.bias[n] = bias[order[n]];
    }
    int8_t* to = m.packed + static_cast<size_t>(tile) * m.kp * TILE;
    for (int c = 0; c < m.kp; c += 4) {
      for (int i = 0; i < TILE; ++i, to += 4) std::memcpy(to, rows.data() + static_cast<size_t>(i) * m.kp + c, 4);
    }
    interleave(spill[tile]);
  });
  m.up = head_room(name, *std::max_element(weights.begin(), weights.end()));
  if (kernels.limit) {
    m.spill_at.push_back(0);
    for (const auto& s : spill) {
      m.spill.insert(m.spill.end(), s.begin(), s.end());
      m.spill_at.push_back(static_cast<uint32_t>(m.spill.size()));
    }
  }
  return m;
}

size_t memory(const Matrix& m) {
  return static_cast<size_t>(m.tiles) * TILE * m.kp + 4 * (m.correction.size() + m.scale.size() + m.bias.size()) + m.spill.size() * sizeof(Spill);
}

std::vector<int> in_order(int n, int padded) {
  std::vector<int> order(padded, -1);
  for (int i = 0; i < n; ++i) order[i] = i;
  return order;
}

}  // namespace

struct Network::Norm : NormTensors {  // the gain is padded
  int k;                // outputs, padded
  bool in_place = true; // whether `source` is 0, 1, 2, ...

  Norm(const Reader& read, const std::string& name, int dim)
      : NormTensors(read, name, dim), k(round_up(static_cast<int>(source.size()), 32)) {
    for (size_t i = 0; i < source.size(); ++i) in_place = in_place && source[i] == static_cast<int32_t>(i);
    gain.resize(static_cast<size_t>(k), 0);
  }
};

struct Network::Layer {
  Norm attn_norm, ffn_norm;
  Matrix qkv, out, gate_up, down;
  HeadNormTensors q_norm, k_norm;
  int rotary;  // the table of its frequencies
};

// What a row needs during a pass. All widths are padded.
struct Network::Scratch {
  int dim, qkv, mixed, hidden;
  Buffer<int32_t> x, projected, attended, gates;
  std::vector<Cache::Row> rows;
  std::vector<int32_t> turns;  // [rows][tables][4][head_dim / 2]: cos, sin at the position; cos, sin for the anchor
  struct Worker {
    Buffer<int32_t> z, scores, acc, turned;
    Buffer<int16_t> weights;
    Buffer<int8_t> queries;
    std::vector<const uint8_t*> tiles;
    Acts acts;
  };
  std::vector<Worker> workers;
};

// Rows [first, first + count) of a pass, and who works on them: one worker, or all (EVERYBODY), who then
// share each loop.
struct Network::Part {
  int first, count, worker;
  Acts* acts;  // of these rows; its rows are counted from 0
};

Network::~Network() = default;

Network::Network(const Tensors& tensors, const Config& config, int threads, const std::string& variant)
    : Engine(checked(config)), kernels_(kernels_by_name(variant)), pool_(threads) {
  const Reader read{tensors};
  const Config& c = config_;
  const int ids = c.vocab + c.extra;
  const int8_t* embed = read.weights("embed.weight", ids, c.dim);
  embed_ = Buffer<int8_t>(static_cast<size_t>(ids) * c.dim);
  std::memcpy(embed_.data(), embed, embed_.size());
  embed_scale_ = Buffer<int32_t>(ids);
  std::memcpy(embed_scale_.data(), read.scales("embed", ids), embed_scale_.size() * 4);
  embed_exponent_ = read.exponent("embed");
  RotaryTensors rotary(read, c.layers, c.head_dim);
  rotary_ = std::move(rotary.tables);
  reach_.assign(c.layers, 0);
  if (read.has("reach")) {
    const int32_t* reach = read.ints("reach", c.layers, 0, 4096);
    reach_.assign(reach, reach + c.layers);
  }

  const auto matrix = [&](const std::string& name, int rows, int columns, const Norm* norm,
                          const std::vector<int>& order, const int8_t* weights = nullptr) {
    if (!weights) weights = read.weights(name + ".weight", rows, columns);
    const int32_t* bias = read.has(name + ".bias") ? read.ints(name + ".bias", rows, -LIMIT, LIMIT) : nullptr;
    return pack(kernels_, pool_, arena_, name, weights, columns, order, norm ? norm->source.data() : nullptr,
                norm ? static_cast<int>(norm->source.size()) : columns, read.scales(name, rows),
                read.exponent(name), bias);
  };

  const int width = c.heads * c.head_dim;
  const int qkv = width + 2 * c.kv_heads * c.head_dim;
  scratch_ = std::make_unique<Scratch>();
  Scratch& s = *scratch_;
  s.dim = round_up(c.dim, TILE);
  s.qkv = qkv;
  s.mixed = width;
  s.hidden = round_up(c.hidden, 32);
  std::vector<int> halves(2 * s.hidden, -1);  // gate rows, padding, up rows, padding
  for (int i = 0; i < c.hidden; ++i) {
    halves[i] = i;
    halves[s.hidden + i] = c.hidden + i;
  }
  int widest = std::max(width, s.hidden);
  for (int i = 0; i < c.layers; ++i) {
    const std::string at = "layers." + std::to_string(i) + ".";
    Norm first(read, at + "attn_norm", c.dim), second(read, at + "ffn_norm", c.dim);
    Matrix m1 = matrix(at + "qkv", qkv, c.dim, &first, in_order(qkv, qkv));
    Matrix m2 = matrix(at + "out", c.dim, width, nullptr, in_order(c.dim, s.dim));
    Matrix m3 = matrix(at + "gate_up", 2 * c.hidden, c.dim, &second, halves);
    Matrix m4 = matrix(at + "down", c.dim, c.hidden, nullptr, in_order(c.dim, s.dim));
    widest = std::max({widest, first.k, second.k});
    layers_.push_back(Layer{std::move(first), std::move(second), std::move(m1), std::move(m2), std::move(m3), std::move(m4),
                            HeadNormTensors(read, at + "q_norm", c.head_dim), HeadNormTensors(read, at + "k_norm", c.head_dim),
                            rotary.of_layer[i]});
  }
  final_ = std::make_unique<Norm>(read, "final_norm", c.dim);
  widest = std::max(widest, final_->k);
  head_ = std::make_unique<Matrix>(matrix("head", c.vocab, c.dim, final_.get(), in_order(c.vocab, c.vocab),
                                          read.has("head.weight") ? nullptr : embed));

  s.x = Buffer<int32_t>(static_cast<size_t>(PASS_ROWS) * s.dim);
  s.projected = Buffer<int32_t>(static_cast<size_t>(PASS_ROWS) * s.qkv);
  s.attended = Buffer<int32_t>(static_cast<size_t>(PASS_ROWS) * s.mixed);
  s.gates = Buffer<int32_t>(static_cast<size_t>(PASS_ROWS) * 2 * s.hidden);
  s.workers.resize(pool_.threads());
  for (auto& w : s.workers) {
    constexpr size_t keys = 4096 + 4 * TILE + PASS_ROWS;
    w.acts.q = Buffer<uint8_t>(static_cast<size_t>(PASS_ROWS) * widest);
    w.acts.transposed = Buffer<int8_t>(static_cast<size_t>(PASS_ROWS) * widest);
    w.acts.scale.resize(PASS_ROWS);
    w.acts.exponent.resize(PASS_ROWS);
    w.z = Buffer<int32_t>(widest);
    w.scores = Buffer<int32_t>(QUERIES * keys);
    w.weights = Buffer<int16_t>(QUERIES * keys);
    w.acc = Buffer<int32_t>(QUERIES * 256);
    w.turned = Buffer<int32_t>(256);
    w.queries = Buffer<int8_t>(2 * QUERIES * 256);
    w.tiles.reserve(keys / TILE);
  }
}

size_t Network::bytes() const {
  size_t total = embed_.size() + embed_scale_.size() * 4 + memory(*head_);
  for (const Layer& l : layers_) total += memory(l.qkv) + memory(l.out) + memory(l.gate_up) + memory(l.down);
  return total;
}

void Network::embed(int token, int32_t* x) const {
  const int8_t* w = embed_.data() + static_cast<size_t>(token) * config_.dim;
  const int64_t scale = embed_scale_[token];
  const int e = embed_exponent_ - 16;
  for (int i = 0; i < config_.dim; ++i) {
    int64_t v = w[i] * scale;
    if (e > 0) {
      const int down = std::min(e, 62);
      v = (v + (int64_t{1} << (down - 1))) >> down;
    } else {
      v *= int64_t{1} << std::min(-e, 30);
    }
    x[i] = static_cast<int32_t>(std::clamp<int64_t>(v, -LIMIT, LIMIT));
  }
}

namespace {

// `quantise` of ARITHMETIC.md, with the largest magnitude known.
struct Scaled {
  int nb;
  int32_t mantissa, reciprocal;
  explicit Scaled(int32_t peak) {
    peak = std::max(peak, 1);
    nb = 31 - bits(static_cast<uint32_t>(peak));
    mantissa = peak << nb;
    reciprocal = static_cast<int32_t>((int64_t{127} << 54) / mantissa);
  }
};

int room(int32_t peak) { return 30 - bits(static_cast<uint32_t>(std::max(peak, 1))); }

}  // namespace

// Quantises one row of n values with `fraction` fraction bits.
void Network::activate(const int32_t* z, int n, int fraction, int row, Acts& out) {
  const Scaled s(kernels_.peak(z, n));
  kernels_.narrow(z, n, s.nb, s.reciprocal, kernels_.offset, out.q.data() + static_cast<size_t>(row) * out.kp);
  out.scale[row] = mul31(s.mantissa, C127);
  out.exponent[row] = 6 + s.nb + fraction;
}

template <class F>
void Network::loop(const Part& part, int tasks, F&& fn) {
  if (part.worker == EVERYBODY) return pool_.run(tasks, std::forward<F>(fn));
  for (int i = 0; i < tasks; ++i) fn(i, part.worker);
}

namespace {

// The root mean square of ARITHMETIC.md, "Norm": r * 2^(s - j - 16).
struct RootMeanSquare {
  int s, j, nx;  // nx: head room of the values
  uint64_t r;
  RootMeanSquare(const Kernels& kernels, const int32_t* x, int padded, int n, int64_t eps) {
    const int32_t m = std::max(1, kernels.peak(x, padded));
    s = std::max(0, bits(static_cast<uint32_t>(m)) - 24);
    const int64_t total = kernels.squares(x, padded, s);
    const uint64_t v = static_cast<uint64_t>(std::max<int64_t>(1, total / n + (eps >> (2 * s))));
    j = (62 - bits(v)) >> 1;
    r = square_root(v << (2 * j));
    nx = 31 - bits(static_cast<uint32_t>(m));
  }
};

}  // namespace

// The norms of the query and key heads of one row, in place.
void Network::normalise_heads(const Layer& layer, int row) {
  const int hd = config_.head_dim;
  int32_t* y = scratch_->projected.data() + static_cast<size_t>(row) * scratch_->qkv;
  const auto heads = [&](const HeadNormTensors& norm, int count) {
    for (int i = 0; i < count; ++i, y += hd) {
      if (norm.gain.empty()) continue;
      const RootMeanSquare rms(kernels_, y, hd, hd, config_.eps);
      kernels_.gain(y, norm.gain.data(), hd, rms.nx);
      const int64_t inverse = std::min<int64_t>((int64_t{1} << 61) / static_cast<int64_t>(rms.r), std::numeric_limits<int32_t>::max());
      kernels_.finish(y, hd, static_cast<int32_t>(inverse), rms.nx + norm.exponent + rms.s - rms.j - 17, y);
    }
  };
  heads(layer.q_norm, config_.heads);
  heads(layer.k_norm, config_.kv_heads);
}

const int32_t* Network::turns(int layer, int row) const {
  return scratch_->turns.data() +
         (static_cast<size_t>(row) * rotary_.size() + static_cast<size_t>(layers_[layer].rotary)) * 2 * config_.head_dim;
}

void Network::normalise(const Norm& norm, const Part& part) {
  const Scratch& scratch = *scratch_;
  Acts& out = *part.acts;
  out.kp = norm.k;
  loop(part, part.count, [&](int row, int worker) {
    const int32_t* x = scratch.x.data() + static_cast<size_t>(part.first + row) * scratch.dim;
    int32_t* z = scratch.workers[worker].z.data();
    const RootMeanSquare rms(kernels_, x, scratch.dim, config_.dim, config_.eps);
    const int k = static_cast<int>(norm.source.size());
    if (norm.in_place) {
      std::memcpy(z, x, static_cast<size_t>(k) * sizeof *z);
    } else {
      for (int i = 0; i < k; ++i) z[i] = x[norm.source[i]];
    }
    for (int i = k; i < norm.k; ++i) z[i] = 0;
    const Scaled q(kernels_.gain(z, norm.gain.data(), norm.k, rms.nx));
    kernels_.narrow(z, norm.k, q.nb, q.reciprocal, kernels_.offset, out.q.data() + static_cast<size_t>(row) * norm.k);
    const int32_t d = static_cast<int32_t>((static_cast<uint64_t>(q.mantissa) << 30) / rms.r);
    out.scale[row] = mul31(d, C127);
    out.exponent[row] = 5 + q.nb + rms.nx + norm.exponent + rms.s - rms.j;
  });
}

// out: the outputs of row 0 of the pass.
void Network::multiply(const Matrix& m, const Part& part, int32_t* out, size_t stride, bool add) {
  Acts& a = *part.acts;
  if (a.stride_t > 0) {
    loop(part, (part.count + TILE - 1) / TILE, [&](int i, int) { kernels_.transpose(a, i * TILE, (i + 1) * TILE); });
  }
  out += static_cast<size_t>(part.first) * stride;
  const int groups = m.tiles / kernels_.group;
  // A few tasks for each thread, so that an interrupted one does not hold up the others.
  const int tasks = part.worker != EVERYBODY || pool_.threads() == 1 ? 1 : std::min(groups, 4 * pool_.threads());
  loop(part, tasks, [&](int i, int) {
    const int first = static_cast<int>(int64_t{groups} * i / tasks) * kernels_.group;
    const int last = static_cast<int>(int64_t{groups} * (i + 1) / tasks) * kernels_.group;
    kernels_.matmul(m, a, part.count, first, last, out, stride, add);
  });
}

// Writes a key and a value of one row.
void Network::remember(Cache& cache, int layer, int row, int head, int worker) {
  Scratch& s = *scratch_;
  const int hd = config_.head_dim, half = hd / 2;
  const TileShape shape{hd};
  const Cache::Row& r = s.rows[row];
  const int64_t position = r.position;
  const int at = static_cast<int>(position % TILE);
  const int32_t* const turns = this->turns(layer, row);
  int32_t* turned = s.workers[worker].turned.data();
  alignas(64) uint8_t bytes[256];
  const int32_t* key = s.projected.data() + static_cast<size_t>(row) * s.qkv + s.mixed + head * hd;
  const int32_t* value = key + config_.kv_heads * hd;
  uint8_t* tile = position < cache.anchor_ ? cache.fixed(layer, head, position / TILE)
                                           : cache.seen(layer, r.lane, r.branch, head, position / TILE);
  if (r.copy >= 0 && at > 0) {
    const uint8_t* from = r.from >= 0 ? cache.copied(layer, head, r.from) : cache.own(layer, r.lane, head, position / TILE);
    std::memcpy(tile, from, cache.tile_bytes_);
  }
  const int n1 = room(kernels_.peak(key, hd));
  const int32_t peak = std::max(1, kernels_.turn(key, half, n1, turns, turns + half, turned));
  const Scaled k(peak);
  kernels_.narrow(turned, hd, k.nb, k.reciprocal, 0, bytes);
  for (int c = 0; c < hd; c += 4) std::memcpy(tile + c * TILE + at * 4, bytes + c, 4);
  const int left = 7 - n1;
  const int64_t wide = left >= 0 ? int64_t{peak} << left : (int64_t{peak} + (int64_t{1} << (-left - 1))) >> -left;
  const int32_t key_scale = static_cast<int32_t>(std::min<int64_t>(wide, std::numeric_limits<int32_t>::max()));
  std::memcpy(tile + shape.key_scales() + at * 4, &key_scale, 4);

  const int32_t largest = std::max(1, kernels_.peak(value, hd));
  const Scaled v(largest);
  kernels_.narrow(value, hd, v.nb, v.reciprocal, 0, bytes);
  uint8_t* to = tile + shape.values() + (at / 2) * 2 * hd + at % 2;
  for (int c = 0; c < hd; ++c) to[2 * c] = bytes[c];
  const int32_t value_scale =
      static_cast<int32_t>(std::min<int64_t>(int64_t{largest} << 6, std::numeric_limits<int32_t>::max()));
  std::memcpy(tile + shape.value_scales() + at * 4, &value_scale, 4);
}

// All heads of one group for some consecutive rows of a lane, and of a branch of its tree.
void Network::attend(const Cache& cache, int layer, int first, int count, int kv_head, int worker) {
  Scratch& s = *scratch_;
  Scratch::Worker& w = s.workers[worker];
  const int hd = config_.head_dim, half = hd / 2, group = config_.heads / config_.kv_heads;
  const int up = 30 - bits(static_cast<uint64_t>(hd) * 127 * 127);
  // A layer with a reach sees the newest keys alone; the anchor is to it what lies before the lane.
  const bool local = reach_[layer] > 0;
  const int64_t anchor = cache.anchor_, window = cache.window(layer);
  const int total = count * group;
  for (int q0 = 0; q0 < total; q0 += QUERIES) {
    const int queries = std::min(QUERIES, total - q0);
    const int row0 = first + q0 / group, row1 = first + (q0 + queries - 1) / group;
    const int lane = s.rows[row0].lane, branch = s.rows[row0].branch;
    const int64_t low = std::max(anchor, s.rows[row0].position - window + 1), high = s.rows[row1].position;
    const int64_t low_tile = low / TILE;
    w.tiles.clear();
    const int64_t first_fixed = local ? std::max<int64_t>(0, s.rows[row0].position - window + 1) / TILE : 0;
    for (int64_t t = first_fixed; t * TILE < std::min(anchor, high + 1); ++t) {
      w.tiles.push_back(cache.fixed(layer, kv_head, t));
    }
    const int fixed = static_cast<int>(w.tiles.size());
    for (int64_t t = low_tile; low <= high && t <= high / TILE; ++t) {
      w.tiles.push_back(cache.seen(layer, lane, branch, kv_head, t));
    }
    const int tiles = static_cast<int>(w.tiles.size()), own = tiles - fixed;
    const size_t stride = static_cast<size_t>(tiles) * TILE;

    // The queries as the lane's own keys see them, then as the anchor does.
    int32_t factor[2][QUERIES];
    int down[2][QUERIES];
    for (int i = 0; i < queries; ++i) {
      const int row = first + (q0 + i) / group, head = kv_head * group + (q0 + i) % group;
      const int32_t* y = s.projected.data() + static_cast<size_t>(row) * s.qkv + head * hd;
      const int n1 = room(kernels_.peak(y, hd));
      for (int far = 0; far < 2; ++far) {
        if (far ? fixed == 0 : own == 0) continue;
        const int32_t* const turns = this->turns(layer, row) + (far && !local ? 2 * half : 0);
        const Scaled q(kernels_.turn(y, half, n1, turns, turns + half, w.turned.data()));
        kernels_.narrow(w.turned.data(), hd, q.nb, q.reciprocal, 0,
                        reinterpret_cast<uint8_t*>(w.queries.data()) + (far * QUERIES + i) * hd);
        factor[far][i] = mul31(q.mantissa, C16129);
        down[far][i] = up + n1 + q.nb - 23;
      }
    }
    int32_t* scores = w.scores.data();
    const uint8_t* const* own_tiles = w.tiles.data() + fixed;
    if (fixed) kernels_.dots(w.tiles.data(), fixed, hd, w.queries.data() + QUERIES * hd, queries, scores, stride);
    if (own) kernels_.dots(own_tiles, own, hd, w.queries.data(), queries, scores + fixed * TILE, stride);

    int32_t sums[QUERIES];
    int moved[QUERIES];
    for (int i = 0; i < queries; ++i) {
      const int64_t position = s.rows[first + (q0 + i) / group].position;
      const int64_t start = std::max(anchor, position - window + 1);
      // Of the anchor's keys, counted from the first tile that is looked at.
      const int limit = fixed * TILE;
      const int before = local ? std::clamp<int>(static_cast<int>(position - window + 1 - first_fixed * TILE), 0, limit) : 0;
      const int near = std::max(before, std::min(limit, static_cast<int>(std::min(anchor, position + 1) - first_fixed * TILE)));
      const int visible = near - before + static_cast<int>(std::max<int64_t>(0, position + 1 - start));
      int32_t* row = scores + i * stride;
      int32_t largest = MASKED;
      if (fixed) largest = kernels_.scores(row, w.tiles.data(), fixed, hd, up, factor[1][i], down[1][i], before, near);
      if (own) {
        const int from = static_cast<int>(std::min<int64_t>(start - low_tile * TILE, own * TILE));
        const int to = std::max(from, static_cast<int>(position + 1 - low_tile * TILE));
        largest = std::max(largest, kernels_.scores(row + fixed * TILE, own_tiles, own, hd, up, factor[0][i],
                                                    down[0][i], from, to));
      }
      const int32_t peak = kernels_.weigh(row, w.tiles.data(), tiles, hd, largest, &sums[i]);
      const int b = std::min(15, 24 - bits(static_cast<uint64_t>(visible - 1)));
      moved[i] = bits(static_cast<uint32_t>(std::max(peak, 1))) - b;
      kernels_.round(row, tiles * TILE, b, moved[i], w.weights.data() + i * stride);
    }
    kernels_.mix(w.tiles.data(), tiles, hd, w.weights.data(), stride, queries, w.acc.data());
    for (int i = 0; i < queries; ++i) {
      const int row = first + (q0 + i) / group, head = kv_head * group + (q0 + i) % group;
      const int n = bits(static_cast<uint32_t>(sums[i]));
      const int64_t inverse = (int64_t{1} << 61) / (static_cast<int64_t>(sums[i]) << (31 - n));
      const int32_t m = mul31(static_cast<int32_t>(std::min<int64_t>(inverse, std::numeric_limits<int32_t>::max())), C127);
      kernels_.finish(w.acc.data() + i * hd, hd, m, n - 8 - moved[i],
                      s.attended.data() + static_cast<size_t>(row) * s.mixed + head * hd);
    }
  }
}

// Where there are lanes enough, each worker takes some for itself: nobody waits for anybody, and while
// one reads a cache from memory another one computes. Else all share each loop.
std::vector<Network::Part> Network::divide(int rows, const int32_t* lane) {
  Scratch& s = *scratch_;
  const int workers = pool_.threads();
  std::vector<Part> parts;
  for (int i = 0, first = 0; i < workers; ++i) {
    int last = static_cast<int>(int64_t{rows} * (i + 1) / workers);
    while (first < last && last < rows && lane[last] == lane[last - 1]) ++last;  // a lane's rows see each other's keys
    if (last - first < PART_ROWS || (last - first) * workers > rows + rows / 4) {
      return {{0, rows, EVERYBODY, &s.workers[0].acts}};
    }
    parts.push_back({first, last - first, i, &s.workers[i].acts});
    first = last;
  }
  return parts;
}

// What the rows of a pass begin with.
void Network::begin(Cache& cache, int rows, const int32_t* token) {
  Scratch& s = *scratch_;
  const int half = config_.head_dim / 2;
  s.turns.resize(static_cast<size_t>(rows) * rotary_.size() * 4 * half);
  pool_.run(rows, [&](int row, int) {
    embed(token[row], s.x.data() + static_cast<size_t>(row) * s.dim);
    const int64_t position = s.rows[row].position;
    const int64_t far = std::min<int64_t>(position, cache.anchor_ + cache.window_ - 1);
    int32_t* to = s.turns.data() + static_cast<size_t>(row) * rotary_.size() * 4 * half;
    for (const std::vector<uint64_t>& frequency : rotary_) {
      for (int i = 0; i < half; ++i) {
        const uint64_t near_phase = static_cast<uint64_t>(position) * frequency[i];
        const uint64_t far_phase = static_cast<uint64_t>(far) * frequency[i];
        to[i] = sine(near_phase + (uint64_t{1} << 62));
        to[half + i] = sine(near_phase);
        to[2 * half + i] = sine(far_phase + (uint64_t{1} << 62));
        to[3 * half + i] = sine(far_phase);
      }
      to += 4 * half;
    }
  });
}

// The rest of a pass.
void Network::finish(Cache& cache, int rows, const int32_t* lane, int32_t* logits, float* streams) {
  const std::vector<Part> parts = divide(rows, lane);
  if (parts[0].worker == EVERYBODY) return run(parts[0], cache, logits, streams);
  pool_.run(static_cast<int>(parts.size()), [&](int i, int) { run(parts[i], cache, logits, streams); });
}

// All layers for some rows.
void Network::run(const Part& part, Cache& cache, int32_t* logits, float* streams) {
  Scratch& s = *scratch_;
  struct Task {
    int first, count;
  };
  std::vector<Task> tasks;
  for (int i = part.first; i < part.first + part.count; ++i) {
    if (tasks.empty() || s.rows[i - 1].lane != s.rows[i].lane || s.rows[i - 1].branch != s.rows[i].branch ||
        tasks.back().count == ATTEND_ROWS) {
      tasks.push_back({i, 0});
    }
    ++tasks.back().count;
  }
  Acts& acts = *part.acts;
  acts.stride_t = kernels_.limit && part.count >= SPILL_ROWS ? PASS_ROWS : 0;
  for (int l = 0; l < config_.layers; ++l) {
    const Layer& layer = layers_[l];
    normalise(layer.attn_norm, part);
    multiply(layer.qkv, part, s.projected.data(), s.qkv, false);
    if (!layer.q_norm.gain.empty() || !layer.k_norm.gain.empty()) {
      loop(part, part.count, [&](int i, int) { normalise_heads(layer, part.first + i); });
    }
    if (cache.branches_.empty()) {
      loop(part, part.count, [&](int i, int worker) {
        for (int head = 0; head < config_.kv_heads; ++head) remember(cache, l, part.first + i, head, worker);
      });
    } else {  // a branch begins with a copy of what rows before it wrote
      loop(part, config_.kv_heads, [&](int head, int worker) {
        for (int i = 0; i < part.count; ++i) remember(cache, l, part.first + i, head, worker);
      });
    }
    loop(part, static_cast<int>(tasks.size()) * config_.kv_heads, [&](int i, int worker) {
      const Task& task = tasks[i / config_.kv_heads];
      attend(cache, l, task.first, task.count, i % config_.kv_heads, worker);
    });
    acts.kp = s.mixed;
    loop(part, part.count, [&](int i, int) {
      activate(s.attended.data() + static_cast<size_t>(part.first + i) * s.mixed, s.mixed, 16, i, acts);
    });
    multiply(layer.out, part, s.x.data(), s.dim, true);
    normalise(layer.ffn_norm, part);
    multiply(layer.gate_up, part, s.gates.data(), 2 * s.hidden, false);
    acts.kp = s.hidden;
    loop(part, part.count, [&](int i, int) {
      int32_t* z = s.gates.data() + static_cast<size_t>(part.first + i) * 2 * s.hidden;
      const int32_t* u = z + s.hidden;
      const int nz = room(kernels_.silu(z, s.hidden, sigmoid_table()));
      const int nu = room(kernels_.peak(u, s.hidden));
      kernels_.product(z, nz, u, nu, s.hidden);
      activate(z, s.hidden, nz + nu + 1, i, acts);
    });
    multiply(layer.down, part, s.x.data(), s.dim, true);
    for (size_t t = 0; streams && t < tapped_->size(); ++t) {
      if ((*tapped_)[t] != l) continue;
      for (int i = part.first; i < part.first + part.count; ++i) {
        float* const to = streams + (static_cast<size_t>(i) * tapped_->size() + t) * config_.dim;
        for (int k = 0; k < config_.dim; ++k) to[k] = static_cast<float>(s.x[static_cast<size_t>(i) * s.dim + k]) / 65536;
      }
    }
  }
  if (logits) {
    normalise(*final_, part);
    multiply(*head_, part, logits, config_.vocab, false);
  }
}

Cache& Network::mine(EngineCache& given) const {
  auto* const cache = dynamic_cast<Cache*>(&given);
  if (!cache || cache->network_ != this) refuse("the cache belongs to another network");
  return *cache;
}

float* Network::streams(Taps* taps, int rows) {
  if (!taps) return nullptr;
  tapped_ = &taps->layers;
  taps->streams.resize(static_cast<size_t>(rows) * taps->layers.size() * config_.dim);
  return taps->streams.data();
}

Logits Network::logits(size_t rows) {
  const auto memory = std::make_shared<Buffer<int32_t>>(rows * static_cast<size_t>(config_.vocab));
  return {memory, memory->data()};
}

std::unique_ptr<EngineCache> Network::open(int lanes, int window, int anchor, int chunk) {
  return std::make_unique<Cache>(*this, lanes, window, anchor, chunk);
}

void Network::forward(EngineCache& given, int rows, const int32_t* lane, const int32_t* token, int32_t* logits, Taps* taps) {
  Cache& cache = mine(given);
  check_rows(config_, cache, rows, lane, token);
  float* const streams = this->streams(taps, rows);
  cache.branches_.clear();
  cache.tree_.clear();
  Scratch& s = *scratch_;
  for (int done = 0; done < rows;) {
    int run = 0;
    s.rows.clear();
    while (done + static_cast<int>(s.rows.size()) < rows && s.rows.size() < PASS_ROWS) {
      const int l = lane[done + s.rows.size()];
      run = !s.rows.empty() && s.rows.back().lane == l ? run + 1 : 1;
      if (run > cache.chunk_) break;
      s.rows.push_back({l, cache.length_[l]++});
    }
    const int n = static_cast<int>(s.rows.size());
    begin(cache, n, token + done);
    finish(cache, n, lane + done, logits ? logits + static_cast<size_t>(done) * config_.vocab : nullptr,
           streams ? streams + static_cast<size_t>(done) * taps->layers.size() * config_.dim : nullptr);
    done += n;
  }
}

void Network::forward_tree(EngineCache& given, int rows, const int32_t* lane, const int32_t* token, const int32_t* parent,
                           int32_t* logits, Taps* taps) {
  Cache& cache = mine(given);
  check_rows(config_, cache, rows, lane, token);
  check_trees(cache, cache.chunk_, rows, lane, parent);
  if (rows > PASS_ROWS) refuse("the trees have too many rows");
  cache.grow(rows, lane, parent);
  scratch_->rows = cache.tree_;
  begin(cache, rows, token);
  finish(cache, rows, lane, logits, streams(taps, rows));
}

Cache::Cache(const Network& network, int lanes, int window, int anchor, int chunk)
    : network_(&network), window_(window), anchor_(anchor), chunk_(chunk), heads_(network.config().kv_heads) {
  check_cache(lanes, window, anchor, chunk);
  chunk_ = std::min(chunk_, PASS_ROWS);
  size_t ring = 0;  // tiles
  for (int reach : network.reach_) {
    windows_.push_back(reach > 0 ? std::min(window, reach) : window);
    ring_at_.push_back(ring);
    ring_tiles_.push_back((windows_.back() + chunk_ + TILE - 2) / TILE + 1);
    ring += static_cast<size_t>(lanes) * heads_ * ring_tiles_.back();
  }
  anchor_tiles_ = (anchor + TILE - 1) / TILE;
  tile_bytes_ = TileShape{network.config().head_dim}.bytes();
  const size_t heads = static_cast<size_t>(network.config().layers) * heads_;
  length_.assign(lanes, anchor);
  length_[0] = 0;
  ring_ = Buffer<uint8_t>(ring * tile_bytes_);
  anchors_ = Buffer<uint8_t>(heads * anchor_tiles_ * tile_bytes_);
}

// Divides a tree into chains of rows, and says which tiles each chain needs for itself.
void Cache::grow(int rows, const int32_t* lane, const int32_t* parent) {
  tree_.clear();
  branches_.clear();
  int copies = 0;
  std::vector<char> followed(rows, 0);
  for (int i = 0; i < rows; ++i) {
    const int p = parent[i];
    const bool root = p < 0, first = i == 0 || lane[i] != lane[i - 1];
    Row row{lane[i], root ? length_[lane[i]] : tree_[p].position + 1, root ? -1 : tree_[p].branch};
    const int64_t first_tile = length_[row.lane] / TILE;
    const auto tile = static_cast<size_t>(row.position / TILE - first_tile);
    if (root ? !first : followed[p]) {  // a new branch
      Branch branch{first_tile, std::vector<int>(tile + 1, -1)};
      if (row.branch >= 0) {
        const std::vector<int>& from = branches_[row.branch].copy;
        std::copy_n(from.begin(), std::min(tile, from.size()), branch.copy.begin());
        if (tile < from.size()) row.from = from[tile];
      }
      row.branch = static_cast<int>(branches_.size());
      row.copy = branch.copy[tile] = copies++;
      branches_.push_back(std::move(branch));
    } else if (row.branch >= 0 && tile >= branches_[row.branch].copy.size()) {  // a branch's next tile
      row.copy = copies++;
      branches_[row.branch].copy.push_back(row.copy);
    }
    if (!root) followed[p] = 1;
    tree_.push_back(row);
  }
  if (copies > 0 && copies_.size() == 0) {
    copies_ = Buffer<uint8_t>(static_cast<size_t>(chunk_) * lanes() * windows_.size() * heads_ * tile_bytes_);
  }
}

void Cache::keep(int row) {
  if (row < 0 || row >= static_cast<int>(tree_.size())) refuse("there is no such row to keep");
  const Row last = tree_[row];
  if (last.lane < 0) refuse("a way of that lane's tree has been kept");
  if (last.branch >= 0) {
    const Branch& branch = branches_[last.branch];
    for (size_t i = 0; i < branch.copy.size() && branch.first_tile + static_cast<int64_t>(i) <= last.position / TILE; ++i) {
      if (branch.copy[i] < 0) continue;
      for (int layer = 0; layer < static_cast<int>(windows_.size()); ++layer) {
        for (int head = 0; head < heads_; ++head) {
          std::memcpy(own(layer, last.lane, head, branch.first_tile + static_cast<int64_t>(i)),
                      copied(layer, head, branch.copy[i]), tile_bytes_);
        }
      }
    }
  }
  length_[last.lane] = last.position + 1;
  for (Row& r : tree_) {
    if (r.lane == last.lane) r.lane = -1;
  }
}

size_t Cache::bytes() const { return ring_.size() + anchors_.size() + copies_.size(); }

}  // namespace lmc
