#include "trackbed/engine/artifacts.hpp"

#include <filesystem>

namespace trackbed {
namespace {

bool IsThere(const std::string& folder) {
  std::error_code error;
  return std::filesystem::is_directory(folder, error);
}

// OK when there is nothing to bring.
Status BringBack(const std::string& folder, const std::string& digest, ArtifactStore* store) {
  if (digest.empty() || IsThere(folder)) return absl::OkStatus();
  TRACKBED_ASSIGN_OR_RETURN(const bool known, store->Has(digest));
  // Who needs it will miss it by its name.
  return known ? store->Get(digest, folder) : absl::OkStatus();
}

}  // namespace

Status KeepSource(const SourceBinding& source, ArtifactStore* store) {
  if (source.host_path.empty()) return absl::OkStatus();
  TRACKBED_ASSIGN_OR_RETURN(const bool known, store->Has(source.digest));
  return known ? absl::OkStatus() : store->Put(source.digest, source.host_path);
}

bool BringBackOutputs(const std::string& folder, const std::string& digest, ArtifactStore* store) {
  return BringBack(folder, digest, store).ok() && IsThere(folder);
}

Status BringBackFiles(const RunState& run, const Workspace& workspace, ArtifactStore* store) {
  const SourceBinding& source = run.submitted().source;
  if (!source.host_path.empty()) {
    TRACKBED_RETURN_IF_ERROR(BringBack(source.host_path, source.digest, store));
  }
  for (TaskIndex task = 0; task < run.pipeline().tasks.size(); ++task) {
    const TaskResult* result =
        run.task(task).state == TaskState::succeeded ? run.Result(task) : nullptr;
    if (result == nullptr) continue;
    TRACKBED_RETURN_IF_ERROR(
        BringBack(workspace.AttemptFolder(result->run, result->task, result->attempt) + "/outputs",
                  result->digest, store));
  }
  return absl::OkStatus();
}

}  // namespace trackbed
