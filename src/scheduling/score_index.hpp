// The highest score among many nodes, kept up to date: a tree of maxima, sixteen to one.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace trackbed {

class ScoreIndex {
 public:
  static constexpr int32_t kAbsent = INT32_MIN;

  // All `size` scores are absent afterwards.
  void Reset(size_t size) {
    levels_.clear();
    do {
      const size_t blocks = (size + kFanOut - 1) / kFanOut;
      levels_.emplace_back(std::max<size_t>(blocks, 1) * kFanOut, kAbsent);
      size = blocks;
    } while (size > 1);
  }

  int32_t at(size_t position) const { return levels_[0][position]; }

  void Set(size_t position, int32_t score) {
    for (std::vector<int32_t>& level : levels_) {
      const int32_t before = level[position];
      if (before == score) return;
      level[position] = score;
      const size_t block = position / kFanOut;
      // A lower value than the block's highest before matters only if it was that one.
      const int32_t* values = &level[block * kFanOut];
      score = Highest(values);
      position = block;
    }
  }

  int32_t highest() const { return Highest(levels_.back().data()); }

  // The lowest position from `from` on whose score is at least `score`; size_t(-1): none.
  size_t FirstAtLeast(int32_t score, size_t from = 0) const {
    // Up until a later neighbour has such a score, then down to the first that has it.
    size_t level = 0;
    size_t position = from;
    while (true) {
      const std::vector<int32_t>& values = levels_[level];
      const size_t end = std::min((position / kFanOut + 1) * kFanOut, values.size());
      while (position < end && values[position] < score) ++position;
      if (position < end) break;
      if (++level == levels_.size()) return static_cast<size_t>(-1);
      position = (position - 1) / kFanOut + 1;
      if (position >= levels_[level].size()) return static_cast<size_t>(-1);
    }
    while (level > 0) {
      const std::vector<int32_t>& values = levels_[--level];
      position *= kFanOut;
      while (values[position] < score) ++position;
    }
    return position;
  }

  size_t FirstHighest() const {
    size_t position = 0;
    for (size_t level = levels_.size(); level-- > 0;) {
      const int32_t* values = &levels_[level][position * kFanOut];
      const int32_t highest = Highest(values);
      size_t first = 0;
      while (values[first] != highest) ++first;
      position = position * kFanOut + first;
    }
    return position;
  }

 private:
  static constexpr size_t kFanOut = 16;
  static int32_t Highest(const int32_t* values) {
    int32_t highest = values[0];
    for (size_t i = 1; i < kFanOut; ++i) highest = std::max(highest, values[i]);
    return highest;
  }
  std::vector<std::vector<int32_t>> levels_;  // the scores first, the root's block last
};

}  // namespace trackbed
