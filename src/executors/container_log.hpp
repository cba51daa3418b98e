// The form in which the Docker Engine API sends what a container without a terminal writes: frames
// of 8 bytes (stream, three zeros, length in 4 bytes, most significant first) and as many bytes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "trackbed/base/status.hpp"

namespace trackbed {

// Takes the frames apart, however the bytes are cut on the way. Keeps at most 8 of them.
class ContainerLogReader {
 public:
  // Appends to *out what the container wrote, stdout and stderr in the order sent. kDataLoss for
  // what cannot be such a stream; the reader is of no use then until Reset.
  Status Feed(std::string_view bytes, std::string* out);

  // False inside a frame: more has to come, or the stream was cut.
  bool AtFrameEnd() const { return head_size_ == 0 && left_ == 0; }

  void Reset() { *this = ContainerLogReader(); }

 private:
  static constexpr size_t kHeadBytes = 8;
  std::array<unsigned char, kHeadBytes> head_{};
  size_t head_size_ = 0;  // bytes of head_ that are there
  uint32_t left_ = 0;     // bytes of the current frame still to come
};

}  // namespace trackbed
