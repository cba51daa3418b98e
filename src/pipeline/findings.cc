// Collects mistakes and looks up tasks by name.
#include "pipeline/findings.hpp"

#include <absl/container/flat_hash_map.h>
#include <absl/strings/str_cat.h>

#include "pipeline/schema_reader.hpp"

namespace trackbed {
namespace {

// Looking for the nearest of very many names, very many times, would take minutes.
constexpr size_t kMaxComparedNames = 200'000;

}  // namespace

struct Findings::TaskIndexByName {
  absl::flat_hash_map<std::string_view, size_t> map;
};

Findings::Findings(const Pipeline& pipeline, const std::vector<Position>& task_positions,
                   Diagnostics* diagnostics)
    : pipeline_(pipeline),
      task_positions_(task_positions),
      diagnostics_(diagnostics),
      by_name_(std::make_unique<TaskIndexByName>()) {
  by_name_->map.reserve(pipeline.tasks.size());
  for (size_t i = 0; i < pipeline.tasks.size(); ++i) {
    by_name_->map.emplace(pipeline.tasks[i].name, i);
  }
}

Findings::~Findings() = default;

void Findings::Error(std::string path, std::string message) {
  Add({}, std::move(path), std::move(message));
}

void Findings::TaskError(size_t index, std::string_view path, std::string message) {
  const Position position = index < task_positions_.size() ? task_positions_[index] : Position();
  std::string whole = absl::StrCat("tasks[", index, "]", path.empty() ? "" : ".", AbslView(path));
  Add(position, std::move(whole), std::move(message));
}

void Findings::Add(Position position, std::string path, std::string message) {
  if (diagnostics_->error_count() > kMaxErrors) return;
  if (diagnostics_->error_count() == kMaxErrors) {
    path.clear();
    message = absl::StrCat("only the first ", kMaxErrors, " mistakes are listed");
  }
  diagnostics_->Error(position, std::move(path), std::move(message));
}

std::optional<size_t> Findings::FindTask(std::string_view name) const {
  const auto found = by_name_->map.find(name);
  if (found == by_name_->map.end()) return std::nullopt;
  return found->second;
}

std::string Findings::UnknownTask(std::string_view name) {
  if (names_.empty()) {
    for (const Task& task : pipeline_.tasks) names_.push_back(task.name);
  }
  std::string message = absl::StrCat("unknown task \"", AbslView(name), "\"");
  if (compared_names_ < kMaxComparedNames) {
    compared_names_ += names_.size();
    message += DidYouMean(name, names_);
  }
  return message;
}

std::string DidYouMean(std::string_view word, const std::vector<std::string_view>& candidates) {
  const std::string_view near = ClosestMatch(word, candidates);
  if (near.empty()) return "";
  return absl::StrCat("; did you mean \"", AbslView(near), "\"?");
}

std::string FoundExpected(std::string_view found, std::string_view expected) {
  DocumentNode node;
  node.kind = DocumentNode::Kind::scalar;
  node.scalar = found;
  return absl::StrCat("found ", Describe(node), ", expected ", AbslView(expected));
}

}  // namespace trackbed
