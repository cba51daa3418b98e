#include "executors/curl_transport.hpp"

#ifdef TRACKBED_HAS_CURL

#include <errno.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <map>
#include <utility>

#include "executors/curl_library.hpp"
#include "executors/host_files.hpp"

namespace trackbed {
namespace {

constexpr int kEventsAtOnce = 64;
constexpr long kConnectTimeoutMs = 10'000;
constexpr long kKeepAliveSeconds = 15;
constexpr int kFirstErrorStatus = 300;

long Seconds(Duration duration) {
  return static_cast<long>(std::chrono::duration_cast<std::chrono::seconds>(duration).count());
}

// At least 1: to curl, 0 is without end.
long Milliseconds(Duration duration) {
  return static_cast<long>(std::chrono::ceil<std::chrono::milliseconds>(duration).count());
}

class CurlTransport : public HttpTransport {
 public:
  CurlTransport(const CurlLibrary& curl, ContainerEndpoint endpoint)
      : curl_(curl), endpoint_(std::move(endpoint)) {}
  ~CurlTransport() override;
  CurlTransport(const CurlTransport&) = delete;
  CurlTransport& operator=(const CurlTransport&) = delete;

  Status Initialize();
  Exchange Send(HttpRequest request, HttpHandler handler) override;
  void Cancel(Exchange exchange) override;
  void Run() override;
  int WakeDescriptor() const override { return epoll_; }

 private:
  // Stays where it is while curl knows it.
  struct Flight {
    explicit Flight(const CurlLibrary& library) : curl(library) {}
    const CurlLibrary& curl;
    Exchange id = 0;
    CURL* easy = nullptr;
    curl_slist* headers = nullptr;
    HttpRequest request;
    HttpHandler handler;
    HttpOutcome outcome;
    bool head_told = false;
    bool too_long = false;
    bool cancelled = false;
    char error[CURL_ERROR_SIZE] = {};
  };

  static int OnSocket(CURL* easy, curl_socket_t socket, int what, void* self, void* known);
  static int OnTimer(CURLM* multi, long timeout_ms, void* self);
  static size_t OnHeader(char* bytes, size_t size, size_t count, void* flight);
  static size_t OnBody(char* bytes, size_t size, size_t count, void* flight);

  void Configure(Flight* flight);
  static void TellHead(Flight* flight);
  void TakeFinished();
  void Land(Flight* flight);
  void Sweep();

