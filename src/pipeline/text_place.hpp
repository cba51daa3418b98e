// Says where in a text something stands.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace trackbed {

// Lines and columns from 1; columns count code points.
struct TextPlace {
  uint32_t line = 1;
  uint32_t column = 1;

  // "column 5", or "line 2, column 5" after the first line.
  std::string ToString() const {
    const std::string text = "column " + std::to_string(column);
    return line == 1 ? text : "line " + std::to_string(line) + ", " + text;
  }
};

// Turns offsets into places. Remembers the last one, so that asking in ascending order costs one
// pass over the text in all.
class TextPlaces {
 public:
  explicit TextPlaces(std::string_view text) : text_(text) {}

  TextPlace At(size_t offset) {
    if (offset < offset_) {
      offset_ = 0;
      place_ = {};
    }
    for (; offset_ < offset && offset_ < text_.size(); ++offset_) {
      const auto byte = static_cast<unsigned char>(text_[offset_]);
      if (byte == '\n') {
        ++place_.line;
        place_.column = 1;
      } else if ((byte & 0xC0) != 0x80) {
        ++place_.column;
      }
    }
    return place_;
  }

 private:
  std::string_view text_;
  size_t offset_ = 0;
  TextPlace place_;
};

}  // namespace trackbed
