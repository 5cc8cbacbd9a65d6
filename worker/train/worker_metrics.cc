#include "worker/train/worker_metrics.h"

namespace paramd {
namespace {

using prometheus::BuildCounter;
using prometheus::BuildGauge;
using prometheus::BuildHistogram;
using prometheus::Counter;
using prometheus::Family;
using prometheus::Gauge;

const char* const kPhaseNames[] = {"data", "pull", "forward", "backward", "push"};
const char* const kTransportNames[kStreamTransports] = {"tcp", "unix", "shared_memory"};
const char* const kCodecNames[v1::Codec_ARRAYSIZE] = {"unspecified", "fp32", "bf16",   "fp16",
                                                      "int8",        "topk", "onebit", "per_group"};

// 0.1 ms to 13 s, doubling.
const prometheus::Histogram::BucketBoundaries kStepBuckets = {0.0001, 0.0002, 0.0004, 0.0008, 0.0016, 0.0032,
                                                              0.0064, 0.0128, 0.0256, 0.0512, 0.1024, 0.2048,
                                                              0.4096, 0.8192, 1.6384, 3.2768, 6.5536, 13.1072};

Family<Counter>& CounterFamily(prometheus::Registry& registry, const char* name, const char* help) {
  return BuildCounter().Name(name).Help(help).Register(registry);
}

}  // namespace

WorkerMetrics::WorkerMetrics(prometheus::Registry& registry, const std::string& device)
    : device_(device),
      jobs_(BuildGauge().Name("paramd_worker_jobs").Help("Jobs that this worker holds.").Register(registry).Add({})),
      step_duration_(BuildHistogram()
                         .Name("paramd_worker_step_duration_seconds")
                         .Help("Time of a training step by phase; forward ends when the first gradient is final.")
                         .Register(registry)),
      steps_(CounterFamily(registry, "paramd_worker_steps_total", "Training steps done.")),
      samples_(CounterFamily(registry, "paramd_worker_samples_total", "Training samples seen.")),
      tokens_(CounterFamily(registry, "paramd_worker_tokens_total", "Predictions trained on: tokens, or images.")),
      loss_(BuildGauge()
                .Name("paramd_worker_loss")
                .Help("Mean training loss of the newest step over this worker's slots.")
                .Register(registry)),
      pushed_bytes_(CounterFamily(registry, "paramd_worker_push_bytes_total",
                                  "Gradient bytes sent, retries included, as encoded (wire) and as fp32 (raw).")),
      pulled_bytes_(CounterFamily(registry, "paramd_worker_pull_bytes_total",
                                  "Weight bytes received and accepted, as encoded (wire) and as fp32 (raw).")),
      retries_(CounterFamily(registry, "paramd_worker_request_retries_total", "Push and pull requests sent again.")),
      reconnections_(CounterFamily(registry, "paramd_worker_reconnections_total", "Streams to servers opened again.")),
      refusals_(CounterFamily(registry, "paramd_worker_shared_memory_refusals_total",
                              "Streams over unix sockets whose server did not take shared memory.")),
      in_flight_bytes_(BuildGauge()
                           .Name("paramd_worker_in_flight_bytes")
                           .Help("Gradient bytes sent in messages and not yet answered, at the end of a step.")
                           .Register(registry)),
      streams_(BuildGauge()
                   .Name("paramd_worker_streams")
                   .Help("Open streams to servers by how payloads travel, at the end of a step.")
                   .Register(registry)),
      non_finite_(
          CounterFamily(registry, "paramd_worker_nonfinite_total", "Losses or gradients with NaN or infinity.")) {}

std::unique_ptr<WorkerJobMetrics> WorkerMetrics::ForJob(const std::string& job_id) {
  return std::make_unique<WorkerJobMetrics>(*this, job_id);
}

TrafficMetrics::~TrafficMetrics() {
  for (const Series& series : series_) {
    if (series.wire == nullptr) continue;
    keeper_.Remove(series.wire);
    keeper_.Remove(series.raw);
  }
}

void TrafficMetrics::Observe(const Totals& totals) {
  for (size_t codec = 0; codec < totals.size(); ++codec) {
    Series& series = series_[codec];
    if (totals[codec].raw_bytes == 0) continue;
    if (series.wire == nullptr) {
      const prometheus::Labels labels = {{"train_job", job_id_}, {"codec", kCodecNames[codec]}};
      const auto add = [&](const char* stage) {
        prometheus::Labels all = labels;
        all["stage"] = stage;
        return &keeper_.Add(family_, all);
      };
      series = {.wire = add("wire"), .raw = add("raw")};
    }
    series.wire->Increment(static_cast<double>(totals[codec].wire_bytes - seen_[codec].wire_bytes));
    series.raw->Increment(static_cast<double>(totals[codec].raw_bytes - seen_[codec].raw_bytes));
  }
  seen_ = totals;
}

WorkerJobMetrics::WorkerJobMetrics(WorkerMetrics& metrics, const std::string& job_id)
    : metrics_(metrics),
      steps_(metrics.series_.Add(metrics.steps_, {{"train_job", job_id}})),
      samples_(metrics.series_.Add(metrics.samples_, {{"train_job", job_id}})),
      tokens_(metrics.series_.Add(metrics.tokens_, {{"train_job", job_id}})),
      loss_(metrics.series_.Add(metrics.loss_, {{"train_job", job_id}})),
      pushed_bytes_(metrics.series_, metrics.pushed_bytes_, job_id),
      pulled_bytes_(metrics.series_, metrics.pulled_bytes_, job_id),
      retries_(metrics.series_.Add(metrics.retries_, {{"train_job", job_id}})),
      reconnections_(metrics.series_.Add(metrics.reconnections_, {{"train_job", job_id}})),
      refusals_(metrics.series_.Add(metrics.refusals_, {{"train_job", job_id}})),
      in_flight_bytes_(metrics.series_.Add(metrics.in_flight_bytes_, {{"train_job", job_id}})),
      non_finite_loss_(metrics.series_.Add(metrics.non_finite_, {{"train_job", job_id}, {"where", "loss"}})),
      non_finite_gradient_(metrics.series_.Add(metrics.non_finite_, {{"train_job", job_id}, {"where", "grad"}})) {
  for (int i = 0; i < kPhases; ++i) {
    step_duration_[i] = &metrics.series_.Add(
        metrics.step_duration_, {{"train_job", job_id}, {"device", metrics.device_}, {"phase", kPhaseNames[i]}},
        kStepBuckets);
  }
  for (int i = 0; i < kStreamTransports; ++i) {
    streams_[i] = &metrics.series_.Add(metrics.streams_, {{"train_job", job_id}, {"transport", kTransportNames[i]}});
  }
}

WorkerJobMetrics::~WorkerJobMetrics() {
  for (prometheus::Histogram* histogram : step_duration_) metrics_.series_.Remove(histogram);
  metrics_.series_.Remove(&steps_);
  metrics_.series_.Remove(&samples_);
  metrics_.series_.Remove(&tokens_);
  metrics_.series_.Remove(&loss_);
  metrics_.series_.Remove(&retries_);
  metrics_.series_.Remove(&reconnections_);
  metrics_.series_.Remove(&refusals_);
  metrics_.series_.RemoveNow(&in_flight_bytes_);
  for (prometheus::Gauge* gauge : streams_) metrics_.series_.RemoveNow(gauge);
  metrics_.series_.Remove(&non_finite_loss_);
  metrics_.series_.Remove(&non_finite_gradient_);
}

void WorkerJobMetrics::Observe(const StepReport& report, const ParameterClientStats& stats) {
  const absl::Duration phases[kPhases] = {report.data, report.pull, report.forward, report.backward, report.push};
  for (int i = 0; i < kPhases; ++i) step_duration_[i]->Observe(absl::ToDoubleSeconds(phases[i]));
  steps_.Increment();
  samples_.Increment(static_cast<double>(report.samples));
  tokens_.Increment(static_cast<double>(report.tokens));
  loss_.Set(report.loss);
  pushed_bytes_.Observe(stats.pushed);
  pulled_bytes_.Observe(stats.pulled);
  retries_.Increment(static_cast<double>(stats.retries - seen_.retries));
  reconnections_.Increment(static_cast<double>(stats.reconnections - seen_.reconnections));
  refusals_.Increment(static_cast<double>(stats.shared_memory_refusals - seen_.shared_memory_refusals));
  in_flight_bytes_.Set(static_cast<double>(stats.in_flight_bytes));
  for (int i = 0; i < kStreamTransports; ++i) streams_[i]->Set(stats.streams[i]);
  if (report.non_finite_loss) non_finite_loss_.Increment();
  if (report.non_finite_gradient) non_finite_gradient_.Increment();
  seen_ = stats;
}

}  // namespace paramd
