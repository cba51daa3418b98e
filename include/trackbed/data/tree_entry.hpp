// One entry of a folder tree. Needs nothing but the standard library, so that small programs can
// use it too.
#pragma once

#include <cstdint>
#include <string>

namespace trackbed {

struct TreeEntry {
  enum class Type : uint8_t { file, folder, link };
  std::string path;  // relative, "/" between parts, no "." or ".."
  Type type = Type::file;
  int64_t size = 0;    // bytes of a file or of a link's target text; 0 for a folder
  uint32_t mode = 0;   // permission bits
  std::string digest;  // "sha256:…" of the content or of the link's target text; "" for a folder

  // Of the mode, the only bit that counts for digests: the owner may execute the file.
  bool executable() const { return type == Type::file && (mode & 0100U) != 0; }
  friend bool operator==(const TreeEntry&, const TreeEntry&) = default;
};

}  // namespace trackbed
