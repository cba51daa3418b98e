// The meaning of a pipeline: names, ranges, references between its parts.
#include <absl/container/flat_hash_set.h>
#include <absl/strings/str_cat.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "pipeline/findings.hpp"
#include "pipeline/names.hpp"
#include "pipeline/parameter_check.hpp"
#include "trackbed/base/slot_type.hpp"
#include "trackbed/pipeline/map_items.hpp"
#include "trackbed/pipeline/reader.hpp"

namespace trackbed {
namespace {

constexpr uint32_t kMaxAttempts = 1000;
constexpr float kMaxBackoff = 100;
constexpr size_t kMaxResultName = 255;

bool IsBlank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

bool HoldsNul(std::string_view text) { return text.find('\0') != std::string_view::npos; }

// The indices of entries whose key (a member or a function) an earlier entry has too.
template <typename Entries, typename Key>
std::vector<size_t> FindDuplicates(const Entries& entries, Key key) {
  std::vector<size_t> duplicates;
  if (entries.size() < 2) return duplicates;
  absl::flat_hash_set<std::string_view> seen;
  for (size_t i = 0; i < entries.size(); ++i) {
    if (!seen.insert(std::invoke(key, entries[i])).second) duplicates.push_back(i);
  }
  return duplicates;
}

std::string WithArticle(ValueType type) {
  return (type == ValueType::integer ? "an " : "a ") + std::string(ToString(type));
}

// What is expected of a "secret://SOURCE/NAME"; "" when it is one. Which sources there are only the
// engine knows that runs it.
std::string ExpectedOfSecret(std::string_view value) {
  value.remove_prefix(std::string_view("secret://").size());
  const size_t slash = value.find('/');
  const bool ok = ExpectedOfReferenceName(value.substr(0, slash)).empty() &&
                  slash != std::string_view::npos && slash + 1 < value.size();
  return ok ? "" : "secret://SOURCE/NAME, such as secret://env/NAME or secret://file/NAME";
}

class Validator {
 public:
  Validator(const Pipeline& pipeline, Findings* findings)
      : pipeline_(pipeline), findings_(*findings) {
    for (const Folder& folder : pipeline.folders) folders_.insert(folder.name);
  }

  void Check() {
    CheckHead();
    for (const Parameter& parameter : pipeline_.parameters) CheckParameter(parameter);
    for (const size_t i : FindDuplicates(pipeline_.parameters, &Parameter::name)) {
      Error("parameters." + pipeline_.parameters[i].name, "duplicate parameter");
    }
    CheckFolders();
    CheckEnvironment(pipeline_.environment, nullptr);
    if (pipeline_.tasks.empty()) Error("tasks", "found no task, expected at least one");
    for (task_ = 0; task_ < pipeline_.tasks.size(); ++task_) CheckTask(pipeline_.tasks[task_]);
    CheckResults();
    CheckReferences(pipeline_, graph_is_sound_, &findings_);
  }

 private:
  void Error(std::string path, std::string message) {
    findings_.Error(std::move(path), std::move(message));
  }
  // Of the task that is being checked.
  void TaskError(std::string_view path, std::string message) {
    findings_.TaskError(task_, path, std::move(message));
  }

  void CheckHead() {
    CheckText("description", pipeline_.description, nullptr);
    if (const std::string expected = ExpectedOfName(pipeline_.name); !expected.empty()) {
      Error("name", FoundExpected(pipeline_.name, expected));
    }
    CheckLabels(pipeline_.labels, nullptr);
    CheckPriority(pipeline_.priority, nullptr);
    if (pipeline_.source.empty()) return;
    if (const std::string expected = ExpectedOfInnerPath(pipeline_.source); !expected.empty()) {
      Error("source", FoundExpected(pipeline_.source, expected));
    }
  }

  // `task` is null for what belongs to the pipeline.
  void CheckText(std::string_view path, std::string_view text, const Task* task) {
    if (HoldsNul(text)) Report(task, path, "found a NUL character, which no text may hold");
  }

  void CheckPriority(int priority, const Task* task) {
    if (priority >= -kMaxPriority && priority <= kMaxPriority) return;
    Report(task, "priority",
           FoundExpected(absl::StrCat(priority), absl::StrCat("a whole number from ", -kMaxPriority,
                                                              " to ", kMaxPriority)));
  }

