// The loops of the text codec: lanes in lockstep, each token a walk down the
// trie, each decision mixed and range-coded. Encoder and decoder share the walk
// and what is done at each decision, so they cannot disagree about the order of
// anything; the encoder only walks ahead of the mixer.
//
// The order of coding (FORMAT.md, "Network frames"): lane 0 codes alone until
// it has fed `anchor` tokens; then, step by step, every unfinished lane codes
// one token, in lane order. Within a step all lanes see the online bias as it
// was when the step began; the mixer learns after every decision.
#pragma once
#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#include "buffer.hpp"
#include "distribution.hpp"
#include "draft.hpp"
#include "engine.hpp"
#include "mixer.hpp"
#include "rangecoder.hpp"
#include "threads.hpp"
#include "vocabulary.hpp"
#include "walk.hpp"

namespace lmc {

// The stream cannot have come from the encoder.
struct Damaged : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Called now and then with the bytes done so far; may throw to stop the work.
using Progress = std::function<void(size_t done)>;

struct Layout {
  std::vector<uint32_t> ends;  // where the bytes of each lane end; the lanes are decoded in lockstep
  uint32_t window;             // tokens that a token attends to
  uint32_t anchor;             // first inputs of lane 0 that every lane attends to
  uint32_t lanes() const { return static_cast<uint32_t>(ends.size()); }
};

// A start chooses the plan: without one `network`, with one `network2`.
template <class Bits, mixer::Profile kProfile>
class NetworkFrame {
 public:
  NetworkFrame(Engine& network, Pool& pool, const Vocabulary& vocabulary, const Layout& layout, Bits& bits, mixer::Start start)
      : network_(network),
        vocabulary_(vocabulary),
        pool_(pool),
        layout_(layout),
        bits_(bits),
        mixer_(layout.ends, start),
        bias_(vocabulary.size()),
        notes_(layout.lanes()),
        lanes_(layout.lanes()) {
    for (uint32_t l = 0; l < layout.lanes(); ++l) {
      lanes_[l].number = l;
      lanes_[l].position = l == 0 ? 0 : layout.ends[l - 1];
      lanes_[l].end = layout.ends[l];
      lanes_[l].input = vocabulary.size();  // begin of text
    }
  }

  // Encoding: `tokens` spell each lane's bytes, `counts` of them in each lane.
  // Rows of many steps go through the network at once; nothing but speed
  // depends on how many.
  void encode(const int32_t* tokens, const uint32_t* counts, const Progress& progress) {
    for (Lane& lane : lanes_) {
      lane.tokens = tokens;
      tokens += counts[lane.number];
      lane.count = counts[lane.number];
    }
    // The network reads its weights and the keys of a lane once for all the steps of a pass.
    const uint32_t chunk = std::clamp(kLogits / vocabulary_.size(), 256u, 1024u);
    const auto cache = open(chunk);
    if (const auto views = cache->views()) return encode_afar(*views, progress);
    prepare(static_cast<size_t>(pool_.threads()));
    const Logits logits = network_.logits(std::max(chunk, layout_.lanes()));
    size_t done = 0;
    uint64_t steps = 0;
    while (find_active(steps)) {
      const uint64_t deep = take_rows(steps, chunk, chunk);
      for (Lane* lane : active_) lane->logits = logits.get() + lane->row * vocabulary_.size();
      network_.forward(*cache, static_cast<int>(rows_.size()), rows_.data(), inputs_.data(), logits.get());
      for (uint64_t step = 0; step < deep && !active_.empty(); ++step) {
        done += encode_step(active_);
        progress(done);
        find_active(++steps);
      }
    }
  }

