#ifdef TRACKBED_HAS_CURL

#include "executors/curl_library.hpp"

#include <dlfcn.h>

#include <string>

namespace trackbed {
namespace {

constexpr unsigned kOldest = 0x075500;  // 7.85.0: CURLOPT_PROTOCOLS_STR

struct Loaded {
  CurlLibrary library;
  Status status;
};

template <typename Function>
bool Find(void* handle, const char* name, Function* function) {
  *function = reinterpret_cast<Function>(dlsym(handle, name));
  return *function != nullptr;
}

Status FindAll(void* handle, CurlLibrary* curl) {
  const bool complete = Find(handle, "curl_global_init", &curl->global_init) &&
                        Find(handle, "curl_version_info", &curl->version_info) &&
                        Find(handle, "curl_easy_init", &curl->easy_init) &&
                        Find(handle, "curl_easy_setopt", &curl->easy_setopt) &&
                        Find(handle, "curl_easy_getinfo", &curl->easy_getinfo) &&
                        Find(handle, "curl_easy_strerror", &curl->easy_strerror) &&
                        Find(handle, "curl_easy_cleanup", &curl->easy_cleanup) &&
                        Find(handle, "curl_multi_init", &curl->multi_init) &&
                        Find(handle, "curl_multi_setopt", &curl->multi_setopt) &&
                        Find(handle, "curl_multi_add_handle", &curl->multi_add_handle) &&
                        Find(handle, "curl_multi_remove_handle", &curl->multi_remove_handle) &&
                        Find(handle, "curl_multi_assign", &curl->multi_assign) &&
                        Find(handle, "curl_multi_socket_action", &curl->multi_socket_action) &&
                        Find(handle, "curl_multi_info_read", &curl->multi_info_read) &&
                        Find(handle, "curl_multi_cleanup", &curl->multi_cleanup) &&
                        Find(handle, "curl_slist_append", &curl->slist_append) &&
                        Find(handle, "curl_slist_free_all", &curl->slist_free_all);
  if (!complete) return FailedPrecondition("libcurl lacks functions that containers need");
  const curl_version_info_data* version = curl->version_info(CURLVERSION_NOW);
  if (version->version_num < kOldest) {
    return FailedPrecondition(std::string("found libcurl ") + version->version +
                              ", expected 7.85 or later, which containers need");
  }
  if (curl->global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
    return FailedPrecondition("libcurl does not start");
  }
  return absl::OkStatus();
}

Loaded Load() {
  Loaded loaded;
  void* handle = nullptr;
  for (const char* name : {"libcurl.so.4", "libcurl-gnutls.so.4"}) {
    if (handle == nullptr) handle = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  }
  loaded.status = handle == nullptr ? FailedPrecondition(
                                          "there is no libcurl, which containers need: install "
                                          "libcurl.so.4 (Debian: libcurl4)")
                                    : FindAll(handle, &loaded.library);
  return loaded;
}

const Loaded& Once() {
  static const Loaded loaded = Load();
  return loaded;
}

}  // namespace

Status LoadCurl() { return Once().status; }

const CurlLibrary& Curl() { return Once().library; }

}  // namespace trackbed

#endif
