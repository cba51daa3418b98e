// A YAML or JSON document as a tree with positions: what the readers of pipelines walk over.
//
// Both parsers refuse what is ambiguous before a reader sees it: duplicate keys, keys that are not
// scalars, more than one document, nesting and size beyond the limits, text that is not UTF-8.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "trackbed/base/diagnostic.hpp"
#include "trackbed/pipeline/reader.hpp"

namespace trackbed {

struct DocumentNode {
  enum class Kind { null, scalar, sequence, map };
  struct Member;

  Kind kind = Kind::null;
  Position position;
  std::string scalar;   // text of a scalar, unescaped
  bool quoted = false;  // a scalar written in quotes (or as a block) is text, never a number

  std::vector<DocumentNode> items;  // of a sequence
  std::vector<Member> members;      // of a map, in order

  // The value of `key` in a map, or null.
  const DocumentNode* Find(std::string_view key) const;
};

struct DocumentNode::Member {
  std::string key;
  Position key_position;
  DocumentNode value;
};

// "nothing", "\"abc\"", "2", "a list", "a map": for "found …" in messages; long text is cut.
std::string Describe(const DocumentNode& node);

// Each returns false after reporting why to *diagnostics. An empty document is an error.
bool ParseYamlDocument(std::string_view text, const ReaderLimits& limits, DocumentNode* root,
                       Diagnostics* diagnostics);
bool ParseJsonDocument(std::string_view text, const ReaderLimits& limits, DocumentNode* root,
                       Diagnostics* diagnostics);

}  // namespace trackbed
