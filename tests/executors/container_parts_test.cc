// The parts of the container executor that are plain functions: the log's frames, what is said to
// the engine and what it says, endpoints.
#include <stdlib.h>

#include <nlohmann/json.hpp>

#include "executors/attempt_fixture.hpp"
#include "executors/attempt_name.hpp"
#include "executors/container_log.hpp"
#include "executors/container_order.hpp"
#include "executors/device_environment.hpp"
#include "executors/gang_environment.hpp"
#include "executors/image_pulls.hpp"
#include "executors/registry_login.hpp"

namespace trackbed {
namespace {

using Json = nlohmann::json;

TEST_CASE("frames of a container's log are taken apart, however they are cut") {
  const std::string stream("\1\0\0\0\0\0\0\3out\2\0\0\0\0\0\0\4err\n\1\0\0\0\0\0\0\0", 31);
  for (size_t piece = 1; piece <= stream.size(); ++piece) {
    ContainerLogReader reader;
    std::string out;
    for (size_t i = 0; i < stream.size(); i += piece) {
      REQUIRE(reader.Feed(std::string_view(stream).substr(i, piece), &out).ok());
    }
    CHECK(out == "outerr\n");
    CHECK(reader.AtFrameEnd());
  }
  ContainerLogReader reader;
  std::string out;
  REQUIRE(reader.Feed(std::string_view(stream).substr(0, 9), &out).ok());
  CHECK_FALSE(reader.AtFrameEnd());
  reader.Reset();
  CHECK(reader.AtFrameEnd());
  CHECK(absl::IsDataLoss(reader.Feed("plain text\n", &out)));
}

TEST_CASE("names of containers are legal, and an attempt's alone") {
  const std::string name = AttemptName("digits-7kq2m4/train model/2", "/home/a");
  CHECK(name.starts_with("trackbed-digits-7kq2m4-train-model-2-"));
  CHECK(name != AttemptName("digits-7kq2m4/train-model/2", "/home/a"));
  CHECK(name != AttemptName("digits-7kq2m4/train model/2", "/home/b"));
  CHECK(name == AttemptName("digits-7kq2m4/train model/2", "/home/a"));
  const std::string odd = AttemptName("r/\xc3\xa9\xf0\x9f\x9a\x82/1", "/");
  CHECK(
      odd.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") ==
      std::string::npos);
  CHECK(AttemptName("r/" + std::string(5000, 'x') + "/1", "/").size() < 128);
}

TEST_CASE("images: which registry, and what is no name") {
  CHECK(RegistryOf("debian:12") == "docker.io");
  CHECK(RegistryOf("library/debian") == "docker.io");
  CHECK(RegistryOf("ghcr.io/owner/name:1") == "ghcr.io");
  CHECK(RegistryOf("localhost/name") == "localhost");
  CHECK(RegistryOf("node1:5000/name") == "node1:5000");
  for (const char* good : {"debian", "debian:12", "ghcr.io/a/b:c", "node1:5000/x@sha256:0123"}) {
    CHECK(CheckImageName(good).ok());
  }
  for (const char* bad : {"", "../x", "a b", "a?b=c", "a#b", "a//b", "-x", "a\nb", "%2e"}) {
    INFO(bad);
    CHECK(absl::IsInvalidArgument(CheckImageName(bad)));
  }
}

TEST_CASE("answers of container engines, good and bad") {
  CHECK(ErrorText(404, R"({"message":"no such\nimage\n"})") == "no such image");
  CHECK(ErrorText(500, "") == "HTTP status 500");
  CHECK(ErrorText(500, "plain") == "plain");
  CHECK(ErrorText(500, std::string(100000, 'x')).size() == 1000);

  CHECK(ReadVersion(R"({"ApiVersion":"1.24"})")->api == "1.24");
  CHECK(ReadVersion(R"({"ApiVersion":"1.99"})")->api == "1.47");
  const auto podman = ReadVersion(
      R"({"ApiVersion":"1.41","Components":[{"Name":"Podman Engine","Version":"4.3.1"}]})");
  CHECK(podman->is_podman);
  CHECK(podman->description == "Podman 4.3.1");
  for (const char* bad : {"", "[]", "{}", R"({"ApiVersion":7})", R"({"ApiVersion":"2.0"})",
                          R"({"ApiVersion":"1.x"})"}) {
    CHECK_FALSE(ReadVersion(bad).has_value());
  }
  const auto ping =
      ReadPing("HTTP/1.1 200 OK\r\napi-version: 1.41\r\nLibpod-Api-Version: 4.3.1\r\n");
  CHECK(ping->api == "1.41");
  CHECK(ping->is_podman);
  CHECK_FALSE(ReadPing("Api-Version: 1.43\n")->is_podman);
  CHECK_FALSE(ReadPing("Content-Type: text/html\r\n").has_value());
  CHECK_FALSE(ReadPing("Api-Version: x\r\n").has_value());
  CHECK_FALSE(ReadContainer(R"({"State":"running"})").has_value());
  CHECK_FALSE(ReadContainer(R"({"State":{"Status":7}})").has_value());
  using State = ContainerAnswer::State;
  CHECK(ReadContainer(R"({"State":{"Status":"created"}})")->state == State::created);
  CHECK(ReadContainer(R"({"State":{"Status":"paused"}})")->state == State::running);
  const auto ended =
      ReadContainer(R"({"State":{"Status":"exited","ExitCode":137,"OOMKilled":true}})");
  CHECK(ended->state == State::ended);
  CHECK(ended->exit_code == 137);
  CHECK(ended->out_of_memory);
  CHECK(ReadImage(R"({"Id":"sha256:a","RepoDigests":null})", "a")->digest == "sha256:a");
  const char* named =
      R"({"Id":"1","RepoDigests":["r.io:5/b@sha256:b",7,"docker.io/library/a@sha256:a"]})";
  CHECK(ReadImage(named, "a:12")->digest == "docker.io/library/a@sha256:a");
  CHECK(ReadImage(named, "r.io:5/b@sha256:b")->digest == "r.io:5/b@sha256:b");
  CHECK(ReadImage(named, "other")->digest == "r.io:5/b@sha256:b");
  CHECK_FALSE(ReadImage("{}", "a").has_value());

  const auto list = ReadContainerList(
      R"([{"Names":["/a"],"State":"running","Labels":{"trackbed.folder":"/f"}},7,{"Names":[]},
          {"Names":["b"],"Labels":null}])");
  REQUIRE(list->size() == 2);
  CHECK(list->front().name == "a");
  CHECK(list->front().folder == "/f");
  CHECK(list->front().is_running);
  CHECK_FALSE(list->back().is_running);
  CHECK_FALSE(ReadContainerList("{}").has_value());
}

TEST_CASE("how far a pull is, and why it failed") {
  PullReader pull;
  CHECK(pull.Describe().empty());
  for (const char c : std::string(R"({"status":"Pulling from library/debian","id":"12"}
nonsense
{"status":"Pulling fs layer","progressDetail":{},"id":"aa"}
{"status":"Downloading","progressDetail":{"current":3000000,"total":9000000},"id":"aa"}
{"status":"Already exists","id":"bb"}
{"status":"Downloading","progressDetail":{"current":"x","total":-4},"id":"cc"}
)")) {
    pull.Feed({&c, 1});
  }
  CHECK(pull.Describe() == "1 of 3 layers, 3 of 9 MB");
  pull.Feed("{\"status\":\"Pull complete\",\"id\":\"aa\"}\n");
  CHECK(pull.Describe() == "2 of 3 layers, 9 of 9 MB");
  CHECK(pull.error().empty());
  pull.Feed("{\"error\":\"denied\"}\n");
  CHECK(pull.error() == "denied");
}

TEST_CASE("why an image cannot be pulled says what to do") {
  CHECK(DescribePullError("r.io/x:1", "", "manifest unknown") ==
        "cannot pull the image \"r.io/x:1\": r.io has no such image: manifest unknown");
  CHECK(DescribePullError("r.io/x:1", "ada", "Unauthorized: authentication required") ==
        "cannot pull the image \"r.io/x:1\": r.io refuses the login of ada: "
        "Unauthorized: authentication required");
  CHECK(DescribePullError("r.io/x:1", "", "authentication required") ==
        "cannot pull the image \"r.io/x:1\": r.io asks for a login; give one (--registry "
        "r.io=USER:secret://env/TOKEN, or docker login): authentication required");
  CHECK(DescribePullError("x", "", "pull access denied for x, repository does not exist") ==
        "cannot pull the image \"x\": docker.io asks for a login, or has no such image; give one "
        "(--registry docker.io=USER:secret://env/TOKEN, or docker login): "
        "pull access denied for x, repository does not exist");
  CHECK(DescribePullError("x", "", "no space left on device") ==
        "cannot pull the image \"x\": no space left on device");
}

TEST_CASE("logins as docker login leaves them") {
  const char* text = R"({"auths": {
      "https://index.docker.io/v1/": {"auth": "YWRhOnNlY3JldA=="},
      "ghcr.io": {"identitytoken": "t"},
      "odd.io": {"auth": "bm9jb2xvbg=="},
      "empty.io": {}},
    "credHelpers": {"gcr.io": "gcloud"}})";
  const auto hub = ReadCredentials(text, "docker.io");
  CHECK(hub->user == "ada");
  CHECK(hub->password == "secret");
  CHECK(ReadCredentials(text, "ghcr.io")->identity_token == "t");
  CHECK(ReadCredentials(text, "other.io")->user.empty());
  CHECK(ReadCredentials(text, "empty.io")->user.empty());
  CHECK(absl::IsInvalidArgument(ReadCredentials(text, "odd.io").status()));
  const auto helper = ReadCredentials(text, "gcr.io");
  CHECK(absl::IsFailedPrecondition(helper.status()));
  CHECK(Message(helper.status()).find("docker-credential-gcloud") != std::string_view::npos);
  for (const char* bad : {"", "[]", "{\"auths\""}) {
    CHECK(absl::IsInvalidArgument(ReadCredentials(bad, "docker.io").status()));
  }

  const ScratchFolder scratch;
  ContainerExecutorOptions options;
  options.credentials_file = scratch / "config.json";
  WriteAll(options.credentials_file, text);
  chmod(options.credentials_file.c_str(), 0644);
  CHECK(Message(FindCredentials(options, "docker.io").status()).find("chmod 600") !=
        std::string_view::npos);
  CHECK(FindCredentials(options, "other.io").ok());
  chmod(options.credentials_file.c_str(), 0600);
  CHECK(FindCredentials(options, "docker.io")->password == "secret");
  options.logins = {{"docker.io", "bob", "secret://env/X"}};
  options.resolve_secret = [](const std::string&) -> StatusOr<std::string> { return "theirs"; };
  CHECK(FindCredentials(options, "docker.io")->user == "bob");
}

