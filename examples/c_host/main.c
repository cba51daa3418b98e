/* Trackbed inside a C program that has an event loop of its own: epoll waits for the library as it
 * does for everything else. There is no thread but this one, and no call that waits.
 *
 *   cc main.c -ltrackbed -o host && ./host FOLDER
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "trackbed.h"

static const char kPipeline[] =
    "name: squares\n"
    "parameters: {limit: 5}\n"
    "tasks:\n"
    "- name: count\n"
    "  command: |\n"
    "    seq ${{ params.limit }} > \"$TRACKBED_OUTPUTS/numbers\"\n"
    "- name: square\n"
    "  command: |\n"
    "    sum=0\n"
    "    while read n; do sum=$((sum + n * n)); done < \"$TRACKBED_INPUTS/count/numbers\"\n"
    "    echo \"the sum is $sum\"\n"
    "    echo sum=$sum >> \"$TRACKBED_OUTPUT\"\n"
    "  outputs: {sum: integer}\n"
    "  dependencies: [count]\n";

/* Says what went wrong, once for all calls: if (failed("open", status, &error)) goto end; */
static int failed(const char* what, trackbed_status status, trackbed_error** error) {
  if (status == TRACKBED_OK) return 0;
  trackbed_string message = trackbed_error_message(*error);
  fprintf(stderr, "%s: %s: %.*s\n", what, trackbed_status_name(status), (int)message.size,
          message.data);
  trackbed_error_free(*error);
  *error = NULL;
  return 1;
}

/* Prints what has happened; 1 when the run has ended, -1 on an error. */
static int print_events(trackbed_events* events) {
  trackbed_error* error = NULL;
  trackbed_event list[16];
  size_t count = 0;
  int ended = 0;
  do {
    trackbed_status status = trackbed_events_next(events, list, sizeof list[0], 16, &count, &error);
    if (failed("events", status, &error)) return -1;
    for (size_t i = 0; i < count; ++i) {
      const trackbed_event* event = &list[i];
      switch (event->type) {
        case TRACKBED_EVENT_ATTEMPT_INTENDED:
          printf("%.*s starts\n", (int)event->task_name.size, event->task_name.data);
          break;
        case TRACKBED_EVENT_ATTEMPT_SUCCEEDED:
          printf("%.*s has succeeded\n", (int)event->task_name.size, event->task_name.data);
          break;
        case TRACKBED_EVENT_ATTEMPT_FAILED:
          printf("%.*s has failed\n", (int)event->task_name.size, event->task_name.data);
          break;
        case TRACKBED_EVENT_TASK_CACHED:
          printf("%.*s is what it was\n", (int)event->task_name.size, event->task_name.data);
          break;
        case TRACKBED_EVENT_RUN_FINISHED:
          ended = 1;
          break;
        default:
          break;
      }
    }
  } while (count > 0);
  return ended;
}

static int watch(int epoll, int descriptor) {
  struct epoll_event interest = {.events = EPOLLIN, .data = {.fd = descriptor}};
  return epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &interest);
}

int main(int count, char** arguments) {
  int result = 1;
  int epoll = -1;
  int ended = 0;
  trackbed_error* error = NULL;
  trackbed_engine* engine = NULL;
  trackbed_pipeline* pipeline = NULL;
  trackbed_events* events = NULL;
  trackbed_bytes run = {NULL, 0};
  trackbed_bytes text = {NULL, 0};
  trackbed_engine_options options;
  trackbed_submit_options submit;
  trackbed_events_options stream;

  TRACKBED_INIT(&options);
  options.home = trackbed_text(count > 1 ? arguments[1] : "c_host_home");
  if (failed("open", trackbed_engine_open(&options, &engine, &error), &error)) goto end;
  if (failed("parse",
             trackbed_pipeline_parse(kPipeline, TRACKBED_TERMINATED, TRACKBED_FORMAT_YAML,
                                     "squares.yaml", TRACKBED_TERMINATED, &pipeline, &error),
             &error))
    goto end;
  TRACKBED_INIT(&submit);
  submit.parameters = trackbed_text("{\"limit\": 10}");
  if (failed("submit", trackbed_engine_submit(engine, pipeline, &submit, &run, &error), &error))
    goto end;
  TRACKBED_INIT(&stream);
  stream.run = trackbed_text(run.data);
  if (failed("events", trackbed_events_open(engine, &stream, &events, &error), &error)) goto end;

  /* The loop that the program has anyway. Sockets, timers and signals go here too. */
  epoll = epoll_create1(EPOLL_CLOEXEC);
  if (epoll < 0 || watch(epoll, trackbed_engine_wake_descriptor(engine)) != 0 ||
      watch(epoll, trackbed_events_descriptor(events)) != 0) {
    perror("epoll");
    goto end;
  }
  while (!ended) {
    struct epoll_event ready[8];
    /* Whatever woke us: a step does what can be done, and costs little when that is nothing. */
    if (failed("step", trackbed_engine_step(engine, &error), &error)) goto end;
    ended = print_events(events);
    if (ended < 0) goto end;
    if (!ended && epoll_wait(epoll, ready, 8, trackbed_engine_poll_timeout(engine)) < 0 &&
        errno != EINTR) {
      perror("epoll_wait");
      goto end;
    }
  }

  if (failed("log",
             trackbed_engine_read_log(engine, run.data, run.size, "square", TRACKBED_TERMINATED, 0,
                                      0, 4096, &text, NULL, &error),
             &error))
    goto end;
  printf("log of square: %s", text.data);
  trackbed_bytes_free(&text);
  if (failed("outputs",
             trackbed_engine_outputs(engine, run.data, run.size, "square", TRACKBED_TERMINATED,
                                     &text, NULL, &error),
             &error))
    goto end;
  printf("outputs of square: %s\n", text.data);
  result = 0;

end:
  if (epoll >= 0) close(epoll);
  trackbed_bytes_free(&text);
  trackbed_bytes_free(&run);
  trackbed_events_close(events); /* before its engine */
  trackbed_engine_close(engine);
  trackbed_pipeline_free(pipeline);
  return result;
}
