// Nodes and the slot allocator.
#include <memory>
#include <vector>

#include "common.hpp"
#include "documents.hpp"
#include "trackbed/base/slot_type.hpp"
#include "trackbed/resources/allocation_json.hpp"
#include "trackbed/resources/local_node.hpp"
#include "trackbed/resources/mig_json.hpp"
#include "trackbed/resources/node_reader.hpp"
#include "trackbed/resources/node_writer.hpp"
#include "trackbed/resources/slot_allocator.hpp"

using namespace trackbed;        // NOLINT(google-build-using-namespace)
using namespace trackbed::capi;  // NOLINT(google-build-using-namespace)

struct trackbed_slot_demand {
  SlotDemand demand;
};

struct trackbed_slot_allocator {
  explicit trackbed_slot_allocator(SlotAllocator given) : allocator(std::move(given)) {}
  SlotAllocator allocator;
  Allocation scratch;   // what no caller asks for
  std::string message;  // of the latest shortfall
};

namespace {

// Writes the parts of a live allocation, as many as there is room for; how many there are.
size_t GiveParts(const SlotAllocator& allocator, uint64_t id, trackbed_allocation_part* parts,
                 size_t part_size, size_t capacity) {
  size_t count = 0;
  allocator.ForEachPart(id, [&](const AllocationPart& part) {
    if (count < capacity) {
      const trackbed_allocation_part given = {sizeof given,
                                              static_cast<int32_t>(part.enforcement),
                                              Borrow(part.slot),
                                              Borrow(part.device),
                                              part.amount.thousandths(),
                                              part.numa_node,
                                              0};
      if (part_size == sizeof given) [[likely]] {
        parts[count] = given;
      } else {
        CopyOut(given, part_size, At(parts, part_size, count));
      }
    }
    ++count;
  });
  return count;
}

StatusOr<SlotAllocatorOptions> ReadAllocatorOptions(const trackbed_slot_allocator_options* given) {
  trackbed_slot_allocator_options read;
  TRACKBED_RETURN_IF_ERROR(ReadOptions(given, "options", &read));
  SlotAllocatorOptions options;
  switch (read.strategy) {
    case TRACKBED_STRATEGY_DEFAULT:
    case TRACKBED_STRATEGY_EVEN:
      options.strategy = AllocationStrategy::even;
      break;
    case TRACKBED_STRATEGY_FILL:
      options.strategy = AllocationStrategy::fill;
      break;
    case TRACKBED_STRATEGY_BEST_FIT:
      options.strategy = AllocationStrategy::best_fit;
      break;
    default:
      return InvalidArgument("options.strategy: found an unknown one");
  }
  switch (read.numa) {
    case TRACKBED_NUMA_DEFAULT:
    case TRACKBED_NUMA_PREFER_SINGLE_NODE:
      options.numa = NumaPolicy::prefer_single_node;
      break;
    case TRACKBED_NUMA_INTERLEAVED:
      options.numa = NumaPolicy::interleaved;
      break;
    case TRACKBED_NUMA_NONE:
      options.numa = NumaPolicy::none;
      break;
    default:
      return InvalidArgument("options.numa: found an unknown policy");
  }
  options.allow_fragmentation = read.no_fragmentation == 0;
  TRACKBED_ASSIGN_OR_RETURN(options.quanta,
                            ReadSlots(read.quanta, read.quantum_count, "options.quanta"));
  return options;
}

}  // namespace

namespace trackbed::capi {

StatusOr<std::vector<SlotRequest>> ReadSlots(const trackbed_slot* slots, size_t count,
                                             std::string_view name) {
  std::vector<SlotRequest> read;
  if (slots == nullptr && count != 0) return MissingArgument(name);
  read.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    std::string_view slot;
    TRACKBED_RETURN_IF_ERROR(ReadText(slots[i].name, name, &slot));
    read.push_back({std::string(slot), Quantity::FromThousandths(slots[i].thousandths)});
  }
  return read;
}

Outcome ReadNodesText(std::string_view text, std::string file,
                      std::vector<NodeDescription>* nodes) {
  const size_t start = text.find_first_not_of(" \t\r\n");
  const bool json = start != std::string_view::npos && (text[start] == '{' || text[start] == '[');
  ParsedNodes parsed = ReadNodes(text, std::move(file), json ? TextFormat::json : TextFormat::yaml);
  if (parsed.nodes.empty()) return Outcome(parsed.diagnostics);
  *nodes = std::move(parsed.nodes);
  return absl::OkStatus();
}

