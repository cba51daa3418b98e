// Memory that is out at any one allocation, and from any one on: the calls that trackbed.h promises
// it for return TRACKBED_RESOURCE_EXHAUSTED, or do without; they do not end the process, and what
// they were called on can be used or freed.
//
//   memory_test [STORY [N]]      N: in this process, for a debugger
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "trackbed.h"

// Everybody in the process allocates by these, the library too: they stand before the C library's.
extern "C" {
void* __libc_malloc(size_t size);                      // NOLINT
void* __libc_calloc(size_t count, size_t size);        // NOLINT
void* __libc_realloc(void* pointer, size_t size);      // NOLINT
void* __libc_memalign(size_t alignment, size_t size);  // NOLINT
}

namespace {

struct Failing {
  bool armed = false;
  bool for_good = false;  // all later ones too
  int64_t at = 0;
  int64_t count = 0;
  bool happened = false;
};
Failing failing;  // the test has one thread

bool Fails() {
  if (!failing.armed) return false;
  ++failing.count;
  const bool fails = failing.for_good ? failing.count >= failing.at : failing.count == failing.at;
  if (fails) {
    failing.happened = true;
    errno = ENOMEM;
  }
  return fails;
}

}  // namespace

extern "C" {
void* malloc(size_t size) { return Fails() ? nullptr : __libc_malloc(size); }
void* calloc(size_t count, size_t size) { return Fails() ? nullptr : __libc_calloc(count, size); }
void* realloc(void* pointer, size_t size) {
  return Fails() ? nullptr : __libc_realloc(pointer, size);
}
void* memalign(size_t alignment, size_t size) {
  return Fails() ? nullptr : __libc_memalign(alignment, size);
}
void* aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }
int posix_memalign(void** out, size_t alignment, size_t size) {
  *out = memalign(alignment, size);
  return *out == nullptr ? ENOMEM : 0;
}
}

namespace {

constexpr char kNode[] =
    "name: n\ncpu: 8\nmem: 16g\n"
    "devices: [{id: gpu0, slot: cuda.shares}, {id: gpu1, slot: cuda.shares}]\n";
constexpr char kWrongNode[] = "name: 7\ncpu: much\nrack: [r1]\ndevices: [{id: gpu0}, {id: gpu0}]\n";
constexpr char kPipeline[] =
    "name: squares\nparameters: {limit: 5}\nlabels: {team: vision}\ntasks:\n"
    "- name: count\n  command: 'seq ${{ params.limit }}'\n  resources: {cpu: 2, mem: 1g}\n"
    "- name: square\n  command: [python3, square.py]\n  dependencies: [count]\n"
    "  when: params.limit > 3\n  retry: 2\n  outputs: {sum: integer}\n";
constexpr char kWrong[] = "name: 7\ntasks:\n- name: a\n  comand: x\n- name: a\n  when: '1 +'\n";

[[noreturn]] void Die(const char* what) {
  failing.armed = false;
  std::fprintf(stderr, "%s\n", what);
  std::_Exit(3);
}

// An error can be read, as far as it got.
void ReadAll(const trackbed_error* error) {
  if (error == nullptr) return;
  const size_t count = trackbed_error_diagnostic_count(error);
  for (size_t i = 0; i <= count; ++i) {
    trackbed_diagnostic diagnostic;
    TRACKBED_INIT(&diagnostic);
    const trackbed_status status = trackbed_error_diagnostic(error, i, &diagnostic);
    if (status == TRACKBED_RESOURCE_EXHAUSTED) continue;
    if (status != (i < count ? TRACKBED_OK : TRACKBED_NOT_FOUND)) Die("a mistake cannot be read");
    if (i < count && diagnostic.message.size == 0) Die("a mistake without a word");
  }
  if (trackbed_error_message(error).size == 0 &&
      trackbed_error_code(error) != TRACKBED_RESOURCE_EXHAUSTED) {
    Die("an error without a word");
  }
}

// What a call may return: what it returns with memory, or that there is none.
struct Caller {
  bool out_of_memory = false;

