// Chooses the notation of each scalar and keeps the indentation.
#include "pipeline/yaml_lines.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>

namespace trackbed {
namespace {

bool IsLetter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// A text that readers of every version of YAML take for a text without quotes.
bool IsPlain(std::string_view text) {
  static constexpr std::array<std::string_view, 11> kWords = {
      "true", "false", "yes", "no", "on", "off", "null", "y", "n", "nan", "inf"};
  const auto safe = [](char c) {
    return IsLetter(c) || (c >= '0' && c <= '9') ||
           std::string_view("_-./: ,@+=()").find(c) != std::string_view::npos;
  };
  if (text.empty() || !(IsLetter(text.front()) || text.front() == '/' || text.front() == '_')) {
    return false;
  }
  if (!std::all_of(text.begin(), text.end(), safe)) return false;
  if (text.ends_with(' ') || text.ends_with(':')) return false;
  if (text.find(": ") != std::string_view::npos) return false;
  std::string lowered(text);
  for (char& c : lowered) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return std::find(kWords.begin(), kWords.end(), lowered) == kWords.end();
}

struct Special {
  uint32_t code_point = 0;
  size_t bytes = 0;  // 0: nothing special
};

// The control character, line separator or byte order mark that `text` begins with: what may only
// be written as an escape.
Special FindSpecial(std::string_view text) {
  const auto byte = [text](size_t i) { return static_cast<unsigned char>(text[i]); };
  if (byte(0) < 0x20 || byte(0) == 0x7F) return {byte(0), 1};
  if (text.size() >= 2 && byte(0) == 0xC2 && byte(1) >= 0x80 && byte(1) < 0xA0) {
    return {byte(1), 2};
  }
  if (text.starts_with("\xE2\x80\xA8")) return {0x2028, 3};
  if (text.starts_with("\xE2\x80\xA9")) return {0x2029, 3};
  if (text.starts_with("\xEF\xBB\xBF")) return {0xFEFF, 3};
  return {};
}

bool HasSpecial(std::string_view text, bool except_newline) {
  for (size_t i = 0; i < text.size(); ++i) {
    if (except_newline && text[i] == '\n') continue;
    if (FindSpecial(text.substr(i)).bytes > 0) return true;
  }
  return false;
}

// Whether a block, "|" or "|-", gives back the very same text.
bool IsBlock(std::string_view text) {
  if (text.find('\n') == std::string_view::npos || HasSpecial(text, true)) return false;
  const bool odd_begin = text.front() == '\n' || text.front() == ' ';
  const bool odd_end = text.ends_with("\n\n") || text.ends_with(' ');
  return !odd_begin && !odd_end && text.find(" \n") == std::string_view::npos;
}

std::string SingleQuoted(std::string_view text) {
  std::string result = "'";
  for (const char c : text) result += c == '\'' ? "''" : std::string(1, c);
  return result + "'";
}

std::string DoubleQuoted(std::string_view text) {
  std::string result = "\"";
  for (size_t i = 0; i < text.size(); ++i) {
    const Special special = FindSpecial(text.substr(i));
    if (special.code_point == '\n') {
      result += "\\n";
    } else if (special.code_point == '\t') {
      result += "\\t";
    } else if (special.bytes > 0) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(special.code_point));
      result += escape;
      i += special.bytes - 1;
    } else {
      if (text[i] == '"' || text[i] == '\\') result += '\\';
      result += text[i];
    }
  }
  return result + "\"";
}

}  // namespace

void YamlLines::BeginLine() {
  if (open_empty_) text_ += '\n';
  open_empty_ = false;
  if (dash_) {
    text_.append(indent_ - 2, ' ');
    text_ += "- ";
  } else {
    text_.append(indent_, ' ');
  }
  dash_ = false;
}

void YamlLines::WriteKey(std::string_view key) {
  BeginLine();
  const bool plain = IsPlain(key) && key.find_first_of(" :") == std::string_view::npos;
  text_ += plain ? std::string(key) : DoubleQuoted(key);
  text_ += ':';
}

void YamlLines::WriteText(std::string_view text) {
  if (IsPlain(text)) {
    text_ += text;
  } else if (IsBlock(text)) {
    text_ += text.ends_with('\n') ? "|" : "|-";
    if (text.ends_with('\n')) text.remove_suffix(1);
    while (true) {
      const size_t end = std::min(text.find('\n'), text.size());
      text_ += '\n';
      if (end > 0) text_.append(indent_ + 2, ' ').append(text.substr(0, end));
      if (end == text.size()) break;
      text.remove_prefix(end + 1);
    }
  } else {
    text_ += HasSpecial(text, false) ? DoubleQuoted(text) : SingleQuoted(text);
  }
  text_ += '\n';
}

void YamlLines::Text(std::string_view key, std::string_view text) {
  WriteKey(key);
  text_ += ' ';
  WriteText(text);
}

void YamlLines::Raw(std::string_view key, std::string_view text) {
  WriteKey(key);
  text_.append(" ").append(text).append("\n");
}

void YamlLines::OpenMap(std::string_view key) {
  WriteKey(key);
  open_empty_ = true;
  indent_ += 2;
}

// The items stand below their key, not to the right of it.
void YamlLines::OpenList(std::string_view key) {
  WriteKey(key);
  open_empty_ = true;
}

void YamlLines::TextItem(std::string_view text) {
  BeginLine();
  text_ += "- ";
  WriteText(text);
}

void YamlLines::RawItem(std::string_view text) {
  BeginLine();
  text_.append("- ").append(text).append("\n");
}

void YamlLines::OpenItem() {
  indent_ += 2;
  dash_ = true;
}

void YamlLines::Close(std::string_view empty, size_t indent) {
  if (open_empty_) text_.append(empty).append("\n");
  open_empty_ = false;
  indent_ -= indent;
}

}  // namespace trackbed
