// Places at regular distances, so that a look-up reads a few bytes only.
#include "pipeline/text_index.hpp"

#include <algorithm>

namespace trackbed {

TextIndex::TextIndex(std::string_view text) : text_(text) {
  Place place;
  checkpoints_.reserve(text.size() / kStride + 1);
  for (size_t i = 0; i < text.size(); ++i) {
    if (i % kStride == 0) checkpoints_.push_back(place);
    Advance(text[i], &place);
  }
  if (text.size() % kStride == 0) checkpoints_.push_back(place);
}

void TextIndex::Advance(char c, Place* place) {
  if (c == '\n') {
    ++place->line;
    place->column = 0;
  } else if ((static_cast<unsigned char>(c) & 0xc0) != 0x80) {
    ++place->column;  // not for the later bytes of a code point
  }
}

Position TextIndex::At(size_t offset) const {
  offset = std::min(offset, text_.size());
  Place place = checkpoints_[offset / kStride];
  for (size_t i = offset / kStride * kStride; i < offset; ++i) Advance(text_[i], &place);
  return {static_cast<int>(place.line) + 1, static_cast<int>(place.column) + 1};
}

}  // namespace trackbed
