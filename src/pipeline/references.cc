// What ${{ … }} and conditions refer to: that it exists, and that tasks are upstream.
#include <absl/container/flat_hash_set.h>
#include <absl/strings/str_cat.h>

#include <algorithm>

#include "pipeline/findings.hpp"
#include "trackbed/pipeline/expression.hpp"
#include "trackbed/pipeline/graph.hpp"

namespace trackbed {
namespace {

constexpr std::string_view kOpening = "${{";

// The field that a reference stands in.
enum class Context : uint8_t {
  command,
  environment,
  pipeline_environment,
  condition,
  map,
  approval,
};

// "Is `ancestor` upstream of `task`?", for those that are no direct dependencies.
struct UpstreamQuestion {
  TaskIndex ancestor = 0;
  TaskIndex task = 0;
  std::string path;
};

// True when the text is "${{ secrets.NAME }}" and nothing else.
bool IsWholeSecret(std::string_view text) {
  const auto trim = [](std::string_view t) {
    while (t.starts_with(' ')) t.remove_prefix(1);
    while (t.ends_with(' ')) t.remove_suffix(1);
    return t;
  };
  if (!text.starts_with(kOpening) || !text.ends_with("}}") || text.size() < 5) return false;
  text = trim(text.substr(kOpening.size(), text.size() - kOpening.size() - 2));
  return text.starts_with("secrets.") &&
         text.find_first_not_of(
             "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.") ==
             std::string_view::npos;
}

// Answers many UpstreamQuestions in a few passes over the part of the graph between them: 64
// ancestors at a time, one bit each.
class UpstreamSolver {
 public:
  explicit UpstreamSolver(const Graph& graph)
      : graph_(graph), rank_(graph.task_count()), reached_(graph.task_count()) {
    const std::span<const TaskIndex> order = graph.TopologicalOrder();
    for (uint32_t i = 0; i < order.size(); ++i) rank_[order[i]] = i;
  }

  // Calls `report` for each question whose answer is no.
  template <typename Report>
  void Solve(std::vector<UpstreamQuestion> questions, Report report) {
    std::stable_sort(questions.begin(), questions.end(), [&](const auto& a, const auto& b) {
      return rank_[a.ancestor] < rank_[b.ancestor];
    });
    for (size_t begin = 0; begin < questions.size();) {
      const size_t end = EndOfBatch(questions, begin);
      const std::span<const UpstreamQuestion> batch(&questions[begin], end - begin);
      Propagate(batch);
      for (const UpstreamQuestion& question : batch) {
        const bool later = rank_[question.task] > rank_[question.ancestor];
        const uint64_t bit = uint64_t{1} << BitOf(question.ancestor);
        if (!later || (reached_[question.task] & bit) == 0) report(question);
      }
      begin = end;
    }
  }

 private:
  static size_t EndOfBatch(const std::vector<UpstreamQuestion>& questions, size_t begin) {
    size_t distinct = 0;
    size_t end = begin;
    for (; end < questions.size(); ++end) {
      const bool is_new = end == begin || questions[end].ancestor != questions[end - 1].ancestor;
      if (is_new && ++distinct > 64) break;
    }
    return end;
  }

  // Sets reached_ of every task from the first ancestor of the batch to its last task.
  void Propagate(std::span<const UpstreamQuestion> batch) {
    const uint32_t first = rank_[batch.front().ancestor];
    uint32_t last = first;
    ancestors_.clear();
    for (const UpstreamQuestion& question : batch) {
      last = std::max({last, rank_[question.task], rank_[question.ancestor]});
      if (ancestors_.empty() || ancestors_.back() != question.ancestor) {
        ancestors_.push_back(question.ancestor);
      }
    }
    size_t next = 0;  // ancestors stand in order of rank
    for (uint32_t rank = first; rank <= last; ++rank) {
      const TaskIndex task = graph_.TopologicalOrder()[rank];
      uint64_t mask = 0;
      for (const TaskIndex predecessor : graph_.Predecessors(task)) {
        if (rank_[predecessor] >= first) mask |= reached_[predecessor];
      }
      if (next < ancestors_.size() && ancestors_[next] == task) mask |= uint64_t{1} << next++;
      reached_[task] = mask;
    }
  }

  size_t BitOf(TaskIndex ancestor) const {
    const auto found =
        std::lower_bound(ancestors_.begin(), ancestors_.end(), ancestor,
                         [&](TaskIndex a, TaskIndex b) { return rank_[a] < rank_[b]; });
    return static_cast<size_t>(found - ancestors_.begin());
  }

