/* Runs a pipeline of one task in the folder it is given and prints what the task left. */
#include <stdio.h>
#include <trackbed.h>

static const char kPipeline[] =
    "name: consumer\n"
    "tasks:\n"
    "- name: one\n"
    "  command: echo n=3 >> $TRACKBED_OUTPUT\n"
    "  outputs: {n: integer}\n";

static int report(trackbed_error* error) {
  trackbed_string message = trackbed_error_message(error);
  fprintf(stderr, "%.*s\n", (int)message.size, message.data);
  trackbed_error_free(error);
  return 1;
}

int main(int count, char** arguments) {
  trackbed_error* error = NULL;
  trackbed_pipeline* pipeline = NULL;
  trackbed_engine* engine = NULL;
  trackbed_engine_options options;
  trackbed_bytes run = {NULL, 0};
  trackbed_bytes outputs = {NULL, 0};
  if (count != 2) return 2;
  if (trackbed_pipeline_parse(kPipeline, TRACKBED_TERMINATED, TRACKBED_FORMAT_YAML, "", 0,
                              &pipeline, &error))
    return report(error);
  TRACKBED_INIT(&options);
  options.home = trackbed_text(arguments[1]);
  if (trackbed_engine_open(&options, &engine, &error)) return report(error);
  if (trackbed_engine_submit(engine, pipeline, NULL, &run, &error)) return report(error);
  if (trackbed_engine_wait(engine, run.data, run.size, -1, NULL, &error)) return report(error);
  if (trackbed_engine_outputs(engine, run.data, run.size, "one", TRACKBED_TERMINATED, &outputs,
                              NULL, &error))
    return report(error);
  printf("trackbed %s: %s\n", trackbed_version(), outputs.data);
  trackbed_bytes_free(&outputs);
  trackbed_bytes_free(&run);
  trackbed_engine_close(engine);
  trackbed_pipeline_free(pipeline);
  return 0;
}
