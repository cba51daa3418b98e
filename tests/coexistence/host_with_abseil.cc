// A host that links Abseil and yaml-cpp of its own beside libtrackbed.a, which has both inside.
#include <absl/status/status.h>
#include <absl/strings/str_cat.h>
#include <yaml-cpp/yaml.h>

#include <cstdio>
#include <string>

#include "trackbed.h"

int main() {
  const absl::Status status = absl::NotFoundError(absl::StrCat("no ", 3));
  const YAML::Node node = YAML::Load("{a: 1}");
  trackbed_bytes json{nullptr, 0};
  constexpr char kWrong[] = "{name: wrong, tasks: [{name: one, command: echo, retri: 3}]}";
  if (status.ToString() != "NOT_FOUND: no 3" || node["a"].as<int>() != 1 ||
      trackbed_pipeline_validate(kWrong, TRACKBED_TERMINATED, TRACKBED_FORMAT_YAML, "", 0, &json,
                                 nullptr) != TRACKBED_OK) {
    return 1;
  }
  const std::string said(json.data, json.size);
  trackbed_bytes_free(&json);
  std::printf("%s\n", said.c_str());
  return said.find("retri") == std::string::npos ? 1 : 0;
}
