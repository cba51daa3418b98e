// Builds the dependency graph of a pipeline and answers questions about its shape.
#include "trackbed/pipeline/graph.hpp"

#include <absl/container/flat_hash_set.h>

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

// The dependencies of every task, one row after the other.
struct Rows {
  std::vector<uint32_t> offsets{0};
  std::vector<TaskIndex> values;

  size_t size() const { return offsets.size() - 1; }
  std::span<const TaskIndex> operator[](size_t task) const {
    return {values.data() + offsets[task], values.data() + offsets[task + 1]};
  }
  void Reserve(size_t tasks, size_t edges) {
    offsets.reserve(tasks + 1);
    values.reserve(edges);
  }
  void EndRow() { offsets.push_back(static_cast<uint32_t>(values.size())); }
};

// Finds tasks by name. Holds but their indices, so that it stays small beside the tasks.
class TaskFinder {
 public:
  explicit TaskFinder(const std::vector<Task>& tasks)
      : tasks_(tasks), indices_(tasks.size(), Hash{&tasks}, Equal{&tasks}) {}

  // False when there is a task of that name already.
  bool Add(TaskIndex task) { return indices_.insert(task).second; }

  // kNoTask when there is none.
  TaskIndex Find(std::string_view name) {
    // Dependencies are often those of the task before, or the ones beside them.
    for (const TaskIndex guess : {last_ + 1, last_}) {
      if (guess < tasks_.size() && tasks_[guess].name == name) return last_ = guess;
    }
    const auto found = indices_.find(name);
    return found == indices_.end() ? kNoTask : last_ = *found;
  }

 private:
  struct Hash {
    using is_transparent = void;  // NOLINT(readability-identifier-naming)
    const std::vector<Task>* tasks;
    size_t operator()(std::string_view name) const { return absl::Hash<std::string_view>()(name); }
    size_t operator()(TaskIndex task) const { return (*this)((*tasks)[task].name); }
  };
  struct Equal {
    using is_transparent = void;  // NOLINT(readability-identifier-naming)
    const std::vector<Task>* tasks;
    bool operator()(TaskIndex a, TaskIndex b) const { return (*tasks)[a].name == (*tasks)[b].name; }
    bool operator()(TaskIndex a, std::string_view b) const { return (*tasks)[a].name == b; }
  };
  const std::vector<Task>& tasks_;
  absl::flat_hash_set<TaskIndex, Hash, Equal> indices_;
  TaskIndex last_ = 0;
};

Status UnknownDependency(const Pipeline& pipeline, const Task& task, std::string_view name) {
  std::vector<std::string_view> candidates;
  for (const Task& other : pipeline.tasks) {
    if (&other != &task) candidates.push_back(other.name);
  }
  std::string message =
      "task " + Quoted(task.name) + " depends on unknown task " + Quoted(std::string(name));
  if (const std::string_view near = ClosestMatch(name, candidates); !near.empty()) {
    message += "; did you mean " + Quoted(std::string(near)) + "?";
  }
  return InvalidArgument(message);
}

// Turns names into indices; the rows are then checked like any others.
StatusOr<Rows> ResolveDependencies(const Pipeline& pipeline) {
  TaskFinder finder(pipeline.tasks);
  size_t edges = 0;
  for (TaskIndex i = 0; i < pipeline.tasks.size(); ++i) {
    if (!finder.Add(i)) {
      return InvalidArgument("duplicate task " + Quoted(pipeline.tasks[i].name));
    }
    edges += pipeline.tasks[i].dependencies.size();
  }
  TRACKBED_RETURN_IF_ERROR(CheckSizes(pipeline.tasks.size(), edges));
  Rows rows;
  rows.Reserve(pipeline.tasks.size(), edges);
  for (const Task& task : pipeline.tasks) {
    for (const std::string_view name : task.dependencies) {
      const TaskIndex found = finder.Find(name);
      if (found == kNoTask) return UnknownDependency(pipeline, task, name);
      rows.values.push_back(found);
    }
    rows.EndRow();
  }
  return rows;
}

Status CheckRows(const Rows& rows, const TaskNames& names) {
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
  static StatusOr<Graph> Build(Rows rows, const TaskNames& names) {
    TRACKBED_RETURN_IF_ERROR(CheckRows(rows, names));
    Graph graph;
    FillRows(std::move(rows), &graph);
    TRACKBED_RETURN_IF_ERROR(Order(names, &graph));
    return graph;
  }

 private:
  static void FillRows(Rows rows, Graph* graph) {
    std::vector<uint32_t> next(rows.size() + 1, 0);
    for (const TaskIndex dependency : rows.values) ++next[dependency + 1];
    for (size_t i = 1; i < next.size(); ++i) next[i] += next[i - 1];
    graph->successor_offsets_ = next;
    graph->successors_.resize(rows.values.size());
    for (TaskIndex task = 0; task < rows.size(); ++task) {
      for (const TaskIndex dependency : rows[task]) graph->successors_[next[dependency]++] = task;
    }
    graph->predecessor_offsets_ = std::move(rows.offsets);
    graph->predecessors_ = std::move(rows.values);
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
  TRACKBED_ASSIGN_OR_RETURN(Rows rows, ResolveDependencies(pipeline));
  return GraphBuilder::Build(std::move(rows), TaskNames(&pipeline));
}

StatusOr<Graph> Graph::Build(std::span<const std::vector<TaskIndex>> dependencies) {
  size_t edges = 0;
  for (const std::vector<TaskIndex>& row : dependencies) edges += row.size();
  TRACKBED_RETURN_IF_ERROR(CheckSizes(dependencies.size(), edges));
  Rows rows;
  rows.Reserve(dependencies.size(), edges);
  for (const std::vector<TaskIndex>& row : dependencies) {
    rows.values.insert(rows.values.end(), row.begin(), row.end());
    rows.EndRow();
  }
  return GraphBuilder::Build(std::move(rows), TaskNames(nullptr));
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
