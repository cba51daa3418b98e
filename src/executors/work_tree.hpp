// Plans the working folder of an attempt: real folders where something must be placed inside, links
// everywhere else. Reads the source's folders; makes nothing.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "trackbed/base/status.hpp"

namespace trackbed {

class WorkTree {
 public:
  // Shows the entries of the folder `source`, or only `files` of it. kInvalidArgument names all
  // files that the source does not have.
  Status AddSource(const std::string& source, const std::vector<std::string>& files);

  // Shows `target` at the relative `path`, in place of what was there. A link to a folder on the
  // way becomes a folder of links. `what` names the thing in errors.
  Status AddLink(std::string_view path, const std::string& target, std::string_view what);

  // Makes an empty folder there instead.
  Status AddFolder(std::string_view path, std::string_view what) { return AddLink(path, "", what); }

  bool Has(const std::string& name) const { return root_.children.contains(name); }

  // Appends what is to be made, parents first, all paths below `prefix`.
  void Emit(const std::string& prefix, std::vector<std::string>* folders,
            std::vector<std::pair<std::string, std::string>>* links) const;

 private:
  struct Node {
    std::string target;  // of a link; empty: a folder
    std::map<std::string, Node> children;
  };
  static Status Expand(Node* node, std::string_view what);
  static void EmitNode(const Node& node, const std::string& path, std::vector<std::string>* folders,
                       std::vector<std::pair<std::string, std::string>>* links);
  Node root_;
};

}  // namespace trackbed
