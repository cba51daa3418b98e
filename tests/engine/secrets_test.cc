// Secrets reach attempts and nothing else.
#include "trackbed/engine/secrets.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "support/engine_lab.hpp"
#include "support/temporary_folder.hpp"

namespace trackbed {
namespace {

using Names = std::vector<std::string>;
constexpr char kValue[] = "correct-horse-battery-staple";

std::string BytesOf(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string Variable(const AttemptSpec& spec, const std::string& name) {
  for (const EnvironmentVariable& variable : spec.environment) {
    if (variable.name == name) return variable.value;
  }
  return "(none)";
}

TEST_CASE("Secrets are in the attempt and in no byte of the store") {
  TemporaryFolder folder;
  auto store = OpenSqliteStore(folder / "trackbed.db");
  REQUIRE(store.ok());
  EngineLab lab(store->get());
  lab.secrets.values = {{"env/TOKEN", kValue}, {"file/key", std::string("file-") + kValue}};
  Pipeline pipeline = NewPipeline("secret");
  pipeline.environment = {{"SHARED", "secret://file/key"}};
  Task& task = AddTask(pipeline, "push");
  task.cache = CacheMode::on;
  task.environment = {{"PLAIN", "visible-value"},
                      {"TEMPLATE", "${{ secrets.TOKEN }}"},
                      {"TOKEN", "secret://env/TOKEN"}};
  task.retry.max_attempts = 2;
  lab.executor.Script("push", 1, Outcome::Failure());
  const RunId run = lab.Submit(pipeline);
  lab.RunToEnd();
  REQUIRE(lab.StatusOf(run) == "succeeded");

  const AttemptSpec& spec = lab.executor.spec(run + "/push/2");
  CHECK(Variable(spec, "TOKEN") == kValue);
  CHECK(Variable(spec, "TEMPLATE") == kValue);
  CHECK(Variable(spec, "SHARED") == std::string("file-") + kValue);
  CHECK(spec.secret_names == Names{"SHARED", "TEMPLATE", "TOKEN"});

  bool found_plain = false;
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
    const std::string bytes = BytesOf(entry.path());
    ++files;
    CAPTURE(entry.path());
    CHECK(bytes.find(kValue) == std::string::npos);
    found_plain = found_plain || bytes.find("visible-value") != std::string::npos;
  }
  CHECK(files >= 2);   // the write-ahead log is one of them
  CHECK(found_plain);  // the search would have found it
}

TEST_CASE("A secret that is missing fails its task with a word on what to do") {
  EngineLab lab;
  Pipeline pipeline = NewPipeline("missing");
  Task& task = AddTask(pipeline, "push");
  task.environment = {{"TOKEN", "secret://env/TOKEN"}};
  task.retry.max_attempts = 3;
  AddTask(pipeline, "other");
  SECTION("not set") {
    const RunId run = lab.Submit(pipeline);
    lab.RunToEnd();
    CHECK(lab.FailureOf(run, "push") ==
          "bad_specification: environment.TOKEN: secret TOKEN is not set");
    CHECK(lab.StatesOf(run) == "push:failed other:succeeded");
    CHECK(lab.executor.StartedTasks() == Names{"other/1"});
  }
  SECTION("no source at all") {
    lab.options.secrets = nullptr;
    const RunId run = lab.Submit(pipeline);
    lab.RunToEnd();
    CHECK(lab.FailureOf(run, "push") ==
          "bad_specification: environment.TOKEN: cannot resolve secret://env/TOKEN: this engine "
          "was given no secrets");
  }
  SECTION("not a reference") {
    pipeline.tasks[0].environment[0].value = "secret://TOKEN";
    const RunId run = lab.Submit(pipeline);
    lab.RunToEnd();
    CHECK(lab.FailureOf(run, "push") ==
          "bad_specification: environment.TOKEN: found \"secret://TOKEN\", expected "
          "secret://SOURCE/NAME");
  }
}

TEST_CASE("What looks like a reference in a value is not one") {
  EngineLab lab;
  lab.secrets.values = {{"env/TOKEN", kValue}};
  Pipeline pipeline = NewPipeline("forged");
  AddTask(pipeline, "a").outputs = {{"x", ValueType::string}};
  AddTask(pipeline, "b", {"a"}).environment = {{"FROM_OUTPUT", "${{ tasks.a.outputs.x }}"},
                                               {"FROM_PARAMETER", "${{ params.p }}"}};
  lab.executor.Script("a", Outcome::Success("x=secret://env/TOKEN\n"));
  SubmitOptions options;
  options.parameters = {{"p", std::string("secret://env/TOKEN")}};
  const RunId run = lab.Submit(pipeline, options);
  lab.RunToEnd();
  const AttemptSpec& spec = lab.executor.spec(run + "/b/1");
  CHECK(Variable(spec, "FROM_OUTPUT") == "secret://env/TOKEN");
  CHECK(Variable(spec, "FROM_PARAMETER") == "secret://env/TOKEN");
  CHECK(spec.secret_names.empty());
}

TEST_CASE("A secret that is gone when the engine comes back does not break the engine") {
  EngineLab lab;
  lab.secrets.values = {{"env/TOKEN", kValue}};
  Pipeline pipeline = NewPipeline("gone");
  AddTask(pipeline, "push").environment = {{"TOKEN", "secret://env/TOKEN"}};
  AddTask(pipeline, "after", {"push"});
  lab.executor.Script("push", Outcome::Waits());
  const RunId run = lab.Submit(pipeline);
  SECTION("the attempt runs: it is watched") {
    lab.Step();
    lab.Crash();
    lab.secrets.values.clear();
    REQUIRE(lab.engine().Resume(run).ok());
    lab.executor.Finish(run + "/push/1");
    lab.RunToEnd();
    CHECK(lab.StatusOf(run) == "succeeded");
  }
  SECTION("the attempt never started: it fails, and says why") {
    lab.process().DieAt(1, FaultyStore::Point::after);
    CHECK_FALSE(lab.engine().Step().ok());
    lab.Crash();
    lab.secrets.values.clear();
    REQUIRE(lab.engine().Resume(run).ok());
    lab.RunToEnd();
    CHECK(lab.StatusOf(run) == "failed");
    CHECK(lab.FailureOf(run, "push") ==
          "failed_to_start: environment.TOKEN: secret TOKEN is not set");
    CHECK(lab.executor.started().empty());
  }
}

TEST_CASE("A run that needs a source of secrets that there is not is not taken") {
  TemporaryFolder folder;
  const auto local = NewLocalSecrets(folder / "secrets");
  EngineLab lab;
  Pipeline pipeline = NewPipeline("p");
  AddTask(pipeline, "a").environment = {{"KEY", "secret://vault/key"}};
  const RunId run = lab.Submit(pipeline);  // a host's own may have any
  lab.Close();
  lab.options.secrets = local.get();
  const auto refused =
      lab.engine().Submit(std::make_shared<const Pipeline>(pipeline), SubmitOptions());
  CHECK(refused.status().code() == StatusCode::kInvalidArgument);
  CHECK(Message(refused.status()) ==
        "task \"a\": environment.KEY: found secret source \"vault\", expected env or file");
  CHECK(lab.engine().Resume(run).code() == StatusCode::kInvalidArgument);
  pipeline.tasks[0].environment = {};
  pipeline.environment = {{"KEY", "secret://volt/key"}};
  CHECK(Message(lab.engine()
                    .Submit(std::make_shared<const Pipeline>(pipeline), SubmitOptions())
                    .status()) ==
        "environment.KEY: found secret source \"volt\", expected env or file");
}

TEST_CASE("Local secrets come from variables and from private files") {
  TemporaryFolder folder;
  const auto write = [&](const std::string& name, const std::string& text, mode_t mode) {
    const std::string path = folder / name;
    std::ofstream(path) << text;
    REQUIRE(::chmod(path.c_str(), mode) == 0);
  };
  write("key", "line\n", 0600);
  write("exact", "two\n\n", 0400);
  write("open", "x", 0640);
  write("large", std::string(100'000, 'x'), 0600);
  write("full", std::string(64 * 1024, 'x'), 0600);
  write(".hidden", "x", 0600);
  REQUIRE(::symlink((folder / "key").c_str(), (folder / "link").c_str()) == 0);
  REQUIRE(::mkdir((folder / "dir").c_str(), 0700) == 0);
  ::setenv("TRACKBED_TEST_SECRET", "from-environment", 1);
  ::unsetenv("TRACKBED_TEST_MISSING");
  const std::unique_ptr<SecretSource> secrets = NewLocalSecrets(folder.path());

  CHECK(*secrets->Resolve("env", "TRACKBED_TEST_SECRET") == "from-environment");
  CHECK(*secrets->Resolve("file", "key") == "line");
  CHECK(*secrets->Resolve("file", "exact") == "two\n");
  CHECK(secrets->Resolve("file", "full")->size() == 64 * 1024);

  const auto error = [&](std::string_view source, std::string_view name) {
    return std::string(Message(secrets->Resolve(source, name).status()));
  };
  CHECK(error("env", "TRACKBED_TEST_MISSING") ==
        "secret TRACKBED_TEST_MISSING is not set; export TRACKBED_TEST_MISSING=…");
  CHECK(error("vault", "key") == "found secret source \"vault\", expected env or file");
  CHECK(error("file", "none") == "there is no secret file " + (folder / "none"));
  CHECK(error("file", "open") ==
        (folder / "open") + " can be read by others; run: chmod 600 " + (folder / "open"));
  CHECK(error("file", "large") == (folder / "large") + " is larger than 65536 bytes");
  CHECK(error("file", "dir") == (folder / "dir") + " is not a file");
  for (const char* name : {"", "../key", "/etc/passwd", ".hidden", "a/b"}) {
    CHECK(error("file", name) ==
          "found secret \"" + std::string(name) + "\", expected a plain file name");
  }
  CHECK(secrets->Resolve("file", "link").status().code() == StatusCode::kNotFound);
}

}  // namespace
}  // namespace trackbed
