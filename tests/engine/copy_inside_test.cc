#include "engine/copy_inside.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>

#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

namespace trackbed {
namespace {

namespace fs = std::filesystem;

void Write(const std::string& path, const std::string& text) { std::ofstream(path) << text; }
std::string Text(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// A folder `from` with a file, a folder `to`, and what lies outside of both.
struct Places {
  Places() {
    for (const char* name : {"from", "from/deep", "to", "outside"}) {
      fs::create_directory(folder / name);
    }
    Write(folder / "from/deep/file", "good");
    Write(folder / "outside/file", "secret");
  }
  Status Copy(const std::string& path, const std::string& name) const {
    return CopyInside(folder / "from", path, folder / "to", name);
  }
  TemporaryFolder folder;
};

TEST_CASE("A file is copied from its folder, over what was there, with its permissions alone") {
  const Places places;
  const std::string file = places.folder / "from/deep/file";
  REQUIRE(chmod(file.c_str(), 06754) == 0);
  Write(places.folder / "to/name", "old");
  REQUIRE(places.Copy("deep/file", "name").ok());
  CHECK(Text(places.folder / "to/name") == "good");
  struct stat status{};
  REQUIRE(stat((places.folder / "to/name").c_str(), &status) == 0);
  CHECK((status.st_mode & 07777U) == 0754U);
  REQUIRE(places.Copy("deep/file", "new/and/deeper").ok());
  CHECK(Text(places.folder / "to/new/and/deeper") == "good");
  CHECK(std::distance(fs::directory_iterator(places.folder / "to"), {}) == 2);
}

TEST_CASE("Links lead to files of the folder, and not out of it") {
  const Places places;
  fs::create_symlink("deep", places.folder / "from/same");
  CHECK(places.Copy("same/file", "a").ok());
  fs::create_symlink("../outside", places.folder / "from/away");
  fs::create_symlink("../outside/file", places.folder / "from/leak");
  REQUIRE(mkfifo((places.folder / "from/pipe").c_str(), 0600) == 0);
  for (const char* path : {"away/file", "leak", "pipe", "deep", "none", "", "../outside/file"}) {
    CAPTURE(path);
    CHECK(absl::IsNotFound(places.Copy(path, "b")));
  }
  CHECK_FALSE(fs::exists(places.folder / "to/b"));
  // The folder itself.
  fs::rename(places.folder / "from", places.folder / "moved");
  fs::create_symlink("outside", places.folder / "from");
  CHECK(absl::IsNotFound(places.Copy("file", "b")));
}

TEST_CASE("Links where a file is copied to are not followed") {
  const Places places;
  fs::create_symlink("../outside", places.folder / "to/away");
  CHECK(absl::IsFailedPrecondition(places.Copy("deep/file", "away/file")));
  fs::create_symlink("../outside/file", places.folder / "to/link");
  fs::create_symlink("../outside/file", places.folder / "to/link.tmp-" + std::to_string(getpid()));
  CHECK(places.Copy("deep/file", "link").ok());
  CHECK(Text(places.folder / "to/link") == "good");
  CHECK_FALSE(fs::is_symlink(places.folder / "to/link"));
  CHECK(Text(places.folder / "outside/file") == "secret");
  // What is there in place of the file, or of a folder on the way.
  fs::create_directory(places.folder / "to/folder");
  CHECK(absl::IsFailedPrecondition(places.Copy("deep/file", "folder")));
  CHECK(absl::IsFailedPrecondition(places.Copy("deep/file", "link/file")));
}

TEST_CASE("What is exchanged for a link while it is copied leads nowhere") {
  const Places places;
  const std::string real = places.folder / "from/deep";
  const std::string link = places.folder / "from/link";
  fs::create_symlink("../outside", link);
  std::atomic<bool> stop{false};
  std::thread attacker([&] {
    while (!stop) {
      (void)renameat2(AT_FDCWD, real.c_str(), AT_FDCWD, link.c_str(), RENAME_EXCHANGE);
    }
  });
  int leaked = 0;
  for (int i = 0; i < 2000; ++i) {
    const Status status = places.Copy("deep/file", "copy");
    if (!status.ok() && !absl::IsNotFound(status)) ++leaked;
    if (status.ok() && Text(places.folder / "to/copy") != "good") ++leaked;
  }
  stop = true;
  attacker.join();
  CHECK(leaked == 0);
}

}  // namespace
}  // namespace trackbed
