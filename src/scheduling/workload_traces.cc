// Reads the traces of others.
#include <absl/container/flat_hash_map.h>
#include <absl/strings/ascii.h>
#include <absl/strings/match.h>
#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <initializer_list>
#include <map>
#include <optional>

#include "trackbed/scheduling/workload.hpp"

namespace trackbed {
namespace {

constexpr int64_t kGibibyte = int64_t{1} << 30U;
// Larger numbers are mistakes, and nothing that is computed from smaller ones overflows.
constexpr int64_t kMostSeconds = int64_t{1} << 32U;
constexpr int64_t kMostAmount = int64_t{1} << 30U;

struct Field {
  std::string text;
  Position position;
};

// Splits a text into records, one at a time.
class CsvReader {
 public:
  CsvReader(std::string_view text, Diagnostics* diagnostics)
      : rest_(text), diagnostics_(diagnostics) {}

  // False at the end. Empty lines are skipped.
  bool Next(std::vector<Field>* record) {
    record->clear();
    while (!rest_.empty() && (rest_[0] == '\n' || rest_[0] == '\r')) Take();
    if (rest_.empty()) return false;
    while (true) {
      record->push_back(TakeField());
      if (rest_.empty()) return true;
      const char end = Take();
      if (end == ',') continue;
      return true;
    }
  }

 private:
  char Take() {
    const char c = rest_[0];
    rest_.remove_prefix(1);
    if (c == '\n') {
      at_.line += 1;
      at_.column = 1;
    } else if ((static_cast<unsigned char>(c) & 0xc0U) != 0x80) {  // not inside a code point
      at_.column += 1;
    }
    return c;
  }

  Field TakeField() {
    Field field;
    field.position = at_;
    if (rest_.empty() || rest_[0] != '"') {
      while (!rest_.empty() && rest_[0] != ',' && rest_[0] != '\n') field.text.push_back(Take());
      if (!field.text.empty() && field.text.back() == '\r') field.text.pop_back();
      return field;
    }
    Take();
    while (true) {
      if (rest_.empty()) {
        diagnostics_->Error(field.position, "", "found a quote without an end");
        return field;
      }
      const char c = Take();
      if (c != '"') {
        field.text.push_back(c);
      } else if (!rest_.empty() && rest_[0] == '"') {
        field.text.push_back(Take());
      } else {
        break;
      }
    }
    while (!rest_.empty() && rest_[0] == '\r') Take();
    if (!rest_.empty() && rest_[0] != ',' && rest_[0] != '\n') {
      diagnostics_->Error(at_, "", "found text behind a quoted field, expected a comma");
      while (!rest_.empty() && rest_[0] != ',' && rest_[0] != '\n') Take();
    }
    return field;
  }

  std::string_view rest_;
  Diagnostics* diagnostics_;
  Position at_{1, 1};
};

// One record, by the names of its columns.
class Row {
 public:
  Row(const std::map<std::string, size_t, std::less<>>& columns, const std::vector<Field>& record,
      Diagnostics* diagnostics)
      : columns_(columns), record_(record), diagnostics_(diagnostics) {}

  // Empty when there is no such column.
  const Field& at(std::string_view column) const {
    static const Field none;
    const auto found = columns_.find(column);
    return found == columns_.end() ? none : record_[found->second];
  }

  void Error(std::string_view column, std::string_view expected) {
    ok_ = false;
    diagnostics_->Error(
        at(column).position, std::string(column),
        absl::StrCat("found \"", at(column).text, "\", expected ", AbslView(expected)));
  }

  int64_t Whole(std::string_view column, int64_t least, int64_t most) {
    int64_t value = 0;
    if (!absl::SimpleAtoi(at(column).text, &value) || value < least || value > most) {
      Error(column, absl::StrCat("a whole number from ", least, " to ", most));
      return least;
    }
    return value;
  }

  // In thousandths, rounded.
  int64_t Thousandths(std::string_view column, int64_t most) {
    double value = 0;
    // SimpleAtod also reads "inf", "nan" and hexadecimal.
    const std::string& text = at(column).text;
    if (text.find_first_not_of("0123456789.") != std::string::npos ||
        !absl::SimpleAtod(text, &value) || value > static_cast<double>(most)) {
      Error(column, absl::StrCat("a number from 0 to ", most));
      return 0;
    }
    return std::llround(value * 1000);
  }

  bool Has(std::string_view column) const { return !at(column).text.empty(); }
  bool ok() const { return ok_; }