Outcome ReadNodeText(std::string_view text, std::string file, trackbed_format format,
                     NodeDescription* node) {
  if (format != TRACKBED_FORMAT_AUTO && format != TRACKBED_FORMAT_YAML &&
      format != TRACKBED_FORMAT_JSON) {
    return InvalidArgument("format: a node is described in YAML or JSON");
  }
  const size_t start = text.find_first_not_of(" \t\r\n");
  const bool json =
      format == TRACKBED_FORMAT_JSON ||
      (format == TRACKBED_FORMAT_AUTO && start != std::string_view::npos && text[start] == '{');
  ParsedNode parsed = ReadNode(text, std::move(file), json ? TextFormat::json : TextFormat::yaml);
  if (!parsed.node) return Outcome(parsed.diagnostics);
  *node = *std::move(parsed.node);
  return absl::OkStatus();
}

}  // namespace trackbed::capi

trackbed_status trackbed_slot_parse(const char* slot, size_t slot_size, const char* amount,
                                    size_t amount_size, int64_t* thousandths,
                                    trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_NEED(thousandths);
    std::string_view name;
    std::string_view text;
    TRACKBED_RETURN_IF_ERROR(ReadText(slot, slot_size, "slot", &name));
    TRACKBED_RETURN_IF_ERROR(ReadText(amount, amount_size, "amount", &text));
    TRACKBED_ASSIGN_OR_RETURN(const Quantity parsed, ParseSlotAmount(name, text));
    *thousandths = parsed.thousandths();
    return absl::OkStatus();
  });
}

trackbed_status trackbed_slot_format(const char* slot, size_t slot_size, int64_t thousandths,
                                     trackbed_bytes* out, trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    std::string_view name;
    TRACKBED_RETURN_IF_ERROR(ReadText(slot, slot_size, "slot", &name));
    if (FindSlotType(name) == nullptr) return UnknownSlot(name);
    return GiveBytes(FormatSlotAmount(name, Quantity::FromThousandths(thousandths)), out);
  });
}

trackbed_status trackbed_node_detect(const trackbed_node_options* options, trackbed_bytes* yaml,
                                     trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_NEED(yaml);
    trackbed_node_options read;
    TRACKBED_RETURN_IF_ERROR(ReadOptions(options, "options", &read));
    DeviceProbeOptions probe;
    std::string given;
    TRACKBED_RETURN_IF_ERROR(ReadText(read.root, "options.root", &given));
    if (!given.empty()) probe.root = given;
    TRACKBED_RETURN_IF_ERROR(ReadText(read.nvml, "options.nvml", &given));
    if (!given.empty()) probe.nvml = given;
    TRACKBED_RETURN_IF_ERROR(ReadText(read.gpu_slot, "options.gpu_slot", &given));
    if (given.empty()) return GiveBytes(WriteNode(DetectLocalNode(probe)), yaml);
    probe.gpu_slot = given;
    TRACKBED_ASSIGN_OR_RETURN(const NodeDescription node, ProbeNode(probe));
    return GiveBytes(WriteNode(node), yaml);
  });
}

trackbed_status trackbed_node_check(const char* data, size_t size, trackbed_format format,
                                    const char* file, size_t file_size, trackbed_bytes* yaml,
                                    trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Outcome {
    TRACKBED_NEED(yaml);
    std::string_view text;
    std::string name;
    TRACKBED_RETURN_IF_ERROR(ReadText(data, size, "data", &text));
    TRACKBED_RETURN_IF_ERROR(ReadText(file, file_size, "file", &name));
    NodeDescription node;
    Outcome read = ReadNodeText(text, std::move(name), format, &node);
    return read.ok() ? GiveBytes(WriteNode(node), yaml) : std::move(read);
  });
}

trackbed_status trackbed_mig_models(trackbed_bytes* json, trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_NEED(json);
    return GiveBytes(MigModelsAsJson(), json);
  });
}

trackbed_status trackbed_mig_plan(const char* request, size_t request_size, trackbed_bytes* plan,
                                  trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_NEED(plan);
    std::string_view text;
    TRACKBED_RETURN_IF_ERROR(ReadText(request, request_size, "request", &text));
    TRACKBED_ASSIGN_OR_RETURN(const std::string planned, PlanMigFromJson(text));
    return GiveBytes(planned, plan);
  });
}

