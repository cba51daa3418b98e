// From a document to a Pipeline: the fields of a pipeline, then the checks of its meaning, each
// mistake placed where it stands in the document.
#include "trackbed/pipeline/reader.hpp"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <limits>

#include "pipeline/document.hpp"
#include "pipeline/document_builder.hpp"
#include "pipeline/scalar.hpp"
#include "pipeline/schema_reader.hpp"
#include "pipeline/task_reader.hpp"

namespace trackbed {
namespace {

constexpr double kLargest = std::numeric_limits<double>::max();

// What is read of a pipeline, and the nodes that are read last.
struct PipelineDraft {
  Pipeline pipeline;
  const DocumentNode* defaults = nullptr;
  const DocumentNode* tasks = nullptr;
};

// The nodes of a parameter whose meaning depends on its type.
struct ParameterDraft {
  Parameter parameter;
  bool has_type = false;
  const DocumentNode* default_value = nullptr;
  const DocumentNode* choices = nullptr;
};

// The type of a value that stands without one.
ValueType TypeOfScalar(const DocumentNode& node) {
  return node.quoted ? ValueType::string : TypeOfPlain(node.scalar);
}

std::string_view ExpectedOf(ValueType type) {
  switch (type) {
    case ValueType::string:
      return "a text";
    case ValueType::number:
      return "a number";
    case ValueType::integer:
      return "an integer";
    case ValueType::boolean:
      return "true or false";
  }
  return "a value";
}

bool ReadValue(SchemaReader& reader, const DocumentNode& node, const NodePath& path, ValueType type,
               Value* value) {
  const ValueType found = TypeOfScalar(node);
  const bool fits = type == ValueType::string || type == found ||
                    (type == ValueType::number && found == ValueType::integer);
  if (node.kind != DocumentNode::Kind::scalar || !fits) {
    reader.Expected(node, path, ExpectedOf(type));
    return false;
  }
  StatusOr<Value> parsed = ParseValue(node.scalar, type);
  if (!parsed.ok()) {
    reader.Error(node, path, std::string(Message(parsed.status())));
    return false;
  }
  *value = *std::move(parsed);
  return true;
}

template <std::optional<double> Parameter::* Member>
void ReadBound(SchemaReader& reader, const DocumentNode& node, const NodePath& path,
               ParameterDraft* draft) {
  double bound = 0;
  if (reader.Number(node, path, -kLargest, kLargest, &bound)) draft->parameter.*Member = bound;
}

constexpr SchemaField<ParameterDraft> kParameterFields[] = {
    {"type", [](SchemaReader& r, const DocumentNode& n, const NodePath& p,
                ParameterDraft* d) { d->has_type = ReadValueType(r, n, p, &d->parameter.type); }},
    {"default", [](SchemaReader&, const DocumentNode& n, const NodePath&,
                   ParameterDraft* d) { d->default_value = &n; }},
    {"description", [](SchemaReader& r, const DocumentNode& n, const NodePath& p,
                       ParameterDraft* d) { r.Text(n, p, &d->parameter.description); }},
    {"choices",
     [](SchemaReader& r, const DocumentNode& n, const NodePath& p, ParameterDraft* d) {
       if (r.List(n, p)) d->choices = &n;
     }},
    {"minimum", ReadBound<&Parameter::minimum>},
    {"maximum", ReadBound<&Parameter::maximum>},
};

void ReadDefaultAndChoices(SchemaReader& reader, const NodePath& path, ParameterDraft* draft) {
  Parameter& parameter = draft->parameter;
  if (!draft->has_type) {
    if (draft->default_value != nullptr) {
      parameter.type = TypeOfScalar(*draft->default_value);
    } else if (draft->choices != nullptr && !draft->choices->items.empty()) {
      parameter.type = TypeOfScalar(draft->choices->items.front());
    }
  }
  Value value;
  if (draft->default_value != nullptr &&
      ReadValue(reader, *draft->default_value, NodePath(path, "default"), parameter.type, &value)) {
    parameter.default_value = value;
  }
  if (draft->choices == nullptr) return;
  const NodePath choices_path(path, "choices");
  for (size_t i = 0; i < draft->choices->items.size(); ++i) {
    if (ReadValue(reader, draft->choices->items[i], NodePath(choices_path, i), parameter.type,
                  &value)) {
      parameter.choices.push_back(value);
    }
  }
}

void ReadParameter(SchemaReader& reader, const DocumentNode::Member& member, const NodePath& path,
                   std::vector<Parameter>* parameters) {
  ParameterDraft draft;
  draft.parameter.name = member.key;
  if (member.value.kind == DocumentNode::Kind::scalar) {
    draft.parameter.type = TypeOfScalar(member.value);
    Value value;
    if (ReadValue(reader, member.value, path, draft.parameter.type, &value)) {
      draft.parameter.default_value = value;
    }
  } else if (member.value.kind == DocumentNode::Kind::map) {
    reader.Fields<ParameterDraft>(member.value, path, "parameter", kParameterFields, &draft);
    ReadDefaultAndChoices(reader, path, &draft);
  } else {
    reader.Expected(member.value, path, "a default value, or a map with type, default, …");
  }
  parameters->push_back(std::move(draft.parameter));
}

void ReadParameters(SchemaReader& reader, const DocumentNode& node, const NodePath& path,
                    PipelineDraft* draft) {
  if (!reader.Map(node, path)) {
    reader.MarkIncomplete();
    return;
  }
  std::vector<Parameter>& parameters = draft->pipeline.parameters;
  for (const DocumentNode::Member& member : node.members) {
    ReadParameter(reader, member, NodePath(path, member.key), &parameters);
  }
  std::sort(parameters.begin(), parameters.end(),
            [](const Parameter& a, const Parameter& b) { return a.name < b.name; });
}

void ReadFolder(SchemaReader& reader, const DocumentNode& node, const NodePath& path,
                Folder* folder) {
  static constexpr SchemaField<Folder> kFields[] = {
      {"path", [](SchemaReader& r, const DocumentNode& n, const NodePath& p,
                  Folder* f) { r.Text(n, p, &f->path); }},
  };
  if (node.kind == DocumentNode::Kind::scalar) {
    folder->path = node.scalar;
  } else {
    reader.Fields<Folder>(node, path, "folder", kFields, folder);
  }
}

void ReadFolders(SchemaReader& reader, const DocumentNode& node, const NodePath& path,
                 PipelineDraft* draft) {
  if (!reader.Map(node, path)) {
    reader.MarkIncomplete();
    return;
  }
  std::vector<Folder>& folders = draft->pipeline.folders;
  for (const DocumentNode::Member& member : node.members) {
    Folder folder{member.key, ""};
    ReadFolder(reader, member.value, NodePath(path, member.key), &folder);
    folders.push_back(std::move(folder));
  }
  std::sort(folders.begin(), folders.end(),
            [](const Folder& a, const Folder& b) { return a.name < b.name; });
}

constexpr SchemaField<PipelineDraft> kPipelineFields[] = {
    {"name", [](SchemaReader& r, const DocumentNode& n, const NodePath& p,
                PipelineDraft* d) { r.Text(n, p, &d->pipeline.name); }},
    {"description", [](SchemaReader& r, const DocumentNode& n, const NodePath& p,
                       PipelineDraft* d) { r.Text(n, p, &d->pipeline.description); }},
    {"labels", [](SchemaReader& r, const DocumentNode& n, const NodePath& p,
                  PipelineDraft* d) { ReadLabels(r, n, p, &d->pipeline.labels); }},
    {"priority", [](SchemaReader& r, const DocumentNode& n, const NodePath& p,
                    PipelineDraft* d) { ReadPriority(r, n, p, &d->pipeline.priority); }},
    {"source", [](SchemaReader& r, const DocumentNode& n, const NodePath& p,
                  PipelineDraft* d) { r.Text(n, p, &d->pipeline.source); }},
    {"parameters", ReadParameters},
    {"environment", [](SchemaReader& r, const DocumentNode& n, const NodePath& p,
                       PipelineDraft* d) { ReadEnvironment(r, n, p, &d->pipeline.environment); }},
    {"folders", ReadFolders},
    {"defaults", [](SchemaReader&, const DocumentNode& n, const NodePath&,
                    PipelineDraft* d) { d->defaults = &n; }},
    {"tasks", [](SchemaReader&, const DocumentNode& n, const NodePath&,
                 PipelineDraft* d) { d->tasks = &n; }},
    {"results", [](SchemaReader& r, const DocumentNode& n, const NodePath& p,
                   PipelineDraft* d) { ReadLabels(r, n, p, &d->pipeline.results); }},
};

// Reads one document into a ParsedPipeline.
class PipelineReader {
 public:
  PipelineReader(const DocumentNode& root, const ReaderLimits& limits, ParsedPipeline* result)
      : root_(root), limits_(limits), result_(*result), reader_(&result->diagnostics) {}

