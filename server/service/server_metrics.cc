#include "server/service/server_metrics.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace paramd {

namespace {

using prometheus::BuildCounter;
using prometheus::BuildGauge;
using prometheus::BuildHistogram;

prometheus::Labels WithJob(const JobPlan& plan, prometheus::Labels more = {}) {
  more["train_job"] = plan.job_id;
  return more;
}

const char* CodecName(int codec) {
  switch (codec) {
    case v1::CODEC_FP32:
      return "fp32";
    case v1::CODEC_BF16:
      return "bf16";
    case v1::CODEC_FP16:
      return "fp16";
    case v1::CODEC_INT8:
      return "int8";
    case v1::CODEC_TOPK:
      return "topk";
    case v1::CODEC_ONEBIT:
      return "onebit";
    case v1::CODEC_PER_GROUP:
      return "per_group";
    default:
      return "unspecified";
  }
}

}  // namespace

prometheus::Histogram::BucketBoundaries ServerMetrics::DurationBuckets() {
  return {0.0000625, 0.000125, 0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016,
          0.032,     0.064,    0.128,   0.256,  0.512, 1.024, 2.048, 4.096, 10};
}

prometheus::Histogram::BucketBoundaries ServerMetrics::StalenessBuckets() { return {0, 1, 2, 4, 8, 16, 32, 64}; }

ServerMetrics::ServerMetrics(std::shared_ptr<prometheus::Registry> registry, int owner_threads)
    : registry_(std::move(registry)),
      push_duration_(BuildHistogram()
                         .Name("paramd_push_duration_seconds")
                         .Help("From the arrival of a push until it is in the ledger or applied.")
                         .Register(*registry_)),
      pull_duration_(BuildHistogram()
                         .Name("paramd_pull_duration_seconds")
                         .Help("From the arrival of a pull until its answer, waiting for the version included.")
                         .Register(*registry_)),
      push_bytes_(BuildCounter()
                      .Name("paramd_push_bytes_total")
                      .Help("Gradient bytes received, as encoded (wire) and as fp32 (raw).")
                      .Register(*registry_)),
      pull_bytes_(BuildCounter()
                      .Name("paramd_pull_bytes_total")
                      .Help("Weight bytes answered, as encoded (wire) and as fp32 (raw).")
                      .Register(*registry_)),
      apply_duration_(BuildHistogram()
                          .Name("paramd_update_apply_duration_seconds")
                          .Help("Handling of the event that makes a chunk's optimizer run, the optimizer included.")
                          .Register(*registry_)),
      updates_applied_(BuildCounter()
                           .Name("paramd_updates_applied_total")
                           .Help("Optimizer steps applied to chunks.")
                           .Register(*registry_)),
      gradients_dropped_(
          BuildCounter()
              .Name("paramd_gradients_dropped_total")
              .Help("Gradients not applied: sent again, damaged, of another generation or incarnation, not finite.")
              .Register(*registry_)),
      staleness_(BuildHistogram()
                     .Name("paramd_gradient_staleness_steps")
                     .Help("How many clocks the worker of an applied push was ahead of the slowest (ssp, async).")
                     .Register(*registry_)),
      global_step_(BuildGauge()
                       .Name("paramd_global_step")
                       .Help("Steps that the chunk applied last has behind it; the slowest worker's in ssp and async.")
                       .Register(*registry_)),
      parameters_(BuildGauge()
                      .Name("paramd_parameters")
                      .Help("fp32 values held for a job's chunks, by kind.")
                      .Register(*registry_)),
      parameter_bytes_(BuildGauge()
                           .Name("paramd_parameter_bytes")
                           .Help("Bytes held for a job's chunks, by kind.")
                           .Register(*registry_)) {
  auto& lengths =
      BuildGauge().Name("paramd_update_queue_length").Help("Requests queued for an owner thread.").Register(*registry_);
  for (int i = 0; i < owner_threads; ++i) queue_length_.push_back(&lengths.Add({{"owner_thread", absl::StrCat(i)}}));
  queue_wait_ = &BuildHistogram()
                     .Name("paramd_update_queue_wait_seconds")
                     .Help("Time that requests spend in an owner thread's queue.")
                     .Register(*registry_)
                     .Add({}, DurationBuckets());
  memory_limit_ = &BuildGauge()
                       .Name("paramd_memory_limit_bytes")
                       .Help("Memory that jobs may use on this server.")
                       .Register(*registry_)
                       .Add({});
  memory_used_ = &BuildGauge()
                      .Name("paramd_memory_used_bytes")
                      .Help("Memory accounted to the jobs on this server.")
                      .Register(*registry_)
                      .Add({});
  auto& in_flight = BuildGauge()
                        .Name("paramd_in_flight_bytes")
                        .Help("Payload bytes of pushes that are held (push) and of answers that are not sent (pull).")
                        .Register(*registry_);
  push_bytes_in_flight_ = &in_flight.Add({{"direction", "push"}});
  pull_bytes_in_flight_ = &in_flight.Add({{"direction", "pull"}});
  attached_segments_ = &BuildGauge()
                            .Name("paramd_attached_segments")
                            .Help("Shared memory segments of workers that are mapped.")
                            .Register(*registry_)
                            .Add({});
  attached_bytes_ = &BuildGauge()
                         .Name("paramd_attached_bytes")
                         .Help("Size of the shared memory segments that are mapped.")
                         .Register(*registry_)
                         .Add({});
}

