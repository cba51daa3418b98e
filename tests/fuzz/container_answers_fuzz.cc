// Feeds whatever comes to those who read what a container engine or a registry says; the first byte
// chooses whom. Nothing may crash, what is handed on is what its reader promises, and the progress
// of a pull is the same however its bytes are cut.
#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "executors/container_order.hpp"
#include "executors/image_pulls.hpp"
#include "executors/registry_login.hpp"
#include "fuzz/require.hpp"

namespace {

void ReadPull(std::string_view bytes, size_t piece) {
  trackbed::PullReader whole;
  whole.Feed(bytes);
  trackbed::PullReader cut;
  while (!bytes.empty()) {
    cut.Feed(bytes.substr(0, piece));
    bytes.remove_prefix(std::min(piece, bytes.size()));
  }
  Require(whole.Describe() == cut.Describe() && whole.error() == cut.error(),
          "cut differently, read differently");
}

void CheckError(std::string_view body) {
  const std::string text = trackbed::ErrorText(500, body);
  Require(!text.empty() && text.size() <= 1000, "no text, or too much of it");
  Require(text.find_first_of("\r\n") == std::string::npos, "more than one line");
  Require(trackbed::DescribePullError("r.io/x", "", text).ends_with(text), "the error is lost");
}

void CheckVersion(const std::optional<trackbed::VersionAnswer>& version) {
  Require(!version || version->api.starts_with("1."), "a version that nobody speaks");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 8) {
    case 0:
      CheckVersion(trackbed::ReadVersion(bytes));
      break;
    case 1:
      CheckVersion(trackbed::ReadPing(bytes));
      break;
    case 2:
      if (const auto image = trackbed::ReadImage(bytes, "r.io/x:1")) {
        Require(!image->id.empty() && !image->digest.empty(), "an image without a digest");
      }
      break;
    case 3:
      trackbed::ReadContainer(bytes);
      break;
    case 4:
      trackbed::ReadContainerList(bytes);
      trackbed::ReadNetworkList(bytes);
      break;
    case 5:
      ReadPull(bytes, size_t{data[1]} + 1);
      break;
    case 6:
      CheckError(bytes);
      break;
    default:
      if (const auto login = trackbed::ReadCredentials(bytes, "r.io"); login.ok()) {
        Require(login->server == "r.io", "the login of another registry");
      }
  }
  return 0;
}