  const Graph& graph_;
  std::vector<uint32_t> rank_;
  std::vector<uint64_t> reached_;
  std::vector<TaskIndex> ancestors_;  // of the batch
};

class ReferenceChecker {
 public:
  ReferenceChecker(const Pipeline& pipeline, Findings* findings)
      : pipeline_(pipeline), findings_(*findings) {
    for (const Parameter& parameter : pipeline.parameters) parameters_.insert(parameter.name);
  }

  void CheckPipelineEnvironment() {
    for (const EnvironmentVariable& variable : pipeline_.environment) {
      CheckTemplate(variable.value, Context::pipeline_environment,
                    [&] { return "environment." + variable.name; });
    }
  }

  void CheckTask(size_t index) {
    task_ = index;
    const Task& task = pipeline_.tasks[index];
    size_t word = 0;
    for (const std::string_view text : task.command) {
      CheckTemplate(text, Context::command, [&] {
        return task.shell ? std::string("command") : absl::StrCat("command[", word, "]");
      });
      ++word;
    }
    for (const EnvironmentVariable& variable : task.environment) {
      CheckTemplate(variable.value, Context::environment,
                    [&] { return "environment." + variable.name; });
    }
    if (!task.when.empty()) CheckCondition(task.when);
    if (task.map) CheckTemplate(task.map->over, Context::map, [] { return "map.over"; });
    if (task.approval) {
      CheckTemplate(task.approval->message, Context::approval, [] { return "approval.message"; });
    }
  }

  std::vector<UpstreamQuestion> TakeQuestions() { return std::move(questions_); }

 private:
  template <typename MakePath>
  void CheckTemplate(std::string_view text, Context context, MakePath make_path) {
    if (text.find(kOpening) == std::string_view::npos) return;
    context_ = context;
    path_ = make_path();
    const StatusOr<Template> parsed = Template::Parse(text);
    if (!parsed.ok()) {
      Error(std::string(Message(parsed.status())));
      return;
    }
    const std::vector<Reference> references = parsed->References();
    if (IsSecretReference(text) && !references.empty()) {
      Error("a secret reference may not hold ${{ }}");
    }
    for (const Reference& reference : references) {
      if (reference.parts.front() == "secrets") {
        CheckSecret(text, reference);
      } else {
        CheckReference(reference);
      }
    }
  }

  void CheckCondition(const std::string& text) {
    context_ = Context::condition;
    path_ = "when";
    const StatusOr<Expression> parsed = Expression::Parse(text);
    if (!parsed.ok()) {
      Error(std::string(Message(parsed.status())));
      return;
    }
    for (const Reference& reference : parsed->References()) {
      if (reference.parts.front() == "secrets") {
        Error("a condition may not use secrets");
      } else {
        CheckReference(reference);
      }
    }
  }

  void CheckSecret(std::string_view text, const Reference& reference) {
    if (context_ == Context::command) {
      Error("a command may not hold a secret; pass it in an environment variable");
    } else if (context_ == Context::map) {
      Error("a map may not go over a secret");
    } else if (context_ == Context::approval) {
      Error("a question that people read may not hold a secret");
    } else if (!IsWholeSecret(text) || reference.parts.size() != 2) {
      Error("a secret must be the whole value of an environment variable: ${{ secrets.NAME }}");
    }
  }

  void CheckReference(const Reference& reference) {
    const std::vector<std::string>& parts = reference.parts;
    const std::string& scope = parts.front();
    if (scope == "params" && parts.size() == 2) {
      CheckParameter(parts[1]);
    } else if (scope == "tasks" && parts.size() == 3 && parts[2] == "state") {
      CheckTaskReference(parts[1], "");
    } else if (scope == "tasks" && parts.size() == 4 && parts[2] == "outputs") {
      CheckTaskReference(parts[1], parts[3]);
    } else {
      const std::string text = reference.ToString();
      if (scope == "item" || scope == "items") {
        CheckItem(text);
        return;
      }
      const bool known = text == "run.id" || text == "run.pipeline" || text == "task.name" ||
                         text == "task.attempt";
      if (!known) {
        Error(absl::StrCat("unknown reference \"", text,
                           "\"; known are params.NAME, tasks.NAME.outputs.NAME, tasks.NAME.state, "
                           "run.id, run.pipeline, task.name and task.attempt"));
      }
    }
  }

