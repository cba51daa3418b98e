#include "executors/work_tree.hpp"

#include "executors/host_files.hpp"

namespace trackbed {
namespace {

// The part of the path, below the folder, that is a link and has more behind it; "" when none is.
// What is behind a link in a source is no part of it: nothing of that was copied or digested.
std::string LinkOnTheWay(const std::string& folder, const std::vector<std::string>& parts) {
  std::string path;
  for (size_t i = 0; i + 1 < parts.size(); ++i) {
    path += (i == 0 ? "" : "/") + parts[i];
    if (PathExists(folder + "/" + path) && !IsRealFolder(folder + "/" + path)) return path;
  }
  return "";
}

}  // namespace

Status WorkTree::AddSource(const std::string& source, const std::vector<std::string>& files) {
  if (files.empty()) {
    TRACKBED_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListFolder(source));
    for (const std::string& name : names) root_.children[name].target = source + "/" + name;
    return absl::OkStatus();
  }
  std::string missing;
  for (const std::string& file : files) {
    TRACKBED_ASSIGN_OR_RETURN(const std::vector<std::string> parts, PathParts(file, "the file"));
    if (file.starts_with('/')) {
      return InvalidArgument("the file \"" + file + "\" must be relative to the source");
    }
    if (parts.empty()) {
      TRACKBED_RETURN_IF_ERROR(AddSource(source, {}));
      continue;
    }
    const std::string path = JoinParts(parts, false);
    if (const std::string link = LinkOnTheWay(source, parts); !link.empty()) {
      return InvalidArgument("the file \"" + file + "\" is not in the source: \"" + link +
                             "\" is no folder of it");
    }
    if (!PathExists(source + "/" + path)) {
      missing += (missing.empty() ? "\"" : ", \"") + file + "\"";
      continue;
    }
    TRACKBED_RETURN_IF_ERROR(AddLink(path, source + "/" + path, "the file"));
  }
  if (!missing.empty()) return InvalidArgument("the source has no " + missing);
  return absl::OkStatus();
}

Status WorkTree::AddLink(std::string_view path, const std::string& target, std::string_view what) {
  TRACKBED_ASSIGN_OR_RETURN(const std::vector<std::string> parts, PathParts(path, what));
  if (parts.empty()) {
    return InvalidArgument(std::string(what) + " cannot be the working folder itself");
  }
  Node* node = &root_;
  for (const std::string& part : parts) {
    if (!node->target.empty()) TRACKBED_RETURN_IF_ERROR(Expand(node, what));
    node = &node->children[part];
  }
  node->children.clear();
  node->target = target;
  return absl::OkStatus();
}

Status WorkTree::Expand(Node* node, std::string_view what) {
  const StatusOr<std::vector<std::string>> names = ListFolder(node->target);
  if (!names.ok()) {
    return InvalidArgument(std::string(what) + " cannot be placed inside " + node->target + ": " +
                           std::string(Message(names.status())));
  }
  for (const std::string& name : *names) node->children[name].target = node->target + "/" + name;
  node->target.clear();
  return absl::OkStatus();
}

void WorkTree::Emit(const std::string& prefix, std::vector<std::string>* folders,
                    std::vector<std::pair<std::string, std::string>>* links) const {
  for (const auto& [name, node] : root_.children) {
    EmitNode(node, prefix + "/" + name, folders, links);
  }
}

void WorkTree::EmitNode(const Node& node, const std::string& path,
                        std::vector<std::string>* folders,
                        std::vector<std::pair<std::string, std::string>>* links) {
  if (!node.target.empty()) {
    links->emplace_back(path, node.target);
    return;
  }
  folders->push_back(path);
  for (const auto& [name, child] : node.children) {
    EmitNode(child, path + "/" + name, folders, links);
  }
}

}  // namespace trackbed
