/* Trackbed for C, and for whatever speaks C: pipelines, the engine that runs them, slots of
 * devices, the scheduler of a cluster, simulation.
 *
 *   trackbed_error *error = NULL;
 *   trackbed_pipeline *pipeline = NULL;
 *   if (trackbed_pipeline_load("digits.yaml", TRACKBED_TERMINATED, &pipeline, &error)) goto failed;
 *
 *   trackbed_engine_options options;
 *   TRACKBED_INIT(&options);
 *   options.home = trackbed_text("/var/lib/digits");
 *   trackbed_engine *engine = NULL;
 *   if (trackbed_engine_open(&options, &engine, &error)) goto failed;
 *
 *   trackbed_bytes run = {NULL, 0};
 *   if (trackbed_engine_submit(engine, pipeline, NULL, &run, &error)) goto failed;
 *   if (trackbed_engine_wait(engine, run.data, run.size, -1, NULL, &error)) goto failed;
 *
 * What holds for every function:
 *
 * Status   What can fail returns a trackbed_status; 0 is success. Out parameters come after the
 *          inputs and are written on success only, unless said otherwise. The last parameter takes
 *          a trackbed_error that the caller frees; NULL is fine where nobody wants to know. It is
 *          set on failure and left alone on success. A NULL where a pointer is needed, a struct
 *          of a size that it never had or text that is not what it should be is
 *          TRACKBED_INVALID_ARGUMENT, never a crash; a pointer to nothing is the caller's mistake.
 *          TRACKBED_INTERNAL is a bug of ours. Under "Errors" stands what else there is.
 * Memory   that is out is TRACKBED_RESOURCE_EXHAUSTED, and what was called is as it was, of errors,
 *          texts and slots: trackbed_error_*, trackbed_slot_parse and _format, and
 *          trackbed_slot_allocator_* but for _snapshot and _restore; a node's description in YAML
 *          included. Of all else it may be, but the process may also end: tables of Abseil's,
 *          messages of protobuf's and JSON, which the rest is made of, do not survive it.
 * Text     is UTF-8 with its length. Functions take (data, size); TRACKBED_TERMINATED as size
 *          stands for strlen. Nothing is kept of what is passed in: it is copied where needed.
 * Owned    A handle (trackbed_engine, …) belongs to the caller, who ends it with the function
 *          named there, once; these take NULL. trackbed_bytes that a function fills belong to the
 *          caller and are freed with trackbed_bytes_free, never with free(). A trackbed_string
 *          that is returned, or stands in a struct that was filled, is borrowed: it says until
 *          when.
 * Structs  begin with struct_size, set by TRACKBED_INIT: fields are only ever added at the end. The
 *          library reads and writes no more than that, takes 0 for what is missing, and refuses a
 *          longer struct that uses fields it does not know. 0 always means the default.
 *          trackbed_string, trackbed_bytes, trackbed_slot and trackbed_placement never change.
 *          Arrays of growing structs come with the size of one item; in arrays that are read each
 *          item's struct_size is set, in arrays that are filled the library sets it.
 * Threads  "any" functions may be called on one handle by many threads at once. "one" means one
 *          thread at a time for each handle; different handles never disturb each other. No thread
 *          exists but the one that trackbed_engine_start_thread starts, and one each that running
 *          attempts in containers or by Slurm takes, with all signals blocked.
 * Units    Times are nanoseconds since 1970 (UTC), durations nanoseconds, memory bytes, cpu
 *          thousandths of a core, slots and devices thousandths of a unit (1500: one and a half).
 * Callbacks come in tables of functions. They get user_data, are called without a lock of another
 *          handle held, on the thread that called the library (or the engine's own), and must
 *          return: not longjmp, not end the thread. A C++ exception that escapes one is caught and
 *          reported as its failure. A callback of an engine may call functions on other handles,
 *          and trackbed_engine_report; any other call on the engine that called it returns
 *          TRACKBED_FAILED_PRECONDITION. `drop`, if given, is called once with user_data when the
 *          table is used no more; when the function that took the table failed, it is not called.
 * fork()   In the child, an engine of the parent and its event streams refuse every call with
 *          TRACKBED_FAILED_PRECONDITION; closing them there gives back nothing but their handle
 *          and leaves store and attempts to the parent. A store that was open in the parent is not
 *          to be opened in the child, where SQLite would take the parent's locks for its own. All
 *          other handles are plain memory and work in both, unless another thread was inside a call
 *          on them.
 * Manners  The library prints nothing, installs no signal handler, changes neither locale nor
 *          environment, and does not end the process. dlclose() is permitted and keeps it loaded.
 */
