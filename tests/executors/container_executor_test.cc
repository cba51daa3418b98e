// Attempts in containers against an engine that fails in all ways: what is reported, what is asked
// again, and what never is. Against a real one they are tested by tests/system.
#include "trackbed/executors/container_executor.hpp"

#include <signal.h>

#include <nlohmann/json.hpp>

#include "executors/attempt_fixture.hpp"
#include "executors/attempt_records.hpp"
#include "executors/container_files.hpp"
#include "executors/fake_container_engine.hpp"
#include "executors/gang_environment.hpp"
#include "trackbed/resources/node.hpp"

namespace trackbed {
namespace {

using Kind = AttemptReport::Kind;
using Json = nlohmann::json;

std::string Frame(int stream, const std::string& text) {
  std::string frame = {static_cast<char>(stream),
                       '\0',
                       '\0',
                       '\0',
                       '\0',
                       '\0',
                       static_cast<char>(text.size() >> 8U),
                       static_cast<char>(text.size())};
  return frame + text;
}

// An executor on an engine that works, but for what a test changes. Its one container runs when it
// is started, until `End`.
struct Lab {
  explicit Lab(ContainerExecutorOptions options = {}) {
    spec = ScriptSpec(scratch, "true");
    spec.image = "debian:12";
    if (options.nodes.empty()) options.endpoint.socket = "/nowhere.sock";
    if (options.init_path.empty()) options.init_path = std::filesystem::canonical("/bin/true");
    auto created = ContainerExecutor::Create(
        std::move(options),
        [this](const ContainerEndpoint& endpoint) -> StatusOr<std::unique_ptr<HttpTransport>> {
          auto transport = std::make_unique<FakeContainerEngine>();
          if (endpoint.socket == "/hanging.sock") {
            hanging = transport.get();
            hanging->answer = [](const HttpRequest&) { return FakeAnswer{0, "", "", true, {}}; };
          } else {
            engine = transport.get();
            engine->answer = [this](const HttpRequest& request) { return Answer(request); };
          }
          return std::unique_ptr<HttpTransport>(std::move(transport));
        });
    REQUIRE(created.ok());
    executor = *std::move(created);
  }

  // Leaves what the first process of the container would.
  void End(const ExitRecord& record) {
    state = "exited";
    WriteAll(spec.folder + "/container/end", EncodeExit(record));
  }
  void Begin() {
    state = "running";
    WriteAll(spec.folder + "/container/begun", "");
  }

  FakeAnswer Answer(const HttpRequest& request) {
    const std::string& path = request.path;
    for (const auto& [part, answers] : instead) {
      if (path.find(part) == std::string::npos) continue;
      if (used[part] < answers.size()) return answers[used[part]++];
    }
    if (path == "/_ping") return {200, "OK", "", false, {}, "Api-Version: 1.41\r\n"};
    if (path.find("/networks") != std::string::npos) {
      const bool made = path.find("/create") != std::string::npos;
      return {made ? 201 : 200, request.method == "GET" ? networks : "{}", "", false, {}};
    }
    if (path.find("/images/") != std::string::npos) {
      return {200, R"({"Id":"sha256:abc","RepoDigests":["debian@sha256:def"]})", "", false, {}};
    }
    if (path.find("/create?name=") != std::string::npos) {
      if (!state.empty()) return {409, R"({"message":"the name is in use"})", "", false, {}};
      return {201, R"({"Id":"1"})", "", false, [this] { state = "created"; }};
    }
    if (path.find("/attach") != std::string::npos) {
      return {200, Frame(1, "said\n"), "", state != "exited", {}};
    }
    if (path.find("/start") != std::string::npos) return {204, "", "", false, [this] { Begin(); }};
    if (path.find("/logs") != std::string::npos) {
      return {200, Frame(1, "whole ") + Frame(2, "log\n"), "", false, {}};
    }
    if (path.find("/kill") != std::string::npos) {
      return {204, "", "", false, [this] {
                ExitRecord record;
                record.signal = SIGTERM;
                End(record);
                engine->End("/attach");
              }};
    }
    if (path.find("/containers/json?") != std::string::npos) return {200, list, "", false, {}};
    if (request.method == "DELETE") return {204, "", "", false, [this] { state.clear(); }};
    if (path.find("/json") != std::string::npos) {
      if (state.empty()) return {404, R"({"message":"No such container"})", "", false, {}};
      Json json = {{"State", {{"Status", state}, {"ExitCode", 0}}}};
      json["Config"]["Env"] = environment;
      return {200, json.dump(), "", false, {}};
    }
    return {500, "unexpected " + path, "", false, {}};
  }