TransferMetrics::TransferMetrics(SeriesKeeper& keeper, prometheus::Family<prometheus::Histogram>& duration,
                                 prometheus::Family<prometheus::Counter>& bytes, std::string job_id)
    : keeper_(keeper), duration_family_(duration), bytes_family_(bytes), job_id_(std::move(job_id)) {}

TransferMetrics::~TransferMetrics() {
  absl::MutexLock lock(&mutex_);
  for (prometheus::Histogram* histogram : durations_) {
    if (histogram != nullptr) keeper_.Remove(histogram);
  }
  for (prometheus::Counter* counter : bytes_) {
    if (counter != nullptr) keeper_.Remove(counter);
  }
}

prometheus::Histogram& TransferMetrics::duration(v1::Codec codec) {
  absl::MutexLock lock(&mutex_);
  prometheus::Histogram*& histogram = durations_[codec];
  if (histogram == nullptr) {
    histogram = &keeper_.Add(duration_family_, {{"train_job", job_id_}, {"codec", CodecName(codec)}},
                             ServerMetrics::DurationBuckets());
  }
  return *histogram;
}

prometheus::Counter& TransferMetrics::Bytes(v1::Codec codec, Transport transport, int stage) {
  absl::MutexLock lock(&mutex_);
  prometheus::Counter*& counter = bytes_[(codec * kTransports + static_cast<int>(transport)) * 2 + stage];
  if (counter == nullptr) {
    counter = &keeper_.Add(bytes_family_, {{"train_job", job_id_},
                                           {"codec", CodecName(codec)},
                                           {"transport", TransportName(transport)},
                                           {"stage", stage == 0 ? "wire" : "raw"}});
  }
  return *counter;
}

JobMetrics::JobMetrics(ServerMetrics& metrics, const JobPlan& plan)
    : pushes(metrics.series_, metrics.push_duration_, metrics.push_bytes_, plan.job_id),
      pulls(metrics.series_, metrics.pull_duration_, metrics.pull_bytes_, plan.job_id),
      apply_duration(metrics.apply_duration_.Add({{"optimizer", OptimizerName(plan.spec.optimizer().type())}},
                                                 ServerMetrics::DurationBuckets())),
      updates_applied(metrics.series_.Add(metrics.updates_applied_,
                                          WithJob(plan, {{"optimizer", OptimizerName(plan.spec.optimizer().type())}}))),
      dropped_damaged(metrics.series_.Add(metrics.gradients_dropped_, WithJob(plan, {{"reason", "damaged"}}))),
      dropped_duplicate(metrics.series_.Add(metrics.gradients_dropped_, WithJob(plan, {{"reason", "duplicate"}}))),
      dropped_fenced(metrics.series_.Add(metrics.gradients_dropped_, WithJob(plan, {{"reason", "fenced"}}))),
      dropped_non_finite(metrics.series_.Add(metrics.gradients_dropped_, WithJob(plan, {{"reason", "nonfinite"}}))),
      staleness(metrics.series_.Add(metrics.staleness_, WithJob(plan), ServerMetrics::StalenessBuckets())),
      global_step(metrics.series_.Add(metrics.global_step_, WithJob(plan))),
      metrics_(metrics) {
  std::vector<std::string> kinds = plan.optimizer->state_names();
  kinds.insert(kinds.begin(), "weight");
  const double elements = static_cast<double>(plan.local_elements());
  for (const std::string& kind : kinds) {
    parameters_.push_back(&metrics.series_.Add(metrics.parameters_, WithJob(plan, {{"kind", kind}})));
    parameter_bytes_.push_back(&metrics.series_.Add(metrics.parameter_bytes_, WithJob(plan, {{"kind", kind}})));
    parameters_.back()->Set(elements);
    parameter_bytes_.back()->Set(elements * sizeof(float));
  }
}

JobMetrics::~JobMetrics() {
  metrics_.series_.Remove(&updates_applied);
  for (auto* counter : {&dropped_damaged, &dropped_duplicate, &dropped_fenced, &dropped_non_finite}) {
    metrics_.series_.Remove(counter);
  }
  metrics_.series_.Remove(&staleness);
  metrics_.series_.Remove(&global_step);
  for (prometheus::Gauge* gauge : parameters_) metrics_.series_.RemoveNow(gauge);
  for (prometheus::Gauge* gauge : parameter_bytes_) metrics_.series_.RemoveNow(gauge);
}

}  // namespace paramd
