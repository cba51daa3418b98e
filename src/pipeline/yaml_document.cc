// YAML by yaml-cpp's parser, whose events build the tree.
//
// The limits act while the text is parsed, and on what the parser reads ahead: yaml-cpp keeps every
// token of a list or map in brackets until it is closed.
#include <absl/strings/str_cat.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <istream>
#include <map>
#include <new>
#include <streambuf>

#include "pipeline/document_builder.hpp"
#include "pipeline/text_index.hpp"

namespace trackbed {
namespace {

constexpr size_t kMaxReadAhead = 1 << 20;
constexpr std::string_view kCoreTagPrefix = "tag:yaml.org,2002:";

// yaml-cpp turns the escapes "\N" and "\_" into the bytes 0x85 and 0xA0 instead of the code points
// of these numbers. All else in a scalar is valid UTF-8, so that such a byte is found where a
// sequence should begin.
std::string WithSoundEscapes(const std::string& value) {
  std::string sound;
  const std::string_view text = value;
  for (size_t i = 0; i < text.size();) {
    const size_t length = Utf8SequenceLength(text.substr(i));
    if (length == 0) sound += '\xc2';
    sound += text.substr(i, std::max<size_t>(length, 1));
    i += std::max<size_t>(length, 1);
  }
  return sound;
}

bool IsAscii(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

// Ends the parse after an error that is already reported.
struct Stop {};
// Ends the parse of a text whose next value is too far away.
struct ReadTooFarAhead {};

// Hands out the text in small pieces, so that it is known how far the parser has read.
class MeteredBuffer final : public std::streambuf {
 public:
  explicit MeteredBuffer(std::string_view text) : text_(text) {}

  void NoteEvent() { offset_of_event_ = offset_; }

 private:
  int_type underflow() override {
    if (offset_ == text_.size()) return traits_type::eof();
    if (offset_ - offset_of_event_ > kMaxReadAhead) throw ReadTooFarAhead();
    const std::string_view piece = text_.substr(offset_, kPiece);
    offset_ += piece.size();
    char* begin = const_cast<char*>(piece.data());  // never written to
    setg(begin, begin, begin + piece.size());
    return traits_type::to_int_type(*begin);
  }

  static constexpr size_t kPiece = 2048;
  const std::string_view text_;
  size_t offset_ = 0;
  size_t offset_of_event_ = 0;
};

class Handler final : public YAML::EventHandler {
 public:
  Handler(const TextIndex& index, const ReaderLimits& limits, MeteredBuffer* buffer,
          Diagnostics* diagnostics)
      : index_(index), limits_(limits), buffer_(buffer), builder_(limits, diagnostics) {}

  void OnDocumentStart(const YAML::Mark& mark) override {
    const Position position = Note(mark);
    if (++documents_ > 1) {
      Require(builder_.Fail(position,
                            "a second document starts here, expected only one; check the "
                            "indentation if this was not meant"));
    }
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    Require(builder_.AddNull(Note(mark)));
    Keep(anchor);
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const Position position = Note(mark);
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) {
      Require(builder_.Fail(position, "the alias stands for a value that holds the alias itself"));
    }
    const Anchored& anchored = found->second;
    Require(builder_.AddCopy(position, anchored.node, anchored.weight));
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& raw_value) override {
    const Position position = Note(mark);
    const std::string value = IsAscii(raw_value) ? raw_value : WithSoundEscapes(raw_value);
    CheckTag(position, tag, {"str", "int", "float", "bool"});
    const bool quoted = tag == "!" || tag == absl::StrCat(AbslView(kCoreTagPrefix), "str");
    const bool key = builder_.expects_key();
    if (key && !quoted && value == "<<") {
      Require(builder_.Fail(position,
                            "merge keys (<<) are not supported; use \"defaults\" or an alias of "
                            "the whole value"));
    }
    if (tag != "?") quoted_offset_ = static_cast<size_t>(std::max(mark.pos, 0));
    Require(builder_.AddScalar(position, value, quoted));
    if (key && anchor != YAML::NullAnchor) {
      KeepCopy(anchor, {DocumentNode::Kind::scalar, position, value, quoted, {}, {}});
    }
    Keep(anchor);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Open(DocumentNode::Kind::sequence, "seq", mark, tag, anchor);
  }
  void OnSequenceEnd() override { Close(); }

  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    Open(DocumentNode::Kind::map, "map", mark, tag, anchor);
  }
  void OnMapEnd() override { Close(); }

