// Drives the C interface with calls, handles, structs and bytes of the input's choice: NULL where a
// pointer is needed, structs of other versions, ids that are live no more, streams whose engine is
// closed. Whatever comes, a call returns a status and an error that agree, nothing crashes, hangs,
// throws or is printed, and the accounts of allocators and schedulers still add up.
//
// Nothing outside the process is touched: engines are in memory, attempts are the host's and end as
// the input says, and folders are below /dev/null.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <deque>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/require.hpp"
#include "trackbed.h"

extern "C" __attribute__((weak)) void __sanitizer_set_report_fd(void* descriptor);

namespace {

constexpr int kMostCalls = 200;
constexpr size_t kMostHandles = 4;

constexpr std::string_view kTexts[] = {
    "",
    "cpu",
    "mem",
    "cuda.shares",
    "cuda.device",
    "gpu0",
    "16g",
    "0.5",
    "1",
    "one",
    "two",
    "latest",
    "default",
    "random",
    "a",
    "a/b",
    "n1",
    "{}",
    "{\"n\": 3}",
    "n=3\n",
    "{\"allocations\":[{\"id\":4294967296,\"parts\":[{\"slot\":\"cuda.shares\",\"device\":\"gpu0\","
    "\"amount\":\"0.5\"}]}]}",
    "name: n\ncpu: 4\nmem: 8g\ndevices:\n- {id: gpu0, slot: cuda.shares}\n"
    "- {id: gpu1, slot: cuda.shares}\n",
    "{\"name\": \"n\", \"cpu\": 8, \"devices\": [{\"id\": \"gpu0\", \"slot\": \"cuda.device\"}]}",
    "name: p\nparameters: {n: 3}\ntasks:\n- {name: one, command: x, outputs: {n: integer}}\n"
    "- {name: two, command: \"y ${{ tasks.one.outputs.n }}\", dependencies: [one]}\n",
    "name: q\ntasks:\n- {name: one, command: x, cache: false, retry: 3, timeout: 5s, resources: "
    "{cpu: 2}}\n- {name: two, command: y, trigger: all_done, dependencies: [one]}\n",
    "{\"name\": \"p\", \"tasks\": [{\"name\": \"a\", \"command\": \"x\"}]}",
    "name: p\ntasks:\n- {name: a, command: x, dependencies: [a], timeout: fast}\n",
    "sn,cpu_milli,memory_mib,gpu,model\nn1,8000,8192,2,V100\n",
    "job,vc,user,submitted,run_seconds,gpus\nj1,v,u,2026-05-01T10:00:00Z,60,1\n",
    "{\"devices\": [{\"id\": \"g\", \"model\": \"A100-40GB\", \"instances\": [{\"id\": \"m\", "
    "\"profile\": \"3g.20gb\", \"start\": 0, \"free\": true}]}], \"profiles\": [\"2g.10gb\", "
    "\"1g.5gb\"], \"reconfigure\": true}",
};

// What is printed between Begin and End goes to a file of its own.
class Silence {
 public:
  Silence() : file_(memfd_create("output", MFD_CLOEXEC)), saved_{dup(1), dup(2)} {
    // What sanitizers have to say is not meant.
    if (__sanitizer_set_report_fd != nullptr) {
      __sanitizer_set_report_fd(reinterpret_cast<void*>(static_cast<intptr_t>(saved_[1])));
    }
  }
  void Begin() const {
    dup2(file_, 1);
    dup2(file_, 2);
  }
  // What was printed.
  std::string End() const {
    dup2(saved_[0], 1);
    dup2(saved_[1], 2);
    std::string text(static_cast<size_t>(std::max<off_t>(lseek(file_, 0, SEEK_END), 0)), ' ');
    if (!text.empty()) text.resize(static_cast<size_t>(pread(file_, text.data(), text.size(), 0)));
    return text;
  }

 private:
  int file_;
  int saved_[2];
};

const Silence& TheSilence() {
  static const Silence silence;
  return silence;
}

// Require, where it is heard.
void Expect(bool holds, const char* what, const std::string& text = "") {
  if (holds) return;
  TheSilence().End();
  Require(false, what, text);
}

// What the input has left to say; zeros when that is nothing.
class Input {
 public:
  Input(const uint8_t* data, size_t size) : data_(data), left_(size) {}
  bool empty() const { return left_ == 0; }
  uint8_t Byte() {
    if (left_ == 0) return 0;
    --left_;
    return *data_++;
  }
  template <typename Number>
  Number Bits() {
    Number value{};
    std::array<uint8_t, sizeof(Number)> bytes{};
    for (uint8_t& byte : bytes) byte = Byte();
    std::memcpy(&value, bytes.data(), sizeof value);
    return value;
  }
  size_t Below(size_t limit) { return limit == 0 ? 0 : Byte() % limit; }
  bool OneIn(size_t chances) { return Below(chances) == chances - 1; }