trackbed_status trackbed_slot_allocator_create(const char* node, size_t node_size,
                                               trackbed_format format,
                                               const trackbed_slot_allocator_options* options,
                                               trackbed_slot_allocator** out,
                                               trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Outcome {
    TRACKBED_NEED(out);
    std::string_view text;
    TRACKBED_RETURN_IF_ERROR(ReadText(node, node_size, "node", &text));
    StatusOr<SlotAllocatorOptions> chosen = ReadAllocatorOptions(options);
    if (!chosen.ok()) return chosen.status();
    NodeDescription description;
    if (Outcome read = ReadNodeText(text, "node", format, &description); !read.ok()) return read;
    StatusOr<SlotAllocator> made = SlotAllocator::Create(description, *std::move(chosen));
    if (!made.ok()) return made.status();
    *out = std::make_unique<trackbed_slot_allocator>(*std::move(made)).release();
    return absl::OkStatus();
  });
}

trackbed_status trackbed_slot_allocator_copy(const trackbed_slot_allocator* allocator,
                                             trackbed_slot_allocator** out,
                                             trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_NEED(allocator);
    TRACKBED_NEED(out);
    *out = std::make_unique<trackbed_slot_allocator>(allocator->allocator).release();
    return absl::OkStatus();
  });
}

void trackbed_slot_allocator_free(trackbed_slot_allocator* allocator) noexcept { delete allocator; }

trackbed_status trackbed_slot_allocator_prepare(const trackbed_slot_allocator* allocator,
                                                const trackbed_slot* slots, size_t slot_count,
                                                int32_t at_least, trackbed_slot_demand** out,
                                                trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_NEED(allocator);
    TRACKBED_NEED(out);
    TRACKBED_ASSIGN_OR_RETURN(const Enforcement weakest, ReadEnforcement(at_least, "at_least"));
    TRACKBED_ASSIGN_OR_RETURN(const std::vector<SlotRequest> request,
                              ReadSlots(slots, slot_count, "slots"));
    TRACKBED_ASSIGN_OR_RETURN(SlotDemand demand, allocator->allocator.Prepare(request, weakest));
    *out =
        std::make_unique<trackbed_slot_demand>(trackbed_slot_demand{std::move(demand)}).release();
    return absl::OkStatus();
  });
}

void trackbed_slot_demand_free(trackbed_slot_demand* demand) noexcept { delete demand; }

trackbed_status trackbed_slot_allocator_allocate(trackbed_slot_allocator* allocator,
                                                 const trackbed_slot_demand* demand, uint64_t* id,
                                                 trackbed_allocation_part* parts, size_t part_size,
                                                 size_t capacity, size_t* part_count,
                                                 trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_NEED(allocator);
    TRACKBED_NEED(demand);
    TRACKBED_NEED(id);
    if (parts == nullptr) capacity = 0;
    TRACKBED_RETURN_IF_ERROR(CheckItems(parts, part_size, capacity, "parts"));
    SlotAllocator& slots = allocator->allocator;
    const uint64_t given = slots.TryAllocate(demand->demand);
    // Says why.
    if (given == 0) [[unlikely]]
      return slots.Allocate(demand->demand, &allocator->scratch);
    *id = given;
    const size_t count = GiveParts(slots, given, parts, part_size, capacity);
    if (part_count != nullptr) *part_count = count;
    return absl::OkStatus();
  });
}

trackbed_status trackbed_slot_allocator_allocate_parts(trackbed_slot_allocator* allocator,
                                                       const trackbed_allocation_part* parts,
                                                       size_t part_size, size_t part_count,
                                                       uint64_t* id,
                                                       trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_NEED(allocator);
    TRACKBED_NEED(id);
    TRACKBED_RETURN_IF_ERROR(CheckItems(parts, part_size, part_count, "parts"));
    std::vector<AllocationPart> wanted(part_count);
    for (size_t i = 0; i < part_count; ++i) {
      trackbed_allocation_part read;
      TRACKBED_RETURN_IF_ERROR(ReadItem(parts, part_size, i, "parts", &read));
      TRACKBED_RETURN_IF_ERROR(ReadText(read.slot, "parts.slot", &wanted[i].slot));
      TRACKBED_RETURN_IF_ERROR(ReadText(read.device, "parts.device", &wanted[i].device));
      wanted[i].amount = Quantity::FromThousandths(read.thousandths);
    }
    TRACKBED_RETURN_IF_ERROR(allocator->allocator.AllocateParts(wanted, &allocator->scratch));
    *id = allocator->scratch.id;
    return absl::OkStatus();
  });
}

