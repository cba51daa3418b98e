// What readers ask of a document's nodes.
#include "pipeline/document.hpp"

#include <absl/strings/str_cat.h>

#include "pipeline/scalar.hpp"

namespace trackbed {
namespace {

// `text` on one line and not too long to read in a message.
std::string Excerpt(std::string_view text) {
  constexpr size_t kMaxBytes = 48;
  bool cut = false;
  if (text.size() > kMaxBytes) {
    size_t end = kMaxBytes;
    // Not within a code point.
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
    text = text.substr(0, end);
    cut = true;
  }
  std::string excerpt;
  for (const char c : text) {
    if (c == '\n') {
      excerpt += "\\n";
    } else if (static_cast<unsigned char>(c) < 0x20) {
      excerpt += ' ';
    } else {
      excerpt += c;
    }
  }
  if (cut) excerpt += "…";
  return excerpt;
}

}  // namespace

const DocumentNode* DocumentNode::Find(std::string_view key) const {
  for (const Member& member : members) {
    if (member.key == key) return &member.value;
  }
  return nullptr;
}

std::string Describe(const DocumentNode& node) {
  switch (node.kind) {
    case DocumentNode::Kind::null:
      return "nothing";
    case DocumentNode::Kind::sequence:
      return "a list";
    case DocumentNode::Kind::map:
      return "a map";
    case DocumentNode::Kind::scalar:
      break;
  }
  const bool text_by_itself = TypeOfPlain(node.scalar) == ValueType::string;
  if (!text_by_itself && !node.quoted) return Excerpt(node.scalar);
  // Quotes make the difference, so they are pointed out.
  return absl::StrCat(text_by_itself ? "" : "the text ", "\"", Excerpt(node.scalar), "\"");
}

}  // namespace trackbed