TEST_CASE("members of a gang reach each other by name, wherever they are") {
  AttemptSpec spec;
  spec.key = "run/task/2/sub1";
  spec.gang = {{"main1", "a", {}}, {"sub1", "b", {}}};
  spec.rank = 1;
  const std::vector<std::string> here = LoopbackAddresses(spec);
  ContainerExecutorOptions options;
  options.endpoint.socket = "/run/docker.sock";
  const auto together = PlanGangNetwork(spec, options, "owner", true);
  CHECK(together->name.starts_with("trackbed-run-task-2-"));
  CHECK(together->name != PlanGangNetwork(spec, options, "other", true)->name);
  using Hosts = std::vector<std::string>;
  CHECK(PlanGangNetwork(spec, options, "", false)->hosts ==
        Hosts{"main1:" + here[0], "sub1:" + here[1]});
  options.network = "host";
  CHECK(PlanGangNetwork(spec, options, "", true)->name.empty());
  options.network = "none";
  CHECK(absl::IsInvalidArgument(PlanGangNetwork(spec, options, "", true).status()));
  options.network.clear();

  // On two machines.
  options.nodes["a"].endpoint.url = "https://10.0.0.1:2376";
  options.nodes["b"].endpoint.url = "https://[fd00::2]:2376";
  CHECK(PlanGangNetwork(spec, options, "", true)->hosts == Hosts{"main1:10.0.0.1", "sub1:fd00::2"});
  options.nodes["b"].address = "10.0.0.2";
  CHECK(PlanGangNetwork(spec, options, "", true)->hosts ==
        Hosts{"main1:10.0.0.1", "sub1:10.0.0.2"});
  // One of them this one, by a socket: where it is, others cannot know.
  options.nodes["b"] = {{"/run/podman.sock", "", "", "", ""}, ""};
  CHECK(
      Message(PlanGangNetwork(spec, options, "", true).status()).find("give the node an address") !=
      std::string_view::npos);
  // Two engines of one machine.
  options.nodes["a"] = {{"/run/docker.sock", "", "", "", ""}, ""};
  CHECK(PlanGangNetwork(spec, options, "", true)->hosts ==
        Hosts{"main1:" + here[0], "sub1:" + here[1]});
}

