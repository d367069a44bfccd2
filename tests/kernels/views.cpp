// A frame whose views are made afar gives the bytes of one that makes them itself, both ways.
//
// No network: logits come from a generator that the lane's tokens seed, so that only views, walks and the
// online bias are at work.
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>

#include "textframe.hpp"

namespace {

using namespace lmc;

class NearViews;

class FakeCache : public EngineCache {
 public:
  FakeCache(uint32_t vocabulary, int lanes, int window, int anchor, bool afar)
      : vocabulary(vocabulary), state(static_cast<size_t>(lanes), 1), count(static_cast<size_t>(lanes)), window_(window), anchor_(anchor), afar_(afar) {}
  int lanes() const override { return static_cast<int>(state.size()); }
  int window() const override { return window_; }
  int anchor() const override { return anchor_; }
  int64_t length(int lane) const override { return count[static_cast<size_t>(lane)]; }
  void keep(int) override {}
  size_t bytes() const override { return 0; }
  std::unique_ptr<Views> views() override;

  void feed(int lane, int token, int32_t* logits) {
    uint64_t& s = state[static_cast<size_t>(lane)];
    s = (s ^ static_cast<uint64_t>(token)) * 6364136223846793005u + 1442695040888963407u;
    ++count[static_cast<size_t>(lane)];
    uint64_t x = s;
    for (uint32_t v = 0; v < vocabulary; ++v) {
      x = x * 6364136223846793005u + 1442695040888963407u;
      logits[v] = static_cast<int32_t>(x >> 44) - (1 << 19);
    }
    logits[x % vocabulary] += 9 << 16;
  }

  uint32_t vocabulary;
  std::vector<uint64_t> state;
  std::vector<int64_t> count;

 private:
  int window_, anchor_;
  bool afar_;
};

// What a GPU does, by the processor's own classes.
class NearViews : public Views {
 public:
  explicit NearViews(FakeCache& cache) : cache_(cache), n_(cache.vocabulary), bias_(n_) {}
  int most_rows() const override { return 97; }
  int most_run() const override { return 19; }
  int whole_run() const override { return 5; }
  void feed(int rows, const int32_t* lane, const int32_t* token) {
    logits_.resize(static_cast<size_t>(rows) * n_);
    for (int i = 0; i < rows; ++i) cache_.feed(lane[i], token[i], logits_.data() + static_cast<size_t>(i) * n_);
  }
  void answer(int rows, const int32_t* lane, const int32_t* token, const Walks& w, Masses* out) override {
    feed(rows, lane, token);
    size_t at = 0;
    for (int32_t step : w.steps) {
      std::vector<Distribution> biased(static_cast<size_t>(step), Distribution(n_));
      for (size_t i = 0; i < static_cast<size_t>(step); ++i) {
        const int32_t* z = logits_.data() + static_cast<size_t>(w.row[at + i]) * n_;
        Distribution plain(n_);
        plain.assign(z, nullptr);
        biased[i].assign(z, bias_.values());
        for (uint32_t r = w.first[at + i]; r < w.first[at + i + 1]; ++r)
          out[r] = {plain.mass(w.ranges[r].low, w.ranges[r].high), biased[i].mass(w.ranges[r].low, w.ranges[r].high)};
      }
      for (size_t i = 0; i < static_cast<size_t>(step); ++i) bias_.learn(biased[i], static_cast<uint32_t>(w.token[at + i]), 0, n_);
      at += static_cast<size_t>(step);
    }
  }
  void look(int rows, const int32_t* lane, const int32_t* token) override {
    feed(rows, lane, token);
    seen_.assign(bias_.values(), bias_.values() + n_);
    plain_.assign(static_cast<size_t>(rows), Distribution(n_));
    biased_ = plain_;
    for (size_t i = 0; i < plain_.size(); ++i) {
      plain_[i].assign(logits_.data() + i * n_, nullptr);
      biased_[i].assign(logits_.data() + i * n_, bias_.values());
    }
  }
  Sketch plain(int row) const override { return sketch(row, plain_, false); }
  Sketch biased(int row) const override { return sketch(row, biased_, true); }
  void learn(const int32_t* token) override {
    for (size_t i = 0; i < biased_.size(); ++i) bias_.learn(biased_[i], static_cast<uint32_t>(token[i]), 0, n_);
  }