  Position last_position() const { return last_position_; }
  // The offset of the last scalar that may be one in quotes.
  size_t quoted_offset() const { return quoted_offset_; }
  bool is_empty() const { return documents_ == 0; }
  DocumentNode TakeRoot() { return builder_.TakeRoot(); }

 private:
  struct Anchored {
    DocumentNode node;
    DocumentWeight weight;
  };

  static void Require(bool ok) {
    if (!ok) throw Stop();
  }

  Position Note(const YAML::Mark& mark) {
    buffer_->NoteEvent();
    // The offset is exact; the column of a mark counts bytes.
    last_position_ = index_.At(static_cast<size_t>(std::max(mark.pos, 0)));
    return last_position_;
  }

  void CheckTag(Position position, std::string_view tag,
                std::initializer_list<std::string_view> known) {
    if (tag.empty() || tag == "?" || tag == "!") return;
    std::string_view name = tag;
    if (name.starts_with(kCoreTagPrefix)) {
      name.remove_prefix(kCoreTagPrefix.size());
      if (std::find(known.begin(), known.end(), name) != known.end()) return;
      Require(builder_.Fail(position,
                            absl::StrCat("the tag !!", AbslView(name), " is not supported here")));
    }
    Require(builder_.Fail(position, absl::StrCat("the tag ", AbslView(name), " is not supported")));
  }

  void Open(DocumentNode::Kind kind, std::string_view name, const YAML::Mark& mark,
            const std::string& tag, YAML::anchor_t anchor) {
    const Position position = Note(mark);
    CheckTag(position, tag, {name});
    Require(builder_.Open(kind, position));
    open_anchors_.push_back(anchor);
  }

  void Close() {
    buffer_->NoteEvent();
    Require(builder_.Close());
    const YAML::anchor_t anchor = open_anchors_.back();
    open_anchors_.pop_back();
    Keep(anchor);
  }

  void Keep(YAML::anchor_t anchor) {
    if (anchor != YAML::NullAnchor && builder_.last() != nullptr) {
      KeepCopy(anchor, *builder_.last());
    }
  }

  // Anchors within anchors are kept once for each, so their sum has a limit.
  void KeepCopy(YAML::anchor_t anchor, const DocumentNode& node) {
    const DocumentWeight weight = Weigh(node);
    kept_nodes_ += weight.nodes;
    kept_bytes_ += weight.bytes;
    if (kept_nodes_ > limits_.max_aliased || kept_bytes_ > 2 * limits_.max_bytes) {
      Require(builder_.Fail(node.position, "the anchors of the document hold too much"));
    }
    anchors_[anchor] = {node, weight};
  }

