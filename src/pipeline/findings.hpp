// Where the checks of a pipeline's meaning put what they find.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "trackbed/base/diagnostic.hpp"
#include "trackbed/pipeline/pipeline.hpp"

namespace trackbed {

// A pipeline, an index of its tasks, and the diagnostics. Not thread-safe.
class Findings {
 public:
  Findings(const Pipeline& pipeline, const std::vector<Position>& task_positions,
           Diagnostics* diagnostics);
  ~Findings();

  // A mistake of the pipeline, or of its task at `index`: `path` is relative to the task.
  void Error(std::string path, std::string message);
  void TaskError(size_t index, std::string_view path, std::string message);

  // The index of the first task of that name.
  std::optional<size_t> FindTask(std::string_view name) const;
  // `unknown task "x"; did you mean "y"?`
  std::string UnknownTask(std::string_view name);

 private:
  struct TaskIndexByName;

  void Add(Position position, std::string path, std::string message);

  const Pipeline& pipeline_;
  const std::vector<Position>& task_positions_;
  Diagnostics* const diagnostics_;
  const std::unique_ptr<TaskIndexByName> by_name_;
  std::vector<std::string_view> names_;  // made when first needed
  size_t compared_names_ = 0;
};

// `; did you mean "y"?`, or "" when nothing is near.
std::string DidYouMean(std::string_view word, const std::vector<std::string_view>& candidates);

// `found "x", expected …`.
std::string FoundExpected(std::string_view found, std::string_view expected);

// Checks what ${{ … }} and conditions refer to, tasks upstream included. `graph_is_sound` tells
// that every dependency is known and named once.
void CheckReferences(const Pipeline& pipeline, bool graph_is_sound, Findings* findings);

}  // namespace trackbed
