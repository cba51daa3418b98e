// Finds line and column of a byte in a document, fast for any length of line.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "trackbed/base/diagnostic.hpp"

namespace trackbed {

class TextIndex {
 public:
  // Keeps a view of `text`.
  explicit TextIndex(std::string_view text);

  // The place of the byte at `offset`; one past the end for what lies beyond.
  Position At(size_t offset) const;

 private:
  struct Place {
    uint32_t line = 0;
    uint32_t column = 0;  // code points
  };
  static void Advance(char c, Place* place);

  static constexpr size_t kStride = 128;
  std::string_view text_;
  std::vector<Place> checkpoints_;  // the place of each kStride-th byte
};

}  // namespace trackbed
