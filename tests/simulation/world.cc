#include "simulation/world.hpp"

#include <algorithm>
#include <cmath>

namespace trackbed {

std::vector<GangMember> MembersOf(const AttemptSpec& spec) {
  if (!spec.gang.empty()) return spec.gang;
  return {{"", spec.node, spec.devices}};
}

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

Duration Gap(Dice& dice, Duration mean) {
  // A table-free logarithm would differ among libraries in the last digits; rounded to
  // milliseconds it does not matter.
  const double uniform = (static_cast<double>(dice.Next() >> 11U) + 1) * 0x1.0p-53;
  const double gap = -std::log(uniform) * std::chrono::duration<double, std::milli>(mean).count();
  return milliseconds(1 + static_cast<int64_t>(gap));
}

namespace {

// The same for a key whatever happened before: taking a fault away leaves the rest as it was.
uint64_t SeedOf(uint64_t seed, const AttemptKey& key) {
  uint64_t hash = 0xcbf29ce484222325U ^ seed;  // FNV-1a
  const size_t slash = key.find('/');
  // Without the random ending of the run's name.
  for (const char c : key.substr(0, key.rfind('-', slash)) + key.substr(slash)) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
  }
  return hash;
}

}  // namespace

int64_t AmountOf(const std::vector<SlotRequest>& resources, const std::string& slot) {
  if (resources.empty()) return slot == "cpu" ? 1000 : 0;
  for (const SlotRequest& request : resources) {
    if (request.slot == slot) return request.amount.thousandths();
  }
  return 0;
}

void World::Decide(SimulatedAttempt* attempt) const {
  Dice dice(SeedOf(seed_, attempt->spec.key));
  AttemptReport& end = attempt->end;
  end.key = attempt->spec.key;
  Duration takes = dice.OneIn(3) ? Duration(milliseconds(dice.Roll(2000))) : Gap(dice, minutes(4));
  switch (dice.Roll(16)) {
    case 0:
    case 1:
      end.exit_code = 1 + dice.Roll(3);
      break;
    case 2:
      end.signal = 11;
      break;
    case 3:
      end.kind = AttemptReport::Kind::lost;
      break;
    case 4:
      end.signal = 9;
      end.out_of_memory = true;
      break;
    case 5:
      takes += Gap(dice, minutes(30));
      break;
    default:
      break;
  }
  end.output_text = dice.OneIn(12) ? "" : "n=7";
  if (dice.OneIn(3)) end.output_digest = "sha256:" + std::to_string(dice.Roll(5));
  attempt->started = clock.now();
  attempt->ends = dice.OneIn(40) ? kNever : attempt->started + takes;
  attempt->told_from = attempt->ends;
  if (attempt->ends != kNever && dice.OneIn(12)) attempt->told_from += Gap(dice, minutes(5));
  if (dice.OneIn(60)) attempt->told_from = kNever;
  if (is_healed_) {
    if (attempt->ends == kNever) attempt->ends = attempt->started + takes;
    attempt->told_from = attempt->ends;
  }
  attempt->told = dice.OneIn(8) ? 2 : 1;
  attempt->heeds_terminate = !dice.OneIn(4);
  end.wall_time = takes;
}

void World::Count(const SimulatedAttempt& attempt, int sign) {
  const AttemptKey& key = attempt.spec.key;
  const std::vector<GangMember> members = MembersOf(attempt.spec);
  for (const GangMember& member : members) {
    const auto node = capacity.find(member.node);
    if (node == capacity.end()) {
      Violate(key + " runs on the node \"" + member.node + "\", which there is not");
      return;
    }
    for (const auto& [slot, all] : node->second) {
      int64_t& used = used_[member.node][slot];
      used += sign * AmountOf(attempt.spec.resources, slot);
      if (used > all) {
        Violate("with " + key + ", " + std::to_string(used) + " thousandths of " + slot +
                " are in use of " + std::to_string(all) + " on node \"" + member.node + "\"");
      }
    }
  }
}