  // True when the call did what it does with memory.
  bool operator()(trackbed_status status, trackbed_error** error,
                  trackbed_status expected = TRACKBED_OK) {
    const bool told = *error == nullptr || trackbed_error_code(*error) == status;
    ReadAll(*error);
    trackbed_error_free(*error);
    *error = nullptr;
    if (!told) Die("the error says another code than the call");
    if (status == expected) return true;
    if (status != TRACKBED_RESOURCE_EXHAUSTED) Die(trackbed_status_name(status));
    out_of_memory = true;
    return false;
  }
};

void Errors(Caller& call) {
  trackbed_error* error = trackbed_error_create(TRACKBED_UNAVAILABLE, "later", TRACKBED_TERMINATED);
  if (error != nullptr && trackbed_error_code(error) != TRACKBED_UNAVAILABLE) Die("another code");
  trackbed_error_free(error);
  error = nullptr;
  int64_t amount = 0;
  call(trackbed_slot_parse("mem", 3, "16g", 3, &amount, &error), &error);
  call(trackbed_slot_parse("mem", 3, "much", 4, &amount, &error), &error,
       TRACKBED_INVALID_ARGUMENT);
  trackbed_bytes text = {nullptr, 0};
  call(trackbed_slot_format("mem", 3, amount, &text, &error), &error);
  trackbed_bytes_free(&text);
  // The mistakes of a document, one by one.
  trackbed_slot_allocator* none = nullptr;
  call(trackbed_slot_allocator_create(kWrongNode, TRACKBED_TERMINATED, TRACKBED_FORMAT_AUTO,
                                      nullptr, &none, &error),
       &error, TRACKBED_INVALID_ARGUMENT);
}

std::string Snapshot(const trackbed_slot_allocator* allocator) {
  const Failing before = failing;
  failing.armed = false;
  trackbed_bytes json = {nullptr, 0};
  if (trackbed_slot_allocator_snapshot(allocator, &json, nullptr) != TRACKBED_OK)
    Die("no snapshot");
  std::string text(json.data, json.size);
  trackbed_bytes_free(&json);
  failing = before;
  return text;
}

// What an allocation holds, given back and taken once more by name. False when it is not live any
// more.
bool TakeAgain(Caller& call, trackbed_slot_allocator* allocator, uint64_t& id) {
  trackbed_error* error = nullptr;
  trackbed_allocation_part parts[4];
  size_t count = 0;
  if (!call(trackbed_slot_allocator_parts(allocator, id, parts, sizeof parts[0], 4, &count, &error),
            &error)) {
    return true;
  }
  uint64_t other = 0;
  const std::string full = Snapshot(allocator);
  // Not while they are held.
  call(trackbed_slot_allocator_allocate_parts(allocator, parts, sizeof parts[0], count, &other,
                                              &error),
       &error, TRACKBED_INVALID_ARGUMENT);
  if (Snapshot(allocator) != full) Die("parts that are held have been taken");
  if (!call(trackbed_slot_allocator_release(allocator, id, &error), &error)) return true;
  for (int tries = 0; tries < 2; ++tries) {  // the second time there is memory, as a rule
    const std::string before = Snapshot(allocator);
    if (call(trackbed_slot_allocator_allocate_parts(allocator, parts, sizeof parts[0], count, &id,
                                                    &error),
             &error)) {
      return true;
    }
    if (Snapshot(allocator) != before) Die("parts that could not be taken have been taken");
  }
  return false;
}

void Slots(Caller& call) {
  trackbed_error* error = nullptr;
  trackbed_slot_allocator* allocator = nullptr;
  trackbed_slot_allocator_options options;
  TRACKBED_INIT(&options);
  options.no_fragmentation = 1;
  if (!call(trackbed_slot_allocator_create(kNode, TRACKBED_TERMINATED, TRACKBED_FORMAT_AUTO,
                                           &options, &allocator, &error),
            &error)) {
    return;
  }
  const trackbed_slot wanted[] = {{trackbed_text("cuda.shares"), 600},
                                  {trackbed_text("cpu"), 1000}};
  trackbed_slot_demand* demand = nullptr;
  std::vector<uint64_t> ids;
  const bool is_armed = std::exchange(failing.armed, false);
  ids.reserve(4);
  failing.armed = is_armed;
  if (call(trackbed_slot_allocator_prepare(allocator, wanted, 2, 0, &demand, &error), &error)) {
    for (int i = 0; i < 3; ++i) {
      const std::string before = Snapshot(allocator);
      uint64_t id = 0;
      trackbed_allocation_part parts[4];
      size_t count = 0;
      const trackbed_status expected = ids.size() == 2 ? TRACKBED_RESOURCE_EXHAUSTED : TRACKBED_OK;
      if (call(trackbed_slot_allocator_allocate(allocator, demand, &id, parts, sizeof parts[0], 4,
                                                &count, &error),
               &error, expected)) {
        if (expected == TRACKBED_OK) ids.push_back(id);
      } else if (Snapshot(allocator) != before) {
        Die("an allocation that failed has taken something");
      }
    }
    trackbed_shortfall shortfall;
    TRACKBED_INIT(&shortfall);
    call(trackbed_slot_allocator_explain(allocator, demand, &shortfall, &error), &error);
    trackbed_device_usage usage[8];
    size_t devices = 0;
    call(trackbed_slot_allocator_usage(allocator, usage, sizeof usage[0], 8, &devices, &error),
         &error);
    if (!ids.empty() && !TakeAgain(call, allocator, ids.back())) ids.pop_back();
    call(trackbed_slot_allocator_set_healthy(allocator, "gpu1", 4, 0, &error), &error);
    trackbed_slot_allocator* copy = nullptr;
    if (call(trackbed_slot_allocator_copy(allocator, &copy, &error), &error)) {
      if (trackbed_slot_allocator_live_count(copy) != ids.size()) Die("a copy lacks something");
      trackbed_slot_allocator_free(copy);
    }
    for (const uint64_t id : ids) {
      const std::string before = Snapshot(allocator);
      if (!call(trackbed_slot_allocator_release(allocator, id, &error), &error) &&
          Snapshot(allocator) != before) {
        Die("a release that failed has given something back");
      }
    }
  }
  trackbed_slot_demand_free(demand);
  trackbed_slot_allocator_free(allocator);
}

void FillScheduler(Caller& call, trackbed_scheduler* scheduler) {
  trackbed_error* error = nullptr;
  for (const char* name : {"n0", "n1", "n2"}) {
    trackbed_node_capacity capacity;
    TRACKBED_INIT(&capacity);
    capacity.cpu = 8000;
    capacity.memory = INT64_C(1) << 34U;
    capacity.device_count = 4;
    if (!call(trackbed_scheduler_add_node(scheduler, name, 2, &capacity, nullptr, &error),
              &error)) {
      return;
    }
  }
  trackbed_quota quota;
  TRACKBED_INIT(&quota);
  quota.limited = 1U << 2U;
  quota.limit[2] = 6000;
  uint32_t guests = 0;
  if (!call(trackbed_scheduler_add_tenant(scheduler, 0, "guests", 6, &quota, &guests, &error),
            &error)) {
    return;
  }
  for (uint64_t id = 1; id <= 12; ++id) {
    trackbed_task task;
    TRACKBED_INIT(&task);
    task.id = id;
    task.cpu = 2000;
    task.whole_devices = static_cast<int32_t>(id % 4);
    task.members = id == 5 ? 3 : 1;
    task.run_time_ns = INT64_C(60'000'000'000) * static_cast<int64_t>(id);
    task.tenant = id % 2 == 0 ? guests : 0;
    if (!call(trackbed_scheduler_submit(scheduler, &task, 0, &error), &error)) return;
  }
  for (int64_t now = 1; now < 4; ++now) {
    trackbed_plan* plan = nullptr;
    const bool planned = call(trackbed_scheduler_schedule(scheduler, now, &plan, &error), &error);
    if (!planned) return;
    for (size_t i = 0; i < trackbed_plan_size(plan); ++i) {
      trackbed_plan_item item;
      trackbed_plan_read(plan, i, &item, sizeof item, 1);
      if (item.kind != TRACKBED_PLAN_START || item.task % 2 != 0 || item.task == 5) continue;
      if (!call(trackbed_scheduler_finish(scheduler, item.task, now, &error), &error)) break;
    }
    trackbed_plan_free(plan);
    if (call.out_of_memory) return;
  }
  for (uint64_t id = 1; id <= 12; ++id) {
    trackbed_wait_reason reason;
    TRACKBED_INIT(&reason);
    trackbed_bytes sentence = {nullptr, 0};
    const trackbed_status status =
        trackbed_scheduler_explain(scheduler, id, 5, &reason, &sentence, &error);
    trackbed_bytes_free(&sentence);
    if (status != TRACKBED_NOT_FOUND) call(status, &error);
    trackbed_error_free(error);
    error = nullptr;
  }
}

void Scheduler(Caller& call) {
  trackbed_error* error = nullptr;
  trackbed_scheduler* scheduler = nullptr;
  if (call(trackbed_scheduler_create(nullptr, &scheduler, &error), &error)) {
    FillScheduler(call, scheduler);
  }
  trackbed_scheduler_free(scheduler);
}

void Groups(Caller& call) {
  trackbed_error* error = nullptr;
  trackbed_groups* groups = nullptr;
  if (!call(trackbed_groups_create(&groups, &error), &error)) return;
  uint32_t tenant = 0;
  trackbed_node_capacity capacity;
  TRACKBED_INIT(&capacity);
  capacity.cpu = 1000;
  trackbed_task task;
  TRACKBED_INIT(&task);
  task.id = 1;
  task.cpu = 500;
  trackbed_bytes json = {nullptr, 0};
  if (call(trackbed_groups_add_tenant(groups, nullptr, 0, "ada", 3, &tenant, &error), &error) &&
      call(trackbed_groups_add_group(groups, nullptr, "gpu", 3, nullptr, nullptr, &error),
           &error) &&
      call(trackbed_groups_add_node(groups, nullptr, "gpu", 3, "n", 1, &capacity, nullptr, &error),
           &error) &&
      call(trackbed_groups_submit(groups, nullptr, "gpu", 3, &task, 0, &error), &error)) {
    call(trackbed_groups_usable(groups, nullptr, 0, &json, &error), &error);
    call(trackbed_groups_withdraw(groups, nullptr, "gpu", 3, 1, 0, &error), &error);
  }
  trackbed_bytes_free(&json);
  trackbed_groups_free(groups);
}

void Pipelines(Caller& call) {
  trackbed_error* error = nullptr;
  trackbed_pipeline* pipeline = nullptr;
  call(trackbed_pipeline_parse(kWrong, TRACKBED_TERMINATED, TRACKBED_FORMAT_YAML, "w.yaml", 6,
                               &pipeline, &error),
       &error, TRACKBED_INVALID_ARGUMENT);
  if (!call(trackbed_pipeline_parse(kPipeline, TRACKBED_TERMINATED, TRACKBED_FORMAT_AUTO, nullptr,
                                    0, &pipeline, &error),
            &error)) {
    return;
  }
  for (const trackbed_format format : {TRACKBED_FORMAT_YAML, TRACKBED_FORMAT_JSON}) {
    trackbed_bytes text = {nullptr, 0};
    trackbed_pipeline* again = nullptr;
    if (call(trackbed_pipeline_write(pipeline, format, &text, nullptr, &error), &error)) {
      call(trackbed_pipeline_parse(text.data, text.size, format, nullptr, 0, &again, &error),
           &error);
    }
    trackbed_pipeline_free(again);
    trackbed_bytes_free(&text);
  }
  for (const trackbed_graph_format format : {TRACKBED_GRAPH_TEXT, TRACKBED_GRAPH_JSON}) {
    trackbed_bytes text = {nullptr, 0};
    call(trackbed_pipeline_graph(pipeline, format, &text, &error), &error);
    trackbed_bytes_free(&text);
  }
  trackbed_bytes text = {nullptr, 0};
  call(trackbed_pipeline_tasks(pipeline, &text, &error), &error);
  trackbed_bytes_free(&text);
  call(trackbed_pipeline_bind(pipeline, "{\"limit\": 9}", TRACKBED_TERMINATED, &text, &error),
       &error);
  trackbed_bytes_free(&text);
  call(trackbed_pipeline_validate(kWrong, TRACKBED_TERMINATED, TRACKBED_FORMAT_YAML, nullptr, 0,
                                  &text, &error),
       &error);
  trackbed_bytes_free(&text);
  trackbed_pipeline_free(pipeline);
}

// What trackbed.h does not promise is there to be tried by name: a host may ask how it stands.
struct Story {
  const char* name;
  void (*tell)(Caller&);
  bool is_promised;
};
constexpr Story kStories[] = {{"errors", Errors, true},
                              {"slots", Slots, true},
                              {"scheduler", Scheduler, false},
                              {"groups", Groups, false},
                              {"pipelines", Pipelines, false}};

// One telling with the n-th allocation failing; false when there is no n-th.
bool Tell(const Story& story, int64_t n, bool for_good) {
  Caller caller;
  failing = {true, for_good, n, 0, false};
  story.tell(caller);
  failing.armed = false;
  return failing.happened;
}

// In processes of their own, so that one that ends is seen. Returns how many n failed.
int Torture(const Story& story) {
  int bad = 0;
  Caller sound;
  story.tell(sound);  // what is made once is made; and it has to work
  if (sound.out_of_memory) Die("out of memory with memory");
  for (const bool for_good : {false, true}) {
    int64_t n = 1;
    bool more = true;
    while (more) {
      // Many in one process; after one that ends, the next one goes on behind it.
      int progress[2];
      if (::pipe(progress) != 0) Die("no pipe");
      const pid_t child = ::fork();
      if (child == 0) {
        ::close(progress[0]);
        for (;; ++n) {
          if (::write(progress[1], &n, sizeof n) != sizeof n) std::_Exit(4);
          if (!Tell(story, n, for_good)) std::_Exit(0);
        }
      }
      ::close(progress[1]);
      int64_t reached = n;
      while (::read(progress[0], &reached, sizeof reached) == sizeof reached) n = reached;
      ::close(progress[0]);
      int status = 0;
      if (::waitpid(child, &status, 0) != child) Die("no child");
      more = status != 0;
      if (more) {
        std::printf("%s: the process ends when allocation %lld %s: %s %d\n", story.name,
                    static_cast<long long>(n), for_good ? "and all later ones fail" : "fails",
                    WIFSIGNALED(status) ? "signal" : "code",
                    WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        ++n;
        if (++bad > 40) return bad;
      }
    }
    std::printf("%s: %lld allocations, %s\n", story.name, static_cast<long long>(n - 1),
                for_good ? "none from there on" : "one at a time");
    std::fflush(stdout);
  }
  return bad;
}

}  // namespace

int main(int argc, char** argv) {
  int bad = 0;
  for (const Story& story : kStories) {
    if (argc > 2 && std::strcmp(argv[1], story.name) == 0) {
      Caller sound;
      story.tell(sound);
      Tell(story, std::strtoll(argv[2], nullptr, 10), false);
      return 0;
    }
    const bool is_wanted = argc < 2 ? story.is_promised : std::strcmp(argv[1], story.name) == 0;
    if (is_wanted) bad += Torture(story);
  }
  return bad == 0 ? 0 : 1;
}