  // Decoding, one step of all lanes at a time.
  void decode(const Progress& progress) {
    const auto cache = open(1);
    if (const auto views = cache->views()) return decode_afar(*views, progress);
    prepare(lanes_.size());
    const Logits logits = network_.logits(layout_.lanes());
    size_t done = 0;
    for (uint64_t steps = 0; find_active(steps); ++steps) {
      take_inputs();
      for (Lane* lane : active_) lane->logits = logits.get() + lane->row * vocabulary_.size();
      network_.forward(*cache, static_cast<int>(rows_.size()), rows_.data(), inputs_.data(), logits.get());
      done += decode_step(active_);
      progress(done);
    }
  }

  // Decoding a single lane, with guesses: a pass looks at a tree of tokens that may come next, and the text
  // is decoded as far as it follows the tree.
  void decode_guessing(draft::Drafter& drafter, const Progress& progress) {
    prepare(1);
    const auto cache = open(draft::kRows);
    const Logits logits = network_.logits(draft::kRows);
    Lane& lane = lanes_[0];
    size_t done = 0;
    while (find_active(0)) {
      // The first tokens, to which all others will look back, are not guessed.
      const bool guess = cache->length(0) >= static_cast<int64_t>(layout_.anchor);
      const std::vector<draft::Node>& nodes = drafter.grow(lane.input, guess);
      rows_.assign(nodes.size(), 0);
      inputs_.clear();
      parents_.clear();
      for (const draft::Node& node : nodes) {
        inputs_.push_back(static_cast<int32_t>(node.token));
        parents_.push_back(node.parent);
      }
      const int count = static_cast<int>(nodes.size());
      if (guess) {
        network_.forward_tree(*cache, count, rows_.data(), inputs_.data(), parents_.data(), logits.get(),
                              drafter.taps());
      } else {
        network_.forward(*cache, count, rows_.data(), inputs_.data(), logits.get(), drafter.taps());
      }
      drafter.looked();
      int node = 0;
      for (int next = 0; next >= 0 && find_active(0);) {
        node = next;
        lane.logits = logits.get() + static_cast<size_t>(node) * vocabulary_.size();
        done += decode_step(active_);
        next = drafter.follow(node, lane.input);
      }
      if (guess) cache->keep(node);
      progress(done);
    }
  }

  const uint8_t* bytes() const { return mixer_.buffer(); }
  std::vector<uint32_t> learned() const { return mixer_.learned(); }

 private:
  static constexpr uint32_t kLogits = 1u << 23;  // of one pass of the encoder; of large vocabularies 256 rows

  // `chunk`: tokens of a lane in a pass.
  std::unique_ptr<EngineCache> open(uint32_t chunk) const {
    return network_.open(static_cast<int>(layout_.lanes()), static_cast<int>(layout_.window), static_cast<int>(layout_.anchor),
                         static_cast<int>(chunk));
  }

  // Memory for the views, `own` of the network's own; for frames that make them here.
  void prepare(size_t own) {
    plain_.assign(own, Distribution(vocabulary_.size()));
    biased_.assign(lanes_.size(), Distribution(vocabulary_.size()));
  }

  struct Lane {
    uint32_t number = 0, position = 0, end = 0;
    uint32_t input = 0;  // the token to feed next
    const int32_t* tokens = nullptr;
    uint32_t count = 0, coded = 0;
    uint32_t ahead = 0;               // the position up to which walks are asked for
    size_t row = 0;                   // its first one in the pass
    const int32_t* logits = nullptr;  // of the token to code next
  };

  // Lane 0 codes alone until the others can look back at its anchor.
  bool alone(uint64_t steps) const { return layout_.lanes() > 1 && steps < layout_.anchor; }
  // Finds the lanes that code a token after so many steps; false at the end.
  bool find_active(uint64_t steps) {
    active_.clear();
    for (Lane& lane : lanes_) {
      if (lane.position != lane.end && (lane.number == 0 || !alone(steps))) active_.push_back(&lane);
    }
    if (active_.empty() && alone(steps)) throw Damaged("lane 0 ends before its anchor");
    return !active_.empty();
  }

