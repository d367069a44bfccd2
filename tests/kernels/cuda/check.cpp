// Logits of the GPU against those of the processor, for random networks and a choice of lanes, anchors,
// windows, trees: prints what differs, and the time of passes with the shape of smollm2-135m.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "../random_model.hpp"
#include "engine.hpp"

extern "C" lmc::Engine* lmc_cuda_engine(const lmc::Tensors&, const lmc::Config&, int threads, int device, char* error, size_t room,
                                        bool* unusable);

namespace {

using namespace lmc;

std::unique_ptr<Engine> gpu(const Model& model, const Config& c) {
  char error[300];
  bool unusable;
  std::unique_ptr<Engine> made(lmc_cuda_engine(model.tensors, c, 1, 0, error, sizeof error, &unusable));
  if (!made) std::printf("no engine: %s\n", error), std::exit(2);
  return made;
}

struct Text {
  Generator g;
  std::vector<int32_t> operator()(int n, int vocab) {
    const auto v = g.ints(0, vocab - 1, static_cast<size_t>(n));
    return {v.begin(), v.end()};
  }
};

long wrong = 0, compared = 0;

void compare(const char* what, int rows, int vocab, const int32_t* a, const int32_t* b) {
  long here = 0;
  for (int64_t i = 0; i < int64_t{rows} * vocab; ++i) here += a[i] != b[i];
  compared += rows;
  wrong += here;
  if (here) std::printf("%s: %ld of %ld logits differ\n", what, here, static_cast<long>(int64_t{rows} * vocab));
}

void try_out(const Config& c, int lanes, int window, int anchor, uint64_t seed, int wild, const std::vector<int32_t>& reach,
             bool heads = false) {
  Model model(c, seed, wild);
  if (heads) model.heads(c);
  if (!reach.empty()) {
    model.words.emplace_back(reach);
    model.tensors["reach"] = {Type::i32, {c.layers}, model.words.back().data()};
  }
  Network cpu(model.tensors, c, 0);
  const auto other = gpu(model, c);
  Text text{{seed + 7}};
  const int most = 300;
  const auto one = cpu.open(lanes, window, anchor, 64), two = other->open(lanes, window, anchor, 64);
  const Logits a = cpu.logits(most), b = other->logits(most);
  const auto both = [&](const char* what, const std::vector<int32_t>& lane, const std::vector<int32_t>& token) {
    const int n = static_cast<int>(lane.size());
    cpu.forward(*one, n, lane.data(), token.data(), a.get());
    other->forward(*two, n, lane.data(), token.data(), b.get());
    compare(what, n, c.vocab, a.get(), b.get());
  };
  if (anchor > 0) both("anchor", std::vector<int32_t>(static_cast<size_t>(anchor), 0), text(anchor, c.vocab));
  for (int step = 0; step < 30; ++step) {  // from single rows of all lanes to long runs of one
    std::vector<int32_t> lane;
    const int run = 1 + step % 7 * 3;
    for (int l = 0; l < lanes && static_cast<int>(lane.size()) + run <= most; ++l)
      if (step % 3 == 0 || (l + step) % 3) lane.insert(lane.end(), static_cast<size_t>(run), l);
    both("rows", lane, text(static_cast<int>(lane.size()), c.vocab + c.extra));
  }
  for (int step = 0; step < 12; ++step) {  // trees, of which a way is kept
    std::vector<int32_t> lane, parent;
    std::vector<int> last;
    for (int l = 0; l < std::min(lanes, 6); ++l) {
      const int first = static_cast<int>(lane.size()), n = 1 + static_cast<int>(text.g.ints(0, 20, 1)[0]);
      for (int i = 0; i < n; ++i) {
        lane.push_back(l);
        const int64_t p = text.g.ints(-1, std::max(-1, i - 1), 1)[0];
        parent.push_back(p < 0 ? -1 : first + static_cast<int>(p));
      }
      last.push_back(first + static_cast<int>(text.g.ints(0, n - 1, 1)[0]));
    }
    const int n = static_cast<int>(lane.size());
    const auto token = text(n, c.vocab);
    cpu.forward_tree(*one, n, lane.data(), token.data(), parent.data(), a.get());
    other->forward_tree(*two, n, lane.data(), token.data(), parent.data(), b.get());
    compare("trees", n, c.vocab, a.get(), b.get());
    for (const int row : last) {
      one->keep(row);
      two->keep(row);
    }
  }
  std::vector<int32_t> lane(static_cast<size_t>(std::min(lanes, 200)));
  for (size_t i = 0; i < lane.size(); ++i) lane[i] = static_cast<int32_t>(i);
  both("after", lane, text(static_cast<int>(lane.size()), c.vocab));
}

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

void time_passes() {
  const Config c{576, 30, 9, 3, 64, 1536, 49152, 1, 1 << 20};
  Model model(c, 5);
  const auto engine = gpu(model, c);
  Text text{{9}};
  for (const int lanes : {1, 8, 16, 32, 64, 128, 256, 512, 1024}) {
    const int window = 512;
    const auto cache = engine->open(lanes, window, 0, 1);
    const Logits logits = engine->logits(static_cast<size_t>(lanes));
    std::vector<int32_t> lane(static_cast<size_t>(lanes));
    for (size_t i = 0; i < lane.size(); ++i) lane[i] = static_cast<int32_t>(i);
    const auto token = text(lanes, c.vocab);
    for (int i = 0; i < window; ++i) engine->forward(*cache, lanes, lane.data(), token.data(), nullptr);
    double best[2] = {1e9, 1e9};
    for (int with = 0; with < 2; ++with)
      for (int i = 0; i < 12; ++i) {
        const double began = now();
        engine->forward(*cache, lanes, lane.data(), token.data(), with ? logits.get() : nullptr);
        best[with] = std::min(best[with], now() - began);
      }
    std::printf("rows %d: %.3f ms, with logits %.3f ms, %.0f tokens/s\n", lanes, 1e3 * best[0], 1e3 * best[1], lanes / best[1]);
    std::fflush(stdout);
  }
}

// Frames side by side, each with a cache of its own.
void time_frames() {
  const Config c{576, 30, 9, 3, 64, 1536, 49152, 1, 1 << 20};
  Model model(c, 5);
  const auto engine = gpu(model, c);
  constexpr int kWindow = 512, kSteps = 20;
  for (const int frames : {1, 4, 8, 16})
    for (const int lanes : {64, 128, 256}) {
      std::vector<std::thread> threads;
      std::atomic<int> ready{0};
      const auto work = [&](int number) {
        const auto cache = engine->open(lanes, kWindow, 0, 1);
        const Logits logits = engine->logits(static_cast<size_t>(lanes));
        std::vector<int32_t> lane(static_cast<size_t>(lanes));
        for (size_t i = 0; i < lane.size(); ++i) lane[i] = static_cast<int32_t>(i);
        Text text{{static_cast<uint64_t>(number)}};
        const auto token = text(lanes, c.vocab);
        for (int i = 0; i < kWindow; ++i) engine->forward(*cache, lanes, lane.data(), token.data(), nullptr);
        engine->forward(*cache, lanes, lane.data(), token.data(), logits.get());
        for (++ready; ready < frames;) std::this_thread::yield();
        for (int i = 0; i < kSteps; ++i) engine->forward(*cache, lanes, lane.data(), token.data(), logits.get());
        ++ready;
        while (ready < 2 * frames) std::this_thread::yield();
      };
      for (int i = 0; i < frames; ++i) threads.emplace_back(work, i);
      while (ready < frames) std::this_thread::yield();
      const double began = now();
      while (ready < 2 * frames) std::this_thread::yield();
      const double took = now() - began;
      for (std::thread& t : threads) t.join();
      std::printf("%d frames of %d lanes: %.0f tokens/s\n", frames, lanes, double{kSteps} * frames * lanes / took);
      std::fflush(stdout);
    }
}

}  // namespace

int main(int argc, char** argv) {
  const Config small{64, 2, 4, 2, 32, 96, 300, 2, 1 << 20}, group{128, 2, 9, 3, 64, 160, 500, 1, 1 << 16};
  const Config wide{256, 3, 10, 1, 128, 700, 1000, 1, 1 << 22};
  if (argc < 2 || argv[1][0] != 't') {
    try_out(small, 5, 24, 0, 1, 0, {});
    try_out(small, 70, 40, 16, 2, 6, {});
    try_out(small, 1, 7, 5, 3, 3, {});
    try_out(group, 9, 100, 33, 4, 2, {0, 12});
    try_out(group, 200, 64, 20, 5, 4, {9, 0});
    try_out(wide, 12, 500, 0, 6, 1, {});
    try_out(small, 70, 40, 16, 7, 6, {}, true);
    try_out(group, 9, 100, 33, 8, 2, {0, 12}, true);
    try_out(wide, 12, 500, 3, 9, 1, {}, true);
    std::printf("%ld rows compared, %ld logits differ\n", compared, wrong);
  }
  if (argc > 1) time_passes();
  if (argc > 1 && argv[1][1] == 'f') time_frames();
  return wrong != 0;
}