 private:
  const std::map<std::string, size_t, std::less<>>& columns_;
  const std::vector<Field>& record_;
  Diagnostics* diagnostics_;
  bool ok_ = true;
};

// A number of exactly `digits` digits at the front of *text.
std::optional<int> TakeDigits(std::string_view* text, size_t digits) {
  if (text->size() < digits) return std::nullopt;
  int value = 0;
  for (size_t i = 0; i < digits; ++i) {
    if (!absl::ascii_isdigit(static_cast<unsigned char>((*text)[i]))) return std::nullopt;
    value = value * 10 + ((*text)[i] - '0');
  }
  text->remove_prefix(digits);
  return value;
}

bool TakeChar(std::string_view* text, std::string_view any_of) {
  if (text->empty() || any_of.find(text->front()) == std::string_view::npos) return false;
  text->remove_prefix(1);
  return true;
}

std::optional<Time> ReadTime(std::string_view text) {
  const auto year = TakeDigits(&text, 4);
  if (!year || !TakeChar(&text, "-")) return std::nullopt;
  const auto month = TakeDigits(&text, 2);
  if (!month || !TakeChar(&text, "-")) return std::nullopt;
  const auto day = TakeDigits(&text, 2);
  if (!day || !TakeChar(&text, "T ")) return std::nullopt;
  const auto hour = TakeDigits(&text, 2);
  if (!hour || !TakeChar(&text, ":")) return std::nullopt;
  const auto minute = TakeDigits(&text, 2);
  if (!minute || !TakeChar(&text, ":")) return std::nullopt;
  const auto second = TakeDigits(&text, 2);
  if (!second) return std::nullopt;
  TakeChar(&text, "Z");
  const std::chrono::year_month_day date{std::chrono::year(*year),
                                         std::chrono::month(static_cast<unsigned>(*month)),
                                         std::chrono::day(static_cast<unsigned>(*day))};
  if (!text.empty() || !date.ok() || *year < 1970 || *year > 2200 || *hour > 23 || *minute > 59 ||
      *second > 60) {
    return std::nullopt;
  }
  return Time(std::chrono::sys_days(date)) + std::chrono::hours(*hour) +
         std::chrono::minutes(*minute) + std::chrono::seconds(*second);
}

Time ReadTime(Row* row, std::string_view column) {
  if (const auto time = ReadTime(row->at(column).text)) return *time;
  row->Error(column, "a time such as 2026-05-01T10:00:00");
  return {};
}

// A name of tenants has no slash; what has none at all is the root's.
std::string Path(std::string_view above, std::string_view below) {
  std::string path;
  for (const std::string_view part : {above, below}) {
    if (part.empty()) continue;
    if (!path.empty()) path.push_back('/');
    for (const char c : part) path.push_back(c == '/' ? '_' : c);
  }
  return path;
}

// Whole devices, or the share of one.
void SetDevices(Row* row, std::string_view column, int64_t thousandths, Job* job) {
  if (thousandths < kWholeDevice && job->members == 1) {
    job->demand.share = static_cast<int16_t>(thousandths);
    return;
  }
  const int64_t each = thousandths / job->members;
  if (each * job->members != thousandths || each % kWholeDevice != 0 ||
      each > int64_t{kMaxDevices} * kWholeDevice) {
    row->Error(column, absl::StrCat("a share below 1, or whole devices that divide evenly among ",
                                    job->members, " members, at most ", kMaxDevices, " each"));
    return;
  }
  job->demand.whole_devices = static_cast<int16_t>(each / kWholeDevice);
}

// What is divided among members is rounded up.
int64_t Each(int64_t amount, uint32_t members) { return (amount + members - 1) / members; }

// Calls `read(row, job)` for each record; false: leave it out.
template <typename Read>
Workload ReadJobs(std::string_view text, std::string_view name_column,
                  std::initializer_list<std::string_view> needed, Diagnostics* diagnostics,
                  Read&& read) {
  Workload workload;
  CsvReader reader(text, diagnostics);
  std::vector<Field> record;
  if (!reader.Next(&record)) {
    diagnostics->Error({1, 1}, "", "found nothing, expected a line with the names of columns");
    return workload;
  }
  std::map<std::string, size_t, std::less<>> columns;
  std::vector<std::string_view> names;
  const std::vector<Field> header = record;
  for (size_t i = 0; i < header.size(); ++i) {
    names.push_back(header[i].text);
    if (!columns.emplace(header[i].text, i).second) {
      diagnostics->Error(header[i].position, header[i].text, "found this column twice");
    }
  }
  for (const std::string_view column : needed) {
    if (columns.contains(column)) continue;
    const std::string_view nearest = ClosestMatch(column, names);
    diagnostics->Error(
        {1, 1}, std::string(column),
        nearest.empty() ? std::string("found no such column")
                        : absl::StrCat("found no such column; is it \"", AbslView(nearest), "\"?"));
  }
  if (diagnostics->has_errors()) return workload;
  absl::flat_hash_map<std::string, int> lines;
  while (reader.Next(&record)) {
    if (record.size() != header.size()) {
      diagnostics->Error(record.back().position, "",
                         absl::StrCat("found ", record.size(), " fields, expected ", header.size(),
                                      ", as in the first line"));
      continue;
    }
    Row row(columns, record, diagnostics);
    Job job;
    job.name = row.at(name_column).text;
    if (job.name.empty()) row.Error(name_column, "a name");
    if (!read(&row, &job)) continue;
    const Position position = row.at(name_column).position;
    const auto [line, added] = lines.emplace(job.name, position.line);
    if (!added) {
      row.Error(name_column, absl::StrCat("another name than in line ", line->second));
    }
    if (row.ok()) workload.jobs.push_back(std::move(job));
  }
  diagnostics->Sort();
  std::stable_sort(workload.jobs.begin(), workload.jobs.end(),
                   [](const Job& a, const Job& b) { return a.submitted < b.submitted; });
  return workload;
}

// ---- sacct -----------------------------------------------------------------------------------

// "1-12:00:00", "12:00:00", "30:00".
std::optional<Duration> ReadTimelimit(std::string_view text) {
  int64_t days = 0;
  if (const size_t dash = text.find('-'); dash != std::string_view::npos) {
    if (!absl::SimpleAtoi(AbslView(text.substr(0, dash)), &days) || days < 0 || days > 10'000) {
      return std::nullopt;
    }
    text.remove_prefix(dash + 1);
  }
  int64_t seconds = 0;
  int parts = 0;
  while (true) {
    const size_t colon = std::min(text.find(':'), text.size());
    int64_t part = 0;
    if (!absl::SimpleAtoi(AbslView(text.substr(0, colon)), &part) || part < 0 || part > 100'000 ||
        ++parts > 3) {
      return std::nullopt;
    }
    seconds = seconds * 60 + part;
    if (colon == text.size()) break;
    text.remove_prefix(colon + 1);
  }
  if (parts < 2) return std::nullopt;
  return std::chrono::seconds(days * 86'400 + seconds);
}

// The number of gpus in "billing=8,gres/gpu=4,gres/gpu:a100=4" or "gpu:a100:4"; 0 without any.
std::optional<int64_t> ReadGpus(std::string_view text) {
  std::optional<int64_t> all;  // "gpu=4" says all, "gpu:a100=4" a part of it
  int64_t sum = 0;
  while (!text.empty()) {
    std::string_view part = text.substr(0, text.find(','));
    text.remove_prefix(std::min(part.size() + 1, text.size()));
    if (absl::StartsWith(AbslView(part), "gres/")) part.remove_prefix(5);
    if (absl::StartsWith(AbslView(part), "gres:")) part.remove_prefix(5);
    if (!absl::StartsWith(AbslView(part), "gpu") || part.size() < 4 ||
        (part[3] != ':' && part[3] != '=')) {
      continue;
    }
    const size_t last = part.find_last_of(":=");
    int64_t count = 0;
    if (!absl::SimpleAtoi(AbslView(part.substr(last + 1)), &count) || count < 0 ||
        count > kMostAmount) {
      return std::nullopt;
    }
    if (last == 3 && part[3] == '=') all = count;
    sum += count;
  }
  return all.value_or(sum);
}

// Bytes of one member; nothing for text that is none.
std::optional<int64_t> ReadMemory(std::string_view text, int64_t cpus, uint32_t members) {
  bool per_cpu = false;
  if (!text.empty() && (text.back() == 'c' || text.back() == 'n')) {
    per_cpu = text.back() == 'c';
    text.remove_suffix(1);
  }
  double unit = 0x1p20;
  if (!text.empty() && !absl::ascii_isdigit(static_cast<unsigned char>(text.back()))) {
    constexpr std::string_view kUnits = "KMGTP";
    const size_t found = kUnits.find(text.back());
    if (found == std::string_view::npos) return std::nullopt;
    unit = std::ldexp(1.0, 10 * (static_cast<int>(found) + 1));
    text.remove_suffix(1);
  }
  double value = 0;
  if (text.find_first_not_of("0123456789.") != std::string_view::npos ||
      !absl::SimpleAtod(AbslView(text), &value)) {
    return std::nullopt;
  }
  value *= unit * (per_cpu ? static_cast<double>(Each(cpus, members)) : 1.0);
  if (value > 0x1p50) return std::nullopt;
  return std::llround(value);
}

bool ReadSacctJob(Row* row, Job* job) {
  if (job->name.find('.') != std::string::npos) return false;
  const std::string& start_text = row->at("Start").text;
  if (start_text.empty() || start_text == "Unknown" || start_text == "None") return false;
  job->tenant = Path(row->at("Account").text, row->at("User").text);
  job->submitted = ReadTime(row, "Submit");
  const Time start = ReadTime(row, "Start");
  const Time end = ReadTime(row, "End");
  if (row->ok() && end < start) row->Error("End", "a time that is not before Start");
  job->run_time = end - start;
  if (row->Has("ReqNodes")) {
    job->members = static_cast<uint32_t>(row->Whole("ReqNodes", 1, 100'000));
    job->on_different_nodes = job->members > 1;
  }
  const std::string& limit = row->at("Timelimit").text;
  if (!limit.empty() && limit != "UNLIMITED" && limit != "Partition_Limit") {
    if (const auto requested = ReadTimelimit(limit)) {
      job->requested = *requested;
    } else {
      row->Error("Timelimit", "[days-]hours:minutes:seconds");
    }
  }
  const int64_t cpus = row->Whole("ReqCPUS", 0, kMostAmount);
  job->demand.cpu = Each(cpus * 1000, job->members);
  if (row->Has("ReqMem")) {
    if (const auto memory = ReadMemory(row->at("ReqMem").text, cpus, job->members)) {
      job->demand.memory = *memory;
    } else {
      row->Error("ReqMem", "an amount such as 4000M or 2.5G");
    }
  }
  for (const std::string_view column : {"AllocTRES", "ReqTRES", "ReqGRES"}) {
    if (!row->Has(column)) continue;
    if (const auto gpus = ReadGpus(row->at(column).text)) {
      SetDevices(row, column, *gpus * kWholeDevice, job);
    } else {
      row->Error(column, "a count of gpus such as gres/gpu=4");
    }
    break;
  }
  if (row->Has("Priority")) {
    // Slurm's has 32 bits without a sign.
    job->priority =
        static_cast<int32_t>(std::min<int64_t>(row->Whole("Priority", 0, UINT32_MAX), INT32_MAX));
  }
  return true;
}

bool ReadPhillyJob(Row* row, Job* job) {
  job->tenant = Path(row->at("vc").text, row->at("user").text);
  const std::string& submitted = row->at("submitted").text;
  if (submitted.find('-') == std::string::npos) {
    job->submitted = Time(std::chrono::seconds(row->Whole("submitted", 0, kMostSeconds)));
  } else {
    job->submitted = ReadTime(row, "submitted");
  }
  job->run_time = std::chrono::milliseconds(row->Thousandths("run_seconds", kMostSeconds));
  if (row->Has("requested_seconds")) {
    job->requested = std::chrono::milliseconds(row->Thousandths("requested_seconds", kMostSeconds));
  }
  if (row->Has("members")) job->members = static_cast<uint32_t>(row->Whole("members", 1, 100'000));
  SetDevices(row, "gpus", row->Thousandths("gpus", kMostAmount), job);
  if (row->Has("cpus")) {
    job->demand.cpu = Each(row->Thousandths("cpus", kMostAmount), job->members);
  }
  if (row->Has("memory_gib")) {
    const int64_t thousandths = row->Thousandths("memory_gib", int64_t{1} << 20U);
    job->demand.memory = Each(thousandths * (kGibibyte / 1024) * 128 / 125, job->members);
  }
  if (row->Has("priority")) {
    job->priority = static_cast<int32_t>(row->Whole("priority", INT32_MIN, INT32_MAX));
  }
  return true;
}

}  // namespace

Workload ReadPhillyWorkload(std::string_view text, Diagnostics* diagnostics) {
  return ReadJobs(text, "job", {"job", "vc", "user", "submitted", "run_seconds", "gpus"},
                  diagnostics, ReadPhillyJob);
}

Workload ReadSacctWorkload(std::string_view text, Diagnostics* diagnostics) {
  return ReadJobs(text, "JobID",
                  {"JobID", "User", "Account", "Submit", "Start", "End", "Timelimit", "ReqCPUS"},
                  diagnostics, ReadSacctJob);
}

}  // namespace trackbed