  // What of the items of its map an attempt may ask for.
  void CheckItem(const std::string& text) {
    const bool in_task = context_ == Context::command || context_ == Context::environment;
    const TaskMap* map = in_task ? pipeline_.tasks[task_].map.get() : nullptr;
    if (map == nullptr) {
      Error(absl::StrCat("\"", text,
                         "\" is known only in the command and the environment of a task with "
                         "\"map\""));
    } else if (text == "item") {
      if (map->batch == 1 && map->batches == 0) return;
      Error("an attempt gets several items, expected \"items\", their list");
    } else if (text != "items" && text != "item.index" && text != "item.count") {
      Error(absl::StrCat("unknown reference \"", text,
                         "\"; known are item, item.index, item.count and items"));
    }
  }

  void CheckParameter(const std::string& name) {
    if (parameters_.contains(name)) return;
    std::vector<std::string_view> names;
    for (const Parameter& parameter : pipeline_.parameters) names.push_back(parameter.name);
    Error(absl::StrCat("unknown parameter \"", name, "\"", DidYouMean(name, names)));
  }

  void CheckTaskReference(const std::string& name, const std::string& output) {
    if (context_ == Context::pipeline_environment) {
      Error("the environment of the pipeline may not refer to tasks; set the variable in the task");
      return;
    }
    const std::optional<size_t> found = findings_.FindTask(name);
    if (!found) {
      Error(findings_.UnknownTask(name));
      return;
    }
    const Task& task = pipeline_.tasks[*found];
    if (!output.empty()) CheckOutput(task, output);
    const TextList& direct = pipeline_.tasks[task_].dependencies;
    if (std::find(direct.begin(), direct.end(), name) == direct.end()) {
      questions_.push_back({static_cast<TaskIndex>(*found), static_cast<TaskIndex>(task_), path_});
    }
  }

  void CheckOutput(const Task& task, const std::string& name) {
    std::vector<std::string_view> names;
    for (const Output& output : task.outputs) {
      if (output.name == name) return;
      names.push_back(output.name);
    }
    Error(absl::StrCat("task \"", task.name, "\" has no output \"", name, "\"",
                       DidYouMean(name, names)));
  }

  void Error(std::string message) {
    if (context_ == Context::pipeline_environment) {
      findings_.Error(path_, std::move(message));
    } else {
      findings_.TaskError(task_, path_, std::move(message));
    }
  }

  const Pipeline& pipeline_;
  Findings& findings_;
  absl::flat_hash_set<std::string_view> parameters_;
  std::vector<UpstreamQuestion> questions_;
  // Where the checks are.
  Context context_ = Context::command;
  size_t task_ = 0;
  std::string path_;
};

// The name after ": " of "…: a -> b -> a"; "" when the message names no cycle.
std::string_view FirstOfCycle(std::string_view message) {
  const size_t arrow = message.find(" -> ");
  if (arrow == std::string_view::npos) return "";
  message = message.substr(0, arrow);
  const size_t space = message.rfind(' ');
  return space == std::string_view::npos ? message : message.substr(space + 1);
}

void ReportGraphError(const Status& status, Findings* findings) {
  const std::optional<size_t> task = findings->FindTask(FirstOfCycle(Message(status)));
  if (task) {
    findings->TaskError(*task, "dependencies", std::string(Message(status)));
  } else {
    findings->Error("tasks", std::string(Message(status)));
  }
}

}  // namespace

void CheckReferences(const Pipeline& pipeline, bool graph_is_sound, Findings* findings) {
  ReferenceChecker checker(pipeline, findings);
  checker.CheckPipelineEnvironment();
  for (size_t i = 0; i < pipeline.tasks.size(); ++i) checker.CheckTask(i);
  if (!graph_is_sound) return;
  const StatusOr<Graph> graph = Graph::Build(pipeline);
  if (!graph.ok()) {
    ReportGraphError(graph.status(), findings);
    return;
  }
  std::vector<UpstreamQuestion> questions = checker.TakeQuestions();
  if (questions.empty()) return;
  UpstreamSolver(*graph).Solve(std::move(questions), [&](const UpstreamQuestion& question) {
    const std::string& name = pipeline.tasks[question.ancestor].name;
    findings->TaskError(
        question.task, question.path,
        absl::StrCat("task \"", name,
                     "\" is not upstream of this task; add it to the dependencies"));
  });
}

}  // namespace trackbed
