// Names of FastTrack, which may be anything, as names of ours.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/container/flat_hash_set.h>

#include <string>
#include <vector>

namespace trackbed::fasttrack {

// Gives every name a valid and unique one. Names that are valid stay as they are.
class NameTable {
 public:
  // `fallback` is what a name without a single usable character becomes.
  NameTable(const std::vector<std::string>& originals, const std::string& fallback);

  // The name for `original`, or null when there is no such one.
  const std::string* Find(const std::string& original) const;

 private:
  void Assign(const std::string& original, const std::string& name);

  absl::flat_hash_map<std::string, std::string> names_;
  absl::flat_hash_set<std::string> taken_;
  absl::flat_hash_map<std::string, size_t> last_number_;  // tried for a base name
};

}  // namespace trackbed::fasttrack
