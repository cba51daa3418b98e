#include "executors/image_pulls.hpp"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <utility>

#include "executors/answer_json.hpp"
#include "executors/container_order.hpp"
#include "executors/registry_login.hpp"

namespace trackbed {
namespace {

constexpr auto kPullSilence = std::chrono::seconds(300);
constexpr auto kTellInterval = std::chrono::seconds(1);
constexpr size_t kMaxLine = size_t{64} << 10;
constexpr size_t kMaxLayers = 1000;
constexpr int64_t kMegabyte = 1'000'000;
constexpr int kOk = 200;
constexpr int kFirstErrorStatus = 300;

// The path that pulls `image`: without a tag Docker would fetch all there are.
std::string PullPath(const std::string& image) {
  if (image.find('@') != std::string::npos) {
    return "/images/create?fromImage=" + PercentEncode(image);
  }
  const std::string repository = RepositoryOf(image);
  const std::string tag =
      repository.size() < image.size() ? image.substr(repository.size() + 1) : "latest";
  return absl::StrCat("/images/create?fromImage=", PercentEncode(repository),
                      "&tag=", PercentEncode(tag));
}

}  // namespace

void PullReader::Feed(std::string_view bytes) {
  for (const char c : bytes) {
    if (c != '\n') {
      if (line_.size() < kMaxLine) line_ += c;
      continue;
    }
    TakeLine();
    line_.clear();
  }
}

void PullReader::TakeLine() {
  const nlohmann::json json = ParseAnswer(line_);
  if (std::string error = TextMember(json, "error"); !error.empty()) error_ = std::move(error);
  const std::string status = TextMember(json, "status");
  if (status.empty()) return;
  last_ = status;
  const std::string id = TextMember(json, "id");
  const bool is_layer = status.starts_with("Pulling fs layer") || status == "Waiting" ||
                        status == "Downloading" || status == "Extracting" ||
                        status == "Verifying Checksum" || status == "Download complete" ||
                        status == "Pull complete" || status == "Already exists";
  if (id.empty() || !is_layer || (layers_.size() >= kMaxLayers && !layers_.contains(id))) return;
  Layer& layer = layers_[id];
  layer.is_there = layer.is_there || status == "Download complete" || status == "Extracting" ||
                   status == "Pull complete" || status == "Already exists";
  const nlohmann::json* detail = FindMember(json, "progressDetail");
  if (status != "Downloading" || detail == nullptr || !detail->is_object()) return;
  layer.bytes = std::max<int64_t>(0, NumberMember(*detail, "current"));
  layer.size = std::max<int64_t>(0, NumberMember(*detail, "total"));
}

std::string PullReader::Describe() const {
  if (layers_.empty()) return last_;
  size_t there = 0;
  int64_t bytes = 0;
  int64_t size = 0;
  for (const auto& [id, layer] : layers_) {
    there += layer.is_there ? 1 : 0;
    const int64_t known = std::min(layer.size, INT64_MAX / static_cast<int64_t>(kMaxLayers));
    size += known;
    bytes += layer.is_there ? known : std::min(layer.bytes, known);
  }
  std::string text = absl::StrCat(there, " of ", layers_.size(), " layers");
  if (size >= kMegabyte) {
    absl::StrAppend(&text, ", ", bytes / kMegabyte, " of ", size / kMegabyte, " MB");
  }
  return text;
}

ImagePulls::ImagePulls(const ContainerExecutorOptions* options, std::string node,
                       ContainerConnection* connection)
    : options_(options), node_(std::move(node)), connection_(connection) {}

void ImagePulls::Pull(const std::string& image, Done done) {
  UnderWay& pull = under_way_[image];
  pull.waiting.push_back(std::move(done));
  if (pull.waiting.size() > 1) return;
  const std::string registry = RegistryOf(image);
  const StatusOr<RegistryCredentials> credentials = FindCredentials(*options_, registry);
  if (!credentials.ok()) {
    Finish(image,
           absl::StrCat("cannot pull the image \"", image, "\": login to ", registry, ": ",
                        AbslView(Message(credentials.status()))),
           true);
    return;
  }
  HttpRequest request;
  request.method = "POST";
  request.path = PullPath(image);
  request.idle_timeout = kPullSilence;
  if (!credentials->user.empty() || !credentials->identity_token.empty()) {
    pull.user = credentials->user.empty() ? "a token" : credentials->user;
    request.headers.push_back("X-Registry-Auth: " + RegistryAuthorization(*credentials));
  }
  pull.reader = std::make_shared<PullReader>();
  Tell(image, "pulling");
  HttpHandler handler;
  handler.on_bytes = [this, image](std::string_view bytes) { OnBytes(image, bytes); };
  handler.on_done = [this, image](const HttpOutcome& outcome) { OnDone(image, outcome); };
  connection_->Send(std::move(request), std::move(handler));
}

void ImagePulls::OnBytes(const std::string& image, std::string_view bytes) {
  UnderWay& pull = under_way_[image];
  pull.reader->Feed(bytes);
  const SteadyTime now = SteadyNow();
  if (now - pull.told < kTellInterval) return;
  pull.told = now;
  if (const std::string how_far = pull.reader->Describe(); !how_far.empty()) {
    Tell(image, "pulling: " + how_far);
  }
}

void ImagePulls::OnDone(const std::string& image, const HttpOutcome& outcome) {
  const UnderWay& pull = under_way_[image];
  const bool answered = outcome.status != 0 && outcome.error.empty();
  std::string error = outcome.error;
  if (answered && outcome.status >= kOk && outcome.status < kFirstErrorStatus) {
    error = pull.reader->error();
  } else if (answered) {
    error = ErrorText(outcome.status, outcome.body);
  }
  if (error.empty()) {
    Tell(image, "pulled");
    Finish(image, "", true);
  } else {
    Finish(image, DescribePullError(image, pull.user, error), answered);
  }
}

void ImagePulls::Finish(const std::string& image, const std::string& error, bool reached) {
  const auto node = under_way_.extract(image);
  for (const Done& done : node.mapped().waiting) done(error, reached);
}

void ImagePulls::Tell(const std::string& image, const std::string& what) const {
  if (options_->on_pull) options_->on_pull(node_, image, what);
}

}  // namespace trackbed