void World::CountTenant(const SimulatedAttempt& attempt, int sign) {
  const AttemptKey& key = attempt.spec.key;
  const std::vector<GangMember> members = MembersOf(attempt.spec);
  const std::string tenant = tenant_of(key.substr(0, key.find('/')));
  int64_t& cpu = cpu_of_tenant_[tenant];
  cpu += sign * AmountOf(attempt.spec.resources, "cpu") * static_cast<int64_t>(members.size());
  const auto limit = cpu_limit.find(tenant);
  if (limit != cpu_limit.end() && cpu > limit->second) {
    Violate("with " + key + ", tenant " + tenant + " has " + std::to_string(cpu) +
            " thousandths of a cpu, and may have " + std::to_string(limit->second));
  }
}

// All of it or nothing: as many members as it has to have, each with a name of its own.
void World::CheckGang(const AttemptSpec& spec) {
  const std::vector<GangMember> members = MembersOf(spec);
  std::set<std::string> hosts;
  for (const GangMember& member : members) hosts.insert(member.host);
  if (members.size() != size_of(spec) || hosts.size() != members.size()) {
    Violate(spec.key + " starts with " + std::to_string(members.size()) + " members of " +
            std::to_string(size_of(spec)));
  }
}

Status World::Start(const AttemptSpec& spec) {
  if (given_up_.contains(spec.key)) {
    return FailedPrecondition(spec.key + " was given up before it started");
  }
  if (!is_intended(spec)) Violate(spec.key + " starts, and that it is to is not durable");
  CheckGang(spec);
  const auto [entry, is_new] = attempts_.try_emplace(spec.key);
  if (!is_new) {
    Violate(spec.key + " starts twice");
    return absl::OkStatus();
  }
  SimulatedAttempt& attempt = entry->second;
  attempt.spec = spec;
  attempt.started = Arrival(spec);
  if (attempt.started <= clock.now()) {
    Begin(attempt);
  } else {
    attempt.on_its_way = true;
    attempt.ends = kNever;
    on_their_way_.insert(spec.key);
  }
  return absl::OkStatus();
}

// When what is said now is heard by all whom it is for.
Time World::Arrival(const AttemptSpec& spec) {
  if (!HasMemberOn(spec, slow_)) return clock.now();
  // As many as were delayed before have been drawn before.
  Dice dice(SeedOf(seed_, spec.key) + static_cast<uint64_t>(++messages_delayed_));
  return clock.now() + Gap(dice, seconds(20));
}

void World::Begin(SimulatedAttempt& attempt) {
  on_their_way_.erase(attempt.spec.key);
  attempt.on_its_way = false;
  Decide(&attempt);
  live_.insert(attempt.spec.key);
  Count(attempt, 1);
  CountTenant(attempt, 1);
  // Its node has gone meanwhile.
  if (IsAway(attempt.spec)) Lose(attempt.spec.key);
}

// What is still on its way starts nothing when it comes.
bool World::Adopt(const AttemptKey& key) {
  const auto found = attempts_.find(key);
  if (found != attempts_.end() && !found->second.on_its_way) return true;
  if (found != attempts_.end()) attempts_.erase(found);
  on_their_way_.erase(key);
  given_up_.insert(key);
  return false;
}

void World::LoseMessages() {
  for (const AttemptKey& key : on_their_way_) attempts_.erase(key);
  on_their_way_.clear();
  for (auto& [key, attempt] : attempts_) attempt.stops.clear();
}

SimulatedAttempt* World::Find(const AttemptKey& key) {
  const auto found = attempts_.find(key);
  return found == attempts_.end() ? nullptr : &found->second;
}

void World::End(SimulatedAttempt& attempt) {
  attempt.over = true;
  attempt.stops.clear();
  live_.erase(attempt.spec.key);
  if (attempt.given_up) return;
  Count(attempt, -1);
  CountTenant(attempt, -1);
}