  // Small, round, extreme, or anything.
  int64_t Number() {
    switch (Below(8)) {
      case 0:
        return 0;
      case 1:
        return std::numeric_limits<int64_t>::max();
      case 2:
        return std::numeric_limits<int64_t>::min();
      case 3:
        return Bits<int64_t>();
      case 4:
        return -static_cast<int64_t>(Byte());
      case 5:
        return int64_t{1000} * Byte();
      case 6:
        return int64_t{1'000'000'000} * Byte();
      default:
        return Byte();
    }
  }
  // One of the first few, and now and then anything.
  uint32_t Index(size_t chances, size_t few) {
    return OneIn(chances) ? static_cast<uint32_t>(Number()) : static_cast<uint32_t>(Below(few));
  }
  int32_t Small() { return static_cast<int32_t>(OneIn(16) ? Number() : Byte() % 10) - 1; }

  const std::string& Text() {
    std::string& text = texts_.emplace_back();
    if (OneIn(4)) {
      const size_t size = std::min<size_t>(Below(64), left_);
      text.assign(reinterpret_cast<const char*>(data_), size);
      data_ += size;
      left_ -= size;
    } else {
      text = kTexts[Below(std::size(kTexts))];
    }
    return text;
  }
  // For functions that take (data, size).
  struct Span {
    const char* data;
    size_t size;
  };
  Span Spans() {
    const std::string& text = Text();
    switch (Below(16)) {
      case 14:
        return {nullptr, Below(3)};
      case 15:
        return {text.c_str(), TRACKBED_TERMINATED};
      default:
        return {text.data(), text.size()};
    }
  }
  trackbed_string View() {
    const Span span = Spans();
    return {span.data, span.size};
  }

  // A struct filled by `fill`, now and then of another size, in a place that is large enough.
  template <typename Struct, typename Fill>
  Struct* Make(Fill&& fill) {
    if (OneIn(32)) return nullptr;
    auto& place = places_.emplace_back();
    static_assert(sizeof(Struct) + 64 <= sizeof place.bytes);
    auto* made = reinterpret_cast<Struct*>(place.bytes);
    std::memset(place.bytes, 0, sizeof place.bytes);
    made->struct_size = sizeof(Struct);
    fill(made);
    switch (Below(24)) {
      case 0:
        made->struct_size = static_cast<uint32_t>(Below(sizeof(Struct)));
        break;
      case 1:
        made->struct_size = sizeof(Struct) + 16;
        break;
      case 2:
        made->struct_size = sizeof(Struct) + 16;
        place.bytes[sizeof(Struct) + 3] = 1;
        break;
      default:
        break;
    }
    return made;
  }
  template <typename Struct>
  Struct* Out() {
    return Make<Struct>([](Struct*) {});
  }

 private:
  const uint8_t* data_;
  size_t left_;
  std::deque<std::string> texts_;
  struct Place {
    alignas(16) unsigned char bytes[512];
  };
  std::deque<Place> places_;
};

// An error, and text, which a call may give.
class Result {
 public:
  explicit Result(Input* input) : wanted_(!input->OneIn(8)) {}
  ~Result() {
    trackbed_error_free(error_);
    trackbed_bytes_free(&bytes);
    trackbed_bytes_free(&more);
  }
  Result(const Result&) = delete;
  Result& operator=(const Result&) = delete;
  trackbed_error** error() { return wanted_ ? &error_ : nullptr; }

  void Check(trackbed_status status) {
    Expect(status >= TRACKBED_OK && status <= TRACKBED_DATA_LOSS, "not a status");
    Expect(status != TRACKBED_INTERNAL || may_be_internal, "a bug of the library's", Message());
    if (status == TRACKBED_OK) Expect(error_ == nullptr, "an error of a success");
    if (!wanted_ || status == TRACKBED_OK) return;
    Expect(error_ != nullptr, "a failure without an error");
    Expect(trackbed_error_code(error_) == status, "another status in the error", Message());
    Expect(trackbed_error_message(error_).size > 0, "an error without a message");
    const size_t count = trackbed_error_diagnostic_count(error_);
    for (size_t i = 0; i <= std::min<size_t>(count, 20); ++i) {
      trackbed_diagnostic diagnostic;
      TRACKBED_INIT(&diagnostic);
      Expect((trackbed_error_diagnostic(error_, i, &diagnostic) == TRACKBED_OK) == (i < count),
             "diagnostics that there are not, or not those that there are");
    }
  }

  trackbed_bytes bytes{};
  trackbed_bytes more{};
  bool may_be_internal = false;

 private:
  std::string Message() const {
    const trackbed_string text = trackbed_error_message(error_);
    return {text.data, text.size};
  }
  bool wanted_;
  trackbed_error* error_ = nullptr;
};

template <typename Handle, void (*Free)(Handle*)>
class Pool {
 public:
  ~Pool() {
    for (Handle* handle : handles_) Free(handle);
  }
  Handle* Pick(Input* input) {
    return handles_.empty() || input->OneIn(24) ? nullptr : handles_[input->Below(handles_.size())];
  }
  void Add(Handle* handle) {
    if (handle == nullptr) return;
    if (handles_.size() == kMostHandles) FreeAt(0);
    handles_.push_back(handle);
  }
  void FreeOne(Input* input) {
    if (handles_.empty()) {
      Free(nullptr);
    } else {
      FreeAt(input->Below(handles_.size()));
    }
  }
  const std::vector<Handle*>& all() const { return handles_; }

 private:
  void FreeAt(size_t index) {
    Free(handles_[index]);
    handles_.erase(handles_.begin() + static_cast<std::ptrdiff_t>(index));
  }
  std::vector<Handle*> handles_;
};

// An allocator with what was made of it. Demands may outlive it and serve no other.
struct Allocator {
  trackbed_slot_allocator* handle;
  std::vector<trackbed_slot_demand*> demands;
  std::vector<uint64_t> ids;
};
void FreeAllocator(Allocator* allocator) {
  if (allocator == nullptr) return;
  trackbed_slot_allocator_free(allocator->handle);
  for (trackbed_slot_demand* demand : allocator->demands) trackbed_slot_demand_free(demand);
  delete allocator;
}

// An engine with its ports, which answer as the input says.
struct Host {
  Input* input = nullptr;
  trackbed_engine* engine = nullptr;
  std::vector<std::string> attempts;
  std::vector<std::string> runs;
  std::vector<std::string> kept;  // digests
  int64_t now = 1'700'000'000'000'000'000;
  uint64_t random = 0;

