// Builds a DocumentNode tree from parser events, holding the limits and the rules common to YAML
// and JSON: depth, number of values, amount of text, unique keys that are text.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "pipeline/document.hpp"

namespace trackbed {

// The size of a tree.
struct DocumentWeight {
  size_t nodes = 0;
  size_t bytes = 0;  // of its scalars and keys
  int height = 0;    // 0 for a scalar
};
DocumentWeight Weigh(const DocumentNode& node);

// Every method returns false after reporting why to the diagnostics; the parser then stops.
// In a map, keys and values alternate: the scalar that comes where a key is due is the key.
class DocumentBuilder {
 public:
  DocumentBuilder(const ReaderLimits& limits, Diagnostics* diagnostics);

  bool AddNull(Position position);
  bool AddScalar(Position position, std::string text, bool quoted);
  bool Open(DocumentNode::Kind kind, Position position);
  // Ends the innermost sequence or map.
  bool Close();
  // Adds a copy of a tree seen earlier.
  bool AddCopy(Position position, const DocumentNode& node, const DocumentWeight& weight);

  // Reports an error at the place in the tree where the next node would come.
  bool Fail(Position position, std::string message);

  // The node that was completed last; valid until the next call. Null after a key.
  const DocumentNode* last() const { return last_; }
  bool expects_key() const;
  DocumentNode TakeRoot() { return std::move(root_); }

 private:
  struct Frame {
    DocumentNode node;
    bool has_key = false;        // of a map: the last member waits for its value
    std::set<std::string> keys;  // of a map with many members
  };

  bool AddKey(Position position, std::string text);
  const DocumentNode::Member* FindKey(Frame* frame, const std::string& key);
  bool Count(Position position, size_t nodes, size_t bytes);
  bool Attach(DocumentNode node);
  std::string Path() const;

  const ReaderLimits limits_;
  const size_t max_text_;
  Diagnostics* const diagnostics_;
  DocumentNode root_;
  std::vector<Frame> frames_;
  const DocumentNode* last_ = nullptr;
  size_t nodes_ = 0;
  size_t aliased_ = 0;
  size_t bytes_ = 0;
};

// Refuses text that is too large, empty, binary or not UTF-8, before a parser sees it.
bool CheckText(std::string_view text, const ReaderLimits& limits, Diagnostics* diagnostics);

// The length of the UTF-8 sequence at the front of `text`, 0 when there is none: overlong forms,
// surrogates and what lies beyond U+10FFFF are none.
size_t Utf8SequenceLength(std::string_view text);

// `text` without the byte order mark that some editors put first.
std::string_view WithoutByteOrderMark(std::string_view text);

}  // namespace trackbed
