#include "engine/attempt_builder.hpp"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <utility>

#include "engine/map_run.hpp"
#include "engine/utf8.hpp"
#include "trackbed/pipeline/expression.hpp"

namespace trackbed {
namespace {

constexpr std::string_view kSecretPrefix = "secret://";
constexpr std::string_view kTemplateMark = "${{";

// Looks names of expressions up in a run, from the place of one task.
class RunResolver {
 public:
  RunResolver(const RunState& run, TaskIndex task, uint32_t attempt)
      : run_(run), task_(task), attempt_(attempt) {}

  StatusOr<Value> operator()(const Reference& reference) const {
    const std::vector<std::string>& parts = reference.parts;
    if (parts[0] == "params" && parts.size() == 2) {
      auto found = run_.submitted().parameters.find(parts[1]);
      if (found != run_.submitted().parameters.end()) return found->second;
    }
    const MapBinding* map = run_.map();
    if (parts[0] == "tasks" && parts.size() >= 3) {
      return map == nullptr ? TaskValue(reference) : UpstreamValue(*map, reference);
    }
    if (parts[0] == "run" && parts.size() == 2) {
      // A batch sees the run that was submitted.
      if (parts[1] == "id") return Value(run_.id().substr(0, run_.id().find('/')));
      if (parts[1] == "pipeline") return Value(SubmittedPipeline(run_.pipeline()));
    }
    if (parts[0] == "item" || parts[0] == "items") {
      // The mapped task itself has no items: what it is cached by says where they stand.
      if (map == nullptr) return Value(absl::StrCat("${{ ", reference.ToString(), " }}"));
      return ItemValue(*map, reference.ToString());
    }
    if (parts[0] == "task" && parts.size() == 2) {
      if (parts[1] == "name") {
        return Value(map == nullptr ? run_.pipeline().tasks[task_].name : map->task);
      }
      if (parts[1] == "attempt") return Value(static_cast<int64_t>(attempt_));
    }
    return InvalidArgument(absl::StrCat("there is no ", reference.ToString()));
  }

 private:
  StatusOr<Value> TaskValue(const Reference& reference) const {
    const std::vector<std::string>& parts = reference.parts;
    const StatusOr<TaskIndex> index = FindUpstream(parts[1]);
    if (!index.ok()) return index.status();
    if (parts[2] == "state" && parts.size() == 3) {
      return Value(std::string(ToString(run_.task(*index).state)));
    }
    if (parts[2] == "outputs" && parts.size() == 4) {
      if (const TaskResult* result = run_.Result(*index)) {
        auto output = result->outputs.find(parts[3]);
        if (output != result->outputs.end()) return output->second;
      }
      return FailedPrecondition(absl::StrCat(reference.ToString(), " has no value: task \"",
                                             parts[1], "\" is ",
                                             AbslView(ToString(run_.task(*index).state))));
    }
    return InvalidArgument(absl::StrCat("there is no ", reference.ToString()));
  }

  static StatusOr<Value> UpstreamValue(const MapBinding& map, const Reference& reference) {
    const std::vector<std::string>& parts = reference.parts;
    for (const MapBinding::Upstream& upstream : map.upstream) {
      if (upstream.name != parts[1]) continue;
      if (parts[2] == "state" && parts.size() == 3) return Value(upstream.state);
      if (parts[2] == "outputs" && parts.size() == 4) {
        if (upstream.result && upstream.result->outputs.contains(parts[3])) {
          return upstream.result->outputs.at(parts[3]);
        }
        return FailedPrecondition(absl::StrCat(reference.ToString(), " has no value: task \"",
                                               parts[1], "\" is ", upstream.state));
      }
    }
    return InvalidArgument(absl::StrCat("there is no ", reference.ToString()));
  }

  StatusOr<Value> ItemValue(const MapBinding& map, const std::string& name) const {
    const BatchItems items = ItemsOf(map, task_);
    if (name == "items") return Value(ItemsAsJson(map, items));
    if (name == "item.index") return Value(static_cast<int64_t>(items.first));
    if (name == "item.count") return Value(static_cast<int64_t>(items.count));
    if (name != "item" || items.count != 1) {
      return InvalidArgument(absl::StrCat("there is no ", name));
    }
    if (map.numbered) return Value(static_cast<int64_t>(items.first));
    const std::string& json = map.items[items.first];
    const auto item = nlohmann::json::parse(json, nullptr, /*allow_exceptions=*/false);
    if (item.is_string()) return Value(item.get<std::string>());
    if (item.is_boolean()) return Value(item.get<bool>());
    if (item.is_number_integer() && !item.is_number_unsigned()) return Value(item.get<int64_t>());
    if (item.is_number_unsigned() && item.get<uint64_t>() <= INT64_MAX) {
      return Value(item.get<int64_t>());
    }
    if (item.is_number()) return Value(item.get<double>());
    return Value(json);
  }

