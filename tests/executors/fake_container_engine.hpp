// A container engine that does what a test says, behind the port HttpTransport: it answers late,
// wrongly, half or never, and needs no network.
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "executors/http_transport.hpp"

namespace trackbed {

struct FakeAnswer {
  int status = 200;
  std::string body;
  std::string error;           // after `body`: the exchange breaks off
  bool hangs = false;          // after `body`: nothing comes any more
  std::function<void()> then;  // called when the answer is given
  std::string head = {};
};

class FakeContainerEngine : public HttpTransport {
 public:
  using Answer = std::function<FakeAnswer(const HttpRequest& request)>;

  FakeContainerEngine() : wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  ~FakeContainerEngine() override { close(wake_); }
  FakeContainerEngine(const FakeContainerEngine&) = delete;
  FakeContainerEngine& operator=(const FakeContainerEngine&) = delete;

  Answer answer;
  std::vector<HttpRequest> requests;  // all there were

  // How many requests had `method` and a path that holds `part`.
  int Count(const std::string& method, const std::string& part) const {
    int count = 0;
    for (const HttpRequest& request : requests) {
      if (request.method == method && request.path.find(part) != std::string::npos) ++count;
    }
    return count;
  }
  // Ends all exchanges that hang and whose path holds `part`: properly, or with an error.
  void End(const std::string& part, const std::string& error = "") {
    for (auto& [id, flight] : flights_) {
      if (!flight.hangs || flight.request.path.find(part) == std::string::npos) continue;
      flight.hangs = false;
      flight.ends = true;
      flight.error = error;
      Wake();
    }
  }

  Exchange Send(HttpRequest request, HttpHandler handler) override {
    requests.push_back(request);
    flights_[++last_] = {std::move(request), std::move(handler), false, false, ""};
    Wake();
    return last_;
  }
  void Cancel(Exchange exchange) override { flights_.erase(exchange); }
  int WakeDescriptor() const override { return wake_; }

  void Run() override {
    uint64_t ignored = 0;
    [[maybe_unused]] const ssize_t drained = read(wake_, &ignored, sizeof(ignored));
    std::vector<Exchange> ids;
    for (const auto& [id, flight] : flights_) {
      if (!flight.hangs) ids.push_back(id);
    }
    for (const Exchange id : ids) Deliver(id);
  }

 private:
  struct Flight {
    HttpRequest request;
    HttpHandler handler;
    bool hangs = false;
    bool ends = false;  // as it is
    std::string error;
  };

  void Deliver(Exchange id) {
    const auto found = flights_.find(id);
    if (found == flights_.end()) return;
    HttpOutcome outcome;
    if (found->second.ends) {
      outcome.status = 200;
      outcome.error = found->second.error;
    } else {
      const FakeAnswer given = answer(found->second.request);
      if (given.then) given.then();
      outcome.status = given.status;
      outcome.error = given.error;
      outcome.head = given.head;
      // A handler may cancel its own exchange.
      const HttpHandler handler = found->second.handler;
      if (given.status != 0 && handler.on_head) handler.on_head(given.status);
      if (!flights_.contains(id)) return;
      if (handler.on_bytes && given.status < 300) {
        if (!given.body.empty()) handler.on_bytes(given.body);
      } else {
        outcome.body = given.body;
      }
      if (!flights_.contains(id)) return;
      if (given.hangs) {
        flights_[id].hangs = true;
        return;
      }
    }
    const auto node = flights_.extract(id);
    node.mapped().handler.on_done(std::move(outcome));
  }

  void Wake() {
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = write(wake_, &one, sizeof(one));
  }

  const int wake_;
  Exchange last_ = 0;
  std::map<Exchange, Flight> flights_;
};

}  // namespace trackbed
