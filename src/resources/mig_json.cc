#include "trackbed/resources/mig_json.hpp"

#include <absl/strings/str_cat.h>

#include <initializer_list>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "trackbed/resources/mig.hpp"

namespace trackbed {
namespace {

using Json = nlohmann::ordered_json;

Status Expected(const std::string& where, const char* what) {
  return InvalidArgument(absl::StrCat(where, ": expected ", what));
}

Status CheckFields(const Json& object, const std::string& where,
                   std::initializer_list<const char*> known) {
  if (!object.is_object()) return Expected(where, "an object");
  for (const auto& [name, value] : object.items()) {
    bool is_known = false;
    for (const char* field : known) is_known |= name == field;
    if (!is_known) return InvalidArgument(absl::StrCat(where, ": found the unknown field ", name));
  }
  return absl::OkStatus();
}

Status ReadText(const Json& object, const char* name, const std::string& where, std::string* text) {
  if (!object.contains(name) || !object[name].is_string()) {
    return Expected(absl::StrCat(where, ".", name), "a text");
  }
  *text = object[name].get<std::string>();
  return absl::OkStatus();
}

Status ReadFlag(const Json& object, const char* name, const std::string& where, bool* flag) {
  if (!object.contains(name)) return absl::OkStatus();
  if (!object[name].is_boolean()) return Expected(absl::StrCat(where, ".", name), "true or false");
  *flag = object[name].get<bool>();
  return absl::OkStatus();
}

// An empty list where there is none.
StatusOr<Json> ReadList(const Json& object, const char* name, const std::string& where) {
  if (!object.contains(name)) return Json::array();
  if (!object[name].is_array()) return Expected(absl::StrCat(where, ".", name), "a list");
  return object[name];
}

StatusOr<MigInstance> ReadInstance(const Json& given, const std::string& where) {
  TRACKBED_RETURN_IF_ERROR(CheckFields(given, where, {"id", "profile", "start", "free"}));
  MigInstance instance;
  TRACKBED_RETURN_IF_ERROR(ReadText(given, "id", where, &instance.id));
  TRACKBED_RETURN_IF_ERROR(ReadText(given, "profile", where, &instance.profile));
  TRACKBED_RETURN_IF_ERROR(ReadFlag(given, "free", where, &instance.free));
  if (!given.contains("start") || !given["start"].is_number_unsigned() ||
      given["start"].get<uint64_t>() >= kMigMemorySlices) {
    return Expected(where + ".start", "a memory slice, 0 to 7");
  }
  instance.start = given["start"].get<int>();
  return instance;
}

StatusOr<MigDevice> ReadDevice(const Json& given, const std::string& where) {
  TRACKBED_RETURN_IF_ERROR(CheckFields(given, where, {"id", "model", "healthy", "instances"}));
  MigDevice device;
  TRACKBED_RETURN_IF_ERROR(ReadText(given, "id", where, &device.id));
  TRACKBED_RETURN_IF_ERROR(ReadText(given, "model", where, &device.model));
  TRACKBED_RETURN_IF_ERROR(ReadFlag(given, "healthy", where, &device.healthy));
  TRACKBED_ASSIGN_OR_RETURN(const Json instances, ReadList(given, "instances", where));
  for (const Json& instance : instances) {
    const std::string place = absl::StrCat(where, ".instances[", device.instances.size(), "]");
    TRACKBED_ASSIGN_OR_RETURN(MigInstance read, ReadInstance(instance, place));
    device.instances.push_back(std::move(read));
  }
  return device;
}

Json StepsOf(const MigPlan& plan, const std::vector<MigDevice>& devices) {
  Json steps = Json::array();
  for (const auto& [device, instance] : plan.destroy) {
    steps.push_back({{"do", "destroy"}, {"device", device}, {"instance", instance}});
  }
  for (const MigAssignment& assigned : plan.assignments) {
    if (!assigned.instance.empty()) continue;
    Json step = {{"do", "create"}, {"device", assigned.device}, {"profile", assigned.profile}};
    for (const MigDevice& device : devices) {
      if (device.id != assigned.device) continue;
      const MigModel* model = FindMigModel(device.model);
      const MigProfile* profile =
          model == nullptr ? nullptr : FindMigProfile(*model, assigned.profile);
      if (profile != nullptr) step["id"] = profile->id;
    }
    step["start"] = assigned.start;
    steps.push_back(std::move(step));
  }
  return steps;
}

}  // namespace

std::string MigModelsAsJson() {
  Json models = Json::array();
  for (const MigModel& model : KnownMigModels()) {
    Json profiles = Json::array();
    for (const MigProfile& profile : model.profiles) {
      Json starts = Json::array();
      for (int slice = 0; slice < kMigMemorySlices; ++slice) {
        if ((profile.starts >> slice & 1U) != 0) starts.push_back(slice);
      }
      profiles.push_back({{"profile", std::string(profile.name)},
                          {"slot", MigSlotName(profile.name)},
                          {"id", profile.id},
                          {"compute_slices", profile.compute_slices},
                          {"memory_slices", profile.memory_slices},
                          {"starts", std::move(starts)},
                          {"max_instances", profile.max_instances}});
    }
    models.push_back({{"model", std::string(model.name)}, {"profiles", std::move(profiles)}});
  }
  return models.dump();
}

StatusOr<std::string> PlanMigFromJson(std::string_view json) {
  const Json document = Json::parse(json, nullptr, false);
  if (document.is_discarded()) return InvalidArgument("found no JSON");
  TRACKBED_RETURN_IF_ERROR(
      CheckFields(document, "the request", {"devices", "profiles", "reconfigure"}));
  std::vector<MigDevice> devices;
  TRACKBED_ASSIGN_OR_RETURN(const Json given, ReadList(document, "devices", "the request"));
  for (const Json& device : given) {
    TRACKBED_ASSIGN_OR_RETURN(MigDevice read,
                              ReadDevice(device, absl::StrCat("devices[", devices.size(), "]")));
    devices.push_back(std::move(read));
  }
  std::vector<std::string> profiles;
  TRACKBED_ASSIGN_OR_RETURN(const Json wanted, ReadList(document, "profiles", "the request"));
  for (const Json& profile : wanted) {
    if (!profile.is_string()) {
      return Expected(absl::StrCat("profiles[", profiles.size(), "]"), "a text");
    }
    profiles.push_back(profile.get<std::string>());
  }
  bool reconfigure = false;
  TRACKBED_RETURN_IF_ERROR(ReadFlag(document, "reconfigure", "the request", &reconfigure));
  TRACKBED_ASSIGN_OR_RETURN(const MigPlan plan, PlanMig(devices, profiles,
                                                        reconfigure ? MigReconfigure::destroy_free
                                                                    : MigReconfigure::never));
  Json assignments = Json::array();
  for (const MigAssignment& assigned : plan.assignments) {
    Json one = {
        {"profile", assigned.profile}, {"device", assigned.device}, {"start", assigned.start}};
    if (!assigned.instance.empty()) one["instance"] = assigned.instance;
    assignments.push_back(std::move(one));
  }
  return Json{{"steps", StepsOf(plan, devices)}, {"assignments", std::move(assignments)}}.dump(
      -1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace trackbed
