// trackbed.v1.Pipeline as protobuf, to and from the values of pipeline.hpp.
//
// A message of a million tasks would be large beside the pipeline itself, so tasks are taken from
// the bytes one by one into a message that is used again.
#include <absl/strings/str_cat.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/stubs/logging.h>
#include <google/protobuf/wire_format_lite.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "trackbed/pipeline/writer.hpp"
#include "trackbed/v1/pipeline.pb.h"

namespace trackbed {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;
using google::protobuf::io::CodedOutputStream;
using google::protobuf::io::StringOutputStream;

// protobuf prints what is wrong with a message; here it is returned instead.
#if GOOGLE_PROTOBUF_VERSION < 4022000
using Silence = google::protobuf::LogSilencer;
#else
struct Silence {
  Silence() {}
};
#endif

constexpr uint32_t kTasksTag = WireFormatLite::MakeTag(v1::Pipeline::kTasksFieldNumber,
                                                       WireFormatLite::WIRETYPE_LENGTH_DELIMITED);
constexpr size_t kMaxBytes = size_t{1} << 30;

Status OutOfRange(std::string_view what) {
  return InvalidArgument(absl::StrCat("not a pipeline: ", AbslView(what), " is out of range"));
}

// Takes `number` for an enumeration of ours whose values are those of the schema.
template <typename Enum>
bool ToEnum(int number, Enum last, Enum* value) {
  if (number < 0 || number > static_cast<int>(last)) return false;
  *value = static_cast<Enum>(number);
  return true;
}

template <typename T, typename Key>
void SortByKey(std::vector<T>* entries, Key T::* key) {
  std::sort(entries->begin(), entries->end(),
            [key](const T& a, const T& b) { return a.*key < b.*key; });
}

// ---- to protobuf

void EncodeValue(const Value& value, v1::Value* message) {
  switch (TypeOf(value)) {
    case ValueType::string:
      message->set_text(std::get<std::string>(value));
      break;
    case ValueType::number:
      message->set_number(std::get<double>(value));
      break;
    case ValueType::integer:
      message->set_integer(std::get<int64_t>(value));
      break;
    case ValueType::boolean:
      message->set_boolean(std::get<bool>(value));
      break;
  }
}

void EncodeParameter(const Parameter& parameter, v1::Parameter* message) {
  message->set_type(static_cast<v1::ValueType>(parameter.type));
  if (parameter.default_value) EncodeValue(*parameter.default_value, message->mutable_default_());
  message->set_description(parameter.description);
  for (const Value& choice : parameter.choices) EncodeValue(choice, message->add_choices());
  if (parameter.minimum) message->set_minimum(*parameter.minimum);
  if (parameter.maximum) message->set_maximum(*parameter.maximum);
}

void EncodeRetry(const Retry& retry, v1::Retry* message) {
  message->set_max_attempts(retry.max_attempts);
  message->set_delay_ns(retry.delay.count());
  message->set_max_delay_ns(retry.max_delay.count());
  message->set_backoff(retry.backoff);
  message->set_jitter(retry.jitter);
}

void EncodeCommand(const Task& task, v1::Task* message) {
  if (!task.shell) {
    v1::Arguments* arguments = message->mutable_arguments();
    for (const std::string_view argument : task.command) {
      arguments->add_values(std::string(argument));
    }
  } else if (!task.command.empty()) {
    message->set_script(std::string(task.command.front()));
  }
}

void EncodeTask(const Task& task, v1::Task* message) {
  static const Task defaults;
  message->set_name(task.name);
  message->set_description(task.description);
  message->set_kind(static_cast<v1::TaskKind>(task.kind));
  EncodeCommand(task, message);
  for (const std::string_view name : task.dependencies) {
    message->add_dependencies(std::string(name));
  }
  message->set_trigger(static_cast<v1::Trigger>(task.trigger));
  message->set_when(task.when);
  for (const EnvironmentVariable& variable : task.environment) {
    (*message->mutable_environment())[variable.name] = variable.value;
  }
  for (const SlotRequest& request : task.resources) {
    (*message->mutable_resources())[request.slot] = request.amount.thousandths();
  }
  for (const Mount& mount : task.mounts) {
    v1::Mount* mount_message = message->add_mounts();
    mount_message->set_folder(mount.folder);
    mount_message->set_path(mount.path);
    mount_message->set_read_only(mount.read_only);
  }
  for (const Output& output : task.outputs) {
    (*message->mutable_outputs())[output.name] = static_cast<v1::ValueType>(output.type);
  }
  for (const std::string& file : task.files) message->add_files(file);
  if (!(task.retry == defaults.retry)) EncodeRetry(task.retry, message->mutable_retry());
  message->set_timeout_ns(task.timeout.count());
  if (task.grace_period != defaults.grace_period) {
    message->set_grace_period_ns(task.grace_period.count());
  }
  message->set_cache(static_cast<v1::CacheMode>(task.cache));
  message->set_skip(task.skip);
  message->set_allow_failure(task.allow_failure);
  message->set_priority(task.priority);
  message->set_enforcement(static_cast<v1::Enforcement>(task.enforcement));
  message->set_shared_memory(task.shared_memory.thousandths());
  message->set_image(task.image);
  message->set_resource_group(task.resource_group);
  if (task.cluster_size != 1 || task.multi_node) {
    message->mutable_cluster()->set_size(task.cluster_size);
    message->mutable_cluster()->set_multi_node(task.multi_node);
  }
  if (task.map) {
    v1::TaskMap* map = message->mutable_map();
    map->set_over(task.map->over);
    map->set_batch(task.map->batch);
    map->set_batches(task.map->batches);
    map->set_concurrency(task.map->concurrency);
  }
  if (task.approval) {
    v1::Approval* approval = message->mutable_approval();
    approval->set_message(task.approval->message);
    for (const std::string& name : task.approval->approvers) approval->add_approvers(name);
    approval->set_timeout_ns(task.approval->timeout.count());
  }
  message->mutable_labels()->insert(task.labels.begin(), task.labels.end());
}

// Everything but the tasks.
void EncodeHead(const Pipeline& pipeline, v1::Pipeline* message) {
  message->set_name(pipeline.name);
  message->set_description(pipeline.description);
  message->set_priority(pipeline.priority);
  message->mutable_labels()->insert(pipeline.labels.begin(), pipeline.labels.end());
  message->set_source(pipeline.source);
  for (const Parameter& parameter : pipeline.parameters) {
    EncodeParameter(parameter, &(*message->mutable_parameters())[parameter.name]);
  }
  for (const EnvironmentVariable& variable : pipeline.environment) {
    (*message->mutable_environment())[variable.name] = variable.value;
  }
  for (const Folder& folder : pipeline.folders) {
    (*message->mutable_folders())[folder.name].set_path(folder.path);
  }
  message->mutable_results()->insert(pipeline.results.begin(), pipeline.results.end());
}

// ---- from protobuf

Status DecodeValue(v1::Value* message, Value* value) {
  switch (message->kind_case()) {
    case v1::Value::kText:
      *value = std::move(*message->mutable_text());
      return absl::OkStatus();
    case v1::Value::kNumber:
      *value = message->number();
      return absl::OkStatus();
    case v1::Value::kInteger:
      *value = int64_t{message->integer()};
      return absl::OkStatus();
    case v1::Value::kBoolean:
      *value = message->boolean();
      return absl::OkStatus();
    case v1::Value::KIND_NOT_SET:
      break;
  }
  return InvalidArgument("not a pipeline: a value without a kind");
}

Status DecodeParameter(v1::Parameter* message, Parameter* parameter) {
  if (!ToEnum(message->type(), ValueType::boolean, &parameter->type)) return OutOfRange("a type");
  parameter->description = std::move(*message->mutable_description());
  if (message->has_default_()) {
    Value value;
    TRACKBED_RETURN_IF_ERROR(DecodeValue(message->mutable_default_(), &value));
    parameter->default_value = std::move(value);
  }
  for (v1::Value& choice : *message->mutable_choices()) {
    TRACKBED_RETURN_IF_ERROR(DecodeValue(&choice, &parameter->choices.emplace_back()));
  }
  if (message->has_minimum()) parameter->minimum = message->minimum();
  if (message->has_maximum()) parameter->maximum = message->maximum();
  return absl::OkStatus();
}

template <typename ProtobufMap>
std::map<std::string, std::string> DecodeTexts(ProtobufMap* texts) {
  std::map<std::string, std::string> result;
  for (auto& [key, value] : *texts) result.emplace(key, std::move(value));
  return result;
}

template <typename ProtobufMap>
std::vector<EnvironmentVariable> DecodeEnvironment(ProtobufMap* variables) {
  std::vector<EnvironmentVariable> result;
  result.reserve(variables->size());
  for (auto& [name, value] : *variables) result.push_back({name, std::move(value)});
  SortByKey(&result, &EnvironmentVariable::name);
  return result;
}

template <typename Field>
std::vector<std::string> DecodeList(Field* field) {
  return {std::make_move_iterator(field->begin()), std::make_move_iterator(field->end())};
}

// What no writer sets to 0 has its default then.
void DecodeRetry(const v1::Retry& message, Retry* retry) {
  if (message.max_attempts() != 0) retry->max_attempts = message.max_attempts();
  retry->delay = Duration(message.delay_ns());
  if (message.max_delay_ns() != 0) retry->max_delay = Duration(message.max_delay_ns());
  if (message.backoff() != 0) retry->backoff = message.backoff();
  retry->jitter = message.jitter();
}

Status DecodeEnums(const v1::Task& message, Task* task) {
  if (!ToEnum(message.kind(), TaskKind::serve, &task->kind)) return OutOfRange("a kind of task");
  if (!ToEnum(message.trigger(), Trigger::none_failed, &task->trigger)) {
    return OutOfRange("a trigger");
  }
  if (!ToEnum(message.cache(), CacheMode::off, &task->cache)) return OutOfRange("a cache mode");
  if (!ToEnum(message.enforcement(), Enforcement::hardware, &task->enforcement)) {
    return OutOfRange("an enforcement");
  }
  for (const auto& [name, type] : message.outputs()) {
    Output& output = task->outputs.emplace_back();
    output.name = name;
    if (!ToEnum(type, ValueType::boolean, &output.type)) return OutOfRange("a type");
  }
  if (!task->outputs.empty()) SortByKey(&task->outputs.Mutable(), &Output::name);
  return absl::OkStatus();
}

Status DecodePriority(int32_t message, int16_t* priority) {
  if (message < -kMaxPriority || message > kMaxPriority) return OutOfRange("a priority");
  *priority = static_cast<int16_t>(message);
  return absl::OkStatus();
}

Status DecodeCluster(const v1::Cluster& message, Task* task) {
  if (message.size() > std::numeric_limits<uint16_t>::max()) return OutOfRange("a cluster size");
  if (message.size() != 0) task->cluster_size = static_cast<uint16_t>(message.size());
  task->multi_node = message.multi_node();
  return absl::OkStatus();
}

void DecodeCommand(v1::Task* message, Task* task) {
  if (message->has_script()) {
    task->command = {message->script()};
  } else if (message->has_arguments()) {
    task->shell = false;
    task->command = DecodeList(message->mutable_arguments()->mutable_values());
  }
}

Status DecodeTask(v1::Task* message, Task* task) {
  task->name = std::move(*message->mutable_name());
  task->description = std::move(*message->mutable_description());
  DecodeCommand(message, task);
  task->dependencies = DecodeList(message->mutable_dependencies());
  task->when = std::move(*message->mutable_when());
  TRACKBED_RETURN_IF_ERROR(DecodeEnums(*message, task));
  if (!message->environment().empty()) {
    task->environment = DecodeEnvironment(message->mutable_environment());
  }
  for (const auto& [slot, thousandths] : message->resources()) {
    task->resources.push_back({slot, Quantity::FromThousandths(thousandths)});
  }
  if (!task->resources.empty()) SortByKey(&task->resources.Mutable(), &SlotRequest::slot);
  for (v1::Mount& mount : *message->mutable_mounts()) {
    task->mounts.push_back(
        {std::move(*mount.mutable_folder()), std::move(*mount.mutable_path()), mount.read_only()});
  }
  task->files = DecodeList(message->mutable_files());
  if (message->has_retry()) DecodeRetry(message->retry(), &task->retry);
  task->timeout = Duration(message->timeout_ns());
  if (message->has_grace_period_ns()) task->grace_period = Duration(message->grace_period_ns());
  task->skip = message->skip();
  task->allow_failure = message->allow_failure();
  TRACKBED_RETURN_IF_ERROR(DecodePriority(message->priority(), &task->priority));
  task->shared_memory = Quantity::FromThousandths(message->shared_memory());
  task->image = std::move(*message->mutable_image());
  task->resource_group = std::move(*message->mutable_resource_group());
  if (message->has_cluster()) {
    TRACKBED_RETURN_IF_ERROR(DecodeCluster(message->cluster(), task));
  }
  if (message->has_map()) {
    v1::TaskMap* map = message->mutable_map();
    task->map = TaskMap{std::move(*map->mutable_over()), std::max(map->batch(), 1U), map->batches(),
                        map->concurrency()};
  }
  if (message->has_approval()) {
    v1::Approval* approval = message->mutable_approval();
    task->approval =
        Approval{std::move(*approval->mutable_message()), DecodeList(approval->mutable_approvers()),
                 Duration(approval->timeout_ns())};
  }
  if (!message->labels().empty()) task->labels = DecodeTexts(message->mutable_labels());
  return absl::OkStatus();
}

Status DecodeHead(v1::Pipeline* message, Pipeline* pipeline) {
  pipeline->name = std::move(*message->mutable_name());
  pipeline->description = std::move(*message->mutable_description());
  TRACKBED_RETURN_IF_ERROR(DecodePriority(message->priority(), &pipeline->priority));
  pipeline->labels = DecodeTexts(message->mutable_labels());
  pipeline->source = std::move(*message->mutable_source());
  for (auto& [name, parameter] : *message->mutable_parameters()) {
    Parameter& decoded = pipeline->parameters.emplace_back();
    decoded.name = name;
    TRACKBED_RETURN_IF_ERROR(DecodeParameter(&parameter, &decoded));
  }
  SortByKey(&pipeline->parameters, &Parameter::name);
  pipeline->environment = DecodeEnvironment(message->mutable_environment());
  for (auto& [name, folder] : *message->mutable_folders()) {
    pipeline->folders.push_back({name, std::move(*folder.mutable_path())});
  }
  SortByKey(&pipeline->folders, &Folder::name);
  pipeline->results = DecodeTexts(message->mutable_results());
  return absl::OkStatus();
}

// Splits the bytes of a Pipeline into its tasks and the rest.
struct SplitBytes {
  std::vector<std::string_view> tasks;
  std::string rest;
};

bool Split(std::string_view bytes, SplitBytes* split) {
  const auto* data = reinterpret_cast<const uint8_t*>(bytes.data());
  CodedInputStream input(data, static_cast<int>(bytes.size()));
  size_t rest_begin = 0;
  while (true) {
    const auto field_begin = static_cast<size_t>(input.CurrentPosition());
    const uint32_t tag = input.ReadTag();
    if (tag == kTasksTag) {
      uint32_t size = 0;
      if (!input.ReadVarint32(&size)) return false;
      const auto begin = static_cast<size_t>(input.CurrentPosition());
      if (size > bytes.size() - begin || !input.Skip(static_cast<int>(size))) return false;
      split->tasks.push_back(bytes.substr(begin, size));
      split->rest += bytes.substr(rest_begin, field_begin - rest_begin);
      rest_begin = begin + size;
    } else if (tag == 0 || !WireFormatLite::SkipField(&input, tag)) {
      split->rest += bytes.substr(rest_begin);
      // A message ends where the bytes do; 0 and a group's end are no tags of it.
      return tag == 0 && field_begin == bytes.size();
    }
  }
}

template <typename Message>
bool Parse(std::string_view bytes, Message* message) {
  return message->ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
}

// Whether every field of the message has a number that this version knows. What a newer version
// has added must not be dropped without a word.
bool HasOnlyFieldsUpTo(int last, std::string_view bytes) {
  CodedInputStream input(reinterpret_cast<const uint8_t*>(bytes.data()),
                         static_cast<int>(bytes.size()));
  while (const uint32_t tag = input.ReadTag()) {
    if (WireFormatLite::GetTagFieldNumber(tag) > last) return false;
    if (!WireFormatLite::SkipField(&input, tag)) return true;  // the parser tells what is wrong
  }
  return true;
}

}  // namespace