  const CurlLibrary& curl_;
  const ContainerEndpoint endpoint_;
  CURLM* multi_ = nullptr;
  int epoll_ = -1;
  int timer_ = -1;
  Exchange next_ = 1;
  std::map<Exchange, std::unique_ptr<Flight>> flights_;
  bool running_ = false;
  std::vector<Exchange> waiting_;    // not known to curl yet
  std::vector<Exchange> cancelled_;  // still known to curl, perhaps
};

CurlTransport::~CurlTransport() {
  for (auto& [id, flight] : flights_) Land(flight.get());
  if (multi_ != nullptr) curl_.multi_cleanup(multi_);
  if (timer_ >= 0) close(timer_);
  if (epoll_ >= 0) close(epoll_);
}

Status CurlTransport::Initialize() {
  multi_ = curl_.multi_init();
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  timer_ = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  if (multi_ == nullptr || epoll_ < 0 || timer_ < 0) {
    return HostStatus(errno, "cannot make descriptors for HTTP");
  }
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = timer_;
  if (epoll_ctl(epoll_, EPOLL_CTL_ADD, timer_, &event) != 0) {
    return HostStatus(errno, "cannot watch descriptors for HTTP");
  }
  curl_.multi_setopt(multi_, CURLMOPT_SOCKETFUNCTION, &OnSocket);
  curl_.multi_setopt(multi_, CURLMOPT_SOCKETDATA, this);
  curl_.multi_setopt(multi_, CURLMOPT_TIMERFUNCTION, &OnTimer);
  curl_.multi_setopt(multi_, CURLMOPT_TIMERDATA, this);
  return absl::OkStatus();
}

int CurlTransport::OnSocket(CURL* /*easy*/, curl_socket_t socket, int what, void* self,
                            void* known) {
  auto* transport = static_cast<CurlTransport*>(self);
  if (what == CURL_POLL_REMOVE) {
    epoll_ctl(transport->epoll_, EPOLL_CTL_DEL, socket, nullptr);
    return 0;
  }
  epoll_event event{};
  if ((what & CURL_POLL_IN) != 0) event.events |= EPOLLIN;
  if ((what & CURL_POLL_OUT) != 0) event.events |= EPOLLOUT;
  event.data.fd = socket;
  epoll_ctl(transport->epoll_, known == nullptr ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, socket, &event);
  transport->curl_.multi_assign(transport->multi_, socket, transport);
  return 0;
}

int CurlTransport::OnTimer(CURLM* /*multi*/, long timeout_ms, void* self) {
  itimerspec spec{};  // all zero: off
  if (timeout_ms > 0) {
    spec.it_value.tv_sec = timeout_ms / 1000;
    spec.it_value.tv_nsec = timeout_ms % 1000 * 1'000'000;
  } else if (timeout_ms == 0) {
    spec.it_value.tv_nsec = 1;
  }
  timerfd_settime(static_cast<CurlTransport*>(self)->timer_, 0, &spec, nullptr);
  return 0;
}

void CurlTransport::TellHead(Flight* flight) {
  if (flight->head_told || flight->cancelled) return;
  flight->head_told = true;
  long status = 0;
  flight->curl.easy_getinfo(flight->easy, CURLINFO_RESPONSE_CODE, &status);
  flight->outcome.status = static_cast<int>(status);
  if (flight->handler.on_head) flight->handler.on_head(flight->outcome.status);
}

// Each line of the head comes by itself, the last one empty.
size_t CurlTransport::OnHeader(char* bytes, size_t size, size_t count, void* data) {
  auto* flight = static_cast<Flight*>(data);
  const std::string_view line(bytes, size * count);
  long status = 0;
  flight->curl.easy_getinfo(flight->easy, CURLINFO_RESPONSE_CODE, &status);
  if (line == "\r\n" && status >= 200) {
    TellHead(flight);
  } else if (flight->outcome.head.size() + line.size() <= kMaxHttpHead) {
    flight->outcome.head += line;
  }
  return size * count;
}

size_t CurlTransport::OnBody(char* bytes, size_t size, size_t count, void* data) {
  auto* flight = static_cast<Flight*>(data);
  const std::string_view text(bytes, size * count);
  if (flight->cancelled) return 0;
  if (flight->handler.on_bytes && flight->outcome.status < kFirstErrorStatus) {
    flight->handler.on_bytes(text);
    return text.size();
  }
  if (flight->outcome.body.size() + text.size() > kMaxHttpBody) {
    flight->too_long = true;
    return 0;
  }
  flight->outcome.body.append(text);
  return text.size();
}

void CurlTransport::Configure(Flight* flight) {
  CURL* easy = flight->easy;
  const HttpRequest& request = flight->request;
  const bool local = !endpoint_.socket.empty();
  const std::string url = (local ? "http://localhost" : endpoint_.url) + request.path;
  curl_.easy_setopt(easy, CURLOPT_URL, url.c_str());
  if (local) curl_.easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, endpoint_.socket.c_str());
  curl_.easy_setopt(easy, CURLOPT_NOPROXY, "*");
  curl_.easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_.easy_setopt(easy, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
  curl_.easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_.easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
  curl_.easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
  curl_.easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, kKeepAliveSeconds);
  curl_.easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, kKeepAliveSeconds);
  curl_.easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, kConnectTimeoutMs);
  if (!endpoint_.ca_file.empty()) {
    curl_.easy_setopt(easy, CURLOPT_CAINFO, endpoint_.ca_file.c_str());
  }
  if (!endpoint_.certificate_file.empty()) {
    curl_.easy_setopt(easy, CURLOPT_SSLCERT, endpoint_.certificate_file.c_str());
    curl_.easy_setopt(easy, CURLOPT_SSLKEY, endpoint_.key_file.c_str());
  }
  curl_.easy_setopt(easy, CURLOPT_ERRORBUFFER, flight->error);
  curl_.easy_setopt(easy, CURLOPT_PRIVATE, flight);
  curl_.easy_setopt(easy, CURLOPT_HEADERFUNCTION, &OnHeader);
  curl_.easy_setopt(easy, CURLOPT_HEADERDATA, flight);
  curl_.easy_setopt(easy, CURLOPT_WRITEFUNCTION, &OnBody);
  curl_.easy_setopt(easy, CURLOPT_WRITEDATA, flight);
  if (request.timeout > Duration(0)) {
    curl_.easy_setopt(easy, CURLOPT_TIMEOUT_MS, Milliseconds(request.timeout));
  }
  if (request.idle_timeout > Duration(0)) {
    curl_.easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_.easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, Seconds(request.idle_timeout));
  }
  if (request.method == "POST") {
    curl_.easy_setopt(easy, CURLOPT_POST, 1L);
    curl_.easy_setopt(easy, CURLOPT_POSTFIELDS, request.body.c_str());
    curl_.easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE,
                      static_cast<curl_off_t>(request.body.size()));
  } else if (request.method != "GET") {
    curl_.easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request.method.c_str());
  }
  flight->headers = curl_.slist_append(flight->headers, "Content-Type: application/json");
  flight->headers = curl_.slist_append(flight->headers, "Expect:");
  for (const std::string& header : request.headers) {
    flight->headers = curl_.slist_append(flight->headers, header.c_str());
  }
  curl_.easy_setopt(easy, CURLOPT_HTTPHEADER, flight->headers);
}

