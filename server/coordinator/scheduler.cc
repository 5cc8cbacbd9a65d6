#include "server/coordinator/scheduler.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/base/status_macros.h"
#include "common/model/parameter_layout.h"
#include "common/partition/arena_plan.h"
#include "common/partition/chunk_map.h"
#include "common/partition/memory.h"

namespace paramd {
namespace {

Decision Wait(std::string reason, std::string message) {
  Decision decision;
  decision.reason = std::move(reason);
  decision.message = std::move(message);
  return decision;
}

// The indices of the `count` nodes with the most of `amount`, most first; ties in order of node id.
template <typename Node, typename Amount>
std::vector<size_t> Richest(const std::vector<Node>& nodes, size_t count, Amount amount) {
  std::vector<size_t> order(nodes.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    if (amount(nodes[a]) != amount(nodes[b])) return amount(nodes[a]) > amount(nodes[b]);
    return nodes[a].node_id < nodes[b].node_id;
  });
  order.resize(std::min(count, order.size()));
  return order;
}

int64_t LimitOf(const ServerCapacity& server) { return server.limit_bytes; }
int64_t FreeOf(const ServerCapacity& server) { return server.free_bytes; }

template <typename Amount>
std::vector<int64_t> Amounts(const std::vector<ServerCapacity>& servers, const std::vector<size_t>& chosen,
                             Amount amount) {
  std::vector<int64_t> amounts;
  for (size_t index : chosen) amounts.push_back(std::max<int64_t>(0, amount(servers[index])));
  return amounts;
}

int64_t Sum(const std::vector<int64_t>& values) {
  int64_t sum = 0;
  for (int64_t value : values) sum += value;
  return sum;
}

std::string Shortage(const char* what, size_t missing, size_t needed, size_t registered, size_t free) {
  return absl::StrCat("waits for ", missing, " more ", what, missing == 1 ? "" : "s", ": ", needed, " needed, ",
                      registered, " registered, ", free, " free");
}

// One job against the cluster as earlier placements have left it.
class Attempt {
 public:
  Attempt(const v1::JobSpec& spec, uint32_t workers, const ArenaDemand& demand, ClusterCapacity& cluster)
      : demand_(demand),
        servers_needed_(spec.resources().servers()),
        workers_needed_(workers > 0 ? workers : spec.resources().workers()),
        slots_(spec.training().slots()),
        cluster_(cluster) {}

  // Could it run if nothing else did? OK, kWait reasons as a decision otherwise, kFail when it is too large.
  bool FitsEmptyCluster(const ScheduleOptions& options, Decision& decision) const;
  // Places it and takes its resources, or says what it waits for.
  Decision Place();

 private:
  size_t FreeWorkers() const {
    return std::count_if(cluster_.workers.begin(), cluster_.workers.end(), [](const auto& w) { return w.free > 0; });
  }
  Decision WaitForWorkers() const {
    const size_t free = FreeWorkers();
    return Wait("INSUFFICIENT_WORKERS",
                Shortage("worker", workers_needed_ - free, workers_needed_, cluster_.workers.size(), free));
  }
  v1::Placement Take(const std::vector<size_t>& servers, const std::vector<uint32_t>& chunk_server);

