// Conditions (`when:`) and ${{ … }} in commands and environment variables.
//
// One small language serves both:
//
//   params.alpha                      a parameter of the run
//   tasks.train.outputs.accuracy      an output of a task that is upstream
//   tasks.train.state                 "succeeded", "failed", "skipped", "cancelled"
//   run.id  run.pipeline  task.name  task.attempt
//   item  item.index  item.count  items   in a task with a map: the item of an attempt that gets
//                                     one; the place of its first and the number of its items;
//                                     all its items, a JSON list
//   secrets.NAME                      only as the whole value of an environment variable
//   'text' "text" 1.5 true false  [a, b]
//   == != < <= > >=  in  not in  and or not  && || !  ( )
//
// Names may hold letters, digits, "_" and "-". A quote inside a text is doubled ('it''s'); there
// are no other escapes. A list stands only after `in`. `not` binds weaker than comparisons, `!`
// stronger. Comparison of a number with a text is an error, not false. A reference to something
// that is not there yet is an error when evaluated.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "trackbed/base/status.hpp"
#include "trackbed/pipeline/value.hpp"

namespace trackbed {

// A dotted name in an expression, split: {"tasks", "train", "outputs", "accuracy"}. The name of a
// task is one part even when it holds dots itself.
struct Reference {
  std::vector<std::string> parts;
  std::string ToString() const;
  friend bool operator==(const Reference&, const Reference&) = default;
};

// Supplies the value of a reference; its error becomes the error of the evaluation.
using Resolver = std::function<StatusOr<Value>(const Reference&)>;

class Expression {
 public:
  // kInvalidArgument with the column (from 1) of the mistake, and its line after the first.
  static StatusOr<Expression> Parse(std::string_view text);

  StatusOr<Value> Evaluate(const Resolver& resolver) const;
  // Evaluate, and kInvalidArgument when the value is not a boolean.
  StatusOr<bool> EvaluateCondition(const Resolver& resolver) const;

  // Every reference in the expression, in order of appearance, with duplicates.
  std::vector<Reference> References() const;

  struct Node;

 private:
  friend class Template;
  explicit Expression(std::shared_ptr<const Node> root) : root_(std::move(root)) {}
  std::shared_ptr<const Node> root_;
};

// Text with ${{ expression }} parts. "$${{" stands for a literal "${{".
class Template {
 public:
  // Errors as those of Expression, placed in the whole text.
  static StatusOr<Template> Parse(std::string_view text);

  enum class Quoting {
    none,  // values are put in as they are
    shell  // values are put in as one word of /bin/sh, quoted where needed
  };
  // kInvalidArgument also for a value that holds a NUL byte: no command or variable can.
  StatusOr<std::string> Render(const Resolver& resolver, Quoting quoting) const;
  std::vector<Reference> References() const;

 private:
  struct Part {
    std::string text;                        // literal text, then …
    std::shared_ptr<Expression> expression;  // … an expression, or none at the end
  };
  std::vector<Part> parts_;
};

}  // namespace trackbed
