#include "executors/supervisor_channel.hpp"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "executors/attempt_records.hpp"

namespace trackbed {
namespace {

// The first byte of a message to a supervisor.
constexpr char kOrder = 'o';       // the order follows
constexpr char kLargeOrder = 'l';  // a descriptor of a file in memory that holds it comes along
constexpr char kTerminate = 't';
constexpr char kKill = 'k';

// Well below what a socket's buffer holds by default.
constexpr size_t kMaxInline = size_t{64} << 10;

int Send(int socket, const msghdr& message) {
  while (sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
    if (errno != EINTR) return errno;
  }
  return 0;
}

union DescriptorSpace {
  cmsghdr header;
  char bytes[CMSG_SPACE(sizeof(int))];
};

int SendDescriptor(int socket, char kind, int descriptor) {
  iovec part{&kind, 1};
  DescriptorSpace space{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = space.bytes;
  message.msg_controllen = sizeof(space.bytes);
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(header), &descriptor, sizeof(int));
  return Send(socket, message);
}

int SendLargeOrder(int socket, std::string_view order) {
  const int file = memfd_create("order", MFD_CLOEXEC);
  if (file < 0) return errno;
  int error = WriteFully(file, order);
  if (error == 0) error = SendDescriptor(socket, kLargeOrder, file);
  close(file);
  return error;
}

// All of a file in memory, from its beginning wherever the writer has left its position.
int ReadMemoryFile(int file, std::string* text) {
  struct stat status{};
  if (fstat(file, &status) != 0) return errno;
  if (status.st_size < 0 || static_cast<size_t>(status.st_size) > kMaxRecordBytes) return EFBIG;
  text->resize(static_cast<size_t>(status.st_size));
  for (size_t done = 0; done < text->size();) {
    const ssize_t count =
        pread(file, text->data() + done, text->size() - done, static_cast<off_t>(done));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return count < 0 ? errno : EBADMSG;
    done += static_cast<size_t>(count);
  }
  return 0;
}

// The descriptor that came along with a message, or -1.
int TakeDescriptor(msghdr* message) {
  int descriptor = -1;
  for (cmsghdr* header = CMSG_FIRSTHDR(message); header != nullptr;
       header = CMSG_NXTHDR(message, header)) {
    if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
      memcpy(&descriptor, CMSG_DATA(header), sizeof(int));
    }
  }
  return descriptor;
}

// The text up to the next zero byte, which is taken off *rest too. False when there is none.
bool NextText(std::string_view* rest, std::string_view* text) {
  const size_t end = rest->find('\0');
  if (end == std::string_view::npos) return false;
  *text = rest->substr(0, end);
  rest->remove_prefix(end + 1);
  return true;
}

}  // namespace

// The folder, the secrets and an empty text, each ended by a zero byte; then the launch record.
std::string EncodeOrder(const Order& order) {
  std::string text = order.folder;
  text += '\0';
  for (const std::string& secret : order.secrets) {
    text += secret;
    text += '\0';
  }
  text += '\0';
  text += order.launch;
  return text;
}

bool DecodeOrder(std::string_view text, Order* order) {
  *order = Order();
  std::string_view part;
  if (!NextText(&text, &part)) return false;
  order->folder = part;
  while (true) {
    if (!NextText(&text, &part)) return false;
    if (part.empty()) break;
    order->secrets.emplace_back(part);
  }
  order->launch = text;
  return order->folder.starts_with('/');
}

int SendOrder(int socket, std::string_view order) {
  if (order.size() > kMaxInline) return SendLargeOrder(socket, order);
  char kind = kOrder;
  // sendmsg does not write to what it is given, but its signature has no const.
  iovec parts[] = {{&kind, 1}, {const_cast<char*>(order.data()), order.size()}};
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = 2;
  const int error = Send(socket, message);
  // Buffers can be made smaller than they are by default.
  return error == EMSGSIZE ? SendLargeOrder(socket, order) : error;
}

int SendStop(int socket, ExecutorWord::Kind kind) {
  char byte = kind == ExecutorWord::Kind::kill ? kKill : kTerminate;
  iovec part{&byte, 1};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  return Send(socket, message);
}

int ReceiveFromExecutor(int socket, ExecutorWord* word) {
  // Not filled with zeros: most words are short.
  const auto buffer = std::make_unique_for_overwrite<char[]>(kMaxInline);
  char kind = 0;
  iovec parts[] = {{&kind, 1}, {buffer.get(), kMaxInline}};
  DescriptorSpace space{};
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = 2;
  message.msg_control = space.bytes;
  message.msg_controllen = sizeof(space.bytes);
  ssize_t count = 0;
  while ((count = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC)) < 0) {
    if (errno != EINTR) break;
  }
  if (count < 0) return errno;
  word->order.assign(buffer.get(), static_cast<size_t>(std::max<ssize_t>(count - 1, 0)));
  const int file = TakeDescriptor(&message);
  int result = 0;
  if (count == 0) {
    word->kind = ExecutorWord::Kind::end;
  } else if (kind == kTerminate || kind == kKill) {
    word->kind = kind == kKill ? ExecutorWord::Kind::kill : ExecutorWord::Kind::terminate;
  } else {
    word->kind = ExecutorWord::Kind::order;
    if (kind == kLargeOrder) result = file < 0 ? EBADMSG : ReadMemoryFile(file, &word->order);
  }
  if (file >= 0) close(file);
  return result;
}

int SendFromSupervisor(int socket, const SupervisorWord& word) {
  while (send(socket, &word, sizeof(word), MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
    if (errno != EINTR) return errno;
  }
  return 0;
}

int ReceiveFromSupervisor(int socket, SupervisorWord* word) {
  while (true) {
    const ssize_t count = recv(socket, word, sizeof(*word), MSG_DONTWAIT);
    if (count == static_cast<ssize_t>(sizeof(*word))) return 0;
    if (count >= 0) return ECONNRESET;
    if (errno != EINTR) return errno;
  }
}

}  // namespace trackbed
