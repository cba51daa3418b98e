#include "executors/container_connection.hpp"

#include <absl/strings/str_cat.h>

#include <utility>

namespace trackbed {
namespace {

constexpr auto kLeastTimeout = std::chrono::seconds(1);
constexpr int kQuestionsInSilence = 3;
constexpr int kOk = 200;

}  // namespace

ContainerConnection::ContainerConnection(std::unique_ptr<HttpTransport> transport, Duration silence,
                                         std::function<void()> changed)
    : transport_(std::move(transport)), silence_(silence), changed_(std::move(changed)) {}

HttpTransport::Exchange ContainerConnection::Send(HttpRequest request, HttpHandler handler) {
  request.path = absl::StrCat("/v", version_.api, request.path);
  handler.on_head = [this, then = std::move(handler.on_head)](int status) {
    if (status < kFirstServerError) Heard();
    if (then) then(status);
  };
  return transport_->Send(std::move(request), std::move(handler));
}

// Tells which API it speaks, and that it is there, with no work for it.
void ContainerConnection::Ask() {
  asking_ = true;
  if (unanswered_since_ == SteadyTime{}) unanswered_since_ = SteadyNow();
  HttpRequest request;
  request.path = "/_ping";
  request.timeout = std::max(silence_ / kQuestionsInSilence, Duration(kLeastTimeout));
  HttpHandler handler;
  handler.on_done = [this](const HttpOutcome& outcome) {
    asking_ = false;
    OnPing(outcome);
  };
  transport_->Send(std::move(request), std::move(handler));
}

void ContainerConnection::OnPing(const HttpOutcome& outcome) {
  const bool answers = outcome.error.empty() && outcome.status == kOk;
  const auto version = answers ? ReadPing(outcome.head) : std::nullopt;
  if (!version) {
    error_ = !outcome.error.empty() ? outcome.error
             : answers              ? "what answers is no Docker Engine API"
                                    : ErrorText(outcome.status, outcome.body);
    due_ = SteadyAfter(std::min(Backoff(++failures_), silence_ / kQuestionsInSilence));
    if (!connected_) changed_();
    return;
  }
  version_ = *version;
  failures_ = 0;
  Heard();
  due_ = SteadyAfter(silence_ / kQuestionsInSilence);
  if (connected_) return;
  connected_ = true;
  silent_ = false;
  changed_();
}

void ContainerConnection::JudgeSilence(SteadyTime now) {
  const bool silent = unanswered_since_ != SteadyTime{} && now - unanswered_since_ >= silence_;
  if (!silent || silent_) return;
  silent_ = true;
  connected_ = false;
  if (error_.empty()) error_ = "it does not answer";
  changed_();
}

void ContainerConnection::Run(bool needed) {
  transport_->Run();
  if (!needed) {
    Heard();
    return;
  }
  const SteadyTime now = SteadyNow();
  if (!asking_ && due_ <= now) Ask();
  JudgeSilence(now);
}

SteadyTime ContainerConnection::NextDue(bool needed) const {
  if (!needed) return SteadyTime::max();
  SteadyTime next = asking_ ? SteadyTime::max() : due_;
  if (!silent_ && unanswered_since_ != SteadyTime{}) {
    next = std::min(next,
                    unanswered_since_ + std::chrono::duration_cast<SteadyTime::duration>(silence_));
  }
  return next;
}

}  // namespace trackbed
