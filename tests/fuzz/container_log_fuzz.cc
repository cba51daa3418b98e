// Feeds the reader of container logs, cut into pieces by the first bytes. Nothing may crash,
// however the stream is cut the same comes out, and what a well-formed stream holds comes out
// whole.
#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "executors/container_log.hpp"
#include "fuzz/require.hpp"

namespace {

// What comes out of `bytes` fed in pieces of `size`; *ok unless it is refused.
std::string Read(std::string_view bytes, size_t size, bool* ok, bool* at_end) {
  trackbed::ContainerLogReader reader;
  std::string out;
  *ok = true;
  while (*ok && !bytes.empty()) {
    const size_t count = std::min(size, bytes.size());
    *ok = reader.Feed(bytes.substr(0, count), &out).ok();
    bytes.remove_prefix(count);
  }
  *at_end = reader.AtFrameEnd();
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const size_t piece = size_t{data[0]} + 1;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  bool whole_ok = false;
  bool whole_end = false;
  const std::string whole = Read(bytes, bytes.size() + 1, &whole_ok, &whole_end);
  bool cut_ok = false;
  bool cut_end = false;
  const std::string cut = Read(bytes, piece, &cut_ok, &cut_end);
  Require(whole.size() <= bytes.size(), "more came out than went in");
  Require(whole_ok == cut_ok, "whether a stream is refused depends on how it is cut");
  Require(!whole_ok || (whole == cut && whole_end == cut_end), "cut differently, read differently");

  // The same bytes as the content of frames.
  std::string framed;
  for (size_t begin = 0; begin < bytes.size(); begin += piece) {
    const std::string_view content = bytes.substr(begin, piece);
    framed += begin % 2 == 0 ? '\1' : '\2';
    framed.append(3, '\0');
    for (int shift = 24; shift >= 0; shift -= 8) {
      framed += static_cast<char>(content.size() >> static_cast<unsigned>(shift) & 0xffU);
    }
    framed += content;
  }
  bool ok = false;
  bool at_end = false;
  Require(Read(framed, 7, &ok, &at_end) == bytes && ok && at_end, "frames lost something");
  return 0;
}