  void Report(const Task* task, std::string_view path, std::string message) {
    if (task == nullptr) {
      Error(std::string(path), std::move(message));
    } else {
      TaskError(path, std::move(message));
    }
  }

  void CheckLabels(const std::map<std::string, std::string>& labels, const Task* task) {
    for (const auto& [key, value] : labels) {
      if (const std::string expected = ExpectedOfLabelKey(key); !expected.empty()) {
        Report(task, "labels." + key, FoundExpected(key, expected));
      }
      if (HoldsNul(value)) CheckText("labels." + key, value, task);
    }
  }

  void CheckParameter(const Parameter& parameter) {
    const std::string path = "parameters." + parameter.name;
    if (const std::string expected = ExpectedOfReferenceName(parameter.name); !expected.empty()) {
      Error(path, FoundExpected(parameter.name, expected));
    }
    CheckText(path + ".description", parameter.description, nullptr);
    CheckBounds(parameter, path);
    for (size_t i = 0; i < parameter.choices.size(); ++i) {
      CheckValue(parameter, parameter.choices[i], absl::StrCat(path, ".choices[", i, "]"));
    }
    if (!parameter.default_value) return;
    const std::string default_path = path + ".default";
    if (!CheckValue(parameter, *parameter.default_value, default_path)) return;
    const std::string objection = ParameterObjection(parameter, *parameter.default_value);
    if (!objection.empty()) Error(default_path, objection);
  }

  void CheckBounds(const Parameter& parameter, const std::string& path) {
    const bool numeric =
        parameter.type == ValueType::number || parameter.type == ValueType::integer;
    for (const auto& [bound, name] :
         {std::pair(parameter.minimum, ".minimum"), std::pair(parameter.maximum, ".maximum")}) {
      if (!bound) continue;
      if (!numeric) {
        Error(path + name,
              WithArticle(parameter.type) + " has no range; only numbers and integers have");
      } else if (!std::isfinite(*bound)) {
        Error(path + name, "expected a finite number");
      }
    }
    if (parameter.minimum && parameter.maximum && *parameter.minimum > *parameter.maximum) {
      Error(path + ".minimum",
            absl::StrCat("the minimum ", ToText(Value(*parameter.minimum)),
                         " is above the maximum ", ToText(Value(*parameter.maximum))));
    }
  }

  bool CheckValue(const Parameter& parameter, const Value& value, const std::string& path) {
    if (TypeOf(value) != parameter.type) {
      Error(path,
            "found " + WithArticle(TypeOf(value)) + ", expected " + WithArticle(parameter.type));
      return false;
    }
    if (const auto* number = std::get_if<double>(&value); number && !std::isfinite(*number)) {
      Error(path, "expected a finite number");
      return false;
    }
    if (const auto* text = std::get_if<std::string>(&value)) CheckText(path, *text, nullptr);
    return true;
  }

  void CheckFolders() {
    for (const Folder& folder : pipeline_.folders) {
      if (const std::string expected = ExpectedOfName(folder.name); !expected.empty()) {
        Error("folders." + folder.name, FoundExpected(folder.name, expected));
      }
      CheckText("folders." + folder.name, folder.path, nullptr);
    }
    for (const size_t i : FindDuplicates(pipeline_.folders, &Folder::name)) {
      Error("folders." + pipeline_.folders[i].name, "duplicate folder");
    }
  }

  void CheckEnvironment(const std::vector<EnvironmentVariable>& environment, const Task* task) {
    for (const EnvironmentVariable& variable : environment) {
      const auto path = [&] { return "environment." + variable.name; };
      if (std::string expected = ExpectedOfVariableName(variable.name); !expected.empty()) {
        Report(task, path(), FoundExpected(variable.name, expected));
      }
      if (HoldsNul(variable.value)) CheckText(path(), variable.value, task);
      if (!IsSecretReference(variable.value)) continue;
      if (const std::string expected = ExpectedOfSecret(variable.value); !expected.empty()) {
        Report(task, path(), FoundExpected(variable.value, expected));
      }
    }
    for (const size_t i : FindDuplicates(environment, &EnvironmentVariable::name)) {
      Report(task, "environment." + environment[i].name, "duplicate variable");
    }
  }

