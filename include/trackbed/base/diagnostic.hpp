// What is wrong with a file, and where: "digits.yaml:12:7: tasks[2].retry: found …, expected …".
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "trackbed/base/status.hpp"

namespace trackbed {

// Lines and columns count from 1; columns count Unicode code points. 0 when unknown.
struct Position {
  int line = 0;
  int column = 0;
  friend bool operator==(const Position&, const Position&) = default;
};

struct Diagnostic {
  enum class Severity { error, warning };
  Severity severity = Severity::error;
  Position position;
  std::string path;     // "tasks[2].retry.delay"; empty for the whole document
  std::string message;  // "found \"fast\", expected a duration such as 30s or 1h30m"

  friend bool operator==(const Diagnostic&, const Diagnostic&) = default;
};

// The parts of a message "found X, expected Y"; both empty when it has another form.
struct MessageParts {
  std::string_view found;
  std::string_view expected;
};
MessageParts SplitMessage(std::string_view message);

// All that was found in one file, in order of position.
class Diagnostics {
 public:
  explicit Diagnostics(std::string file = "") : file_(std::move(file)) {}

  void Error(Position position, std::string path, std::string message);
  void Warning(Position position, std::string path, std::string message);

  const std::string& file() const { return file_; }
  const std::vector<Diagnostic>& items() const { return items_; }
  bool has_errors() const { return error_count_ > 0; }
  int error_count() const { return error_count_; }

  // Sorts by position, keeping the order of equal ones.
  void Sort();
  // One line each: "file:line:column: path: message", warnings with "warning: " before the message.
  std::string ToString() const;
  // OK, or kInvalidArgument with ToString() of the errors.
  Status ToStatus() const;

 private:
  std::string file_;
  std::vector<Diagnostic> items_;
  int error_count_ = 0;
};

// The entry of `candidates` that `word` is most likely a misspelling of (Damerau-Levenshtein
// distance at most a third of its length), or "" when none is near.
std::string_view ClosestMatch(std::string_view word,
                              const std::vector<std::string_view>& candidates);

}  // namespace trackbed
