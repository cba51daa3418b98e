// One container engine as those see it who talk to it: which version of its API it speaks, and
// whether it answers at all.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "executors/container_order.hpp"
#include "executors/http_transport.hpp"
#include "executors/steady_time.hpp"

namespace trackbed {

class ContainerConnection {
 public:
  // `silence`: how long nothing may be heard, while we ask, before the engine counts as silent.
  // `changed` is called when a connection was made, could not be made, or is silent.
  ContainerConnection(std::unique_ptr<HttpTransport> transport, Duration silence,
                      std::function<void()> changed);

  // Whether requests are worth sending now; else they wait for `changed`.
  bool connected() const { return connected_; }
  bool is_silent() const { return silent_; }
  // Why there is no connection.
  const std::string& error() const { return error_; }
  const VersionAnswer& version() const { return version_; }

  // Sends `request`, whose path begins after the version: "/containers/json".
  HttpTransport::Exchange Send(HttpRequest request, HttpHandler handler);
  void Cancel(HttpTransport::Exchange exchange) { transport_->Cancel(exchange); }

  // Does what can be done now, calling handlers. While `needed`, a connection is made and kept
  // under watch.
  void Run(bool needed);
  // When Run has something to do, though the descriptor is not readable; max(): never.
  SteadyTime NextDue(bool needed) const;
  int WakeDescriptor() const { return transport_->WakeDescriptor(); }

 private:
  void Ask();
  void OnPing(const HttpOutcome& outcome);
  void Heard() { unanswered_since_ = SteadyTime{}; }
  void JudgeSilence(SteadyTime now);

  const std::unique_ptr<HttpTransport> transport_;
  const Duration silence_;
  const std::function<void()> changed_;
  bool connected_ = false;
  bool silent_ = false;
  bool asking_ = false;
  int failures_ = 0;
  std::string error_;
  VersionAnswer version_;
  SteadyTime due_{};               // of the next question
  SteadyTime unanswered_since_{};  // epoch: it answers, or was not asked
};

}  // namespace trackbed
