// The port to where files are kept that outlive their attempt and this machine: outputs of tasks
// and copies of source code, each a folder addressed by the digest of what is in it
// (tree_digest.hpp).
//
// Without one, outputs stay where their attempts left them and sources below the home folder. With
// one they are kept there too, and come back from there when they are gone here.
#pragma once

#include <memory>
#include <string>

#include "trackbed/base/status.hpp"

namespace trackbed {

// Each function may take as long as it takes to copy the files, and its caller waits. An engine
// calls them from the thread that steps it or submits to it, never two at a time.
class ArtifactStore {
 public:
  virtual ~ArtifactStore() = default;

  virtual StatusOr<bool> Has(const std::string& digest) = 0;
  // Keeps what is in `folder`, durably, before it returns. Fine when the store has it already.
  virtual Status Put(const std::string& digest, const std::string& folder) = 0;
  // Makes `folder`, which does not exist or is empty, with what Put was given; all of it or no
  // folder. kNotFound when the store does not have it.
  virtual Status Get(const std::string& digest, const std::string& folder) = 0;
};

// In a folder of this machine, or of a file system that several share: FOLDER/HEXADECIMAL DIGEST/,
// read-only copies that appear when they are whole. Digests are "sha256:…", else kInvalidArgument;
// kDataLoss when the files are not, or no longer, what the digest says.
std::unique_ptr<ArtifactStore> NewLocalArtifactStore(std::string folder);

}  // namespace trackbed
