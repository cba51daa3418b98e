#include "trackbed/engine/workspace.hpp"

#include <absl/strings/str_cat.h>

namespace trackbed {

std::string Workspace::Join(std::string_view middle, std::string_view name) const {
  return absl::StrCat(home_, AbslView(middle), AbslView(name));
}

std::string Workspace::AttemptFolder(std::string_view run, std::string_view task,
                                     uint32_t attempt) const {
  return absl::StrCat(home_, "/runs/", AbslView(run), "/", AbslView(task), "/", attempt);
}

std::string Workspace::MemberFolder(std::string_view run, std::string_view task, uint32_t attempt,
                                    std::string_view host) const {
  std::string folder = AttemptFolder(run, task, attempt);
  if (host != GangHost(0)) absl::StrAppend(&folder, "/members/", AbslView(host));
  return folder;
}

std::string Workspace::FolderOf(std::string_view pipeline, std::string_view name) const {
  return absl::StrCat(home_, "/folders/", AbslView(pipeline), "/", AbslView(name));
}

std::string GangHost(size_t rank) { return rank == 0 ? "main1" : absl::StrCat("sub", rank); }

AttemptKey MakeAttemptKey(std::string_view run, std::string_view task, uint32_t attempt) {
  return absl::StrCat(AbslView(run), "/", AbslView(task), "/", attempt);
}

}  // namespace trackbed
