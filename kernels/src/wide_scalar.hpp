// Numbers of 64 bits side by side, for squares.hpp, in plain C++.
//
// Included by variants of photo_*.cpp and video_*.cpp in a namespace of their own: no #pragma once.

// kLanes numbers of 64 bits, of which products take the low half.
constexpr int kLanes = 8;
struct Wide {
  int64_t v[kLanes];
};
template <class F>
inline Wide lanes(F&& f) {
  Wide out;
  for (int i = 0; i < kLanes; ++i) out.v[i] = f(i);
  return out;
}
inline Wide all(int64_t v) { return lanes([=](int) { return v; }); }
inline Wide load(const int32_t* p) { return lanes([=](int i) { return int64_t{p[i]}; }); }
inline void store(int32_t* p, const Wide& a) {
  for (int i = 0; i < kLanes; ++i) p[i] = static_cast<int32_t>(a.v[i]);
}
inline Wide add(const Wide& a, const Wide& b) { return lanes([&](int i) { return a.v[i] + b.v[i]; }); }
inline Wide sub(const Wide& a, const Wide& b) { return lanes([&](int i) { return a.v[i] - b.v[i]; }); }
inline Wide times(const Wide& a, const Wide& b) {
  return lanes([&](int i) { return int64_t{static_cast<int32_t>(a.v[i])} * static_cast<int32_t>(b.v[i]); });
}
inline Wide most(const Wide& a, const Wide& b) { return lanes([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; }); }
inline Wide least(const Wide& a, const Wide& b) { return lanes([&](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; }); }
template <int k>
inline Wide lower(const Wide& a) {
  return lanes([&](int i) { return a.v[i] >> k; });
}
inline Wide raise(const Wide& a, const Wide& by) {
  return lanes([&](int i) { return static_cast<int64_t>(static_cast<uint64_t>(a.v[i]) << by.v[i]); });
}
inline Wide reciprocal(const Wide& d) {
  return lanes([&](int i) { return (int64_t{1} << 45) / d.v[i]; });
}