  // Tasks are looked up among the ancestors only, nearest first: a reference nearly always names a
  // direct dependency, and then no index of all names is needed.
  StatusOr<TaskIndex> FindUpstream(const std::string& name) const {
    std::vector<TaskIndex> todo{task_};
    std::vector<bool> seen;
    for (size_t i = 0; i < todo.size(); ++i) {
      for (TaskIndex candidate : run_.graph().Predecessors(todo[i])) {
        if (run_.pipeline().tasks[candidate].name == name) return candidate;
        if (seen.empty()) seen.resize(run_.graph().task_count());
        if (seen[candidate]) continue;
        seen[candidate] = true;
        todo.push_back(candidate);
      }
    }
    return InvalidArgument(absl::StrCat("task \"", name, "\" is not upstream of task \"",
                                        run_.pipeline().tasks[task_].name, "\""));
  }

  const RunState& run_;
  TaskIndex task_;
  uint32_t attempt_;
};

StatusOr<std::string> Render(std::string_view text, const Resolver& resolver,
                             Template::Quoting quoting, std::string_view where) {
  if (text.find(kTemplateMark) == std::string_view::npos) return std::string(text);
  StatusOr<Template> parsed = Template::Parse(text);
  StatusOr<std::string> rendered =
      parsed.ok() ? parsed->Render(resolver, quoting) : StatusOr<std::string>(parsed.status());
  if (rendered.ok()) return rendered;
  return InvalidArgument(absl::StrCat(AbslView(where), ": ", AbslView(Message(rendered.status()))));
}

// `${{ secrets.NAME }}` as the whole value is the reference secret://env/NAME.
bool RewriteSecretTemplate(std::string_view value, std::string* reference) {
  if (value.find(kTemplateMark) == std::string_view::npos ||
      value.find("secrets.") == std::string_view::npos) {
    return false;
  }
  const StatusOr<Template> parsed = Template::Parse(value);
  if (!parsed.ok()) return false;
  const std::vector<Reference> references = parsed->References();
  if (references.size() != 1 || references[0].parts.size() != 2 ||
      references[0].parts[0] != "secrets") {
    return false;
  }
  *reference = absl::StrCat(AbslView(kSecretPrefix), "env/", references[0].parts[1]);
  return true;
}

// The pipeline's variables with the task's own laid over them; both are sorted by name.
std::vector<EnvironmentVariable> MergeEnvironment(const Pipeline& pipeline, const Task& task) {
  if (pipeline.environment.empty()) return task.environment;
  std::vector<EnvironmentVariable> merged;
  merged.reserve(pipeline.environment.size() + task.environment.size());
  std::set_union(
      task.environment.begin(), task.environment.end(), pipeline.environment.begin(),
      pipeline.environment.end(), std::back_inserter(merged),
      [](const EnvironmentVariable& a, const EnvironmentVariable& b) { return a.name < b.name; });
  return merged;
}

const std::string& HostPath(const RunState& run, const std::string& folder) {
  static const std::string none;
  for (const FolderBinding& binding : run.submitted().folders) {
    if (binding.name == folder) return binding.host_path;
  }
  return none;
}

// What a batch is told of its items. Where they are numbers, their range says it all; else they are
// all that tells batches apart, so that a batch with the same items elsewhere in the list does the
// same work.
Status AddItems(const MapBinding& map, TaskIndex batch, AttemptSpec* spec) {
  constexpr size_t kLongest = 100'000;  // of Linux's 128 KiB for a variable
  const BatchItems items = ItemsOf(map, batch);
  spec->environment.push_back({"TRACKBED_MAP_COUNT", absl::StrCat(items.count)});
  if (map.numbered) {
    spec->environment.push_back({"TRACKBED_MAP_FIRST", absl::StrCat(items.first)});
    return absl::OkStatus();
  }
  std::string json = ItemsAsJson(map, items);
  if (json.size() > kLongest) {
    return InvalidArgument(
        absl::StrCat("map: the items of batch ", batch, " are ", json.size(),
                     " bytes of JSON, expected at most ", kLongest,
                     "; make batches smaller, or go over a number and take items from a file"));
  }
  spec->environment.push_back({"TRACKBED_MAP_ITEMS", std::move(json)});
  return absl::OkStatus();
}

bool IsFastTrack(const Pipeline& pipeline) {
  auto label = pipeline.labels.lower_bound("fasttrack/");
  return label != pipeline.labels.end() && label->first.starts_with("fasttrack/");
}

}  // namespace

StatusOr<bool> EvaluateWhen(const RunState& run, TaskIndex task) {
  const std::string& when = run.pipeline().tasks[task].when;
  if (when.empty()) return true;
  StatusOr<Expression> expression = Expression::Parse(when);
  StatusOr<bool> value =
      expression.ok()
          ? expression->EvaluateCondition(RunResolver(run, task, run.task(task).attempt + 1))
          : StatusOr<bool>(expression.status());
  if (value.ok()) return value;
  return InvalidArgument(absl::StrCat("when: ", AbslView(Message(value.status()))));
}

StatusOr<AttemptSpec> BuildAttempt(const RunState& run, TaskIndex index, uint32_t attempt,
                                   const Workspace& workspace) {
  const Pipeline& pipeline = run.pipeline();
  const Task& task = pipeline.tasks[index];
  const RunResolver names(run, index, attempt);
  const Resolver resolver = std::cref(names);  // small enough not to need the heap

  AttemptSpec spec;
  spec.key = MakeAttemptKey(run.id(), task.name, attempt);
  spec.folder = workspace.AttemptFolder(run.id(), task.name, attempt);
  spec.shell = task.shell;
  const TextList& command = run.map() == nullptr ? task.command : pipeline.tasks[0].command;
  for (const std::string_view word : command) {
    TRACKBED_ASSIGN_OR_RETURN(
        std::string rendered,
        Render(word, resolver, task.shell ? Template::Quoting::shell : Template::Quoting::none,
               "command"));
    spec.command.push_back(std::move(rendered));
  }
  spec.environment = MergeEnvironment(pipeline, task);
  for (EnvironmentVariable& variable : spec.environment) {
    const bool is_secret =
        RewriteSecretTemplate(variable.value, &variable.value) || IsSecretReference(variable.value);
    if (is_secret) spec.secret_names.push_back(variable.name);
    TRACKBED_ASSIGN_OR_RETURN(variable.value,
                              Render(variable.value, resolver, Template::Quoting::none,
                                     absl::StrCat("environment.", variable.name)));
  }
  if (run.map() != nullptr) TRACKBED_RETURN_IF_ERROR(AddItems(*run.map(), index, &spec));
  spec.source_path = run.submitted().source.host_path;
  spec.files = task.files;
  for (const Mount& mount : task.mounts) {
    spec.mounts.push_back({mount.folder, HostPath(run, mount.folder), mount.path, mount.read_only});
  }
  spec.inputs.reserve(run.graph().Predecessors(index).size());
  ForEachInput(run, index, [&](const std::string& name, const TaskResult* result) {
    std::string folder;
    if (result != nullptr && !result->digest.empty()) {
      folder = workspace.AttemptFolder(result->run, result->task, result->attempt) + "/outputs";
    }
    spec.inputs.push_back({name, std::move(folder), "", true});
  });
  spec.pipeline_folder = workspace.PipelineFolder(SubmittedPipeline(pipeline));
  spec.pipeline_paths = IsFastTrack(pipeline);
  spec.image = task.image;
  spec.resources = task.resources;
  spec.shared_memory = task.shared_memory.units();
  spec.resource_group = task.resource_group;
  spec.timeout = task.timeout;
  spec.grace_period = task.grace_period;
  return spec;
}

StatusOr<std::string> RenderOver(const RunState& run, TaskIndex task) {
  const RunResolver names(run, task, run.task(task).attempt + 1);
  return Render(run.pipeline().tasks[task].map->over, std::cref(names), Template::Quoting::none,
                "map.over");
}

StatusOr<std::string> RenderQuestion(const RunState& run, TaskIndex task) {
  const RunResolver names(run, task, run.task(task).attempt + 1);
  return Render(run.pipeline().tasks[task].approval->message, std::cref(names),
                Template::Quoting::none, "approval.message");
}

Status CheckSecretSources(const SecretSource* secrets,
                          const std::vector<EnvironmentVariable>& environment) {
  if (secrets == nullptr) return absl::OkStatus();
  for (const EnvironmentVariable& variable : environment) {
    if (!IsSecretReference(variable.value)) continue;
    const std::string_view rest = std::string_view(variable.value).substr(kSecretPrefix.size());
    if (const Status known = secrets->CheckSource(rest.substr(0, rest.find('/'))); !known.ok()) {
      return InvalidArgument(
          absl::StrCat("environment.", variable.name, ": ", AbslView(Message(known))));
    }
  }
  return absl::OkStatus();
}

Status ResolveSecrets(SecretSource* secrets, AttemptSpec* spec) {
  for (EnvironmentVariable& variable : spec->environment) {
    if (!std::binary_search(spec->secret_names.begin(), spec->secret_names.end(), variable.name)) {
      continue;
    }
    const std::string_view rest = std::string_view(variable.value).substr(kSecretPrefix.size());
    const size_t slash = rest.find('/');
    if (slash == std::string_view::npos) {
      return InvalidArgument(absl::StrCat("environment.", variable.name, ": found \"",
                                          variable.value, "\", expected secret://SOURCE/NAME"));
    }
    if (secrets == nullptr) {
      return NotFound(absl::StrCat("environment.", variable.name, ": cannot resolve ",
                                   variable.value, ": this engine was given no secrets"));
    }
    StatusOr<std::string> value = secrets->Resolve(rest.substr(0, slash), rest.substr(slash + 1));
    if (!value.ok()) {
      return NotFound(
          absl::StrCat("environment.", variable.name, ": ", AbslView(Message(value.status()))));
    }
    variable.value = *std::move(value);
  }
  return absl::OkStatus();
}

namespace {

const Output* FindOutput(const Task& task, std::string_view name) {
  for (const Output& output : task.outputs) {
    if (output.name == name) return &output;
  }
  return nullptr;
}

Status AddOutput(const Task& task, const std::string& name, std::string_view text, int line,
                 std::map<std::string, Value>* values) {
  const auto at_line = [&] { return absl::StrCat("output line ", line, ": "); };
  const Output* output = FindOutput(task, name);
  if (output == nullptr) {
    const std::string declared = absl::StrJoin(
        task.outputs, ", ", [](std::string* out, const Output& o) { out->append(o.name); });
    return InvalidArgument(
        absl::StrCat(at_line(), "found \"", name, "\", which the task does not ",
                     "declare; its outputs: ", declared.empty() ? "none" : declared));
  }
  StatusOr<Value> value = ParseValue(text, output->type);
  if (!value.ok()) {
    return InvalidArgument(absl::StrCat(at_line(), name, ": ", AbslView(Message(value.status()))));
  }
  values->insert_or_assign(name, *std::move(value));
  return absl::OkStatus();
}

Status AddJsonLine(const Task& task, std::string_view text, int line,
                   std::map<std::string, Value>* values) {
  const auto json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) {
    return InvalidArgument(
        absl::StrCat("output line ", line, ": found \"{…\", expected one whole JSON object"));
  }
  for (const auto& [name, value] : json.items()) {
    if (value.is_structured() || value.is_null()) {
      return InvalidArgument(absl::StrCat("output line ", line, ": ", name,
                                          ": expected a text, a number or a boolean"));
    }
    const std::string plain = value.is_string() ? value.get<std::string>() : value.dump();
    TRACKBED_RETURN_IF_ERROR(AddOutput(task, name, plain, line, values));
  }
  return absl::OkStatus();
}

}  // namespace