  // The attempt ends well as soon as it runs.
  void EndWhenStarted(const ExitRecord& record = {}) {
    instead["/start"] = {{204, "", "", false, [this, record] {
                            Begin();
                            End(record);
                            engine->End("/attach");
                          }}};
  }

  AttemptReport Run() {
    const Status status = executor->Start(spec);
    INFO(status);
    REQUIRE(status.ok());
    return WaitForEnd(executor.get(), spec.key);
  }

  const ScratchFolder scratch;
  AttemptSpec spec;
  FakeContainerEngine* engine = nullptr;
  FakeContainerEngine* hanging = nullptr;                  // of the endpoint that never answers
  std::map<std::string, std::vector<FakeAnswer>> instead;  // part of a path -> its first answers
  std::map<std::string, size_t> used;
  std::string state;  // of the container; empty: there is none
  std::vector<std::string> environment;
  std::string list = "[]";      // of all containers
  std::string networks = "[]";  // likewise
  std::unique_ptr<ContainerExecutor> executor;
};

FakeAnswer Broken(const std::string& error, std::function<void()> then = {}) {
  return {0, "", error, false, std::move(then)};
}

TEST_CASE("an attempt in a container: one request after another, and what they say") {
  Lab lab;
  lab.spec.environment = {{"PLAIN", "seen"}, {"TOKEN", "geheim"}};
  lab.spec.secret_names = {"TOKEN"};
  lab.spec.resources = {{"mem", *Quantity::FromUnits(64 << 20)},
                        {"cpu", Quantity::FromThousandths(1500)}};
  lab.instead["/attach"] = {{200, Frame(1, "it is geheim\n"), "", true, {}}};
  ExitRecord record;
  record.exit_code = 3;
  lab.EndWhenStarted(record);
  const AttemptReport report = lab.Run();
  CHECK(report.exit_code == 3);
  CHECK(LogOf(lab.spec) == "it is ***\n");
  CHECK(lab.engine->Count("GET", "/logs") == 0);
  CHECK(report.image_digest == "debian@sha256:def");
  CHECK(lab.engine->Count("POST", "/create?name=") == 1);
  CHECK(lab.engine->Count("POST", "/start") == 1);
  CHECK(lab.engine->Count("DELETE", "/containers/") == 1);
  CHECK(lab.state.empty());

  Json body;
  for (const HttpRequest& request : lab.engine->requests) {
    if (request.path.find("/create?name=") != std::string::npos) body = Json::parse(request.body);
  }
  CHECK(body["Image"] == "sha256:abc");
  CHECK(body["Labels"]["trackbed.key"] == lab.spec.key);
  CHECK(body["Labels"].dump().find("geheim") == std::string::npos);
  CHECK(body["HostConfig"]["Memory"] == 64 << 20);
  CHECK(body["HostConfig"]["MemorySwap"] == 64 << 20);
  CHECK(body["HostConfig"]["NanoCpus"] == 1'500'000'000);
  CHECK(body["HostConfig"]["SecurityOpt"] == Json::array({"no-new-privileges"}));
  const auto& env = body["Env"];
  CHECK(std::find(env.begin(), env.end(), "TOKEN=geheim") != env.end());
  CHECK(std::find(env.begin(), env.end(), "PLAIN=seen") != env.end());
  for (const Json& mount : body["HostConfig"]["Mounts"]) {
    const auto source = mount["Source"].get<std::string>();
    INFO(source);
    CHECK((source.starts_with(lab.spec.folder + "/") ||
           source == std::filesystem::canonical("/bin/true")));
  }
}

TEST_CASE("an endpoint that cannot be reached is told after some patience, and blocks nobody") {
  ContainerExecutorOptions options;
  options.patience = std::chrono::milliseconds(50);
  Lab lab(options);
  lab.engine->answer = [](const HttpRequest&) { return Broken("Could not connect to server"); };
  const AttemptReport report = lab.Run();
  CHECK(report.kind == Kind::failed_to_start);
  CHECK(report.message ==
        "cannot reach the container engine at unix:///nowhere.sock: Could not connect to server");
}

TEST_CASE("one that hangs keeps its attempt waiting, which can still be stopped") {
  Lab lab;
  lab.instead["/images/"] = {{200, "", "", true, {}}};
  REQUIRE(lab.executor->Start(lab.spec).ok());
  std::vector<AttemptReport> reports;
  REQUIRE(Eventually([&] {
    REQUIRE(lab.executor->Poll(&reports).ok());
    return lab.engine->Count("GET", "/images/") == 1;
  }));
  CHECK(reports.empty());
  REQUIRE(lab.executor->Stop(lab.spec.key, StopMode::terminate).ok());
  const AttemptReport report = WaitForEnd(lab.executor.get(), lab.spec.key);
  CHECK(report.kind == Kind::failed_to_start);
  CHECK(report.message == "stopped before it started");
}

TEST_CASE("what answers but is no container engine is said so") {
  ContainerExecutorOptions options;
  options.patience = std::chrono::milliseconds(1);
  Lab lab(options);
  lab.engine->answer = [](const HttpRequest&) { return FakeAnswer{200, "<html>", "", false, {}}; };
  CHECK(lab.Run().message.ends_with("what answers is no Docker Engine API"));
}

TEST_CASE("an answer that is lost is followed by a look, not by a second container") {
  Lab lab;
  SECTION("of the creation, which was done") {
    lab.instead["/create?name="] = {Broken("timed out", [&] { lab.state = "created"; })};
  }
  SECTION("of the creation, which was not done") {
    lab.instead["/create?name="] = {Broken("timed out")};
  }
  SECTION("of looking after it") {
    lab.instead["/create?name="] = {Broken("timed out", [&] { lab.state = "created"; })};
    lab.instead["/json"] = {
        {500, "busy", "", false, {}}, {200, "{\"State\":", "", false, {}}, Broken("reset")};
    lab.instead["/images/"] = {{200, R"({"Id":"sha256:abc"})", "", false, {}}};
  }
  lab.EndWhenStarted();
  const AttemptReport report = lab.Run();
  INFO(report.message);
  CHECK(report.kind == Kind::exited);
  CHECK(report.exit_code == 0);
  CHECK(lab.engine->Count("POST", "/start") == 1);
  CHECK(lab.state.empty());
}

TEST_CASE("a start whose answer is lost is not repeated when it was done") {
  Lab lab;
  ExitRecord record;
  record.exit_code = 4;
  lab.instead["/start"] = {Broken("timed out", [&] {
    lab.Begin();
    lab.End(record);
  })};
  CHECK(lab.Run().exit_code == 4);
  CHECK(lab.engine->Count("POST", "/start") == 1);
  CHECK(LogOf(lab.spec) == "whole log\n");
}

TEST_CASE("a container that cannot be made or started is a failure that says why, and is removed") {
  Lab lab;
  SECTION("refused") {
    lab.instead["/create?name="] = {{400, R"({"message":"invalid mount"})", "", false, {}}};
    const AttemptReport report = lab.Run();
    CHECK(report.kind == Kind::failed_to_start);
    CHECK(report.message == "its container could not be made: invalid mount");
  }
  SECTION("an error of the engine, again and again") {
    const FakeAnswer busy = {500, R"({"message":"no space left"})", "", false, {}};
    lab.instead["/create?name="] = {busy, busy, busy, busy, busy, busy};
    const AttemptReport report = lab.Run();
    CHECK(report.kind == Kind::failed_to_start);
    CHECK(report.message.find("no space left") != std::string::npos);
  }
  SECTION("not started") {
    lab.instead["/start"] = {{500, R"({"message":"runc: exec format error"})", "", false, {}}};
    const AttemptReport report = lab.Run();
    CHECK(report.kind == Kind::failed_to_start);
    CHECK(report.message == "its container could not be started: runc: exec format error");
  }
  CHECK(lab.state.empty());
}

TEST_CASE("what an engine that was killed has left of a container is removed") {
  Lab lab;
  // It is in no list, and has the name until it is removed.
  const FakeAnswer taken = {500, R"({"message":"the name is already in use"})", "", false, {}};
  lab.instead["/create?name="] = {taken};
  lab.EndWhenStarted();
  const AttemptReport report = lab.Run();
  INFO(report.message);
  CHECK(report.kind == Kind::exited);
  CHECK(report.exit_code == 0);
  CHECK(lab.engine->Count("POST", "/create?name=") == 2);
  CHECK(lab.engine->Count("DELETE", "/containers/") == 2);  // that, and the one that was made then
}

TEST_CASE("a stream that is cut or damaged is read again from the beginning") {
  Lab lab;
  SECTION("no frames") {
    lab.instead["/attach"] = {{200, "plain text, as of a terminal", "", true, {}}};
    lab.EndWhenStarted();
    CHECK(lab.Run().exit_code == 0);
  }
  SECTION("half a frame") {
    lab.instead["/attach"] = {{200, Frame(1, "whole ").substr(0, 10), "reset", false, {}}};
    lab.EndWhenStarted();
    CHECK(lab.Run().exit_code == 0);
  }
  SECTION("refused") {
    lab.instead["/attach"] = {{500, "busy", "", false, {}}};
    lab.EndWhenStarted();
    CHECK(lab.Run().exit_code == 0);
  }
  SECTION("the second try is cut as well") {
    lab.instead["/attach"] = {{200, "", "reset", false, {}}};
    lab.instead["/logs"] = {{200, Frame(1, "who").substr(0, 9), "reset", false, {}}};
    lab.EndWhenStarted();
    CHECK(lab.Run().exit_code == 0);
  }
  SECTION("the second try is answered before the log has been written") {
    lab.instead["/attach"] = {{200, Frame(1, "whole "), "reset", false, {}}};
    lab.instead["/logs"] = {{200, "", "", false, {}}, {200, Frame(1, "who"), "", false, {}}};
    lab.EndWhenStarted();
    CHECK(lab.Run().exit_code == 0);
  }
  CHECK(LogOf(lab.spec) == "whole log\n");
}

TEST_CASE("of what has run already, though the engine tells otherwise, the whole log is read") {
  Lab lab;
  ExitRecord record;
  record.exit_code = 4;
  const auto run = [&] {
    lab.Begin();
    lab.End(record);
  };
  // Nothing more comes of what it wrote.
  SECTION("somebody has started it meanwhile") {
    lab.state = "created";
    lab.instead["/attach"] = {{200, "", "", true, {}}};
    lab.instead["/start"] = {{304, "", "", false, [&] {
                                run();
                                lab.engine->End("/attach");
                              }}};
  }
  SECTION("its first process has left word") {
    lab.instead["/attach"] = {{200, "", "", false, {}}};
    lab.instead["/create?name="] = {{409, R"({"message":"in use"})", "", false, [&] {
                                       run();
                                       lab.state = "created";
                                     }}};
    lab.instead["/start"] = {{204, "", "", false, run}};
  }
  CHECK(lab.Run().exit_code == 4);
  CHECK(LogOf(lab.spec) == "whole log\n");
}

TEST_CASE("a log that cannot be had is no reason to lose the attempt") {
  Lab lab;
  lab.instead["/attach"] = {{500, "", "", false, {}}};
  lab.instead["/logs"] = {{500, R"({"message":"log driver"})", "", false, {}}};
  lab.EndWhenStarted();
  const AttemptReport report = lab.Run();
  CHECK(report.exit_code == 0);
  CHECK(report.message == "the log is not complete: log driver");
}

TEST_CASE("a container that somebody removed is lost, unless it had left word of its end") {
  Lab lab;
  lab.instead["/start"] = {{204, "", "", false, [&] { lab.Begin(); }}};
  REQUIRE(lab.executor->Start(lab.spec).ok());
  std::vector<AttemptReport> reports;
  REQUIRE(Eventually([&] {
    REQUIRE(lab.executor->Poll(&reports).ok());
    return !reports.empty();
  }));
  SECTION("lost") {
    lab.state.clear();
    lab.engine->End("/attach", "reset");
    const AttemptReport report = WaitForEnd(lab.executor.get(), lab.spec.key);
    CHECK(report.kind == Kind::lost);
    CHECK(report.message == "its container is gone and left no record of the end");
  }
  SECTION("ended") {
    ExitRecord record;
    record.exit_code = 6;
    lab.End(record);
    lab.state.clear();
    lab.engine->End("/attach", "reset");
    CHECK(WaitForEnd(lab.executor.get(), lab.spec.key).exit_code == 6);
  }
  CHECK(lab.engine->Count("POST", "/start") == 1);
}

TEST_CASE("the endpoint goes away while an attempt runs: it is taken up when it comes back") {
  Lab lab;
  REQUIRE(lab.executor->Start(lab.spec).ok());
  std::vector<AttemptReport> reports;
  REQUIRE(Eventually([&] {
    REQUIRE(lab.executor->Poll(&reports).ok());
    return !reports.empty();
  }));
  const auto gone = [](const HttpRequest&) { return Broken("Could not connect"); };
  lab.engine->answer = gone;
  lab.engine->End("/attach", "reset");
  const size_t before = lab.engine->requests.size();
  REQUIRE(Eventually([&] {
    REQUIRE(lab.executor->Poll(&reports).ok());
    return lab.engine->requests.size() > before + 3;
  }));
  CHECK(reports.size() == 1);  // nothing but that it started
  lab.engine->answer = [&lab](const HttpRequest& request) { return lab.Answer(request); };
  ExitRecord record;
  record.exit_code = 2;
  lab.End(record);
  CHECK(WaitForEnd(lab.executor.get(), lab.spec.key).exit_code == 2);
  CHECK(LogOf(lab.spec) == "whole log\n");
}

TEST_CASE("an image that is missing is pulled once for all who want it") {
  ContainerExecutorOptions options;
  options.logins = {{"ghcr.io", "ada", "secret://env/TOKEN"}};
  bool known = true;
  options.resolve_secret = [&known](const std::string& reference) -> StatusOr<std::string> {
    if (!known) return NotFound("there is no variable TOKEN");
    return "value of " + reference;
  };
  Lab lab(options);
  lab.spec.image = "ghcr.io/owner/name";
  const FakeAnswer missing = {404, R"({"message":"no such image"})", "", false, {}};
  SECTION("with a login") {
    lab.instead["/images/ghcr.io"] = {missing, missing};
    lab.instead["/images/create"] = {
        {200, "{\"status\":\"Pulling\"}\n{\"status\":\"Done\"}\n", "", true, {}}};
    AttemptSpec other = lab.spec;
    other.key = "run/other/1";
    other.folder = lab.scratch / "attempts/other";
    REQUIRE(lab.executor->Start(other).ok());
    lab.EndWhenStarted();
    REQUIRE(lab.executor->Start(lab.spec).ok());
    std::vector<AttemptReport> reports;
    REQUIRE(Eventually([&] {
      REQUIRE(lab.executor->Poll(&reports).ok());
      return lab.engine->Count("GET", "/images/ghcr.io") == 2;
    }));
    REQUIRE(lab.executor->Poll(&reports).ok());  // the answer to the second
    REQUIRE(Eventually([&] {
      REQUIRE(lab.executor->Poll(&reports).ok());
      lab.engine->End("/images/create");
      return lab.engine->Count("POST", "/create?name=") == 2;
    }));
    REQUIRE(lab.engine->Count("POST", "/images/create") == 1);
    for (const HttpRequest& request : lab.engine->requests) {
      if (request.path.find("/images/create") == std::string::npos) continue;
      CHECK(request.path == "/v1.41/images/create?fromImage=ghcr.io%2Fowner%2Fname&tag=latest");
      REQUIRE(request.headers.size() == 1);
      CHECK(request.headers[0].starts_with("X-Registry-Auth: ey"));
    }
  }
  SECTION("a login whose secret there is not") {
    known = false;
    lab.instead["/images/ghcr.io"] = {missing};
    CHECK(lab.Run().message ==
          "cannot pull the image \"ghcr.io/owner/name\": login to ghcr.io: "
          "there is no variable TOKEN");
    CHECK(lab.engine->Count("POST", "/images/create") == 0);
  }
  SECTION("the error comes in the stream") {
    lab.instead["/images/ghcr.io"] = {missing};
    lab.instead["/images/create"] = {
        {200, "{\"status\":\"Pulling\"}\n{\"error\":\"manifest unknown\"}\n", "", false, {}}};
    const AttemptReport report = lab.Run();
    CHECK(report.kind == Kind::failed_to_start);
    CHECK(report.message ==
          "cannot pull the image \"ghcr.io/owner/name\": "
          "ghcr.io has no such image: manifest unknown");
  }
}

// Of two machines, one of which never answers.
ContainerExecutorOptions TwoNodes(const std::string& home) {
  ContainerExecutorOptions options;
  options.home = home;
  options.nodes["well"].endpoint.socket = "/nowhere.sock";
  options.nodes["hanging"].endpoint.socket = "/hanging.sock";
  options.silence = std::chrono::milliseconds(300);
  return options;
}

Json Listed(const std::string& name, const std::string& folder) {
  return {{"Names", {"/" + name}}, {"State", "running"}, {"Labels", {{"trackbed.folder", folder}}}};
}

TEST_CASE("a node that hangs keeps nobody else waiting, and what runs there can be given up") {
  const ScratchFolder home;
  Lab lab(TwoNodes(home.path()));
  AttemptSpec stuck = lab.spec;
  stuck.key = "run/stuck/1";
  stuck.folder = home / "runs/stuck/1";
  stuck.node = "hanging";
  REQUIRE(lab.executor->Start(stuck).ok());
  lab.spec.node = "well";
  lab.EndWhenStarted();
  CHECK(lab.Run().kind == Kind::exited);

  std::vector<AttemptReport> reports;
  const auto silent_is = [&](const std::vector<std::string>& nodes) {
    return Eventually([&] {
      pollfd wake{lab.executor->WakeDescriptor(), POLLIN, 0};
      poll(&wake, 1, 1000);
      REQUIRE(lab.executor->Poll(&reports).ok());
      return lab.executor->SilentNodes() == nodes;
    });
  };
  REQUIRE(silent_is({"hanging"}));
  CHECK(reports.empty());
  REQUIRE(lab.executor->GiveUp(stuck.key).ok());
  CHECK(absl::IsNotFound(lab.executor->GiveUp(stuck.key)));
  // Its container, should it ever be made, does not begin.
  CHECK(std::filesystem::exists(stuck.folder + "/container/given-up"));
  CHECK(std::filesystem::exists(stuck.folder + "/container/begun"));
  // Nobody takes it up again, also no executor that did not see this.
  REQUIRE(lab.executor->Adopt(stuck.key, stuck.folder).ok());
  CHECK(WaitForEnd(lab.executor.get(), stuck.key).kind == Kind::lost);

  // The node comes back, with what was left there.
  const std::string list = Json::array({Listed("left", stuck.folder)}).dump();
  lab.hanging->answer = [&](const HttpRequest& request) {
    if (request.path == "/_ping") return FakeAnswer{200, "", "", false, {}, "api-version:1.41"};
    return FakeAnswer{200, list, "", false, {}};
  };
  lab.hanging->End("/_ping", "reset");
  REQUIRE(silent_is({}));
  REQUIRE(Eventually([&] {
    REQUIRE(lab.executor->Poll(&reports).ok());
    return lab.hanging->Count("DELETE", "/containers/left?") == 1;
  }));
}

TEST_CASE("what ended on a node that does not answer any more is known by its folder") {
  const ScratchFolder home;
  Lab lab(TwoNodes(home.path()));
  lab.spec.node = "well";
  REQUIRE(lab.executor->Start(lab.spec).ok());
  std::vector<AttemptReport> reports;
  REQUIRE(Eventually([&] {
    REQUIRE(lab.executor->Poll(&reports).ok());
    return !reports.empty();
  }));
  lab.engine->answer = [](const HttpRequest&) { return FakeAnswer{0, "", "", true, {}}; };
  ExitRecord record;
  record.exit_code = 7;
  lab.End(record);
  const AttemptReport report = WaitForEnd(lab.executor.get(), lab.spec.key);
  CHECK(report.kind == Kind::exited);
  CHECK(report.exit_code == 7);
  CHECK(report.message == "its node does not answer, so the log may lack something");
}

TEST_CASE("a node that is added later is used, by the endpoint that it came with") {
  const ScratchFolder home;
  Lab lab(TwoNodes(home.path()));
  lab.spec.node = "new";
  CHECK(absl::IsInvalidArgument(lab.executor->Start(lab.spec)));
  NodeDescription node;
  node.name = "new";
  CHECK(absl::IsInvalidArgument(lab.executor->AddNode(node)));  // nor is there one for all
  node.endpoint = "nonsense";
  CHECK(absl::IsInvalidArgument(lab.executor->AddNode(node)));
  node.endpoint = "unix:///nowhere.sock";
  REQUIRE(lab.executor->AddNode(node).ok());
  REQUIRE(lab.executor->AddNode(node).ok());
  REQUIRE(lab.executor->Start(lab.spec).ok());
  NodeDescription moved = node;
  moved.endpoint = "unix:///elsewhere.sock";
  CHECK(absl::IsFailedPrecondition(lab.executor->AddNode(moved)));
  moved.endpoint.clear();
  CHECK(absl::IsFailedPrecondition(lab.executor->AddNode(moved)));
  lab.EndWhenStarted();
  CHECK(WaitForEnd(lab.executor.get(), lab.spec.key).kind == Kind::exited);
}

TEST_CASE("a node without an endpoint is refused") {
  const ScratchFolder home;
  Lab lab(TwoNodes(home.path()));
  lab.spec.node = "unknown";
  const Status status = lab.executor->Start(lab.spec);
  CHECK(absl::IsInvalidArgument(status));
  CHECK(Message(status).starts_with("the node \"unknown\" has no container engine"));
}

Json BodyOf(const FakeContainerEngine& engine, const std::string& part) {
  for (const HttpRequest& request : engine.requests) {
    if (request.path.find(part) != std::string::npos) return Json::parse(request.body);
  }
  return {};
}

TEST_CASE("a member of a gang is on its network, which goes with the last of them") {
  const ScratchFolder home;
  ContainerExecutorOptions options;
  options.home = home.path();
  Lab lab(options);
  lab.spec.gang = {{"main1", "", {}}, {"sub1", "", {}}};
  lab.spec.rank = 1;
  lab.networks = R"([{"Name":"left"}])";
  SECTION("made by us") {}
  SECTION("made by one before us") {
    lab.instead["/networks/create"] = {{409, R"({"message":"it exists"})", "", false, {}}};
  }
  lab.EndWhenStarted();
  CHECK(lab.Run().kind == Kind::exited);
  const std::string network = BodyOf(*lab.engine, "/networks/create")["Name"];
  CHECK(network.starts_with("trackbed-run-task-1-"));
  const Json body = BodyOf(*lab.engine, "/create?name=");
  CHECK(body["Hostname"] == "sub1");
  CHECK(body["HostConfig"]["NetworkMode"] == network);
  CHECK(body["NetworkingConfig"]["EndpointsConfig"][network]["Aliases"] == Json::array({"sub1"}));
  CHECK(lab.engine->Count("DELETE", "/networks/" + network) == 1);
  // And one of which nobody knows any more.
  CHECK(lab.engine->Count("DELETE", "/networks/left") == 1);
}

TEST_CASE("without networks the members of a gang have addresses of the machine") {
  Lab lab;
  lab.spec.gang = {{"main1", "", {}}, {"sub1", "", {}}};
  lab.instead["/networks/create"] = {{500, R"({"message":"not permitted"})", "", false, {}}};
  lab.EndWhenStarted();
  CHECK(lab.Run().kind == Kind::exited);
  const Json body = BodyOf(*lab.engine, "/create?name=");
  CHECK(body["HostConfig"]["NetworkMode"] == "host");
  const auto addresses = LoopbackAddresses(lab.spec);
  CHECK(body["HostConfig"]["ExtraHosts"] ==
        Json::array({"main1:" + addresses[0], "sub1:" + addresses[1]}));
  CHECK(lab.engine->Count("DELETE", "/networks/") == 0);
}

TEST_CASE("strays are removed: of this home, and nobody's any more") {
  const ScratchFolder home;
  ContainerExecutorOptions options;
  options.home = home.path();
  Lab lab(options);
  WriteAll(home / "runs/ended/exit", EncodeExit({}));
  WriteAll(home / "runs/given-up/container/given-up", "");
  ClaimRecord claim;
  claim.key = "run/never/1";
  claim.given_up = true;
  WriteAll(home / "runs/never/claim", EncodeClaim(claim));
  claim.given_up = false;
  WriteAll(home / "runs/live/claim", EncodeClaim(claim));
  lab.list =
      Json::array({Listed("ended", home / "runs/ended"), Listed("up", home / "runs/given-up"),
                   Listed("never", home / "runs/never"), Listed("gone", home / "runs/gone"),
                   Listed("live", home / "runs/live"), Listed("elsewhere", "/other/runs/x")})
          .dump();
  SECTION("while the home is there") {
    lab.EndWhenStarted();
    CHECK(lab.Run().kind == Kind::exited);
    std::vector<AttemptReport> reports;
    REQUIRE(Eventually([&] {
      REQUIRE(lab.executor->Poll(&reports).ok());
      return lab.engine->Count("DELETE", "/containers/") == 5;
    }));
    for (const char* name : {"ended", "up", "never", "gone"}) {
      CHECK(lab.engine->Count("DELETE", std::string("/containers/") + name + "?") == 1);
    }
  }
  SECTION("while it is not, nothing is known") {
    std::filesystem::remove(home / "containers");
    lab.EndWhenStarted();
    CHECK(lab.Run().kind == Kind::exited);
    CHECK(lab.engine->Count("GET", "/containers/json?all=1") == 1);
    CHECK(lab.engine->Count("DELETE", "/containers/") == 1);
  }
}

TEST_CASE("an attempt of another endpoint is not mistaken for a lost one") {
  Lab lab;
  lab.EndWhenStarted();
  REQUIRE(lab.executor->Start(lab.spec).ok());
  ContainerExecutorOptions options;
  options.endpoint.socket = "/elsewhere.sock";
  options.init_path = "/bin/true";
  auto elsewhere = ContainerExecutor::Create(
      std::move(options), [](const ContainerEndpoint&) -> StatusOr<std::unique_ptr<HttpTransport>> {
        return std::unique_ptr<HttpTransport>(std::make_unique<FakeContainerEngine>());
      });
  REQUIRE(elsewhere.ok());
  const Status status = (*elsewhere)->Adopt(lab.spec.key, lab.spec.folder);
  CHECK(absl::IsFailedPrecondition(status));
  CHECK(Message(status).find("was started on unix:///nowhere.sock") != std::string_view::npos);
}

}  // namespace
}  // namespace trackbed
