#include "server/coordinator/elected_engine.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/base/logging.h"
#include "common/base/status_macros.h"
#include "server/coordinator/store/etcd_store.h"

namespace paramd {
namespace {

constexpr absl::Duration kShortestPause = absl::Milliseconds(50);
constexpr absl::Duration kLongestPause = absl::Milliseconds(250);
constexpr absl::Duration kPauseAfterFailure = absl::Seconds(1);  // Lets another try that may fare better.

}  // namespace

// Kept by the calls that use it, beyond its lead if need be. Destroyed in reverse.
struct ElectedEngine::Engine {
  Engine(std::shared_ptr<Leadership> lead, std::unique_ptr<Store> jobs, CoordinatorOptions options, const Clock& clock,
         CoordinatorMetrics& metrics)
      : leadership(std::move(lead)), store(std::move(jobs)), coordinator(std::move(options), *store, clock, metrics) {}

  const std::shared_ptr<Leadership> leadership;
  const std::unique_ptr<Store> store;
  Coordinator coordinator;
};

ElectedEngine::ElectedEngine(ElectedEngineOptions options, EtcdClient& etcd, const Clock& clock,
                             CoordinatorMetrics& metrics, CoordinatorGate& gate, std::function<void(bool)> on_lead)
    : options_(std::move(options)),
      etcd_(etcd),
      clock_(clock),
      metrics_(metrics),
      gate_(gate),
      on_lead_(std::move(on_lead)) {}

ElectedEngine::~ElectedEngine() { Stop(); }

void ElectedEngine::Start() {
  thread_ = std::thread([this] { Run(); });
}

void ElectedEngine::Stop() {
  if (!thread_.joinable()) return;
  stopping_.Notify();
  thread_.join();
}

void ElectedEngine::Run() {
  const absl::Duration pause = std::clamp(options_.leadership.lease / 10, kShortestPause, kLongestPause);
  while (!stopping_.HasBeenNotified()) {
    absl::StatusOr<Leadership::Campaigned> result = Leadership::Campaign(etcd_, options_.leadership);
    if (!result.ok()) {
      StandBy(NotLeaderError(absl::StrCat("nobody is known to lead: ", std::string(result.status().message())), ""));
    } else if (result->leadership == nullptr) {
      const LeaderInfo& leader = result->leader;
      StandBy(
          NotLeaderError(absl::StrCat("this coordinator is a standby; ", leader.id, " at ", leader.address, " leads"),
                         leader.address));
    } else {
      const absl::Status led = Lead(std::move(result->leadership));
      if (led.ok()) continue;
      StandBy(NotLeaderError(absl::StrCat("this coordinator cannot lead: ", std::string(led.message())), ""));
      stopping_.WaitForNotificationWithTimeout(kPauseAfterFailure);
    }
    stopping_.WaitForNotificationWithTimeout(pause);
  }
  gate_.Close(MakeError(absl::StatusCode::kUnavailable, "COORDINATOR_STOPPING", "the coordinator is stopping"));
}

void ElectedEngine::StandBy(const absl::Status& why) {
  gate_.Close(why);
  std::string message(why.message());
  if (message == said_) return;
  spdlog::info("standing by: {}", EscapeLogMessage(message));
  said_ = std::move(message);
}

absl::Status ElectedEngine::Lead(std::shared_ptr<Leadership> leadership) {
  ASSIGN_OR_RETURN(std::unique_ptr<Store> store, OpenEtcdStore(etcd_, *leadership, options_.leadership.prefix));
  CoordinatorOptions engine_options = options_.engine;
  engine_options.term = static_cast<uint64_t>(leadership->term());
  const auto engine =
      std::make_shared<Engine>(leadership, std::move(store), std::move(engine_options), clock_, metrics_);
  Coordinator& coordinator = engine->coordinator;
  RETURN_IF_ERROR(coordinator.Load());
  gate_.Open(std::shared_ptr<Coordinator>(engine, &coordinator), [leadership] {
    if (leadership->valid()) return absl::OkStatus();
    const absl::Status lost = leadership->lost();
    return lost.ok() ? NotLeaderError("this coordinator does not lead any more", "") : lost;
  });
  metrics_.SetLeader(true);
  on_lead_(true);
  said_.clear();
  spdlog::info("this coordinator leads, term {}", leadership->term());

  while (!stopping_.HasBeenNotified() && !leadership->WaitUntilLost(options_.tick)) coordinator.Tick();

  const absl::Status lost = leadership->lost();
  const absl::Status why = lost.ok() ? NotLeaderError("this coordinator is stopping; a standby takes over", "") : lost;
  spdlog::info("the lead is over: {}", EscapeLogMessage(why.message()));
  gate_.Close(why);
  metrics_.SetLeader(false);
  on_lead_(false);
  coordinator.Shutdown(why);
  metrics_.Clear();
  leadership->Resign();
  return absl::OkStatus();
}

}  // namespace paramd