TEST_CASE("what a login says is Base64 that may stand in a header") {
  const std::string text = RegistryAuthorization({"docker.io", "ada", "p\"w?~~", ""});
  CHECK(text.find_first_of("+/\n ") == std::string::npos);
  CHECK(text.size() % 4 == 0);
}

Json BodyFor(const AttemptSpec& spec, ContainerDevices devices, bool is_podman,
             ContainerExecutorOptions options = {}) {
  ContainerOrder order;
  order.spec = spec;
  const auto environment = DeviceEnvironment(spec);
  order.launch.environment.assign(environment.begin(), environment.end());
  options.devices = devices;
  options.init_path = "/init";
  const auto body = CreationBody(order, "sha256:abc", options, is_podman);
  INFO(body.status());
  REQUIRE(body.ok());
  return Json::parse(*body);
}

TEST_CASE("accelerators: those of the allocation, and none else") {
  AttemptSpec spec;
  spec.key = "run/task/1";
  spec.folder = "/f";
  const Json none = BodyFor(spec, ContainerDevices::automatic, false);
  CHECK_FALSE(none["HostConfig"].contains("DeviceRequests"));
  CHECK(none["Env"].dump().find("NVIDIA_VISIBLE_DEVICES=void") != std::string::npos);

  const Quantity half = Quantity::FromThousandths(500);
  spec.devices = {{"cuda.shares", "GPU-1", "GPU-1", 0, half, 0},
                  {"cuda.device:1g.5gb-mig", "MIG-7", "GPU-2", 1, half, 0}};
  const Json docker = BodyFor(spec, ContainerDevices::automatic, false);
  const Json& request = docker["HostConfig"]["DeviceRequests"][0];
  CHECK(request["Driver"] == "nvidia");
  CHECK(request["DeviceIDs"] == Json::array({"GPU-1", "MIG-7"}));
  CHECK(request["Capabilities"] == Json::array({Json::array({"gpu"})}));
  const Json podman = BodyFor(spec, ContainerDevices::automatic, true);
  CHECK(podman["HostConfig"]["DeviceRequests"][0]["Driver"] == "cdi");
  CHECK(podman["HostConfig"]["DeviceRequests"][0]["DeviceIDs"] ==
        Json::array({"nvidia.com/gpu=GPU-1", "nvidia.com/gpu=MIG-7"}));

  spec.devices = {{"rocm.device", "gpu1", "gpu1", 1, half, 0}};
  CHECK(
      BodyFor(spec, ContainerDevices::cdi, false)["HostConfig"]["DeviceRequests"][0]["DeviceIDs"] ==
      Json::array({"amd.com/gpu=1"}));
}

