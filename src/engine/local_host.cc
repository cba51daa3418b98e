#include "trackbed/engine/local_host.hpp"

#include <absl/strings/str_cat.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

#include "engine/copy_inside.hpp"
#include "trackbed/data/source_snapshot.hpp"
#include "trackbed/data/tree_digest.hpp"
#include "trackbed/engine/workspace.hpp"

namespace trackbed {
namespace {

namespace fs = std::filesystem;

std::string ReadBootId() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id;
  file >> id;
  return id;
}

// Field 22 of /proc/PID/stat, in clock ticks since boot; -1 when there is no such process, or only
// what its parent has not reaped. The second field, a name in parentheses, may itself hold spaces
// and parentheses.
int64_t ReadProcessStart(int64_t process) {
  std::ifstream file(absl::StrCat("/proc/", process, "/stat"));
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return -1;
  std::istringstream rest(text.substr(name_end + 1));
  std::string field;
  rest >> field;
  if (field == "Z" || field == "X") return -1;
  constexpr int kStartAfterState = 19;
  for (int i = 0; i < kStartAfterState; ++i) rest >> field;
  return rest ? std::strtoll(field.c_str(), nullptr, 10) : -1;
}

std::string HostName() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "";
}

// `relative` below `root`, or an error when it leads out of it by a link.
StatusOr<fs::path> Inside(const fs::path& root, const std::string& relative) {
  std::error_code error;
  const fs::path base = fs::canonical(root, error);
  const fs::path path = fs::canonical(root / relative, error);
  if (error) return NotFound(absl::StrCat("there is no ", (root / relative).string()));
  const auto mismatch = std::mismatch(base.begin(), base.end(), path.begin(), path.end());
  if (mismatch.first != base.end()) {
    return InvalidArgument(absl::StrCat((root / relative).string(), " leads out of its folder"));
  }
  return path;
}

Status CopyFile(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::create_directories(to.parent_path(), error);
  const fs::path temporary = to.string() + absl::StrCat(".tmp-", getpid());
  if (!error) fs::copy_file(from, temporary, fs::copy_options::overwrite_existing, error);
  if (!error) fs::rename(temporary, to, error);
  if (!error) return absl::OkStatus();
  std::error_code ignored;
  fs::remove(temporary, ignored);
  const std::string message = absl::StrCat(to.string(), ": cannot write: ", error.message());
  return error == std::errc::no_space_on_device ? ResourceExhausted(message)
                                                : FailedPrecondition(message);
}

}  // namespace

StatusOr<std::string> MakeHomeFolder(const std::string& home) {
  std::error_code error;
  std::string absolute = fs::absolute(home, error).lexically_normal().string();
  while (absolute.size() > 1 && absolute.ends_with('/')) absolute.pop_back();
  bool made = false;
  if (!error) made = fs::create_directories(absolute, error);
  if (error) {
    const std::string message = absl::StrCat(home, ": cannot make the folder: ", error.message());
    return error == std::errc::no_space_on_device ? ResourceExhausted(message)
                                                  : FailedPrecondition(message);
  }
  if (made) fs::permissions(absolute, fs::perms::owner_all, error);
  return absolute;
}

LeaseHolder ThisProcess(std::string description) {
  return {HostName(), ReadBootId(), getpid(), ReadProcessStart(getpid()), std::move(description),
          ""};
}

bool HolderIsGone(const LeaseHolder& holder) {
  if (holder.host != HostName() || holder.boot_id.empty()) return false;
  const std::string boot_id = ReadBootId();
  if (boot_id.empty()) return false;
  return boot_id != holder.boot_id || ReadProcessStart(holder.process) != holder.process_start;
}