StatusOr<std::map<std::string, Value>> ReadOutputs(const Task& task, std::string_view text) {
  std::map<std::string, Value> values;
  for (int line = 1; !text.empty(); ++line) {
    const size_t end = text.find('\n');
    std::string_view current = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (current.ends_with('\r')) current.remove_suffix(1);
    if (current.empty()) continue;
    if (!IsUtf8(current)) {
      return InvalidArgument(
          absl::StrCat("output line ", line, ": found bytes that are not UTF-8"));
    }
    if (current.starts_with('{')) {
      TRACKBED_RETURN_IF_ERROR(AddJsonLine(task, current, line, &values));
      continue;
    }
    const size_t equals = current.find('=');
    if (equals == std::string_view::npos) {
      return InvalidArgument(absl::StrCat("output line ", line, ": found \"",
                                          AbslView(current.substr(0, 40)),
                                          "\", expected NAME=VALUE"));
    }
    TRACKBED_RETURN_IF_ERROR(AddOutput(task, std::string(current.substr(0, equals)),
                                       current.substr(equals + 1), line, &values));
  }
  for (const Output& output : task.outputs) {
    if (!values.contains(output.name)) {
      return InvalidArgument(absl::StrCat("the task ended without its output \"", output.name,
                                          "\"; write ", output.name, "=VALUE to $TRACKBED_OUTPUT"));
    }
  }
  return values;
}

}  // namespace trackbed