bool Holds(const Json& list, const std::string& text) {
  return std::find(list.begin(), list.end(), text) != list.end();
}

TEST_CASE("inside, a device has its UUID or the number that it has there") {
  AttemptSpec spec;
  spec.key = "run/task/1";
  spec.folder = "/f";
  spec.offered_slots = {"cuda.device"};
  const Quantity one = *Quantity::FromUnits(1);
  spec.devices = {{"cuda.device", "gpu3", "gpu3", 3, one, 0},
                  {"cuda.device", "gpu1", "gpu1", 1, one, 0}};
  const Json numbered = BodyFor(spec, ContainerDevices::cdi, true);
  CHECK(numbered["HostConfig"]["DeviceRequests"][0]["DeviceIDs"] ==
        Json::array({"nvidia.com/gpu=3", "nvidia.com/gpu=1"}));
  CHECK(Holds(numbered["Env"], "CUDA_VISIBLE_DEVICES=0,1"));
  CHECK_FALSE(Holds(numbered["Env"], "NVIDIA_VISIBLE_DEVICES=void"));

  spec.devices = {{"cuda.device:1g.5gb-mig", "MIG-7", "GPU-2", 1, one, 0}};
  const Json mig = BodyFor(spec, ContainerDevices::nvidia, false);
  CHECK(mig["HostConfig"]["DeviceRequests"][0]["DeviceIDs"] == Json::array({"MIG-7"}));
  CHECK(Holds(mig["Env"], "CUDA_VISIBLE_DEVICES=MIG-7"));

  // A node has GPUs, this attempt has none.
  spec.devices = {};
  CHECK(
      Holds(BodyFor(spec, ContainerDevices::nvidia, false)["Env"], "NVIDIA_VISIBLE_DEVICES=void"));
}

