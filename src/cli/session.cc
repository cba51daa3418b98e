#include "cli/session.hpp"

#include <absl/strings/str_cat.h>
#include <poll.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <utility>
#include <vector>

#include "trackbed/base/slot_type.hpp"
#include "trackbed/engine/local_host.hpp"
#include "trackbed/engine/workspace.hpp"
#include "trackbed/resources/local_node.hpp"
#include "trackbed/resources/node_reader.hpp"

namespace trackbed::cli {
namespace {

namespace fs = std::filesystem;

constexpr int kWaitMilliseconds = 300;

}  // namespace

std::string HomeFolder(const CommonOptions& options) {
  const char* from_environment = std::getenv("TRACKBED_HOME");
  std::string home = options.home;
  if (home.empty() && from_environment != nullptr) home = from_environment;
  if (home.empty()) home = ".trackbed";
  std::error_code error;
  std::string absolute = fs::absolute(home, error).lexically_normal().string();
  while (absolute.size() > 1 && absolute.ends_with('/')) absolute.pop_back();
  return absolute;
}

StatusOr<std::unique_ptr<Store>> OpenForReading(const CommonOptions& options) {
  const std::string path = Workspace(HomeFolder(options)).Database();
  std::error_code error;
  if (!fs::exists(path, error)) {
    return NotFound(absl::StrCat("nothing has run here yet: there is no ", path));
  }
  // A reader of a write-ahead log may have to bring it in order, so it needs to write too; only
  // where that is not permitted is the store opened as it lies.
  StatusOr<std::unique_ptr<Store>> store = OpenSqliteStore(path, {options.durability, false, ""});
  if (!absl::IsFailedPrecondition(store.status())) return store;
  StatusOr<std::unique_ptr<Store>> read_only =
      OpenSqliteStore(path, {options.durability, true, ""});
  return read_only.ok() ? std::move(read_only) : std::move(store);
}

StatusOr<std::vector<NodeDescription>> ReadAddedNodes(Store& store) {
  TRACKBED_ASSIGN_OR_RETURN(const std::vector<NodeRecord> records, store.ListNodes());
  std::vector<NodeDescription> nodes;
  for (const NodeRecord& record : records) {
    ParsedNode parsed = ReadNode(record.description, record.name, TextFormat::yaml);
    if (!parsed.node) return DataLoss(parsed.diagnostics.ToString());
    nodes.push_back(*std::move(parsed.node));
  }
  return nodes;
}

StatusOr<std::vector<SlotRequest>> ReadSlots(const std::vector<std::string>& texts) {
  std::vector<SlotRequest> given;
  for (const std::string& text : texts) {
    const size_t equals = text.find('=');
    if (equals == std::string::npos) {
      return InvalidArgument(
          absl::StrCat("--slots: found \"", text, "\", expected NAME=AMOUNT such as cpu=4"));
    }
    const std::string name = text.substr(0, equals);
    const StatusOr<Quantity> amount = ParseSlotAmount(name, text.substr(equals + 1));
    if (!amount.ok()) {
      return InvalidArgument(absl::StrCat("--slots: ", AbslView(Message(amount.status()))));
    }
    const auto known = std::find_if(given.begin(), given.end(),
                                    [&](const SlotRequest& slot) { return slot.slot == name; });
    if (known != given.end()) {
      known->amount = *amount;
    } else {
      given.push_back({name, *amount});
    }
  }
  return given;
}

StatusOr<NodeDescription> ChooseNode(const std::vector<std::string>& slots) {
  TRACKBED_ASSIGN_OR_RETURN(const std::vector<SlotRequest> given, ReadSlots(slots));
  NodeDescription node = DetectLocalNode();
  OfferSlots(given, &node);
  return node;
}

StatusOr<std::unique_ptr<Session>> Session::Open(SessionOptions options) {
  auto session = std::make_unique<Session>();
  session->home_ = HomeFolder(options.common);
  const Workspace workspace(session->home_);
  TRACKBED_ASSIGN_OR_RETURN(session->node_, ChooseNode(options.slots));
  TRACKBED_RETURN_IF_ERROR(MakeHomeFolder(session->home_).status());
  // Also one that was there: logs and outputs may hold what others should not see.
  (void)chmod(session->home_.c_str(), 0700);
  TRACKBED_ASSIGN_OR_RETURN(
      session->store_,
      OpenSqliteStore(workspace.Database(), {options.common.durability, false, ""}));
  session->secrets_ = NewLocalSecrets(workspace.Secrets());
  ExecutorSurroundings surroundings;
  surroundings.home = session->home_;
  surroundings.processes.sandbox = options.sandbox;
  surroundings.say = options.say;
  TRACKBED_ASSIGN_OR_RETURN(surroundings.nodes, ReadAddedNodes(*session->store_));
  surroundings.secret = [secrets = session->secrets_.get()](std::string_view source,
                                                            std::string_view name) {
    return secrets->Resolve(source, name);
  };
  TRACKBED_ASSIGN_OR_RETURN(session->executor_, OpenExecutors(options.executor, surroundings));
  if (options.executor.on == "slurm") {
    TRACKBED_ASSIGN_OR_RETURN(const std::vector<SlotRequest> given, ReadSlots(options.slots));
    session->node_ = UnlimitedNode(given, std::move(session->node_));
  }

  EngineOptions engine;
  engine.store = session->store_.get();
  engine.executor = session->executor_.get();
  engine.secrets = session->secrets_.get();
  engine.home = session->home_;
  engine.node_lease = options.executor.node_lease;
  engine.placer = options.executor.placer;
  engine.policy.preempt_by_priority = options.preempt;
  engine.nodes = {session->node_};
  // Nodes that somebody added, also while the run goes on, are used instead of this machine, unless
  // that is asked for by --slots or Slurm decides.
  if (options.slots.empty() && options.executor.on != "slurm") {
    const bool in_containers = options.executor.on == "docker";
    engine.takes_stored_node = [executor = session->executor_.get(),
                                say = in_containers ? surroundings.say
                                                    : nullptr](const NodeDescription& node) {
      const Status status = executor->AddNode(node);
      if (!status.ok() && say) {
        say(absl::StrCat("node ", node.name, " is not used: ", AbslView(Message(status))));
      }
      return status.ok();
    };
  }
  engine.sink = std::move(options.sink);
  engine.holder = ThisProcess(std::move(options.description));
  engine.is_gone = HolderIsGone;
  engine.has_outputs = HasOutputFolder;
  engine.link_outputs = LinkOutputs;
  // With --slots there is one that has so much and no more.
  if (options.executor.on == "slurm" && options.slots.empty()) AddNodesOfSlurm(&engine.nodes);
  while (true) {
    StatusOr<std::unique_ptr<Engine>> opened = Engine::Open(engine);
    if (opened.ok()) {
      session->engine_ = *std::move(opened);
      return session;
    }
    if (!options.wait || !absl::IsFailedPrecondition(opened.status())) return opened.status();
    ::poll(nullptr, 0, kWaitMilliseconds);
  }
}

}  // namespace trackbed::cli
