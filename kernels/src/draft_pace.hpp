// What passes of the network cost.
#pragma once
#include <algorithm>
#include <chrono>

namespace lmc::draft {

inline double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// How long passes take, and so what a row must promise: time = base + each * rows, a fading regression.
class Pace {
 public:
  // A pass of the network; `all`: with the guesses before it; tokens: that it gave.
  void pass(int rows, double seconds, double all, int tokens) {
    if (weight_ > 4 && seconds > 3 * time(rows)) {  // somebody else had the processor
      all -= seconds - 3 * time(rows);
      seconds = 3 * time(rows);
    }
    const double n = rows;
    for (double* sum : {&weight_, &n_, &t_, &nn_, &nt_, &spent_, &done_}) *sum *= kFade;
    weight_ += 1;
    n_ += n;
    t_ += seconds;
    nn_ += n * n;
    nt_ += n * seconds;
    spent_ += all;
    done_ += tokens;
    const double spread = nn_ - n_ * n_ / weight_;
    const double mean = t_ / weight_;
    double each = kUsual * mean;
    if (spread > 0.5 * weight_) each = (nt_ - n_ * t_ / weight_) / spread;
    each_ = std::clamp(each, 0.005 * mean, 0.5 * mean);
    base_ = mean - each_ * n_ / weight_;
  }
  // The least probability at which a row is worth its time.
  float threshold() const {
    if (done_ <= 0) return 0.2f;
    return static_cast<float>(std::clamp(each_ / token(), 0.02, 0.6));
  }
  double token() const { return done_ > 0 ? spent_ / done_ : 0; }  // seconds of one
  double row() const { return each_; }                                // seconds of one more
  double time(int rows) const { return base_ + each_ * rows; }

 private:
  static constexpr double kFade = 0.98, kUsual = 0.06;
  double weight_ = 0, n_ = 0, t_ = 0, nn_ = 0, nt_ = 0;
  double base_ = 0, each_ = 0, spent_ = 0, done_ = 0;
};

}  // namespace lmc::draft
