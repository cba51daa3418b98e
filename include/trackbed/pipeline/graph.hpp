// The dependency graph of a pipeline in compressed sparse row form.
//
// Tasks are known by their index in Pipeline::tasks. Building and every query are linear in tasks
// plus edges; nothing recurses, so a chain of a million tasks is fine. Immutable, thread-safe.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "trackbed/base/status.hpp"
#include "trackbed/pipeline/pipeline.hpp"

namespace trackbed {

using TaskIndex = uint32_t;

class Graph {
 public:
  // kInvalidArgument for a duplicate task, an unknown dependency, a task that depends on itself, a
  // dependency named twice, or a cycle, which is named in order: "a -> b -> c -> a".
  static StatusOr<Graph> Build(const Pipeline& pipeline);

  // From `dependencies[i]`, the indices that task i depends on. The same errors, by index.
  static StatusOr<Graph> Build(std::span<const std::vector<TaskIndex>> dependencies);

  size_t task_count() const { return predecessor_offsets_.size() - 1; }
  size_t edge_count() const { return predecessors_.size(); }

  std::span<const TaskIndex> Predecessors(TaskIndex task) const {
    return Row(predecessor_offsets_, predecessors_, task);
  }
  std::span<const TaskIndex> Successors(TaskIndex task) const {
    return Row(successor_offsets_, successors_, task);
  }
  // Every task after all of its dependencies: level by level, each in order of index.
  std::span<const TaskIndex> TopologicalOrder() const { return topological_order_; }

  struct CriticalPath {
    std::vector<TaskIndex> tasks;  // first to last
    double length = 0;             // sum of their weights
  };
  // The heaviest path; `weights[i]` is the expected time of task i. Among equals, the one with the
  // smallest indices from the end.
  CriticalPath FindCriticalPath(std::span<const double> weights) const;

  // Level 0 has no dependencies; every other task is one above its highest dependency.
  std::vector<uint32_t> Levels() const;

 private:
  friend class GraphBuilder;

  static std::span<const TaskIndex> Row(const std::vector<uint32_t>& offsets,
                                        const std::vector<TaskIndex>& values, TaskIndex task) {
    return {values.data() + offsets[task], values.data() + offsets[task + 1]};
  }
  std::vector<uint32_t> predecessor_offsets_{0};
  std::vector<TaskIndex> predecessors_;
  std::vector<uint32_t> successor_offsets_{0};
  std::vector<TaskIndex> successors_;
  std::vector<TaskIndex> topological_order_;
};

enum class GraphFormat { text, dot, mermaid, json };

// Draws the graph of a pipeline (which must be valid): levels with their tasks and dependencies and
// the critical path (`text`), or a document for Graphviz, Mermaid or a program.
std::string RenderGraph(const Pipeline& pipeline, const Graph& graph, GraphFormat format);

}  // namespace trackbed
