// The tables of the first format of a store: kept so that its stores can always be opened. Whoever
// makes one adds the rows, the one of the lease included, and the marks of the file.
#pragma once

namespace trackbed {

inline constexpr char kFirstFormatTables[] = R"sql(
CREATE TABLE pipelines(version TEXT PRIMARY KEY, document BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE runs(
  number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, pipeline TEXT NOT NULL,
  version TEXT NOT NULL REFERENCES pipelines, submitted_ns INTEGER NOT NULL,
  status INTEGER NOT NULL, finished_ns INTEGER NOT NULL);
CREATE TABLE events(
  run INTEGER NOT NULL, sequence INTEGER NOT NULL, time_ns INTEGER NOT NULL,
  type INTEGER NOT NULL, task INTEGER, attempt INTEGER, detail BLOB,
  PRIMARY KEY(run, sequence)) WITHOUT ROWID;
CREATE TABLE cache(
  key TEXT PRIMARY KEY, pipeline TEXT NOT NULL, task TEXT NOT NULL, time_ns INTEGER NOT NULL,
  detail BLOB NOT NULL) WITHOUT ROWID;
CREATE INDEX cache_by_task ON cache(pipeline, task, time_ns);
CREATE TABLE lease(
  one INTEGER PRIMARY KEY CHECK(one = 1), fence INTEGER NOT NULL, expires_ns INTEGER NOT NULL,
  host TEXT NOT NULL, boot_id TEXT NOT NULL, process INTEGER NOT NULL,
  process_start INTEGER NOT NULL, description TEXT NOT NULL);
CREATE TABLE requests(
  number INTEGER PRIMARY KEY AUTOINCREMENT, time_ns INTEGER NOT NULL, kind INTEGER NOT NULL,
  run TEXT NOT NULL);
)sql";

}  // namespace trackbed