  static trackbed_status Start(void* user, const trackbed_attempt* attempt,
                               trackbed_error** error) {
    auto* self = static_cast<Host*>(user);
    const auto answer = static_cast<trackbed_status>(self->input->Below(20));
    if (answer < 4) {
      if (self->input->OneIn(2)) *error = trackbed_error_create(answer, "no", 2);
      if (answer == 3) throw answer;
      return answer;
    }
    self->attempts.emplace_back(attempt->key.data, attempt->key.size);
    Expect(trackbed_engine_step(self->engine, nullptr) == TRACKBED_FAILED_PRECONDITION,
           "a callback may step");
    return TRACKBED_OK;
  }
  static trackbed_status Stop(void* user, const char* key, size_t size, int32_t, trackbed_error**) {
    auto* self = static_cast<Host*>(user);
    if (self->input->OneIn(4)) return TRACKBED_NOT_FOUND;
    trackbed_attempt_report report;
    TRACKBED_INIT(&report);
    report.kind = TRACKBED_ATTEMPT_EXITED;
    report.signal = 15;
    report.key = {key, size};
    return trackbed_engine_report(self->engine, &report, nullptr);
  }
  static trackbed_status Has(void* user, const char* digest, size_t size, int32_t* present,
                             trackbed_error** error) {
    auto* self = static_cast<Host*>(user);
    if (self->input->OneIn(8)) return Fail(self, error);
    const auto& kept = self->kept;
    *present = std::find(kept.begin(), kept.end(), std::string(digest, size)) != kept.end() ? 1 : 0;
    return TRACKBED_OK;
  }
  static trackbed_status Put(void* user, const char* digest, size_t size, const char* /*folder*/,
                             size_t /*folder_size*/, trackbed_error** error) {
    auto* self = static_cast<Host*>(user);
    if (self->input->OneIn(8)) return Fail(self, error);
    self->kept.emplace_back(digest, size);
    return TRACKBED_OK;
  }
  static trackbed_status Get(void* user, const char* /*digest*/, size_t /*size*/,
                             const char* /*folder*/, size_t /*folder_size*/,
                             trackbed_error** error) {
    return Fail(static_cast<Host*>(user), error);
  }
  static trackbed_status Fail(Host* self, trackbed_error** error) {
    if (self->input->OneIn(4)) throw 1;
    *error = trackbed_error_create(TRACKBED_UNAVAILABLE, "full", 4);
    return TRACKBED_UNAVAILABLE;
  }
  static int64_t Now(void* user) {
    auto* self = static_cast<Host*>(user);
    return self->now += 1'000'000;
  }
  static uint64_t Next(void* user) { return static_cast<Host*>(user)->random += 0x9e3779b9U; }
};
void FreeHost(Host* host) {
  if (host == nullptr) return;
  trackbed_engine_close(host->engine);
  delete host;
}

class Session {
 public:
  explicit Session(Input* input) : in_(input) {}
  void Run() {
    for (int i = 0; i < kMostCalls && !in_->empty(); ++i) {
      switch (in_->Below(12)) {
        case 0:
          Pipelines();
          break;
        case 1:
          Slots();
          break;
        case 2:
        case 3:
          Allocators();
          break;
        case 4:
        case 5:
        case 6:
          Engines();
          break;
        case 7:
          Events();
          break;
        case 8:
        case 9:
        case 10:
          Schedulers();
          break;
        default:
          in_->OneIn(8) ? Simulation() : Groups();
      }
    }
    for (trackbed_scheduler* scheduler : schedulers_.all()) {
      Expect(trackbed_scheduler_recount(scheduler, nullptr) == TRACKBED_OK,
             "the account of a scheduler does not add up");
    }
    CheckAllocators();
  }

 private:
  void Pipelines() {
    Result result(in_);
    const auto text = in_->Spans();
    const auto file = in_->Spans();
    const trackbed_format format = in_->Small();
    trackbed_pipeline* pipeline = pipelines_.Pick(in_);
    trackbed_pipeline* made = nullptr;
    trackbed_diagnostic* diagnostic = in_->Out<trackbed_diagnostic>();
    switch (in_->Below(10)) {
      case 0:
      case 1:
        result.Check(trackbed_pipeline_parse(text.data, text.size, format, file.data, file.size,
                                             in_->OneIn(32) ? nullptr : &made, result.error()));
        pipelines_.Add(made);
        break;
      case 2:
        result.Check(trackbed_pipeline_validate(text.data, text.size, format, file.data, file.size,
                                                &result.bytes, result.error()));
        break;
      case 3:
        result.Check(trackbed_pipeline_write(pipeline, format, &result.bytes,
                                             in_->OneIn(2) ? nullptr : &result.more,
                                             result.error()));
        break;
      case 4:
        result.Check(trackbed_pipeline_graph(pipeline, format, &result.bytes, result.error()));
        break;
      case 5:
        result.Check(trackbed_pipeline_tasks(pipeline, &result.bytes, result.error()));
        break;
      case 6:
        result.Check(
            trackbed_pipeline_bind(pipeline, text.data, text.size, &result.bytes, result.error()));
        break;
      case 7:
        for (size_t i = 0; i <= trackbed_pipeline_warning_count(pipeline) && i < 20; ++i) {
          (void)trackbed_pipeline_warning(pipeline, i, diagnostic);
        }
        (void)trackbed_pipeline_name(pipeline);
        (void)trackbed_pipeline_version(pipeline);
        (void)trackbed_pipeline_task_count(pipeline);
        break;
      case 8:
        result.Check(trackbed_pipeline_load(in_->OneIn(2) ? "/nowhere.yaml" : "/dev/null",
                                            TRACKBED_TERMINATED, &made, result.error()));
        pipelines_.Add(made);
        break;
      default:
        pipelines_.FreeOne(in_);
    }
  }

  void Slots() {
    Result result(in_);
    const auto slot = in_->Spans();
    const auto amount = in_->Spans();
    int64_t thousandths = in_->Number();
    switch (in_->Below(7)) {
      case 4:
        result.Check(trackbed_mig_plan(slot.data, slot.size, &result.bytes, result.error()));
        break;
      case 5:
        result.Check(trackbed_mig_models(&result.bytes, result.error()));
        break;
      case 6:
        result.Check(in_->OneIn(2)
                         ? trackbed_store_check("/dev/null/a.db", TRACKBED_TERMINATED,
                                                &result.bytes, result.error())
                         : trackbed_store_backup("/dev/null", TRACKBED_TERMINATED, "/dev/null/b.db",
                                                 TRACKBED_TERMINATED, nullptr, result.error()));
        break;
      case 0:
        result.Check(trackbed_slot_parse(slot.data, slot.size, amount.data, amount.size,
                                         in_->OneIn(16) ? nullptr : &thousandths, result.error()));
        break;
      case 1:
        result.Check(
            trackbed_slot_format(slot.data, slot.size, thousandths, &result.bytes, result.error()));
        break;
      case 2:
        result.Check(trackbed_node_check(slot.data, slot.size, in_->Small(), amount.data,
                                         amount.size, &result.bytes, result.error()));
        break;
      default:
        trackbed_error_free(
            trackbed_error_create(static_cast<trackbed_status>(thousandths), slot.data, slot.size));
        (void)trackbed_answer_set(nullptr, slot.data, slot.size);
        (void)trackbed_status_name(static_cast<trackbed_status>(thousandths));
    }
  }