  void Read() {
    if (root_.kind != DocumentNode::Kind::map) {
      reader_.Expected(root_, {}, "a pipeline, which is a map");
      return;
    }
    const NodePath path;
    reader_.Fields<PipelineDraft>(root_, path, "pipeline", kPipelineFields, &draft_);
    if (root_.Find("name") == nullptr)
      reader_.Error(root_, NodePath(path, "name"), "\"name\" is missing");
    ReadTasks(NodePath(path, "tasks"));
    Validate();
    result_.diagnostics.Sort();
    if (!result_.diagnostics.has_errors()) result_.pipeline = std::move(draft_.pipeline);
  }

 private:
  void ReadTasks(const NodePath& path) {
    if (draft_.tasks == nullptr) {
      reader_.Error(root_, path, "\"tasks\" is missing");
      return;
    }
    if (draft_.tasks->kind != DocumentNode::Kind::sequence) {
      reader_.Expected(*draft_.tasks, path, "a list of tasks");
      reader_.MarkIncomplete();
      return;
    }
    Task defaults;
    if (draft_.defaults != nullptr && !ReadDefaults(&defaults)) return;
    std::vector<Task>& tasks = draft_.pipeline.tasks;
    tasks.reserve(draft_.tasks->items.size());
    for (size_t i = 0; i < draft_.tasks->items.size(); ++i) {
      const DocumentNode& node = draft_.tasks->items[i];
      tasks.push_back(defaults);
      ReadTask(reader_, node, NodePath(path, i), &tasks.back());
      result_.task_positions.push_back(node.position);
    }
  }