trackbed_status trackbed_slot_allocator_parts(const trackbed_slot_allocator* allocator, uint64_t id,
                                              trackbed_allocation_part* parts, size_t part_size,
                                              size_t capacity, size_t* part_count,
                                              trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_NEED(allocator);
    if (parts == nullptr) capacity = 0;
    TRACKBED_RETURN_IF_ERROR(CheckItems(parts, part_size, capacity, "parts"));
    if (!allocator->allocator.IsLive(id)) {
      return NotFound("allocation " + std::to_string(id) + " is not live");
    }
    const size_t count = GiveParts(allocator->allocator, id, parts, part_size, capacity);
    if (part_count != nullptr) *part_count = count;
    return absl::OkStatus();
  });
}

trackbed_status trackbed_slot_allocator_release(trackbed_slot_allocator* allocator, uint64_t id,
                                                trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_NEED(allocator);
    return allocator->allocator.Release(id);
  });
}

trackbed_status trackbed_slot_allocator_explain(trackbed_slot_allocator* allocator,
                                                const trackbed_slot_demand* demand,
                                                trackbed_shortfall* out,
                                                trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_NEED(allocator);
    TRACKBED_NEED(demand);
    TRACKBED_RETURN_IF_ERROR(CheckOut(out, "out"));
    Shortfall shortfall = allocator->allocator.Explain(demand->demand);
    allocator->message = std::move(shortfall.message);
    CopyOut(trackbed_shortfall{0, static_cast<int32_t>(shortfall.kind), Borrow(shortfall.slot),
                               shortfall.needed.thousandths(), shortfall.free.thousandths(),
                               shortfall.most_on_one_device.thousandths(),
                               shortfall.missing.thousandths(), Borrow(allocator->message)},
            out->struct_size, out);
    return absl::OkStatus();
  });
}

trackbed_status trackbed_slot_allocator_usage(const trackbed_slot_allocator* allocator,
                                              trackbed_device_usage* devices, size_t device_size,
                                              size_t capacity, size_t* count,
                                              trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_NEED(allocator);
    TRACKBED_NEED(count);
    if (devices == nullptr) capacity = 0;
    TRACKBED_RETURN_IF_ERROR(CheckItems(devices, device_size, capacity, "devices"));
    const std::vector<DeviceUsage> usage = allocator->allocator.Usage();
    for (size_t i = 0; i < std::min(capacity, usage.size()); ++i) {
      CopyOut(trackbed_device_usage{0, usage[i].healthy ? 1 : 0, Borrow(usage[i].slot),
                                    Borrow(usage[i].device), usage[i].capacity.thousandths(),
                                    usage[i].used.thousandths()},
              device_size, At(devices, device_size, i));
    }
    *count = usage.size();
    return absl::OkStatus();
  });
}

trackbed_status trackbed_slot_allocator_set_healthy(trackbed_slot_allocator* allocator,
                                                    const char* device, size_t device_size,
                                                    int32_t healthy,
                                                    trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_NEED(allocator);
    std::string_view name;
    TRACKBED_RETURN_IF_ERROR(ReadText(device, device_size, "device", &name));
    return allocator->allocator.SetHealthy(name, healthy != 0);
  });
}

size_t trackbed_slot_allocator_live_count(const trackbed_slot_allocator* allocator) noexcept {
  return allocator == nullptr ? 0 : allocator->allocator.live_count();
}

trackbed_status trackbed_slot_allocator_snapshot(const trackbed_slot_allocator* allocator,
                                                 trackbed_bytes* json,
                                                 trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_NEED(allocator);
    return GiveBytes(WriteAllocations(allocator->allocator), json);
  });
}

trackbed_status trackbed_slot_allocator_restore(trackbed_slot_allocator* allocator,
                                                const char* json, size_t json_size,
                                                trackbed_error** error) noexcept {
  return Guard(error, [&]() -> Status {
    TRACKBED_NEED(allocator);
    std::string_view text;
    TRACKBED_RETURN_IF_ERROR(ReadText(json, json_size, "json", &text));
    return RestoreAllocations(text, &allocator->allocator);
  });
}
