// The port through which an executor speaks HTTP: libcurl behind it (curl_transport.hpp), or a test
// that answers late, half or never.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "trackbed/base/time.hpp"

namespace trackbed {

struct HttpRequest {
  std::string method = "GET";
  std::string path;  // with the query, escaped
  std::string body;  // sent as JSON when not empty
  std::vector<std::string> headers;
  Duration timeout{0};       // of the whole exchange; 0: as long as it takes
  Duration idle_timeout{0};  // without a byte coming; 0: as long as it takes
};

struct HttpOutcome {
  int status = 0;         // 0: there was no whole answer, `error` says why
  std::string error;      // empty: the answer came to its end
  std::string body;       // unless `on_bytes` took it
  std::string head = {};  // "NAME: VALUE" lines, up to kMaxHttpHead
};

struct HttpHandler {
  // The answer has begun. May be empty.
  std::function<void(int status)> on_head;
  // Takes the body of an answer with a status below 300 as it comes. Empty: it is kept for
  // `on_done`, up to kMaxHttpBody, beyond which the exchange ends with an error.
  std::function<void(std::string_view bytes)> on_bytes;
  // Exactly once, last; not after Cancel.
  std::function<void(HttpOutcome outcome)> on_done;
};

inline constexpr int kFirstServerError = 500;  // of HTTP's status codes
inline constexpr size_t kMaxHttpHead = size_t{64} << 10;
inline constexpr size_t kMaxHttpBody = size_t{8} << 20;

// Used by one thread at a time.
class HttpTransport {
 public:
  using Exchange = uint64_t;  // never 0

  virtual ~HttpTransport() = default;

  // Begins an exchange. Nothing of `handler` is called before Run.
  virtual Exchange Send(HttpRequest request, HttpHandler handler) = 0;

  // Ends an exchange whose handler is not to be called any more. Nothing happens when it is over.
  virtual void Cancel(Exchange exchange) = 0;

  // Does what can be done now, calling handlers, which may call Send and Cancel. Never waits.
  virtual void Run() = 0;

  // Readable when Run has something to do. Owned by the transport.
  virtual int WakeDescriptor() const = 0;
};

}  // namespace trackbed