// Heard after all that was said before.
void World::Stop(SimulatedAttempt& attempt, StopMode mode) {
  Time heard = std::max(Arrival(attempt.spec), attempt.started);
  if (!attempt.stops.empty()) heard = std::max(heard, attempt.stops.back().first);
  if (heard <= clock.now()) {
    Heed(attempt, mode);
  } else {
    attempt.stops.emplace_back(heard, mode);
  }
}

void World::Heed(SimulatedAttempt& attempt, StopMode mode) {
  if (attempt.over || (mode == StopMode::terminate && !attempt.heeds_terminate)) return;
  attempt.ends = attempt.told_from = clock.now();
  attempt.end.kind = AttemptReport::Kind::exited;
  attempt.end.signal = mode == StopMode::kill ? 9 : 15;
  attempt.end.out_of_memory = false;
  attempt.end.output_text.clear();
  End(attempt);
}

void World::Advance() {
  for (const AttemptKey& key : std::set<AttemptKey>(on_their_way_)) {
    SimulatedAttempt& attempt = attempts_.at(key);
    if (attempt.started <= clock.now()) Begin(attempt);
  }
  for (const AttemptKey& key : std::set<AttemptKey>(live_)) {
    SimulatedAttempt& attempt = attempts_.at(key);
    if (attempt.ends <= clock.now()) End(attempt);
    while (!attempt.stops.empty() && attempt.stops.front().first <= clock.now()) {
      const StopMode mode = attempt.stops.front().second;
      attempt.stops.erase(attempt.stops.begin());
      Heed(attempt, mode);
    }
  }
}

Time World::NextChange() const {
  Time next = kNever;
  for (const AttemptKey& key : on_their_way_) next = std::min(next, attempts_.at(key).started);
  for (const AttemptKey& key : live_) {
    const SimulatedAttempt& attempt = attempts_.at(key);
    next = std::min(next, attempt.ends);
    if (!attempt.stops.empty()) next = std::min(next, attempt.stops.front().first);
  }
  return next;
}

void World::Lose(const AttemptKey& key) {
  SimulatedAttempt& attempt = attempts_.at(key);
  attempt.ends = attempt.told_from = clock.now();
  attempt.end = AttemptReport{};
  attempt.end.key = key;
  attempt.end.kind = AttemptReport::Kind::lost;
  End(attempt);
}

void World::LoseAll() {
  for (const AttemptKey& key : std::set<AttemptKey>(live_)) Lose(key);
}

void World::LoseNode(const std::string& node) {
  away_.insert(node);
  for (const AttemptKey& key : std::set<AttemptKey>(live_)) {
    if (IsAway(attempts_.at(key).spec)) Lose(key);
  }
}

bool World::HasMemberOn(const AttemptSpec& spec, const std::set<std::string>& nodes) {
  const std::vector<GangMember> members = MembersOf(spec);
  return std::any_of(members.begin(), members.end(),
                     [&](const GangMember& member) { return nodes.contains(member.node); });
}

void World::Answer() {
  silent_.clear();
  for (const AttemptKey& key : std::set<AttemptKey>(live_)) {
    if (attempts_.at(key).given_up) Lose(key);
  }
}

// What is given up may still run while the same work runs elsewhere, so it is not counted any more:
// nothing new starts on a silent node, and when it answers this ends first.
void World::GiveUp(SimulatedAttempt& attempt) {
  if (attempt.over || attempt.given_up) return;
  if (attempt.on_its_way) {  // it never begins
    attempt.on_its_way = false;
    on_their_way_.erase(attempt.spec.key);
    attempt.over = true;
    attempt.ends = attempt.told_from = clock.now();
    attempt.end.key = attempt.spec.key;
    attempt.end.kind = AttemptReport::Kind::lost;
    return;
  }
  if (!IsSilent(attempt.spec)) {
    Stop(attempt, StopMode::kill);
    return;
  }
  Count(attempt, -1);
  CountTenant(attempt, -1);
  attempt.given_up = true;
}

