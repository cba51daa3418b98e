#include "trackbed/engine/event.hpp"

#include <absl/strings/str_cat.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include "engine/utf8.hpp"
#include "trackbed/pipeline/map_items.hpp"
#include "trackbed/v1/run.pb.h"

namespace trackbed {
namespace {

// Bytes that depend on the content alone: map fields are written in order of their keys.
std::string Serialize(const google::protobuf::MessageLite& message) {
  std::string bytes;
  google::protobuf::io::StringOutputStream stream(&bytes);
  google::protobuf::io::CodedOutputStream coded(&stream);
  coded.SetSerializationDeterministic(true);
  message.SerializeToCodedStream(&coded);
  coded.Trim();
  return bytes;
}

Status Parse(std::string_view bytes, google::protobuf::MessageLite* message) {
  if (bytes.size() > INT32_MAX ||
      !message->ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return DataLoss(absl::StrCat("the detail of an event is not a ", message->GetTypeName()));
  }
  return absl::OkStatus();
}

void ToProto(const Value& value, v1::Value* proto) {
  if (const auto* text = std::get_if<std::string>(&value)) proto->set_text(*text);
  if (const auto* number = std::get_if<double>(&value)) proto->set_number(*number);
  if (const auto* integer = std::get_if<int64_t>(&value)) proto->set_integer(*integer);
  if (const auto* boolean = std::get_if<bool>(&value)) proto->set_boolean(*boolean);
}

Value FromProto(const v1::Value& proto) {
  switch (proto.kind_case()) {
    case v1::Value::kNumber:
      return proto.number();
    case v1::Value::kInteger:
      return static_cast<int64_t>(proto.integer());
    case v1::Value::kBoolean:
      return proto.boolean();
    default:
      return proto.text();
  }
}

template <typename ProtoMap>
void ToProto(const std::map<std::string, Value>& values, ProtoMap* proto) {
  for (const auto& [name, value] : values) ToProto(value, &(*proto)[name]);
}

template <typename ProtoMap>
std::map<std::string, Value> ValuesFromProto(const ProtoMap& proto) {
  std::map<std::string, Value> values;
  for (const auto& [name, value] : proto) values.emplace(name, FromProto(value));
  return values;
}

template <typename Repeated>
void ToProto(const CacheFields& fields, Repeated* proto) {
  for (const auto& [name, value] : fields) {
    auto* field = proto->Add();
    field->set_name(name);
    field->set_value(value);
  }
}

template <typename Repeated>
CacheFields FieldsFromProto(const Repeated& proto) {
  CacheFields fields;
  fields.reserve(static_cast<size_t>(proto.size()));
  for (const auto& field : proto) fields.emplace_back(field.name(), field.value());
  return fields;
}

template <typename Repeated>
void ToProto(const std::vector<HeldSlot>& slots, Repeated* proto) {
  for (const HeldSlot& held : slots) {
    v1::HeldSlot* slot = proto->Add();
    slot->set_slot(held.slot);
    slot->set_device(held.device);
    slot->set_thousandths(held.amount.thousandths());
  }
}

template <typename Repeated>
std::vector<HeldSlot> SlotsFromProto(const Repeated& proto) {
  std::vector<HeldSlot> slots;
  slots.reserve(static_cast<size_t>(proto.size()));
  for (const v1::HeldSlot& slot : proto) {
    slots.push_back({slot.slot(), slot.device(), Quantity::FromThousandths(slot.thousandths())});
  }
  return slots;
}

// An enum read from disk: a number that this version does not know is damage or the future.
template <typename Enum>
Status DecodeEnum(uint32_t number, Enum last, Enum* value) {
  if (number > static_cast<uint32_t>(last)) {
    return DataLoss(absl::StrCat("the detail of an event holds the unknown number ", number));
  }
  *value = static_cast<Enum>(number);
  return absl::OkStatus();
}

}  // namespace

std::string_view ToString(EventType type) {
  switch (type) {
    case EventType::run_submitted:
      return "run_submitted";
    case EventType::run_resumed:
      return "run_resumed";
    case EventType::run_cancel_requested:
      return "run_cancel_requested";
    case EventType::run_retried:
      return "run_retried";
    case EventType::run_finished:
      return "run_finished";
    case EventType::attempt_intended:
      return "attempt_intended";
    case EventType::attempt_succeeded:
      return "attempt_succeeded";
    case EventType::attempt_failed:
      return "attempt_failed";
    case EventType::attempt_cancelled:
      return "attempt_cancelled";
    case EventType::attempt_preempting:
      return "attempt_preempting";
    case EventType::attempt_preempted:
      return "attempt_preempted";
    case EventType::attempt_unknown:
      return "attempt_unknown";
    case EventType::attempt_known:
      return "attempt_known";
    case EventType::task_skipped:
      return "task_skipped";
    case EventType::task_cached:
      return "task_cached";
    case EventType::task_failed:
      return "task_failed";
    case EventType::approval_requested:
      return "approval_requested";
    case EventType::approval_decided:
      return "approval_decided";
  }
  return "unknown";
}

std::string_view ToString(RunStatus status) {
  switch (status) {
    case RunStatus::running:
      return "running";
    case RunStatus::succeeded:
      return "succeeded";
    case RunStatus::failed:
      return "failed";
    case RunStatus::cancelled:
      return "cancelled";
  }
  return "unknown";
}

std::string_view ToString(FailureReason reason) {
  switch (reason) {
    case FailureReason::none:
      return "none";
    case FailureReason::exit_code:
      return "exit_code";
    case FailureReason::signal:
      return "signal";
    case FailureReason::timeout:
      return "timeout";
    case FailureReason::out_of_memory:
      return "out_of_memory";
    case FailureReason::failed_to_start:
      return "failed_to_start";
    case FailureReason::lost:
      return "lost";
    case FailureReason::bad_output:
      return "bad_output";
    case FailureReason::bad_specification:
      return "bad_specification";
    case FailureReason::cancelled:
      return "cancelled";
    case FailureReason::rejected:
      return "rejected";
    case FailureReason::preempted:
      return "preempted";
  }
  return "unknown";
}

std::string_view ToString(AttemptPreempting::Cause cause) {
  return cause == AttemptPreempting::Cause::priority ? "priority" : "reclaim";
}

std::string_view ToString(SkipReason reason) {
  switch (reason) {
    case SkipReason::asked:
      return "asked";
    case SkipReason::condition:
      return "condition";
    case SkipReason::upstream_failed:
      return "upstream_failed";
    case SkipReason::upstream_skipped:
      return "upstream_skipped";
    case SkipReason::nothing_failed:
      return "nothing_failed";
  }
  return "unknown";
}

namespace {

void ToProto(const MapBinding& map, v1::MapBinding* proto) {
  proto->set_task(map.task);
  proto->set_count(map.count);
  for (const std::string& item : map.items) proto->add_items(item);
  proto->set_numbered(map.numbered);
  proto->set_batch(map.batch);
  proto->set_concurrency(map.concurrency);
  proto->set_fresh(map.fresh);
  proto->set_cache_off(map.cache_off);
  for (const std::string& output : map.outputs) proto->add_outputs(output);
  for (const MapBinding::Upstream& task : map.upstream) {
    v1::MapUpstream* upstream = proto->add_upstream();
    upstream->set_name(task.name);
    upstream->set_state(task.state);
    upstream->set_input(task.input);
    if (!task.result) continue;
    v1::TaskResult* result = upstream->mutable_result();
    ToProto(task.result->outputs, result->mutable_outputs());
    result->set_digest(task.result->digest);
    result->set_run(task.result->run);
    result->set_task(task.result->task);
    result->set_attempt(task.result->attempt);
  }
}

Status FromProto(const v1::MapBinding& proto, MapBinding* map) {
  map->task = proto.task();
  map->count = proto.count();
  map->items.assign(proto.items().begin(), proto.items().end());
  map->numbered = proto.numbered();
  map->batch = proto.batch();
  map->concurrency = proto.concurrency();
  map->fresh = proto.fresh();
  map->cache_off = proto.cache_off();
  map->outputs.assign(proto.outputs().begin(), proto.outputs().end());
  for (const v1::MapUpstream& task : proto.upstream()) {
    MapBinding::Upstream& upstream = map->upstream.emplace_back();
    upstream.name = task.name();
    upstream.state = task.state();
    upstream.input = task.input();
    if (!task.has_result()) continue;
    const v1::TaskResult& result = task.result();
    upstream.result = TaskResult{ValuesFromProto(result.outputs()), result.digest(), result.run(),
                                 result.task(), result.attempt()};
  }
  const bool sound = map->batch > 0 && map->count <= kMaxMapCount &&
                     map->batches() <= kMaxMapBatches &&
                     (map->numbered ? map->items.empty() : map->items.size() == map->count);
  return sound ? absl::OkStatus() : DataLoss("an event about a map makes no sense");
}

}  // namespace

std::string Encode(const RunSubmitted& detail) {
  v1::RunSubmitted proto;
  ToProto(detail.parameters, proto.mutable_parameters());
  proto.set_seed(detail.seed);
  if (!detail.source.host_path.empty()) {
    auto* source = proto.mutable_source();
    source->set_host_path(detail.source.host_path);
    source->set_digest(detail.source.digest);
    for (const auto& [path, digest] : detail.source.files)
      (*source->mutable_files())[path] = digest;
  }
  for (const FolderBinding& folder : detail.folders) {
    auto* binding = proto.add_folders();
    binding->set_name(folder.name);
    binding->set_host_path(folder.host_path);
    binding->set_digest(folder.digest);
  }
  proto.set_use_cache(detail.use_cache);
  proto.set_priority(detail.priority);
  proto.set_tenant(detail.tenant);
  if (detail.map) ToProto(*detail.map, proto.mutable_map());
  return Serialize(proto);
}

Status Decode(std::string_view bytes, RunSubmitted* detail) {
  v1::RunSubmitted proto;
  TRACKBED_RETURN_IF_ERROR(Parse(bytes, &proto));
  detail->parameters = ValuesFromProto(proto.parameters());
  detail->seed = proto.seed();
  detail->source.host_path = proto.source().host_path();
  detail->source.digest = proto.source().digest();
  detail->source.files.clear();
  for (const auto& [path, digest] : proto.source().files()) {
    detail->source.files.emplace(path, digest);
  }
  detail->folders.clear();
  for (const auto& folder : proto.folders()) {
    detail->folders.push_back({folder.name(), folder.host_path(), folder.digest()});
  }
  detail->use_cache = proto.use_cache();
  detail->priority = proto.priority();
  detail->tenant = proto.tenant();
  detail->map.reset();
  if (!proto.has_map()) return absl::OkStatus();
  return FromProto(proto.map(), &detail->map.emplace());
}

std::string Encode(const RunFinished& detail) {
  v1::RunFinished proto;
  proto.set_status(static_cast<uint32_t>(detail.status));
  return Serialize(proto);
}

Status Decode(std::string_view bytes, RunFinished* detail) {
  v1::RunFinished proto;
  TRACKBED_RETURN_IF_ERROR(Parse(bytes, &proto));
  return DecodeEnum(proto.status(), RunStatus::cancelled, &detail->status);
}

std::string Encode(const RunRetried& detail) {
  v1::RunRetried proto;
  for (TaskIndex task : detail.tasks) proto.add_tasks(task);
  for (const RetriedBatch& retried : detail.batches) {
    v1::RetriedBatch* added = proto.add_batches();
    added->set_task(retried.task);
    added->set_batch(retried.batch);
  }
  return Serialize(proto);
}

Status Decode(std::string_view bytes, RunRetried* detail) {
  v1::RunRetried proto;
  TRACKBED_RETURN_IF_ERROR(Parse(bytes, &proto));
  detail->tasks.assign(proto.tasks().begin(), proto.tasks().end());
  detail->batches.clear();
  for (const v1::RetriedBatch& retried : proto.batches()) {
    detail->batches.push_back({retried.task(), retried.batch()});
  }
  return absl::OkStatus();
}

std::string Encode(const AttemptIntended& detail) {
  v1::AttemptIntended proto;
  proto.set_cache_key(detail.cache_key);
  proto.set_cache_off(detail.cache_off);
  ToProto(detail.cache_fields, proto.mutable_cache_fields());
  ToProto(detail.slots, proto.mutable_slots());
  proto.set_node(detail.node);
  for (const IntendedMember& member : detail.gang) {
    v1::IntendedMember* added = proto.add_gang();
    added->set_node(member.node);
    ToProto(member.slots, added->mutable_slots());
  }
  proto.set_map_run(detail.map_run);
  return Serialize(proto);
}

Status Decode(std::string_view bytes, AttemptIntended* detail) {
  v1::AttemptIntended proto;
  TRACKBED_RETURN_IF_ERROR(Parse(bytes, &proto));
  detail->cache_key = proto.cache_key();
  detail->cache_off = proto.cache_off();
  detail->cache_fields = FieldsFromProto(proto.cache_fields());
  detail->slots = SlotsFromProto(proto.slots());
  detail->node = proto.node();
  detail->gang.clear();
  for (const v1::IntendedMember& member : proto.gang()) {
    detail->gang.push_back({member.node(), SlotsFromProto(member.slots())});
  }
  detail->map_run = proto.map_run();
  return absl::OkStatus();
}

std::string Encode(const AttemptEnded& detail) {
  v1::AttemptEnded proto;
  proto.set_reason(static_cast<uint32_t>(detail.reason));
  proto.set_exit_code(detail.exit_code);
  proto.set_signal(static_cast<uint32_t>(detail.signal));
  proto.set_message(ReplaceInvalidUtf8(detail.message));
  ToProto(detail.outputs, proto.mutable_outputs());
  proto.set_output_digest(detail.output_digest);
  proto.set_image_digest(detail.image_digest);
  proto.set_wall_time_ns(detail.wall_time.count());
  proto.set_cpu_time_ns(detail.cpu_time.count());
  proto.set_max_rss_bytes(detail.max_rss_bytes);
  proto.set_retry_at_ns(ToNanoseconds(detail.retry_at));
  return Serialize(proto);
}

Status Decode(std::string_view bytes, AttemptEnded* detail) {
  v1::AttemptEnded proto;
  TRACKBED_RETURN_IF_ERROR(Parse(bytes, &proto));
  TRACKBED_RETURN_IF_ERROR(DecodeEnum(proto.reason(), FailureReason::preempted, &detail->reason));
  detail->exit_code = proto.exit_code();
  detail->signal = static_cast<int>(proto.signal());
  detail->message = proto.message();
  detail->outputs = ValuesFromProto(proto.outputs());
  detail->output_digest = proto.output_digest();
  detail->image_digest = proto.image_digest();
  detail->wall_time = Duration(proto.wall_time_ns());
  detail->cpu_time = Duration(proto.cpu_time_ns());
  detail->max_rss_bytes = proto.max_rss_bytes();
  detail->retry_at = FromNanoseconds(proto.retry_at_ns());
  return absl::OkStatus();
}

std::string Encode(const AttemptUnknown& detail) {
  v1::AttemptUnknown proto;
  for (const std::string& node : detail.nodes) proto.add_nodes(node);
  proto.set_since_ns(ToNanoseconds(detail.since));
  return Serialize(proto);
}

Status Decode(std::string_view bytes, AttemptUnknown* detail) {
  v1::AttemptUnknown proto;
  TRACKBED_RETURN_IF_ERROR(Parse(bytes, &proto));
  detail->nodes.assign(proto.nodes().begin(), proto.nodes().end());
  detail->since = FromNanoseconds(proto.since_ns());
  return absl::OkStatus();
}

std::string Encode(const TaskSkipped& detail) {
  v1::TaskSkipped proto;
  proto.set_reason(static_cast<uint32_t>(detail.reason));
  proto.set_message(ReplaceInvalidUtf8(detail.message));
  return Serialize(proto);
}

Status Decode(std::string_view bytes, TaskSkipped* detail) {
  v1::TaskSkipped proto;
  TRACKBED_RETURN_IF_ERROR(Parse(bytes, &proto));
  TRACKBED_RETURN_IF_ERROR(DecodeEnum(proto.reason(), SkipReason::nothing_failed, &detail->reason));
  detail->message = proto.message();
  return absl::OkStatus();
}

std::string Encode(const TaskCached& detail) {
  v1::TaskCached proto;
  proto.set_cache_key(detail.cache_key);
  ToProto(detail.cache_fields, proto.mutable_cache_fields());
  auto* result = proto.mutable_result();
  result->set_run(detail.result.run);
  result->set_task(detail.result.task);
  result->set_attempt(detail.result.attempt);
  ToProto(detail.result.outputs, result->mutable_outputs());
  result->set_output_digest(detail.result.output_digest);
  return Serialize(proto);
}

Status Decode(std::string_view bytes, TaskCached* detail) {
  v1::TaskCached proto;
  TRACKBED_RETURN_IF_ERROR(Parse(bytes, &proto));
  detail->cache_key = proto.cache_key();
  detail->cache_fields = FieldsFromProto(proto.cache_fields());
  detail->result.run = proto.result().run();
  detail->result.task = proto.result().task();
  detail->result.attempt = proto.result().attempt();
  detail->result.outputs = ValuesFromProto(proto.result().outputs());
  detail->result.output_digest = proto.result().output_digest();
  return absl::OkStatus();
}

std::string Encode(const AttemptPreempting& detail) {
  v1::AttemptPreempting proto;
  proto.set_run(detail.run);
  proto.set_task(detail.task);
  proto.set_cause(static_cast<uint32_t>(detail.cause));
  return Serialize(proto);
}

Status Decode(std::string_view bytes, AttemptPreempting* detail) {
  v1::AttemptPreempting proto;
  TRACKBED_RETURN_IF_ERROR(Parse(bytes, &proto));
  TRACKBED_RETURN_IF_ERROR(
      DecodeEnum(proto.cause(), AttemptPreempting::Cause::reclaim, &detail->cause));
  detail->run = proto.run();
  detail->task = proto.task();
  return absl::OkStatus();
}

std::string Encode(const ApprovalRequested& detail) {
  v1::ApprovalRequested proto;
  proto.set_message(ReplaceInvalidUtf8(detail.message));
  return Serialize(proto);
}

Status Decode(std::string_view bytes, ApprovalRequested* detail) {
  v1::ApprovalRequested proto;
  TRACKBED_RETURN_IF_ERROR(Parse(bytes, &proto));
  detail->message = proto.message();
  return absl::OkStatus();
}

namespace {

v1::ApprovalDecided ToProto(const ApprovalDecided& detail) {
  v1::ApprovalDecided proto;
  proto.set_approved(detail.approved);
  proto.set_by(ReplaceInvalidUtf8(detail.by));
  proto.set_comment(ReplaceInvalidUtf8(detail.comment));
  return proto;
}

ApprovalDecided FromProto(const v1::ApprovalDecided& proto) {
  return {proto.approved(), proto.by(), proto.comment()};
}

}  // namespace

std::string Encode(const ApprovalDecided& detail) { return Serialize(ToProto(detail)); }

Status Decode(std::string_view bytes, ApprovalDecided* detail) {
  v1::ApprovalDecided proto;
  TRACKBED_RETURN_IF_ERROR(Parse(bytes, &proto));
  *detail = FromProto(proto);
  return absl::OkStatus();
}

std::string Encode(const DecisionRequest& detail) {
  v1::DecisionRequest proto;
  proto.set_task(detail.task);
  proto.set_attempt(detail.attempt);
  *proto.mutable_decision() = ToProto(detail.decision);
  return Serialize(proto);
}

Status Decode(std::string_view bytes, DecisionRequest* detail) {
  v1::DecisionRequest proto;
  TRACKBED_RETURN_IF_ERROR(Parse(bytes, &proto));
  detail->task = proto.task();
  detail->attempt = proto.attempt();
  detail->decision = FromProto(proto.decision());
  return absl::OkStatus();
}

// ---- Whole events -----------------------------------------------------------------------------

namespace {

// The numbers of the schema are those of the enum: one is cast to the other.
static_assert(static_cast<int>(EventType::run_submitted) == v1::RUN_SUBMITTED);
static_assert(static_cast<int>(EventType::run_resumed) == v1::RUN_RESUMED);
static_assert(static_cast<int>(EventType::run_cancel_requested) == v1::RUN_CANCEL_REQUESTED);
static_assert(static_cast<int>(EventType::run_retried) == v1::RUN_RETRIED);
static_assert(static_cast<int>(EventType::run_finished) == v1::RUN_FINISHED);
static_assert(static_cast<int>(EventType::attempt_intended) == v1::ATTEMPT_INTENDED);
static_assert(static_cast<int>(EventType::attempt_succeeded) == v1::ATTEMPT_SUCCEEDED);
static_assert(static_cast<int>(EventType::attempt_failed) == v1::ATTEMPT_FAILED);
static_assert(static_cast<int>(EventType::attempt_cancelled) == v1::ATTEMPT_CANCELLED);
static_assert(static_cast<int>(EventType::attempt_preempting) == v1::ATTEMPT_PREEMPTING);
static_assert(static_cast<int>(EventType::attempt_preempted) == v1::ATTEMPT_PREEMPTED);
static_assert(static_cast<int>(EventType::attempt_unknown) == v1::ATTEMPT_UNKNOWN);
static_assert(static_cast<int>(EventType::attempt_known) == v1::ATTEMPT_KNOWN);
static_assert(static_cast<int>(EventType::task_skipped) == v1::TASK_SKIPPED);
static_assert(static_cast<int>(EventType::task_cached) == v1::TASK_CACHED);
static_assert(static_cast<int>(EventType::task_failed) == v1::TASK_FAILED);
static_assert(static_cast<int>(EventType::approval_requested) == v1::APPROVAL_REQUESTED);
static_assert(static_cast<int>(EventType::approval_decided) == v1::APPROVAL_DECIDED);
static_assert(static_cast<int>(RunStatus::running) == v1::RUNNING);
static_assert(static_cast<int>(RunStatus::succeeded) == v1::SUCCEEDED);
static_assert(static_cast<int>(RunStatus::failed) == v1::FAILED);
static_assert(static_cast<int>(RunStatus::cancelled) == v1::CANCELLED);

// The message in which the detail of an event of this type lies; null for types without one.
google::protobuf::MessageLite* MutableDetail(v1::EventType type, v1::Event* event) {
  switch (type) {
    case v1::RUN_SUBMITTED:
      return event->mutable_run_submitted();
    case v1::RUN_RETRIED:
      return event->mutable_run_retried();
    case v1::RUN_FINISHED:
      return event->mutable_run_finished();
    case v1::ATTEMPT_INTENDED:
      return event->mutable_attempt_intended();
    case v1::ATTEMPT_SUCCEEDED:
    case v1::ATTEMPT_FAILED:
    case v1::ATTEMPT_CANCELLED:
    case v1::ATTEMPT_PREEMPTED:
    case v1::TASK_FAILED:
      return event->mutable_attempt_ended();
    case v1::ATTEMPT_UNKNOWN:
      return event->mutable_attempt_unknown();
    case v1::TASK_SKIPPED:
      return event->mutable_task_skipped();
    case v1::TASK_CACHED:
      return event->mutable_task_cached();
    case v1::ATTEMPT_PREEMPTING:
      return event->mutable_attempt_preempting();
    case v1::APPROVAL_REQUESTED:
      return event->mutable_approval_requested();
    case v1::APPROVAL_DECIDED:
      return event->mutable_approval_decided();
    default:
      return nullptr;
  }
}

}  // namespace

StatusOr<std::string> EncodeEvent(const Event& event) {
  v1::Event proto;
  proto.set_time_ns(ToNanoseconds(event.time));
  proto.set_type(static_cast<v1::EventType>(event.type));
  if (event.task != kNoTask) proto.set_task(event.task);
  proto.set_attempt(event.attempt);
  if (!event.detail.empty()) {
    google::protobuf::MessageLite* detail = MutableDetail(proto.type(), &proto);
    if (detail == nullptr) return DataLoss("an event of this type has no detail");
    TRACKBED_RETURN_IF_ERROR(Parse(event.detail, detail));
  }
  return Serialize(proto);
}

StatusOr<Event> DecodeEvent(std::string_view bytes) {
  v1::Event proto;
  TRACKBED_RETURN_IF_ERROR(Parse(bytes, &proto));
  if (proto.type() == v1::EVENT_TYPE_UNSPECIFIED || !v1::EventType_IsValid(proto.type())) {
    return DataLoss(absl::StrCat("an event has the unknown type ", proto.type()));
  }
  Event event;
  event.time = FromNanoseconds(proto.time_ns());
  event.type = static_cast<EventType>(proto.type());
  if (proto.has_task()) event.task = proto.task();
  event.attempt = proto.attempt();
  if (proto.detail_case() != v1::Event::DETAIL_NOT_SET) {
    // Of another type than the event's: asking for the right one would silently empty it.
    const v1::Event before = proto;
    google::protobuf::MessageLite* detail = MutableDetail(proto.type(), &proto);
    if (detail == nullptr || proto.detail_case() != before.detail_case()) {
      return DataLoss("the detail of an event does not belong to its type");
    }
    event.detail = Serialize(*detail);
  }
  return event;
}

}  // namespace trackbed
