// Reads tasks, and the parts that pipelines and tasks share.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "pipeline/schema_reader.hpp"
#include "trackbed/pipeline/pipeline.hpp"

namespace trackbed {

// Reads one task on top of `*task`, which holds the defaults.
void ReadTask(SchemaReader& reader, const DocumentNode& node, const NodePath& path, Task* task);

// Reads `defaults:`: every field of a task that may have one.
void ReadTaskDefaults(SchemaReader& reader, const DocumentNode& node, const NodePath& path,
                      Task* task);

// A map of texts. Both put what they read over what is there.
void ReadLabels(SchemaReader& reader, const DocumentNode& node, const NodePath& path,
                std::map<std::string, std::string>* labels);
void ReadEnvironment(SchemaReader& reader, const DocumentNode& node, const NodePath& path,
                     std::vector<EnvironmentVariable>* environment);

// A whole number, kMaxPriority at most either way.
void ReadPriority(SchemaReader& reader, const DocumentNode& node, const NodePath& path,
                  int16_t* priority);

// "string", "number", "integer" or "boolean".
bool ReadValueType(SchemaReader& reader, const DocumentNode& node, const NodePath& path,
                   ValueType* type);

}  // namespace trackbed
