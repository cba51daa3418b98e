// Reads the description of a machine from YAML or JSON, telling where each mistake is.
//
//   name: gpu-01
//   architecture: x86_64
//   labels: {pool: training}
//   location: {zone: a, rack: r12, switches: [leaf-3, spine-1]}
//   numa:
//     - {id: 0, cpu: 32, mem: 256g}
//     - {id: 1, cpu: 32, mem: 256g}
//   devices:
//     - {id: gpu0, slot: cuda.shares, model: H100, memory: 80g, numa_node: 0}
//     - {id: gpu1, slot: cuda.shares, model: H100, memory: 80g, numa_node: 1}
//   links:
//     - {between: [gpu0, gpu1], level: nvlink, lanes: 18}
//   power: {idle_watts: 400, peak_watts: 2800}
//   price_per_hour: 12.50
//   endpoint: tcp://gpu-01:2376            # of its container engine, if it has one of its own
//   certificates: /etc/trackbed/gpu-01     # folder of ca.pem, cert.pem and key.pem
//
// `cpu` and `mem` of the whole may stand instead of, or agree with, those of `numa`. A device's
// `capacity` is 1 unless given; a device of a slot counted in bytes must give it.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "trackbed/base/diagnostic.hpp"
#include "trackbed/pipeline/reader.hpp"
#include "trackbed/resources/node.hpp"

namespace trackbed {

struct ParsedNode {
  std::optional<NodeDescription> node;  // none when diagnostics.has_errors()
  Diagnostics diagnostics;
};

// Every mistake is reported in one go. `file` is only printed. Thread-safe.
ParsedNode ReadNode(std::string_view text, std::string file, TextFormat format,
                    const ReaderLimits& limits = {});

struct ParsedNodes {
  std::vector<NodeDescription> nodes;  // none when diagnostics.has_errors()
  Diagnostics diagnostics;
};

// The same of one description or a list of them, no two of one name. Thread-safe.
ParsedNodes ReadNodes(std::string_view text, std::string file, TextFormat format,
                      const ReaderLimits& limits = {});

// Checks a description that was built in code: kInvalidArgument names the first mistake.
Status ValidateNode(const NodeDescription& node);

}  // namespace trackbed
