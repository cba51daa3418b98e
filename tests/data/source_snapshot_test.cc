// Source folders become shared, read-only copies addressed by content.
#include "trackbed/data/source_snapshot.hpp"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "data/scratch.hpp"
#include "support/catch.hpp"
#include "trackbed/data/tree_digest.hpp"

namespace trackbed {
namespace {

bool Has(const SourceSnapshot& snapshot, const std::string& path) {
  return std::any_of(snapshot.entries.begin(), snapshot.entries.end(),
                     [&](const TreeEntry& entry) { return entry.path == path; });
}

TEST_CASE("a snapshot is a read-only copy under its digest") {
  const Scratch source;
  const Scratch store;
  WriteText(source.path() + "/train.py", "print()");
  WriteText(source.path() + "/lib/util.py", "x = 1");
  chmod((source.path() + "/train.py").c_str(), 0700);
  std::filesystem::create_symlink("train.py", source.path() + "/main.py");
  const auto snapshot = SnapshotSource(source.path(), store.path() + "/made/here");
  INFO(snapshot.status());
  REQUIRE(snapshot.ok());
  CHECK(snapshot->path == store.path() + "/made/here/" + snapshot->digest.substr(7));
  CHECK(*TreeDigest(snapshot->path) == snapshot->digest);
  CHECK(*TreeDigest(source.path()) == snapshot->digest);
  CHECK(ReadText(snapshot->path + "/main.py") == "print()");
  struct stat status{};
  REQUIRE(stat((snapshot->path + "/lib/util.py").c_str(), &status) == 0);
  CHECK((status.st_mode & 0777U) == 0444U);
  REQUIRE(stat((snapshot->path + "/lib").c_str(), &status) == 0);
  CHECK((status.st_mode & 0777U) == 0555U);

  // The same content again: the same copy. Changed content: another.
  const auto inode = status.st_ino;
  REQUIRE(SnapshotSource(source.path(), store.path() + "/made/here").ok());
  REQUIRE(stat((snapshot->path + "/lib").c_str(), &status) == 0);
  CHECK(status.st_ino == inode);
  WriteText(source.path() + "/lib/util.py", "x = 2");
  const auto changed = SnapshotSource(source.path(), store.path() + "/made/here");
  REQUIRE(changed.ok());
  CHECK(changed->digest != snapshot->digest);
  CHECK(ReadText(snapshot->path + "/lib/util.py") == "x = 1");
  // No drafts are left behind.
  CHECK(std::distance(std::filesystem::directory_iterator(store.path() + "/made/here"), {}) == 2);
}

TEST_CASE("what is no source is left out") {
  const Scratch source;
  const Scratch store;
  for (const char* path :
       {".git/HEAD", ".trackbed/db", "a/__pycache__/x.pyc", "a/y.pyc", ".venv/bin/python",
        "node_modules/m.js", "big.bin", "a/big.bin", "data/raw/1", "data/raw.txt", "build/out",
        "a/build", "keep.py", "a/keep.py"}) {
    WriteText(source.path() + "/" + path, path);
  }
  WriteText(source.path() + "/.trackbedignore", "# large things\n*.bin\n\n/data/raw\nbuild/\r\n");
  const auto snapshot = SnapshotSource(source.path(), store.path());
  REQUIRE(snapshot.ok());
  std::vector<std::string> paths;
  for (const TreeEntry& entry : snapshot->entries) paths.push_back(entry.path);
  CHECK(paths == std::vector<std::string>{".trackbedignore", "a", "a/build", "a/keep.py", "data",
                                          "data/raw.txt", "keep.py"});
}

TEST_CASE("a source that is too large is refused, naming what is large") {
  const Scratch source;
  const Scratch store;
  WriteText(source.path() + "/small.py", "x");
  WriteText(source.path() + "/weights/a", std::string(3000, 'a'));
  WriteText(source.path() + "/weights/b", std::string(3000, 'b'));
  SourceSnapshotOptions options;
  options.max_bytes = 5000;
  const auto snapshot = SnapshotSource(source.path(), store.path(), options);
  CHECK(snapshot.status().code() == StatusCode::kInvalidArgument);
  CHECK(Message(snapshot.status()) ==
        "the source folder " + source.path() +
            " has 5.8 KiB, more than the limit of 4.8 KiB; largest: weights (5.8 KiB), small.py (1 "
            "bytes). Name what tasks do not need in .trackbedignore");
  CHECK(std::filesystem::is_empty(store.path()));
}

TEST_CASE("folders that are missing or cannot be written are clear errors") {
  const Scratch source;
  const Scratch store;
  CHECK(SnapshotSource(source.path() + "/none", store.path()).status().code() ==
        StatusCode::kNotFound);
  WriteText(store.path() + "/file", "");
  WriteText(source.path() + "/x", "");
  CHECK(SnapshotSource(source.path(), store.path() + "/file/store").status().code() ==
        StatusCode::kFailedPrecondition);
}

TEST_CASE("several processes make one copy") {
  const Scratch source;
  const Scratch store;
  for (int i = 0; i < 50; ++i) WriteText(source.path() + "/f" + std::to_string(i), "text");
  std::vector<pid_t> children;
  for (int i = 0; i < 4; ++i) {
    const pid_t pid = fork();
    if (pid == 0) _exit(SnapshotSource(source.path(), store.path()).ok() ? 0 : 1);
    children.push_back(pid);
  }
  for (const pid_t child : children) {
    int status = 0;
    waitpid(child, &status, 0);
    CHECK(status == 0);
  }
  CHECK(std::distance(std::filesystem::directory_iterator(store.path()), {}) == 1);
}

TEST_CASE("the digest of some files ignores all others") {
  const Scratch source;
  const Scratch store;
  WriteText(source.path() + "/train.py", "1");
  WriteText(source.path() + "/lib.txt", "2");
  WriteText(source.path() + "/lib/a.py", "3");
  const auto before = SnapshotSource(source.path(), store.path());
  REQUIRE(before.ok());
  WriteText(source.path() + "/lib.txt", "changed");
  const auto after = SnapshotSource(source.path(), store.path());
  REQUIRE(after.ok());
  REQUIRE(Has(*after, "lib/a.py"));

  using Files = std::vector<std::string>;
  const Files part = {"train.py", "lib"};
  CHECK(*DigestOfFiles(*before, part) == *DigestOfFiles(*after, part));
  CHECK(*DigestOfFiles(*before, part) ==
        *DigestOfFiles(*before, Files{"./lib/", "train.py", "lib/a.py"}));
  CHECK(*DigestOfFiles(*before, Files{}) == before->digest);
  CHECK(*DigestOfFiles(*before, Files{"."}) == before->digest);
  CHECK(*DigestOfFiles(*before, Files{"lib.txt"}) != *DigestOfFiles(*after, Files{"lib.txt"}));
  const Status missing = DigestOfFiles(*after, Files{"train.py", "nope", "li"}).status();
  CHECK(missing.code() == StatusCode::kNotFound);
  CHECK(Message(missing) == "the source has no \"nope\", \"li\"");
}

}  // namespace
}  // namespace trackbed