  // The rows that the encoder's next pass feeds: of each active lane its input and the known tokens behind
  // it, as many as these bounds allow, whole runs of a lane if there is room for one. Returns the steps that they serve.
  uint64_t take_rows(uint64_t steps, uint32_t most, uint32_t most_run, uint32_t whole_run = 1) {
    uint64_t deep = std::clamp<uint64_t>(most / active_.size(), 1, most_run);
    if (deep > whole_run) deep -= deep % whole_run;
    if (alone(steps)) deep = std::min<uint64_t>(deep, layout_.anchor - steps);
    rows_.clear();
    inputs_.clear();
    for (Lane* lane : active_) {
      lane->row = rows_.size();
      for (uint64_t step = 0; step < std::min<uint64_t>(deep, lane->count - lane->coded); ++step) {
        rows_.push_back(static_cast<int32_t>(lane->number));
        inputs_.push_back(step == 0 ? static_cast<int32_t>(lane->input) : lane->tokens[lane->coded + step - 1]);
      }
    }
    return deep;
  }
  // Those of the decoder's next step.
  void take_inputs() {
    rows_.clear();
    inputs_.clear();
    for (Lane* lane : active_) {
      lane->row = rows_.size();
      rows_.push_back(static_cast<int32_t>(lane->number));
      inputs_.push_back(static_cast<int32_t>(lane->input));
    }
  }

  // Encoding where the views are made afar: a pass is asked at once for all that its walks will want.
  void encode_afar(Views& views, const Progress& progress) {
    size_t done = 0;
    uint64_t steps = 0;
    while (find_active(steps)) {
      const uint64_t deep = take_rows(steps, static_cast<uint32_t>(views.most_rows()), static_cast<uint32_t>(views.most_run()),
                                      static_cast<uint32_t>(views.whole_run()));
      walks_.clear();
      ahead_.clear();
      for (Lane* lane : active_) lane->ahead = lane->position;
      for (uint64_t step = 0; step < deep; ++step) {
        const size_t before = walks_.row.size();
        for (Lane* lane : active_) {
          if (lane->coded + step < lane->count) ask(*lane, step);
        }
        if (walks_.row.size() == before) break;  // all lanes end here
        walks_.steps.push_back(static_cast<int32_t>(walks_.row.size() - before));
      }
      masses_.resize(walks_.ranges.size());
      views.answer(static_cast<int>(rows_.size()), rows_.data(), inputs_.data(), walks_, masses_.data());
      Ahead next;
      for (uint64_t step = 0; step < deep && !active_.empty(); ++step) {
        for (Lane* lane : active_) {
          const uint32_t before = lane->position;
          lane->input = static_cast<uint32_t>(lane->tokens[lane->coded++]);
          code_ahead(*lane, next);
          mixer_.token_done(lane->number, lane->input);
          done += lane->position - before;
        }
        progress(done);
        find_active(++steps);
      }
    }
  }

  // Writes down what a lane's token of a later step will be coded by.
  void ask(Lane& lane, uint64_t step) {
    const auto token = static_cast<uint32_t>(lane.tokens[lane.coded + step]);
    walks_.row.push_back(static_cast<int32_t>(lane.row + step));
    walks_.token.push_back(static_cast<int32_t>(token));
    Note note{ahead_, lane.end - lane.ahead};
    const Asked asked{walks_.ranges, vocabulary_.size()};
    walk(vocabulary_, asked, Asked{none_, 0}, note, token);
    ahead_.push_back({Decision::kDone, false, {}});
    walks_.first.push_back(static_cast<uint32_t>(walks_.ranges.size()));
    lane.ahead += vocabulary_.length(token);
  }

  // Codes what was written down, one token from `next` on, by the masses that have come.
  struct Ahead {
    size_t decision = 0, mass = 0;
  };
  void code_ahead(Lane& lane, Ahead& next) {
    Decide decide{*this, lane};
    Masses whole = masses_[next.mass++];
    for (;; ++next.decision) {
      Decision& d = ahead_[next.decision];
      if (d.kind == Decision::kEnd || d.kind == Decision::kBit) {
        const Masses part = masses_[next.mass++];
        d.n = {ratio(part.plain, whole.plain), ratio(part.biased, whole.biased)};
        whole = d.kind == Decision::kBit && d.outcome ? part : Masses{whole.plain - part.plain, whole.biased - part.biased};
      }
      if (d.kind == Decision::kDone) break;
      code(decide, d);
    }
    ++next.decision;
  }