 private:
  Sketch sketch(int row, const std::vector<Distribution>& of, bool with) const {
    const int32_t* z = logits_.data() + static_cast<size_t>(row) * n_;
    std::vector<uint64_t>& prefix = prefix_[with];
    prefix.clear();
    for (uint32_t v = 0;; v += Distribution::kBlock) {
      prefix.push_back(of[static_cast<size_t>(row)].mass(0, std::min(v, n_)));
      if (v >= n_) break;
    }
    int32_t best = INT32_MIN;
    for (uint32_t v = 0; v < n_; ++v) best = std::max(best, z[v] + (with ? seen_[v] >> kBiasShift : 0));
    return {n_, z, with ? seen_.data() : nullptr, best, prefix.data()};
  }
  FakeCache& cache_;
  uint32_t n_;
  Bias bias_;
  std::vector<int32_t> logits_, seen_;
  std::vector<Distribution> plain_, biased_;
  mutable std::vector<uint64_t> prefix_[2];
};

std::unique_ptr<Views> FakeCache::views() { return afar_ ? std::make_unique<NearViews>(*this) : nullptr; }

class FakeEngine : public Engine {
 public:
  FakeEngine(uint32_t vocabulary, bool afar) : Engine(config_of(vocabulary)), afar_(afar) {}
  const char* variant() const override { return "fake"; }
  size_t bytes() const override { return 0; }
  Logits logits(size_t rows) override { return {new int32_t[rows * static_cast<size_t>(vocab())], [](int32_t* p) { delete[] p; }}; }
  std::shared_ptr<Pool> pool() override { return std::make_shared<Pool>(2); }
  std::unique_ptr<EngineCache> open(int lanes, int window, int anchor, int) override {
    return std::make_unique<FakeCache>(static_cast<uint32_t>(vocab()), lanes, window, anchor, afar_);
  }
  void forward(EngineCache& cache, int rows, const int32_t* lane, const int32_t* token, int32_t* logits, Taps*) override {
    for (int i = 0; i < rows; ++i) static_cast<FakeCache&>(cache).feed(lane[i], token[i], logits + static_cast<size_t>(i) * static_cast<size_t>(vocab()));
  }
  void forward_tree(EngineCache&, int, const int32_t*, const int32_t*, const int32_t*, int32_t*, Taps*) override {}

 private:
  static Config config_of(uint32_t vocabulary) {
    Config c{};
    c.vocab = static_cast<int>(vocabulary);
    return c;
  }
  bool afar_;
};

// All single bytes, and random strings over few letters.
Vocabulary strings(uint32_t& seed) {
  std::vector<std::string> all;
  for (int b = 0; b < 256; ++b) all.push_back(std::string(1, static_cast<char>(b)));
  for (int i = 0; i < 700; ++i) {
    std::string s;
    for (seed = seed * 1664525 + 1013904223; s.size() < 2 + (seed >> 28) % 5;) s += static_cast<char>('a' + (seed = seed * 1664525 + 1013904223, seed >> 24) % 6);
    all.push_back(s);
  }
  std::sort(all.begin(), all.end(), [](const std::string& a, const std::string& b) {
    return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) { return static_cast<uint8_t>(x) < static_cast<uint8_t>(y); });
  });
  all.erase(std::unique(all.begin(), all.end()), all.end());
  std::vector<uint8_t> bytes;
  std::vector<uint32_t> offsets{0};
  for (const std::string& s : all) {
    bytes.insert(bytes.end(), s.begin(), s.end());
    offsets.push_back(static_cast<uint32_t>(bytes.size()));
  }
  return {bytes, offsets};
}

struct Write {
  RangeEncoder coder;
  int operator()(bool bit, uint32_t p) {
    coder.encode(bit, p);
    return bit;
  }
};
struct Read {
  explicit Read(const std::vector<uint8_t>& bytes) : coder(bytes.data(), bytes.size()) {}
  RangeDecoder coder;
  int operator()(bool, uint32_t p) { return coder.decode(p); }
};

}  // namespace

int main() {
  uint32_t seed = 5;
  const Vocabulary vocabulary = strings(seed);
  const uint32_t n = vocabulary.size();
  FakeEngine near(n, false), far(n, true);
  for (const auto& [lanes, anchor] : {std::pair{1u, 16u}, {7u, 20u}, {40u, 0u}}) {
    Layout layout{{}, 64, anchor};
    std::vector<int32_t> tokens;
    std::vector<uint32_t> counts;
    std::string text;
    for (uint32_t l = 0; l < lanes; ++l) {  // some are longer, in bytes and in tokens
      const uint32_t count = 300 + 40 * (l % 3);
      for (uint32_t i = 0; i < count; ++i) {
        seed = seed * 1664525 + 1013904223;
        const uint32_t token = (seed >> 8) % n;
        text.append(reinterpret_cast<const char*>(vocabulary.bytes(token)), vocabulary.length(token));
        tokens.push_back(static_cast<int32_t>(token));
      }
      counts.push_back(count);
      layout.ends.push_back(static_cast<uint32_t>(text.size()));
    }
    Pool pool(2);
    std::vector<uint8_t> streams[2];
    for (const bool afar : {false, true}) {
      Write bits;
      NetworkFrame<Write, mixer::Profile::network> frame(afar ? far : near, pool, vocabulary, layout, bits, mixer::Start{});
      frame.encode(tokens.data(), counts.data(), [](size_t) {});
      streams[afar] = std::move(bits.coder).bytes();
    }
    if (streams[0] != streams[1]) return std::puts("the encoders differ"), 1;
    for (const bool afar : {false, true}) {
      Read bits(streams[0]);
      NetworkFrame<Read, mixer::Profile::network> frame(afar ? far : near, pool, vocabulary, layout, bits, mixer::Start{});
      frame.decode([](size_t) {});
      if (std::memcmp(frame.bytes(), text.data(), text.size()) != 0) return std::printf("the decoder of views %s differs\n", afar ? "afar" : "nearby"), 1;
    }
    std::printf("%u lanes: %zu bytes\n", lanes, streams[0].size());
  }
}
