// Search for well-connected devices.
#include "resources/connected_set.hpp"

#include <absl/container/inlined_vector.h>

#include <algorithm>
#include <array>
#include <compare>

namespace trackbed {
namespace {

constexpr size_t kMaxExact = 16;
constexpr uint32_t kBest = 0xffff;  // no link is better

struct Score {
  uint32_t worst = kBest;
  uint64_t sum = 0;
  friend auto operator<=>(const Score&, const Score&) = default;

  Score With(uint16_t link) const { return {std::min<uint32_t>(worst, link), sum + link}; }
};

class ExactSearch {
 public:
  ExactSearch(const LinkTable& links, std::span<const uint32_t> among,
              std::span<const uint32_t> fixed, std::span<uint32_t> result)
      : links_(links), among_(among), fixed_(fixed), result_(result) {
    for (const uint32_t a : among) {
      for (const uint32_t b : among) {
        if (a != b) best_link_ = std::max(best_link_, links.Between(a, b));
      }
      for (const uint32_t b : fixed) best_link_ = std::max(best_link_, links.Between(a, b));
    }
  }

  void Run() { Extend(0, 0, Score()); }

 private:
  void Extend(size_t next, size_t count, Score score) {
    if (count == result_.size()) {
      if (!found_ || score > best_) {
        found_ = true;
        best_ = score;
        std::copy_n(current_.begin(), count, result_.begin());
      }
      return;
    }
    // What is still to come adds so many links, none better than the best of all.
    const size_t before = fixed_.size() + count;
    const size_t after = fixed_.size() + result_.size();
    const uint64_t to_come = (after * (after - 1) - before * (before - 1)) / 2;
    const Score bound = {std::min<uint32_t>(score.worst, best_link_),
                         score.sum + to_come * best_link_};
    if (found_ && bound <= best_) return;
    for (size_t i = next; i + (result_.size() - count) <= among_.size(); ++i) {
      Score extended = score;
      for (const uint32_t device : fixed_) {
        extended = extended.With(links_.Between(among_[i], device));
      }
      for (size_t j = 0; j < count; ++j) {
        extended = extended.With(links_.Between(among_[i], current_[j]));
      }
      current_[count] = among_[i];
      Extend(i + 1, count + 1, extended);
    }
  }

  const LinkTable& links_;
  const std::span<const uint32_t> among_;
  const std::span<const uint32_t> fixed_;
  const std::span<uint32_t> result_;
  std::array<uint32_t, kMaxExact> current_{};
  uint16_t best_link_ = 0;
  bool found_ = false;
  Score best_;
};

void Grow(const LinkTable& links, std::span<const uint32_t> among, std::span<const uint32_t> fixed,
          std::span<uint32_t> result) {
  Score best;
  bool found = false;
  absl::InlinedVector<uint32_t, 64> set;
  // How each of `among` is connected to the set so far.
  absl::InlinedVector<Score, 64> reach(among.size());
  absl::InlinedVector<bool, 64> used(among.size());
  for (size_t seed = 0; seed < among.size(); ++seed) {
    set.clear();
    for (size_t i = 0; i < among.size(); ++i) {
      used[i] = false;
      reach[i] = Score();
      for (const uint32_t device : fixed) reach[i] = reach[i].With(links.Between(among[i], device));
    }
    Score score;
    for (size_t next = seed; set.size() < result.size();) {
      used[next] = true;
      set.push_back(among[next]);
      score = {std::min(score.worst, reach[next].worst), score.sum + reach[next].sum};
      size_t nearest = among.size();
      for (size_t i = 0; i < among.size(); ++i) {
        if (used[i]) continue;
        reach[i] = reach[i].With(links.Between(among[i], among[next]));
        if (nearest == among.size() || reach[i] > reach[nearest]) nearest = i;
      }
      next = nearest;
    }
    if (!found || score > best) {
      found = true;
      best = score;
      std::copy(set.begin(), set.end(), result.begin());
    }
  }
}

}  // namespace

void FindConnectedSet(const LinkTable& links, std::span<const uint32_t> among,
                      std::span<const uint32_t> fixed, std::span<uint32_t> result) {
  if (among.size() <= kMaxExact) {
    ExactSearch(links, among, fixed, result).Run();
  } else {
    Grow(links, among, fixed, result);
  }
}

}  // namespace trackbed
