// Equal trees have equal digests; different trees do not.
#include "trackbed/data/tree_digest.hpp"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/scratch.hpp"
#include "support/catch.hpp"

namespace trackbed {
namespace {

void Fill(const std::string& folder) {
  WriteText(folder + "/a.txt", "alpha");
  WriteText(folder + "/a/b.txt", "beta");
  WriteText(folder + "/a/deep/c", "");
  std::filesystem::create_directory(folder + "/empty");
  std::filesystem::create_symlink("a/b.txt", folder + "/link");
}

TEST_CASE("a listing is complete, sorted and typed") {
  const Scratch scratch;
  Fill(scratch.path());
  chmod((scratch.path() + "/a.txt").c_str(), 0755);
  const auto entries = ListTree(scratch.path());
  REQUIRE(entries.ok());
  std::vector<std::string> paths;
  for (const TreeEntry& entry : *entries) paths.push_back(entry.path);
  CHECK(paths ==
        std::vector<std::string>{"a", "a.txt", "a/b.txt", "a/deep", "a/deep/c", "empty", "link"});
  CHECK((*entries)[0].type == TreeEntry::Type::folder);
  CHECK((*entries)[0].digest.empty());
  CHECK((*entries)[1].executable());
  CHECK((*entries)[1].size == 5);
  CHECK((*entries)[1].digest == *FileDigest(scratch.path() + "/a.txt"));
  CHECK((*entries)[6].type == TreeEntry::Type::link);
  CHECK((*entries)[6].size == 7);
}

TEST_CASE("the digest of a file is that of its bytes") {
  const Scratch scratch;
  WriteText(scratch.path() + "/abc", "abc");
  CHECK(*FileDigest(scratch.path() + "/abc") ==
        "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(FileDigest(scratch.path() + "/none").status().code() == StatusCode::kNotFound);
  CHECK(FileDigest(scratch.path()).status().code() == StatusCode::kFailedPrecondition);
}

TEST_CASE("equal trees are equal whatever their place, times and other permissions") {
  const Scratch one;
  const Scratch two;
  Fill(one.path());
  Fill(two.path());
  chmod((two.path() + "/a/b.txt").c_str(), 0640);
  CHECK(*TreeDigest(one.path()) == *TreeDigest(two.path()));
  // Pinned, and computed by other means: a change of this value makes every stored digest
  // worthless.
  CHECK(*TreeDigest(one.path()) ==
        "sha256:1487c4a55cd96e0d44e7314cf7503697a9a7dd202fa73fdb58f1e0071fbc7c23");
}

TEST_CASE("every difference that counts changes the digest") {
  const Scratch scratch;
  const std::string root = scratch.path();
  Fill(root);
  const std::string before = *TreeDigest(root);
  SECTION("content") { WriteText(root + "/a/b.txt", "betA"); }
  SECTION("a name") { std::filesystem::rename(root + "/a.txt", root + "/b.txt"); }
  SECTION("the executable bit") { chmod((root + "/a.txt").c_str(), 0755); }
  SECTION("an empty folder") { std::filesystem::remove(root + "/empty"); }
  SECTION("a file for a folder") {
    std::filesystem::remove(root + "/empty");
    WriteText(root + "/empty", "");
  }
  SECTION("the target of a link") {
    std::filesystem::remove(root + "/link");
    std::filesystem::create_symlink("a/b", root + "/link");
  }
  SECTION("a file with a link's text") {
    std::filesystem::remove(root + "/link");
    WriteText(root + "/link", "a/b.txt");
  }
  CHECK(*TreeDigest(root) != before);
}

TEST_CASE("links are never followed") {
  const Scratch outside;
  const Scratch scratch;
  WriteText(outside.path() + "/secret", "one");
  std::filesystem::create_symlink(outside.path(), scratch.path() + "/out");
  std::filesystem::create_symlink("/no/such/place", scratch.path() + "/dangling");
  const std::string before = *TreeDigest(scratch.path());
  WriteText(outside.path() + "/secret", "two");
  CHECK(*TreeDigest(scratch.path()) == before);
  CHECK(ListTree(scratch.path())->size() == 2);
}

TEST_CASE("special files and missing folders are errors that name them") {
  const Scratch scratch;
  CHECK(TreeDigest(scratch.path() + "/none").status().code() == StatusCode::kNotFound);
  REQUIRE(mkfifo((scratch.path() + "/pipe").c_str(), 0600) == 0);
  const Status status = TreeDigest(scratch.path()).status();
  CHECK(status.code() == StatusCode::kFailedPrecondition);
  CHECK(Message(status).find("pipe") != std::string_view::npos);
}

}  // namespace
}  // namespace trackbed