  const TextIndex& index_;
  const ReaderLimits limits_;
  MeteredBuffer* const buffer_;
  DocumentBuilder builder_;
  std::map<YAML::anchor_t, Anchored> anchors_;
  std::vector<YAML::anchor_t> open_anchors_;
  size_t kept_nodes_ = 0;
  size_t kept_bytes_ = 0;
  size_t quoted_offset_ = 0;
  int documents_ = 0;
  Position last_position_{1, 1};
};

// yaml-cpp's messages in words that say what to do.
std::string ReadableMessage(std::string_view message) {
  struct Entry {
    std::string_view theirs;
    std::string_view ours;
  };
  static const Entry entries_of_set[] = {
      {YAML::ErrorMsg::END_OF_MAP,
       "expected \"key: value\" in line with the keys above; check the indentation"},
      {YAML::ErrorMsg::END_OF_SEQ,
       "expected \"- item\" in line with the items above; check the indentation"},
      {YAML::ErrorMsg::END_OF_MAP_FLOW, "a \"{\" is not closed, or a comma is missing"},
      {YAML::ErrorMsg::END_OF_SEQ_FLOW, "a \"[\" is not closed, or a comma is missing"},
      {YAML::ErrorMsg::FLOW_END, "found a closing bracket without its opening one"},
      {YAML::ErrorMsg::MAP_VALUE,
       "found \":\" where no value may start; check the indentation, and put text that holds "
       "\": \" in quotes"},
      {YAML::ErrorMsg::MAP_KEY, "found a key where none may start; check the indentation"},
      {YAML::ErrorMsg::BLOCK_ENTRY, "found \"-\" where no list may start; check the indentation"},
      {YAML::ErrorMsg::TAB_IN_INDENTATION, "found a tab in the indentation, expected spaces"},
      {YAML::ErrorMsg::EOF_IN_SCALAR, "a text in quotes is not closed"},
      {YAML::ErrorMsg::DOC_IN_SCALAR, "a text in quotes is not closed"},
      {YAML::ErrorMsg::UNKNOWN_TOKEN,
       "found a character that may not start a value; put the text in quotes"},
      {YAML::ErrorMsg::CHAR_IN_BLOCK, "expected the text of the block on the next line"},
      {YAML::ErrorMsg::UNKNOWN_ANCHOR, "the alias stands for an anchor that is not defined"},
      {"bad file", "lists and maps are nested too deep"},
  };
  for (const Entry& entry : entries_of_set) {
    if (entry.theirs == message) return std::string(entry.ours);
  }
  return std::string(message);
}

// True when a tab stands before the first other character of the line of `offset`.
bool LineStartsWithTab(std::string_view text, size_t offset) {
  const size_t newline = text.substr(0, offset).rfind('\n');
  const size_t line = newline == std::string_view::npos ? 0 : newline + 1;
  const size_t first = text.find_first_not_of(' ', line);
  return first != std::string_view::npos && text[first] == '\t';
}

void ReportParserError(const YAML::Exception& error, std::string_view text, const TextIndex& index,
                       Diagnostics* diagnostics) {
  if (error.mark.is_null()) {
    diagnostics->Error({}, "", absl::StrCat("not valid YAML: ", ReadableMessage(error.msg)));
    return;
  }
  const auto offset = std::min(static_cast<size_t>(std::max(error.mark.pos, 0)), text.size());
  const std::string message =
      ReadableMessage(LineStartsWithTab(text, offset) ? YAML::ErrorMsg::TAB_IN_INDENTATION
                                                      : std::string_view(error.msg));
  diagnostics->Error(index.At(offset), "", absl::StrCat("not valid YAML: ", message));
}

// yaml-cpp takes the end of the text for a closing quote. True when the scalar that starts at
// `offset`, after its tag and anchor, is in quotes that are not closed.
bool HasOpenQuote(std::string_view text, size_t offset) {
  while (offset < text.size() && (text[offset] == '!' || text[offset] == '&')) {
    offset = text.find_first_of(" \t\r\n", offset);
    offset = text.find_first_not_of(" \t\r\n", offset);
  }
  if (offset >= text.size()) return false;
  const char quote = text[offset];
  if (quote != '"' && quote != '\'') return false;
  for (size_t i = offset + 1; i < text.size(); ++i) {
    if (quote == '"' && text[i] == '\\') {
      ++i;
    } else if (text[i] == quote) {
      if (quote == '"' || i + 1 == text.size() || text[i + 1] != quote) return false;
      ++i;
    }
  }
  return true;
}

}  // namespace

bool ParseYamlDocument(std::string_view text, const ReaderLimits& limits, DocumentNode* root,
                       Diagnostics* diagnostics) {
  if (!CheckText(text, limits, diagnostics)) return false;
  text = WithoutByteOrderMark(text);
  const TextIndex index(text);
  MeteredBuffer buffer(text);
  Handler handler(index, limits, &buffer, diagnostics);
  try {
    std::istream stream(&buffer);
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(handler)) {
    }
  } catch (const Stop&) {
    return false;
  } catch (const ReadTooFarAhead&) {
    diagnostics->Error(handler.last_position(), "",
                       absl::StrCat("a text, or a list or map in brackets, is longer than ",
                                    kMaxReadAhead, " bytes"));
    return false;
  } catch (const YAML::Exception& error) {
    ReportParserError(error, text, index, diagnostics);
    return false;
  } catch (const std::bad_alloc&) {
    throw;  // that says nothing about the text
  } catch (const std::exception& error) {
    diagnostics->Error(handler.last_position(), "", absl::StrCat("not valid YAML: ", error.what()));
    return false;
  }
  if (HasOpenQuote(text, handler.quoted_offset())) {
    diagnostics->Error(index.At(handler.quoted_offset()), "",
                       "not valid YAML: a text in quotes is not closed");
    return false;
  }
  *root = handler.TakeRoot();
  if (handler.is_empty() || root->kind == DocumentNode::Kind::null) {
    diagnostics->Error({1, 1}, "", "the document is empty");
    return false;
  }
  return true;
}

}  // namespace trackbed
