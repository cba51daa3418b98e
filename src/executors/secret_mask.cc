#include "executors/secret_mask.hpp"

#include <algorithm>
#include <cstdint>
#include <utility>

namespace trackbed {
namespace {

constexpr std::string_view kMask = "***";
constexpr size_t kMinEncodedLength = 4;
constexpr std::string_view kStandardAlphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::string_view kUrlAlphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

// The Base64 digits of `bytes`, the last one filled up with zero bits; no padding.
std::string Base64Digits(std::string_view bytes, std::string_view alphabet) {
  std::string digits;
  uint32_t bits = 0;
  int count = 0;
  for (const char byte : bytes) {
    bits = (bits << 8U) | static_cast<uint8_t>(byte);
    count += 8;
    while (count >= 6) {
      count -= 6;
      digits += alphabet[(bits >> static_cast<unsigned>(count)) & 63U];
    }
  }
  if (count > 0) digits += alphabet[(bits << static_cast<unsigned>(6 - count)) & 63U];
  return digits;
}

// What `value` looks like inside the encoding of a text in which it begins `alignment` bytes after
// a multiple of three: first the digits that depend on nothing around it, then the forms it has at
// the very end of that text.
std::vector<std::string> Base64Forms(std::string_view value, size_t alignment,
                                     std::string_view alphabet) {
  const std::string shifted = std::string(alignment, '\0') + std::string(value);
  const std::string digits = Base64Digits(shifted, alphabet);
  const size_t first = (alignment * 8 + 5) / 6;  // earlier digits hold bits of what comes before
  const size_t whole = shifted.size() * 8 / 6;   // later digits hold bits of what comes after
  std::vector<std::string> forms;
  forms.push_back(digits.substr(first, whole - first));
  if (digits.size() > whole) {
    forms.push_back(digits.substr(first));
    forms.push_back(forms.back() + std::string((4 - digits.size() % 4) % 4, '='));
  }
  return forms;
}

std::string PercentEncoded(std::string_view value, std::string_view hex, std::string_view kept,
                           bool plus_for_space) {
  std::string text;
  for (const char c : value) {
    const auto byte = static_cast<uint8_t>(c);
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (letter || kept.find(c) != std::string_view::npos) {
      text += c;
    } else if (c == ' ' && plus_for_space) {
      text += '+';
    } else {
      text += '%';
      text += hex[byte >> 4U];
      text += hex[byte & 15U];
    }
  }
  return text;
}

std::string JsonEscaped(std::string_view value) {
  std::string text;
  for (const char c : value) {
    switch (c) {
      case '"':
        text += "\\\"";
        break;
      case '\\':
        text += "\\\\";
        break;
      case '\n':
        text += "\\n";
        break;
      case '\r':
        text += "\\r";
        break;
      case '\t':
        text += "\\t";
        break;
      default:
        text += c;
    }
  }
  return text;
}

}  // namespace

void SecretMask::AddPattern(std::string pattern) {
  if (pattern.empty()) return;
  if (std::find(patterns_.begin(), patterns_.end(), pattern) != patterns_.end()) return;
  auto& candidates = by_first_byte_[static_cast<uint8_t>(pattern.front())];
  const auto place = std::find_if(candidates.begin(), candidates.end(), [&](size_t other) {
    return patterns_[other].size() < pattern.size();
  });
  candidates.insert(place, patterns_.size());
  patterns_.push_back(std::move(pattern));
}

void SecretMask::AddSecret(std::string_view value) {
  AddPattern(std::string(value));
  // Values read from files end with a line break that programs strip before they use them.
  const size_t last = value.find_last_not_of("\r\n");
  if (last != std::string_view::npos && last + 1 < value.size()) {
    AddSecret(value.substr(0, last + 1));
  }
  if (value.find('\n') != std::string_view::npos) {
    for (size_t begin = 0; begin <= value.size();) {
      const size_t end = std::min(value.find('\n', begin), value.size());
      std::string_view line = value.substr(begin, end - begin);
      if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
      if (line.size() >= kMinEncodedLength) AddPattern(std::string(line));
      begin = end + 1;
    }
  }
  if (value.size() < kMinEncodedLength) return;
  for (const std::string_view alphabet : {kStandardAlphabet, kUrlAlphabet}) {
    for (size_t alignment = 0; alignment < 3; ++alignment) {
      for (std::string& form : Base64Forms(value, alignment, alphabet)) {
        AddPattern(std::move(form));
      }
    }
  }
  for (const std::string_view hex : {"0123456789ABCDEF", "0123456789abcdef"}) {
    for (const std::string_view kept : {"-._~", "-._~/", "-._~!*'()"}) {
      AddPattern(PercentEncoded(value, hex, kept, false));
      AddPattern(PercentEncoded(value, hex, kept, true));
    }
  }
  AddPattern(JsonEscaped(value));
}

size_t SecretMask::MatchAt(size_t position, bool at_end, bool* may_grow) const {
  const std::string_view rest = std::string_view(pending_).substr(position);
  for (const size_t index : by_first_byte_[static_cast<uint8_t>(rest.front())]) {
    const std::string_view pattern = patterns_[index];
    if (rest.starts_with(pattern)) return pattern.size();
    if (!at_end && rest.size() < pattern.size() && pattern.starts_with(rest)) *may_grow = true;
  }
  return 0;
}

// Secrets may overlap in the stream ("foobar" and "barbaz" in "foobarbaz"): what is masked is the
// union, so the scan goes on inside what is covered already.
void SecretMask::Scan(bool at_end, std::string* out) {
  size_t position = 0;
  size_t covered = covered_;
  for (; position < pending_.size(); ++position) {
    bool may_grow = false;
    const size_t length = MatchAt(position, at_end, &may_grow);
    if (may_grow) break;
    if (length > 0 && position >= covered) out->append(kMask);
    covered = std::max(covered, position + length);
    if (position >= covered) out->push_back(pending_[position]);
  }
  pending_.erase(0, position);
  covered_ = covered > position ? covered - position : 0;
}

void SecretMask::Feed(std::string_view bytes, std::string* out) {
  if (patterns_.empty()) {
    out->append(bytes);
    return;
  }
  pending_.append(bytes);
  Scan(false, out);
}

void SecretMask::Finish(std::string* out) { Scan(true, out); }

std::string SecretMask::Apply(std::string_view text) const {
  SecretMask copy = *this;
  copy.pending_ = text;
  copy.covered_ = 0;
  std::string out;
  copy.Finish(&out);
  return out;
}

}  // namespace trackbed