  void CheckTask(const Task& task) {
    CheckTaskName(task);
    CheckText("description", task.description, &task);
    CheckText("when", task.when, &task);
    CheckText("image", task.image, &task);
    CheckText("resource_group", task.resource_group, &task);
    CheckLabels(task.labels, &task);
    CheckCommand(task);
    CheckDependencies(task);
    CheckEnvironment(task.environment, &task);
    CheckResources(task);
    CheckMounts(task);
    CheckOutputs(task);
    CheckFiles(task);
    CheckMap(task);
    CheckApproval(task);
    CheckRetry(task.retry);
    CheckTime("timeout", task.timeout);
    CheckTime("grace_period", task.grace_period);
    CheckPriority(task.priority, &task);
    if (task.cluster_size < 1) TaskError("cluster.size", "found 0, expected at least 1");
  }

  void CheckTaskName(const Task& task) {
    if (const std::string expected = ExpectedOfName(task.name); !expected.empty()) {
      TaskError("name", FoundExpected(task.name, expected));
    }
    if (const std::optional<size_t> first = findings_.FindTask(task.name); *first != task_) {
      TaskError("name", absl::StrCat("duplicate task \"", task.name, "\"; the first is tasks[",
                                     *first, "]"));
      graph_is_sound_ = false;
    }
  }

  void CheckCommand(const Task& task) {
    if (task.approval && task.command.empty()) return;
    if (task.shell && task.command.size() > 1) {
      TaskError("command", "a script is one text, not a list");
      return;
    }
    const bool missing = task.command.empty() || IsBlank(task.command.front());
    if (missing && (task.kind == TaskKind::command || !task.command.empty())) {
      TaskError("command", task.command.empty() ? "\"command\" is missing"
                                                : "found nothing to run, expected a command");
    }
    for (const std::string_view text : task.command) {
      CheckText("command", text, &task);
      if (text.find("secret://") != std::string::npos) {
        TaskError("command", "a command may not hold a secret; pass it in an environment variable");
      }
    }
  }

  void CheckDependencies(const Task& task) {
    const std::vector<std::string> names(task.dependencies.begin(), task.dependencies.end());
    const auto report = [&](size_t i, std::string message) {
      TaskError(absl::StrCat("dependencies[", i, "]"), std::move(message));
      graph_is_sound_ = false;
    };
    for (size_t i = 0; i < names.size(); ++i) {
      if (!findings_.FindTask(names[i])) {
        report(i, findings_.UnknownTask(names[i]));
      } else if (names[i] == task.name) {
        report(i, "a task cannot depend on itself");
      }
    }
    for (const size_t i : FindDuplicates(names, std::identity())) {
      report(i, absl::StrCat("duplicate dependency \"", names[i], "\""));
    }
  }

  void CheckResources(const Task& task) {
    for (const SlotRequest& request : task.resources) {
      const SlotType* type = FindSlotType(request.slot);
      const int64_t amount = request.amount.thousandths();
      const bool fractions =
          type != nullptr && (type->kind == SlotKind::count || type->kind == SlotKind::share);
      const bool plain = type != nullptr && type->kind != SlotKind::unique && amount >= 0 &&
                         (fractions || amount % 1000 == 0);
      CheckEnforcement(task, request, type);
      if (plain) continue;
      const Status status = ParseSlotAmount(request.slot, request.amount.ToString()).status();
      if (!status.ok()) TaskError("resources." + request.slot, std::string(Message(status)));
    }
    for (const size_t i : FindDuplicates(task.resources, &SlotRequest::slot)) {
      TaskError("resources." + task.resources[i].slot, "duplicate slot");
    }
    const int64_t shared = task.shared_memory.thousandths();
    if (shared < 0 || shared % 1000 != 0) {
      TaskError("shared_memory", FoundExpected(task.shared_memory.ToString(),
                                               "a whole number of bytes, not negative"));
    }
  }

  void CheckEnforcement(const Task& task, const SlotRequest& request, const SlotType* type) {
    if (type == nullptr || !type->of_devices() || request.amount == Quantity() ||
        type->enforcement >= task.enforcement) {
      return;
    }
    TaskError("enforcement",
              FoundExpected(ToString(task.enforcement),
                            absl::StrCat("no more than \"", AbslView(ToString(type->enforcement)),
                                         "\", which is all that ", request.slot, " has")));
  }