TEST_CASE("a part of a GPU has its limits, and reaches the service that keeps them") {
  AttemptSpec spec;
  spec.key = "run/task/1";
  spec.folder = "/f";
  spec.devices = {
      {"cuda.shares", "GPU-1", "GPU-1", 0, Quantity::FromThousandths(250), int64_t{80} << 30}};
  ContainerExecutorOptions options;
  options.mps_folder = "/run/nvidia-mps";
  options.shared_memory = 1 << 20;  // of the machine, then
  const Json body = BodyFor(spec, ContainerDevices::nvidia, false, options);
  CHECK(Holds(body["Env"], "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE=25"));
  CHECK(Holds(body["Env"], "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT=0=20480M"));
  CHECK(Holds(body["Env"], "CUDA_MPS_PIPE_DIRECTORY=/run/nvidia-mps"));
  CHECK(Holds(body["Env"], "CUDA_VISIBLE_DEVICES=GPU-1"));
  CHECK(body["HostConfig"]["IpcMode"] == "host");
  CHECK_FALSE(body["HostConfig"].contains("ShmSize"));
  CHECK(body["HostConfig"]["Mounts"].back()["Source"] == "/run/nvidia-mps");
  // A whole one needs no sharing.
  spec.devices[0].amount = *Quantity::FromUnits(1);
  const Json whole = BodyFor(spec, ContainerDevices::nvidia, false, options);
  CHECK_FALSE(whole["HostConfig"].contains("IpcMode"));
  CHECK(whole["HostConfig"]["Mounts"].dump().find("mps") == std::string::npos);
}