  // Decoding, likewise.
  void decode_afar(Views& views, const Progress& progress) {
    size_t done = 0;
    std::vector<int32_t> coded;
    for (uint64_t steps = 0; find_active(steps); ++steps) {
      take_inputs();
      views.look(static_cast<int>(rows_.size()), rows_.data(), inputs_.data());
      coded.clear();
      for (Lane* lane : active_) {
        done += decode_token(*lane, views.plain(static_cast<int>(lane->row)), views.biased(static_cast<int>(lane->row)));
        coded.push_back(static_cast<int32_t>(lane->input));
      }
      views.learn(coded.data());
      progress(done);
    }
  }

  template <class View>
  size_t decode_token(Lane& lane, const View& plain, const View& biased) {
    Decide decide{*this, lane};
    const uint32_t before = lane.position;
    lane.input = walk(vocabulary_, plain, biased, decide, 0);
    mixer_.token_done(lane.number, lane.input);
    return lane.position - before;
  }

  // What walk() asks for, done with the mixer and the coder.
  struct Decide {
    NetworkFrame& frame;
    Lane& lane;
    bool full() const { return lane.position == lane.end; }
    void begin_byte(bool inside) {
      if (full()) throw Damaged("a token passes the end of its lane");
      frame.mixer_.begin_byte(lane.number, inside);
      ++lane.position;
    }
    bool end(const NetworkBit& n, bool known) {
      const int bit = frame.bits_(known, frame.mixer_.predict_end({n.plain, n.biased}));
      frame.mixer_.update_end(bit);
      if (bit) --lane.position;
      return bit != 0;
    }
    bool bit(const NetworkBit& n, bool known) {
      const int bit = frame.bits_(known, frame.mixer_.predict_bit({n.plain, n.biased}));
      frame.mixer_.update_bit(bit);
      return bit != 0;
    }
    void skip(int bit) { frame.mixer_.skip_bit(bit); }
  };

  // A decision of a known token, written down until its turn to be coded.
  struct Decision {
    enum Kind : uint8_t { kByte, kInside, kEnd, kBit, kSkip, kDone } kind;
    bool outcome;
    NetworkBit n;
  };

  struct Note {
    std::vector<Decision>& list;
    uint32_t left;  // bytes up to the end of the lane
    bool full() const { return left == 0; }
    void begin_byte(bool inside) {
      list.push_back({inside ? Decision::kInside : Decision::kByte, false, {}});
      --left;
    }
    bool end(const NetworkBit& n, bool known) { return write(Decision::kEnd, known, n); }
    bool bit(const NetworkBit& n, bool known) { return write(Decision::kBit, known, n); }
    void skip(int bit) { write(Decision::kSkip, bit != 0, {}); }
    bool write(typename Decision::Kind kind, bool outcome, const NetworkBit& n) {
      list.push_back({kind, outcome, n});
      return outcome;
    }
  };

  // In place of a view of a known token: writes down which masses it is asked for.
  struct Asked {
    std::vector<Range>& list;
    uint32_t vocabulary;  // 0: of the other view
    uint64_t total() const { return mass(0, vocabulary); }
    uint64_t mass(uint32_t low, uint32_t high) const {
      if (vocabulary != 0) list.push_back({low, high});
      return 0;
    }
  };

  static void code(Decide& decide, const Decision& d) {
    switch (d.kind) {
      case Decision::kByte: decide.begin_byte(false); break;
      case Decision::kInside: decide.begin_byte(true); break;
      case Decision::kEnd: decide.end(d.n, d.outcome); break;
      case Decision::kBit: decide.bit(d.n, d.outcome); break;
      case Decision::kSkip: decide.skip(d.outcome); break;
      case Decision::kDone: break;
    }
  }