  void CheckMounts(const Task& task) {
    std::vector<std::string> paths;
    for (size_t i = 0; i < task.mounts.size(); ++i) {
      const Mount& mount = task.mounts[i];
      const std::string place = absl::StrCat("mounts[", i, "]");
      if (!folders_.contains(mount.folder)) {
        std::vector<std::string_view> names;
        for (const Folder& folder : pipeline_.folders) names.push_back(folder.name);
        TaskError(place, absl::StrCat("unknown folder \"", mount.folder, "\"",
                                      DidYouMean(mount.folder, names)));
      }
      paths.push_back(NormalizePath(mount.path));
      if (const std::string expected = ExpectedOfMountPath(mount.path); !expected.empty()) {
        TaskError(place, FoundExpected(mount.path, expected));
      }
    }
    for (const size_t i : FindDuplicates(paths, std::identity())) {
      TaskError(absl::StrCat("mounts[", i, "]"),
                absl::StrCat("two mounts are at the path \"", paths[i], "\""));
    }
  }

  static std::string ExpectedOfMountPath(std::string_view path) {
    const std::string normal = NormalizePath(path);
    if (path.empty() || normal == "." || normal == "/") return "the path of a folder to mount at";
    if (path.starts_with('/')) path.remove_prefix(path.find_first_not_of('/'));
    return ExpectedOfInnerPath(path);
  }

  void CheckOutputs(const Task& task) {
    for (const Output& output : task.outputs) {
      if (const std::string expected = ExpectedOfReferenceName(output.name); !expected.empty()) {
        TaskError("outputs." + output.name, FoundExpected(output.name, expected));
      }
    }
    for (const size_t i : FindDuplicates(task.outputs, &Output::name)) {
      TaskError("outputs", absl::StrCat("duplicate output \"", task.outputs[i].name, "\""));
    }
  }

  void CheckMap(const Task& task) {
    if (!task.map) return;
    CheckText("map.over", task.map->over, &task);
    if (task.kind == TaskKind::serve) TaskError("map", "a service cannot be run many times");
    const std::pair<const char*, uint32_t> counts[] = {{"map.batch", task.map->batch},
                                                       {"map.batches", task.map->batches},
                                                       {"map.concurrency", task.map->concurrency}};
    for (const auto& [path, count] : counts) {
      const uint32_t least = path == counts[0].first ? 1 : 0;
      if (count >= least && count <= kMaxMapCount) continue;
      TaskError(path, FoundExpected(absl::StrCat(count),
                                    absl::StrCat("a whole number from 1 to ", kMaxMapCount)));
    }
    if (task.map->over.find("${{") != std::string::npos) return;
    const StatusOr<MapItems> items = ParseMapItems(task.map->over);
    const Status status = items.ok() ? BatchSize(*task.map, items->count).status() : items.status();
    if (status.ok()) return;
    std::string_view message = Message(status);
    message.remove_prefix(message.find(": ") + 2);  // the path
    TaskError("map.over", std::string(message));
  }

  void CheckApproval(const Task& task) {
    if (!task.approval) return;
    static const Task defaults;
    const std::pair<const char*, bool> of_attempts[] = {
        {"kind", task.kind != defaults.kind},
        {"command", !task.command.empty()},
        {"map", static_cast<bool>(task.map)},
        {"outputs", !task.outputs.empty()},
        {"environment", !task.environment.empty()},
        {"resources", !task.resources.empty()},
        {"enforcement", task.enforcement != defaults.enforcement},
        {"shared_memory", task.shared_memory != defaults.shared_memory},
        {"mounts", !task.mounts.empty()},
        {"files", !task.files.empty()},
        {"retry", !(task.retry == defaults.retry)},
        {"timeout", task.timeout != defaults.timeout},
        {"grace_period", task.grace_period != defaults.grace_period},
        {"cache", task.cache != defaults.cache},
        {"priority", task.priority != defaults.priority},
        {"image", !task.image.empty()},
        {"resource_group", !task.resource_group.empty()},
        {"cluster", task.cluster_size > 1 || task.multi_node},
    };
    for (const auto& [field, is_given] : of_attempts) {
      if (!is_given) continue;
      const bool time = std::string_view(field) == "timeout";
      TaskError(field, absl::StrCat("an approval runs nothing, so it has no \"", field, "\"",
                                    time ? "; how long it waits is \"approval.timeout\"" : ""));
    }
    const Approval& approval = *task.approval;
    if (IsBlank(approval.message)) {
      TaskError("approval.message", "found nothing to ask, expected a question");
    }
    CheckText("approval.message", approval.message, &task);
    CheckTime("approval.timeout", approval.timeout);
    for (size_t i = 0; i < approval.approvers.size(); ++i) {
      const std::string path = absl::StrCat("approval.approvers[", i, "]");
      if (IsBlank(approval.approvers[i])) TaskError(path, "found no name, expected one");
      CheckText(path, approval.approvers[i], &task);
    }
    for (const size_t i : FindDuplicates(approval.approvers, std::identity())) {
      TaskError(absl::StrCat("approval.approvers[", i, "]"),
                absl::StrCat("duplicate approver \"", approval.approvers[i], "\""));
    }
  }

