#include "trackbed/executors/attempt_json.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "trackbed/base/slot_type.hpp"

namespace trackbed {
namespace {

using Json = nlohmann::ordered_json;

Json DevicesToJson(const std::vector<AssignedDevice>& devices) {
  Json list = Json::array();
  for (const AssignedDevice& device : devices) {
    list.push_back({{"slot", device.slot},
                    {"id", device.id},
                    {"card", device.card},
                    {"index", device.index},
                    {"amount", FormatSlotAmount(device.slot, device.amount)},
                    {"memory", device.memory}});
  }
  return list;
}

Json FoldersToJson(const std::vector<BoundFolder>& folders) {
  Json list = Json::array();
  for (const BoundFolder& folder : folders) {
    list.push_back({{"name", folder.name},
                    {"host_path", folder.host_path},
                    {"path", folder.path},
                    {"read_only", folder.read_only}});
  }
  return list;
}

}  // namespace

std::string AttemptToJson(const AttemptSpec& spec) {
  Json json;
  json["key"] = spec.key;
  json["folder"] = spec.folder;
  json["command"] = spec.command;
  json["shell"] = spec.shell;
  json["environment"] = Json::object();
  for (const EnvironmentVariable& variable : spec.environment) {
    const auto& secret = spec.secret_names;
    if (std::find(secret.begin(), secret.end(), variable.name) != secret.end()) continue;
    json["environment"][variable.name] = variable.value;
  }
  json["secret_names"] = spec.secret_names;
  json["source_path"] = spec.source_path;
  json["files"] = spec.files;
  json["mounts"] = FoldersToJson(spec.mounts);
  json["inputs"] = FoldersToJson(spec.inputs);
  json["pipeline_folder"] = spec.pipeline_folder;
  json["pipeline_paths"] = spec.pipeline_paths;
  json["image"] = spec.image;
  json["resources"] = Json::object();
  for (const SlotRequest& slot : spec.resources) {
    json["resources"][slot.slot] = FormatSlotAmount(slot.slot, slot.amount);
  }
  if (spec.shared_memory > 0) json["shared_memory"] = spec.shared_memory;
  json["resource_group"] = spec.resource_group;
  json["timeout_ns"] = spec.timeout.count();
  json["devices"] = DevicesToJson(spec.devices);
  json["offered_slots"] = spec.offered_slots;
  json["node"] = spec.node;
  if (!spec.gang.empty()) {
    json["gang"] = Json::array();
    for (const GangMember& member : spec.gang) {
      json["gang"].push_back({{"host", member.host},
                              {"node", member.node},
                              {"devices", DevicesToJson(member.devices)}});
    }
    json["rank"] = spec.rank;
  }
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace trackbed
