#include "trackbed/engine/cache_key.hpp"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <map>

#include "engine/attempt_builder.hpp"
#include "pipeline/names.hpp"
#include "trackbed/base/sha256.hpp"

namespace trackbed {
namespace {

constexpr std::string_view kRunWithoutCache = "the run was started without the cache";

// The part of the source that a task sees, by content.
std::string DigestOfSeenFiles(const SourceBinding& source, const std::vector<std::string>& files) {
  std::vector<std::string> wanted;
  for (const std::string& file : files) {
    wanted.push_back(NormalizePath(file));
    if (wanted.back() == ".") return source.digest;
  }
  if (wanted.empty()) return source.digest;
  Sha256 hash;
  for (const auto& [path, digest] : source.files) {
    const bool seen =
        std::any_of(wanted.begin(), wanted.end(), [&file = path](const std::string& part) {
          return file == part || (file.starts_with(part) && file[part.size()] == '/');
        });
    if (!seen) continue;
    hash.UpdateField(path);
    hash.UpdateField(digest);
  }
  return absl::StrCat("sha256:", hash.FinishHex());
}

bool WritesTo(const Pipeline& pipeline, const std::string& folder) {
  return std::any_of(pipeline.tasks.begin(), pipeline.tasks.end(), [&](const Task& task) {
    return std::any_of(task.mounts.begin(), task.mounts.end(), [&](const Mount& mount) {
      return mount.folder == folder && !mount.read_only;
    });
  });
}

std::string FolderDigest(const RunState& run, const std::string& name) {
  for (const FolderBinding& folder : run.submitted().folders) {
    if (folder.name == name) return folder.digest;
  }
  return "";
}

// What a map goes over and how, beside what its batches see.
void AddMap(const RunState& run, TaskIndex index, CachePlan* plan) {
  constexpr size_t kLongest = 1000;
  const TaskMap& map = *run.pipeline().tasks[index].map;
  StatusOr<std::string> over = RenderOver(run, index);
  if (!over.ok()) {
    plan->off = std::string(Message(over.status()));
    return;
  }
  if (over->size() > kLongest) *over = ContentAddress(*over);
  plan->fields.emplace_back("map.over", *std::move(over));
  plan->fields.emplace_back(map.batches > 0 ? "map.batches" : "map.batch",
                            absl::StrCat(map.batches > 0 ? map.batches : map.batch));
}

}  // namespace

std::string SharedFolderReason(const RunState& run, const Task& task) {
  // What other tasks of the pipeline do is known where the map was bound.
  if (run.map() != nullptr) return run.map()->cache_off;
  for (const Mount& mount : task.mounts) {
    if (!mount.read_only) {
      return absl::StrCat("it mounts folder \"", mount.folder, "\" for writing");
    }
    if (WritesTo(run.pipeline(), mount.folder)) {
      return absl::StrCat("it mounts folder \"", mount.folder,
                          "\", which another task of the pipeline writes to");
    }
  }
  return "";
}

std::string CacheKeyOf(const CacheFields& fields) {
  Sha256 hash;
  for (const auto& [name, value] : fields) {
    hash.UpdateField(name);
    hash.UpdateField(value);
  }
  return absl::StrCat("sha256:", hash.FinishHex());
}

std::string WhyNotCached(const RunState& run, TaskIndex task) {
  const AttemptIntended* intended = run.Intended(task);
  if (intended != nullptr && !intended->cache_off.empty()) return intended->cache_off;
  const bool asked =
      run.submitted().use_cache && run.pipeline().tasks[task].cache == CacheMode::off;
  return std::string(asked ? kTaskSaysNoCache : kRunWithoutCache);
}

CachePlan PlanCaching(const RunState& run, TaskIndex index, const AttemptSpec& spec,
                      std::string_view architecture) {
  const Task& task = run.pipeline().tasks[index];
  CachePlan plan;
  if (!run.submitted().use_cache) {
    plan.off = kRunWithoutCache;
    return plan;
  }
  if (task.cache == CacheMode::off) {
    plan.off = kTaskSaysNoCache;
    return plan;
  }
  if (task.cache == CacheMode::automatic) {
    plan.off = SharedFolderReason(run, task);
    if (!plan.off.empty()) return plan;
  }

  CacheFields& fields = plan.fields;
  for (size_t i = 0; i < spec.command.size(); ++i) {
    fields.emplace_back(spec.shell ? "script" : absl::StrCat("argument.", i), spec.command[i]);
  }
  for (const EnvironmentVariable& variable : spec.environment) {
    fields.emplace_back(absl::StrCat("environment.", variable.name), variable.value);
  }
  if (!task.image.empty()) fields.emplace_back("image", task.image);
  if (!spec.source_path.empty()) {
    fields.emplace_back("source", DigestOfSeenFiles(run.submitted().source, task.files));
  }
  ForEachInput(run, index, [&](const std::string& name, const TaskResult* result) {
    fields.emplace_back(absl::StrCat("input.", name),
                        result == nullptr || result->digest.empty() ? "no files" : result->digest);
  });
  for (const Mount& mount : task.mounts) {
    fields.emplace_back(absl::StrCat("mount.", mount.path), FolderDigest(run, mount.folder));
  }
  for (const Output& output : task.outputs) {
    fields.emplace_back(absl::StrCat("output.", output.name), std::string(ToString(output.type)));
  }
  fields.emplace_back("architecture", std::string(architecture));
  if (task.map) AddMap(run, index, &plan);
  if (!plan.off.empty()) fields.clear();
  return plan;
}

std::vector<CacheFieldDifference> CompareCacheFields(const CacheFields& before,
                                                     const CacheFields& after) {
  std::map<std::string, std::string> old_values(before.begin(), before.end());
  std::vector<CacheFieldDifference> differences;
  for (const auto& [name, value] : after) {
    auto old_value = old_values.find(name);
    if (old_value == old_values.end()) {
      differences.push_back({name, "", value});
      continue;
    }
    if (old_value->second != value) differences.push_back({name, old_value->second, value});
    old_values.erase(old_value);
  }
  for (const auto& [name, value] : old_values) differences.push_back({name, value, ""});
  return differences;
}

}  // namespace trackbed
