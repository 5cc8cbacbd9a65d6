// A trace of a running job: every node is in it, its spans fit together, and it shows the overlap of steps.
#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "client/chrome_trace.h"
#include "common/base/error.h"
#include "common/base/status_matchers.h"
#include "common/base/thread_sanitizer.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/framework/example_jobs.h"
#include "tests/framework/in_process_cluster.h"

namespace paramd {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::IsSupersetOf;
using testing::SizeIs;

constexpr uint32_t kSteps = 3;
constexpr uint32_t kForever = 1'000'000;  // The test ends such a job with its cluster.

using Spans = std::vector<const v1::TraceSpan*>;

Spans Select(const v1::TraceJobResponse& trace, const std::function<bool(const v1::TraceSpan&)>& wanted) {
  Spans spans;
  for (const v1::TraceSpan& span : trace.spans()) {
    if (wanted(span)) spans.push_back(&span);
  }
  return spans;
}

int64_t EndOf(const v1::TraceSpan& span) { return span.start_us() + span.duration_us(); }

std::map<std::string, std::set<uint64_t>> StepsByNode(const v1::TraceJobResponse& trace) {
  std::map<std::string, std::set<uint64_t>> steps;
  for (const v1::TraceSpan& span : trace.spans()) steps[span.node_id()].insert(span.step());
  return steps;
}

std::set<std::string> NamesIn(const v1::TraceJobResponse& trace, const std::string& node, const std::string& lane) {
  std::set<std::string> names;
  for (const v1::TraceSpan& span : trace.spans()) {
    if (span.node_id() == node && span.lane() == lane) names.insert(span.name());
  }
  return names;
}

class TraceTest : public testing::Test {
 protected:
  // A GPT with many chunks that trains until the test is over, on two workers and two servers.
  void StartJob(v1::SyncMode mode, uint32_t steps = kForever) {
    ASSERT_OK_AND_ASSIGN(cluster_, InProcessCluster::Start({.servers = 2, .workers = 2}));
    ASSERT_OK_AND_ASSIGN(v1::JobSpec spec, TinyGptJob(cluster_->directory()));
    spec.mutable_training()->set_steps(steps);
    spec.mutable_training()->set_evaluate_every(0);
    spec.mutable_training()->clear_sample();
    spec.mutable_optimizer()->clear_schedule();
    spec.mutable_sync()->set_mode(mode);
    spec.mutable_resources()->set_workers(2);
    spec.mutable_resources()->set_servers(2);
    ASSERT_OK_AND_ASSIGN(const v1::Job job, cluster_->Submit(spec));
    job_id_ = job.job_id();
    ASSERT_OK(cluster_->AwaitStep(job_id_, 2));
    ASSERT_OK_AND_ASSIGN(const v1::Job running, cluster_->Get(job_id_));
    chunks_ = running.placement().chunk_server_size();
    ASSERT_GT(chunks_, 4);
  }

  // The job's steps take milliseconds: while a core is busy elsewhere, the command may reach the nodes at steps too far
  // apart for so many common ones.
  absl::StatusOr<v1::TraceJobResponse> WholeTrace(uint32_t steps) {
    constexpr int kAttempts = 20;
    for (int i = 1;; ++i) {
      absl::StatusOr<v1::TraceJobResponse> trace = cluster_->Trace(job_id_, steps);
      if (i == kAttempts || !trace.ok() || !trace->truncated()) return trace;
    }
  }

