// The nodes that runs may use: `nodes add`, `list`, `drain`, `undrain` and `remove`.
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>

#include "cli/commands.hpp"
#include "cli/exit_code.hpp"
#include "cli/terminal.hpp"
#include "trackbed/base/slot_type.hpp"
#include "trackbed/engine/engine.hpp"
#include "trackbed/engine/local_host.hpp"
#include "trackbed/engine/workspace.hpp"
#include "trackbed/executors/container_endpoint.hpp"
#include "trackbed/resources/node_reader.hpp"
#include "trackbed/resources/node_writer.hpp"

namespace trackbed::cli {
namespace {

// Attempts under way, by the node that they or a member of them run on.
StatusOr<std::map<std::string, std::vector<std::string>>> AttemptsByNode(Store& store) {
  std::map<std::string, std::vector<std::string>> attempts;
  TRACKBED_ASSIGN_OR_RETURN(const std::vector<RunRecord> records,
                            store.ListRuns(SIZE_MAX, RunsListed::all));
  for (const RunRecord& record : records) {
    if (record.status != RunStatus::running) continue;
    TRACKBED_ASSIGN_OR_RETURN(const StoredRun run, LoadRun(store, record.id));
    const RunState& state = *run.state;
    for (TaskIndex task = 0; task < state.pipeline().tasks.size(); ++task) {
      const AttemptIntended* intended = state.Intended(task);
      if (state.task(task).state != TaskState::running || intended == nullptr) continue;
      const std::string key =
          MakeAttemptKey(record.id, state.pipeline().tasks[task].name, state.task(task).attempt);
      if (!intended->node.empty()) attempts[intended->node].push_back(key);
      for (const IntendedMember& member : intended->gang) {
        std::vector<std::string>& there = attempts[member.node];
        if (there.empty() || there.back() != key) there.push_back(key);
      }
    }
  }
  return attempts;
}

StatusOr<std::unique_ptr<Store>> OpenForWriting(const CommonOptions& common) {
  const std::string home = HomeFolder(common);
  TRACKBED_RETURN_IF_ERROR(MakeHomeFolder(home).status());
  return OpenSqliteStore(Workspace(home).Database(), {common.durability, false, ""});
}

// The nodes that a file describes; nothing when that has been said to be wrong.
std::vector<NodeDescription> ReadNodeFile(const std::string& file) {
  std::ifstream stream(file, std::ios::binary);
  if (!stream) {
    (void)Fail(NotFound(absl::StrCat("cannot read ", file)));
    return {};
  }
  const std::string text{std::istreambuf_iterator<char>(stream), {}};
  ParsedNodes parsed =
      ReadNodes(text, file, file.ends_with(".json") ? TextFormat::json : TextFormat::yaml);
  PrintDiagnostics(parsed.diagnostics);
  return std::move(parsed.nodes);
}

Status CheckEndpoint(const NodeDescription& node) {
  if (node.endpoint.empty()) return absl::OkStatus();
  const Status status = ParseContainerEndpoint(node.endpoint, node.certificates).status();
  if (status.ok()) return status;
  return Status(status.code(),
                absl::StrCat("node \"", node.name, "\": endpoint: ", AbslView(Message(status))));
}

std::string Accelerators(const NodeDescription& node) {
  std::map<std::string, Quantity> sums;
  for (const NodeDevice& device : node.devices) {
    (void)Quantity::Add(sums[device.slot], device.capacity, &sums[device.slot]);
  }
  return absl::StrJoin(sums, ", ", [](std::string* out, const auto& sum) {
    absl::StrAppend(out, FormatSlotAmount(sum.first, sum.second), " ", sum.first);
  });
}

// kNotFound, with the names that there are.
Status CheckNames(const std::vector<NodeRecord>& records, const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    const bool known = std::any_of(records.begin(), records.end(),
                                   [&](const NodeRecord& record) { return record.name == name; });
    if (known) continue;
    const std::string all = absl::StrJoin(
        records, ", ", [](std::string* out, const auto& record) { out->append(record.name); });
    return NotFound(
        absl::StrCat("there is no node \"", name, "\"; there are: ", all.empty() ? "none" : all));
  }
  return absl::OkStatus();
}

}  // namespace