TEST_CASE("a container has its limits and its user, gains nothing and sees nothing by accident") {
  ContainerOrder order;
  order.spec.key = "run/task/1";
  order.spec.folder = "/f";
  order.spec.shared_memory = int64_t{2} << 30;
  order.launch.memory_bytes = int64_t{4} << 30;
  order.launch.cpu_thousandths = 2500;
  order.user = "1000:100";
  order.view = {
      {"/f/work", "/f/work", false}, {"/data", "/srv/data", true}, {"/pipeline", "", false}};
  ContainerExecutorOptions options;
  options.init_path = "/init";
  options.shared_memory = 1 << 20;  // of attempts that say nothing
  options.read_only_root = true;
  const Json body = Json::parse(*CreationBody(order, "sha256:abc", options, false));
  const Json& host = body["HostConfig"];
  CHECK(host["Memory"] == int64_t{4} << 30);
  CHECK(host["MemorySwap"] == int64_t{4} << 30);
  CHECK(host["NanoCpus"] == 2'500'000'000);
  CHECK(host["ShmSize"] == int64_t{2} << 30);
  CHECK(body["User"] == "1000:100");
  CHECK(host["SecurityOpt"] == Json::array({"no-new-privileges"}));
  CHECK(host["ReadonlyRootfs"] == true);
  CHECK(host["Tmpfs"] == Json{{"/tmp", ""}});
  for (const char* name : {"Privileged", "CapAdd", "Binds", "PidMode", "UsernsMode", "IpcMode",
                           "Devices", "DeviceRequests", "VolumesFrom", "PublishAllPorts"}) {
    INFO(name);
    CHECK_FALSE(host.contains(name));
  }
  std::vector<std::string> seen;
  for (const Json& mount : host["Mounts"]) {
    seen.push_back(mount["Target"].get<std::string>() + " " + mount.value("Source", "") +
                   (mount.value("ReadOnly", false) ? " ro" : ""));
  }
  CHECK(seen == std::vector<std::string>{"/f/work /f/work", "/data /srv/data ro", "/pipeline ",
                                         "/f/container /f/container", "/init /init ro"});

  order.spec.shared_memory = 0;
  options.read_only_root = false;
  const Json plain = Json::parse(*CreationBody(order, "sha256:abc", options, false));
  CHECK(plain["HostConfig"]["ShmSize"] == 1 << 20);
  CHECK_FALSE(plain["HostConfig"].contains("ReadonlyRootfs"));
}

TEST_CASE("who a task is inside") {
  ContainerExecutorOptions options;
  ContainerEndpoint endpoint;
  endpoint.url = "https://node1:2376";
  const std::string ours = std::to_string(geteuid()) + ":" + std::to_string(getegid());
  CHECK(UserInside(options, endpoint) == ours);
  options.user = "1000:100";
  CHECK(UserInside(options, endpoint) == "1000:100");
  options.user = "image";
  CHECK(UserInside(options, endpoint).empty());
}

TEST_CASE("endpoints are read as Docker's own program reads them") {
  CHECK(ParseContainerEndpoint("unix:///run/docker.sock")->socket == "/run/docker.sock");
  CHECK(ParseContainerEndpoint("tcp://node1:2375")->url == "http://node1:2375");
  CHECK(ParseContainerEndpoint("https://[::1]:2376/")->url == "https://[::1]:2376");
  for (const char* bad :
       {"", "docker", "unix://", "unix://relative", "tcp://", "tcp://node1",
        "tcp://node1:", "tcp://:2375", "ftp://x:1", "tcp://u@h:1", "tcp://h:1/p"}) {
    INFO(bad);
    CHECK(absl::IsInvalidArgument(ParseContainerEndpoint(bad).status()));
  }
  const ScratchFolder scratch;
  CHECK(
      Message(ParseContainerEndpoint("tcp://node1:2376", scratch.path()).status()).find("ca.pem") !=
      std::string_view::npos);
  for (const char* name : {"ca.pem", "cert.pem", "key.pem"}) WriteAll(scratch / name, "x");
  const auto secure = ParseContainerEndpoint("tcp://node1:2376", scratch.path());
  CHECK(secure->url == "https://node1:2376");
  CHECK(secure->key_file == scratch / "key.pem");
}

}  // namespace
}  // namespace trackbed
