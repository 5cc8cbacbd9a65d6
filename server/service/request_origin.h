// Where a request came from, and so where its answer goes. It travels with the request through the store, as
// RequestKey::origin, so that nobody has to look for the stream when the answer is there.
//
//   const std::shared_ptr<RequestOrigin> origin = std::move(answer.key.origin);
//   origin->Deliver(std::move(answer));
//
// Lifetime: shared, because a request may outlive its stream; an answer to a stream that has ended is dropped.
#ifndef PARAMD_SERVER_SERVICE_REQUEST_ORIGIN_H_
#define PARAMD_SERVER_SERVICE_REQUEST_ORIGIN_H_

#include "server/service/transport.h"
#include "server/store/chunk_request.h"

namespace paramd {

class RequestOrigin {
 public:
  virtual ~RequestOrigin() = default;
  // Once, on any thread; does not block.
  virtual void Deliver(Answer answer) = 0;
  // How its payload came, and how the weights it asked for will go.
  virtual Transport push_transport() const = 0;
  virtual Transport pull_transport() const = 0;
};

}  // namespace paramd

#endif  // PARAMD_SERVER_SERVICE_REQUEST_ORIGIN_H_
