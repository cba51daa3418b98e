// Takes secret values out of a stream of output before it reaches a file.
//
// For each secret, masked by "***": the value itself; each line of four characters or more of a
// value with several; its Base64 forms (both alphabets, with and without padding, at any of the
// three alignments inside a longer encoded text); its percent-encoded and form-encoded ones; its
// JSON string form. The encodings only for values of four characters or more.
//
// The supervisor program shares this file: no Abseil here.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace trackbed {

class SecretMask {
 public:
  // An empty value masks nothing.
  void AddSecret(std::string_view value);
  bool empty() const { return patterns_.empty(); }

  // Appends to *out what of the stream so far can be shown. Holds back only what may be the
  // beginning of a secret.
  void Feed(std::string_view bytes, std::string* out);
  // The stream has ended: shows what was held back.
  void Finish(std::string* out);

  // The whole of `text`, masked. Leaves the stream alone.
  std::string Apply(std::string_view text) const;

 private:
  void AddPattern(std::string pattern);
  void Scan(bool at_end, std::string* out);
  // The longest pattern at `position` of pending_ (0: none). *may_grow: a longer one would fit if
  // more bytes came.
  size_t MatchAt(size_t position, bool at_end, bool* may_grow) const;

  std::vector<std::string> patterns_;
  std::array<std::vector<size_t>, 256> by_first_byte_;  // longest first
  std::string pending_;                                 // not shown yet
  size_t covered_ = 0;  // so much at the start of pending_ is part of a secret already masked
};

}  // namespace trackbed
