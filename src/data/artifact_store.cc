#include "trackbed/data/artifact_store.hpp"

#include <filesystem>
#include <string_view>
#include <utility>

#include "data/tree_copy.hpp"
#include "trackbed/data/tree_digest.hpp"

namespace trackbed {
namespace {

class LocalArtifactStore final : public ArtifactStore {
 public:
  explicit LocalArtifactStore(std::string folder) : folder_(std::move(folder)) {}

  StatusOr<bool> Has(const std::string& digest) override {
    TRACKBED_ASSIGN_OR_RETURN(const std::string path, PathOf(digest));
    std::error_code error;
    return std::filesystem::is_directory(path, error);
  }

  Status Put(const std::string& digest, const std::string& folder) override {
    TRACKBED_ASSIGN_OR_RETURN(const std::string path, PathOf(digest));
    return Copy(digest, folder, path);
  }

  Status Get(const std::string& digest, const std::string& folder) override {
    TRACKBED_ASSIGN_OR_RETURN(const std::string path, PathOf(digest));
    std::error_code error;
    if (!std::filesystem::is_directory(path, error)) {
      return NotFound(folder_ + " has no artifact " + digest);
    }
    return Copy(digest, path, folder);
  }

 private:
  StatusOr<std::string> PathOf(const std::string& digest) const {
    constexpr std::string_view kScheme = "sha256:";
    constexpr size_t kDigits = 64;
    const std::string_view digits = std::string_view(digest).substr(
        digest.starts_with(kScheme) ? kScheme.size() : digest.size());
    if (digits.size() != kDigits ||
        digits.find_first_not_of("0123456789abcdef") != std::string_view::npos) {
      return InvalidArgument("found the digest \"" + digest +
                             "\", expected sha256: and 64 hexadecimal digits");
    }
    return folder_ + "/" + std::string(digits);
  }

  static Status Copy(const std::string& digest, const std::string& from, const std::string& to) {
    TRACKBED_ASSIGN_OR_RETURN(const std::vector<TreeEntry> entries, ListTree(from));
    bool changed = DigestOfEntries(entries) != digest;
    if (!changed) TRACKBED_RETURN_IF_ERROR(CopyTree(from, entries, to, &changed));
    if (!changed) return absl::OkStatus();
    return DataLoss(from + " is not what its digest " + digest + " says");
  }

  const std::string folder_;
};

}  // namespace

std::unique_ptr<ArtifactStore> NewLocalArtifactStore(std::string folder) {
  return std::make_unique<LocalArtifactStore>(std::move(folder));
}

}  // namespace trackbed
