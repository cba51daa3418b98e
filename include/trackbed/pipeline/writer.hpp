// Writes pipelines: YAML and JSON for people, the canonical form for hashing, protobuf for the
// wire.
#pragma once

#include <string>
#include <string_view>

#include "trackbed/base/status.hpp"
#include "trackbed/pipeline/pipeline.hpp"

namespace trackbed {

// The document in Trackbed's own YAML; ReadPipeline gives back an equal Pipeline. Fields that
// hold their default are left out.
std::string WriteYaml(const Pipeline& pipeline);

// The same as indented JSON.
std::string WriteJson(const Pipeline& pipeline);

// The one byte sequence that stands for this pipeline: JSON without white space, keys in the order
// of the schema, maps sorted, defaults left out. Equal pipelines have equal canonical forms.
std::string CanonicalForm(const Pipeline& pipeline);

// "sha256:…" of the canonical form: the pipeline's version.
std::string PipelineVersion(const Pipeline& pipeline);

// trackbed.v1.Pipeline as protobuf bytes, and back. DecodePipeline does not validate;
// kInvalidArgument when the bytes are no such message, hold values out of range, or fields that
// this version does not know.
std::string EncodePipeline(const Pipeline& pipeline);
StatusOr<Pipeline> DecodePipeline(std::string_view bytes);

}  // namespace trackbed
