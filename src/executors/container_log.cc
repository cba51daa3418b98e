#include "executors/container_log.hpp"

#include <absl/strings/str_cat.h>

#include <algorithm>

namespace trackbed {
namespace {

// Standard input, output, error, and Docker's own word about the stream.
constexpr unsigned char kLastStream = 3;

}  // namespace

Status ContainerLogReader::Feed(std::string_view bytes, std::string* out) {
  while (!bytes.empty()) {
    if (left_ > 0) {
      const size_t count = std::min<size_t>(left_, bytes.size());
      out->append(bytes.substr(0, count));
      bytes.remove_prefix(count);
      left_ -= static_cast<uint32_t>(count);
      continue;
    }
    const size_t count = std::min(kHeadBytes - head_size_, bytes.size());
    std::copy_n(bytes.begin(), count, head_.begin() + static_cast<std::ptrdiff_t>(head_size_));
    bytes.remove_prefix(count);
    head_size_ += count;
    if (head_size_ < kHeadBytes) break;
    if (head_[0] > kLastStream || head_[1] != 0 || head_[2] != 0 || head_[3] != 0) {
      return DataLoss(absl::StrCat("the container's log: found a frame that begins with ", head_[0],
                                   " ", head_[1], " ", head_[2], " ", head_[3],
                                   ", expected the number of a stream and three zeros"));
    }
    for (size_t i = 4; i < kHeadBytes; ++i) left_ = left_ << 8U | head_[i];
    head_size_ = 0;
  }
  return absl::OkStatus();
}

}  // namespace trackbed