  std::vector<trackbed_slot> SomeSlots() {
    std::vector<trackbed_slot> slots(in_->Below(4));
    for (trackbed_slot& slot : slots) slot = {in_->View(), in_->Number()};
    return slots;
  }

  void Allocators() {
    Result result(in_);
    Allocator* allocator = allocators_.Pick(in_);
    trackbed_slot_allocator* handle = allocator == nullptr ? nullptr : allocator->handle;
    const auto text = in_->Spans();
    const std::vector<trackbed_slot> slots = SomeSlots();
    const trackbed_slot_demand* demand =
        allocator == nullptr || allocator->demands.empty() || in_->OneIn(24)
            ? nullptr
            : allocator->demands[in_->Below(allocator->demands.size())];
    uint64_t id = allocator == nullptr || allocator->ids.empty() || in_->OneIn(8)
                      ? in_->Bits<uint64_t>()
                      : allocator->ids[in_->Below(allocator->ids.size())];
    trackbed_allocation_part parts[8];
    std::memset(parts, 0, sizeof parts);
    const size_t part_size = in_->OneIn(12) ? in_->Below(sizeof parts[0]) : sizeof parts[0];
    const size_t capacity = in_->Below(9);
    size_t count = 0;
    switch (in_->Below(14)) {
      case 0:
      case 1:
        MakeAllocator(text, slots, &result);
        break;
      case 2: {
        trackbed_slot_allocator* made = nullptr;
        result.Check(trackbed_slot_allocator_copy(handle, &made, result.error()));
        if (made != nullptr) allocators_.Add(new Allocator{made, {}, allocator->ids});
        break;
      }
      case 3:
      case 4: {
        trackbed_slot_demand* made = nullptr;
        result.Check(trackbed_slot_allocator_prepare(handle, slots.data(), slots.size(),
                                                     in_->Small(), &made, result.error()));
        if (made != nullptr) allocator->demands.push_back(made);
        break;
      }
      case 5:
      case 6: {
        const trackbed_status status = trackbed_slot_allocator_allocate(
            handle, demand, in_->OneIn(32) ? nullptr : &id, capacity == 0 ? nullptr : parts,
            part_size, capacity, &count, result.error());
        result.Check(status);
        if (status == TRACKBED_OK) allocator->ids.push_back(id);
        break;
      }
      case 7:
        for (size_t i = 0; i < capacity && i < 8; ++i) {
          parts[i].struct_size = static_cast<uint32_t>(part_size);
          parts[i].slot = in_->View();
          parts[i].device = in_->View();
          parts[i].thousandths = in_->Number();
        }
        result.Check(trackbed_slot_allocator_allocate_parts(
            handle, parts, sizeof parts[0], std::min<size_t>(capacity, 8), &id, result.error()));
        if (allocator != nullptr) allocator->ids.push_back(id);
        break;
      case 8:
        result.Check(trackbed_slot_allocator_parts(
            handle, id, parts, part_size, std::min<size_t>(capacity, 8), &count, result.error()));
        break;
      case 9:
        result.Check(trackbed_slot_allocator_release(handle, id, result.error()));
        break;
      case 10:
        result.Check(trackbed_slot_allocator_explain(handle, demand, in_->Out<trackbed_shortfall>(),
                                                     result.error()));
        break;
      case 11:
        result.Check(trackbed_slot_allocator_set_healthy(handle, text.data, text.size, in_->Small(),
                                                         result.error()));
        break;
      case 12:
        if (in_->OneIn(2)) {
          result.Check(
              trackbed_slot_allocator_restore(handle, text.data, text.size, result.error()));
        } else {
          Restart(handle, &result);
        }
        break;
      default:
        allocators_.FreeOne(in_);
    }
    CheckAllocators();
  }
  void MakeAllocator(const Input::Span& text, const std::vector<trackbed_slot>& quanta,
                     Result* result) {
    auto* options =
        in_->Make<trackbed_slot_allocator_options>([&](trackbed_slot_allocator_options* made) {
          made->strategy = in_->Small();
          made->numa = in_->Small();
          made->no_fragmentation = in_->OneIn(2) ? 1 : 0;
          if (!in_->OneIn(8)) return;
          made->quanta = quanta.data();
          made->quantum_count = quanta.size();
        });
    trackbed_slot_allocator* made = nullptr;
    result->Check(trackbed_slot_allocator_create(text.data, text.size, in_->Small(), options, &made,
                                                 result->error()));
    if (made != nullptr) allocators_.Add(new Allocator{made, {}, {}});
  }
  static void Restart(trackbed_slot_allocator* handle, Result* result) {
    const trackbed_status status =
        trackbed_slot_allocator_snapshot(handle, &result->bytes, result->error());
    result->Check(status);
    if (status != TRACKBED_OK) return;
    // What is held already cannot be taken up again, unless it is nothing.
    const bool nothing = trackbed_slot_allocator_live_count(handle) == 0;
    Expect((trackbed_slot_allocator_restore(handle, result->bytes.data, result->bytes.size,
                                            nullptr) == TRACKBED_OK) == nothing,
           "allocations are held twice");
  }
  // No device gives more than it has.
  void CheckAllocators() const {
    for (const Allocator* allocator : allocators_.all()) {
      trackbed_device_usage devices[32];
      size_t count = 0;
      Expect(trackbed_slot_allocator_usage(allocator->handle, devices, sizeof devices[0], 32,
                                           &count, nullptr) == TRACKBED_OK,
             "no usage");
      for (size_t i = 0; i < std::min<size_t>(count, 32); ++i) {
        Expect(devices[i].used >= 0 && devices[i].used <= devices[i].capacity,
               "a device gives more than it has");
      }
    }
  }

  const trackbed_engine_tenant* Tenants(std::vector<trackbed_engine_tenant>* tenants,
                                        const std::vector<trackbed_slot>& slots) {
    for (std::string_view path : {"a", "a/b"}) {
      trackbed_engine_tenant& tenant = tenants->emplace_back();
      TRACKBED_INIT(&tenant);
      if (in_->OneIn(12)) tenant.struct_size = in_->Byte();
      tenant.path = in_->OneIn(8) ? in_->View() : trackbed_string{path.data(), path.size()};
      tenant.limit = slots.data();
      tenant.limit_count = in_->OneIn(4) ? slots.size() : 0;
      tenant.max_running = static_cast<uint32_t>(in_->Below(3));
      tenant.max_waiting = static_cast<uint32_t>(in_->Below(3));
      tenant.weight = in_->OneIn(8) ? in_->Bits<double>() : 0;
    }
    return tenants->data();
  }

