#include "executors/slurm_rest_json.hpp"

#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "executors/answer_json.hpp"

namespace trackbed {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxProblem = 1000;
constexpr int kOk = 200;
constexpr int kFirstError = 300;
constexpr int kUnauthorized = 401;
// From this version on numbers say whether they are set, the environment is a list, and a job has
// several states at once.
constexpr int kDataParsers = 39;
constexpr int kSlashedResources = 40;  // "gres/gpu:1" instead of "gres:gpu:1"

// A number, or one that says whether it is set.
int64_t Number(const Json& json, const char* name) {
  const Json* found = FindMember(json, name);
  if (found != nullptr && found->is_object()) return Number(*found, "number");
  return NumberMember(json, name);
}

// Of a job that is over but still being tidied up, what it does last counts.
std::string StateOf(const Json& job) {
  const Json* state = FindMember(job, "job_state");
  if (state == nullptr) return "";
  if (state->is_string()) return state->get<std::string>();
  if (!state->is_array()) return "";
  std::string first;
  for (const Json& each : *state) {
    if (!each.is_string()) continue;
    if (each == "COMPLETING") return each.get<std::string>();
    if (first.empty()) first = each.get<std::string>();
  }
  return first;
}

enum class FieldKind : uint8_t { text, number, counted, megabytes, yes, no, ignored };
struct Field {
  std::string_view option;
  const char* name;
  FieldKind kind;
};
// `counted` numbers are those that later versions wrap.
constexpr std::array<Field, 18> kFields = {{
    {"--job-name", "name", FieldKind::text},
    {"--comment", "comment", FieldKind::text},
    {"--output", "standard_output", FieldKind::text},
    {"--open-mode", "open_mode", FieldKind::text},
    {"--chdir", "current_working_directory", FieldKind::text},
    {"--requeue", "requeue", FieldKind::yes},
    {"--no-requeue", "requeue", FieldKind::no},
    {"--ntasks", "tasks", FieldKind::number},
    {"--ntasks-per-node", "tasks_per_node", FieldKind::number},
    {"--cpus-per-task", "cpus_per_task", FieldKind::number},
    {"--mem", "memory_per_node", FieldKind::megabytes},
    {"--mem-per-cpu", "memory_per_cpu", FieldKind::megabytes},
    {"--time", "time_limit", FieldKind::counted},
    {"--partition", "partition", FieldKind::text},
    {"--account", "account", FieldKind::text},
    {"--qos", "qos", FieldKind::text},
    {"--reservation", "reservation", FieldKind::text},
    {"--constraint", "constraints", FieldKind::text},
}};

Json Counted(int version, int64_t number) {
  if (version < kDataParsers) return number;
  return {{"set", true}, {"infinite", false}, {"number", number}};
}

std::string GenericResources(int version, std::string_view value) {
  const std::string_view prefix = version < kSlashedResources ? "gres:" : "gres/";
  std::string text;
  while (!value.empty()) {
    const size_t end = std::min(value.find(','), value.size());
    absl::StrAppend(&text, text.empty() ? "" : ",", absl::string_view(prefix.data(), prefix.size()),
                    absl::string_view(value.data(), end));
    value.remove_prefix(std::min(end + 1, value.size()));
  }
  return text;
}

// Sets the field for an option with its value; false when the value is none for it.
bool SetField(int version, const Field& field, std::string_view value, Json* job) {
  switch (field.kind) {
    case FieldKind::text:
      (*job)[field.name] = value;
      return true;
    case FieldKind::yes:
    case FieldKind::no:
      (*job)[field.name] = field.kind == FieldKind::yes;
      return true;
    case FieldKind::megabytes:
      if (!value.ends_with('M')) return false;
      value.remove_suffix(1);
      break;
    default:
      break;
  }
  int64_t number = 0;
  if (!absl::SimpleAtoi(absl::string_view(value.data(), value.size()), &number)) return false;
  if (field.kind == FieldKind::number) {
    (*job)[field.name] = number;
  } else {
    (*job)[field.name] = Counted(version, number);
  }
  return true;
}

Json Environment(int version, const std::vector<std::string>& environment) {
  if (version >= kDataParsers) return environment;
  Json json = Json::object();
  for (const std::string& entry : environment) {
    const size_t equals = entry.find('=');
    if (equals == std::string::npos) continue;
    json[entry.substr(0, equals)] = entry.substr(equals + 1);
  }
  return json;
}

void SetNodes(int version, int64_t nodes, Json* job) {
  if (version < kDataParsers) {
    (*job)["nodes"] = nodes;  // of a least and a most, Slurm 22.05 heeds neither
  } else {
    (*job)["minimum_nodes"] = nodes;
    (*job)["maximum_nodes"] = nodes;
  }
}

}  // namespace

StatusOr<int> ChooseRestVersion(std::string_view openapi) {
  const Json json = ParseAnswer(openapi);
  const Json* paths = FindMember(json, "paths");
  if (paths == nullptr || !paths->is_object()) {
    return FailedPrecondition("it does not describe itself as slurmrestd does (/openapi)");
  }
  for (int version = kNewestRestVersion; version >= kOldestRestVersion; --version) {
    const std::string path = RestPath(version, "jobs");
    if (paths->contains(path) || paths->contains(path + "/")) return version;
  }
  std::string found;
  for (const auto& [path, ignored] : paths->items()) {
    if (!path.starts_with("/slurm/v") || !path.ends_with("/jobs")) continue;
    const size_t begin = std::string_view("/slurm/").size();
    absl::StrAppend(&found, found.empty() ? "" : ", ",
                    path.substr(begin, path.find('/', begin) - begin));
  }
  return FailedPrecondition(absl::StrCat("it speaks ", found.empty() ? "no version" : found,
                                         " of its interface; v0.0.", kOldestRestVersion,
                                         " to v0.0.", kNewestRestVersion, " are known here"));
}

