// HTTP by libcurl, without waiting: all exchanges share one descriptor.
#pragma once

#include <memory>

#include "executors/http_transport.hpp"
#include "trackbed/base/status.hpp"
#include "trackbed/executors/container_endpoint.hpp"

namespace trackbed {

// kFailedPrecondition where there is no libcurl, or Trackbed was built without its headers. Starts
// no thread; libcurl starts one for a moment to look up the name of a host.
StatusOr<std::unique_ptr<HttpTransport>> NewCurlTransport(const ContainerEndpoint& endpoint);

}  // namespace trackbed
