// Which part of the source enters a task's cache key, however the pipeline names it.
#include <string>
#include <vector>

#include "support/engine_lab.hpp"

namespace trackbed {
namespace {

// How the second of two runs got its result, when `changed` has another content for it.
std::string SecondRun(const std::vector<std::string>& files, const std::string& changed) {
  EngineLab lab;
  Pipeline pipeline = NewPipeline("seen");
  pipeline.source = "code";
  Task& task = AddTask(pipeline, "a");
  task.cache = CacheMode::automatic;
  task.files = files;
  SubmitOptions options;
  options.source = {"/sources/1",
                    "sha256:1",
                    {{"lib/a", "sha256:a"},
                     {"lib/sub/b", "sha256:b"},
                     {"library", "sha256:c"},
                     {"x", "sha256:x"}}};
  lab.Submit(pipeline, options);
  lab.RunToEnd();
  options.source.digest = "sha256:2";
  options.source.files[changed] = "sha256:other";
  const RunId run = lab.Submit(pipeline, options);
  lab.RunToEnd();
  return lab.StateOf(run, "a");
}

TEST_CASE("A file that a task sees makes another key, however it is named") {
  for (const char* name : {"lib", "lib/", "./lib", "lib/.", "lib//", "././lib/./", ".", "./",
                           "lib/sub", "lib//sub/", "lib/sub/b", "./lib/sub//b"}) {
    INFO(name);
    CHECK(SecondRun({name}, "lib/sub/b") == "succeeded");
    CHECK(SecondRun({"x", name}, "lib/sub/b") == "succeeded");
  }
  CHECK(SecondRun({}, "lib/a") == "succeeded");
}

TEST_CASE("A file that a task does not see makes no other key") {
  for (const char* name : {"lib", "lib/", "./lib", "lib//a"}) {
    INFO(name);
    CHECK(SecondRun({name}, "library") == "cached");
    CHECK(SecondRun({name}, "x") == "cached");
  }
}

}  // namespace
}  // namespace trackbed
