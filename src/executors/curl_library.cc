#ifdef TRACKBED_HAS_CURL

#include "executors/curl_library.hpp"

#include <dlfcn.h>

#include <string>

namespace trackbed {
namespace {

// As distributions name it; they differ in what it uses for TLS.
constexpr const char* kNames[] = {"libcurl.so.4", "libcurl-gnutls.so.4"};

template <typename Function>
bool Find(void* library, const char* name, Function* function) {
  *function = reinterpret_cast<Function>(dlsym(library, name));
  return *function != nullptr;
}

bool FindAll(void* library, CurlLibrary* curl) {
  return Find(library, "curl_global_init", &curl->global_init) &&
         Find(library, "curl_easy_init", &curl->easy_init) &&
         Find(library, "curl_easy_setopt", &curl->easy_setopt) &&
         Find(library, "curl_easy_getinfo", &curl->easy_getinfo) &&
         Find(library, "curl_easy_strerror", &curl->easy_strerror) &&
         Find(library, "curl_easy_cleanup", &curl->easy_cleanup) &&
         Find(library, "curl_multi_init", &curl->multi_init) &&
         Find(library, "curl_multi_setopt", &curl->multi_setopt) &&
         Find(library, "curl_multi_assign", &curl->multi_assign) &&
         Find(library, "curl_multi_add_handle", &curl->multi_add_handle) &&
         Find(library, "curl_multi_remove_handle", &curl->multi_remove_handle) &&
         Find(library, "curl_multi_socket_action", &curl->multi_socket_action) &&
         Find(library, "curl_multi_info_read", &curl->multi_info_read) &&
         Find(library, "curl_multi_cleanup", &curl->multi_cleanup) &&
         Find(library, "curl_slist_append", &curl->slist_append) &&
         Find(library, "curl_slist_free_all", &curl->slist_free_all);
}

StatusOr<CurlLibrary> Load() {
  std::string reason;
  for (const char* name : kNames) {
    // Never unloaded: it registers what it does at the end of the process.
    void* library = dlopen(name, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (library == nullptr) {
      if (reason.empty()) reason = dlerror();
      continue;
    }
    CurlLibrary curl{};
    if (FindAll(library, &curl) && curl.global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK) return curl;
    dlclose(library);
    reason = std::string(name) + " is not one that can be used";
  }
  return FailedPrecondition("HTTP needs libcurl (package libcurl4): " + reason);
}

}  // namespace

StatusOr<const CurlLibrary*> LoadCurl() {
  static const StatusOr<CurlLibrary> curl = Load();
  TRACKBED_RETURN_IF_ERROR(curl.status());
  return &*curl;
}

}  // namespace trackbed

#endif