  void OpenEngine(Result* result) {
    auto host = std::make_unique<Host>();
    host->input = in_;
    auto* executor = in_->Make<trackbed_executor>([&](trackbed_executor* made) {
      made->user_data = host.get();
      made->start = Host::Start;
      if (!in_->OneIn(16)) made->stop = Host::Stop;
    });
    // Without one it would start processes.
    if (executor == nullptr) return;
    auto* clock = in_->Make<trackbed_clock>([&](trackbed_clock* made) {
      made->user_data = host.get();
      made->now = Host::Now;
    });
    auto* random = in_->Make<trackbed_random>([&](trackbed_random* made) {
      made->user_data = host.get();
      made->next = Host::Next;
    });
    auto* artifacts = in_->Make<trackbed_artifact_store>([&](trackbed_artifact_store* made) {
      made->user_data = host.get();
      made->has = Host::Has;
      made->put = Host::Put;
      if (!in_->OneIn(16)) made->get = Host::Get;
    });
    const std::vector<trackbed_slot> slots = SomeSlots();
    std::vector<trackbed_engine_tenant> tenants;
    auto* options = in_->Make<trackbed_engine_options>([&](trackbed_engine_options* made) {
      made->in_memory = 1;
      made->node = in_->OneIn(4) ? in_->View() : trackbed_text("name: n\ncpu: 4\n");
      if (made->node.size == 0) made->node = trackbed_text("name: n\n");  // not this machine
      if (in_->OneIn(4)) {
        made->slots = slots.data();
        made->slot_count = slots.size();
      }
      made->lease_time_ns = in_->OneIn(8) ? in_->Number() : 0;
      if (in_->OneIn(4)) {
        made->tenants = Tenants(&tenants, slots);
        made->tenant_count = tenants.size();
        made->tenant_size = sizeof tenants[0];
        made->policy = in_->OneIn(4) ? SchedulerOptions() : nullptr;
      }
      made->executor = executor;
      if (in_->OneIn(4)) made->artifact_store = artifacts;
      if (in_->OneIn(32)) {  // refused beside an executor
        made->run_on = in_->Make<trackbed_executor_choice>(
            [&](trackbed_executor_choice* choice) { choice->kind = in_->Small(); });
      }
      made->clock = clock;
      made->random = random;
    });
    // A shorter struct might ask for a store on disk, or for processes.
    if (options != nullptr && options->struct_size < sizeof *options) options->struct_size = 0;
    const trackbed_status status = trackbed_engine_open(options, &host->engine, result->error());
    result->Check(status);
    if (status == TRACKBED_OK) hosts_.Add(host.release());
  }

  void Submit(Host* host, trackbed_engine* engine, Result* result) {
    auto* options = in_->Make<trackbed_submit_options>([&](trackbed_submit_options* made) {
      made->no_cache = in_->OneIn(2) ? 1 : 0;
      if (in_->OneIn(4)) made->parameters = in_->View();
      made->base = trackbed_text("/dev/null/base");
      if (in_->OneIn(8)) made->tenant = in_->View();
      made->has_priority = in_->OneIn(4) ? 1 : 0;
      made->priority = in_->Small();
    });
    if (options == nullptr) return;  // the current folder is not to be read
    if (options->struct_size < sizeof *options) options->struct_size = 0;
    trackbed_bytes run{};
    const trackbed_status status =
        trackbed_engine_submit(engine, pipelines_.Pick(in_), options, &run, result->error());
    result->Check(status);
    if (status == TRACKBED_OK) host->runs.emplace_back(run.data, run.size);
    trackbed_bytes_free(&run);
  }

  void Report(Host* host, trackbed_engine* engine, Result* result) {
    auto* report = in_->Make<trackbed_attempt_report>([&](trackbed_attempt_report* made) {
      made->kind = in_->OneIn(4) ? in_->Small() : int32_t{TRACKBED_ATTEMPT_EXITED};
      if (host != nullptr && !host->attempts.empty() && !in_->OneIn(8)) {
        const std::string& key = host->attempts[in_->Below(host->attempts.size())];
        made->key = {key.data(), key.size()};
      } else {
        made->key = in_->View();
      }
      made->exit_code = in_->OneIn(4) ? in_->Small() : 0;
      made->signal = in_->OneIn(8) ? in_->Small() : 0;
      made->out_of_memory = in_->OneIn(8) ? 1 : 0;
      if (in_->OneIn(4)) made->message = in_->View();
      if (in_->OneIn(2)) made->output_text = in_->View();
      if (in_->OneIn(4)) made->output_digest = in_->View();
      made->wall_time_ns = in_->OneIn(8) ? in_->Number() : 0;
    });
    result->Check(trackbed_engine_report(engine, report, result->error()));
  }

