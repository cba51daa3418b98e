// write_expected FILE...: runs each vector by the C++ interface and writes what it gave under
// "expect". For new vectors; look at what changes before it is committed.
#include <cstdio>
#include <exception>
#include <fstream>
#include <string>

#include "conformance/runner.hpp"

namespace {

using trackbed::conformance::Json;

constexpr size_t kWidth = 100;

// On one line where that is short enough.
void Write(const Json& json, size_t indent, std::string* out) {
  const std::string line = json.dump();
  if (!json.is_structured() || json.empty() || indent + line.size() < kWidth) {
    *out += line;
    return;
  }
  const bool object = json.is_object();
  *out += object ? '{' : '[';
  bool first = true;
  for (const auto& item : json.items()) {
    *out += first ? "\n" : ",\n";
    first = false;
    out->append(indent + 1, ' ');
    if (object) *out += Json(item.key()).dump() + ": ";
    Write(item.value(), indent + 1, out);
  }
  *out += '\n';
  out->append(indent, ' ');
  *out += object ? '}' : ']';
}

}  // namespace

int main(int count, char** arguments) {
  for (int i = 1; i < count; ++i) {
    try {
      std::ifstream in(arguments[i]);
      Json vector = Json::parse(in);
      const Json found = trackbed::conformance::RunByCpp(vector);
      Json& steps = vector.at("steps");
      for (size_t step = 0; step < steps.size(); ++step) steps[step]["expect"] = found[step];
      std::string text;
      Write(vector, 0, &text);
      std::ofstream(arguments[i]) << text << '\n';
    } catch (const std::exception& error) {
      std::fprintf(stderr, "%s: %s\n", arguments[i], error.what());
      return 1;
    }
  }
  return 0;
}
