// Folders kept by their digest, and what comes back.
#include "trackbed/data/artifact_store.hpp"

#include <filesystem>
#include <fstream>

#include "data/scratch.hpp"
#include "support/catch.hpp"
#include "trackbed/data/tree_digest.hpp"

namespace trackbed {
namespace {

namespace fs = std::filesystem;

std::string Slurp(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

TEST_CASE("artifacts: what was put comes back, and nothing else") {
  const Scratch scratch;
  const std::string folder = scratch.path() + "/outputs";
  fs::create_directories(folder + "/a/b");
  std::ofstream(folder + "/a/b/word") << "hello";
  fs::create_symlink("b/word", folder + "/a/link");
  const std::string digest = *TreeDigest(folder);
  const auto store = NewLocalArtifactStore(scratch.path() + "/kept");

  CHECK_FALSE(*store->Has(digest));
  CHECK(absl::IsNotFound(store->Get(digest, scratch.path() + "/back")));
  REQUIRE(store->Put(digest, folder).ok());
  CHECK(*store->Has(digest));
  CHECK(store->Put(digest, folder).ok());
  REQUIRE(store->Get(digest, scratch.path() + "/deep/back").ok());
  CHECK(Slurp(scratch.path() + "/deep/back/a/b/word") == "hello");
  CHECK(*TreeDigest(scratch.path() + "/deep/back") == digest);

  // In place of an empty folder, too.
  fs::create_directories(scratch.path() + "/empty");
  REQUIRE(store->Get(digest, scratch.path() + "/empty").ok());
  CHECK(fs::exists(scratch.path() + "/empty/a/link"));
}

TEST_CASE("artifacts: content that is not what its digest says is neither kept nor given") {
  const Scratch scratch;
  const std::string folder = scratch.path() + "/outputs";
  fs::create_directories(folder);
  std::ofstream(folder + "/word") << "hello";
  const std::string digest = *TreeDigest(folder);
  const auto store = NewLocalArtifactStore(scratch.path() + "/kept");
  std::ofstream(folder + "/word") << "another";
  CHECK(absl::IsDataLoss(store->Put(digest, folder)));
  CHECK_FALSE(*store->Has(digest));

  std::ofstream(folder + "/word") << "hello";
  REQUIRE(store->Put(digest, folder).ok());
  const std::string kept = scratch.path() + "/kept/" + digest.substr(digest.find(':') + 1);
  fs::permissions(kept + "/word", fs::perms::owner_all);
  std::ofstream(kept + "/word") << "rotten";
  CHECK(absl::IsDataLoss(store->Get(digest, scratch.path() + "/back")));
  CHECK_FALSE(fs::exists(scratch.path() + "/back"));

  for (const char* wrong : {"", "sha256:", "sha256:../../etc", "md5:00", "sha256:ZZ"}) {
    CHECK(absl::IsInvalidArgument(store->Put(wrong, folder)));
    CHECK(absl::IsInvalidArgument(store->Has(wrong).status()));
  }
}

}  // namespace
}  // namespace trackbed
