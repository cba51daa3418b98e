// Builds the dependency graph of a pipeline and answers questions about its shape.
#include "trackbed/pipeline/graph.hpp"

#include <absl/container/flat_hash_map.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "trackbed/base/diagnostic.hpp"

namespace trackbed {
namespace {

constexpr TaskIndex kNoTask = std::numeric_limits<TaskIndex>::max();

// A cycle longer than this is shown with its middle cut out.
constexpr size_t kShownCycleTasks = 32;

std::string Quoted(const std::string& text) { return '"' + text + '"'; }

// How the tasks of one graph are called in messages: by name, or by index when there is none.
class TaskNames {
 public:
  explicit TaskNames(const Pipeline* pipeline) : pipeline_(pipeline) {}

  std::string Plain(TaskIndex task) const {
    return pipeline_ != nullptr ? pipeline_->tasks[task].name : std::to_string(task);
  }
  std::string WithNoun(TaskIndex task) const {
    return "task " + (pipeline_ != nullptr ? Quoted(Plain(task)) : Plain(task));
  }

 private:
  const Pipeline* pipeline_;  // may be null
};

Status CheckSizes(size_t tasks, size_t edges) {
  if (tasks >= kNoTask) return InvalidArgument("too many tasks: " + std::to_string(tasks));
  if (edges >= kNoTask) return InvalidArgument("too many dependencies: " + std::to_string(edges));
  return absl::OkStatus();
}

// Turns names into indices; the rows are then checked like any others.
StatusOr<std::vector<std::vector<TaskIndex>>> ResolveDependencies(const Pipeline& pipeline) {
  absl::flat_hash_map<std::string_view, TaskIndex> index_of;
  index_of.reserve(pipeline.tasks.size());
  for (TaskIndex i = 0; i < pipeline.tasks.size(); ++i) {
    if (!index_of.emplace(pipeline.tasks[i].name, i).second) {
      return InvalidArgument("duplicate task " + Quoted(pipeline.tasks[i].name));
    }
  }
  std::vector<std::vector<TaskIndex>> rows(pipeline.tasks.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i].reserve(pipeline.tasks[i].dependencies.size());
    for (const std::string& name : pipeline.tasks[i].dependencies) {
      const auto found = index_of.find(name);
      if (found != index_of.end()) {
        rows[i].push_back(found->second);
        continue;
      }
      std::vector<std::string_view> candidates;
      for (const Task& task : pipeline.tasks) {
        if (&task != &pipeline.tasks[i]) candidates.push_back(task.name);
      }
      const std::string_view near = ClosestMatch(name, candidates);
      std::string message =
          "task " + Quoted(pipeline.tasks[i].name) + " depends on unknown task " + Quoted(name);
      if (!near.empty()) message += "; did you mean " + Quoted(std::string(near)) + "?";
      return InvalidArgument(message);
    }
  }
  return rows;
}

Status CheckRows(std::span<const std::vector<TaskIndex>> rows, const TaskNames& names) {
  std::vector<TaskIndex> named_by(rows.size(), kNoTask);
  for (TaskIndex task = 0; task < rows.size(); ++task) {
    for (const TaskIndex dependency : rows[task]) {
      if (dependency >= rows.size()) {
        return InvalidArgument(names.WithNoun(task) + " depends on unknown task " +
                               std::to_string(dependency));
      }
      if (dependency == task) {
        return InvalidArgument(names.WithNoun(task) + " depends on itself");
      }
      if (named_by[dependency] == task) {
        return InvalidArgument(names.WithNoun(task) + " depends on " + names.WithNoun(dependency) +
                               " twice");
      }
      named_by[dependency] = task;
    }
  }
  return absl::OkStatus();
}

// "a -> b -> a" from the tasks of a cycle in the order in which they would run.
std::string DescribeCycle(const std::vector<TaskIndex>& cycle, const TaskNames& names) {
  std::string text;
  for (size_t i = 0; i < cycle.size(); ++i) {
    if (cycle.size() > kShownCycleTasks && i == kShownCycleTasks / 2) {
      const size_t hidden = cycle.size() - kShownCycleTasks;
      text += "... (" + std::to_string(hidden) + " more) ... -> ";
      i += hidden;
    }
    text += names.Plain(cycle[i]) + " -> ";
  }
  return text + names.Plain(cycle.front());
}

// One cycle among the tasks that could not be ordered (`open`), beginning with its smallest index.
// Each of them has an open predecessor, so that walking backwards must meet a task again.
std::vector<TaskIndex> FindCycle(const Graph& graph, const std::vector<bool>& open) {
  const auto first = std::find(open.begin(), open.end(), true);
  TaskIndex task = static_cast<TaskIndex>(first - open.begin());
  std::vector<TaskIndex> walk;
  std::vector<bool> visited(open.size(), false);
  while (!visited[task]) {
    visited[task] = true;
    walk.push_back(task);
    for (const TaskIndex predecessor : graph.Predecessors(task)) {
      if (!open[predecessor]) continue;
      task = predecessor;
      break;
    }
  }
  std::vector<TaskIndex> cycle(std::find(walk.begin(), walk.end(), task), walk.end());
  std::reverse(cycle.begin(), cycle.end());
  std::rotate(cycle.begin(), std::min_element(cycle.begin(), cycle.end()), cycle.end());
  return cycle;
}

}  // namespace

