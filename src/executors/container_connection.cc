#include "executors/container_connection.hpp"

#include <absl/strings/str_cat.h>

#include <utility>

namespace trackbed {
namespace {

constexpr auto kVersionTimeout = std::chrono::seconds(30);
constexpr int kQuestionsInSilence = 3;
constexpr int kOk = 200;

bool Answers(const HttpOutcome& outcome) {
  return outcome.error.empty() && outcome.status != 0 && outcome.status < kFirstServerError;
}

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

void ContainerConnection::Ask() {
  asking_ = true;
  if (unanswered_since_ == SteadyTime{}) unanswered_since_ = SteadyNow();
  HttpRequest request;
  request.path = connected_ ? "/_ping" : "/version";
  request.timeout = connected_ ? silence_ / kQuestionsInSilence : Duration(kVersionTimeout);
  HttpHandler handler;
  handler.on_done = [this, ping = connected_](const HttpOutcome& outcome) {
    asking_ = false;
    ping ? OnPing(outcome) : OnVersion(outcome);
  };
  transport_->Send(std::move(request), std::move(handler));
}

void ContainerConnection::OnVersion(const HttpOutcome& outcome) {
  const auto version =
      outcome.error.empty() && outcome.status == kOk ? ReadVersion(outcome.body) : std::nullopt;
  if (version) {
    version_ = *version;
    connected_ = true;
    silent_ = false;
    failures_ = 0;
    Heard();
    due_ = SteadyAfter(silence_ / kQuestionsInSilence);
  } else {
    error_ = !outcome.error.empty()  ? outcome.error
             : outcome.status == kOk ? "what answers is no Docker Engine API"
                                     : ErrorText(outcome.status, outcome.body);
    due_ = SteadyAfter(Backoff(++failures_));
  }
  changed_();
}

void ContainerConnection::OnPing(const HttpOutcome& outcome) {
  if (Answers(outcome)) {
    Heard();
    due_ = SteadyAfter(silence_ / kQuestionsInSilence);
    return;
  }
  error_ = outcome.error.empty() ? ErrorText(outcome.status, outcome.body) : outcome.error;
  due_ = SteadyAfter(std::min(Backoff(++failures_), silence_ / kQuestionsInSilence));
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
