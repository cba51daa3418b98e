// JSON by nlohmann's event parser, which tells no positions: the iterator it reads through does.
#include <absl/strings/str_cat.h>

#include <iterator>
#include <new>
#include <nlohmann/json.hpp>

#include "pipeline/document_builder.hpp"
#include "pipeline/text_index.hpp"

namespace trackbed {
namespace {

using Json = nlohmann::json;

// Where the tokens start that the parser has read.
class TokenTracker {
 public:
  void Consume(char c) {
    const size_t offset = consumed_++;
    if (in_string_) {
      ConsumeInString(c);
      return;
    }
    switch (c) {
      case '"':
        in_string_ = true;
        in_word_ = false;
        string_start_ = offset;
        break;
      case '[':
      case '{':
        bracket_ = offset;
        in_word_ = false;
        break;
      case ' ':
      case '\t':
      case '\n':
      case '\r':
      case ',':
      case ':':
      case ']':
      case '}':
        in_word_ = false;
        break;
      default:
        if (!in_word_) word_start_ = offset;
        in_word_ = true;
    }
  }

  size_t consumed() const { return consumed_; }
  size_t string_start() const { return string_start_; }
  size_t word_start() const { return word_start_; }  // a number, true, false or null
  size_t bracket() const { return bracket_; }        // an opening one

 private:
  void ConsumeInString(char c) {
    if (escaped_) {
      escaped_ = false;
    } else if (c == '\\') {
      escaped_ = true;
    } else if (c == '"') {
      in_string_ = false;
    }
  }

  size_t consumed_ = 0;
  size_t string_start_ = 0;
  size_t word_start_ = 0;
  size_t bracket_ = 0;
  bool in_string_ = false;
  bool escaped_ = false;
  bool in_word_ = false;
};

// Reads the text and tells the tracker what was read.
class TrackingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  TrackingIterator(const char* at, TokenTracker* tracker) : at_(at), tracker_(tracker) {}

  const char& operator*() const { return *at_; }
  TrackingIterator& operator++() {
    tracker_->Consume(*at_);
    ++at_;
    return *this;
  }
  TrackingIterator operator++(int) {
    TrackingIterator before = *this;
    ++*this;
    return before;
  }
  friend bool operator==(const TrackingIterator& a, const TrackingIterator& b) {
    return a.at_ == b.at_;
  }

 private:
  const char* at_;
  TokenTracker* tracker_;
};

// "[json…] parse error at …: syntax error while parsing … - WHAT; last read: '…'; expected …" in
// short. What was read last is left out: the position tells, and it may be long or half a letter.
std::string ReadableMessage(std::string_view message) {
  if (const size_t colon = message.find(": "); colon != std::string_view::npos) {
    message.remove_prefix(colon + 2);
  }
  if (message.starts_with("syntax error ")) {
    if (const size_t dash = message.find(" - "); dash != std::string_view::npos) {
      message.remove_prefix(dash + 3);
    }
  }
  const size_t last_read = message.find("; last read: ");
  std::string text(message.substr(0, last_read));
  const size_t expected = message.rfind("; expected ");
  if (last_read != std::string_view::npos && expected != std::string_view::npos &&
      expected > last_read) {
    text += message.substr(expected);
  }
  return text;
}

// The method names are those that nlohmann's parser calls.
class Handler final : public nlohmann::json_sax<Json> {
 public:
  Handler(std::string_view text, const TextIndex& index, const TokenTracker& tracker,
          const ReaderLimits& limits, Diagnostics* diagnostics)
      : text_(text), index_(index), tracker_(tracker), builder_(limits, diagnostics) {}

  bool null() override { return builder_.AddNull(index_.At(tracker_.word_start())); }
  bool boolean(bool value) override { return AddPlain(value ? "true" : "false"); }
  bool number_integer(number_integer_t) override { return AddPlain(NumberText()); }
  bool number_unsigned(number_unsigned_t) override { return AddPlain(NumberText()); }
  bool number_float(number_float_t, const string_t&) override { return AddPlain(NumberText()); }
  bool string(string_t& value) override { return AddText(value); }
  bool binary(binary_t&) override { return false; }  // not of text
  bool start_object(std::size_t) override { return Open(DocumentNode::Kind::map); }
  bool key(string_t& value) override { return AddText(value); }
  bool end_object() override { return builder_.Close(); }
  bool start_array(std::size_t) override { return Open(DocumentNode::Kind::sequence); }
  bool end_array() override { return builder_.Close(); }

  bool parse_error(std::size_t, const std::string&, const Json::exception& error) override {
    const size_t consumed = tracker_.consumed();
    const Position position = index_.At(consumed > 0 ? consumed - 1 : 0);
    return builder_.Fail(position,
                         absl::StrCat("not valid JSON: ", AbslView(ReadableMessage(error.what()))));
  }

  DocumentNode TakeRoot() { return builder_.TakeRoot(); }

 private:
  // The number as it stands in the text, so that no digit is lost.
  std::string NumberText() const {
    const size_t start = tracker_.word_start();
    const size_t end = text_.find_first_not_of("+-0123456789.eE", start);
    return std::string(text_.substr(start, end == std::string_view::npos ? end : end - start));
  }
  bool AddPlain(std::string text) {
    return builder_.AddScalar(index_.At(tracker_.word_start()), std::move(text), false);
  }
  bool AddText(std::string& text) {
    return builder_.AddScalar(index_.At(tracker_.string_start()), std::move(text), true);
  }
  bool Open(DocumentNode::Kind kind) { return builder_.Open(kind, index_.At(tracker_.bracket())); }

  const std::string_view text_;
  const TextIndex& index_;
  const TokenTracker& tracker_;
  DocumentBuilder builder_;
};

}  // namespace

bool ParseJsonDocument(std::string_view text, const ReaderLimits& limits, DocumentNode* root,
                       Diagnostics* diagnostics) {
  if (!CheckText(text, limits, diagnostics)) return false;
  text = WithoutByteOrderMark(text);
  const TextIndex index(text);
  TokenTracker tracker;
  Handler handler(text, index, tracker, limits, diagnostics);
  try {
    const bool ok =
        Json::sax_parse(TrackingIterator(text.data(), &tracker),
                        TrackingIterator(text.data() + text.size(), &tracker), &handler);
    if (!ok) return false;
  } catch (const std::bad_alloc&) {
    throw;  // that says nothing about the text
  } catch (const std::exception& error) {
    diagnostics->Error({}, "", absl::StrCat("not valid JSON: ", error.what()));
    return false;
  }
  *root = handler.TakeRoot();
  return true;
}

}  // namespace trackbed