  // Tasks for the pool; those of a single lane take some 20 us, less than to wake somebody.
  template <class F>
  void for_lanes(const std::vector<Lane*>& active, int tasks, F&& task) {
    if (active.size() > 1) return pool_.run(tasks, std::forward<F>(task));
    for (int i = 0; i < tasks; ++i) task(i, 0);
  }

  // Codes one token of every active lane; returns the bytes they spell.
  size_t decode_step(const std::vector<Lane*>& active) {
    for_lanes(active, static_cast<int>(2 * active.size()), [&](int task, int) {
      const Lane& lane = *active[static_cast<size_t>(task / 2)];
      if (task % 2 == 0) {
        plain_[lane.number].assign(lane.logits, nullptr);
      } else {
        biased_[lane.number].assign(lane.logits, bias_.values());
      }
    });
    size_t spelt = 0;
    for (Lane* lane : active) spelt += decode_token(*lane, plain_[lane->number], biased_[lane->number]);
    for_lanes(active, bias_parts(), [&](int part, int) { learn(active, part); });
    return spelt;
  }

  // The same for known tokens. The mixer alone cannot go on before a decision is coded: the lanes walk
  // at once, and one thread codes what they wrote down while the others learn.
  size_t encode_step(const std::vector<Lane*>& active) {
    pool_.run(static_cast<int>(active.size()), [&](int task, int worker) {
      Lane& lane = *active[static_cast<size_t>(task)];
      Distribution &plain = plain_[static_cast<size_t>(worker)], &biased = biased_[lane.number];
      plain.assign(lane.logits, nullptr);
      biased.assign(lane.logits, bias_.values());
      lane.logits += vocabulary_.size();
      lane.input = static_cast<uint32_t>(lane.tokens[lane.coded++]);
      notes_[lane.number].clear();
      Note note{notes_[lane.number], lane.end - lane.position};
      walk(vocabulary_, plain, biased, note, lane.input);
    });
    size_t spelt = 0;
    pool_.run(1 + bias_parts(), [&](int task, int) {
      if (task > 0) return learn(active, task - 1);
      for (Lane* lane : active) {
        const uint32_t before = lane->position;
        Decide decide{*this, *lane};
        for (const Decision& d : notes_[lane->number]) code(decide, d);
        mixer_.token_done(lane->number, lane->input);
        spelt += lane->position - before;
      }
    });
    return spelt;
  }

  int bias_parts() const { return static_cast<int>((vocabulary_.size() + kBiasPart - 1) / kBiasPart); }
  void learn(const std::vector<Lane*>& active, int part) {
    const uint32_t low = static_cast<uint32_t>(part) * kBiasPart;
    const uint32_t high = std::min(vocabulary_.size(), low + kBiasPart);
    for (const Lane* lane : active) bias_.learn(biased_[lane->number], lane->input, low, high);
  }

  static constexpr uint32_t kBiasPart = 8192;  // tokens of one task, whole vectors

  Engine& network_;
  const Vocabulary& vocabulary_;
  Pool& pool_;
  const Layout layout_;
  Bits& bits_;
  mixer::PlannedMixer<kProfile> mixer_;
  Bias bias_;
  // The two views of the network on each lane's next token: its own, for the encoder only one for each
  // thread; and with the online bias.
  std::vector<Distribution> plain_, biased_;
  std::vector<std::vector<Decision>> notes_;  // of each lane's token
  std::vector<Lane> lanes_;
  std::vector<Lane*> active_;
  std::vector<int32_t> rows_, inputs_, parents_;  // of a pass
  // Where the views are made afar: what the walks of a pass ask and decide, and the answers.
  Walks walks_;
  std::vector<Range> none_;
  std::vector<Decision> ahead_;
  std::vector<Masses> masses_;
};

}  // namespace lmc