  void CheckFiles(const Task& task) {
    for (size_t i = 0; i < task.files.size(); ++i) {
      if (const std::string expected = ExpectedOfInnerPath(task.files[i]); !expected.empty()) {
        TaskError(absl::StrCat("files[", i, "]"), FoundExpected(task.files[i], expected));
      }
    }
  }

  void CheckRetry(const Retry& retry) {
    if (retry.max_attempts < 1 || retry.max_attempts > kMaxAttempts) {
      TaskError("retry.max_attempts",
                FoundExpected(absl::StrCat(retry.max_attempts), "a whole number from 1 to 1000"));
    }
    // Written so that NaN is refused.
    if (!(retry.backoff >= 1 && retry.backoff <= kMaxBackoff)) {
      TaskError("retry.backoff",
                FoundExpected(absl::StrCat(retry.backoff), "a number from 1 to 100"));
    }
    if (!(retry.jitter >= 0 && retry.jitter <= 1)) {
      TaskError("retry.jitter", FoundExpected(absl::StrCat(retry.jitter), "a number from 0 to 1"));
    }
    CheckTime("retry.delay", retry.delay);
    CheckTime("retry.max_delay", retry.max_delay);
    if (retry.max_delay == Duration(0)) {
      TaskError("retry.max_delay", FoundExpected("0s", "more than 0"));
    }
  }

  void CheckTime(std::string_view path, Duration duration) {
    if (duration >= Duration(0) && duration % std::chrono::milliseconds(1) == Duration(0)) return;
    TaskError(path, FoundExpected(absl::StrCat(duration.count(), "ns"),
                                  "a whole number of milliseconds that is not negative"));
  }

  void CheckResults() {
    for (const auto& [name, target] : pipeline_.results) {
      const std::string path = "results." + name;
      std::string expected = ExpectedOfInnerPath(name);
      if (name.size() > kMaxResultName)
        expected = absl::StrCat("at most ", kMaxResultName, " bytes");
      if (!expected.empty()) Error(path, FoundExpected(name, expected));
      const size_t slash = target.find('/');
      const std::string_view task = std::string_view(target).substr(0, slash);
      if (slash == std::string::npos || slash + 1 == target.size()) {
        Error(path, FoundExpected(target, "TASK/PATH, a file in the outputs of a task"));
        continue;
      }
      const std::optional<size_t> index = findings_.FindTask(task);
      if (!index) Error(path, findings_.UnknownTask(task));
      if (index && pipeline_.tasks[*index].approval) {
        Error(path,
              absl::StrCat("task \"", AbslView(task), "\" is an approval, which leaves no files"));
      }
      expected = ExpectedOfInnerPath(std::string_view(target).substr(slash + 1));
      if (!expected.empty()) Error(path, FoundExpected(target, expected));
    }
  }

  const Pipeline& pipeline_;
  Findings& findings_;
  absl::flat_hash_set<std::string_view> folders_;
  size_t task_ = 0;
  bool graph_is_sound_ = true;
};

}  // namespace

void ValidatePipeline(const Pipeline& pipeline, const std::vector<Position>& task_positions,
                      Diagnostics* diagnostics) {
  Findings findings(pipeline, task_positions, diagnostics);
  Validator(pipeline, &findings).Check();
}

}  // namespace trackbed