// The steps of Graph::Build that write its private rows.
class GraphBuilder {
 public:
  static StatusOr<Graph> Build(std::span<const std::vector<TaskIndex>> rows,
                               const TaskNames& names) {
    size_t edges = 0;
    for (const std::vector<TaskIndex>& row : rows) edges += row.size();
    TRACKBED_RETURN_IF_ERROR(CheckSizes(rows.size(), edges));
    TRACKBED_RETURN_IF_ERROR(CheckRows(rows, names));
    Graph graph;
    FillRows(rows, edges, &graph);
    TRACKBED_RETURN_IF_ERROR(Order(names, &graph));
    return graph;
  }

 private:
  static void FillRows(std::span<const std::vector<TaskIndex>> rows, size_t edges, Graph* graph) {
    graph->predecessors_.reserve(edges);
    graph->predecessor_offsets_.reserve(rows.size() + 1);
    std::vector<uint32_t> next(rows.size() + 1, 0);
    for (const std::vector<TaskIndex>& row : rows) {
      graph->predecessors_.insert(graph->predecessors_.end(), row.begin(), row.end());
      graph->predecessor_offsets_.push_back(static_cast<uint32_t>(graph->predecessors_.size()));
      for (const TaskIndex dependency : row) ++next[dependency + 1];
    }
    for (size_t i = 1; i < next.size(); ++i) next[i] += next[i - 1];
    graph->successor_offsets_ = next;
    graph->successors_.resize(edges);
    for (TaskIndex task = 0; task < rows.size(); ++task) {
      for (const TaskIndex dependency : rows[task]) graph->successors_[next[dependency]++] = task;
    }
  }

  // Kahn's algorithm by whole levels; a level is put in order of index by a counting sort at the
  // end, which keeps everything linear.
  static Status Order(const TaskNames& names, Graph* graph) {
    const size_t count = graph->task_count();
    std::vector<uint32_t> waiting(count);
    std::vector<TaskIndex> ready;
    ready.reserve(count);
    for (TaskIndex task = 0; task < count; ++task) {
      waiting[task] = static_cast<uint32_t>(graph->Predecessors(task).size());
      if (waiting[task] == 0) ready.push_back(task);
    }
    for (size_t i = 0; i < ready.size(); ++i) {
      for (const TaskIndex successor : graph->Successors(ready[i])) {
        if (--waiting[successor] == 0) ready.push_back(successor);
      }
    }
    if (ready.size() < count) {
      std::vector<bool> open(count);
      for (size_t i = 0; i < count; ++i) open[i] = waiting[i] > 0;
      return InvalidArgument("tasks wait for each other in a cycle: " +
                             DescribeCycle(FindCycle(*graph, open), names));
    }
    graph->topological_order_ = std::move(ready);
    SortWithinLevels(graph);
    return absl::OkStatus();
  }

  static void SortWithinLevels(Graph* graph) {
    const std::vector<uint32_t> levels = graph->Levels();
    std::vector<uint32_t> next(levels.size() + 1, 0);
    for (const uint32_t level : levels) ++next[level + 1];
    for (size_t i = 1; i < next.size(); ++i) next[i] += next[i - 1];
    for (TaskIndex task = 0; task < levels.size(); ++task) {
      graph->topological_order_[next[levels[task]]++] = task;
    }
  }
};

StatusOr<Graph> Graph::Build(const Pipeline& pipeline) {
  TRACKBED_RETURN_IF_ERROR(CheckSizes(pipeline.tasks.size(), 0));
  TRACKBED_ASSIGN_OR_RETURN(const std::vector<std::vector<TaskIndex>> rows,
                            ResolveDependencies(pipeline));
  return GraphBuilder::Build(rows, TaskNames(&pipeline));
}

StatusOr<Graph> Graph::Build(std::span<const std::vector<TaskIndex>> dependencies) {
  return GraphBuilder::Build(dependencies, TaskNames(nullptr));
}

Graph::CriticalPath Graph::FindCriticalPath(std::span<const double> weights) const {
  std::vector<double> length(task_count(), 0.0);  // of the heaviest path that ends here
  std::vector<TaskIndex> before(task_count(), kNoTask);
  TaskIndex last = kNoTask;
  for (const TaskIndex task : topological_order_) {
    for (const TaskIndex predecessor : Predecessors(task)) {
      TaskIndex& best = before[task];
      if (best == kNoTask || length[predecessor] > length[best] ||
          (length[predecessor] == length[best] && predecessor < best)) {
        best = predecessor;
      }
    }
    if (before[task] != kNoTask) length[task] = length[before[task]];
    // A time that is missing, negative or not a number counts as none.
    if (task < weights.size() && weights[task] > 0) length[task] += weights[task];
    if (last == kNoTask || length[task] > length[last] ||
        (length[task] == length[last] && task < last)) {
      last = task;
    }
  }
  CriticalPath path;
  if (last == kNoTask) return path;
  path.length = length[last];
  for (TaskIndex task = last; task != kNoTask; task = before[task]) path.tasks.push_back(task);
  std::reverse(path.tasks.begin(), path.tasks.end());
  return path;
}

std::vector<uint32_t> Graph::Levels() const {
  std::vector<uint32_t> levels(task_count(), 0);
  for (const TaskIndex task : topological_order_) {
    for (const TaskIndex successor : Successors(task)) {
      levels[successor] = std::max(levels[successor], levels[task] + 1);
    }
  }
  return levels;
}

}  // namespace trackbed
