// What an executor and its supervisor processes say to each other: messages over a socket of type
// SOCK_SEQPACKET. A supervisor runs one attempt at a time, so none of them needs a name.
//
// The supervisor program shares this file: no Abseil here.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace trackbed {

// An attempt to run. Travels by memory only: it is where secret values are.
struct Order {
  std::string folder;                // the attempt's; absolute, and there
  std::vector<std::string> secrets;  // "NAME=VALUE"
  std::string launch;                // a LaunchRecord as text
};
std::string EncodeOrder(const Order& order);
bool DecodeOrder(std::string_view text, Order* order);

// From the executor: run this, or stop what you run. After `end` nothing more comes.
struct ExecutorWord {
  enum class Kind : uint8_t { order, terminate, kill, end };
  Kind kind = Kind::end;
  std::string order;  // as EncodeOrder made it
};

// From the supervisor. After any but `started` it waits for the next order, unless it is the last.
struct SupervisorWord {
  enum class Kind : int32_t {
    started,  // the command runs; not said of one that ended right away
    ended,    // how is in the record
    taken,    // somebody else has claimed the attempt
    refused,  // nothing ran and nobody has claimed it: `error` says why
  };
  Kind kind = Kind::ended;
  int32_t error = 0;  // errno
  int32_t last = 0;   // not 0: it ends now rather than wait for another order
};

// None of these waits. 0, or errno: EPIPE or ECONNRESET when the other side is gone, EAGAIN when
// nothing is there to be received.
int SendOrder(int socket, std::string_view order);
int SendStop(int socket, ExecutorWord::Kind kind);
int ReceiveFromExecutor(int socket, ExecutorWord* word);
int SendFromSupervisor(int socket, const SupervisorWord& word);
int ReceiveFromSupervisor(int socket, SupervisorWord* word);

}  // namespace trackbed
