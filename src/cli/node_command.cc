// node: what a machine has, in the form that describes machines to a scheduler.
#include <absl/strings/str_cat.h>

#include <cstdio>
#include <fstream>
#include <iterator>

#include "cli/commands.hpp"
#include "cli/exit_code.hpp"
#include "cli/terminal.hpp"
#include "trackbed/resources/device_probe.hpp"
#include "trackbed/resources/node_reader.hpp"
#include "trackbed/resources/node_writer.hpp"

namespace trackbed::cli {

int DescribeNode(const std::string& file, const std::string& gpu_slot) {
  NodeDescription node;
  if (file.empty()) {
    DeviceProbeOptions options;
    options.gpu_slot = gpu_slot;
    StatusOr<NodeDescription> found = ProbeNode(options);
    if (!found.ok()) return Fail(found.status());
    node = *std::move(found);
    const StatusOr<GpuInventory> gpus = ProbeGpus(options);
    if (!gpus.ok()) {
      std::fprintf(stderr, "trackbed: no NVIDIA GPUs: %s\n",
                   std::string(Message(gpus.status())).c_str());
    }
  } else {
    std::ifstream stream(file, std::ios::binary);
    if (!stream) return Fail(NotFound(absl::StrCat("cannot read ", file)));
    const std::string text{std::istreambuf_iterator<char>(stream), {}};
    const bool json = file.ends_with(".json");
    ParsedNode parsed = ReadNode(text, file, json ? TextFormat::json : TextFormat::yaml);
    PrintDiagnostics(parsed.diagnostics);
    if (!parsed.node) return kBadInput;
    node = *std::move(parsed.node);
  }
  const std::string text = WriteNode(node);
  std::fwrite(text.data(), 1, text.size(), stdout);
  return kSuccess;
}

}  // namespace trackbed::cli
