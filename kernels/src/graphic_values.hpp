// What a context remembers about pixels: the last values that came in it.
#pragma once
#include <cstddef>
#include <cstdint>

#include "buffer.hpp"

namespace lmc::graphic {

// The newest three different values of a context, likeliest first, and how the
// list did: the newest three outcomes (place of the value that came, 3: none of
// them) behind a leading one, and how often in a row the first one came.
struct ValueSlot {
  uint32_t value[3];
  uint16_t check;
  uint8_t past;  // 0: an empty slot, 1: nothing came yet
  uint8_t run;   // of the first value, at most 255

  bool known() const { return past > 1; }
  int place(uint32_t v) const { return v == value[0] ? 0 : v == value[1] ? 1 : v == value[2] ? 2 : 3; }

  // After the value `came`.
  void learn(uint32_t came) {
    if (!known()) {
      value[0] = value[1] = value[2] = came;
      run = 1;
      past = 4;
      return;
    }
    const int at = place(came);
    if (at == 0) {
      run = static_cast<uint8_t>(run + (run < 255));
    } else if (run >= 4) {
      // One exception does not overthrow a value that was right for long.
      run = static_cast<uint8_t>(run / 4);
      if (at != 1) {
        value[2] = value[1];
        value[1] = came;
      }
    } else {
      if (at != 1) value[2] = value[1];
      value[1] = value[0];
      value[0] = came;
      run = 1;
    }
    past = static_cast<uint8_t>(past < 32 ? past << 2 | at : 64 | ((past << 2 | at) & 63));
  }
};

// Slots in lines of four (64 bytes); a context may lie in any of its line's.
class ValueTable {
 public:
  explicit ValueTable(int log2_slots) : slots_(size_t{1} << log2_slots), shift_(32 - (log2_slots - 2)) {}

  ValueSlot* line(uint32_t hash) const { return slots_.data() + (static_cast<size_t>(hash >> shift_) << 2); }

  // The slot of a context in its line: its own, else the one with the least to lose, emptied.
  static ValueSlot* find(ValueSlot* line, uint16_t check) {
    ValueSlot* worst = line;
    for (int i = 0; i < 4; ++i) {
      ValueSlot* slot = line + i;
      if (slot->check == check && slot->past != 0) return slot;
      if (slot->past == 0 || slot->run < worst->run) worst = slot;
      if (slot->past == 0) break;
    }
    *worst = ValueSlot{{0, 0, 0}, check, 1, 0};
    return worst;
  }

 private:
  Buffer<ValueSlot> slots_;
  int shift_;
};

}  // namespace lmc::graphic
