// Walks over a document and takes values of one shape each, reporting those of another.
#pragma once

#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "pipeline/document.hpp"
#include "trackbed/base/time.hpp"

namespace trackbed {

// The place of a node in its document. A chain on the stack: text is made of it on errors only.
class NodePath {
 public:
  NodePath() = default;
  NodePath(const NodePath& parent, std::string_view key) : parent_(&parent), key_(key) {}
  NodePath(const NodePath& parent, size_t index) : parent_(&parent), index_(index) {}

  std::string ToString() const;  // "tasks[2].retry.delay"

 private:
  const NodePath* parent_ = nullptr;
  std::string_view key_;
  size_t index_ = 0;
};

class SchemaReader;

// One field of a map that describes a T.
template <typename T>
struct SchemaField {
  std::string_view name;
  void (*read)(SchemaReader& reader, const DocumentNode& node, const NodePath& path, T* object);
};

class SchemaReader {
 public:
  explicit SchemaReader(Diagnostics* diagnostics) : diagnostics_(diagnostics) {}

  void Error(Position position, const NodePath& path, std::string message);
  void Error(const DocumentNode& node, const NodePath& path, std::string message) {
    Error(node.position, path, std::move(message));
  }
  // "found …, expected …".
  void Expected(const DocumentNode& node, const NodePath& path, std::string_view expected);

  // Each leaves *value alone and returns false when the node is something else.
  bool Text(const DocumentNode& node, const NodePath& path, std::string* value);
  bool Boolean(const DocumentNode& node, const NodePath& path, bool* value);
  bool Integer(const DocumentNode& node, const NodePath& path, int64_t minimum, int64_t maximum,
               int64_t* value);
  bool Number(const DocumentNode& node, const NodePath& path, double minimum, double maximum,
              double* value);
  bool TimeSpan(const DocumentNode& node, const NodePath& path, Duration* value);
  // True for a map, or for nothing, which is taken for an empty one.
  bool Map(const DocumentNode& node, const NodePath& path);
  bool List(const DocumentNode& node, const NodePath& path);

  // Reads every member of a map that describes a `noun` ("task"); unknown ones are errors.
  template <typename T>
  bool Fields(const DocumentNode& node, const NodePath& path, std::string_view noun,
              std::span<const SchemaField<T>> fields, T* object) {
    if (!Map(node, path)) return false;
    for (const DocumentNode::Member& member : node.members) {
      const SchemaField<T>* field = nullptr;
      for (const SchemaField<T>& candidate : fields) {
        if (candidate.name == member.key) field = &candidate;
      }
      if (field != nullptr) {
        field->read(*this, member.value, NodePath(path, member.key), object);
        continue;
      }
      std::vector<std::string_view> names;
      for (const SchemaField<T>& candidate : fields) names.push_back(candidate.name);
      UnknownField(member, path, noun, names);
    }
    return true;
  }

  void UnknownField(const DocumentNode::Member& member, const NodePath& path, std::string_view noun,
                    const std::vector<std::string_view>& names);

  // Parts that others refer to could not be read, so that checks of references would mislead.
  void MarkIncomplete() { incomplete_ = true; }
  bool incomplete() const { return incomplete_; }

  // Whether a mistake at `path`, or at what holds it or is held by it, is reported already.
  bool IsReported(const std::string& path) const;

 private:
  Diagnostics* const diagnostics_;
  std::set<std::string> reported_;
  bool incomplete_ = false;
};

// A hundred thousand lines help nobody: past so many errors no more are collected.
inline constexpr int kMaxErrors = 1000;

}  // namespace trackbed