  const ArenaDemand& demand_;
  const size_t servers_needed_;
  const size_t workers_needed_;
  const uint32_t slots_;
  ClusterCapacity& cluster_;
};

bool Attempt::FitsEmptyCluster(const ScheduleOptions& options, Decision& decision) const {
  const size_t servers = cluster_.servers.size();
  if (servers < servers_needed_) {
    decision =
        Wait("INSUFFICIENT_SERVERS", Shortage("server", servers_needed_ - servers, servers_needed_, servers, servers));
    return false;
  }
  const std::vector<int64_t> limits =
      Amounts(cluster_.servers, Richest(cluster_.servers, servers_needed_, LimitOf), LimitOf);
  if (!PlaceChunks(demand_.chunk_bytes, limits).ok()) {
    const std::string message = absl::StrCat("the model needs ", demand_.total_bytes, " bytes of server memory; the ",
                                             servers_needed_, " largest servers have ", Sum(limits), " bytes in all");
    decision = Wait("INSUFFICIENT_MEMORY", message);
    if (!options.fail_too_large) return false;
    decision.kind = Decision::Kind::kFail;
    decision.error =
        MakeError(absl::StatusCode::kResourceExhausted, "MODEL_TOO_LARGE", message,
                  {{"neededBytes", absl::StrCat(demand_.total_bytes)}, {"availableBytes", absl::StrCat(Sum(limits))}});
    return false;
  }
  if (cluster_.workers.size() < workers_needed_) {
    decision = WaitForWorkers();
    return false;
  }
  return true;
}

Decision Attempt::Place() {
  if (FreeWorkers() < workers_needed_) return WaitForWorkers();
  const std::vector<size_t> servers = Richest(cluster_.servers, servers_needed_, FreeOf);
  const std::vector<int64_t> free = Amounts(cluster_.servers, servers, FreeOf);
  const absl::StatusOr<std::vector<uint32_t>> chunk_server = PlaceChunks(demand_.chunk_bytes, free);
  if (!chunk_server.ok()) {
    return Wait("INSUFFICIENT_MEMORY",
                absl::StrCat("waits for server memory: ", demand_.total_bytes, " bytes needed, ", Sum(free),
                             " free on the ", servers_needed_, " servers with the most"));
  }
  Decision decision;
  decision.kind = Decision::Kind::kPlace;
  decision.placement = Take(servers, *chunk_server);
  return decision;
}

v1::Placement Attempt::Take(const std::vector<size_t>& servers, const std::vector<uint32_t>& chunk_server) {
  v1::Placement placement;
  placement.set_arena_elements(demand_.arena_elements);
  std::vector<int64_t> bytes(servers.size(), 0);
  for (size_t chunk = 0; chunk < chunk_server.size(); ++chunk) {
    placement.add_chunk_server(chunk_server[chunk]);
    bytes[chunk_server[chunk]] += demand_.chunk_bytes[chunk];
  }
  for (size_t i = 0; i < servers.size(); ++i) {
    ServerCapacity& server = cluster_.servers[servers[i]];
    server.free_bytes -= bytes[i];
    v1::ServerPlacement& entry = *placement.add_servers();
    entry.set_node_id(server.node_id);
    entry.set_incarnation(server.incarnation);
    entry.set_address(server.address);
    entry.set_memory_bytes(bytes[i]);
    entry.set_host_id(server.host_id);
    entry.set_local_address(server.local_address);
  }
  const std::vector<SlotRange> ranges = DealSlots(slots_, static_cast<uint32_t>(workers_needed_));
  const std::vector<size_t> workers =
      Richest(cluster_.workers, workers_needed_, [](const WorkerCapacity& w) { return w.free; });
  for (size_t i = 0; i < workers.size(); ++i) {
    WorkerCapacity& worker = cluster_.workers[workers[i]];
    --worker.free;
    v1::WorkerPlacement& entry = *placement.add_workers();
    entry.set_node_id(worker.node_id);
    entry.set_incarnation(worker.incarnation);
    entry.set_first_slot(ranges[i].first);
    entry.set_slot_count(ranges[i].count);
  }
  return placement;
}

}  // namespace

absl::StatusOr<ArenaDemand> PlanArena(const v1::JobSpec& spec) {
  ASSIGN_OR_RETURN(std::vector<ParameterSpec> layout, ParameterLayout(spec.model()));
  ASSIGN_OR_RETURN(const ArenaPlan plan, ArenaPlan::Create(std::move(layout), spec.resources().chunk_elements()));
  if (plan.chunk_count() > kMaxChunks) {
    return MakeError(
        absl::StatusCode::kInvalidArgument, "TOO_MANY_CHUNKS",
        absl::StrCat("spec.resources.chunk_elements: the model has ", plan.chunk_count(), " chunks of ",
                     plan.chunk_elements(), " elements, more than ", kMaxChunks, "; choose larger chunks"));
  }
  const int64_t element_bytes = ServerBytesPerElement(spec);
  ArenaDemand demand;
  demand.arena_elements = plan.arena_elements();
  demand.parameters = plan.parameter_elements();
  for (int chunk = 0; chunk < plan.chunk_count(); ++chunk) {
    demand.chunk_bytes.push_back(plan.ChunkRange(chunk).size() * element_bytes);
    demand.total_bytes += demand.chunk_bytes.back();
  }
  return demand;
}

std::vector<Decision> ScheduleJobs(absl::Span<const PendingJob> pending, ClusterCapacity cluster,
                                   const ScheduleOptions& options) {
  std::vector<Decision> decisions;
  std::string blocker;
  for (const PendingJob& job : pending) {
    Decision decision;
    const absl::StatusOr<ArenaDemand> demand = PlanArena(*job.spec);
    if (!demand.ok()) {
      decision.kind = Decision::Kind::kFail;
      decision.error = demand.status();
      decisions.push_back(std::move(decision));
      continue;
    }
    Attempt attempt(*job.spec, job.workers, *demand, cluster);
    if (attempt.FitsEmptyCluster(options, decision)) {
      if (blocker.empty()) {
        decision = attempt.Place();
        if (decision.kind == Decision::Kind::kWait) blocker = job.job_id;
      } else {
        decision = Wait("QUEUED", absl::StrCat("waits behind job ", blocker));
      }
    }
    decisions.push_back(std::move(decision));
  }
  return decisions;
}

}  // namespace paramd