int AddNodes(const CommonOptions& common, const std::vector<std::string>& files) {
  std::vector<NodeRecord> added;
  for (const std::string& file : files) {
    const std::vector<NodeDescription> nodes = ReadNodeFile(file);
    if (nodes.empty()) return kBadInput;
    for (const NodeDescription& node : nodes) {
      if (const Status status = CheckEndpoint(node); !status.ok()) return Fail(status);
      added.push_back({node.name, WriteNode(node), false});
    }
  }
  StatusOr<std::unique_ptr<Store>> store = OpenForWriting(common);
  if (!store.ok()) return Fail(store.status());
  const StatusOr<std::vector<NodeRecord>> records = (*store)->ListNodes();
  if (!records.ok()) return Fail(records.status());
  for (auto node = added.begin(); node != added.end(); ++node) {
    const auto same = [&](const NodeRecord& other) { return other.name == node->name; };
    if (std::any_of(records->begin(), records->end(), same) ||
        std::any_of(added.begin(), node, same)) {
      return Fail(AlreadyExists(
          absl::StrCat("node \"", node->name, "\" is there already; nodes remove takes it away")));
    }
  }
  const Status status = (*store)->ChangeNodes(added, {}, SystemClock().Now());
  return status.ok() ? kSuccess : Fail(status);
}

int ListNodes(const CommonOptions& common, bool json) {
  StatusOr<std::unique_ptr<Store>> store = OpenForReading(common);
  if (!store.ok()) return Fail(store.status());
  const StatusOr<std::vector<NodeRecord>> records = (*store)->ListNodes();
  if (!records.ok()) return Fail(records.status());
  const auto attempts = AttemptsByNode(**store);
  if (!attempts.ok()) return Fail(attempts.status());
  std::vector<std::vector<std::string>> rows{
      {"NODE", "STATE", "CPU", "MEM", "ACCELERATORS", "RUNNING", "ENDPOINT"}};
  for (const NodeRecord& record : *records) {
    const ParsedNode parsed = ReadNode(record.description, record.name, TextFormat::yaml);
    if (!parsed.node) return Fail(DataLoss(parsed.diagnostics.ToString()));
    const NodeDescription& node = *parsed.node;
    const auto there = attempts->find(record.name);
    const size_t running = there == attempts->end() ? 0 : there->second.size();
    const std::string state = record.drained ? "drained" : "open";
    if (json) {
      const nlohmann::ordered_json line = {{"node", node.name},
                                           {"state", state},
                                           {"cpu", node.cpu.ToString()},
                                           {"mem", node.mem.ToBytesString()},
                                           {"accelerators", Accelerators(node)},
                                           {"running", running},
                                           {"endpoint", node.endpoint}};
      std::printf("%s\n", line.dump().c_str());
      continue;
    }
    rows.push_back({node.name, state, node.cpu.ToString(), node.mem.ToBytesString(),
                    Accelerators(node), absl::StrCat(running), node.endpoint});
  }
  if (!json) std::fputs(Table(rows).c_str(), stdout);
  return kSuccess;
}

int DrainNodes(const CommonOptions& common, const std::vector<std::string>& names, bool drained) {
  StatusOr<std::unique_ptr<Store>> store = OpenForWriting(common);
  if (!store.ok()) return Fail(store.status());
  const StatusOr<std::vector<NodeRecord>> records = (*store)->ListNodes();
  if (!records.ok()) return Fail(records.status());
  if (const Status known = CheckNames(*records, names); !known.ok()) return Fail(known);
  std::vector<NodeRecord> changed;
  for (NodeRecord record : *records) {
    if (std::find(names.begin(), names.end(), record.name) == names.end()) continue;
    record.drained = drained;
    changed.push_back(std::move(record));
  }
  const Status status = (*store)->ChangeNodes(changed, {}, SystemClock().Now());
  return status.ok() ? kSuccess : Fail(status);
}

int RemoveNodes(const CommonOptions& common, const std::vector<std::string>& names) {
  StatusOr<std::unique_ptr<Store>> store = OpenForWriting(common);
  if (!store.ok()) return Fail(store.status());
  const StatusOr<std::vector<NodeRecord>> records = (*store)->ListNodes();
  if (!records.ok()) return Fail(records.status());
  if (const Status known = CheckNames(*records, names); !known.ok()) return Fail(known);
  const auto attempts = AttemptsByNode(**store);
  if (!attempts.ok()) return Fail(attempts.status());
  for (const std::string& name : names) {
    const auto there = attempts->find(name);
    if (there == attempts->end()) continue;
    return Fail(FailedPrecondition(
        absl::StrCat("node \"", name, "\" runs ", absl::StrJoin(there->second, ", "),
                     "; drain it, and take it away when they have ended")));
  }
  const Status status = (*store)->ChangeNodes({}, names, SystemClock().Now());
  return status.ok() ? kSuccess : Fail(status);
}

}  // namespace trackbed::cli