  bool ReadDefaults(Task* defaults) {
    const NodePath root;
    const NodePath path(root, "defaults");
    // Every task gets a copy, so the copies count like those of an alias.
    const DocumentWeight weight = Weigh(*draft_.defaults);
    const size_t tasks = draft_.tasks->items.size();
    if (tasks > 0 && (weight.nodes > limits_.max_nodes / tasks ||
                      weight.bytes > 8 * limits_.max_bytes / tasks)) {
      reader_.Error(*draft_.defaults, path,
                    absl::StrCat("these defaults are too large for ", tasks, " tasks"));
      reader_.MarkIncomplete();
      return false;
    }
    ReadTaskDefaults(reader_, *draft_.defaults, path, defaults);
    return true;
  }

  // Adds what ValidatePipeline finds, unless it follows from a mistake that is reported already.
  void Validate() {
    if (reader_.incomplete()) return;
    Diagnostics found;
    ValidatePipeline(draft_.pipeline, result_.task_positions, &found);
    for (const Diagnostic& item : found.items()) {
      if (reader_.IsReported(item.path)) continue;
      const Position position = Locate(item.path);
      if (item.severity == Diagnostic::Severity::error) {
        result_.diagnostics.Error(position, item.path, item.message);
      } else {
        result_.diagnostics.Warning(position, item.path, item.message);
      }
    }
  }

  // The position of the node at `path`, or of the nearest node that would hold it.
  Position Locate(std::string_view path) const {
    const DocumentNode* node = &root_;
    while (!path.empty()) {
      const DocumentNode* next = path.starts_with('[') ? Item(*node, &path) : Member(*node, &path);
      if (next == nullptr) break;
      node = next;
      if (path.starts_with('.')) path.remove_prefix(1);
    }
    return node->position;
  }

  static const DocumentNode* Item(const DocumentNode& node, std::string_view* path) {
    const size_t end = path->find(']');
    size_t index = 0;
    for (const char digit : path->substr(1, end - 1)) {
      index = index * 10 + static_cast<size_t>(digit - '0');
    }
    if (end == std::string_view::npos || index >= node.items.size()) return nullptr;
    path->remove_prefix(end + 1);
    return &node.items[index];
  }

  // Keys may hold dots themselves: the longest one that fits is meant.
  static const DocumentNode* Member(const DocumentNode& node, std::string_view* path) {
    const DocumentNode::Member* best = nullptr;
    for (const DocumentNode::Member& member : node.members) {
      if (!path->starts_with(member.key)) continue;
      const std::string_view rest = path->substr(member.key.size());
      const bool whole = rest.empty() || rest.front() == '.' || rest.front() == '[';
      if (whole && (best == nullptr || member.key.size() > best->key.size())) best = &member;
    }
    if (best == nullptr) return nullptr;
    path->remove_prefix(best->key.size());
    return &best->value;
  }

  const DocumentNode& root_;
  const ReaderLimits& limits_;
  ParsedPipeline& result_;
  SchemaReader reader_;
  PipelineDraft draft_;
};

}  // namespace

ParsedPipeline ReadPipeline(std::string_view text, std::string file, TextFormat format,
                            const ReaderLimits& limits) {
  ParsedPipeline result;
  result.diagnostics = Diagnostics(std::move(file));
  DocumentNode root;
  const bool parsed = format == TextFormat::json
                          ? ParseJsonDocument(text, limits, &root, &result.diagnostics)
                          : ParseYamlDocument(text, limits, &root, &result.diagnostics);
  if (parsed) PipelineReader(root, limits, &result).Read();
  return result;
}

}  // namespace trackbed
