// Copies of folders while somebody changes them, or where there is no room: told, and nothing left.
#include "data/tree_copy.hpp"

#include <sys/resource.h>
#include <sys/stat.h>

#include <cerrno>
#include <csignal>
#include <filesystem>

#include "data/scratch.hpp"
#include "data/tree_status.hpp"
#include "support/catch.hpp"
#include "trackbed/data/tree_digest.hpp"

namespace trackbed {
namespace {

namespace fs = std::filesystem;

struct Source {
  Source() {
    WriteText(folder.path() + "/a/file", "as listed");
    fs::create_symlink("file", folder.path() + "/a/link");
    entries = *ListTree(folder.path());
  }
  Status Copy(bool* changed) const {
    return CopyTree(folder.path(), entries, store.path() + "/copy", changed);
  }

  Scratch folder;
  Scratch store;
  std::vector<TreeEntry> entries;
};

TEST_CASE("A source that changes while it is copied is told, and nothing is left of the copy") {
  const Source source;
  const std::string file = source.folder.path() + "/a/file";
  const std::string link = source.folder.path() + "/a/link";
  SECTION("a file has other content") { WriteText(file, "something else"); }
  SECTION("a file is gone") { fs::remove(file); }
  SECTION("a link stands where a file was") {
    fs::remove(file);
    fs::create_symlink("/etc/hostname", file);
  }
  SECTION("a link leads elsewhere") {
    fs::remove(link);
    fs::create_symlink("elsewhere", link);
  }
  SECTION("a file stands where a link was") {
    fs::remove(link);
    WriteText(link, "file");
  }
  bool changed = false;
  const Status status = source.Copy(&changed);
  INFO(status);
  CHECK(status.ok());
  CHECK(changed);
  CHECK(fs::is_empty(source.store.path()));
}

TEST_CASE("A copy for which there is no room is told, and nothing is left of it") {
  const Source source;
  // Files may have no more than four bytes here: a write beyond fails, as on a disk that is full.
  rlimit usual{};
  REQUIRE(getrlimit(RLIMIT_FSIZE, &usual) == 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit small = usual;
  small.rlim_cur = 4;
  REQUIRE(setrlimit(RLIMIT_FSIZE, &small) == 0);
  bool changed = false;
  const Status status = source.Copy(&changed);
  REQUIRE(setrlimit(RLIMIT_FSIZE, &usual) == 0);
  std::signal(SIGXFSZ, handler);
  INFO(status);
  CHECK(Message(status) == source.folder.path() + "/a/file: cannot write the copy: File too large");
  CHECK_FALSE(changed);
  CHECK(fs::is_empty(source.store.path()));
  CHECK(source.Copy(&changed).ok());
}

TEST_CASE("A copy that is there already stays, and another leaves nothing beside it") {
  const Source source;
  bool changed = false;
  REQUIRE(source.Copy(&changed).ok());
  const auto made = fs::last_write_time(source.store.path() + "/copy");
  REQUIRE(source.Copy(&changed).ok());
  CHECK(fs::last_write_time(source.store.path() + "/copy") == made);
  CHECK(std::distance(fs::directory_iterator(source.store.path()), {}) == 1);
  // Something else in its place is an error.
  WriteText(source.store.path() + "/file", "");
  const Status status =
      CopyTree(source.folder.path(), source.entries, source.store.path() + "/file", &changed);
  CHECK(absl::IsFailedPrecondition(status));
  CHECK(Message(status).find("cannot put the copy in place at ") == 0);
  CHECK(std::distance(fs::directory_iterator(source.store.path()), {}) == 2);
}

TEST_CASE("What the system says of files is told in our codes") {
  const struct {
    int error;
    StatusCode code;
  } all[] = {
      {ENOENT, StatusCode::kNotFound},
      {ENOSPC, StatusCode::kResourceExhausted},
      {EDQUOT, StatusCode::kResourceExhausted},
      {EMFILE, StatusCode::kUnavailable},
      {ENFILE, StatusCode::kUnavailable},
      {EAGAIN, StatusCode::kUnavailable},
      {ENOMEM, StatusCode::kUnavailable},
      {EACCES, StatusCode::kFailedPrecondition},
      {ENOTDIR, StatusCode::kFailedPrecondition},
  };
  for (const auto& each : all) {
    CAPTURE(each.error);
    CHECK(FileStatus(each.error, "x").code() == each.code);
  }
}

TEST_CASE("A folder that is nested too deep is refused, and not followed to its end") {
  const Scratch scratch;
  std::string path = scratch.path();
  for (int i = 1; i < 200; ++i) path += "/d";  // and the folder itself
  fs::create_directories(path);
  CHECK(ListTree(scratch.path()).ok());
  fs::create_directories(path + "/d");
  const Status status = ListTree(scratch.path()).status();
  CHECK(absl::IsFailedPrecondition(status));
  CHECK(Message(status).ends_with("/\" is nested deeper than 200 folders"));
}

}  // namespace
}  // namespace trackbed