  void Engines() {
    Result result(in_);
    Host* host = hosts_.Pick(in_);
    trackbed_engine* engine = host == nullptr ? nullptr : host->engine;
    Input::Span run = in_->Spans();
    if (host != nullptr && !host->runs.empty() && !in_->OneIn(8)) {
      const std::string& name = host->runs[in_->Below(host->runs.size())];
      run = {name.data(), name.size()};
    }
    const auto task = in_->Spans();
    int32_t flag = 0;
    switch (in_->Below(20)) {
      case 0:
        OpenEngine(&result);
        break;
      case 1:
      case 2:
        Submit(host, engine, &result);
        break;
      case 3:
      case 4:
      case 5:
        if (host != nullptr && in_->OneIn(2)) host->now += in_->Byte() * int64_t{1'000'000'000};
        result.Check(trackbed_engine_step(engine, result.error()));
        break;
      case 6:
      case 7:
        Report(host, engine, &result);
        break;
      case 8:
        result.Check(trackbed_engine_cancel(engine, run.data, run.size, result.error()));
        break;
      case 9:
        result.Check(trackbed_engine_resume(engine, run.data, run.size, result.error()));
        break;
      case 10: {
        const trackbed_string tasks[] = {in_->View(), in_->View()};
        result.Check(trackbed_engine_retry(engine, run.data, run.size,
                                           in_->OneIn(16) ? nullptr : tasks, in_->Below(3),
                                           result.error()));
        break;
      }
      case 11:
        result.Check(
            trackbed_engine_list_runs(engine, in_->Below(4), &result.bytes, result.error()));
        break;
      case 12:
        result.Check(
            trackbed_engine_show(engine, run.data, run.size, &result.bytes, result.error()));
        break;
      case 13:
        result.Check(trackbed_engine_explain(engine, run.data, run.size, task.data, task.size,
                                             &result.bytes, result.error()));
        break;
      case 14:
        result.Check(trackbed_engine_why(engine, run.data, run.size, task.data, task.size,
                                         &result.bytes, result.error()));
        break;
      case 15:
        result.Check(trackbed_engine_read_log(
            engine, run.data, run.size, task.data, task.size, static_cast<uint32_t>(in_->Below(3)),
            static_cast<uint64_t>(in_->Number()), in_->Below(64), &result.bytes,
            in_->OneIn(2) ? nullptr : &flag, result.error()));
        break;
      case 16:
        result.Check(trackbed_engine_outputs(engine, run.data, run.size, task.data, task.size,
                                             &result.bytes, &result.more, result.error()));
        break;
      case 17:
        result.Check(trackbed_engine_publish_results(engine, run.data, run.size, "/dev/null/out",
                                                     TRACKBED_TERMINATED, &result.bytes,
                                                     result.error()));
        break;
      case 18:
        (void)trackbed_engine_wake_descriptor(engine);
        (void)trackbed_engine_next_deadline(engine);
        (void)trackbed_engine_poll_timeout(engine);
        (void)trackbed_engine_is_active(engine, run.data, run.size);
        result.Check(trackbed_engine_wait(engine, run.data, run.size, 0, &flag, result.error()));
        break;
      default:
        // Its event streams stay, and say that it is closed.
        hosts_.FreeOne(in_);
    }
  }

  void Events() {
    Result result(in_);
    Host* host = hosts_.Pick(in_);
    trackbed_events* stream = streams_.Pick(in_);
    trackbed_event list[4];
    size_t count = 0;
    switch (in_->Below(5)) {
      case 0: {
        auto* options = in_->Make<trackbed_events_options>([&](trackbed_events_options* made) {
          made->run = in_->OneIn(2) ? in_->View() : trackbed_text("latest");
          made->from = in_->OneIn(4) ? in_->Bits<uint64_t>() : in_->Below(4);
          made->capacity = in_->Below(4);
        });
        trackbed_events* made = nullptr;
        result.Check(trackbed_events_open(host == nullptr ? nullptr : host->engine, options, &made,
                                          result.error()));
        streams_.Add(made);
        break;
      }
      case 1:
      case 2:
        result.Check(trackbed_events_next(
            stream, list, in_->OneIn(12) ? in_->Below(sizeof list[0]) : sizeof list[0],
            in_->Below(5), in_->OneIn(16) ? nullptr : &count, result.error()));
        break;
      case 3:
        result.Check(trackbed_events_next_json(stream, in_->Below(5), &result.bytes, &count,
                                               result.error()));
        (void)trackbed_events_descriptor(stream);
        break;
      default:
        streams_.FreeOne(in_);
    }
  }

  trackbed_node_capacity* Capacity() {
    return in_->Make<trackbed_node_capacity>([&](trackbed_node_capacity* made) {
      made->cpu = in_->OneIn(8) ? in_->Number() : 16'000;
      made->memory = in_->OneIn(8) ? in_->Number() : int64_t{1} << 36;
      made->device_count = in_->OneIn(8) ? in_->Small() : 4;
      made->device_kind[0] = in_->OneIn(8) ? in_->Byte() : 0;
      made->architecture = in_->OneIn(8) ? in_->Small() : 0;
      made->device_resource = in_->OneIn(8) ? in_->Small() : 0;
      if (in_->OneIn(4)) made->counted[in_->Below(TRACKBED_MAX_COUNTED)] = in_->Number();
    });
  }
  trackbed_task* Task() {
    return in_->Make<trackbed_task>([&](trackbed_task* made) {
      made->id = in_->Below(16);
      made->tenant = in_->Index(8, 1);
      made->priority = in_->Small();
      made->kind = in_->OneIn(8) ? in_->Small() : 0;
      made->members = in_->Index(32, 4);
      made->on_different_nodes = in_->OneIn(4) ? 1 : 0;
      made->not_preemptible = in_->OneIn(4) ? 1 : 0;
      made->device_resource = in_->OneIn(16) ? in_->Small() : 0;
      made->run_time_ns = in_->OneIn(4) ? in_->Number() : 60'000'000'000;
      made->history = in_->Below(3);
      made->not_before_ns = in_->OneIn(16) ? in_->Number() : 0;
      made->cpu = in_->OneIn(8) ? in_->Number() : 1000;
      made->memory = in_->OneIn(8) ? in_->Number() : 0;
      made->whole_devices = in_->OneIn(8) ? in_->Small() : static_cast<int32_t>(in_->Below(3));
      made->share = in_->OneIn(8) ? in_->Small() : static_cast<int32_t>(100 * in_->Below(10));
      made->device_kinds = in_->OneIn(8) ? in_->Bits<uint64_t>() : 0;
      made->architectures = in_->OneIn(8) ? in_->Bits<uint32_t>() : 0;
      if (in_->OneIn(8)) made->counted[in_->Below(TRACKBED_MAX_COUNTED)] = in_->Number();
    });
  }
  static trackbed_status Rank(void* user, const trackbed_task* /*task*/, int64_t /*submitted*/,
                              int64_t* rank, trackbed_error** error) {
    auto* input = static_cast<Input*>(user);
    if (input->OneIn(16)) throw 1;
    if (input->OneIn(16)) *error = trackbed_error_create(TRACKBED_UNAVAILABLE, "no", 2);
    *rank = input->Number();
    return *error == nullptr ? TRACKBED_OK : TRACKBED_UNAVAILABLE;
  }
  static trackbed_status Share(void* user, uint32_t /*tenant*/,
                               const trackbed_tenant_usage* /*usage*/, int64_t /*now*/,
                               double* share, trackbed_error** /*error*/) {
    auto* input = static_cast<Input*>(user);
    if (input->OneIn(16)) throw 1;
    *share = input->OneIn(8) ? input->Bits<double>() : input->Small();
    return TRACKBED_OK;
  }
  trackbed_quota* Quota() {
    return in_->Make<trackbed_quota>([&](trackbed_quota* made) {
      made->limited = in_->Byte();
      const size_t resource = in_->Below(TRACKBED_MAX_RESOURCES);
      made->limit[resource] = in_->Number();
      made->guaranteed[resource] = in_->Number();
      made->max_running = static_cast<uint32_t>(in_->Below(4));
      made->max_waiting = static_cast<uint32_t>(in_->Below(8));
      made->weight = in_->OneIn(8) ? in_->Bits<double>() : in_->Small();
    });
  }
  static trackbed_status Choose(void* user, const trackbed_cluster_view* view,
                                const trackbed_demand* demand, trackbed_placement* out,
                                trackbed_error**) {
    auto* input = static_cast<Input*>(user);
    if (input->OneIn(16)) throw 1;
    out->node = static_cast<uint32_t>(input->Below(5));
    out->whole_devices = input->Byte();
    out->shared_device = static_cast<int16_t>(input->Small());
    if (!input->OneIn(4)) (void)trackbed_cluster_view_fits(view, out->node, demand, out);
    (void)trackbed_cluster_view_node(view, out->node, input->Out<trackbed_node_capacity>(),
                                     input->Out<trackbed_node_state>());
    return input->OneIn(4) ? TRACKBED_NOT_FOUND : TRACKBED_OK;
  }
  trackbed_scheduler_options* SchedulerOptions() {
    return in_->Make<trackbed_scheduler_options>([&](trackbed_scheduler_options* made) {
      made->order = in_->Small();
      made->backfill = in_->Small();
      made->reservation_depth = static_cast<uint32_t>(in_->Below(4));
      made->preempt_by_priority = in_->OneIn(2) ? 1 : 0;
      made->reclaim = in_->OneIn(2) ? 1 : 0;
      made->ageing_ns = in_->OneIn(4) ? in_->Number() : 0;
      made->minimum_run_time_ns = in_->OneIn(4) ? in_->Number() : 0;
      made->default_run_time_ns = in_->OneIn(4) ? in_->Number() : 0;
      made->gang_grace_ns = in_->OneIn(4) ? in_->Number() : 0;
      made->claim_time_ns = in_->OneIn(4) ? in_->Number() : 0;
      made->half_life_ns = in_->OneIn(4) ? in_->Number() : 0;
      made->kinds = in_->OneIn(8) ? in_->Byte() : 0;
      if (in_->OneIn(4)) made->placer = in_->View();
      if (in_->OneIn(4)) {
        made->host_order = in_->Make<trackbed_order>([&](trackbed_order* order) {
          order->user_data = in_;
          if (!in_->OneIn(16)) order->rank = Rank;
          if (in_->OneIn(2)) order->share = Share;
        });
      }
      if (!in_->OneIn(4)) return;
      made->host_placer = in_->Make<trackbed_placer>([&](trackbed_placer* placer) {
        placer->user_data = in_;
        placer->choose = Choose;
      });
    });
  }
  void TakePlan(trackbed_plan* plan) {
    if (plan == nullptr) return;
    trackbed_plan_item items[3];
    const size_t size = trackbed_plan_size(plan);
    Expect(trackbed_plan_read(plan, 0, items, sizeof items[0], 3) == std::min<size_t>(size, 3),
           "a plan that is shorter than it says");
    (void)trackbed_plan_read(plan, in_->Below(8), items, in_->Below(sizeof items[0]), 3);
    (void)trackbed_plan_next(plan);
    trackbed_plan_free(plan);
  }
  // Times do not go back.
  int64_t Now() { return now_ += in_->OneIn(4) ? in_->Byte() * int64_t{1'000'000'000} : 0; }

  void Schedulers() {
    Result result(in_);
    result.may_be_internal = true;  // of a placer of the host's
    trackbed_scheduler* scheduler = schedulers_.Pick(in_);
    const auto name = in_->Spans();
    const auto number = in_->Index(16, 4);
    const uint64_t task = in_->Below(16);
    trackbed_plan* plan = nullptr;
    uint32_t index = 0;
    switch (in_->Below(20)) {
      case 0: {
        trackbed_scheduler* made = nullptr;
        result.Check(trackbed_scheduler_create(SchedulerOptions(), &made, result.error()));
        schedulers_.Add(made);
        break;
      }
      case 1:
      case 2:
        result.Check(trackbed_scheduler_add_node(scheduler, name.data, name.size, Capacity(),
                                                 &index, result.error()));
        break;
      case 3:
        result.Check(in_->OneIn(2)
                         ? trackbed_scheduler_drain_node(scheduler, number, result.error())
                         : trackbed_scheduler_open_node(scheduler, number, result.error()));
        break;
      case 4:
        result.Check(trackbed_scheduler_lose_node(scheduler, number, Now(), &plan, result.error()));
        break;
      case 5:
        (void)trackbed_scheduler_node_name(scheduler, number);
        result.Check(trackbed_scheduler_node(scheduler, number, in_->Out<trackbed_node_capacity>(),
                                             in_->Out<trackbed_node_state>(), result.error()));
        break;
      case 6:
        result.Check(trackbed_scheduler_add_tenant(scheduler, number, name.data, name.size, Quota(),
                                                   &index, result.error()));
        break;
      case 7:
        result.Check(trackbed_scheduler_set_quota(scheduler, number, Quota(), result.error()));
        break;
      case 8:
        result.Check(trackbed_scheduler_find_tenant(scheduler, name.data, name.size, &index,
                                                    result.error()));
        (void)trackbed_scheduler_tenant_usage(scheduler, number, in_->Out<trackbed_tenant_usage>(),
                                              nullptr);
        break;
      case 9:
      case 10:
      case 11:
        result.Check(trackbed_scheduler_submit(scheduler, Task(), Now(), result.error()));
        break;
      case 12: {
        trackbed_placement places[3];
        for (trackbed_placement& place : places) {
          place = {static_cast<uint32_t>(in_->Below(3)), static_cast<uint16_t>(in_->Below(16)),
                   static_cast<int16_t>(in_->Small())};
        }
        const int64_t now = Now();
        result.Check(trackbed_scheduler_restore(scheduler, Task(), places, in_->Below(4),
                                                now - in_->Byte(), now, result.error()));
        break;
      }
      case 13:
        result.Check(trackbed_scheduler_finish(scheduler, task, Now(), result.error()));
        break;
      case 14:
      case 15:
        result.Check(trackbed_scheduler_schedule(scheduler, Now(), &plan, result.error()));
        break;
      case 16:
        result.Check(trackbed_scheduler_explain(scheduler, task, Now(),
                                                in_->Out<trackbed_wait_reason>(), &result.bytes,
                                                result.error()));
        break;
      case 17: {
        int64_t start = 0;
        if (in_->OneIn(2)) {
          result.Check(trackbed_scheduler_predict(scheduler, Task(), Now(), &start,
                                                  in_->Out<trackbed_wait_reason>(), &result.bytes,
                                                  result.error()));
          break;
        }
        auto* what_if = in_->Make<trackbed_what_if>([&](trackbed_what_if* made) {
          made->added = Capacity();
          made->added_size = in_->OneIn(8) ? in_->Byte() : sizeof(trackbed_node_capacity);
          made->added_count = in_->Below(2);
          made->drained = &number;
          made->drained_count = in_->Below(2);
        });
        result.Check(trackbed_scheduler_predict_if(scheduler, Task(), what_if, Now(), &start,
                                                   in_->Out<trackbed_wait_reason>(), &result.bytes,
                                                   result.error()));
        break;
      }
      case 18: {
        trackbed_placement places[2];
        size_t count = 0;
        (void)trackbed_scheduler_task_state(scheduler, task);
        (void)trackbed_scheduler_placements(scheduler, task, places, in_->Below(3), &count,
                                            nullptr);
        result.Check(trackbed_scheduler_get_stats(scheduler, in_->Out<trackbed_scheduler_stats>(),
                                                  result.error()));
        break;
      }
      default:
        if (in_->OneIn(4)) schedulers_.FreeOne(in_);
    }
    TakePlan(plan);
  }

  void Groups() {
    Result result(in_);
    result.may_be_internal = true;
    trackbed_groups* groups = groups_.Pick(in_);
    const auto* who = in_->OneIn(2) ? nullptr : in_->Make<trackbed_principal>([&](auto* made) {
      made->tenant = static_cast<uint32_t>(in_->Below(4));
      made->operates_nodes = in_->OneIn(2) ? 1 : 0;
      made->sets_policies = in_->OneIn(2) ? 1 : 0;
      made->manages_tenants = in_->OneIn(2) ? 1 : 0;
    });
    const auto group = in_->Spans();
    const auto name = in_->Spans();
    const auto number = in_->Index(16, 4);
    uint32_t index = 0;
    const uint32_t allowed[] = {number, 1};
    auto* rules = in_->Make<trackbed_group_rules>([&](trackbed_group_rules* made) {
      made->architectures = in_->OneIn(8) ? in_->Bits<uint32_t>() : 0;
      made->allowed = allowed;
      made->allowed_count = in_->Below(3);
    });
    switch (in_->Below(11)) {
      case 0: {
        trackbed_groups* made = nullptr;
        result.Check(trackbed_groups_create(&made, result.error()));
        groups_.Add(made);
        break;
      }
      case 1:
        result.Check(trackbed_groups_add_tenant(groups, who, number, name.data, name.size, &index,
                                                result.error()));
        break;
      case 2:
        result.Check(trackbed_groups_set_quota(groups, who, group.data, group.size, number, Quota(),
                                               result.error()));
        break;
      case 3:
        result.Check(trackbed_groups_add_group(groups, who, group.data, group.size, rules,
                                               SchedulerOptions(), result.error()));
        break;
      case 4:
        result.Check(
            trackbed_groups_set_rules(groups, who, group.data, group.size, rules, result.error()));
        break;
      case 5:
        result.Check(trackbed_groups_add_node(groups, who, group.data, group.size, name.data,
                                              name.size, Capacity(), &index, result.error()));
        break;
      case 6:
        result.Check(trackbed_groups_set_node_open(groups, who, group.data, group.size, name.data,
                                                   name.size, in_->Small(), result.error()));
        break;
      case 7:
        result.Check(
            trackbed_groups_usable(groups, who, in_->Small(), &result.bytes, result.error()));
        break;
      case 8:
        result.Check(trackbed_groups_submit(groups, who, group.data, group.size, Task(), Now(),
                                            result.error()));
        break;
      case 9: {
        trackbed_plan* plan = nullptr;
        result.Check(
            trackbed_scheduler_schedule(trackbed_groups_scheduler(groups, group.data, group.size),
                                        Now(), &plan, result.error()));
        TakePlan(plan);
        break;
      }
      default:
        result.Check(trackbed_groups_withdraw(groups, who, group.data, group.size, in_->Below(16),
                                              Now(), result.error()));
        if (in_->OneIn(8)) groups_.FreeOne(in_);
    }
  }

  void Simulation() {
    Result result(in_);
    auto* options = in_->Make<trackbed_simulation_options>([&](trackbed_simulation_options* made) {
      made->trace = in_->Small();
      made->nodes = in_->View();
      made->workload = in_->View();
      if (in_->OneIn(4)) made->placer = in_->View();
      made->inflate = in_->OneIn(2) ? 0 : in_->Bits<double>();
      made->policy = in_->OneIn(2) ? nullptr : SchedulerOptions();
    });
    result.Check(trackbed_simulate(options, &result.bytes, in_->OneIn(2) ? nullptr : &result.more,
                                   nullptr, result.error()));
  }

  Input* in_;
  int64_t now_ = 0;
  Pool<trackbed_pipeline, trackbed_pipeline_free> pipelines_;
  Pool<Allocator, FreeAllocator> allocators_;
  Pool<Host, FreeHost> hosts_;
  Pool<trackbed_events, trackbed_events_close> streams_;  // closed first
  Pool<trackbed_scheduler, trackbed_scheduler_free> schedulers_;
  Pool<trackbed_groups, trackbed_groups_free> groups_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  TheSilence().Begin();
  {
    Input input(data, size);
    Session session(&input);
    session.Run();
  }
  const std::string printed = TheSilence().End();
  Require(printed.empty(), "the library printed", printed);
  return 0;
}