std::string EncodePipeline(const Pipeline& pipeline) {
  const Silence silence;
  std::string bytes;
  StringOutputStream stream(&bytes);
  CodedOutputStream output(&stream);
  output.SetSerializationDeterministic(true);
  v1::Pipeline head;
  EncodeHead(pipeline, &head);
  static_cast<void>(head.ByteSizeLong());
  head.SerializeWithCachedSizes(&output);
  v1::Task message;
  for (const Task& task : pipeline.tasks) {
    message.Clear();
    EncodeTask(task, &message);
    output.WriteTag(kTasksTag);
    output.WriteVarint32(static_cast<uint32_t>(message.ByteSizeLong()));
    message.SerializeWithCachedSizes(&output);
  }
  output.Trim();
  return bytes;
}

StatusOr<Pipeline> DecodePipeline(std::string_view bytes) {
  const Silence silence;
  if (bytes.size() > kMaxBytes) return InvalidArgument("not a pipeline: larger than 1 GiB");
  const Status broken = InvalidArgument("not a pipeline: the bytes are no trackbed.v1.Pipeline");
  SplitBytes split;
  const Status unknown = InvalidArgument("not a pipeline: a field that this version does not know");
  if (!Split(bytes, &split)) return broken;
  if (!HasOnlyFieldsUpTo(v1::Pipeline::kPriorityFieldNumber, split.rest)) return unknown;
  v1::Pipeline head;
  if (!Parse(split.rest, &head)) return broken;
  Pipeline pipeline;
  TRACKBED_RETURN_IF_ERROR(DecodeHead(&head, &pipeline));
  pipeline.tasks.resize(split.tasks.size());
  v1::Task message;
  for (size_t i = 0; i < split.tasks.size(); ++i) {
    if (!HasOnlyFieldsUpTo(v1::Task::kSharedMemoryFieldNumber, split.tasks[i])) return unknown;
    if (!Parse(split.tasks[i], &message)) return broken;
    TRACKBED_RETURN_IF_ERROR(DecodeTask(&message, &pipeline.tasks[i]));
  }
  return pipeline;
}

}  // namespace trackbed
