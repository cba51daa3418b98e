// From the plain errors of tree_walk.hpp to Status.
#pragma once

#include <string_view>

#include "data/tree_walk.hpp"
#include "trackbed/base/status.hpp"

namespace trackbed {

// The code that fits an errno of a file operation; `message` is kept.
Status FileStatus(int error_number, std::string_view message);

inline Status ToStatus(const TreeError& error) {
  return FileStatus(error.error_number, error.message);
}

}  // namespace trackbed
