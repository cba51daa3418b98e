// The rules and limits of documents.
#include "pipeline/document_builder.hpp"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_format.h>

#include <algorithm>

#include "pipeline/text_index.hpp"

namespace trackbed {
namespace {

// Longer keys cannot be written back as simple keys of YAML.
constexpr size_t kMaxKeyBytes = 1000;
// Maps up to this size are searched member by member.
constexpr size_t kSmallMap = 16;
// Reading, copying and freeing a tree recurse; deeper than this no limit may be set.
constexpr int kMaxDepth = 400;

// What is wrong with the character at the front of `text`; "" when it is fine.
std::string CharacterProblem(std::string_view text) {
  const auto byte = static_cast<unsigned char>(text.front());
  if (byte == 0) return "found a NUL byte, expected text; this looks like a binary file";
  if (byte < 0x20 && byte != '\t' && byte != '\n' && byte != '\r') {
    return absl::StrFormat("found the control character U+%04X, expected text", byte);
  }
  if (Utf8SequenceLength(text) == 0) {
    return absl::StrFormat("found the byte 0x%02X, which is not valid UTF-8", byte);
  }
  return "";
}

}  // namespace

size_t Utf8SequenceLength(std::string_view text) {
  const auto byte = [&](size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u;
  };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  unsigned low = 0x80;
  unsigned high = 0xbf;
  size_t length = 0;
  if (first >= 0xc2 && first <= 0xdf) {
    length = 2;
  } else if (first >= 0xe0 && first <= 0xef) {
    length = 3;
    if (first == 0xe0) low = 0xa0;
    if (first == 0xed) high = 0x9f;
  } else if (first >= 0xf0 && first <= 0xf4) {
    length = 4;
    if (first == 0xf0) low = 0x90;
    if (first == 0xf4) high = 0x8f;
  } else {
    return 0;
  }
  if (byte(1) < low || byte(1) > high) return 0;
  for (size_t i = 2; i < length; ++i) {
    if (byte(i) < 0x80 || byte(i) > 0xbf) return 0;
  }
  return length;
}

DocumentWeight Weigh(const DocumentNode& node) {
  DocumentWeight total{1, node.scalar.size(), 0};
  const auto add = [&](const DocumentNode& child) {
    const DocumentWeight weight = Weigh(child);
    total.nodes += weight.nodes;
    total.bytes += weight.bytes;
    total.height = std::max(total.height, weight.height);
  };
  for (const DocumentNode& item : node.items) add(item);
  for (const DocumentNode::Member& member : node.members) {
    total.bytes += member.key.size();
    add(member.value);
  }
  const bool collection =
      node.kind == DocumentNode::Kind::sequence || node.kind == DocumentNode::Kind::map;
  if (collection) ++total.height;
  return total;
}

DocumentBuilder::DocumentBuilder(const ReaderLimits& limits, Diagnostics* diagnostics)
    // Escapes and aliases may make the text longer than the document, but not without end.
    : limits_(limits), max_text_(2 * limits.max_bytes + 1024), diagnostics_(diagnostics) {}

bool DocumentBuilder::expects_key() const {
  return !frames_.empty() && frames_.back().node.kind == DocumentNode::Kind::map &&
         !frames_.back().has_key;
}

std::string DocumentBuilder::Path() const {
  std::string path;
  for (const Frame& frame : frames_) {
    if (frame.node.kind == DocumentNode::Kind::sequence) {
      absl::StrAppend(&path, "[", frame.node.items.size(), "]");
    } else if (frame.has_key) {
      absl::StrAppend(&path, path.empty() ? "" : ".", frame.node.members.back().key);
    }
  }
  return path;
}

bool DocumentBuilder::Fail(Position position, std::string message) {
  diagnostics_->Error(position, Path(), std::move(message));
  return false;
}

bool DocumentBuilder::Count(Position position, size_t nodes, size_t bytes) {
  if (nodes > limits_.max_nodes - std::min(nodes_, limits_.max_nodes)) {
    return Fail(position, absl::StrCat("the document holds more than ", limits_.max_nodes,
                                       " values (aliases count as what they stand for)"));
  }
  if (bytes > max_text_ - std::min(bytes_, max_text_)) {
    return Fail(position, absl::StrCat("the document holds more than ", max_text_,
                                       " bytes of text (aliases count as what they stand for)"));
  }
  nodes_ += nodes;
  bytes_ += bytes;
  return true;
}

bool DocumentBuilder::Attach(DocumentNode node) {
  if (frames_.empty()) {
    root_ = std::move(node);
    last_ = &root_;
    return true;
  }
  Frame& parent = frames_.back();
  if (parent.node.kind == DocumentNode::Kind::sequence) {
    parent.node.items.push_back(std::move(node));
    last_ = &parent.node.items.back();
  } else {
    parent.node.members.back().value = std::move(node);
    parent.has_key = false;
    last_ = &parent.node.members.back().value;
  }
  return true;
}

bool DocumentBuilder::AddNull(Position position) {
  if (expects_key()) return Fail(position, "found nothing, expected a key");
  if (!Count(position, 1, 0)) return false;
  DocumentNode node;
  node.position = position;
  if (!frames_.empty() && frames_.back().has_key) {
    // The parser knows that there is no value only when it meets what comes after.
    const Position key = frames_.back().node.members.back().key_position;
    if (position.line != key.line) node.position = key;
  }
  return Attach(std::move(node));
}

bool DocumentBuilder::AddScalar(Position position, std::string text, bool quoted) {
  if (text.find('\0') != std::string::npos) {
    return Fail(position, "found a NUL character, which no text may hold");
  }
  if (!Count(position, 1, text.size())) return false;
  if (expects_key()) return AddKey(position, std::move(text));
  DocumentNode node;
  node.kind = DocumentNode::Kind::scalar;
  node.position = position;
  node.scalar = std::move(text);
  node.quoted = quoted;
  return Attach(std::move(node));
}

const DocumentNode::Member* DocumentBuilder::FindKey(Frame* frame, const std::string& key) {
  std::vector<DocumentNode::Member>& members = frame->node.members;
  const auto find = [&]() -> const DocumentNode::Member* {
    const auto found =
        std::find_if(members.begin(), members.end(), [&](const auto& m) { return m.key == key; });
    return found == members.end() ? nullptr : &*found;
  };
  if (members.size() < kSmallMap) return find();
  if (frame->keys.empty()) {
    for (const DocumentNode::Member& member : members) frame->keys.insert(member.key);
  }
  return frame->keys.insert(key).second ? nullptr : find();
}

bool DocumentBuilder::AddKey(Position position, std::string text) {
  if (text.size() > kMaxKeyBytes) {
    return Fail(position, absl::StrCat("found a key of ", text.size(), " bytes, expected at most ",
                                       kMaxKeyBytes));
  }
  Frame& frame = frames_.back();
  if (const DocumentNode::Member* first = FindKey(&frame, text)) {
    return Fail(position, absl::StrCat("duplicate key \"", text, "\"; the first is on line ",
                                       first->key_position.line));
  }
  frame.node.members.push_back({std::move(text), position, {}});
  frame.has_key = true;
  last_ = nullptr;
  return true;
}

bool DocumentBuilder::Open(DocumentNode::Kind kind, Position position) {
  const bool list = kind == DocumentNode::Kind::sequence;
  if (expects_key()) {
    // Most often a bracket is not closed: then all up to the next ":" looks like a key.
    return Fail(position, absl::StrCat("found a ", list ? "list" : "map",
                                       ", expected a key; is its bracket closed?"));
  }
  const int max_depth = std::min(limits_.max_depth, kMaxDepth);
  if (frames_.size() >= static_cast<size_t>(std::max(max_depth, 0))) {
    // Without the path, which is as long as the document is deep.
    diagnostics_->Error(position, "",
                        absl::StrCat("lists and maps are nested more than ", max_depth, " deep"));
    return false;
  }
  if (!Count(position, 1, 0)) return false;
  frames_.emplace_back();
  frames_.back().node.kind = kind;
  frames_.back().node.position = position;
  last_ = nullptr;
  return true;
}

bool DocumentBuilder::Close() {
  DocumentNode node = std::move(frames_.back().node);
  frames_.pop_back();
  return Attach(std::move(node));
}

bool DocumentBuilder::AddCopy(Position position, const DocumentNode& node,
                              const DocumentWeight& weight) {
  if (expects_key()) {
    if (node.kind == DocumentNode::Kind::scalar) {
      return AddScalar(position, node.scalar, node.quoted);
    }
    return Fail(position, "found an alias of a list or a map, expected a key");
  }
  const int depth = static_cast<int>(frames_.size()) + weight.height;
  const int max_depth = std::min(limits_.max_depth, kMaxDepth);
  if (depth > max_depth) {
    diagnostics_->Error(position, "",
                        absl::StrCat("lists and maps are nested more than ", max_depth, " deep"));
    return false;
  }
  if (weight.nodes > limits_.max_aliased - std::min(aliased_, limits_.max_aliased)) {
    return Fail(position, absl::StrCat("the aliases of the document stand for more than ",
                                       limits_.max_aliased, " values"));
  }
  aliased_ += weight.nodes;
  if (!Count(position, weight.nodes, weight.bytes)) return false;
  return Attach(node);
}

bool CheckText(std::string_view text, const ReaderLimits& limits, Diagnostics* diagnostics) {
  if (text.size() > limits.max_bytes) {
    diagnostics->Error({}, "",
                       absl::StrCat("the document has ", text.size(), " bytes; at most ",
                                    limits.max_bytes, " are read"));
    return false;
  }
  for (size_t i = 0; i < text.size();) {
    const std::string_view rest = text.substr(i);
    const auto byte = static_cast<unsigned char>(rest.front());
    if (byte >= 0x20 && byte < 0x80) {
      ++i;
      continue;
    }
    if (const std::string problem = CharacterProblem(rest); !problem.empty()) {
      diagnostics->Error(TextIndex(text.substr(0, i)).At(i), "", problem);
      return false;
    }
    i += Utf8SequenceLength(rest);
  }
  if (WithoutByteOrderMark(text).find_first_not_of(" \t\r\n") == std::string_view::npos) {
    diagnostics->Error({1, 1}, "", "the document is empty");
    return false;
  }
  return true;
}

std::string_view WithoutByteOrderMark(std::string_view text) {
  constexpr std::string_view kMark = "\xef\xbb\xbf";
  if (text.starts_with(kMark)) text.remove_prefix(kMark.size());
  return text;
}

}  // namespace trackbed