#ifndef TRACKBED_H
#define TRACKBED_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__GNUC__)
#define TRACKBED_API __attribute__((visibility("default")))
#else
#define TRACKBED_API
#endif
#if defined(__cplusplus)
#define TRACKBED_NOEXCEPT noexcept
extern "C" {
#else
#define TRACKBED_NOEXCEPT
#endif

/* ---- Version ------------------------------------------------------------------------------- */

#define TRACKBED_VERSION_MAJOR 0
#define TRACKBED_VERSION_MINOR 1
#define TRACKBED_VERSION_PATCH 0
/* Grows when something is added; what was there stays. */
#define TRACKBED_ABI_VERSION 1

/* "0.1.0". Static. Thread: any. */
TRACKBED_API const char* trackbed_version(void) TRACKBED_NOEXCEPT;
/* TRACKBED_ABI_VERSION of the library that was loaded. One at least as high as that of the header a
 * program was compiled with has all that the program may call. Thread: any. */
TRACKBED_API uint32_t trackbed_abi_version(void) TRACKBED_NOEXCEPT;

/* ---- Status and errors --------------------------------------------------------------------- */

typedef int32_t trackbed_status;
enum {
  TRACKBED_OK = 0,
  TRACKBED_CANCELLED = 1,
  TRACKBED_UNKNOWN = 2,
  TRACKBED_INVALID_ARGUMENT = 3, /* the input is wrong: a specification, a parameter, an argument */
  TRACKBED_DEADLINE_EXCEEDED = 4,
  TRACKBED_NOT_FOUND = 5,           /* no such run, task, node or file */
  TRACKBED_ALREADY_EXISTS = 6,      /* the name or key is taken */
  TRACKBED_PERMISSION_DENIED = 7,   /* the message names the right that is missing */
  TRACKBED_RESOURCE_EXHAUSTED = 8,  /* not possible with what there is: capacity, quota, disk */
  TRACKBED_FAILED_PRECONDITION = 9, /* right request, wrong state */
  TRACKBED_ABORTED = 10,
  TRACKBED_OUT_OF_RANGE = 11, /* an array of the caller's is too small */
  TRACKBED_UNIMPLEMENTED = 12,
  TRACKBED_INTERNAL = 13,    /* a bug of Trackbed's or of a callback */
  TRACKBED_UNAVAILABLE = 14, /* try again later */
  TRACKBED_DATA_LOSS = 15    /* stored bytes are not what was written */
};

/* "INVALID_ARGUMENT", …; "UNKNOWN" for what is no status. Static. Thread: any. */
TRACKBED_API const char* trackbed_status_name(trackbed_status status) TRACKBED_NOEXCEPT;

/* Text of somebody else's. */
typedef struct trackbed_string {
  const char* data; /* may be NULL when size is 0 */
  size_t size;
} trackbed_string;

/* Text or bytes of the caller's own, made by the library. A NUL that does not count follows. */
typedef struct trackbed_bytes {
  char* data;
  size_t size;
} trackbed_bytes;

#define TRACKBED_TERMINATED ((size_t)-1)

/* Sets a struct of the caller's to its defaults: TRACKBED_INIT(&options); */
#define TRACKBED_INIT(object)                   \
  ((void)memset((object), 0, sizeof *(object)), \
   (void)((object)->struct_size = (uint32_t)sizeof *(object)))

/* A view of a terminated string, NULL included, for the fields of structs. */
static inline trackbed_string trackbed_text(const char* terminated) {
  trackbed_string view;
  view.data = terminated;
  view.size = terminated == NULL ? 0 : strlen(terminated);
  return view;
}

/* Frees what the library made and sets it to {NULL, 0}. NULL and {NULL, 0} are fine. Thread: any.
 */
TRACKBED_API void trackbed_bytes_free(trackbed_bytes* bytes) TRACKBED_NOEXCEPT;

typedef struct trackbed_error trackbed_error;

enum { TRACKBED_SEVERITY_ERROR = 1, TRACKBED_SEVERITY_WARNING = 2 };

/* One mistake in a document. The strings live as long as what they were asked of. */
typedef struct trackbed_diagnostic {
  uint32_t struct_size;
  int32_t severity;        /* TRACKBED_SEVERITY_… */
  trackbed_string file;    /* as the caller named it */
  int32_t line;            /* from 1; 0: unknown */
  int32_t column;          /* in characters, from 1; 0: unknown */
  trackbed_string path;    /* "tasks[2].retry.delay"; empty: the whole document */
  trackbed_string message; /* "found \"fast\", expected a duration such as 30s or 1h30m" */
  trackbed_string found;   /* the parts of such a message; both empty where it has another form */
  trackbed_string expected;
} trackbed_diagnostic;

/* For callbacks: an error to hand to the library by the out parameter, which takes it over. NULL
 * when memory is out. An unknown code, or 0, becomes TRACKBED_UNKNOWN. Thread: any. */
TRACKBED_API trackbed_error* trackbed_error_create(trackbed_status code, const char* message,
                                                   size_t message_size) TRACKBED_NOEXCEPT;
/* TRACKBED_OK for NULL. Thread of these: any. */
TRACKBED_API trackbed_status trackbed_error_code(const trackbed_error* error) TRACKBED_NOEXCEPT;
/* For people; of a document with mistakes, all of them, a line each. Until the error is freed. */
TRACKBED_API trackbed_string trackbed_error_message(const trackbed_error* error) TRACKBED_NOEXCEPT;
/* The mistakes one by one; 0 when the error is not about a document. */
TRACKBED_API size_t trackbed_error_diagnostic_count(const trackbed_error* error) TRACKBED_NOEXCEPT;
/* TRACKBED_NOT_FOUND beyond the last. */
TRACKBED_API trackbed_status trackbed_error_diagnostic(const trackbed_error* error, size_t index,
                                                       trackbed_diagnostic* out) TRACKBED_NOEXCEPT;
TRACKBED_API void trackbed_error_free(trackbed_error* error) TRACKBED_NOEXCEPT;

/* Where a callback puts a text that it returns: see trackbed_answer_set. */
typedef struct trackbed_answer trackbed_answer;
/* For callbacks: copies the text; a second call replaces the first. Thread: that of the callback.
 */
TRACKBED_API trackbed_status trackbed_answer_set(trackbed_answer* answer, const char* data,
                                                 size_t size) TRACKBED_NOEXCEPT;

/* ---- Pipelines ----------------------------------------------------------------------------- */

typedef int32_t trackbed_format;
enum {
  TRACKBED_FORMAT_AUTO = 0,      /* reading: JSON when it begins with {, else one of the YAMLs */
  TRACKBED_FORMAT_YAML = 1,      /* Trackbed's own */
  TRACKBED_FORMAT_JSON = 2,      /* the same as JSON */
  TRACKBED_FORMAT_PROTOBUF = 3,  /* trackbed.v1.Pipeline */
  TRACKBED_FORMAT_FASTTRACK = 4, /* Backend.AI FastTrack's YAML */
  TRACKBED_FORMAT_CANONICAL = 5  /* writing: the bytes that the version is the hash of */
};

typedef int32_t trackbed_graph_format;
enum {
  TRACKBED_GRAPH_TEXT = 0,
  TRACKBED_GRAPH_DOT = 1,
  TRACKBED_GRAPH_MERMAID = 2,
  TRACKBED_GRAPH_JSON = 3
};

/* A valid pipeline. Never changes. */
typedef struct trackbed_pipeline trackbed_pipeline;

/* Reads and checks a document. `file` is what positions name it by and may be empty. An error
 * carries every mistake; warnings stay with the pipeline. Thread: any. End: trackbed_pipeline_free.
 * Errors: INVALID_ARGUMENT. */
TRACKBED_API trackbed_status trackbed_pipeline_parse(const char* data, size_t size,
                                                     trackbed_format format, const char* file,
                                                     size_t file_size, trackbed_pipeline** out,
                                                     trackbed_error** error) TRACKBED_NOEXCEPT;
/* The same of a file, in any text form (JSON when its name ends in .json). Paths in the pipeline
 * are relative to its folder. Errors: INVALID_ARGUMENT, also for a file that cannot be read. */
TRACKBED_API trackbed_status trackbed_pipeline_load(const char* path, size_t path_size,
                                                    trackbed_pipeline** out,
                                                    trackbed_error** error) TRACKBED_NOEXCEPT;
/* Says what is wrong with a document as JSON, and succeeds whatever it is:
 *   {"valid":false,"version":"sha256:…" when valid,"diagnostics":[{"severity":"error","file":…,
 *    "line":12,"column":7,"path":…,"message":…,"found":…,"expected":…}]}
 * Thread: any. */
TRACKBED_API trackbed_status trackbed_pipeline_validate(const char* data, size_t size,
                                                        trackbed_format format, const char* file,
                                                        size_t file_size, trackbed_bytes* json,
                                                        trackbed_error** error) TRACKBED_NOEXCEPT;
/* Borrowed until the pipeline is freed, empty for NULL. Thread of all that follow: any. */
TRACKBED_API trackbed_string trackbed_pipeline_name(const trackbed_pipeline* pipeline)
    TRACKBED_NOEXCEPT;
/* "sha256:…": its content address. Equal pipelines have equal ones, however they were written. */
TRACKBED_API trackbed_string trackbed_pipeline_version(const trackbed_pipeline* pipeline)
    TRACKBED_NOEXCEPT;
TRACKBED_API size_t trackbed_pipeline_task_count(const trackbed_pipeline* pipeline)
    TRACKBED_NOEXCEPT;
TRACKBED_API size_t trackbed_pipeline_warning_count(const trackbed_pipeline* pipeline)
    TRACKBED_NOEXCEPT;
/* TRACKBED_NOT_FOUND beyond the last. */
TRACKBED_API trackbed_status trackbed_pipeline_warning(const trackbed_pipeline* pipeline,
                                                       size_t index,
                                                       trackbed_diagnostic* out) TRACKBED_NOEXCEPT;
/* Writes it in one of the forms, which reads back as an equal pipeline; FastTrack's form cannot say
 * everything: `lost`, which may be NULL, gets what it could not, a line each. */
TRACKBED_API trackbed_status trackbed_pipeline_write(const trackbed_pipeline* pipeline,
                                                     trackbed_format format, trackbed_bytes* out,
                                                     trackbed_bytes* lost,
                                                     trackbed_error** error) TRACKBED_NOEXCEPT;
TRACKBED_API trackbed_status trackbed_pipeline_graph(const trackbed_pipeline* pipeline,
                                                     trackbed_graph_format format,
                                                     trackbed_bytes* out,
                                                     trackbed_error** error) TRACKBED_NOEXCEPT;
/* Its tasks as a JSON array, in the order of the document:
 *   [{"name":"train","dependencies":["split"],"level":1,"resources":{"cpu":"2"},"position":
 *     {"line":12,"column":3},…}]
 * with the fields of the document under "task". */
TRACKBED_API trackbed_status trackbed_pipeline_tasks(const trackbed_pipeline* pipeline,
                                                     trackbed_bytes* json,
                                                     trackbed_error** error) TRACKBED_NOEXCEPT;
/* Checks the parameters of a run, a JSON object such as {"alpha": 0.1, "name": "x"} or empty, and
 * gives the value of every parameter, defaults included, as such an object.
 * Errors: INVALID_ARGUMENT names every unknown, missing or ill-typed one. */
TRACKBED_API trackbed_status trackbed_pipeline_bind(const trackbed_pipeline* pipeline,
                                                    const char* parameters, size_t parameters_size,
                                                    trackbed_bytes* json,
                                                    trackbed_error** error) TRACKBED_NOEXCEPT;
TRACKBED_API void trackbed_pipeline_free(trackbed_pipeline* pipeline) TRACKBED_NOEXCEPT;

/* ---- Nodes and slots ----------------------------------------------------------------------- */

/* An amount of a slot ("cpu", "mem", "cuda.shares", …). Memory too: bytes times 1000. */
typedef struct trackbed_slot {
  trackbed_string name;
  int64_t thousandths;
} trackbed_slot;

/* Reads "16g" for mem, "1.5" for cuda.shares, "500m" for cpu. Thread: any.
 * Errors: NOT_FOUND, with the nearest name, for an unknown slot. */
TRACKBED_API trackbed_status trackbed_slot_parse(const char* slot, size_t slot_size,
                                                 const char* amount, size_t amount_size,
                                                 int64_t* thousandths,
                                                 trackbed_error** error) TRACKBED_NOEXCEPT;
/* The other way round. */
TRACKBED_API trackbed_status trackbed_slot_format(const char* slot, size_t slot_size,
                                                  int64_t thousandths, trackbed_bytes* out,
                                                  trackbed_error** error) TRACKBED_NOEXCEPT;

typedef struct trackbed_node_options {
  uint32_t struct_size;
  uint32_t reserved;
  trackbed_string root;     /* where proc/ and sys/ are; empty: "/" */
  trackbed_string nvml;     /* NVIDIA's library; empty: libnvidia-ml.so.1 */
  trackbed_string gpu_slot; /* how GPUs are handed out; empty: "cuda.device" and "cuda.shares" */
} trackbed_node_options;

/* What this machine has, as far as this process may use it, as a node description in YAML.
 * `options` may be NULL. Loads NVIDIA's library if there is one. Thread: any. */
TRACKBED_API trackbed_status trackbed_node_detect(const trackbed_node_options* options,
                                                  trackbed_bytes* yaml,
                                                  trackbed_error** error) TRACKBED_NOEXCEPT;
/* Checks a node description (YAML or JSON) and writes it in its canonical YAML. Thread: any.
 * Errors: INVALID_ARGUMENT with the mistakes as diagnostics. */
TRACKBED_API trackbed_status trackbed_node_check(const char* data, size_t size,
                                                 trackbed_format format, const char* file,
                                                 size_t file_size, trackbed_bytes* yaml,
                                                 trackbed_error** error) TRACKBED_NOEXCEPT;

/* ---- Partitions of GPUs (MIG) ---------------------------------------------------------------- */

/* Every model of GPU that can be partitioned, and into what, as JSON:
 *   [{"model":"A100-40GB","profiles":[{"profile":"1g.5gb","slot":"cuda.device:1g.5gb-mig",
 *     "id":19,"compute_slices":1,"memory_slices":1,"starts":[0,1,2,3,4,5,6],"max_instances":7}]}]
 * `id` is the driver's number (nvidia-smi mig -cgi), `starts` the memory slices at which an
 * instance may begin, `slot` what one counts as. Thread: any. */
TRACKBED_API trackbed_status trackbed_mig_models(trackbed_bytes* json,
                                                 trackbed_error** error) TRACKBED_NOEXCEPT;
/* How to partition GPUs so that each of these profiles gets an instance. Only plans; nothing is
 * done to any device. `request`:
 *   {"devices":[{"id":"gpu0","model":"A100-40GB","healthy":true,
 *                "instances":[{"id":"MIG-1","profile":"3g.20gb","start":0,"free":true}]}],
 *    "profiles":["2g.10gb"],"reconfigure":true}
 * "healthy" is true, "free" false, where left out. With "reconfigure", free instances may be
 * destroyed, as few as possible; those in use never are. `plan` gets the steps in their order, and
 * for each profile its place, or the "instance" that is there already:
 *   {"steps":[{"do":"destroy","device":"gpu0","instance":"MIG-1"},
 *             {"do":"create","device":"gpu0","profile":"2g.10gb","id":14,"start":0}],
 *    "assignments":[{"profile":"2g.10gb","device":"gpu0","start":0}]}
 * Thread: any. Errors: INVALID_ARGUMENT says where the request is wrong; RESOURCE_EXHAUSTED tells
 * too few free slices from slices that lie wrongly, and whether reconfiguring would help. */
TRACKBED_API trackbed_status trackbed_mig_plan(const char* request, size_t request_size,
                                               trackbed_bytes* plan,
                                               trackbed_error** error) TRACKBED_NOEXCEPT;

/* ---- Slot allocator: which task gets how much of which device of one node ------------------- */

typedef struct trackbed_slot_allocator trackbed_slot_allocator;
/* A request in the terms of one allocator, checked once. Never changes. */
typedef struct trackbed_slot_demand trackbed_slot_demand;

enum {
  TRACKBED_STRATEGY_DEFAULT = 0, /* even */
  TRACKBED_STRATEGY_FILL = 1,    /* on the device with most free; more: each to the full */
  TRACKBED_STRATEGY_EVEN = 2, /* on the device with least free that holds it; more: equal parts */
  TRACKBED_STRATEGY_BEST_FIT = 3 /* the same; more: whole devices and the rest where it fits best */
};
enum {
  TRACKBED_NUMA_DEFAULT = 0, /* prefer a single node */
  TRACKBED_NUMA_PREFER_SINGLE_NODE = 1,
  TRACKBED_NUMA_INTERLEAVED = 2,
  TRACKBED_NUMA_NONE = 3
};
/* What keeps a task to its amount, the weakest first. */
enum {
  TRACKBED_ENFORCEMENT_ACCOUNTING = 0,
  TRACKBED_ENFORCEMENT_ADVISORY = 1,
  TRACKBED_ENFORCEMENT_HARDWARE = 2
};

typedef struct trackbed_slot_allocator_options {
  uint32_t struct_size;
  int32_t strategy;            /* TRACKBED_STRATEGY_… */
  int32_t numa;                /* TRACKBED_NUMA_… */
  int32_t no_fragmentation;    /* not 0: what one device could hold, were it free, is not split */
  const trackbed_slot* quanta; /* steps in which slots are given, where not the usual ones */
  size_t quantum_count;
} trackbed_slot_allocator_options;

/* One amount on one device. The strings live as long as the allocator. */
typedef struct trackbed_allocation_part {
  uint32_t struct_size;
  int32_t enforcement; /* TRACKBED_ENFORCEMENT_… */
  trackbed_string slot;
  trackbed_string device; /* of cpu and mem "numa0", …; empty without NUMA nodes */
  int64_t thousandths;
  int32_t numa_node; /* -1: unknown */
  int32_t reserved;
} trackbed_allocation_part;

enum {
  TRACKBED_SHORTFALL_NONE = 0,
  TRACKBED_SHORTFALL_SHORTAGE = 1,     /* too little is free */
  TRACKBED_SHORTFALL_FRAGMENTATION = 2 /* enough is free, but not where one task could use it */
};

/* Why a demand cannot be met now. Amounts in thousandths. */
typedef struct trackbed_shortfall {
  uint32_t struct_size;
  int32_t kind;         /* TRACKBED_SHORTFALL_… */
  trackbed_string slot; /* as long as the allocator */
  int64_t needed;
  int64_t free;
  int64_t most_on_one_device;
  int64_t missing;         /* of a shortage: so much more must become free */
  trackbed_string message; /* until the next call on the allocator */
} trackbed_shortfall;

typedef struct trackbed_device_usage {
  uint32_t struct_size;
  int32_t healthy;
  trackbed_string slot;
  trackbed_string device;
  int64_t capacity; /* thousandths */
  int64_t used;
} trackbed_device_usage;

/* From a node description in YAML or JSON. `options` may be NULL. Thread: any.
 * End: trackbed_slot_allocator_free. Errors: INVALID_ARGUMENT with diagnostics. */
TRACKBED_API trackbed_status trackbed_slot_allocator_create(
    const char* node, size_t node_size, trackbed_format format,
    const trackbed_slot_allocator_options* options, trackbed_slot_allocator** out,
    trackbed_error** error) TRACKBED_NOEXCEPT;
/* An independent copy: the way to try something out. Demands serve both. Thread: one. */
TRACKBED_API trackbed_status trackbed_slot_allocator_copy(const trackbed_slot_allocator* allocator,
                                                          trackbed_slot_allocator** out,
                                                          trackbed_error** error) TRACKBED_NOEXCEPT;
/* After its demands may be freed still. Thread: one. */
TRACKBED_API void trackbed_slot_allocator_free(trackbed_slot_allocator* allocator)
    TRACKBED_NOEXCEPT;
/* Checks a request once, to be allocated many times. `at_least` is a TRACKBED_ENFORCEMENT_….
 * Thread: one. End: trackbed_slot_demand_free. Errors: NOT_FOUND unknown slot; RESOURCE_EXHAUSTED
 * even the empty node could not meet it; FAILED_PRECONDITION enforced more weakly than asked. */
TRACKBED_API trackbed_status trackbed_slot_allocator_prepare(
    const trackbed_slot_allocator* allocator, const trackbed_slot* slots, size_t slot_count,
    int32_t at_least, trackbed_slot_demand** out, trackbed_error** error) TRACKBED_NOEXCEPT;
TRACKBED_API void trackbed_slot_demand_free(trackbed_slot_demand* demand) TRACKBED_NOEXCEPT;
/* Takes all that the demand, made by this allocator or one it is a copy of, asks for, or nothing.
 * `id` is never given twice. The first `capacity` parts go to `parts`, which may be NULL, each of
 * `part_size` bytes; `part_count`, which may be NULL, gets their number: 8 nearly always suffice,
 * and trackbed_slot_allocator_parts gives them all. Thread: one.
 * Errors: RESOURCE_EXHAUSTED says what is short, and why. */
TRACKBED_API trackbed_status trackbed_slot_allocator_allocate(
    trackbed_slot_allocator* allocator, const trackbed_slot_demand* demand, uint64_t* id,
    trackbed_allocation_part* parts, size_t part_size, size_t capacity, size_t* part_count,
    trackbed_error** error) TRACKBED_NOEXCEPT;
/* Takes just these parts (slot, device and amount count), as who chose or held them before wants.
 * Thread: one. Errors: INVALID_ARGUMENT for what is not there or not free. */
TRACKBED_API trackbed_status trackbed_slot_allocator_allocate_parts(
    trackbed_slot_allocator* allocator, const trackbed_allocation_part* parts, size_t part_size,
    size_t part_count, uint64_t* id, trackbed_error** error) TRACKBED_NOEXCEPT;
/* What a live allocation holds; parameters as of allocate. Thread: one.
 * Errors: NOT_FOUND when it is not live. */
TRACKBED_API trackbed_status
trackbed_slot_allocator_parts(const trackbed_slot_allocator* allocator, uint64_t id,
                              trackbed_allocation_part* parts, size_t part_size, size_t capacity,
                              size_t* part_count, trackbed_error** error) TRACKBED_NOEXCEPT;
/* Gives back exactly what was given. Thread: one. Errors: FAILED_PRECONDITION when not live. */
TRACKBED_API trackbed_status trackbed_slot_allocator_release(
    trackbed_slot_allocator* allocator, uint64_t id, trackbed_error** error) TRACKBED_NOEXCEPT;
/* Why the demand could not be met now; kind 0 when it could. Thread: one. */
TRACKBED_API trackbed_status trackbed_slot_allocator_explain(
    trackbed_slot_allocator* allocator, const trackbed_slot_demand* demand, trackbed_shortfall* out,
    trackbed_error** error) TRACKBED_NOEXCEPT;
/* Every device, as many as fit `capacity`; `count` gets how many there are. The strings live as
 * long as the allocator. Thread: one. */
TRACKBED_API trackbed_status trackbed_slot_allocator_usage(
    const trackbed_slot_allocator* allocator, trackbed_device_usage* devices, size_t device_size,
    size_t capacity, size_t* count, trackbed_error** error) TRACKBED_NOEXCEPT;
/* Nothing new is given of an unhealthy device; what is held stays so. Thread: one.
 * Errors: NOT_FOUND. */
TRACKBED_API trackbed_status trackbed_slot_allocator_set_healthy(
    trackbed_slot_allocator* allocator, const char* device, size_t device_size, int32_t healthy,
    trackbed_error** error) TRACKBED_NOEXCEPT;
TRACKBED_API size_t trackbed_slot_allocator_live_count(const trackbed_slot_allocator* allocator)
    TRACKBED_NOEXCEPT;
/* All live allocations as JSON, for trackbed_slot_allocator_restore. Thread: one.
 *   {"allocations":[{"id":4294967296,"parts":[{"slot":"cuda.shares","device":"gpu0",
 *                                              "amount":"0.5"}]}]} */
TRACKBED_API trackbed_status
trackbed_slot_allocator_snapshot(const trackbed_slot_allocator* allocator, trackbed_bytes* json,
                                 trackbed_error** error) TRACKBED_NOEXCEPT;
/* Takes up a snapshot of an allocator of the same node: all of it or, on an error, none. Ids stay
 * the same. Thread: one. Errors: INVALID_ARGUMENT names the first that is not consistent. */
TRACKBED_API trackbed_status
trackbed_slot_allocator_restore(trackbed_slot_allocator* allocator, const char* json,
                                size_t json_size, trackbed_error** error) TRACKBED_NOEXCEPT;

/* ---- Engine: takes runs from submission to their end, durably -------------------------------- */

typedef struct trackbed_engine trackbed_engine;

/* An accelerator that an attempt was given, or its part of one. */
typedef struct trackbed_assigned_device {
  uint32_t struct_size;
  int32_t index; /* its place among the node's cards of this kind, from 0 */
  trackbed_string slot;
  trackbed_string id;
  trackbed_string card; /* of which it is a part; its id when it is one itself */
  int64_t thousandths;
  int64_t memory_bytes; /* of the whole device; 0: unknown */
} trackbed_assigned_device;

/* One attempt at a task, as an executor of the host's is asked to run it. Valid in the callback. */
typedef struct trackbed_attempt {
  uint32_t struct_size;
  int32_t shell;       /* not 0: command[0] is a script for a shell */
  trackbed_string key; /* "RUN/TASK/ATTEMPT", of a batch of a map "RUN/TASK/ATTEMPT/BATCH/ATTEMPT":
                        * runs at most once, for ever */
  trackbed_string folder;         /* the attempt's own, absolute; not made yet */
  const trackbed_string* command; /* rendered */
  size_t command_count;
  const trackbed_string* environment; /* NAME, value, NAME, value, … */
  size_t environment_count;           /* of strings: twice the variables */
  trackbed_string json;               /* all there is to know, secrets left out; see without_json */
  const trackbed_slot* resources;
  size_t resource_count;
  const trackbed_assigned_device* devices; /* of device_size bytes each */
  size_t device_count;
  size_t device_size;
} trackbed_attempt;

enum {
  TRACKBED_ATTEMPT_STARTED = 1, /* at most once, before the others; may be left out */
  TRACKBED_ATTEMPT_EXITED = 2,  /* by itself or by a signal */
  TRACKBED_ATTEMPT_FAILED_TO_START = 3,
  TRACKBED_ATTEMPT_LOST = 4 /* started, gone, and left no word of how it ended */
};

/* What an executor of the host's says about an attempt. */
typedef struct trackbed_attempt_report {
  uint32_t struct_size;
  int32_t kind; /* TRACKBED_ATTEMPT_… */
  trackbed_string key;
  int32_t exit_code;
  int32_t signal; /* that ended it, or 0 */
  int32_t out_of_memory;
  int32_t reserved;
  trackbed_string message;
  trackbed_string output_text;   /* lines NAME=VALUE: the outputs of the task; at most 1 MiB */
  trackbed_string output_digest; /* names the content of outputs/; empty: no files */
  int64_t wall_time_ns;
  int64_t cpu_time_ns;
  int64_t max_rss_bytes;
} trackbed_attempt_report;

enum { TRACKBED_STOP_TERMINATE = 1, TRACKBED_STOP_KILL = 2 };

/* Runs attempts for the engine. Each function returns at once; what happens later is told by
 * trackbed_engine_report. A failure may put an error, made by trackbed_error_create, into *error.
 * Thread: that which steps the engine, never two at a time. Re-entry: trackbed_engine_report only.
 */
typedef struct trackbed_executor {
  uint32_t struct_size;
  int32_t max_cluster_size; /* the longest gang it can run; 0: 1 */
  void* user_data;
  void (*drop)(void* user_data);
  /* Starts the attempt, or watches the one of this key that was started before. An error means that
   * nothing runs and nothing will; TRACKBED_UNAVAILABLE may be tried again. */
  trackbed_status (*start)(void* user_data, const trackbed_attempt* attempt,
                           trackbed_error** error);
  /* Watches an attempt started earlier, perhaps by another process. TRACKBED_NOT_FOUND when its
   * key was never started; a start of it that comes later, from a process that stood still, has to
   * fail then. NULL: always that. */
  trackbed_status (*adopt)(void* user_data, const char* key, size_t key_size, const char* folder,
                           size_t folder_size, trackbed_error** error);
  /* `mode` is TRACKBED_STOP_…. A stopped attempt still ends with a report. */
  trackbed_status (*stop)(void* user_data, const char* key, size_t key_size, int32_t mode,
                          trackbed_error** error);
  int32_t without_json; /* not 0: attempts come without `json`, which takes as long as the rest */
  int32_t reserved;
} trackbed_executor;

/* Where an engine reads the time. Thread: that which calls the engine, so several at once. */
typedef struct trackbed_clock {
  uint32_t struct_size;
  uint32_t reserved;
  void* user_data;
  void (*drop)(void* user_data);
  int64_t (*now)(void* user_data); /* nanoseconds since 1970; never goes back */
} trackbed_clock;

/* Where an engine gets random numbers: names of runs, jitter. Thread: as trackbed_clock. */
typedef struct trackbed_random {
  uint32_t struct_size;
  uint32_t reserved;
  void* user_data;
  void (*drop)(void* user_data);
  uint64_t (*next)(void* user_data);
} trackbed_random;

/* Where the values behind secret://SOURCE/NAME come from. Thread: as trackbed_executor. */
typedef struct trackbed_secret_source {
  uint32_t struct_size;
  uint32_t reserved;
  void* user_data;
  void (*drop)(void* user_data);
  trackbed_status (*resolve)(void* user_data, const char* source, size_t source_size,
                             const char* name, size_t name_size, trackbed_answer* value,
                             trackbed_error** error);
} trackbed_secret_source;

/* Says what there is to hand out: a node description in YAML or JSON. Called once, by
 * trackbed_engine_open. */
typedef struct trackbed_device_probe {
  uint32_t struct_size;
  uint32_t reserved;
  void* user_data;
  void (*drop)(void* user_data);
  trackbed_status (*probe)(void* user_data, trackbed_answer* node, trackbed_error** error);
} trackbed_device_probe;

/* Keeps the files that outlive their attempt and this machine, each a folder addressed by the
 * digest of its content ("sha256:…", or what trackbed_attempt_report.output_digest says): outputs
 * of tasks and copies of source code. An attempt succeeds once its outputs are kept, and is lost
 * when they cannot be; a submission fails when its code cannot be. What is gone from `home` comes
 * back when a run is resumed or retried, a cached result is used, or outputs are asked for. The
 * caller waits meanwhile. Thread: that which steps, submits, resumes, retries or asks; never two at
 * a time. Re-entry: trackbed_engine_report only. */
typedef struct trackbed_artifact_store {
  uint32_t struct_size;
  uint32_t reserved;
  void* user_data;
  void (*drop)(void* user_data);
  /* *present, which is 0, gets 1 when the store has it. */
  trackbed_status (*has)(void* user_data, const char* digest, size_t digest_size, int32_t* present,
                         trackbed_error** error);
  /* Keeps what is in `folder`, durably, before it returns. */
  trackbed_status (*put)(void* user_data, const char* digest, size_t digest_size,
                         const char* folder, size_t folder_size, trackbed_error** error);
  /* Makes `folder`, which does not exist or is empty, and all that was put; or fails and leaves
   * none. */
  trackbed_status (*get)(void* user_data, const char* digest, size_t digest_size,
                         const char* folder, size_t folder_size, trackbed_error** error);
} trackbed_artifact_store;

/* Kinds of events; numbers are stored and never change. */
typedef int32_t trackbed_event_type;
enum {
  TRACKBED_EVENT_RUN_SUBMITTED = 1,
  TRACKBED_EVENT_RUN_RESUMED = 2,
  TRACKBED_EVENT_RUN_CANCEL_REQUESTED = 3,
  TRACKBED_EVENT_RUN_RETRIED = 4,
  TRACKBED_EVENT_RUN_FINISHED = 5,
  TRACKBED_EVENT_ATTEMPT_INTENDED = 10,
  TRACKBED_EVENT_ATTEMPT_SUCCEEDED = 12,
  TRACKBED_EVENT_ATTEMPT_FAILED = 13,
  TRACKBED_EVENT_ATTEMPT_CANCELLED = 14,
  TRACKBED_EVENT_ATTEMPT_UNKNOWN = 17, /* its node does not answer */
  TRACKBED_EVENT_ATTEMPT_KNOWN = 18,   /* its node answers again */
  TRACKBED_EVENT_TASK_SKIPPED = 20,
  TRACKBED_EVENT_TASK_CACHED = 21,
  TRACKBED_EVENT_TASK_FAILED = 22,
  TRACKBED_EVENT_ATTEMPT_PREEMPTING = 15, /* it is to be stopped for another task */
  TRACKBED_EVENT_ATTEMPT_PREEMPTED = 16,  /* it has ended for that; its task waits again */
  TRACKBED_EVENT_APPROVAL_REQUESTED = 30, /* a task waits for somebody's approval */
  TRACKBED_EVENT_APPROVAL_DECIDED = 31
};

#define TRACKBED_NO_TASK UINT32_MAX

/* One thing that happened to a run. Strings: see who hands it out. */
typedef struct trackbed_event {
  uint32_t struct_size;
  trackbed_event_type type;
  uint64_t sequence; /* within the run, from 1, without gaps */
  int64_t time_ns;
  uint32_t task;    /* its place in the document; TRACKBED_NO_TASK: about the whole run */
  uint32_t attempt; /* from 1; 0: not about an attempt */
  trackbed_string run;
  trackbed_string task_name;
  trackbed_string detail; /* what else there is, as protobuf (run.proto); may be empty */
} trackbed_event;

/* Gets each event after it is durable, in order, strings valid in the callback. An exception that
 * escapes it cannot undo what happened and is dropped. Thread: that which steps the engine, which
 * other threads cannot use meanwhile. Re-entry: trackbed_engine_report only. */
typedef struct trackbed_event_sink {
  uint32_t struct_size;
  uint32_t reserved;
  void* user_data;
  void (*drop)(void* user_data);
  void (*event)(void* user_data, const trackbed_event* event);
} trackbed_event_sink;

enum {
  TRACKBED_DURABILITY_DEFAULT = 0, /* power */
  TRACKBED_DURABILITY_PROCESS = 1, /* survives the death of the process */
  TRACKBED_DURABILITY_POWER = 2    /* survives a power cut */
};
enum { TRACKBED_SANDBOX_AUTOMATIC = 0, TRACKBED_SANDBOX_NEVER = 1, TRACKBED_SANDBOX_ALWAYS = 2 };

/* Which of the embedded executors runs new attempts. Those of earlier runs are followed wherever
 * they run. */
enum {
  TRACKBED_RUN_AS_PROCESS = 0,   /* of this machine */
  TRACKBED_RUN_IN_CONTAINER = 1, /* of Docker or Podman, by libcurl, which is loaded for it */
  TRACKBED_RUN_BY_SLURM = 2      /* as jobs; `home` is on a file system that its nodes share */
};
typedef struct trackbed_executor_choice {
  uint32_t struct_size;
  int32_t kind; /* TRACKBED_RUN_… */
  /* Containers: */
  trackbed_string endpoint; /* "unix:///PATH", "tcp://HOST:PORT", "https://HOST:PORT"; empty: as
                               Docker's own program finds it */
  trackbed_string image;    /* of tasks that name none */
  trackbed_string network;  /* empty: the engine's default */
  trackbed_string user;     /* "UID:GID" inside; empty: this process's; "image": the image's */
  const trackbed_string* registries; /* SERVER=USER:secret://SOURCE/NAME */
  size_t registry_count;
  trackbed_string container_init; /* the first program of each container; empty: looked for as
                                     trackbed-container-init where the supervisor is */
  /* Slurm: NAME for all tasks, GROUP=NAME for those of one resource group. What is handed out is
   * then without limit but for trackbed_engine_options.slots: Slurm decides what runs when. */
  const trackbed_string* partitions;
  size_t partition_count;
  const trackbed_string* accounts;
  size_t account_count;
  const trackbed_string* qualities; /* of service */
  size_t quality_count;
  const trackbed_string* sbatch; /* more options of sbatch: "--constraint=a100" */
  size_t sbatch_count;
  trackbed_string slurm_endpoint;   /* of slurmrestd; empty: Slurm's commands */
  trackbed_string slurm_token_file; /* holds a token for it */
  trackbed_string credentials;      /* of registries: a file of docker login; empty: where Docker's
                                       own program has it */
} trackbed_executor_choice;

struct trackbed_scheduler_options; /* below */

/* Somebody for whom runs are submitted, and what all of these may use at once. */
typedef struct trackbed_engine_tenant {
  uint32_t struct_size;
  uint32_t max_running;            /* tasks at a time; 0: no limit */
  trackbed_string path;            /* "research/vision/ada"; those above come first */
  const trackbed_slot* guaranteed; /* of "cpu", "mem" and the node's accelerators; GPUs count as */
  size_t guaranteed_count;         /* "cuda.shares", whole ones too */
  const trackbed_slot* limit;      /* what is not named is without limit */
  size_t limit_count;
  uint32_t max_waiting; /* equal tasks count as one; 0: no limit */
  uint32_t reserved;
  double weight; /* of its share beside its siblings; 0: 1 */
} trackbed_engine_tenant;

typedef struct trackbed_engine_options {
  uint32_t struct_size;
  int32_t in_memory;     /* not 0: nothing is stored; runs are gone when the engine is closed */
  trackbed_string home;  /* folder of the runs, made when missing. May be empty with in_memory and
                            an executor of the host's, for which folders are then only names */
  trackbed_string store; /* SQLite file; empty: trackbed.db in `home` */
  int32_t durability;    /* TRACKBED_DURABILITY_… */
  int32_t sandbox;       /* TRACKBED_SANDBOX_…, of the embedded executor */
  /* What may be used at once: a node description, or a list of several nodes', which then say all
     that they offer, */
  trackbed_string node;                      /* in YAML or JSON, … */
  const trackbed_device_probe* device_probe; /* … or from the host; else this machine's. Over it: */
  const trackbed_slot* slots;                /* so much of each of these instead */
  size_t slot_count;
  trackbed_string description;    /* of this process, told to others who want the store */
  int64_t lease_time_ns;          /* how long others wait for a holder that is silent; 0: 15 s */
  trackbed_string supervisor;     /* the embedded executor's helper program. Empty: looked for as
                                     trackbed-supervisor beside the library, and in
                                     ../libexec/trackbed and ../../libexec/trackbed from there */
  const trackbed_string* inherit; /* names of variables that attempts get from this process */
  size_t inherit_count;
  const trackbed_executor* executor; /* NULL: processes of this machine */
  const trackbed_clock* clock;       /* NULL: the system's */
  const trackbed_random* random;     /* NULL: the system's */
  const trackbed_secret_source*
      secrets;                     /* NULL: secret://env/NAME, secret://file/NAME below home */
  const trackbed_event_sink* sink; /* NULL: none; trackbed_events_open is the other way */
  const trackbed_engine_tenant* tenants; /* in the order of a tree; none: quotas for nobody */
  size_t tenant_count;
  size_t tenant_size; /* of one of these, in bytes */
  /* Who goes first, and where: `placer` chooses among several nodes and knows on which of them a
   * task's inputs were written; empty: "default" where there are accelerators, else "spread". Names
   * of resources and seed are not looked at. The engine serves nobody last come first:
   * TRACKBED_ORDER_LIFO and host_placer are INVALID_ARGUMENT. With preempt_by_priority or reclaim
   * attempts are stopped for others, by `stop` of the executor, politely first and after the grace
   * period of their task by a kill; unless they exit with 0 all the same, their tasks wait for
   * their turn again, and it is no try. NULL: defaults. A host_order is asked about the first of
   * tasks that are alike (tenant, priority of the run and the task together, resources, gang,
   * expected run time), which go first come first served; not while only such wait, whom nothing
   * holds back. Its tenants are numbered as in `tenants`, from 1; ids of tasks mean nothing. Asked
   * anew whenever tasks come up or a wait is explained. Thread: that which steps, submits, resumes,
   * retries or explains; never two at a time. A rank that fails refuses a submission, resumption or
   * retry with that status; after that, it counts as 0. */
  const struct trackbed_scheduler_options* policy;
  const trackbed_executor_choice* run_on; /* NULL: processes. Not with `executor` */
  trackbed_string
      artifacts; /* folder that keeps files beside `home`; empty: none. Or the host's: */
  const trackbed_artifact_store* artifact_store;
} trackbed_engine_options;

/* Opens the store and takes its lease. `options` must be given. Thread: any.
 * End: trackbed_engine_close.
 * Errors: FAILED_PRECONDITION another process holds the store (the message names it), the folder
 * cannot be made, or there is no libcurl for containers; NOT_FOUND no supervisor program, container
 * engine or Slurm; UNAVAILABLE they do not answer; DATA_LOSS the store is damaged. */
TRACKBED_API trackbed_status trackbed_engine_open(const trackbed_engine_options* options,
                                                  trackbed_engine** out,
                                                  trackbed_error** error) TRACKBED_NOEXCEPT;
/* Stops the thread, gives the lease back and drops the ports. Attempts of the embedded executor go
 * on; who opens the store next takes them up with trackbed_engine_resume. Close event streams
 * first. No other call may be under way. From a callback of this engine it does nothing. */
TRACKBED_API void trackbed_engine_close(trackbed_engine* engine) TRACKBED_NOEXCEPT;

typedef struct trackbed_submit_options {
  uint32_t struct_size;
  int32_t no_cache;           /* not 0: earlier results are neither looked for nor kept */
  trackbed_string parameters; /* JSON object; empty: defaults only */
  trackbed_string base;       /* folder that paths in the pipeline are relative to; empty: that of
                                 the file it was loaded from, else the current one */
  trackbed_string tenant;     /* whom it is for, as trackbed_engine_tenant.path; empty: everybody */
  int32_t has_priority;       /* not 0: `priority` holds instead of the pipeline's */
  int32_t priority;           /* of all its tasks, beside their own; higher goes first */
} trackbed_submit_options;

/* Makes a run durable; the next step starts it. `options` may be NULL. `run` gets its name.
 * Thread: any. Errors: INVALID_ARGUMENT parameters, priority, or a task that the executor cannot
 * run; NOT_FOUND source or folder is missing, or the tenant is unknown; RESOURCE_EXHAUSTED a task
 * needs more than there is, or than its quotas will ever let it have. */
TRACKBED_API trackbed_status trackbed_engine_submit(trackbed_engine* engine,
                                                    const trackbed_pipeline* pipeline,
                                                    const trackbed_submit_options* options,
                                                    trackbed_bytes* run,
                                                    trackbed_error** error) TRACKBED_NOEXCEPT;
/* Does all that can be done now and returns; never waits for work. After an error that is not about
 * its arguments an engine is broken: every call returns that error, and a new one goes on from what
 * is durable. Thread: any; with a thread of the engine's own it is not needed. */
TRACKBED_API trackbed_status trackbed_engine_step(trackbed_engine* engine,
                                                  trackbed_error** error) TRACKBED_NOEXCEPT;
/* To be polled for reading: readable when trackbed_engine_step has work, also after a call by
 * another thread. Belongs to the engine, the same until it is closed; -1 for NULL. Thread: any. */
TRACKBED_API int trackbed_engine_wake_descriptor(const trackbed_engine* engine) TRACKBED_NOEXCEPT;
/* When to step at the latest, by the engine's clock. INT64_MAX: the descriptor says all.
 * Thread: any. */
TRACKBED_API int64_t trackbed_engine_next_deadline(const trackbed_engine* engine) TRACKBED_NOEXCEPT;
/* The same as milliseconds from now for poll() and epoll_wait(), rounded up; -1: no limit. */
TRACKBED_API int trackbed_engine_poll_timeout(const trackbed_engine* engine) TRACKBED_NOEXCEPT;
/* Lets one thread, "trackbed", with all signals blocked, step the engine until it is stopped.
 * Thread: any. Errors: FAILED_PRECONDITION it runs already. */
TRACKBED_API trackbed_status trackbed_engine_start_thread(trackbed_engine* engine,
                                                          trackbed_error** error) TRACKBED_NOEXCEPT;
/* Ends and joins it; fine when there is none. Not from a callback. Thread: any. */
TRACKBED_API trackbed_status trackbed_engine_stop_thread(trackbed_engine* engine,
                                                         trackbed_error** error) TRACKBED_NOEXCEPT;
/* Waits until the run has ended, for at most timeout_ns (less than 0: no limit), stepping the
 * engine where no thread of its own does. `ended`, which may be NULL, gets 0 when time was up.
 * Thread: any. Errors: those of step; NOT_FOUND. FAILED_PRECONDITION: nobody drives that run. */
TRACKBED_API trackbed_status trackbed_engine_wait(trackbed_engine* engine, const char* run,
                                                  size_t run_size, int64_t timeout_ns,
                                                  int32_t* ended,
                                                  trackbed_error** error) TRACKBED_NOEXCEPT;
/* Asks for the end of a run; the steps that follow bring it about. Thread: any.
 * Errors: NOT_FOUND; FAILED_PRECONDITION it has ended. */
TRACKBED_API trackbed_status trackbed_engine_cancel(trackbed_engine* engine, const char* run,
                                                    size_t run_size,
                                                    trackbed_error** error) TRACKBED_NOEXCEPT;
/* Takes up an interrupted run, or continues a cancelled one. Thread: any.
 * Errors: NOT_FOUND; FAILED_PRECONDITION it has ended otherwise. */
TRACKBED_API trackbed_status trackbed_engine_resume(trackbed_engine* engine, const char* run,
                                                    size_t run_size,
                                                    trackbed_error** error) TRACKBED_NOEXCEPT;
/* Runs these tasks and all that depend on them again; with none, all that failed or was cancelled
 * or skipped for that. Thread: any. Errors: NOT_FOUND; FAILED_PRECONDITION it has not ended. */
TRACKBED_API trackbed_status trackbed_engine_retry(trackbed_engine* engine, const char* run,
                                                   size_t run_size, const trackbed_string* tasks,
                                                   size_t task_count,
                                                   trackbed_error** error) TRACKBED_NOEXCEPT;
/* Approves of a task that waits for somebody's approval, or rejects it: it succeeds or fails,
 * durably and once. `by` says who decides; the host has made sure of that. `comment` may be empty.
 * A run that nobody drives goes on when it is resumed. Thread: any. Errors: NOT_FOUND;
 * INVALID_ARGUMENT nobody decides, or more than 256 bytes of `by` or 16384 of `comment`;
 * FAILED_PRECONDITION the task does not wait for approval, or not for that of `by`. */
TRACKBED_API trackbed_status trackbed_engine_approve(trackbed_engine* engine, const char* run,
                                                     size_t run_size, const char* task,
                                                     size_t task_size, const char* by,
                                                     size_t by_size, const char* comment,
                                                     size_t comment_size,
                                                     trackbed_error** error) TRACKBED_NOEXCEPT;
TRACKBED_API trackbed_status trackbed_engine_reject(trackbed_engine* engine, const char* run,
                                                    size_t run_size, const char* task,
                                                    size_t task_size, const char* by,
                                                    size_t by_size, const char* comment,
                                                    size_t comment_size,
                                                    trackbed_error** error) TRACKBED_NOEXCEPT;
/* 1 when this engine drives the run, or any run when `run` is NULL and run_size 0. Thread: any. */
TRACKBED_API int32_t trackbed_engine_is_active(const trackbed_engine* engine, const char* run,
                                               size_t run_size) TRACKBED_NOEXCEPT;
/* For executors of the host's: what became of an attempt. Thread: any, callbacks included.
 * Errors: FAILED_PRECONDITION the engine has the embedded executor. */
TRACKBED_API trackbed_status trackbed_engine_report(trackbed_engine* engine,
                                                    const trackbed_attempt_report* report,
                                                    trackbed_error** error) TRACKBED_NOEXCEPT;

/* Asking. All of it is answered from what is durable; any thread; NOT_FOUND for what is not there.
 * "latest" stands for the run submitted last. The batches of a task with a map run as a run of
 * their own, "RUN/score/1" (its `map_run` in JSON), which lists leave out; "score[17]" stands for
 * task "17" of it. */

/* The newest runs first, at most `limit`, as JSON:
 *   [{"run":"digits-7kq2m4","pipeline":"digits","version":"sha256:…","status":"running",
 *     "submitted":"2026-11-23T15:36:02Z","finished":…}]
 * A run that nobody drives is "interrupted". */
TRACKBED_API trackbed_status trackbed_engine_list_runs(trackbed_engine* engine, size_t limit,
                                                       trackbed_bytes* json,
                                                       trackbed_error** error) TRACKBED_NOEXCEPT;
/* The run and the state of each task, outputs included, as JSON: as `trackbed show --json`. */
TRACKBED_API trackbed_status trackbed_engine_show(trackbed_engine* engine, const char* run,
                                                  size_t run_size, trackbed_bytes* json,
                                                  trackbed_error** error) TRACKBED_NOEXCEPT;
/* Why a task is not running, as JSON: as `trackbed explain --json`. */
TRACKBED_API trackbed_status trackbed_engine_explain(trackbed_engine* engine, const char* run,
                                                     size_t run_size, const char* task,
                                                     size_t task_size, trackbed_bytes* json,
                                                     trackbed_error** error) TRACKBED_NOEXCEPT;
/* Why a task did or did not use an earlier result, field by field, as JSON:
 *   {"run":…,"task":…,"cached":false,"key":"sha256:…","reason":…,"compared_with":"digits-…",
 *    "fields":[{"name":"command","before":"…","after":"…","same":false}]} */
TRACKBED_API trackbed_status trackbed_engine_why(trackbed_engine* engine, const char* run,
                                                 size_t run_size, const char* task,
                                                 size_t task_size, trackbed_bytes* json,
                                                 trackbed_error** error) TRACKBED_NOEXCEPT;
/* Part of the log of an attempt (0: the latest, or the one whose result is used), from byte
 * `offset`, at most `limit` bytes. `more`, which may be NULL, gets 1 while something may be added
 * or follows: ask again from offset + size. Errors: NOT_FOUND also when it has not started. */
TRACKBED_API trackbed_status trackbed_engine_read_log(trackbed_engine* engine, const char* run,
                                                      size_t run_size, const char* task,
                                                      size_t task_size, uint32_t attempt,
                                                      uint64_t offset, size_t limit,
                                                      trackbed_bytes* text, int32_t* more,
                                                      trackbed_error** error) TRACKBED_NOEXCEPT;
/* What a task that succeeded left: its outputs as a JSON object, and in `folder`, which may be
 * NULL, where its files are, empty when there are none. FAILED_PRECONDITION: it has not
 * succeeded. */
TRACKBED_API trackbed_status trackbed_engine_outputs(trackbed_engine* engine, const char* run,
                                                     size_t run_size, const char* task,
                                                     size_t task_size, trackbed_bytes* json,
                                                     trackbed_bytes* folder,
                                                     trackbed_error** error) TRACKBED_NOEXCEPT;
/* Copies what the pipeline names under `results` to a folder (empty: results/PIPELINE in home),
 * each file as a whole. `names`, which may be NULL, gets the names written as a JSON array. */
TRACKBED_API trackbed_status trackbed_engine_publish_results(
    trackbed_engine* engine, const char* run, size_t run_size, const char* folder,
    size_t folder_size, trackbed_bytes* names, trackbed_error** error) TRACKBED_NOEXCEPT;

/* ---- Looking after a store ------------------------------------------------------------------- */

/* Reads all of the store in the file `path` (trackbed.db of a home folder), which engines may use
 * meanwhile, and changes nothing. `json` gets what is in it and what is wrong, a sentence each:
 *   {"runs":3,"events":120,"cached":2,"findings":[]}
 * Damage is a finding. Thread: any. Errors, when it cannot be read at all: NOT_FOUND;
 * FAILED_PRECONDITION no permission, another format; DATA_LOSS it is no store. */
TRACKBED_API trackbed_status trackbed_store_check(const char* path, size_t path_size,
                                                  trackbed_bytes* json,
                                                  trackbed_error** error) TRACKBED_NOEXCEPT;
/* Copies the store as it is at one moment to the new file `to`, and checks the copy, which is not
 * left there unless it is sound. `json`, which may be NULL, gets what is in it. Thread: any.
 * Errors: ALREADY_EXISTS; DATA_LOSS names the first finding; those of trackbed_store_check. */
TRACKBED_API trackbed_status trackbed_store_backup(const char* path, size_t path_size,
                                                   const char* to, size_t to_size,
                                                   trackbed_bytes* json,
                                                   trackbed_error** error) TRACKBED_NOEXCEPT;

/* ---- Event streams ------------------------------------------------------------------------- */

/* A place in the events of one run, or of all that this engine drives, the runs of maps
 * included. */
typedef struct trackbed_events trackbed_events;

typedef struct trackbed_events_options {
  uint32_t struct_size;
  uint32_t reserved;
  trackbed_string run; /* "latest" too; empty: every run, from now on */
  uint64_t from;       /* of one run: the first sequence number wanted; 0: 1 */
  uint64_t capacity;   /* of all runs: events kept for a reader that is slow; 0: 65536 */
} trackbed_events_options;

/* Of one run all events come from the store, whenever they happened: a reader that went away goes
 * on from the last sequence number it saw, plus 1. Of all runs it gets what happens from now on.
 * Thread: any. End: trackbed_events_close, before the engine is closed. Errors: NOT_FOUND. */
TRACKBED_API trackbed_status trackbed_events_open(trackbed_engine* engine,
                                                  const trackbed_events_options* options,
                                                  trackbed_events** out,
                                                  trackbed_error** error) TRACKBED_NOEXCEPT;
/* Up to `capacity` events, each of event_size bytes; `count` gets how many, 0 when there are none
 * now. Never waits. Strings live until the next call on this stream. Thread: one.
 * Errors: DATA_LOSS, once, when a slow reader of all runs lost some: the message says how many; the
 * runs' own streams have them. */
TRACKBED_API trackbed_status trackbed_events_next(trackbed_events* events, trackbed_event* out,
                                                  size_t event_size, size_t capacity, size_t* count,
                                                  trackbed_error** error) TRACKBED_NOEXCEPT;
/* The same as JSON, a line each: as `trackbed events`, with "sequence". `count` may be NULL. */
TRACKBED_API trackbed_status trackbed_events_next_json(trackbed_events* events, size_t limit,
                                                       trackbed_bytes* lines, size_t* count,
                                                       trackbed_error** error) TRACKBED_NOEXCEPT;
/* To be polled for reading: readable when there may be events. Belongs to the stream; -1 for NULL.
 * Thread: any. */
TRACKBED_API int trackbed_events_descriptor(const trackbed_events* events) TRACKBED_NOEXCEPT;
TRACKBED_API void trackbed_events_close(trackbed_events* events) TRACKBED_NOEXCEPT;

/* ---- Scheduler of one resource group: which waiting task starts next, and where ---------------
 */

#define TRACKBED_MAX_DEVICES 16  /* of one node */
#define TRACKBED_MAX_RESOURCES 8 /* 0 cpu, 1 memory, 2 to 7 kinds of devices */
/* Resources that are only counted, numbered by the host: licences, a second kind of devices. In
 * thousandths; number i counts in quotas as resource 2 + i. */
#define TRACKBED_MAX_COUNTED 6
#define TRACKBED_MAX_DEVICE_KINDS 64
#define TRACKBED_NEVER INT64_MAX

typedef struct trackbed_scheduler trackbed_scheduler;

/* What a node has. */
typedef struct trackbed_node_capacity {
  uint32_t struct_size;
  uint32_t location;       /* the switch or rack it hangs on, as a number of the host's */
  int64_t cpu;             /* thousandths of a core */
  int64_t memory;          /* bytes */
  int32_t architecture;    /* a number of the host's: 0 to 31 */
  int32_t device_resource; /* what its devices count as in quotas: 2 to 7; 0: 2 */
  int32_t device_count;    /* up to TRACKBED_MAX_DEVICES */
  uint8_t device_kind[TRACKBED_MAX_DEVICES]; /* type and model of each, of the host's: 0 to 63 */
  float price_per_hour;
  float idle_watts;
  float watts_per_device;                /* drawn by a device in use, on top */
  int64_t counted[TRACKBED_MAX_COUNTED]; /* beside devices of the same resource these are parts of
                                            the devices and add nothing to what the group has */
} trackbed_node_capacity;

/* What is left of it. */
typedef struct trackbed_node_state {
  uint32_t struct_size;
  int32_t open; /* 0: nothing new is placed here */
  int64_t cpu;
  int64_t memory;
  int32_t tasks;
  int32_t device_count;
  int16_t device[TRACKBED_MAX_DEVICES]; /* thousandths left of each */
  int64_t counted[TRACKBED_MAX_COUNTED];
} trackbed_node_state;

/* What one member of a task asks of its node. */
typedef struct trackbed_demand {
  uint32_t struct_size;
  uint32_t architectures; /* a set: bit a stands for architecture a; 0: any */
  int64_t cpu;            /* thousandths of a core */
  int64_t memory;         /* bytes */
  int32_t whole_devices;
  int32_t share;         /* thousandths of one more device: 0 to 999 */
  uint64_t device_kinds; /* a set: bit k stands for kind k; 0: any */
  int64_t counted[TRACKBED_MAX_COUNTED];
} trackbed_demand;

/* Where one member of a task is. */
typedef struct trackbed_placement {
  uint32_t node;
  uint16_t whole_devices; /* a set: bit d stands for device d */
  int16_t shared_device;  /* -1: none */
} trackbed_placement;

enum {
  TRACKBED_WORK_BATCH = 0,
  TRACKBED_WORK_INTERACTIVE = 1,
  TRACKBED_WORK_INFERENCE = 2,
  TRACKBED_WORK_SYSTEM = 3
};

/* One task, or a gang of equal members, which starts whole or not at all. */
typedef struct trackbed_task {
  uint32_t struct_size;
  uint32_t tenant;  /* 0: the root */
  uint64_t id;      /* of the host's; not used again while the task is known */
  int32_t priority; /* higher goes first */
  int32_t kind;     /* TRACKBED_WORK_… */
  uint32_t members; /* 0: 1 */
  int32_t on_different_nodes;
  int32_t not_preemptible;
  int32_t device_resource; /* what its devices count as in quotas; 0: 2 */
  int64_t run_time_ns;     /* expected; 0: learned from `history`, or the policy's default */
  uint64_t history;        /* tasks that run about equally long share a number; 0: none */
  int64_t not_before_ns;
  /* Of each member; see trackbed_demand. */
  int64_t cpu;
  int64_t memory;
  int32_t whole_devices;
  int32_t share;
  uint64_t device_kinds;
  uint32_t architectures;
  uint32_t reserved;
  int64_t counted[TRACKBED_MAX_COUNTED]; /* each combination is kept until the scheduler is freed */
  int32_t at_least; /* TRACKBED_ENFORCEMENT_…: what is enforced more weakly is refused */
  uint32_t reserved_2;
} trackbed_task;

/* What a tenant may use, with all below it. */
typedef struct trackbed_quota {
  uint32_t struct_size;
  uint32_t limited; /* a set: bit r: limit[r] holds; others are without limit */
  int64_t guaranteed[TRACKBED_MAX_RESOURCES];
  int64_t limit[TRACKBED_MAX_RESOURCES];
  uint32_t max_running; /* tasks at a time; 0: no limit */
  uint32_t max_waiting; /* 0: no limit */
  double weight;        /* of its share beside its siblings; 0: 1 */
} trackbed_quota;

typedef struct trackbed_tenant_usage {
  uint32_t struct_size;
  uint32_t running;
  int64_t used[TRACKBED_MAX_RESOURCES];
  double dominant_share;
} trackbed_tenant_usage;

/* The nodes as a placer of the host's sees them; valid in its callback. */
typedef struct trackbed_cluster_view trackbed_cluster_view;
TRACKBED_API size_t trackbed_cluster_view_size(const trackbed_cluster_view* view) TRACKBED_NOEXCEPT;
/* 1 when the node is open and has all of the demand free; then `first`, which may be NULL, gets the
 * devices that Trackbed would take there. */
TRACKBED_API int32_t trackbed_cluster_view_fits(const trackbed_cluster_view* view, uint32_t node,
                                                const trackbed_demand* demand,
                                                trackbed_placement* first) TRACKBED_NOEXCEPT;
/* Either out parameter may be NULL. Errors: NOT_FOUND. */
TRACKBED_API trackbed_status trackbed_cluster_view_node(
    const trackbed_cluster_view* view, uint32_t node, trackbed_node_capacity* capacity,
    trackbed_node_state* state) TRACKBED_NOEXCEPT;

/* Chooses where a demand is met: TRACKBED_OK with *out, or TRACKBED_NOT_FOUND when nowhere. The
 * same story must give the same choices. A choice that is not possible, or another status, counts
 * as nowhere and is what the call that needed it returns. Thread: that of the call on the
 * scheduler. Re-entry: only trackbed_cluster_view_…. */
typedef struct trackbed_placer {
  uint32_t struct_size;
  uint32_t reserved;
  void* user_data;
  void (*drop)(void* user_data);
  trackbed_status (*choose)(void* user_data, const trackbed_cluster_view* view,
                            const trackbed_demand* demand, trackbed_placement* out,
                            trackbed_error** error);
  /* A demand has arrived; may be NULL. */
  void (*observe)(void* user_data, const trackbed_demand* demand);
} trackbed_placer;

/* Decides who of those that wait goes first, in place of trackbed_scheduler_options.order, of
 * priorities and of ageing, which it may look at itself. The same story must give the same answers.
 * For a scheduler, or an engine (trackbed_engine_options.policy). Thread: that of the call on the
 * scheduler. Re-entry: none, not even trackbed_scheduler_…. */
typedef struct trackbed_order {
  uint32_t struct_size;
  uint32_t reserved;
  void* user_data;
  void (*drop)(void* user_data);
  /* Where the task stands: among those of one tenant, or of tenants with equal shares, the smaller
   * *rank goes first, then who was submitted first. A scheduler asks once for each task that is
   * submitted, predicted or restored; a failure refuses it with that status. */
  trackbed_status (*rank)(void* user_data, const trackbed_task* task, int64_t submitted_ns,
                          int64_t* rank, trackbed_error** error);
  /* What the tenant has had, in any unit: of two siblings, at each level of the tree, the one with
   * the smaller *share goes first. Asked while planning, whenever two compete. A failure, or what
   * is no number, counts as 0 and is what the call on a scheduler that needed it returns. NULL:
   * ranks alone decide. */
  trackbed_status (*share)(void* user_data, uint32_t tenant, const trackbed_tenant_usage* usage,
                           int64_t now_ns, double* share, trackbed_error** error);
} trackbed_order;

enum {
  TRACKBED_ORDER_FIFO = 0,
  TRACKBED_ORDER_LIFO = 1,
  TRACKBED_ORDER_DRF = 2,       /* the smallest dominant share, at each level of the tree */
  TRACKBED_ORDER_FAIR_SHARE = 3 /* who has used least, past use fading */
};
enum {
  TRACKBED_BACKFILL_DEFAULT = 0,     /* easy */
  TRACKBED_BACKFILL_STRICT = 1,      /* nobody overtakes a task that found no room */
  TRACKBED_BACKFILL_ANY = 2,         /* whatever fits may overtake */
  TRACKBED_BACKFILL_EASY = 3,        /* who overtakes must not delay the first that found no room */
  TRACKBED_BACKFILL_CONSERVATIVE = 4 /* … nor any that did */
};

/* How what a cluster hands out keeps a task to the amounts that it was given: of each a
 * TRACKBED_ENFORCEMENT_…. What a table does not say is accounting. */
typedef struct trackbed_enforcement {
  uint32_t struct_size;
  uint32_t reserved;
  uint8_t whole[TRACKBED_MAX_DEVICE_KINDS]; /* of a device of the kind, given as a whole */
  uint8_t share[TRACKBED_MAX_DEVICE_KINDS]; /* of a part of one */
  uint8_t counted[TRACKBED_MAX_COUNTED];    /* of what is only counted */
  uint8_t reserved_2[2];
} trackbed_enforcement;

typedef struct trackbed_scheduler_options {
  uint32_t struct_size;
  int32_t order;              /* TRACKBED_ORDER_… */
  int32_t backfill;           /* TRACKBED_BACKFILL_… */
  uint32_t reservation_depth; /* 0: 64 */
  int32_t preempt_by_priority;
  int32_t reclaim;             /* a tenant below its guarantee may stop work of borrowers */
  int64_t ageing_ns;           /* waiting so long is one step of priority; 0: 1 h; -1: never */
  int64_t minimum_run_time_ns; /* nothing is stopped before */
  int64_t default_run_time_ns; /* where nothing is known; 0: 1 h */
  int64_t gang_grace_ns;       /* how long a gang may wait for a lost member; 0: 10 min */
  int64_t claim_time_ns;       /* how long a claim waits for what was told to stop; 0: 10 min */
  uint32_t kinds;              /* a set of TRACKBED_WORK_…, as bits; 0: all */
  uint32_t reserved;
  trackbed_string placer;             /* "default", "pack", "spread", …; empty: "default" */
  uint64_t seed;                      /* of the placer "random" */
  const trackbed_placer* host_placer; /* instead of `placer`; NULL: none */
  const trackbed_string* resources;   /* names for sentences: "cpu", "mem", "cuda.shares", … */
  size_t resource_count;
  int64_t half_life_ns;             /* of past use; 0: 7 days */
  const trackbed_order* host_order; /* instead of `order`; NULL: none */
  /* NULL: a whole device hardware, a share advisory, what is only counted accounting. */
  const trackbed_enforcement* enforcement;
} trackbed_scheduler_options;

enum {
  TRACKBED_PLAN_START = 1, /* member `member` of `members` of task `task` starts at `placement` */
  TRACKBED_PLAN_EVICTION = 2, /* stop `task` for `other`; report its end with finish */
  TRACKBED_PLAN_REPAIR = 3,   /* a lost member of a gang has this new place */
  TRACKBED_PLAN_RELEASE = 4,  /* a crippled gang whose grace is over: stop what is left of it */
  TRACKBED_PLAN_ENDED = 5     /* by trackbed_scheduler_lose_node: it was on the lost node */
};
enum { TRACKBED_EVICTION_PRIORITY = 1, TRACKBED_EVICTION_RECLAIM = 2 };

typedef struct trackbed_plan_item {
  uint32_t struct_size;
  int32_t kind; /* TRACKBED_PLAN_… */
  uint64_t task;
  uint64_t other;
  uint32_t member;
  uint32_t members;
  trackbed_placement placement;
  int32_t cause; /* of an eviction: TRACKBED_EVICTION_… */
  int32_t reserved;
  /* Of a start: TRACKBED_ENFORCEMENT_…, the weakest of all that the task got of devices and of what
   * is only counted; -1: it got none. */
  int32_t enforcement;
  int32_t reserved_2;
} trackbed_plan_item;

/* What a scheduler decided. Never changes. Members of one task follow each other. */
typedef struct trackbed_plan trackbed_plan;
TRACKBED_API size_t trackbed_plan_size(const trackbed_plan* plan) TRACKBED_NOEXCEPT;
/* Items from `first` on, as many as fit `capacity`; returns how many. 0 also when item_size is
 * that of no version of the struct. Thread: any. */
TRACKBED_API size_t trackbed_plan_read(const trackbed_plan* plan, size_t first,
                                       trackbed_plan_item* items, size_t item_size,
                                       size_t capacity) TRACKBED_NOEXCEPT;
/* When to schedule again even if nothing happens; TRACKBED_NEVER: no need. */
TRACKBED_API int64_t trackbed_plan_next(const trackbed_plan* plan) TRACKBED_NOEXCEPT;
TRACKBED_API void trackbed_plan_free(trackbed_plan* plan) TRACKBED_NOEXCEPT;

enum {
  TRACKBED_WAIT_NONE = 0, /* it does not wait, or is not known */
  TRACKBED_WAIT_NOT_YET = 1,
  TRACKBED_WAIT_QUOTA = 2,         /* quota_… say which and where */
  TRACKBED_WAIT_SHORTAGE = 3,      /* there is less free than it needs, in all */
  TRACKBED_WAIT_FRAGMENTATION = 4, /* enough is free in all, but not together */
  TRACKBED_WAIT_RESERVED = 5,      /* it would delay `ahead`, for which room is kept */
  TRACKBED_WAIT_STRICT_ORDER = 6,
  TRACKBED_WAIT_CLAIMING = 7, /* the tasks that make room for it are stopping */
  TRACKBED_WAIT_NEXT = 8,     /* nothing is in its way */
  /* It would fit, but only on devices that are enforced more weakly than it asks. */
  TRACKBED_WAIT_ENFORCEMENT = 9
};
enum { TRACKBED_QUOTA_LIMIT = 1, TRACKBED_QUOTA_MAX_RUNNING = 2, TRACKBED_QUOTA_MAX_WAITING = 3 };

typedef struct trackbed_wait_reason {
  uint32_t struct_size;
  int32_t rule;       /* TRACKBED_WAIT_… */
  uint32_t resource;  /* what is short: 0 cpu, 1 memory, … */
  int32_t node;       /* where most is free; -1: not about a node */
  int64_t needed;     /* of it, by one member */
  int64_t available;  /* the most that is free together, or in all for a shortage */
  int32_t quota_rule; /* TRACKBED_QUOTA_… */
  uint32_t quota_tenant;
  uint32_t quota_resource;
  uint32_t reserved;
  int64_t quota_needed;
  int64_t quota_used;
  int64_t quota_allowed;
  uint64_t ahead;
  int64_t until_ns;          /* TRACKBED_NEVER: none */
  int64_t expected_start_ns; /* TRACKBED_NEVER: not known */
  /* Of a prediction to start now, as of trackbed_plan_item; else -1. */
  int32_t enforcement;
  int32_t reserved_2;
} trackbed_wait_reason;

enum { TRACKBED_TASK_UNKNOWN = 0, TRACKBED_TASK_WAITING = 1, TRACKBED_TASK_RUNNING = 2 };

typedef struct trackbed_scheduler_stats {
  uint32_t struct_size;
  uint32_t nodes;
  uint64_t waiting;
  uint64_t running;
  int64_t device_capacity; /* thousandths of devices, of all nodes */
  int64_t device_left;
} trackbed_scheduler_stats;

/* Thread of all that follow: one. Times are the caller's and may not go back. */

/* `options` may be NULL. End: trackbed_scheduler_free. Errors: INVALID_ARGUMENT for an unknown
 * placer, with the nearest name. */
TRACKBED_API trackbed_status trackbed_scheduler_create(const trackbed_scheduler_options* options,
                                                       trackbed_scheduler** out,
                                                       trackbed_error** error) TRACKBED_NOEXCEPT;
TRACKBED_API void trackbed_scheduler_free(trackbed_scheduler* scheduler) TRACKBED_NOEXCEPT;
/* Errors: ALREADY_EXISTS. */
TRACKBED_API trackbed_status trackbed_scheduler_add_node(trackbed_scheduler* scheduler,
                                                         const char* name, size_t name_size,
                                                         const trackbed_node_capacity* capacity,
                                                         uint32_t* node,
                                                         trackbed_error** error) TRACKBED_NOEXCEPT;
/* Nothing new is placed there; what runs goes on. Errors of the three: NOT_FOUND. */
TRACKBED_API trackbed_status trackbed_scheduler_drain_node(
    trackbed_scheduler* scheduler, uint32_t node, trackbed_error** error) TRACKBED_NOEXCEPT;
/* The node takes new tasks (again). */
TRACKBED_API trackbed_status trackbed_scheduler_open_node(trackbed_scheduler* scheduler,
                                                          uint32_t node,
                                                          trackbed_error** error) TRACKBED_NOEXCEPT;
/* The node is gone. `ended` gets the single tasks that were there, as items TRACKBED_PLAN_ENDED;
 * gangs keep their other members while a place for the lost ones is looked for. */
TRACKBED_API trackbed_status trackbed_scheduler_lose_node(trackbed_scheduler* scheduler,
                                                          uint32_t node, int64_t now_ns,
                                                          trackbed_plan** ended,
                                                          trackbed_error** error) TRACKBED_NOEXCEPT;
/* Borrowed until the scheduler is freed; empty when there is no such node. */
TRACKBED_API trackbed_string trackbed_scheduler_node_name(const trackbed_scheduler* scheduler,
                                                          uint32_t node) TRACKBED_NOEXCEPT;
/* Either out parameter may be NULL. Errors: NOT_FOUND. */
TRACKBED_API trackbed_status trackbed_scheduler_node(const trackbed_scheduler* scheduler,
                                                     uint32_t node,
                                                     trackbed_node_capacity* capacity,
                                                     trackbed_node_state* state,
                                                     trackbed_error** error) TRACKBED_NOEXCEPT;
/* `quota` may be NULL. Errors: ALREADY_EXISTS among its siblings; NOT_FOUND parent;
 * INVALID_ARGUMENT a negative amount, or a guarantee above the limit. */
TRACKBED_API trackbed_status trackbed_scheduler_add_tenant(
    trackbed_scheduler* scheduler, uint32_t parent, const char* name, size_t name_size,
    const trackbed_quota* quota, uint32_t* tenant, trackbed_error** error) TRACKBED_NOEXCEPT;
TRACKBED_API trackbed_status trackbed_scheduler_set_quota(trackbed_scheduler* scheduler,
                                                          uint32_t tenant,
                                                          const trackbed_quota* quota,
                                                          trackbed_error** error) TRACKBED_NOEXCEPT;
/* The tenant of a path, "research/vision/ada"; "" is the root. Errors: NOT_FOUND. */
TRACKBED_API trackbed_status trackbed_scheduler_find_tenant(
    const trackbed_scheduler* scheduler, const char* path, size_t path_size, uint32_t* tenant,
    trackbed_error** error) TRACKBED_NOEXCEPT;
TRACKBED_API trackbed_status trackbed_scheduler_tenant_usage(
    const trackbed_scheduler* scheduler, uint32_t tenant, trackbed_tenant_usage* out,
    trackbed_error** error) TRACKBED_NOEXCEPT;
/* Adds a task to the queue. Errors: ALREADY_EXISTS; INVALID_ARGUMENT; RESOURCE_EXHAUSTED it could
 * never run on these nodes or within its quotas: the message says which; FAILED_PRECONDITION it
 * could, but only on what is enforced more weakly than it asks. */
TRACKBED_API trackbed_status trackbed_scheduler_submit(trackbed_scheduler* scheduler,
                                                       const trackbed_task* task, int64_t now_ns,
                                                       trackbed_error** error) TRACKBED_NOEXCEPT;
/* Many at once; each is taken or refused by itself. `statuses`, which may be NULL, gets one for
 * each, `accepted`, which may be NULL, how many were taken. Returns the first refusal. */
TRACKBED_API trackbed_status trackbed_scheduler_submit_batch(
    trackbed_scheduler* scheduler, const trackbed_task* tasks, size_t task_size, size_t task_count,
    int64_t now_ns, trackbed_status* statuses, size_t* accepted,
    trackbed_error** error) TRACKBED_NOEXCEPT;
/* Counts a task as running there: rebuilds the state after a restart. One placement a member.
 * Errors: FAILED_PRECONDITION, with nothing changed, when the room is not free. */
TRACKBED_API trackbed_status trackbed_scheduler_restore(trackbed_scheduler* scheduler,
                                                        const trackbed_task* task,
                                                        const trackbed_placement* placements,
                                                        size_t placement_count, int64_t started_ns,
                                                        int64_t now_ns,
                                                        trackbed_error** error) TRACKBED_NOEXCEPT;
/* Takes a task out: a waiting one is withdrawn, a running one has ended. Errors: NOT_FOUND. */
TRACKBED_API trackbed_status trackbed_scheduler_finish(trackbed_scheduler* scheduler, uint64_t task,
                                                       int64_t now_ns,
                                                       trackbed_error** error) TRACKBED_NOEXCEPT;
/* Decides all that can be decided now and counts it as done. End: trackbed_plan_free. When a placer
 * or an order of the host's failed its status is returned, and *out is set nevertheless, with what
 * was decided. */
TRACKBED_API trackbed_status trackbed_scheduler_schedule(trackbed_scheduler* scheduler,
                                                         int64_t now_ns, trackbed_plan** out,
                                                         trackbed_error** error) TRACKBED_NOEXCEPT;
/* Why the task waits. `sentence`, which may be NULL, gets the same for people. */
TRACKBED_API trackbed_status trackbed_scheduler_explain(trackbed_scheduler* scheduler,
                                                        uint64_t task, int64_t now_ns,
                                                        trackbed_wait_reason* out,
                                                        trackbed_bytes* sentence,
                                                        trackbed_error** error) TRACKBED_NOEXCEPT;
/* What would become of a task if it were submitted now; nothing is changed. start_ns gets when it
 * would start (now, later, or TRACKBED_NEVER), `reason` and `sentence`, which may be NULL, why not
 * now. Errors: as submit. */
TRACKBED_API trackbed_status trackbed_scheduler_predict(trackbed_scheduler* scheduler,
                                                        const trackbed_task* task, int64_t now_ns,
                                                        int64_t* start_ns,
                                                        trackbed_wait_reason* reason,
                                                        trackbed_bytes* sentence,
                                                        trackbed_error** error) TRACKBED_NOEXCEPT;
/* Nodes as they might be. */
typedef struct trackbed_what_if {
  uint32_t struct_size;
  uint32_t added_size;                 /* of one of `added`, in bytes */
  const trackbed_node_capacity* added; /* numbered on from those that there are */
  size_t added_count;
  const uint32_t* drained; /* numbers of nodes that take nothing new */
  size_t drained_count;
} trackbed_what_if;

/* The same as trackbed_scheduler_predict if nodes were added or drained; by first fit, since the
 * placer knows only the nodes that there are. Errors also: NOT_FOUND a node to drain. */
TRACKBED_API trackbed_status trackbed_scheduler_predict_if(
    trackbed_scheduler* scheduler, const trackbed_task* task, const trackbed_what_if* what_if,
    int64_t now_ns, int64_t* start_ns, trackbed_wait_reason* reason, trackbed_bytes* sentence,
    trackbed_error** error) TRACKBED_NOEXCEPT;
/* TRACKBED_TASK_…. */
TRACKBED_API int32_t trackbed_scheduler_task_state(const trackbed_scheduler* scheduler,
                                                   uint64_t task) TRACKBED_NOEXCEPT;
/* Where a running task is: as many members as fit `capacity`; `count` gets how many there are.
 * Errors: NOT_FOUND it does not run. */
TRACKBED_API trackbed_status trackbed_scheduler_placements(
    const trackbed_scheduler* scheduler, uint64_t task, trackbed_placement* placements,
    size_t capacity, size_t* count, trackbed_error** error) TRACKBED_NOEXCEPT;
TRACKBED_API trackbed_status trackbed_scheduler_get_stats(const trackbed_scheduler* scheduler,
                                                          trackbed_scheduler_stats* out,
                                                          trackbed_error** error) TRACKBED_NOEXCEPT;
/* Adds up everything again and compares: for tests. Errors: INTERNAL names the difference. */
TRACKBED_API trackbed_status trackbed_scheduler_recount(const trackbed_scheduler* scheduler,
                                                        trackbed_error** error) TRACKBED_NOEXCEPT;

/* ---- Resource groups: several schedulers, and who may use and who may change which ------------
 */

typedef struct trackbed_groups trackbed_groups;

/* Who asks. NULL stands for the host itself, which may do everything. */
typedef struct trackbed_principal {
  uint32_t struct_size;
  uint32_t tenant;
  int32_t operates_nodes;  /* may add, drain and open nodes */
  int32_t sets_policies;   /* may make groups and change their rules */
  int32_t manages_tenants; /* may add tenants and set quotas below its own */
  int32_t reserved;
} trackbed_principal;

/* What a group is for. */
typedef struct trackbed_group_rules {
  uint32_t struct_size;
  uint32_t architectures;  /* of the nodes that may be added: a set; 0: any */
  const uint32_t* allowed; /* tenants: these and all below; none: everybody */
  size_t allowed_count;
} trackbed_group_rules;

/* Thread of all: one. PERMISSION_DENIED names the right or rule in the way; NOT_FOUND is an unknown
 * group; else errors are as of the scheduler's function of that name. */
TRACKBED_API trackbed_status trackbed_groups_create(trackbed_groups** out,
                                                    trackbed_error** error) TRACKBED_NOEXCEPT;
/* Ends its schedulers too. */
TRACKBED_API void trackbed_groups_free(trackbed_groups* groups) TRACKBED_NOEXCEPT;
TRACKBED_API trackbed_status trackbed_groups_add_tenant(trackbed_groups* groups,
                                                        const trackbed_principal* who,
                                                        uint32_t parent, const char* name,
                                                        size_t name_size, uint32_t* tenant,
                                                        trackbed_error** error) TRACKBED_NOEXCEPT;
TRACKBED_API trackbed_status trackbed_groups_set_quota(trackbed_groups* groups,
                                                       const trackbed_principal* who,
                                                       const char* group, size_t group_size,
                                                       uint32_t tenant, const trackbed_quota* quota,
                                                       trackbed_error** error) TRACKBED_NOEXCEPT;
/* `rules` and `options` may be NULL. */
TRACKBED_API trackbed_status trackbed_groups_add_group(trackbed_groups* groups,
                                                       const trackbed_principal* who,
                                                       const char* group, size_t group_size,
                                                       const trackbed_group_rules* rules,
                                                       const trackbed_scheduler_options* options,
                                                       trackbed_error** error) TRACKBED_NOEXCEPT;
TRACKBED_API trackbed_status trackbed_groups_set_rules(trackbed_groups* groups,
                                                       const trackbed_principal* who,
                                                       const char* group, size_t group_size,
                                                       const trackbed_group_rules* rules,
                                                       trackbed_error** error) TRACKBED_NOEXCEPT;
TRACKBED_API trackbed_status trackbed_groups_add_node(
    trackbed_groups* groups, const trackbed_principal* who, const char* group, size_t group_size,
    const char* name, size_t name_size, const trackbed_node_capacity* capacity, uint32_t* node,
    trackbed_error** error) TRACKBED_NOEXCEPT;
/* `open` 0 drains the node, else it is opened. */
TRACKBED_API trackbed_status trackbed_groups_set_node_open(
    trackbed_groups* groups, const trackbed_principal* who, const char* group, size_t group_size,
    const char* name, size_t name_size, int32_t open, trackbed_error** error) TRACKBED_NOEXCEPT;
/* The groups that the principal may submit such work (TRACKBED_WORK_…) to, as a JSON array. */
TRACKBED_API trackbed_status trackbed_groups_usable(const trackbed_groups* groups,
                                                    const trackbed_principal* who, int32_t kind,
                                                    trackbed_bytes* json,
                                                    trackbed_error** error) TRACKBED_NOEXCEPT;
TRACKBED_API trackbed_status trackbed_groups_submit(trackbed_groups* groups,
                                                    const trackbed_principal* who,
                                                    const char* group, size_t group_size,
                                                    const trackbed_task* task, int64_t now_ns,
                                                    trackbed_error** error) TRACKBED_NOEXCEPT;
/* As trackbed_scheduler_predict, for the principal. */
TRACKBED_API trackbed_status trackbed_groups_predict(
    trackbed_groups* groups, const trackbed_principal* who, const char* group, size_t group_size,
    const trackbed_task* task, int64_t now_ns, int64_t* start_ns, trackbed_wait_reason* reason,
    trackbed_bytes* sentence, trackbed_error** error) TRACKBED_NOEXCEPT;
/* Withdraws a waiting task of the principal's tenant, or one below. */
TRACKBED_API trackbed_status trackbed_groups_withdraw(trackbed_groups* groups,
                                                      const trackbed_principal* who,
                                                      const char* group, size_t group_size,
                                                      uint64_t task, int64_t now_ns,
                                                      trackbed_error** error) TRACKBED_NOEXCEPT;
/* The scheduler of a group, for the host, which runs what is planned. Borrowed until the groups are
 * freed: do not free it. NULL when there is no such group. */
TRACKBED_API trackbed_scheduler* trackbed_groups_scheduler(trackbed_groups* groups,
                                                           const char* group,
                                                           size_t group_size) TRACKBED_NOEXCEPT;

/* ---- Simulation ---------------------------------------------------------------------------- */

enum {
  TRACKBED_TRACE_OPENB = 0,  /* placement only: an empty cluster is filled */
  TRACKBED_TRACE_PHILLY = 1, /* jobs with times */
  TRACKBED_TRACE_SACCT = 2   /* Slurm's accounting */
};

typedef struct trackbed_simulation_options {
  uint32_t struct_size;
  int32_t trace;              /* TRACKBED_TRACE_… */
  trackbed_string nodes;      /* CSV, as `trackbed simulate --nodes` */
  trackbed_string workload;   /* CSV */
  trackbed_string nodes_file; /* names for positions; may be empty */
  trackbed_string workload_file;
  trackbed_string placer; /* empty: "default" */
  /* openb: */
  const uint64_t* seeds; /* one run for each; none: 42 */
  size_t seed_count;
  double inflate; /* load that arrives, in units of all devices; 0: 1.3 */
  int32_t learn;  /* not 0: the placer is not told the mix of work beforehand */
  /* philly and sacct: */
  int32_t exact_run_times;                  /* the scheduler knows how long each job will run */
  const trackbed_scheduler_options* policy; /* its placer is not looked at, and a host_order is
                                               INVALID_ARGUMENT; NULL: defaults */
} trackbed_simulation_options;

/* Runs the real scheduler over recorded work. `json` gets the result: of openb that of
 * `trackbed simulate --json`, else the summary, tenants and jobs. `csv` and `html` (a line a job, a
 * report), which may be NULL, are given of philly and sacct. Thread: any.
 * Errors: INVALID_ARGUMENT with diagnostics. */
TRACKBED_API trackbed_status trackbed_simulate(const trackbed_simulation_options* options,
                                               trackbed_bytes* json, trackbed_bytes* csv,
                                               trackbed_bytes* html,
                                               trackbed_error** error) TRACKBED_NOEXCEPT;

#if defined(__cplusplus)
} /* extern "C" */
#endif

#endif /* TRACKBED_H */