namespace {

// How the tasks of a pipeline use one of its folders.
struct FolderUse {
  bool read = false;
  bool written = false;
};

FolderUse UseOf(const Pipeline& pipeline, const std::string& folder) {
  FolderUse use;
  for (const Task& task : pipeline.tasks) {
    for (const Mount& mount : task.mounts) {
      if (mount.folder != folder) continue;
      (mount.read_only ? use.read : use.written) = true;
    }
  }
  return use;
}

StatusOr<FolderBinding> BindFolder(const Pipeline& pipeline, const Folder& folder,
                                   const std::string& base, const Workspace& workspace,
                                   bool use_cache) {
  FolderBinding binding;
  binding.name = folder.name;
  binding.host_path = folder.path.empty()
                          ? workspace.FolderOf(pipeline.name, folder.name)
                          : (fs::path(base) / folder.path).lexically_normal().string();
  const FolderUse use = UseOf(pipeline, folder.name);
  if (!use.read || use.written) return binding;
  std::error_code error;
  if (!fs::is_directory(binding.host_path, error)) {
    return NotFound(absl::StrCat("folder \"", folder.name,
                                 "\": tasks only read it, and there is no ", binding.host_path));
  }
  if (use_cache) {
    TRACKBED_ASSIGN_OR_RETURN(binding.digest, TreeDigest(binding.host_path));
  }
  return binding;
}

StatusOr<SourceBinding> BindSource(const Pipeline& pipeline, const std::string& base,
                                   const Workspace& workspace) {
  SourceBinding binding;
  if (pipeline.source.empty()) return binding;
  // The file names it, and whoever wrote the file may have put a link there.
  const StatusOr<fs::path> folder = Inside(base, pipeline.source);
  if (!folder.ok()) {
    return Status(folder.status().code(),
                  absl::StrCat("source: ", AbslView(Message(folder.status()))));
  }
  TRACKBED_ASSIGN_OR_RETURN(SourceSnapshot snapshot,
                            SnapshotSource(folder->string(), workspace.Sources()));
  binding.host_path = std::move(snapshot.path);
  binding.digest = std::move(snapshot.digest);
  for (TreeEntry& entry : snapshot.entries) {
    if (entry.type == TreeEntry::Type::folder) continue;
    // Whether a script may be executed is part of what a task sees.
    std::string seen = absl::StrCat(entry.digest, entry.executable() ? " executable" : "");
    binding.files.emplace(std::move(entry.path), std::move(seen));
  }
  return binding;
}

}  // namespace

StatusOr<SubmitOptions> PrepareRun(const Pipeline& pipeline, const std::string& base,
                                   const std::string& home, std::map<std::string, Value> parameters,
                                   bool use_cache) {
  const Workspace workspace(home);
  SubmitOptions options;
  options.parameters = std::move(parameters);
  options.use_cache = use_cache;
  TRACKBED_ASSIGN_OR_RETURN(options.source, BindSource(pipeline, base, workspace));
  for (const Folder& folder : pipeline.folders) {
    TRACKBED_ASSIGN_OR_RETURN(FolderBinding binding,
                              BindFolder(pipeline, folder, base, workspace, use_cache));
    options.folders.push_back(std::move(binding));
  }
  return options;
}

bool HasOutputFolder(const std::string& folder, const std::string& /*digest*/) {
  std::error_code error;
  return fs::is_directory(folder, error);
}

Status LinkOutputs(const std::string& from, const std::string& to) {
  std::error_code error;
  fs::create_directories(to, error);
  fs::recursive_directory_iterator entry(from, error);
  for (; !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
    const fs::path target = fs::path(to) / entry->path().lexically_relative(from);
    const fs::file_status status = entry->symlink_status(error);
    if (error) break;
    if (fs::is_directory(status)) {
      fs::create_directories(target, error);
    } else if (fs::is_symlink(status)) {
      fs::copy_symlink(entry->path(), target, error);
    } else if (fs::is_regular_file(status)) {
      fs::create_hard_link(entry->path(), target, error);
      if (error && error != std::errc::file_exists && error != std::errc::no_space_on_device) {
        error.clear();
        TRACKBED_RETURN_IF_ERROR(CopyFile(entry->path(), target));
      }
    }
    if (error == std::errc::file_exists) error.clear();
  }
  if (!error) return absl::OkStatus();
  const std::string message =
      absl::StrCat(to, ": cannot put the outputs of a batch here: ", error.message());
  return error == std::errc::no_space_on_device ? ResourceExhausted(message)
                                                : FailedPrecondition(message);
}

StatusOr<std::vector<std::string>> PublishResults(const RunState& run, const std::string& home,
                                                  const std::string& destination) {
  const Workspace workspace(home);
  const std::vector<Task>& tasks = run.pipeline().tasks;
  std::vector<std::string> written;
  for (const auto& [name, source] : run.pipeline().results) {
    const size_t slash = source.find('/');
    const std::string task_name = source.substr(0, slash);
    const std::string path = slash == std::string::npos ? "" : source.substr(slash + 1);
    TaskIndex task = 0;
    while (task < tasks.size() && tasks[task].name != task_name) ++task;
    if (task == tasks.size()) return Internal(absl::StrCat("result ", name, ": no task"));
    if (run.task(task).state == TaskState::skipped) continue;
    const TaskResult* result = run.Result(task);
    Status status = NotFound("it left nothing");
    if (result != nullptr && !result->digest.empty()) {
      const std::string left = workspace.AttemptFolder(result->run, result->task, result->attempt);
      status = CopyInside(left + "/outputs", path, destination, name);
    }
    if (absl::IsNotFound(status)) {
      return NotFound(absl::StrCat("result \"", name, "\": task \"", task_name,
                                   "\" left no file \"", path, "\" in $TRACKBED_OUTPUTS"));
    }
    TRACKBED_RETURN_IF_ERROR(status);
    written.push_back(name);
  }
  return written;
}

}  // namespace trackbed