std::string RestPath(int version, std::string_view what) {
  return absl::StrCat("/slurm/v0.0.", version, "/", absl::string_view(what.data(), what.size()));
}

StatusOr<std::string> RestSubmission(int version, const std::vector<std::string>& arguments,
                                     const std::vector<std::string>& environment) {
  Json job = Json::object();
  std::string script;
  for (const std::string& argument : arguments) {
    const std::string_view text = argument;
    const size_t equals = std::min(text.find('='), text.size());
    const std::string_view option = text.substr(0, equals);
    const std::string_view value = text.substr(std::min(equals + 1, text.size()));
    if (option == "--parsable" || option == "--export") continue;
    if (option == "--wrap") {
      script = absl::StrCat("#!/bin/sh\n", absl::string_view(value.data(), value.size()), "\n");
      continue;
    }
    int64_t nodes = 0;
    if (option == "--nodes" &&
        absl::SimpleAtoi(absl::string_view(value.data(), value.size()), &nodes)) {
      SetNodes(version, nodes, &job);
      continue;
    }
    if (option == "--gres") {
      job[version < kDataParsers ? "gres" : "tres_per_node"] =
          version < kDataParsers ? std::string(value) : GenericResources(version, value);
      continue;
    }
    const auto field = std::find_if(kFields.begin(), kFields.end(),
                                    [&](const Field& known) { return known.option == option; });
    if (field == kFields.end() || !SetField(version, *field, value, &job)) {
      return InvalidArgument("\"" + argument + "\" cannot be asked of slurmrestd");
    }
  }
  // Later versions take a list of flags.
  if (version >= kDataParsers && job.contains("open_mode")) job["open_mode"] = {"APPEND"};
  job["environment"] = Environment(version, environment);
  return Json{{"script", std::move(script)}, {"job", std::move(job)}}.dump(
      -1, ' ', false, Json::error_handler_t::replace);
}

std::string RestProblem(std::string_view body) {
  const Json json = ParseAnswer(body);
  std::string problem;
  for (const Json& error : ListMember(json, "errors")) {
    std::string text = TextMember(error, "error");
    const std::string description = TextMember(error, "description");
    if (text.empty()) text = description;
    if (!text.empty() && !description.empty() && description != text) text += ": " + description;
    if (text.empty()) text = "error " + std::to_string(Number(error, "error_number"));
    problem += (problem.empty() ? "" : "; ") + text;
  }
  std::replace(problem.begin(), problem.end(), '\n', ' ');
  if (problem.size() > kMaxProblem) problem.resize(kMaxProblem);
  return problem;
}

SubmitAnswer ReadRestSubmission(int status, std::string_view body) {
  const Json json = ParseAnswer(body);
  const int64_t id = Number(json, "job_id");
  if (status == kOk && id > 0) return {SubmitAnswer::Kind::taken, std::to_string(id), ""};
  std::string problem = RestProblem(body);
  // A service that does not let us in, or something in between that does not reach it, has not
  // looked at the job.
  const bool unsure = status < kFirstError || status == kUnauthorized || problem.empty() ||
                      MayBeTakenLater(problem);
  if (problem.empty()) problem = "slurmrestd answers with status " + std::to_string(status);
  return {unsure ? SubmitAnswer::Kind::unsure : SubmitAnswer::Kind::refused, "",
          std::move(problem)};
}

StatusOr<std::multimap<std::string, JobLine>> ReadRestJobs(std::string_view body) {
  const Json json = ParseAnswer(body);
  const Json* list = FindMember(json, "jobs");
  const std::string problem = RestProblem(body);
  if (!problem.empty()) return Unavailable(problem);
  if (list == nullptr || !list->is_array()) return Unavailable("the answer has no list of jobs");
  std::multimap<std::string, JobLine> jobs;
  for (const Json& each : *list) {
    JobLine job;
    const int64_t id = Number(each, "job_id");
    if (id <= 0) continue;
    job.id = std::to_string(id);
    job.state_text = StateOf(each);
    job.state = ReadJobState(job.state_text);
    job.reason = TextMember(each, "state_description");
    if (job.reason.empty()) job.reason = TextMember(each, "state_reason");
    job.folder = TextMember(each, "current_working_directory");
    jobs.emplace(TextMember(each, "name"), std::move(job));
  }
  return jobs;
}

StatusOr<std::string> ReadRestPing(std::string_view body) {
  const Json json = ParseAnswer(body);
  bool up = false;
  for (const Json& ping : ListMember(json, "pings")) up = up || TextMember(ping, "ping") == "UP";
  if (!up) {
    const std::string problem = RestProblem(body);
    return Unavailable("slurmrestd answers, and the controller of Slurm does not" +
                       (problem.empty() ? "" : ": " + problem));
  }
  const Json& meta = ObjectMember(json, "meta");
  std::string release = TextMember(ObjectMember(meta, "Slurm"), "release");
  return release.empty() ? TextMember(ObjectMember(meta, "slurm"), "release") : release;
}

std::vector<std::string> ReadRestPartitions(std::string_view body) {
  std::vector<std::string> names;
  const Json json = ParseAnswer(body);
  for (const Json& each : ListMember(json, "partitions")) {
    std::string name = TextMember(each, "name");
    if (!name.empty()) names.push_back(std::move(name));
  }
  return names;
}

}  // namespace trackbed
