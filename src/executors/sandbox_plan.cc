#include "executors/sandbox_plan.hpp"

#include <absl/strings/str_format.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <map>
#include <string_view>
#include <utility>

#include "executors/host_files.hpp"

namespace trackbed {
namespace {

// Bubblewrap takes at most 9000.
constexpr size_t kMaxArguments = 8500;
constexpr std::array<std::string_view, 3> kNeverReplaced = {"/dev", "/proc", "/sys"};

// A path that is a mount point, leads to one, or both.
struct Place {
  const SandboxMount* mount = nullptr;
  std::map<std::string, Place> children;
};

class Planner {
 public:
  void Add(std::vector<std::string> arguments) {
    for (std::string& argument : arguments) arguments_.push_back(std::move(argument));
  }
  std::vector<std::string> Take() { return std::move(arguments_); }

  // Fills the folder `path` of the view, which is empty so far.
  Status FillEmpty(const Place& place, const std::string& path) {
    TRACKBED_RETURN_IF_ERROR(ShowSiblings(place, path));
    for (const auto& [name, child] : place.children) {
      const std::string child_path = path + "/" + name;
      if (child.mount != nullptr) {
        Mount(*child.mount, child_path);
        MountInside(child, child_path);
      } else if (IsRealFolder(child_path) && AllExist(child, child_path)) {
        Add({"--bind", child_path, child_path});
        TRACKBED_RETURN_IF_ERROR(FillBound(child, child_path));
      } else {
        MakeFolder("--dir", child_path);
        TRACKBED_RETURN_IF_ERROR(FillEmpty(child, child_path));
      }
    }
    return absl::OkStatus();
  }

 private:
  static bool AllExist(const Place& place, const std::string& path) {
    return std::all_of(place.children.begin(), place.children.end(),
                       [&](const auto& child) { return IsRealFolder(path + "/" + child.first); });
  }

  // Places mounts inside `path`, which shows the machine's own folder with all mount points there.
  Status FillBound(const Place& place, const std::string& path) {
    for (const auto& [name, child] : place.children) {
      const std::string child_path = path + "/" + name;
      if (child.mount != nullptr) {
        Mount(*child.mount, child_path);
        MountInside(child, child_path);
      } else if (AllExist(child, child_path)) {
        TRACKBED_RETURN_IF_ERROR(FillBound(child, child_path));
      } else {
        MakeFolder("--tmpfs", child_path);
        TRACKBED_RETURN_IF_ERROR(FillEmpty(child, child_path));
      }
    }
    return absl::OkStatus();
  }

  void MountInside(const Place& place, const std::string& path) {
    for (const auto& [name, child] : place.children) {
      const std::string child_path = path + "/" + name;
      if (child.mount != nullptr) Mount(*child.mount, child_path);
      MountInside(child, child_path);
    }
  }

  void Mount(const SandboxMount& mount, const std::string& path) {
    if (mount.host_path.empty()) {
      Add({"--tmpfs", path});
    } else {
      Add({mount.read_only ? "--ro-bind" : "--bind", mount.host_path, path});
    }
  }

  void MakeFolder(const char* kind, const std::string& path) {
    struct stat status{};
    if (stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode)) {
      Add({"--perms", absl::StrFormat("%04o", status.st_mode & 07777U)});
    }
    Add({kind, path});
  }

  // `path` is "" for the root.
  Status ShowSiblings(const Place& place, const std::string& path) {
    const std::string folder = path.empty() ? "/" : path;
    if (!IsFolder(folder)) return absl::OkStatus();
    TRACKBED_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListFolder(folder));
    for (const std::string& name : names) {
      if (place.children.contains(name)) continue;
      const std::string entry = path + "/" + name;
      std::string target(PATH_MAX, '\0');
      const ssize_t length = readlink(entry.c_str(), target.data(), target.size());
      if (length > 0) {
        target.resize(static_cast<size_t>(length));
        Add({"--symlink", target, entry});
      } else {
        Add({entry == "/dev" ? "--dev-bind" : "--bind-try", entry, entry});
      }
    }
    if (arguments_.size() > kMaxArguments) {
      return FailedPrecondition("the folder " + folder +
                                " has too many entries to be shown beside" +
                                " a mount; make the mount point on this machine");
    }
    return absl::OkStatus();
  }

  std::vector<std::string> arguments_;
};

Status CheckMount(const std::string& path, const std::vector<std::string>& needed) {
  for (const std::string_view kept : kNeverReplaced) {
    if (path.empty() || IsWithin(path, kept)) {
      return InvalidArgument("nothing can be mounted at \"" + (path.empty() ? "/" : path) + "\"");
    }
  }
  for (const std::string& folder : needed) {
    if (IsWithin(folder, path)) {
      return InvalidArgument("a mount at \"" + path + "\" would hide " + folder +
                             ", which the attempt needs");
    }
  }
  return absl::OkStatus();
}

}  // namespace

StatusOr<std::vector<std::string>> PlanSandbox(const std::vector<SandboxMount>& mounts,
                                               const std::string& working_folder,
                                               const std::vector<std::string>& needed) {
  Place root;
  for (const SandboxMount& mount : mounts) {
    TRACKBED_ASSIGN_OR_RETURN(const std::vector<std::string> parts,
                              PathParts(mount.path, "the mount path"));
    TRACKBED_RETURN_IF_ERROR(CheckMount(JoinParts(parts, true), needed));
    Place* place = &root;
    for (const std::string& part : parts) place = &place->children[part];
    place->mount = &mount;
  }
  Planner planner;
  TRACKBED_RETURN_IF_ERROR(planner.FillEmpty(root, ""));
  planner.Add({"--die-with-parent", "--chdir", working_folder});
  // Without this root would lose its powers over files of others, unlike outside.
  if (geteuid() == 0) planner.Add({"--cap-add", "ALL"});
  return planner.Take();
}

}  // namespace trackbed