void World::Heal() {
  is_healed_ = true;
  for (auto& [key, attempt] : attempts_) {
    if (attempt.on_its_way) continue;
    if (attempt.ends == kNever) attempt.ends = clock.now() + minutes(1);
    attempt.told_from = std::min(attempt.told_from, std::max(attempt.ends, clock.now()));
  }
}

// ---- The executor ----------------------------------------------------------------------------

Status SimulatedExecutor::Start(const AttemptSpec& spec) {
  if (const auto stall = std::exchange(before_start, nullptr)) stall();
  if (world_->Find(spec.key) == nullptr) {
    if (unavailable) return Unavailable("the executor is busy");
    if (world_->IsAway(spec) || world_->IsSilent(spec)) return Unavailable("a node is away");
    if (Status status = world_->Start(spec); !status.ok()) return status;
  }
  watched_.try_emplace(spec.key, 0);
  return absl::OkStatus();
}

Status SimulatedExecutor::Adopt(const AttemptKey& key, const std::string& /*folder*/) {
  if (watched_.contains(key)) return absl::OkStatus();
  if (!world_->Adopt(key)) return NotFound(key + " was never started");
  watched_.try_emplace(key, 0);
  return absl::OkStatus();
}

Status SimulatedExecutor::Observe(const AttemptKey& key, const std::string& /*folder*/) {
  if (world_->Find(key) == nullptr) return NotFound(key + " was never started");
  watched_.try_emplace(key, 0);
  return absl::OkStatus();
}

Time SimulatedExecutor::NextReport() const {
  if (!babble_.empty() || silent_ != world_->silent()) return world_->clock.now();
  Time next = kNever;
  for (const auto& [key, told] : watched_) {
    const SimulatedAttempt* found = world_->Find(key);
    if (found == nullptr) continue;  // another process has given it up
    const SimulatedAttempt& attempt = *found;
    if (attempt.over && !world_->IsSilent(attempt.spec)) next = std::min(next, attempt.told_from);
  }
  return next;
}

Status SimulatedExecutor::Poll(std::vector<AttemptReport>* reports) {
  silent_ = world_->silent();
  for (auto entry = watched_.begin(); entry != watched_.end();) {
    const SimulatedAttempt* found = world_->Find(entry->first);
    if (found == nullptr) {
      entry = watched_.erase(entry);
      continue;
    }
    const SimulatedAttempt& attempt = *found;
    if (!attempt.over || attempt.told_from > world_->clock.now() ||
        world_->IsSilent(attempt.spec)) {
      ++entry;
      continue;
    }
    if (entry->second == 0) {
      AttemptReport started;
      started.key = entry->first;
      started.kind = AttemptReport::Kind::started;
      reports->push_back(started);
    }
    reports->push_back(attempt.end);
    // The second time is another time.
    entry = ++entry->second >= attempt.told ? watched_.erase(entry) : std::next(entry);
  }
  for (AttemptReport& report : babble_) reports->push_back(std::move(report));
  babble_.clear();
  return absl::OkStatus();
}

Status SimulatedExecutor::GiveUp(const AttemptKey& key) {
  SimulatedAttempt* found = world_->Find(key);
  if (watched_.erase(key) == 0 || found == nullptr) {
    return NotFound(key + " is not being watched");
  }
  SimulatedAttempt& attempt = *found;
  world_->GiveUp(attempt);
  // Of a gang the executor says so itself: what of it can end has ended.
  if (!attempt.spec.gang.empty()) {
    babble_.emplace_back();
    babble_.back().key = key;
    babble_.back().kind = AttemptReport::Kind::lost;
  }
  return absl::OkStatus();
}

Status SimulatedExecutor::Stop(const AttemptKey& key, StopMode mode) {
  SimulatedAttempt* attempt = world_->Find(key);
  if (attempt == nullptr || attempt->over || !watched_.contains(key)) {
    return NotFound(key + " is not being watched");
  }
  if (!world_->may_be_stopped(key)) world_->Violate(key + " is stopped, and for nothing");
  world_->Stop(*attempt, mode);
  return absl::OkStatus();
}

}  // namespace trackbed
