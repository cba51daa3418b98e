// HTTP by libcurl against a server that hangs, answers half, answers without end, or is not there.
#ifdef TRACKBED_HAS_CURL

#include "executors/curl_transport.hpp"

#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>
#include <thread>

#include "executors/attempt_fixture.hpp"

namespace trackbed {
namespace {

// Listens on a unix socket; writes `answer` to each who connects, after its request, and closes
// unless `keeps_open`.
class RawServer {
 public:
  RawServer(std::string path, std::string answer, bool keeps_open)
      : path_(std::move(path)), answer_(std::move(answer)), keeps_open_(keeps_open) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    memcpy(address.sun_path, path_.c_str(), path_.size() + 1);
    listener_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE(bind(listener_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
    REQUIRE(listen(listener_, 8) == 0);
    thread_ = std::thread([this] { Serve(); });
  }
  ~RawServer() {
    shutdown(listener_, SHUT_RDWR);
    thread_.join();
    close(listener_);
  }
  RawServer(const RawServer&) = delete;
  RawServer& operator=(const RawServer&) = delete;

 private:
  void Serve() {
    std::vector<int> open;
    while (true) {
      const int client = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (client < 0) break;
      std::string request;
      char byte = 0;
      while (!request.ends_with("\r\n\r\n") && read(client, &byte, 1) == 1) request += byte;
      size_t sent = 0;
      while (sent < answer_.size()) {
        const ssize_t count =
            send(client, answer_.data() + sent, answer_.size() - sent, MSG_NOSIGNAL);
        if (count <= 0) break;
        sent += static_cast<size_t>(count);
      }
      if (keeps_open_) {
        open.push_back(client);
      } else {
        close(client);
      }
    }
    for (const int client : open) close(client);
  }

  const std::string path_;
  const std::string answer_;
  const bool keeps_open_;
  int listener_ = -1;
  std::thread thread_;
};

struct Exchange {
  bool done = false;
  int head = 0;
  std::string bytes;
  HttpOutcome outcome;
};

std::unique_ptr<HttpTransport> TransportTo(const std::string& socket) {
  ContainerEndpoint endpoint;
  endpoint.socket = socket;
  auto transport = NewCurlTransport(endpoint);
  INFO(transport.status());
  REQUIRE(transport.ok());
  return *std::move(transport);
}

HttpTransport::Exchange Ask(HttpTransport* transport, HttpRequest request, Exchange* exchange,
                            bool streams = false) {
  request.path = "/x";
  HttpHandler handler;
  handler.on_head = [exchange](int status) { exchange->head = status; };
  if (streams) {
    handler.on_bytes = [exchange](std::string_view bytes) { exchange->bytes += bytes; };
  }
  handler.on_done = [exchange](HttpOutcome outcome) {
    exchange->outcome = std::move(outcome);
    exchange->done = true;
  };
  return transport->Send(std::move(request), std::move(handler));
}

bool RunUntil(HttpTransport* transport, const std::function<bool()>& holds) {
  return Eventually([&] {
    pollfd wake{transport->WakeDescriptor(), POLLIN, 0};
    poll(&wake, 1, 20);
    transport->Run();
    return holds();
  });
}

TEST_CASE("curl: a whole answer, and one without a length that ends with the connection") {
  const ScratchFolder scratch;
  for (const char* answer : {"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone",
                             "HTTP/1.1 404 Not Found\r\n\r\nnone"}) {
    const RawServer server(scratch / "socket", answer, false);
    const auto transport = TransportTo(scratch / "socket");
    Exchange exchange;
    Ask(transport.get(), {}, &exchange);
    REQUIRE(RunUntil(transport.get(), [&] { return exchange.done; }));
    CHECK(exchange.head == 404);
    CHECK(exchange.outcome.status == 404);
    CHECK(exchange.outcome.error.empty());
    CHECK(exchange.outcome.body == "none");
    unlink((scratch / "socket").c_str());
  }
}

TEST_CASE("curl: nobody there, half an answer, no HTTP") {
  const ScratchFolder scratch;
  for (const char* answer : {"", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
                             "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhalf",
                             "SSH-2.0-OpenSSH\r\n\r\n"}) {
    INFO(answer);
    const RawServer server(scratch / "socket", answer, false);
    const auto transport = TransportTo(scratch / "socket");
    Exchange exchange;
    Ask(transport.get(), {}, &exchange);
    REQUIRE(RunUntil(transport.get(), [&] { return exchange.done; }));
    CHECK_FALSE(exchange.outcome.error.empty());
    unlink((scratch / "socket").c_str());
  }
  const auto transport = TransportTo(scratch / "nobody");
  Exchange exchange;
  Ask(transport.get(), {}, &exchange);
  REQUIRE(RunUntil(transport.get(), [&] { return exchange.done; }));
  CHECK_FALSE(exchange.outcome.error.empty());
  CHECK(exchange.outcome.status == 0);
}

TEST_CASE("curl: an answer without end is given up, a stream is handed on as it comes") {
  const ScratchFolder scratch;
  const std::string large = "HTTP/1.1 200 OK\r\n\r\n" + std::string(kMaxHttpBody + 1000, 'x');
  const RawServer server(scratch / "socket", large, true);
  const auto transport = TransportTo(scratch / "socket");
  Exchange exchange;
  Ask(transport.get(), {}, &exchange);
  REQUIRE(RunUntil(transport.get(), [&] { return exchange.done; }));
  CHECK(exchange.outcome.error == "the answer is too long");

  Exchange stream;
  const auto id = Ask(transport.get(), {}, &stream, true);
  REQUIRE(RunUntil(transport.get(), [&] { return stream.bytes.size() == kMaxHttpBody + 1000; }));
  CHECK_FALSE(stream.done);
  transport->Cancel(id);
  transport->Cancel(id);
  transport->Run();
  CHECK_FALSE(stream.done);
}

TEST_CASE("curl: one that hangs ends at its timeout, and keeps no other waiting") {
  const ScratchFolder scratch;
  const RawServer silent(scratch / "socket", "", true);
  const auto transport = TransportTo(scratch / "socket");
  HttpRequest request;
  request.timeout = std::chrono::seconds(1);
  Exchange first;
  Exchange second;
  Ask(transport.get(), request, &first);
  request.timeout = Duration(0);
  const auto id = Ask(transport.get(), request, &second);
  REQUIRE(RunUntil(transport.get(), [&] { return first.done; }));
  CHECK(first.outcome.error.find("timed out") != std::string::npos);
  CHECK_FALSE(second.done);
  transport->Cancel(id);
}

TEST_CASE("curl: a handler may send and cancel") {
  const ScratchFolder scratch;
  const RawServer server(scratch / "socket", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
                         false);
  const auto transport = TransportTo(scratch / "socket");
  Exchange second;
  HttpTransport::Exchange own = 0;
  HttpHandler handler;
  handler.on_head = [&](int) {
    Ask(transport.get(), {}, &second);
    transport->Cancel(own);
  };
  handler.on_done = [](const HttpOutcome&) { FAIL("a cancelled exchange is over"); };
  HttpRequest request;
  request.path = "/x";
  own = transport->Send(request, std::move(handler));
  REQUIRE(RunUntil(transport.get(), [&] { return second.done; }));
  CHECK(second.outcome.body == "x");
}

}  // namespace
}  // namespace trackbed

#endif