HttpTransport::Exchange CurlTransport::Send(HttpRequest request, HttpHandler handler) {
  auto flight = std::make_unique<Flight>(curl_);
  flight->id = next_++;
  flight->request = std::move(request);
  flight->handler = std::move(handler);
  flight->easy = curl_.easy_init();
  Configure(flight.get());
  const Exchange id = flight->id;
  waiting_.push_back(id);
  flights_[id] = std::move(flight);
  if (!running_) Sweep();
  return id;
}

void CurlTransport::Cancel(Exchange exchange) {
  const auto found = flights_.find(exchange);
  if (found == flights_.end() || found->second->cancelled) return;
  found->second->cancelled = true;
  cancelled_.push_back(exchange);
  if (!running_) Sweep();
}

void CurlTransport::Land(Flight* flight) {
  curl_.multi_remove_handle(multi_, flight->easy);
  curl_.easy_cleanup(flight->easy);
  curl_.slist_free_all(flight->headers);
}

// Does what must not be done while curl calls us.
void CurlTransport::Sweep() {
  for (const Exchange id : std::exchange(cancelled_, {})) {
    const auto found = flights_.find(id);
    if (found == flights_.end()) continue;
    Land(found->second.get());
    flights_.erase(found);
  }
  for (const Exchange id : std::exchange(waiting_, {})) {
    const auto found = flights_.find(id);
    if (found != flights_.end()) curl_.multi_add_handle(multi_, found->second->easy);
  }
}

void CurlTransport::TakeFinished() {
  int left = 0;
  while (const CURLMsg* message = curl_.multi_info_read(multi_, &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    Flight* flight = nullptr;
    curl_.easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &flight);
    const CURLcode code = message->data.result;
    if (code != CURLE_OK) {
      flight->outcome.error =
          flight->too_long ? "the answer is too long"
                           : (flight->error[0] != 0 ? flight->error : curl_.easy_strerror(code));
    } else {
      TellHead(flight);
    }
    const auto node = flights_.extract(flight->id);
    Land(flight);
    if (!flight->cancelled) flight->handler.on_done(std::move(flight->outcome));
  }
}

void CurlTransport::Run() {
  int running = 0;
  running_ = true;
  while (true) {
    epoll_event events[kEventsAtOnce];
    const int count = epoll_wait(epoll_, events, kEventsAtOnce, 0);
    if (count < 0 && errno == EINTR) continue;
    for (int i = 0; i < count; ++i) {
      if (events[i].data.fd == timer_) {
        uint64_t expirations = 0;
        [[maybe_unused]] const ssize_t drained = read(timer_, &expirations, sizeof(expirations));
        curl_.multi_socket_action(multi_, CURL_SOCKET_TIMEOUT, 0, &running);
        continue;
      }
      int what = 0;
      if ((events[i].events & (EPOLLIN | EPOLLHUP | EPOLLRDHUP)) != 0) what |= CURL_CSELECT_IN;
      if ((events[i].events & EPOLLOUT) != 0) what |= CURL_CSELECT_OUT;
      if ((events[i].events & EPOLLERR) != 0) what |= CURL_CSELECT_ERR;
      curl_.multi_socket_action(multi_, events[i].data.fd, what, &running);
    }
    TakeFinished();
    Sweep();
    // A stream without end must not keep us here: one round reads what there is, in pieces.
    if (count < kEventsAtOnce) break;
  }
  running_ = false;
}

}  // namespace

StatusOr<std::unique_ptr<HttpTransport>> NewCurlTransport(const ContainerEndpoint& endpoint) {
  TRACKBED_ASSIGN_OR_RETURN(const CurlLibrary* curl, LoadCurl());
  auto transport = std::make_unique<CurlTransport>(*curl, endpoint);
  TRACKBED_RETURN_IF_ERROR(transport->Initialize());
  return std::unique_ptr<HttpTransport>(std::move(transport));
}

}  // namespace trackbed

#else

namespace trackbed {

StatusOr<std::unique_ptr<HttpTransport>> NewCurlTransport(const ContainerEndpoint& /*endpoint*/) {
  return FailedPrecondition(
      "this Trackbed was built without libcurl, which containers need; install libcurl's headers "
      "(libcurl4-openssl-dev) and build it again");
}

}  // namespace trackbed

#endif
