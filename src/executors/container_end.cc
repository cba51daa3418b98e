#include "executors/container_end.hpp"

#include <absl/strings/str_cat.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "data/tree_walk.hpp"
#include "executors/container_files.hpp"
#include "executors/host_files.hpp"

namespace trackbed {
namespace {

constexpr int kFirstSignalCode = 128;
constexpr int kLastSignal = 64;
constexpr size_t kMaxMessage = 2000;

class Conclusion {
 public:
  explicit Conclusion(const ContainerEnd& end)
      : end_(end), shared_(end.folder + "/" + kContainerFolder) {}

  ConcludedAttempt Take() {
    if (ReadRecord(end_.folder + "/" + kContainerExitFile)) return std::move(result_);
    if (!ReadRecord(shared_ + "/" + kEndFile)) GuessFromContainer();
    result_.record.message = end_.mask.Apply(result_.record.message);
    AddMessage(end_.message);
    JudgeMemory();
    if (result_.record.ran && !result_.lost) {
      TakeOutput();
      DigestOutputs();
    }
    std::string& message = result_.record.message;
    if (message.size() > kMaxMessage) message.resize(kMaxMessage);
    if (!result_.lost) WriteRecord();
    return std::move(result_);
  }

 private:
  bool ReadRecord(const std::string& path) {
    std::string text;
    std::string damage;
    const int error = ReadSmallFile(path, kMaxRecordBytes, &text);
    if (error != 0) return false;
    if (DecodeExit(text, &result_.record, &damage)) return true;
    result_.record = ExitRecord();
    return false;
  }

  // The first process left no word: it was killed, or never ran.
  void GuessFromContainer() {
    const int code = end_.container.exit_code;
    if (!PathExists(shared_ + "/" + kBegunFile)) {
      result_.record.ran = false;
      AddMessage(end_.container.error.empty()
                     ? absl::StrCat("its container ended with code ", code,
                                    " before the command was run; the log may say why")
                     : absl::StrCat("its container could not be started: ", end_.container.error));
      return;
    }
    if (code == kExitBegunBefore) {
      result_.lost = true;
      AddMessage("its container was started again by somebody, and how it ended before is lost");
    } else if (code > kFirstSignalCode && code <= kFirstSignalCode + kLastSignal) {
      result_.record.signal = code - kFirstSignalCode;
    } else {
      result_.record.exit_code = code;
    }
    result_.record.out_of_memory = end_.container.out_of_memory;
  }

  void JudgeMemory() {
    ExitRecord& record = result_.record;
    if (end_.container.out_of_memory && (record.exit_code != 0 || record.signal != 0)) {
      record.out_of_memory = true;
    }
    if (record.out_of_memory) {
      AddMessage(absl::StrCat("the attempt needed more memory than its limit of ",
                              end_.memory_bytes, " bytes"));
    }
  }

  // What the task hands on goes to the engine's store, where no secret may go.
  void TakeOutput() {
    std::string text;
    const int error = ReadSmallFile(shared_ + "/" + kOutputFile, kMaxRecordBytes, &text);
    if (error == ENOENT) return;
    int written = error;
    if (error == 0) {
      written = WriteWholeFile(end_.folder + "/" + kOutputFile, end_.mask.Apply(text), false);
    }
    if (written != 0) {
      AddMessage(absl::StrCat("the output file cannot be taken up: ", strerror(written)));
    }
  }

  void DigestOutputs() {
    const std::string outputs = end_.folder + "/" + kOutputsFolder;
    std::vector<TreeEntry> entries;
    TreeWalkOptions options;
    options.digests = false;
    auto error = WalkTree(outputs, options, &entries);
    const bool any = std::any_of(entries.begin(), entries.end(), [](const TreeEntry& entry) {
      return entry.type != TreeEntry::Type::folder;
    });
    if (!error && any) {
      entries.clear();
      options.digests = true;
      error = WalkTree(outputs, options, &entries);
      if (!error) result_.record.output_digest = DigestTreeEntries(entries);
    }
    if (!error) return;
    AddMessage(absl::StrCat("what it left cannot be handed on: ", error->message));
    ExitRecord& record = result_.record;
    if (record.exit_code == 0 && record.signal == 0) record.exit_code = kOutputsNotKept;
  }

  void WriteRecord() {
    const std::string path = end_.folder + "/" + kContainerExitFile;
    const int error = WriteWholeFile(path, EncodeExit(result_.record), true);
    if (error == 0 || error == EEXIST) return;
    // The container is kept then, and concluded again.
    result_.lost = true;
    result_.record.message = absl::StrCat("cannot write ", path, ": ", strerror(error));
  }

  void AddMessage(const std::string& text) {
    if (text.empty()) return;
    std::string& message = result_.record.message;
    absl::StrAppend(&message, message.empty() ? "" : "; ", text);
  }

  const ContainerEnd& end_;
  const std::string shared_;
  ConcludedAttempt result_;
};

}  // namespace

ConcludedAttempt ConcludeAttempt(const ContainerEnd& end) { return Conclusion(end).Take(); }

}  // namespace trackbed
