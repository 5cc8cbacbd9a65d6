// Which of several coordinators to talk to. One of them leads; the others are standbys, which answer NOT_LEADER and
// name the leader if they know it.
//
//   ASSIGN_OR_RETURN(std::vector<std::string> addresses, ParseCoordinatorList("a:7070,b:7070,c:7070"));
//   CoordinatorChoice choice(addresses);
//   while (!Try(choice.current(), status)) {
//     if (!choice.Next(status)) Pause();     // all were tried
//   }
//   choice.Served();
//
// Pure; not thread safe.
#ifndef PARAMD_COMMON_RPC_COORDINATOR_CHOICE_H_
#define PARAMD_COMMON_RPC_COORDINATOR_CHOICE_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace paramd {

inline constexpr size_t kMaxCoordinators = 16;

// host:port, or several separated by commas. kInvalidArgument INVALID_ADDRESS: not an address, port 0, one twice, too
// many.
absl::StatusOr<std::vector<std::string>> ParseCoordinatorList(absl::string_view text);

class CoordinatorChoice {
 public:
  // At least one address.
  explicit CoordinatorChoice(std::vector<std::string> addresses) : addresses_(std::move(addresses)) {}

  const std::string& current() const { return hint_.empty() ? addresses_[index_] : hint_; }
  size_t size() const { return addresses_.size(); }

  // The current one does not serve, for this reason. Chooses another: the leader it names, at most once in a round,
  // else the next of the list. False when the round is over, which is when all have been tried since the last: wait
  // before trying the new current one.
  bool Next(const absl::Status& why);
  // The current one serves: a new round begins when it ceases to.
  void Served();

 private:
  const std::vector<std::string> addresses_;
  size_t index_ = 0;
  size_t tried_ = 0;     // Of the list, in this round.
  bool hinted_ = false;  // In this round.
  std::string hint_;     // A leader outside of the list's turn; empty: addresses_[index_].
};

}  // namespace paramd

#endif  // PARAMD_COMMON_RPC_COORDINATOR_CHOICE_H_
