#include "executors/attempt_name.hpp"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_split.h>

#include <algorithm>
#include <cctype>
#include <vector>

#include "trackbed/base/sha256.hpp"

namespace trackbed {
namespace {

constexpr size_t kMaxNamePart = 40;
constexpr size_t kNameDigest = 16;

std::string NamePart(std::string text) {
  for (char& c : text) {
    if (isalnum(static_cast<unsigned char>(c)) == 0 && c != '.' && c != '_') c = '-';
  }
  return text.substr(0, kMaxNamePart);
}

}  // namespace

AttemptKeyParts SplitAttemptKey(const AttemptKey& key) {
  std::vector<std::string> parts = absl::StrSplit(key, '/');
  parts.resize(std::max<size_t>(parts.size(), 4));
  return {parts[0], parts[1], parts[2], parts[3]};
}

std::string AttemptName(const AttemptKey& key, const std::string& folder) {
  const AttemptKeyParts parts = SplitAttemptKey(key);
  const std::string digest = ContentAddress(absl::StrCat(key, "\n", folder));
  std::string name = absl::StrCat("trackbed-", NamePart(parts.run), "-");
  if (!parts.task.empty()) {
    absl::StrAppend(&name, NamePart(parts.task), "-", NamePart(parts.attempt), "-");
  }
  if (!parts.member.empty()) {
    absl::StrAppend(&name, NamePart(parts.member), "-");
  }
  return name + digest.substr(digest.find(':') + 1, kNameDigest);
}

}  // namespace trackbed