  std::unique_ptr<InProcessCluster> cluster_;
  std::string job_id_;
  int chunks_ = 0;
};

TEST_F(TraceTest, ShowsTheSameStepsOfEveryNode) {
  StartJob(v1::SYNC_MODE_SYNC);
  ASSERT_OK_AND_ASSIGN(const v1::TraceJobResponse trace, WholeTrace(kSteps));
  EXPECT_FALSE(trace.truncated());
  const auto steps = StepsByNode(trace);
  ASSERT_THAT(steps, SizeIs(4));
  const std::set<uint64_t>& first = steps.begin()->second;
  ASSERT_THAT(first, SizeIs(kSteps));
  EXPECT_EQ(*first.rbegin() - *first.begin(), kSteps - 1) << "consecutive";
  for (const auto& [node, of_node] : steps) EXPECT_EQ(of_node, first) << node;

  for (const char* worker : {"worker-0", "worker-1"}) {
    SCOPED_TRACE(worker);
    EXPECT_THAT(NamesIn(trace, worker, "compute"), IsSupersetOf({"data", "forward", "backward"}));
    EXPECT_THAT(NamesIn(trace, worker, "wire"), IsSupersetOf({"push", "pull"}));
    const Spans data = Select(trace, [&](const auto& s) { return s.node_id() == worker && s.name() == "data"; });
    EXPECT_THAT(data, SizeIs(kSteps * 2)) << "two slots";
    std::set<std::pair<uint32_t, uint64_t>> pulled;
    for (const auto* span : Select(trace, [&](const auto& s) { return s.node_id() == worker && s.name() == "pull"; })) {
      pulled.emplace(span->chunk(), span->step());
    }
    EXPECT_THAT(pulled, SizeIs(chunks_ * kSteps)) << "every chunk in every step";
  }
  std::set<std::pair<uint32_t, uint64_t>> applied;
  for (const auto* span : Select(trace, [](const auto& s) { return s.name() == "apply"; })) {
    EXPECT_THAT(span->lane(), testing::StartsWith("owner "));
    EXPECT_TRUE(applied.emplace(span->chunk(), span->step()).second) << "applied once";
  }
  EXPECT_THAT(applied, SizeIs(chunks_ * kSteps));
  for (const char* server : {"server-0", "server-1"}) {
    EXPECT_THAT(NamesIn(trace, server, "norm"), ElementsAre("norm")) << "the job clips";
  }
}

TEST_F(TraceTest, SpansFitTogetherAndStepsOverlap) {
  StartJob(v1::SYNC_MODE_SYNC);
  ASSERT_OK_AND_ASSIGN(const v1::TraceJobResponse trace, WholeTrace(kSteps));
  // Lanes but "wire" are one thread's: no span begins before the one before has ended.
  std::map<std::pair<std::string, std::string>, const v1::TraceSpan*> last;
  for (const v1::TraceSpan& span : trace.spans()) {  // By node, then start.
    if (span.lane() == "wire") continue;
    const v1::TraceSpan*& before = last[{span.node_id(), span.lane()}];
    if (before != nullptr) {
      ASSERT_GE(span.start_us(), EndOf(*before)) << before->ShortDebugString() << " | " << span.ShortDebugString();
    }
    before = &span;
  }
  // What a worker has pulled was applied before, on a server with a clock of its own.
  std::map<std::pair<uint32_t, uint64_t>, const v1::TraceSpan*> applied;
  for (const auto* span : Select(trace, [](const auto& s) { return s.name() == "apply"; })) {
    applied[{span->chunk(), span->step()}] = span;
  }
  for (const auto* span : Select(trace, [](const auto& s) { return s.name() == "pull"; })) {
    const auto found = applied.find({span->chunk(), span->step()});
    ASSERT_TRUE(found != applied.end());
    EXPECT_LT(found->second->start_us(), EndOf(*span)) << span->ShortDebugString();
  }
  // The next step's forward does not wait for all of this step's weights.
  int overlaps = 0;
  for (const char* worker : {"worker-0", "worker-1"}) {
    std::map<uint64_t, int64_t> forward_begins, last_pull_ends;
    for (const auto* span : Select(trace, [&](const auto& s) { return s.node_id() == worker; })) {
      if (span->name() == "forward") forward_begins.emplace(span->step(), span->start_us());  // The first stays.
      if (span->name() == "pull") last_pull_ends[span->step()] = std::max(last_pull_ends[span->step()], EndOf(*span));
    }
    for (const auto& [step, end] : last_pull_ends) {
      const auto next = forward_begins.find(step + 1);
      if (next != forward_begins.end() && next->second < end) ++overlaps;
    }
  }
  EXPECT_GT(overlaps, 0);
}

TEST_F(TraceTest, IsWrittenAsJsonForViewers) {
  StartJob(v1::SYNC_MODE_SYNC);
  ASSERT_OK_AND_ASSIGN(const v1::TraceJobResponse trace, WholeTrace(1));
  std::ostringstream out;
  WriteChromeTrace(job_id_, trace, out);
  const auto json = nlohmann::json::parse(out.str());
  // A viewer wants the events of a thread apart or nested; they are apart.
  std::map<std::pair<int, int>, std::vector<std::pair<int64_t, int64_t>>> threads;
  int events = 0;
  for (const auto& event : json["traceEvents"]) {
    if (event["ph"] != "X") continue;
    ++events;
    threads[{event["pid"], event["tid"]}].emplace_back(event["ts"], event["dur"]);
  }
  EXPECT_EQ(events, trace.spans_size());
  for (auto& [thread, spans] : threads) {
    std::stable_sort(spans.begin(), spans.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    for (size_t i = 1; i < spans.size(); ++i) EXPECT_GE(spans[i].first, spans[i - 1].first + spans[i - 1].second);
  }
}

TEST_F(TraceTest, WithoutBarriersEveryNodeShowsItsOwnSteps) {
  StartJob(v1::SYNC_MODE_ASYNC);
  ASSERT_OK_AND_ASSIGN(const v1::TraceJobResponse trace, WholeTrace(kSteps));
  EXPECT_FALSE(trace.truncated());
  const auto steps = StepsByNode(trace);
  ASSERT_THAT(steps, SizeIs(4));
  for (const char* worker : {"worker-0", "worker-1"}) EXPECT_THAT(steps.at(worker), SizeIs(kSteps));
  for (const char* server : {"server-0", "server-1"}) EXPECT_GE(steps.at(server).size(), kSteps);
}

TEST_F(TraceTest, TheJobsEndEndsATrace) {
  // Under ThreadSanitizer a trace takes seconds, so the job is over after a few.
  StartJob(v1::SYNC_MODE_SYNC, /*steps=*/UnderThreadSanitizer() ? 30 : 300);
  const uint32_t steps = UnderThreadSanitizer() ? 5 : 100;
  absl::Status end;
  for (int traces = 0; end.ok() && traces < 100; ++traces) {
    const absl::StatusOr<v1::TraceJobResponse> trace = cluster_->Trace(job_id_, steps);
    end = trace.status();
    if (!trace.ok()) break;
    EXPECT_GT(trace->spans_size(), 0);
  }
  EXPECT_EQ(end.code(), absl::StatusCode::kFailedPrecondition) << end;
  EXPECT_THAT((std::vector<std::string>{"JOB_NOT_TRAINING", "JOB_ENDED"}), Contains(ErrorReason(end)));
}

}  // namespace
}  // namespace paramd
